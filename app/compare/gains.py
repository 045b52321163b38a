"""How two measured mixtures differ, run by run with the same seed: in the score, its parts, and what is beside it.

A gain is positive where the first mixture is better, whatever the metric. Knows no Streamlit.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Literal

import numpy as np

from app.compare.compared import Compared, tasks
from climb_engine.search.objective import ACCURACIES, HELDOUT, Objective
from climb_engine.search.outcome import paired_gain

SCORE = "score"
Kind = Literal["good", "unclear", "bad"]


@dataclass(frozen=True)
class Gain:
    """By how much one mixture is better than another in one metric."""

    one: str
    other: str
    metric: str  # "score", or a metric's name
    levels: tuple[float, float]  # of the two: the metric's means over the pairs, as measured
    pairs: int
    mean: float
    interval: tuple[float, float]  # 95 %; nan for fewer than two pairs

    @property
    def beyond(self) -> bool:
        """Whether the interval does not hold 0."""
        return self.interval[0] > 0 or self.interval[1] < 0

    @property
    def verdict(self) -> str:
        """In plain words."""
        if not self.pairs:
            return "no seed in common"
        if not math.isfinite(self.interval[0]):
            return "one pair says nothing about the noise"
        if not self.beyond:
            return "within the noise"
        return f"{self.one if self.mean > 0 else self.other} is better, beyond the noise"


@dataclass(frozen=True)
class Verdict:
    """What the gains allow to say."""

    kind: Kind
    headline: str
    lines: tuple[str, ...]


def differences(found: Sequence[Compared], objective: Objective) -> list[Gain]:
    """The score's gain for every two of the measured ones."""
    measured = [one for one in found if one.measured]
    return [score_gain(one, other, objective) for one, other in combinations(measured, 2)]


def score_gain(one: Compared, other: Compared, objective: Objective) -> Gain:
    """In the score itself."""
    return _gain(one, other, SCORE, objective, 1)


def part_gains(one: Compared, other: Compared, objective: Objective) -> list[Gain]:
    """In each metric that the score is made of; none where it is made of one."""
    return [_gain(one, other, name, part, _sign(name)) for name, part in tasks(objective).items()]


def other_gains(one: Compared, other: Compared, objective: Objective) -> list[Gain]:
    """In every other metric that all runs of both have measured."""
    metrics = [set(trial.result.metrics) for of in (one, other) for trial in of.runs.values() if trial.result]
    common = set.intersection(*metrics) if metrics else set()
    names = sorted(common - set(objective.weights))
    return [_gain(one, other, name, Objective({name: 1.0}), _sign(name)) for name in names]


def verdict(score: Gain, parts: Sequence[Gain], others: Sequence[Gain]) -> Verdict:
    """One mixture against another; what got worse is in the headline."""
    if not math.isfinite(score.interval[0]):
        kind: Kind = "unclear"
        by = f"{score.mean:+.4f}, but " if score.pairs else ""
        headline = f"{score.one} against {score.other}: {by}{score.verdict}"
    elif score.beyond:
        kind = "good" if score.mean > 0 else "bad"
        how = "better" if score.mean > 0 else "worse"
        headline = f"{score.one} is {how} than {score.other} by {abs(score.mean):.4f}, beyond the noise"
    else:
        kind, headline = "unclear", f"{score.one} against {score.other}: {score.mean:+.4f}, within the noise"
    worse = [gain for gain in parts if gain.mean < 0]
    if worse and score.mean > 0 and math.isfinite(score.interval[0]):
        headline += f"; but worse on {', '.join(name_of(gain.metric) for gain in worse)}"
        headline += "" if any(gain.beyond for gain in worse) else " (within the noise)"
    lines = [sum_of(score), _parts_line(parts), _others_line(others)] if score.pairs else []
    return Verdict(kind, headline, tuple(line for line in lines if line))


