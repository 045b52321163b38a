"""The run's comparisons of methods on larger models (``climb compare``), finished, under way or stopped.

Knows no Streamlit.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.words import count
from climb_engine.compare import Comparison, Options
from climb_engine.compare.outcome import Found, Measured, Model
from climb_engine.compare.plan import GENERAL
from climb_engine.search.baselines import Spent
from climb_engine.types import ClimbError, Mixture, Result
from climb_engine.workspace import Log, Workspace, read_json


@dataclass(frozen=True)
class Searched:
    """One of a comparison's searches: how much of its budget of proxies has told or failed."""

    method: str
    replicate: int
    told: int
    of: int


@dataclass(frozen=True, eq=False)
class Proof:
    """One comparison, as its folder tells of it."""

    folder: Path
    plan: Mapping[str, Any]  # all that its numbers depend on, by plan.json
    updated: float  # when something was last written, seconds since the epoch

    @property
    def digest(self) -> str:
        """The comparison's address."""
        return self.folder.name

    @property
    def results(self) -> Path:
        """Where the sums are; not there while the searches are under way."""
        return self.folder / "results.json"

    @property
    def budget(self) -> int:
        """Proxies of each search; of some, one is of the natural mixture and in no iteration."""
        return max(map(sum, self.plan["iterations"].values()), default=0)

    @property
    def title(self) -> str:
        """What tells it from the others; never changes."""
        tokens = count(self.plan["target_model"]["tokens"])
        return f"{self.digest}: {self.budget} proxies a search, targets of {tokens} tokens"

    def searches(self) -> tuple[Searched, ...]:
        """How far each search is, by its log. What was found without one (DoReMi) has spent its budget or nothing."""
        found = []
        for path in sorted((self.folder / "searches").glob("*.jsonl")):
            method, _, replicate = path.stem.rpartition("-")
            events = [event.get("event") for event in Log(path)]
            told = self.budget if "found" in events else events.count("told") + events.count("failed")
            found.append(Searched(method, int(replicate), told, self.budget))
        return tuple(found)

    def targets(self) -> int:
        """How many larger models have been trained, or failed."""
        return sum(1 for _ in Log(self.folder / "targets.jsonl"))


def proofs(workspace: Workspace) -> tuple[Proof, ...]:
    """A run's comparisons, the one that was written to last first; folders that tell nothing are left out."""
    found = (_proof(path.parent) for path in (workspace.folder / "compare").glob("*/plan.json"))
    return tuple(sorted((proof for proof in found if proof), key=lambda proof: -proof.updated))


def read(path: Path) -> Comparison:
    """A comparison from its results.json. Raises ClimbError when that cannot be read."""
    try:
        found = read_json(path)
        return Comparison(
            run=found["run"],
            digest=found["digest"],
            options=_options(found["options"]),
            calibrated=tuple(found["calibrated"]),
            items=found["items"],
            proxy=Model(**found["proxy"]),
            target=Model(**found["target"]),
            found=tuple(_found(one) for one in found["found"]),
            measured=tuple(_measured(one, found["target"]["tokens"]) for one in found["measured"]),
            warnings=tuple(found["warnings"]),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ClimbError(
            f"{path} cannot be read ({error}); remove it and give the same 'climb compare' again: what was trained is "
            "not trained again"
        ) from error


def arguments(options: Options) -> tuple[str, ...]:
    """The command line's words for these options, always in pairs but for --scratch at the end."""
    plain = Options()
    said = [
        *("compare", "--methods", ",".join(options.methods), "--budget", str(options.budget)),
        *("--replicates", str(options.replicates), "--target-size", options.target_size),
        *("--target-tokens", str(options.target_tokens)),
    ]
    for name in ("seeds", "items"):
        if getattr(options, name) != getattr(plain, name):
            said += [f"--{name}", str(getattr(options, name))]
    if options.tasks != GENERAL:
        files = options.files
        said += ["--tasks", ",".join(f"{task}={files[task]}" if task in files else task for task in options.tasks)]
    for knob, value in options.knobs.items():
        said += ["--set", f"{knob}={json.dumps(value)}"]
    for method, parts in options.splits.items():
        said += ["--split", f"{method}={','.join(map(str, parts))}"]
    return (*said, "--scratch") if options.scratch else tuple(said)


def wanted_targets(arguments: Iterable[str]) -> int:
    """How many targets a comparison that was started with these words trains."""
    words = list(arguments)
    said = dict(zip(words[1::2], words[2::2], strict=False))
    methods = {"natural", *said["--methods"].split(",")}
    return len(methods) * int(said["--replicates"]) * int(said.get("--seeds", 1))


def _proof(folder: Path) -> Proof | None:
    files = [path for path in folder.rglob("*") if path.is_file() and path.name != "lock"]
    try:
        plan = read_json(folder / "plan.json")
        proof = Proof(folder, plan, max(path.stat().st_mtime for path in files))
        return proof if proof.title else None  # the title reads what must be there
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _options(found: Mapping[str, Any]) -> Options:
    tuples = {name: tuple(found[name]) for name in ("methods", "tasks")}
    splits = {method: tuple(parts) for method, parts in found["splits"].items()}
    return Options(**{**found, **tuples, "splits": splits})


def _found(one: Mapping[str, Any]) -> Found:
    weights = one["weights"]
    return Found(
        method=one["method"],
        replicate=one["replicate"],
        mixture=Mixture(tuple(weights), np.array(list(weights.values()))),
        spent=Spent(**one["spent"]),
        gain=_number(one["foretold_gain"]),
        gain_sd=_number(one["gain_sd"]),
        spearman=one["spearman"],
    )


def _measured(one: Mapping[str, Any], tokens: int) -> Measured:
    result = Result(one["metrics"], tokens, one["seconds"], one["flops"]) if one["metrics"] else None
    return Measured(one["method"], one["replicate"], one["seed"], _number(one["score"]), result, one["error"])


def _number(value: float | None) -> float:
    return math.nan if value is None else value
