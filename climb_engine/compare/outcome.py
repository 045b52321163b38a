"""What a comparison has to show: the mixtures, the targets' measurements, and what can be said of their differences.

The unit is the replicate: a search with seeds of its own and its targets. Several targets of one mixture are averaged
first. Differences are paired by replicate, in which all targets read in one order.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from climb_engine.compare.plan import Options
from climb_engine.search.baselines import Spent
from climb_engine.search.objective import noise
from climb_engine.search.outcome import mean_interval
from climb_engine.types import FloatArray, Mixture, Result

Kind = Literal["bpb", "acc"]
"""Bits per byte of the gold answer (lower is better), or accuracy (higher is better)."""
NORMALISED = ("piqa", "arc_challenge", "hellaswag")
"""Tasks whose accuracy is by likelihood per byte, as in the paper's tables."""
ALL, CALIBRATED, OTHER = "all tasks", "calibrated tasks", "other tasks"
HELDOUT = "heldout/"
FEWEST = 3  # replicates that a verdict needs


@dataclass(frozen=True)
class Found:
    """The mixture that a method proposes in one replicate, what it expects of it, and what it cost to find."""

    method: str
    replicate: int
    mixture: Mixture
    spent: Spent
    gain: float = math.nan  # predicted, of the proxies' score over natural
    gain_sd: float = math.nan
    spearman: float | None = None  # the predictor's cross-validated rank correlation


@dataclass(frozen=True)
class Measured:
    """One target model."""

    method: str
    replicate: int
    seed: int
    score: float  # the searches' score, on the report items; higher is better
    result: Result | None
    error: str | None = None


@dataclass(frozen=True)
class Estimate:
    """A mean over replicates with its 95 % Student interval, nan for a single one."""

    mean: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, values: FloatArray) -> Estimate:
        """The finite ones of some values."""
        known = values[np.isfinite(values)]
        if not len(known):
            return cls(math.nan, math.nan, math.nan, 0)
        mean, (low, high) = mean_interval(known.tolist())
        return cls(mean, low, high, len(known))

    @property
    def verdict(self) -> str:
        """Of a difference whose positive side is better. Two values may be equal by chance, accuracies above all."""
        if self.n < FEWEST:
            return f"unknown with fewer than {FEWEST} replicates"
        return "better" if self.low > 0 else "worse" if self.high < 0 else "within the noise"


@dataclass(frozen=True)
class Model:
    """The size and cost of a model that is trained."""

    parameters: int
    tokens: int
    trunk_tokens: int
    trunk_seconds: float
    trunk_flops: float


@dataclass(frozen=True)
class Comparison:
    """Methods with equal budgets, by what their mixtures make of a larger model."""

    run: str
    digest: str
    options: Options
    calibrated: tuple[str, ...]  # tasks that the searches' score is made of
    items: Mapping[str, int]  # task to report items, in the order of the columns
    proxy: Model
    target: Model
    found: tuple[Found, ...]
    measured: tuple[Measured, ...]
    warnings: tuple[str, ...] = ()

    @property
    def methods(self) -> tuple[str, ...]:
        """The methods that have a measured target."""
        there = {one.method for one in self.measured if one.result}
        return tuple(name for name in self.options.methods if name in there)

    @property
    def complete(self) -> bool:
        """Whether every target was trained, well or not."""
        return len(self.measured) == len(self.options.methods) * self.options.replicates * self.options.seeds

    def tasks(self, kind: Kind, group: str = ALL) -> tuple[str, ...]:
        """The tasks of a group for which all targets have this kind of measurement."""
        results = [one.result.metrics for one in self.measured if one.result]
        chosen = (name for name in self.items if group == ALL or (name in self.calibrated) == (group == CALIBRATED))
        return tuple(name for name in chosen if all(metric_of(name, kind) in metrics for metrics in results))

    def of_task(self, method: str, task: str, kind: Kind) -> FloatArray:
        """(replicates,) a task's measurements, nan where there are none."""
        return self._means(method, [metric_of(task, kind)])

    def of_group(self, method: str, kind: Kind, group: str = ALL) -> FloatArray:
        """(replicates,) means over a group's tasks, each weighing the same."""
        return self._means(method, [metric_of(task, kind) for task in self.tasks(kind, group)])

    def of_heldout(self, method: str) -> FloatArray:
        """(replicates,) mean bits per byte over the domains' unseen held-out text."""
        results = [set(one.result.metrics) for one in self.measured if one.result]
        common = set.intersection(*results) if results else set()
        return self._means(method, sorted(name for name in common if name.startswith(HELDOUT)))

    def gains(self, method: str, reference: str, kind: Kind, group: str = ALL) -> Estimate:
        """By how much a method is better than another (bits per byte saved, or accuracy won), paired by replicate."""
        sign = -1 if kind == "bpb" else 1
        return Estimate.of(sign * (self.of_group(method, kind, group) - self.of_group(reference, kind, group)))

    def noise(self, kind: Kind) -> tuple[float, int]:
        """Standard deviation of a target's mean over all tasks when only its data order changes; its freedom."""
        return noise([self.of_group(name, kind).tolist() for name in ("natural", "uniform") if name in self.methods])

    def score_gain(self, method: str) -> Estimate:
        """The targets' gain over natural in the searches' own score, on report items: what a search foretold."""
        return Estimate.of(self._scores(method) - self._scores("natural"))

    def _scores(self, method: str) -> FloatArray:
        return self._by_replicate(method, lambda one: one.score)

    def foretold(self, method: str) -> Estimate:
        """The gain over natural that the searches predicted, at the proxies' size."""
        return Estimate.of(np.array([one.gain for one in self.found if one.method == method]))

    def spent(self, method: str) -> Spent:
        """The mean cost of finding a mixture, without the trunk that all share."""
        costs = [one.spent for one in self.found if one.method == method]
        count = max(1, len(costs))
        return Spent(
            proxies=round(sum(cost.proxies for cost in costs) / count),
            tokens=round(sum(cost.tokens for cost in costs) / count),
            seconds=sum(cost.seconds for cost in costs) / count,
            flops=sum(cost.flops for cost in costs) / count,
        )

    def target_cost(self, method: str) -> tuple[float, float]:
        """Mean seconds and FLOPs of one target of a method, without the trunk that all share."""
        results = [one.result for one in self.measured if one.method == method and one.result]
        count = max(1, len(results))
        return sum(r.seconds for r in results) / count, sum(r.flops for r in results) / count

    def _means(self, method: str, metrics: Sequence[str]) -> FloatArray:
        """(replicates,) means over seeds and some metrics; nan of none."""

        def mean(result: Result) -> float:
            return float(np.mean([result.metrics[name] for name in metrics])) if metrics else math.nan

        return self._by_replicate(method, lambda one: mean(one.result) if one.result else math.nan)

    def _by_replicate(self, method: str, value: Callable[[Measured], float]) -> FloatArray:
        """(replicates,) means over seeds."""
        seen: list[list[float]] = [[] for _ in range(self.options.replicates)]
        for one in self.measured:
            if one.method == method and one.result:
                seen[one.replicate].append(value(one))
        return np.array([np.mean(values) if values else math.nan for values in seen])


def metric_of(task: str, kind: Kind) -> str:
    """The metric that stands for a task: for accuracy the paper's choice."""
    return f"{task}/{kind}" if kind == "bpb" or task not in NORMALISED else f"{task}/acc_norm"
