"""Human decisions on a run's clusters: what they change, adding them and taking them back, and files of them.

Clusters are decided on as far as they are there: a cluster that is yet to be split is whole until the stage has run.
"""

from __future__ import annotations

import getpass
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

import pyarrow as pa

from climb_engine.clusters import domains_content, from_tables, labelling, removes_duplicates, tallies
from climb_engine.config import Override, RunConfig
from climb_engine.curate.domains import Clusters, Domains, decide, merge_table
from climb_engine.curate.merging import Cut
from climb_engine.curate.overrides import canonical, cluster_splits, lineage
from climb_engine.pipeline import Planned, Run
from climb_engine.types import ClimbError, Ids
from climb_engine.workspace import Artifact, write_atomically

PRUNED = "pruned"
_NAMING = (("search", "prior"), ("search", "min_weight"), ("search", "max_weight"), ("target", "heldout"))
"""Knobs that name domains, in what people call them."""

_NOTHING = Override(action="note", cluster=0, why="not yet")
"""Stands for an override that has to wait, so that errors count the others as the config does."""


@dataclass(frozen=True)
class Change:
    """A cluster that would fare differently."""

    cluster: int
    documents: int
    characters: int
    before: str  # its domain, or "pruned"
    after: str


@dataclass(frozen=True)
class Preview:
    """What another config would make of a run's clusters, compared with its own.

    Documents and characters are of whole clusters: near-duplicates that are left out later are counted here.
    """

    changes: tuple[Change, ...]
    domains_before: tuple[str, ...]
    domains_after: tuple[str, ...]
    documents_before: int  # in kept clusters
    documents_after: int
    characters_before: int
    characters_after: int
    again: tuple[Planned, ...]  # stages that would run, and why
    lost_trials: int  # measured ones that would not apply any more; they stay on record


# ---- deciding ------------------------------------------------------------------------------------------------------


def clusters_of(run: Run) -> Clusters:
    """What is known of every cluster. Raises ClimbError when there are none yet."""
    artifacts, tables = _known(run)
    return from_tables(tables, artifacts)


def decided(run: Run, config: RunConfig | None = None) -> Domains:
    """What becomes of the clusters by a config, the run's own unless another is given; in the names people gave.

    Raises ClimbError where there are no clusters yet, and for an override that cannot be.
    """
    return as_made(run.with_config(config) if config else run).renamed()


def as_made(run: Run) -> Domains:
    """What becomes of the clusters, in the names that the domains are made under. Raises as ``decided`` does."""
    then = reached(run)
    clusters = clusters_of(then)
    _check_waiting(clusters, run.config.domains.overrides)
    return decide(clusters, then.config.domains)


def foreseen(run: Run, config: RunConfig) -> Run:
    """The run as it would be with this config: its domains are decided now, to know what depends on them would rerun.

    Where they cannot be decided on yet (clusters, scores or splits are still to be made), all of it counts as changed.
    """
    then = run.with_config(config)
    if then.artifact("domains") or not all(then.artifact(stage) for stage in ("clustering", "quality")):
        return then
    return with_domains(then, as_made(then))


def with_domains(run: Run, made: Domains) -> Run:
    """The run as it would be with these domains, in the names that they are made under; itself, while splits wait."""
    labelled = labelling(run.config)
    if not run.artifact(labelled):
        return run
    without = run.address("duplicates") if removes_duplicates(run.config) else None
    return run.with_config(run.config, {"domains": domains_content(run.address(labelled), without, made)})


def merges(run: Run) -> tuple[Cut, ...]:
    """For every number of domains that may be wanted, what a merge into so many would be like."""
    then = reached(run)
    return merge_table(clusters_of(then), then.config.domains)


