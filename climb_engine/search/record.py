"""Results and choices as the plain JSON of a search's log, and back."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from climb_engine.search.outcome import Choice, Trust
from climb_engine.types import Mixture, Result, finite


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
    """The result in a "told" event."""
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
