"""The targets of a comparison: a larger model on every mixture that was found, measured on what no search has seen."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from climb_engine.compare.outcome import Found, Measured
from climb_engine.compare.plan import Plan
from climb_engine.pipeline import Run
from climb_engine.runners import Runner
from climb_engine.search.objective import Objective
from climb_engine.search.record import result_from, result_json
from climb_engine.training import Trainer, encode_items
from climb_engine.types import ClimbError, Event, Report, Result, Trial, finite
from climb_engine.workspace import Artifact, Log

_SEEDS_PER_REPLICATE = 1000

Model = tuple[bytes, int]
"""What a target's result depends on: its weights and the seed of its data order."""


@dataclass(frozen=True)
class Wanted:
    """A target to train, or trained: the mixture that a method found in a replicate, and a seed."""

    found: Found
    number: int  # of the seed within the replicate

    @property
    def seed(self) -> int:
        """Of the data order: the same for all methods of a replicate, so that differences are paired."""
        return 1 + _SEEDS_PER_REPLICATE * self.found.replicate + self.number

    @property
    def model(self) -> Model:
        """Equal mixtures under one seed are one model."""
        return self.found.mixture.weights.tobytes(), self.seed


def wanted_targets(plan: Plan, found: Sequence[Found]) -> tuple[Wanted, ...]:
    """Every target of the comparison, one replicate after the other, so that early ones can be looked at."""
    replicates = range(plan.options.replicates)
    seeds = range(plan.options.seeds)
    return tuple(Wanted(one, seed) for r in replicates for seed in seeds for one in found if one.replicate == r)


def target_log(plan: Plan) -> Log:
    """Where the targets' results are kept."""
    return Log(plan.folder / "targets.jsonl")


def target_trunk(plan: Plan, report: Report) -> Artifact:
    """What the targets start from: a stage of the run with the target in the place of its proxies."""
    return _target_run(plan).run("trunk", report)


def run_targets(plan: Plan, wanted: Sequence[Wanted], runner: Runner, report: Report) -> None:
    """Train and measure the targets that are not in the log yet."""
    known = _known(plan)
    waiting = list({one.model: one for one in wanted if one.model not in known}.values())
    if not waiting:
        return
    trainer, log = _trainer(plan, report), target_log(plan)
    before = len({one.model for one in wanted}) - len(waiting)
    trials = [
        Trial(number, one.found.replicate, "target", one.found.mixture, one.seed) for number, one in enumerate(waiting)
    ]
    for done, (trial, outcome) in enumerate(runner.run(trainer, trials, trainer.stack), start=1):
        log.append(_event(waiting[trial.id], outcome))
        if done % trainer.stack == 0 or done == len(trials):  # whoever stops here finds a whole stack told
            report(Event("compare", before + done, before + len(trials), "targets"))


def measured_targets(plan: Plan, wanted: Sequence[Wanted]) -> tuple[Measured, ...]:
    """What the log says of these targets; those that are not trained yet are left out."""
    known, objective = _known(plan), plan.run.objective()
    measured = []
    for one in wanted:
        outcome = known.get(one.model)
        if isinstance(outcome, Result):
            score = _score(objective, outcome.metrics)
            measured.append(Measured(one.found.method, one.found.replicate, one.seed, score, outcome))
        elif outcome is not None:
            measured.append(Measured(one.found.method, one.found.replicate, one.seed, math.nan, None, outcome))
    return tuple(measured)


def _score(objective: Objective, metrics: Mapping[str, float]) -> float:
    """The searches' score, on the report items; nan where a part of it was not measured or not finite."""
    try:
        return objective.score(metrics)
    except ClimbError:
        return math.nan


def _known(plan: Plan) -> dict[Model, Result | str]:
    return {
        (np.array(event["weights"]).tobytes(), event["seed"]): event.get("error") or result_from(event)
        for event in target_log(plan)
    }


def _event(one: Wanted, outcome: Result | str) -> dict[str, Any]:
    about = {"method": one.found.method, "replicate": one.found.replicate, "seed": one.seed}
    about["weights"] = one.found.mixture.weights.tolist()
    if isinstance(outcome, str):
        return {"event": "failed", **about, "error": outcome}
    said = result_json(outcome)
    said["metrics"] = {name: value for name, value in said["metrics"].items() if finite(value) is not None}
    return {"event": "told", **about, **said}


def _target_run(plan: Plan) -> Run:
    run = Run(plan.run.workspace.folder)
    run.config = plan.target
    return run


def _trainer(plan: Plan, report: Report) -> Trainer:
    """Measures what no search has seen: the report items and the second half of the held-out text."""
    run = _target_run(plan)
    tokens, trunk = run.needed("tokens"), run.run("trunk", report)
    trainer = Trainer.prepare(run.config, tokens, trunk, run.domains, report)
    requests = encode_items(run.config, tokens, plan.reported)
    return replace(trainer, requests=requests, heldout=trainer.heldout.halves()[1], stage="compare-targets")