def reached(run: Run) -> Run:
    """The run without the splits of clusters that are still to be made, and without what is said of their parts."""
    overrides = run.config.domains.overrides
    splits, k = cluster_splits(overrides), run.needed("clustering").facts["clusters"]
    for made in range(len(splits), -1, -1):
        waiting = {fresh for parts in lineage(overrides, k)[made:] for fresh in parts[1:]}
        left_out = {id(split) for split in splits[made:]}
        kept = tuple(_NOTHING if id(one) in left_out or one.cluster in waiting else one for one in overrides)
        domains = run.config.domains.model_copy(update={"overrides": kept})
        then = run.with_config(run.config.model_copy(update={"domains": domains}))
        if not made or then.artifact("splits"):
            return then
    raise AssertionError("no split is always made")


def preview(run: Run, config: RunConfig) -> Preview:
    """What this config would change, decided now and not yet made. Raises ClimbError where it cannot be."""
    then = run.with_config(config)
    here, there = (_known(reached(one))[1]["clusters"] for one in (run, then))
    return compared(run, then, (as_made(run), here), (as_made(then), there))


def compared(run: Run, then: Run, before: tuple[Domains, pa.Table], after: tuple[Domains, pa.Table]) -> Preview:
    """How two decisions on a run's clusters differ.

    before, after: of the run and of what it would be: domains in the names that they are made under, and a row per
    cluster with its documents and characters.
    """
    present, later = with_domains(run, before[0]), with_domains(then, after[0])
    old, new = ((made.renamed(), table) for made, table in (before, after))
    sums = [[_of_kept(*one, of) for one in (old, new)] for of in ("documents", "characters")]
    return Preview(
        changes=tuple(_changes(run, then.config, old, new)),
        domains_before=old[0].names,
        domains_after=new[0].names,
        documents_before=sums[0][0],
        documents_after=sums[0][1],
        characters_before=sums[1][0],
        characters_after=sums[1][1],
        again=_again(present, later),
        lost_trials=_lost_trials(present, later),
    )


def _known(run: Run) -> tuple[dict[str, Artifact], dict[str, pa.Table]]:
    artifacts = {stage: run.needed(stage) for stage in ("corpus", "clustering", "quality")}
    if cluster_splits(run.config.domains.overrides):
        artifacts["splits"] = run.needed("splits")
    found = run.artifact("duplicates") if run.config.duplicates.method != "none" else None
    if run.config.duplicates.method != "none" and run.config.domains.max_duplicate_share < 1:
        found = run.needed("duplicates")
    artifacts |= {"duplicates": found} if found else {}
    for made in run.workspace.artifacts("domains"):  # which has the sums, whatever was decided on them
        inputs = made.manifest["inputs"]
        wanted = ("clustering", "quality", "splits", "duplicates")
        if "ever" in made.facts and all(_address(artifacts.get(name)) == inputs.get(name) for name in wanted):
            return artifacts, _read_tables(str(made.folder), "splits" in artifacts)
    return artifacts, _tallied(tuple((name, str(artifact.folder)) for name, artifact in artifacts.items()))


def _address(artifact: Artifact | None) -> str | None:
    return artifact.digest if artifact else None


@lru_cache(maxsize=4)
def _read_tables(folder: str, split: bool) -> dict[str, pa.Table]:
    return {name: Artifact(Path(folder)).table(name) for name in ("clusters", *(("whole",) if split else ()))}


@lru_cache(maxsize=4)
def _tallied(folders: tuple[tuple[str, str], ...]) -> dict[str, pa.Table]:
    return tallies({name: Artifact(Path(folder)) for name, folder in folders}, lambda _: None)


def _check_waiting(clusters: Clusters, overrides: Sequence[Override]) -> None:
    """What can be said of the splits that are still to be made."""
    k = len(clusters.first.sizes)
    for split in cluster_splits(overrides):
        assert split.cluster is not None and split.parts is not None
        where = f"domains.overrides (split {split.cluster})"
        if split.cluster >= k:
            raise ClimbError(f"{where}: there is no cluster {split.cluster}; clusters are 0 to {k - 1}")
        if split.cluster < len(clusters.first.sizes) and clusters.first.sizes[split.cluster] < split.parts:
            size = int(clusters.first.sizes[split.cluster])
            raise ClimbError(f"{where}: it has {size} documents, too few for {split.parts} parts")
        k += split.parts - 1