def sum_of(gain: Gain) -> str:
    """The subtraction, to be done again by who reads it."""
    mine, others = gain.levels
    seeds = f"the same {gain.pairs} seeds" if gain.pairs > 1 else "the same seed"
    text = f"Over {seeds}: {gain.one} {mine:.4f}, {gain.other} {others:.4f}, difference {gain.mean:+.4f}"
    return f"{text}{interval_text(gain.interval)}."


def interval_text(interval: tuple[float, float], scale: float = 1.0, digits: int = 4) -> str:
    """An interval in words, "" where there is none."""
    low, high = (scale * end for end in interval)
    return f", 95 % {low:+.{digits}f} to {high:+.{digits}f}" if math.isfinite(low) else ""


def amount(gain: Gain) -> str:
    """How much better or worse, without its sign, in the metric's unit."""
    if is_accuracy(gain.metric):
        return f"{100 * abs(gain.mean):.1f} points of accuracy"
    return f"{abs(gain.mean):.4f} bits per byte"


def is_accuracy(metric: str) -> bool:
    """Whether more of it is better."""
    return metric.endswith(ACCURACIES) and not metric.startswith(HELDOUT)


def name_of(metric: str) -> str:
    """A metric's task or domain."""
    return metric.removeprefix(HELDOUT) if metric.startswith(HELDOUT) else metric.rpartition("/")[0] or metric


def _gain(one: Compared, other: Compared, metric: str, objective: Objective, sign: int) -> Gain:
    mine, others = one.scores(objective), other.scores(objective)
    seeds = [seed for seed in mine if seed in others]
    mean, interval = paired_gain(mine, others)
    levels = tuple(sign * float(np.mean([known[seed] for seed in seeds])) if seeds else math.nan
                   for known in (mine, others))  # fmt: skip
    return Gain(one.key, other.key, metric, (levels[0], levels[1]), len(seeds), mean, interval)


def _sign(metric: str) -> int:
    """From a metric's part in a score to the metric as it was measured."""
    return 1 if is_accuracy(metric) else -1


def _parts_line(parts: Sequence[Gain]) -> str:
    worse = sorted((gain for gain in parts if gain.mean < 0), key=lambda gain: gain.mean)
    better = sorted((gain for gain in parts if gain.mean >= 0), key=lambda gain: -gain.mean)
    said = [
        f"{word}: " + ", ".join(f"{name_of(gain.metric)} by {amount(gain)} ({_noise(gain)})" for gain in some)
        for word, some in (("Worse", worse), ("Better", better))
        if some
    ]
    return f"Of what the score is made of. {'. '.join(said)}." if said else ""


def _noise(gain: Gain) -> str:
    if not math.isfinite(gain.interval[0]):
        return "one pair"
    return "beyond the noise" if gain.beyond else "within the noise"


def _others_line(others: Sequence[Gain]) -> str:
    """What is not in the score and changed beyond the noise, the worst named."""
    heldout = [gain for gain in others if gain.metric.startswith(HELDOUT)]
    tasks = [gain for gain in others if not gain.metric.startswith(HELDOUT)]
    worse, better = _beyond(heldout, -1), _beyond(heldout, 1)
    said = []
    if worse:
        most = min(worse, key=lambda gain: gain.mean)
        said.append(
            f"held-out text of {len(worse)} of {len(heldout)} domains got worse, most of all {name_of(most.metric)} "
            f"(by {amount(most)})"
        )
    if better:
        said.append(f"that of {len(better)} of {len(heldout)} domains got better")
    for word, some in (("worse", _beyond(tasks, -1)), ("better", _beyond(tasks, 1))):
        if some:
            said.append(f"{word} are {', '.join(f'{gain.metric} by {amount(gain)}' for gain in some)}")
    return f"Not in the score, beyond the noise: {'; '.join(said)}." if said else ""


def _beyond(gains: Sequence[Gain], sign: int) -> list[Gain]:
    return [gain for gain in gains if gain.beyond and gain.mean * sign > 0]
