"""Which stage feeds which, and the Python API: a ``Run`` goes from a config to a mixture.

An artifact's address is a hash of its stage's name and version, all knobs of its section and the addresses of what it
needs. So what is done is found, what changed reruns, and two variants share what they share. The corpus and the domains
stand in those addresses with what came out: files that were touched and limits that change no decision cost no search.
"""

from __future__ import annotations

import copy
import importlib.metadata
import json
import platform
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Self

from climb_engine import waiting
from climb_engine.clusters import labelling
from climb_engine.config import RunConfig, knobs
from climb_engine.curate.overrides import Names, canonical
from climb_engine.stages.graph import BY_NAME, STAGES, TRUNK, Stage, ancestors
from climb_engine.stages.work import Work
from climb_engine.types import ClimbError, Event, Mixture, Report, Trial, silent
from climb_engine.workspace import Artifact, BusyError, Workspace, digest_of, slug

if TYPE_CHECKING:
    from climb_engine.export.dataset import ClusteredOptions, MixedOptions
    from climb_engine.export.kept import Artifacts
    from climb_engine.reuse import Source
    from climb_engine.runners import Runner
    from climb_engine.search.loop import Search
    from climb_engine.search.objective import Objective
    from climb_engine.search.renaming import RenamedLog
    from climb_engine.search.space import MixtureSpace

_LIBRARIES = (
    "numpy",
    "faiss-gpu",
    "faiss-cpu",
    "torch",
    "tokenizers",
    "model2vec",
    "sentence-transformers",
    "umap-learn",
    "scikit-learn",
    "lightgbm",
)


_LONG = 60  # characters of a value that are shown
_NO_MATTER = ("machine", "projection")  # sections that a mixture does not depend on


@dataclass(frozen=True)
class Planned:
    """What would happen to one stage, and why."""

    stage: str
    digest: str
    state: str  # "done", "partial", "missing" or "damaged"
    why: str
    optional: bool = False  # nothing needs it, so that it is made only when asked for by name