# ---- comparing -----------------------------------------------------------------------------------------------------


def _changes(
    run: Run, config: RunConfig, before: tuple[Domains, pa.Table], after: tuple[Domains, pa.Table]
) -> list[Change]:
    """The clusters that would fare differently; one that is only called otherwise does not."""
    waiting = _to_be_split(config, run.needed("clustering").facts["clusters"], len(after[1]))
    found = []
    for cluster in range(max(len(before[1]), len(after[1]))):
        then = _fate(*before, cluster, "part of a larger cluster")
        now = waiting.get(cluster) or _fate(*after, cluster, "whole again")
        known = [domains.renames.known(name) for domains, name in ((before[0], then), (after[0], now))]
        if known[0] != known[1]:
            row = (before if cluster < len(before[1]) else after)[1].slice(cluster, 1).to_pylist()[0]
            found.append(Change(cluster, row["documents"], row["characters"], then, now))
    return found


def _fate(domains: Domains, table: pa.Table, cluster: int, missing: str) -> str:
    if cluster >= len(table):
        return missing
    domain = domains.decisions[cluster].domain
    return domains.names[domain] if domain >= 0 else PRUNED


def _to_be_split(config: RunConfig, k: int, there: int) -> dict[int, str]:
    """Clusters that a split waits for, and what the preview says of them."""
    found = {}
    for parts in lineage(config.domains.overrides, k):
        if parts[-1] >= there and parts[0] < there:
            found[parts[0]] = f"to be split into {len(parts)}"
    return found


def _of_kept(domains: Domains, table: pa.Table, column: str) -> int:
    values: Ids = table[column].to_numpy()
    return int(values[domains.labels >= 0].sum())


def _again(run: Run, later: Run) -> tuple[Planned, ...]:
    now = {stage.stage: stage.digest for stage in run.plan()}
    return tuple(
        one for one in later.plan() if one.state != "done" and not one.optional and now.get(one.stage) != one.digest
    )


def _lost_trials(run: Run, later: Run) -> int:
    if later.search_digest == run.search_digest:
        return 0
    return run.measured_here()


# ---- adding and taking back ----------------------------------------------------------------------------------------


def with_overrides(config: RunConfig, overrides: Sequence[Override]) -> RunConfig:
    """The config with these overrides; knobs that name a domain by what it was called name it by what it is called."""
    before, after = canonical(config.domains.overrides)[1], canonical(overrides)[1]
    values = config.model_dump(mode="json")
    values["domains"]["overrides"] = [one.model_dump(mode="json") for one in overrides]
    for section, knob in _NAMING:
        named: Mapping[str, float] = values[section][knob]
        values[section][knob] = {after.called(before.known(name)): value for name, value in named.items()}
    return RunConfig.parse(values, "overrides")


def with_override(run: Run, override: Override) -> RunConfig:
    """The run's config with one more override, which gets its time and, unless it has one, its author."""
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    signed = override.model_copy(update={"when": now, "who": override.who or login_name()})
    return with_overrides(run.config, [*run.config.domains.overrides, signed])


