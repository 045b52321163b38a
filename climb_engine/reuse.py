"""What an earlier search of a run, over other domains of the same corpus, can teach the present one.

Reads the documents' domains and the earlier logs; ``search/reuse.py`` has the reasoning and the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from climb_engine.search.loop import Search
from climb_engine.search.record import own_trials
from climb_engine.search.reuse import Division, Overlap, Reusable, lacking, translated
from climb_engine.types import FloatArray, Mixture, Trial
from climb_engine.workspace import Artifact, Workspace


@dataclass(frozen=True, eq=False)
class Source:
    """An earlier search: what it measured, and what of that can be reused."""

    digest: str  # its address
    measured: int  # trials that it has results of
    distances: FloatArray  # (measured,) of every trial; empty where they cannot be compared
    trials: tuple[Reusable, ...]  # those that are offered
    reason: str = ""  # why not all of them are


def sources(
    workspace: Workspace,
    search: Search,
    tokens: Artifact,
    sizes: Sequence[int],
    address: Callable[[str], str],
    tolerance: float,
) -> tuple[Source, ...]:
    """The earlier searches of a run that have results, the one whose tokens were made last first.

    Args:
        workspace: of the run.
        search: the present one.
        tokens: what it mixes.
        sizes: documents of each part of the corpus.
        address: of the tokens to that of their search, with the knobs of the present one.
        tolerance: the largest distance of a trial that is offered.
    """
    found = []
    for other in workspace.artifacts("tokens"):
        digest = address(other.digest)
        trials = own_trials(workspace.log(digest)) if other.digest != tokens.digest else ()
        if not trials:
            continue
        if reason := _incomparable(other, tokens):
            found.append(Source(digest, len(trials), np.empty(0), (), reason))
            continue
        carried = _carried(search, other, tokens, sizes, digest, trials)
        found.append(_offered(search, digest, carried, tolerance))
    return tuple(found)


def _carried(
    search: Search, old: Artifact, new: Artifact, sizes: Sequence[int], digest: str, trials: Sequence[Trial]
) -> tuple[Reusable, ...]:
    """Trials over the domains of ``old`` as the nearest allowed mixtures over those of ``new``."""
    before, now = trials[0].mixture.domains, search.space.domains
    overlap = Overlap.count(_parts(old, new, sizes), len(before), len(now))
    weights = np.array([trial.mixture.weights for trial in trials])
    carried = search.space.project(overlap.carry(weights))
    distances = overlap.distance(weights, carried)
    return tuple(
        Reusable(
            digest,
            trial.id,
            Mixture(now, row),
            trial.seed,
            translated(trial.result, before, now, overlap.unchanged),
            float(distance),
            natural=trial.origin == "natural",
        )
        for trial, row, distance in zip(trials, carried, distances, strict=True)
        if trial.result
    )


def _offered(search: Search, digest: str, carried: Sequence[Reusable], tolerance: float) -> Source:
    near = [one for one in carried if one.distance <= tolerance]
    complete = [one for one in near if not lacking(one.result, search.objective, search.space.domains)]
    fresh = tuple(one for one in complete if not search.has_reused(one))
    left_out = {
        f"further than {tolerance:g} from what the new domains can stand for": len(carried) - len(near),
        "without the score's metrics: its held-out domains have changed": len(near) - len(complete),
        "reused already": len(complete) - len(fresh),
    }
    reason = "; ".join(f"{count} {why}" for why, count in left_out.items() if count)
    return Source(digest, len(carried), np.array([one.distance for one in carried]), fresh, reason)


def _incomparable(old: Artifact, new: Artifact) -> str:
    """Why the proxies of two artifacts of tokens cannot be compared; "" if they can."""
    before, now = old.manifest, new.manifest
    if before["inputs"]["corpus"] != now["inputs"]["corpus"]:
        return "it mixes another corpus"
    changed = [name for name, value in now["knobs"].items() if before["knobs"].get(name) != value]
    if changed:
        return "its tokens were made otherwise: " + ", ".join(f"tokens.{name}" for name in changed)
    return "" if before["version"] == now["version"] else "its tokens were made by another version"


def _parts(old: Artifact, new: Artifact, sizes: Sequence[int]) -> Iterator[tuple[Division, Division]]:
    first = 0
    for part, size in enumerate(sizes):
        yield _division(old, part, first, size), _division(new, part, first, size)
        first += size


def _division(tokens: Artifact, part: int, first: int, size: int) -> Division:
    rows = tokens.table(part, ["id", "domain", "length", "heldout"])
    at = rows["id"].to_numpy() - first
    found = Division(np.full(size, -1, np.int64), np.zeros(size, np.int64), np.zeros(size, bool))
    found.domains[at] = rows["domain"].to_numpy()
    found.tokens[at] = rows["length"].to_numpy()
    found.heldout[at] = rows["heldout"].to_numpy()
    return found