class Run:
    """One run: a folder with a config, artifacts, a search and exports."""

    def __init__(self, folder: Path | str) -> None:
        self.workspace = Workspace(Path(folder))
        self.config = self.workspace.read_config()
        self._contents: Mapping[str, str] = {}

    @classmethod
    def create(cls, folder: Path | str, config: RunConfig) -> Self:
        """Make a run folder with this config; ClimbError when there is one already."""
        workspace = Workspace(Path(folder))
        slug(workspace.name)
        if workspace.config_path.exists():
            raise ClimbError(f"{workspace.config_path} exists already; choose another name, or edit it")
        workspace.write_config(config)
        return cls(folder)

    def configure(self, config: RunConfig) -> None:
        """Replace the config; what it changes is recomputed when next asked for."""
        self.workspace.write_config(config)
        self._take(config)

    @contextmanager
    def changing(self) -> Iterator[None]:
        """Alone with the config as it stands by now, so that nothing is lost that others have changed since."""
        with self.workspace.config_lock():
            self._take(self.workspace.read_config())
            yield

    def _take(self, config: RunConfig) -> None:
        self.config, self._contents = config, {}
        self.__dict__.pop("_addresses", None)

    def with_config(self, config: RunConfig, contents: Mapping[str, str] = MappingProxyType({})) -> Self:
        """The same run as it would be with this config; nothing is written.

        contents: stage -> its fact "content", where that is known before the stage has run.
        """
        then = copy.copy(self)
        then.__dict__.pop("_addresses", None)
        then.config, then._contents = config, contents
        return then

    def address(self, stage: str) -> str:
        """The address of a stage's artifact as the config stands, made or not."""
        return self._addresses[stage]

    # ---- documents -> domains ------------------------------------------------------------------------------------

    def plan(self) -> tuple[Planned, ...]:
        """For every stage: its address, whether it is done, and if not, why it would run."""
        return tuple(self._planned(stage) for stage in STAGES if stage.wanted(self.config))

    def run(self, until: str = TRUNK, report: Report = silent) -> Artifact:
        """Make ``until`` and what it needs, as far as that is still to be made, and return its artifact."""
        if until not in BY_NAME:
            raise ClimbError(f"there is no stage {until!r}; the stages are {', '.join(BY_NAME)}")
        if not BY_NAME[until].wanted(self.config):
            raise ClimbError(f"stage {until} has nothing to do here; 'climb plan' lists the stages that have")
        needed = ancestors(until, self.config)
        for stage in STAGES:
            if stage.name in needed and not self.artifact(stage.name):
                self._make(stage, report)
                if stage.by_content:
                    self.__dict__.pop("_addresses", None)
        return self.needed(until)

    def artifact(self, stage: str) -> Artifact | None:
        """The finished artifact of a stage as the config stands, or None."""
        return self.workspace.artifact(stage, self._addresses[stage])

    def needed(self, stage: str) -> Artifact:
        """The finished artifact of a stage; ClimbError when it is still to be made."""
        found = self.artifact(stage)
        if found is None:
            if damaged := self.workspace.damaged(stage, self._addresses[stage]):
                raise ClimbError(damaged.complaint)
            raise ClimbError(
                f"{self.workspace.name}: {stage} is not there yet; 'climb run {self.workspace.name}' makes it"
            )
        return found

    def damage(self, stage: str) -> str:
        """What is wrong with the files of a stage that was finished, in a few words; "" where nothing is."""
        damaged = self.workspace.damaged(stage, self._addresses[stage])
        return damaged.damage if damaged else ""

    # ---- domains -> mixture --------------------------------------------------------------------------------------

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains' names, in their order."""
        facts = self.needed("domains").facts
        return self.names.apply(facts["names"], facts["ever"])

    @property
    def names(self) -> Names:
        """What people call the domains, and what artifacts and the search's log know them by."""
        return canonical(self.config.domains.overrides)[1]

    @property
    def clusters(self) -> Artifact:
        """The clusters that documents are in: those of k-means, or with the parts of those that were split."""
        return self.needed(labelling(self.config))

    def space(self) -> MixtureSpace:
        """Which mixtures are allowed; a domain with less than one training sequence can have no weight."""
        import numpy as np

        from climb_engine.search.space import MixtureSpace

        tokens = np.asarray(self.needed("tokens").facts["train"], dtype=np.float64)
        enough = tokens > self.config.proxy.sequence_length  # a sequence and the token after it
        return MixtureSpace.from_config(self.domains, np.where(enough, tokens, 0.0), self.config.search)

    def objective(self) -> Objective:
        """What good means."""
        from climb_engine.search.objective import Objective

        return Objective.from_config(self.config.target, self.domains)

    @property
    def search_digest(self) -> str:
        """The search's address: domains, tokens, proxies and measured items; not method or target weights."""
        return self._search_of(self._addresses["tokens"])

    def _search_of(self, tokens: str) -> str:
        """The address of the search over tokens at an address, with the proxies and the items of the config."""
        target = knobs(self.config.target)
        measured = {name: target[name] for name in ("files", "items", "seed")} | {"tasks": sorted(target["tasks"])}
        return digest_of({"tokens": tokens, "proxy": knobs(self.config.proxy), "target": measured, "version": 1})

    @contextmanager
    def _searching(self) -> Iterator[Search]:
        """Hold the right to ask and tell, and leave word of what is wanted for whoever comes back to this search."""
        with self.workspace.log(self.search_digest).writing():
            self.workspace.keep_search_config(self.search_digest, self.config)
            yield self.open_search()

    def open_search(self) -> Search:
        """The search as its log has it, for reading only."""
        from climb_engine.search.loop import Search

        return Search(self.space(), self.objective(), self.config.search, self.log())

    def measured_here(self) -> int:
        """How many trials the search's log has results of, without building the search."""
        return sum(event.get("event") == "told" for event in self.workspace.log(self.search_digest))

    def log(self) -> RenamedLog:
        """The search's log, in what people call the domains."""
        from climb_engine.search.renaming import RenamedLog

        names = self.names
        return RenamedLog(self.workspace.log(self.search_digest), names.called, names.known)

    def search(self, iterations: int | None = None, report: Report = silent, runner: Runner | None = None) -> Search:
        """Run the search to the end of iteration ``iterations`` (None: to its end), making what it needs first.

        runner: where proxies train; None: as ``config.machine`` says.
        """
        from climb_engine.training import Trainer

        self.run(report=report)
        with self._searching() as search:
            if trials := self._asked(search, iterations, report):
                trainer = Trainer.prepare(
                    self.config, self.needed("tokens"), self.needed("trunk"), self.domains, report
                )
                runner = runner or self._runner
                while trials:
                    for trial, outcome in runner.run(trainer, trials, trainer.stack):
                        report(_told(search, search.tell(trial.id, outcome)))
                    trials = self._asked(search, iterations, report)
        return search

    def _asked(self, search: Search, iterations: int | None, report: Report) -> tuple[Trial, ...]:
        """What is to be trained next, with what people have left for the search meanwhile."""
        for weights in waiting.take(self.workspace.waiting_folder(self.search_digest)):
            if search.space.contains(weights[None])[0]:
                search.suggest(Mixture(search.space.domains, weights))
            else:
                note = "a mixture that waited is outside the limits by now, and was left out"
                report(Event("search", 0, None, "trials", {"note": note}))
        return search.ask(1_000_000, iterations)

    @property
    def _runner(self) -> Runner:
        from climb_engine.runners import runner_of

        machine = self.config.machine
        return runner_of(machine.runner, machine.device, machine.threads)

    def suggest(self, weights: Mapping[str, float]) -> Trial | None:
        """Queue the user's own mixture for the next ``search``; None when one is at work, which takes it by itself."""
        mixture = Mixture.from_dict(weights, self.domains)
        try:
            with self._searching() as search:
                return search.suggest(mixture)
        except BusyError:
            checked = self.open_search().checked(mixture)
            waiting.put(self.workspace.waiting_folder(self.search_digest), checked.weights)
            return None

    def reusable(self, tolerance: float = 0.05) -> tuple[Source, ...]:
        """What earlier searches of this run measured over other domains, and which of it can teach the present one.

        tolerance: the largest total variation distance between what was trained and the mixture that it stands for.
        """
        from climb_engine.reuse import sources

        search, tokens = self.open_search(), self.needed("tokens")
        sizes = self.needed("corpus").facts["part_documents"]
        return sources(self.workspace, search, tokens, sizes, self._search_of, tolerance)

    def reuse(self, tolerance: float = 0.05) -> tuple[Trial, ...]:
        """Take over what is ``reusable`` as data for the search; what was taken over before is not taken again."""
        with self._searching() as search:
            return search.reuse([trial for source in self.reusable(tolerance) for trial in source.trials])

    def ask(self, folder: Path, iterations: int | None = None, report: Report = silent) -> tuple[Trial, ...]:
        """Write the trials that wait into ``folder``, for proxies that are trained elsewhere."""
        from climb_engine.external import write_trials

        self.run("tokens", report)
        with self._searching() as search:
            trials = search.ask(1_000_000, iterations)
        write_trials(folder, trials, search.objective.metrics)
        return trials

    def tell(self, path: Path) -> tuple[Trial, ...]:
        """Record the results in a CSV, by trial id; all of them, or on the first fault none (ClimbError)."""
        from climb_engine.external import read_results

        self.needed("tokens")
        with self._searching() as search:
            results = read_results(path, search.trials, search.objective.metrics)
            return tuple(search.tell(trial, outcome) for trial, outcome in results.items())

    # ---- mixture -> files ----------------------------------------------------------------------------------------

    def export(
        self,
        trial: int | None = None,
        name: str = "mixture",
        frameworks: Sequence[str] = (),
        paths: str | None = None,
        max_repeats: float = 4.0,
    ) -> Path:
        """Write a mixture as JSON, YAML and CSV with its provenance; the chosen one unless a trial is named.

        frameworks: of ``recipes.RECIPES``, or "all"; paths: template of a domain's data in these.
        """
        from climb_engine.export.kept import tokens_per_document
        from climb_engine.export.mixture import exported, write
        from climb_engine.export.recipes import write_recipes

        search = self.open_search()
        record = exported(search, trial, self.provenance(search))
        mixture = Mixture.from_dict(record["weights"], self.domains)
        lengths = tokens_per_document(self.dataset_artifacts()) if frameworks else {}
        recipes = write_recipes(frameworks, mixture, paths, lengths, max_repeats)
        return write(self.workspace.export_folder(name), record, recipes)

    def export_dataset(
        self, options: MixedOptions, folder: Path | None = None, trial: int | None = None, report: Report = silent
    ) -> Path:
        """Write a data set drawn by a mixture, the chosen one unless a trial is named; goes on where it was stopped."""
        from climb_engine.export.dataset import write_mixed
        from climb_engine.export.mixture import exported

        search = self.open_search()
        record = exported(search, trial, self.provenance(search))
        mixture = Mixture.from_dict(record["weights"], self.domains)
        folder = folder or self.workspace.export_folder("dataset")
        return write_mixed(folder, self.dataset_artifacts(), mixture, options, record["provenance"], report)

    def export_clustered(self, options: ClusteredOptions, folder: Path, report: Report = silent) -> Path:
        """Write the kept documents in a folder per cluster or domain; goes on where it was stopped."""
        from climb_engine.export.dataset import write_clustered

        artifacts = self.dataset_artifacts()
        return write_clustered(folder, artifacts, options, self.provenance(self.open_search()), report)

    def dataset_artifacts(self) -> Artifacts:
        """The finished stages that a data set is read from."""
        from climb_engine.export.kept import Artifacts

        corpus, decided, tokens = (self.needed(stage) for stage in ("corpus", "domains", "tokens"))
        return Artifacts(corpus, self.clusters, decided, tokens, self.domains)

    def provenance(self, search: Search) -> dict[str, Any]:
        """Where a mixture of this run comes from: corpus, model, config, overrides, addresses."""
        config = self.config
        corpus = self.needed("corpus")
        return {
            "run": self.workspace.name,
            "climb_studio": importlib.metadata.version("climb-studio"),
            "corpus": {
                "inputs": list(config.corpus.inputs),
                "documents": corpus.facts["documents"],
                "address": corpus.digest,
            },
            "embedding_model": config.embedding.model,
            "config_hash": digest_of(
                {name: knobs(getattr(config, name)) for name in type(config).model_fields if name not in _NO_MATTER}
            ),
            "overrides": [override.model_dump(exclude_defaults=True) for override in config.domains.overrides],
            "addresses": {
                stage.name: self._addresses[stage.name] for stage in STAGES if stage.name in ancestors(TRUNK, config)
            }
            | {"search": self.search_digest},
            "method": config.search.method,
            "iterations": search.iteration,
            "trials": sum(trial.result is not None for trial in search.own),
            "reused_trials": len(search.trials) - len(search.own),
        }

    # ---- addresses -----------------------------------------------------------------------------------------------

    @cached_property
    def _addresses(self) -> dict[str, str]:
        addresses: dict[str, str] = {}
        for stage in STAGES:
            addresses[stage.name] = digest_of(self._identity(stage, addresses))
        return addresses

    def _identity(self, stage: Stage, addresses: Mapping[str, str]) -> dict[str, Any]:
        identity: dict[str, Any] = {"stage": stage.name, "version": stage.version, "knobs": stage.knobs(self.config)}
        identity["inputs"] = {need: self._standing(need, addresses[need]) for need in stage.needs_of(self.config)}
        if sources := self._sources(stage, identity["knobs"]):
            identity["sources"] = sources
        return identity

    def _standing(self, need: str, address: str) -> str:
        """What stands for a stage in the addresses of those that need it: its own, or what came out of it."""
        if not BY_NAME[need].by_content:
            return address
        if made := self.workspace.made(need, address):
            return str(made.facts.get("content", address))
        return self._contents.get(need, address)  # of what is not known yet nothing can have been made

    def _is_known(self, need: str) -> bool:
        """Whether what stands for a stage stays as it is."""
        if not BY_NAME[need].by_content or need in self._contents:
            return True
        return self.workspace.made(need, self.address(need)) is not None

    def _sources(self, stage: Stage, wanted: Mapping[str, Any]) -> Any:
        try:
            return stage.sources(self.config)
        except ClimbError:
            last = self.workspace.latest(stage.name)  # files that are gone do no harm once they have been read
            if last is None or last.manifest["knobs"] != json.loads(json.dumps(wanted)):
                raise
            return last.manifest["sources"]

    def _planned(self, stage: Stage) -> Planned:
        digest, optional = self._addresses[stage.name], stage.name not in ancestors(TRUNK, self.config)
        if self.artifact(stage.name):
            return Planned(stage.name, digest, "done", "", optional)
        if damage := self.damage(stage.name):
            return Planned(stage.name, digest, "damaged", f"{damage}; to be made again", optional)
        parts = self.workspace.partial_parts(stage.name, digest)
        if parts:
            return Planned(stage.name, digest, "partial", f"goes on after {parts} finished parts", optional)
        why = f"only when asked for (--until {stage.name}): " if optional else ""
        return Planned(stage.name, digest, "missing", why + self._why(stage), optional)

    def _why(self, stage: Stage) -> str:
        last = self.workspace.latest(stage.name)
        if last is None:
            return "has not run yet"
        now = json.loads(json.dumps(self._identity(stage, self._addresses)))
        then = last.manifest
        changed = [
            f"{stage.name}.{line}"
            for key, value in now["knobs"].items()
            if then["knobs"].get(key) != value
            for line in _differences(key, then["knobs"].get(key), value)
        ]
        changed += [
            f"{need} {'changes' if self._is_known(need) else 'may change'}"
            for need, address in now["inputs"].items()
            if then["inputs"].get(need) != address
        ]
        if now.get("sources") != then.get("sources"):
            changed.append("the input files changed")
        if then["version"] != stage.version:
            changed.append(f"its code is now version {stage.version}")
        return "; ".join(changed) or "its artifact is gone"

    def _make(self, stage: Stage, report: Report) -> Artifact:
        digest = self._addresses[stage.name]
        with self.workspace.writing(stage.name, digest) as out:
            found = self.artifact(stage.name)  # another process may have finished it while we waited for nothing
            if found:
                return found
            started = time.monotonic()
            needs = {need: self.needed(need) for need in stage.needs_of(self.config)}
            work = Work(self.config, needs, out, report, stage.name, self._runner)
            facts = stage.body(work)
            seconds = time.monotonic() - started
            artifact = out.finish(self._manifest(stage, facts, seconds))
        report(Event(stage.name, 1, 1, "stage", {"seconds": seconds}))
        return artifact

    def _manifest(self, stage: Stage, facts: Mapping[str, Any], seconds: float) -> dict[str, Any]:
        corpus = facts if stage.name == "corpus" else self.needed("corpus").facts
        return {
            "kind": stage.name,
            "digest": self._addresses[stage.name],
            **self._identity(stage, self._addresses),
            "parts": len(corpus["part_documents"]),
            "facts": facts,
            "seconds": round(seconds, 3),
            "created": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "machine": {"device": self.config.machine.device, "platform": platform.platform()},
            "libraries": _versions(),
        }


def _told(search: Search, trial: Trial) -> Event:
    known = search.own
    done = sum(not t.open for t in known)
    facts = {"trial": trial.id, "iteration": trial.iteration, "score": search.score(trial), "error": trial.error}
    return Event("search", done, len(known), "trials", facts)


def _versions() -> dict[str, str]:
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _differences(knob: str, then: Any, now: Any) -> Iterator[str]:
    """What changed in a knob: of a table entry by entry, of a long list only its length."""
    if isinstance(then, dict) and isinstance(now, dict):
        for key in sorted({*then, *now}):
            if then.get(key) != now.get(key):
                yield f"{knob}.{key}: {_short(then.get(key))} -> {_short(now.get(key))}"
    elif isinstance(then, list) and isinstance(now, list) and len(json.dumps([then, now])) > _LONG:
        yield f"{knob}: {len(then)} -> {len(now)} entries" if len(then) != len(now) else f"{knob}: other entries"
    else:
        yield f"{knob}: {_short(then)} -> {_short(now)}"


def _short(value: Any) -> str:
    text = "none" if value is None else json.dumps(value)
    return text if len(text) <= _LONG else text[: _LONG - 3] + "..."