def login_name() -> str:
    """Who is at work here, "" where the system does not say."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return ""


def add(run: Run, override: Override) -> Override:
    """Add an override to the config and return it as it is kept. ClimbError, and nothing changed, if it cannot be."""
    with run.changing():
        wanted = with_override(run, override)
        decided(run, wanted)
        run.configure(wanted)
    return wanted.domains.overrides[-1]


def undo(run: Run) -> Override:
    """Take the last override back, and return it."""
    with run.changing():
        if not run.config.domains.overrides:
            raise ClimbError(f"{run.workspace.name} has no override that could be taken back")
        *left, last = run.config.domains.overrides
        run.configure(with_overrides(run.config, left))
    return last


def remove(run: Run, index: int) -> Override:
    """Take one override out, counted from 0. ClimbError, and nothing changed, if those after it need it."""
    with run.changing():
        overrides = run.config.domains.overrides
        if not 0 <= index < len(overrides):
            raise ClimbError(f"there is no override {index}; they are counted from 0 to {len(overrides) - 1}")
        wanted = with_overrides(run.config, [*overrides[:index], *overrides[index + 1 :]])
        decided(run, wanted)
        run.configure(wanted)
    return overrides[index]


def clear(run: Run) -> int:
    """Take all overrides back; how many there were."""
    with run.changing():
        count = len(run.config.domains.overrides)
        run.configure(with_overrides(run.config, ()))
    return count


# ---- on record -----------------------------------------------------------------------------------------------------


def described(override: Override) -> str:
    """An override in words: "move 17 to math", "rename sea to ocean", "split 17 into 3"."""
    what = override.domain if override.cluster is None else str(override.cluster)
    to = {
        "move": f" to {override.domain}",
        "rename": f" to {override.to}",
        "merge": f" into {override.to}",
        "split": f" into {override.parts}",
    }
    return f"{override.action} {what}{to.get(override.action, '')}"


def history(run: Run, cluster: int) -> tuple[Override, ...]:
    """The overrides that name a cluster, or one that it is a part of, or by a note its domain; in their order."""
    family = {cluster}
    for parts in reversed(lineage(run.config.domains.overrides, run.needed("clustering").facts["clusters"])):
        family |= {parts[0]} if family & set(parts[1:]) else set()
    domains = decided(run)
    home = domains.decisions[cluster].domain if cluster < len(domains.decisions) else -1
    noted = {domains.names[home]} if home >= 0 else set()
    return tuple(
        one
        for one in run.config.domains.overrides
        if one.cluster in family or (one.action == "note" and one.domain in noted)
    )


def export_overrides(run: Run, path: Path) -> int:
    """Write the overrides as TOML, to be imported elsewhere or kept under version control; how many there are."""
    import tomlkit

    document, entries = tomlkit.document(), tomlkit.aot()
    for override in run.config.domains.overrides:
        entries.append(tomlkit.item(override.model_dump(mode="json", exclude_defaults=True)))
    document.add("override", entries)
    write_atomically(path, tomlkit.dumps(document).encode())
    return len(run.config.domains.overrides)


def import_overrides(run: Run, path: Path, replace: bool = False) -> int:
    """Add the overrides in a file to the run's, or put them in their place; how many there are in the file.

    Raises ClimbError that names the entry, and changes nothing, when one of them cannot be.
    """
    found = read_overrides(path)
    with run.changing():
        former = () if replace else run.config.domains.overrides
        wanted = with_overrides(run.config, [*former, *found])
        try:
            decided(run, wanted)
        except ClimbError as error:
            raise _blamed(run, path, former, found) or error from error
        run.configure(wanted)
    return len(found)


def read_overrides(path: Path) -> tuple[Override, ...]:
    """The overrides in a TOML file. Raises ClimbError that names the entry."""
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ClimbError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ClimbError(f"{path}: not valid TOML: {error}") from error
    entries = values.get("override")
    if set(values) - {"override"} or not isinstance(entries, list) or not all(isinstance(e, dict) for e in entries):
        raise ClimbError(f"{path}: write every override below a line [[override]], and nothing else")
    return tuple(Override.parse(entry, f"{path}: override {number}") for number, entry in enumerate(entries, 1))


def _blamed(run: Run, path: Path, former: Sequence[Override], found: Sequence[Override]) -> ClimbError | None:
    """The error of the first entry that cannot be, after those before it."""
    for number, override in enumerate(found, 1):
        try:
            decided(run, with_overrides(run.config, [*former, *found[:number]]))
        except ClimbError as error:
            return ClimbError(f"{path}: override {number} ({described(override)}): {error}")
    return None
