"""Metrics of a trial to its one score, and how much of the scores' spread is noise."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from climb_engine.config import TargetConfig, nearest
from climb_engine.types import ClimbError, FloatArray, Result

HELDOUT = "heldout/"
ACCURACIES = ("/acc", "/acc_norm")


@dataclass(frozen=True)
class Objective:
    """A weighted mean of metrics, turned so that higher is better.

    Metrics are "<task>/bpb", "<task>/acc", "<task>/acc_norm", and in bits per byte "heldout/<domain>" and
    "heldout/all", the mean over domains. Accuracies count as they are, bits per byte negatively. Both kinds can be
    weighted together, but a hundredth of accuracy then counts as much as a hundredth of a bit.
    """

    weights: Mapping[str, float]  # metric -> weight > 0

    def __post_init__(self) -> None:
        for name, weight in self.weights.items():
            if not (math.isfinite(weight) and weight > 0):
                raise ClimbError(f"the weight of {name} in the score is {weight:g}; it must be more than 0")
        if not self.weights:
            raise ClimbError("the score weighs nothing; give target.tasks or target.heldout a weight above 0")
        object.__setattr__(self, "weights", dict(self.weights))

    @classmethod
    def from_config(cls, target: TargetConfig, domains: Sequence[str]) -> Self:
        """The objective of the target knobs; a weight of 0 leaves its metric out.

        Raises ClimbError when nothing has weight, for a negative weight, for a held-out name that is no domain, and for
        a task whose metrics would be mistaken for held-out ones.
        """
        if HELDOUT.rstrip("/") in target.tasks:
            raise ClimbError("target.tasks: no task can be called 'heldout'; rename it here and in target.files")
        for name in target.heldout:
            if name != "all" and name not in domains:
                raise ClimbError(f"target.heldout: no domain is called {name!r}{nearest(name, ['all', *domains])}")
        named = {f"{task}/{target.metric}": weight for task, weight in target.tasks.items()}
        named |= {f"{HELDOUT}{name}": weight for name, weight in target.heldout.items()}
        return cls({name: weight for name, weight in named.items() if weight != 0})

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics that a score needs."""
        return tuple(self.weights)

    def describe(self) -> str:
        """In words: what is averaged, with weights where they differ, and which way is better."""
        equal = len(set(self.weights.values())) == 1
        terms = [name if equal else f"{weight:g} x {name}" for name, weight in self.weights.items()]
        sign = "" if all(name.endswith(ACCURACIES) for name in self.weights) else "minus "
        return f"{sign}mean of {', '.join(terms)} (higher is better)"

    def score(self, metrics: Mapping[str, float]) -> float:
        """The score of one trial; NaN when a metric that it needs is not finite.

        Raises ClimbError when one was not measured.
        """
        score = sum(part * metrics[name] for name, part in self.parts(metrics).items())
        return score if math.isfinite(score) else math.nan

    def parts(self, metrics: Mapping[str, float]) -> dict[str, float]:
        """The signed part that each measured metric has in the score: "heldout/all" is spread over its domains."""
        whole = sum(self.weights.values())
        parts: dict[str, float] = {}
        for name, weight in self.weights.items():
            measured = _measured(name, metrics)
            sign = 1 if _is_accuracy(name) else -1
            for metric in measured:
                parts[metric] = parts.get(metric, 0.0) + sign * weight / whole / len(measured)
        return parts

    def scores(self, results: Sequence[Result]) -> FloatArray:
        """(n,) scores of n results."""
        return np.array([self.score(result.metrics) for result in results], dtype=np.float64)

    def terms(self, results: Sequence[Result]) -> tuple[FloatArray, FloatArray]:
        """What the scores of n results are made of: metrics (n, q) and signed coefficients (q,).

        ``metrics @ coefficients`` are the scores. Where results measured different domains, the one metric is the
        score itself. Losses that all results measured besides have a coefficient of 0.
        """
        parts = [self.parts(result.metrics) for result in results]
        if not parts or any(set(other) != set(parts[0]) for other in parts):
            return self.scores(results)[:, None], np.ones(1)
        besides = [name for name in results[0].metrics if name not in parts[0] and _is_loss_of_all(name, results)]
        metrics = [[result.metrics[name] for name in (*parts[0], *besides)] for result in results]
        return np.array(metrics, dtype=np.float64), np.array([*parts[0].values(), *(0.0 for _ in besides)])


def _is_accuracy(name: str) -> bool:
    return name.endswith(ACCURACIES) and not name.startswith(HELDOUT)


def _is_loss_of_all(name: str, results: Sequence[Result]) -> bool:
    measured = (result.metrics.get(name, math.nan) for result in results)
    return not _is_accuracy(name) and all(map(math.isfinite, measured))


def _measured(name: str, metrics: Mapping[str, float]) -> list[str]:
    """The measured metrics whose mean is the metric of this name."""
    found = [name] if name in metrics else []
    if not found and name == f"{HELDOUT}all":
        found = [metric for metric in metrics if metric.startswith(HELDOUT)]
    if not found:
        raise ClimbError(f"the score needs {name}, which was not measured{nearest(name, metrics)}")
    return found


def noise(groups: Sequence[Sequence[float]]) -> tuple[float, int]:
    """Noise of one run's score: its standard deviation about the mean of its mixture, and the degrees of freedom.

    Each group holds scores of one mixture under different seeds. Pooled over groups:
    ``sqrt(sum over groups of sum (x - mean)^2 / sum over groups of (size - 1))``. Scores that are not finite do not
    count. (nan, 0) when no group has two scores.
    """
    squares, freedom = 0.0, 0
    for group in groups:
        scores = _finite(group)
        if len(scores) > 1:
            squares += float(((scores - scores.mean()) ** 2).sum())
            freedom += len(scores) - 1
    return (math.sqrt(squares / freedom), freedom) if freedom else (math.nan, 0)


def signal_to_noise(scores: Sequence[float], noise_sd: float) -> float:
    """Standard deviation between mixtures, with the noise's variance removed, over that of the noise.

    ``sqrt(max(0, var(scores) - noise_sd^2)) / noise_sd``, for scores of distinct mixtures, one run each (sample
    variance). Below 1, two mixtures' order says more about their seeds than about them. NaN when fewer than two scores
    are finite or the noise is not known; inf when there is a signal and no noise at all.
    """
    finite = _finite(scores)
    if len(finite) < 2 or not math.isfinite(noise_sd):
        return math.nan
    signal = math.sqrt(max(0.0, float(finite.var(ddof=1)) - noise_sd**2))
    if noise_sd == 0:
        return math.inf if signal else math.nan
    return signal / noise_sd


def _finite(scores: Sequence[float]) -> FloatArray:
    values = np.asarray(scores, dtype=np.float64)
    return values[np.isfinite(values)]
