"""Trials, results and choices as the plain JSON of a search's log, and back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from climb_engine.search.outcome import Choice, Trust
from climb_engine.search.reuse import REUSED, Reusable
from climb_engine.types import Mixture, Result, Trial, finite


def fold(trials: dict[int, Trial], event: Mapping[str, Any], domains: tuple[str, ...]) -> None:
    """Put what an event says of trials into those known so far, by id."""
    for entry in event.get("trials", ()):
        mixture = Mixture(domains, np.array(entry["weights"]))
        result = result_from(entry) if entry["origin"] == REUSED else None
        trials[entry["id"]] = Trial(entry["id"], entry["iteration"], entry["origin"], mixture, entry["seed"], result)
    if event.get("event") == "told":
        trials[event["trial"]] = replace(trials[event["trial"]], result=result_from(event))
    elif event.get("event") == "failed":
        trials[event["trial"]] = replace(trials[event["trial"]], error=event["error"])


def own_trials(log: Iterable[Mapping[str, Any]]) -> tuple[Trial, ...]:
    """The trials in a search's log that the search itself measured, over the domains that the log names."""
    found: dict[int, Trial] = {}
    domains: tuple[str, ...] = ()
    for event in log:
        domains = tuple(event.get("domains", domains))
        fold(found, event, domains)
    return tuple(trial for trial in found.values() if trial.result and trial.origin != REUSED)


def reused_json(first: int, trials: Sequence[Reusable]) -> list[dict[str, Any]]:
    """Trials that another search measured, with new ids from ``first`` on."""
    return [
        {
            **{"id": first + i, "iteration": 0, "origin": REUSED, "seed": one.seed},
            **{"weights": one.mixture.weights.tolist(), "trial": one.trial, "distance": one.distance},
            "natural": one.natural,
            **result_json(one.result),
        }
        for i, one in enumerate(trials)
    ]


def result_json(result: Result) -> dict[str, Any]:
    """What a trial measured."""
    return {
        "metrics": dict(result.metrics),
        "tokens": result.tokens,
        "seconds": result.seconds,
        "flops": result.flops,
        "repeats": dict(result.repeats),
        "curve": [list(point) for point in result.curve],
    }


def result_from(event: Mapping[str, Any]) -> Result:
    """The result in a "told" event or in a reused trial."""
    curve: Iterable[Sequence[float]] = event.get("curve", ())
    return Result(
        metrics=event["metrics"],
        tokens=event["tokens"],
        seconds=event["seconds"],
        flops=event["flops"],
        repeats=event.get("repeats", {}),
        curve=tuple((int(step), float(loss)) for step, loss in curve),
    )


def choice_json(choice: Choice) -> dict[str, Any]:
    """A choice; numbers that are not known are null."""
    return {
        "iteration": choice.iterations,
        "weights": choice.mixture.weights.tolist(),
        "predicted": choice.predicted,
        "sd": choice.sd,
        "gain": finite(choice.gain),
        "gain_sd": finite(choice.gain_sd),
        "trust": vars(choice.trust) if choice.trust else None,
    }


def choice_from(event: Mapping[str, Any], domains: tuple[str, ...]) -> Choice:
    """The choice in a "chosen" event."""
    trust = event.get("trust")
    return Choice(
        mixture=Mixture(domains, np.array(event["weights"])),
        predicted=event["predicted"],
        sd=event["sd"],
        iterations=event["iteration"],
        gain=_number(event.get("gain")),
        gain_sd=_number(event.get("gain_sd")),
        trust=Trust(**trust) if trust else None,
    )


def _number(value: float | None) -> float:
    return math.nan if value is None else value
