"""What a search has to show: its choice, how far to trust it, the gain with its noise, and whether to go on."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from climb_engine.types import Mixture, Trial

NORMAL_95 = 1.959963984540054
TRUSTED = 0.6  # rank correlation below which a predictor's ranking is little better than none


@dataclass(frozen=True)
class Trust:
    """How well the predictor foretold trials that it had not seen, by cross-validation."""

    predictor: str
    by_metric: bool
    trials: int
    spearman: float
    coverage: float  # part of the scores inside the 80 % interval

    @property
    def warning(self) -> str:
        """In plain words, when the choice should not be believed; else empty."""
        if self.spearman >= TRUSTED:
            return ""
        return (
            f"the predictor ranks unseen mixtures badly (rank correlation {self.spearman:.2f}): do not trust the "
            "choice; run more trials, train proxies on more tokens, or choose a target with less noise"
        )


@dataclass(frozen=True)
class Choice:
    """The mixture that a finished search settles on, and what its predictor expected of it."""

    mixture: Mixture
    predicted: float
    sd: float
    iterations: int  # how many had been told
    gain: float = math.nan  # predicted, over the natural mixture
    gain_sd: float = math.nan
    trust: Trust | None = None

    @property
    def gain_interval(self) -> tuple[float, float]:
        """95 % of the predictor's belief in the gain."""
        return self.gain - NORMAL_95 * self.gain_sd, self.gain + NORMAL_95 * self.gain_sd


@dataclass(frozen=True)
class Outcome:
    """What a search has to show. Scores are higher-is-better; nan where there is nothing to compute from."""

    natural: tuple[float, ...]  # the natural mixture's scores, one per seed
    chosen: Choice | None
    confirmed: tuple[float, ...]  # the chosen mixture's scores under fresh seeds
    best: Trial | None  # the best single measurement
    best_score: float
    gain: float  # mean paired difference, chosen minus natural, over the fresh seeds
    gain_interval: tuple[float, float]  # 95 %, Student t
    pairs: tuple[tuple[float, float], ...]  # chosen and natural under the same seed: what the gain is the mean of
    gains: Mapping[str, tuple[float, tuple[float, float]]]  # as the gain, of each metric that the score is made of
    noise_sd: float  # standard deviation of a score when only the seed changes
    noise_freedom: int
    signal_to_noise: float  # sd between mixtures over noise_sd


@dataclass(frozen=True)
class StopHint:
    """What one more iteration is expected to bring, beside what it costs and what could be seen of it."""

    gain: float  # expected rise of the best mixture's score, without noise
    visible: float  # standard error of a score confirmed with fresh seeds: a smaller gain cannot be told from none
    trials: int
    seconds: float  # of training, at what a trial cost so far
    flops: float
    runs: int = 1  # confirming ones, of whose mean ``visible`` is the error
    trust: Trust | None = None  # in the predictor that expects the gain; None: not checked

    @property
    def go_on(self) -> bool:
        """Whether the gain is large enough to be seen, and expected by a predictor that is to be trusted."""
        return self.known and self.gain > self.visible

    @property
    def known(self) -> bool:
        """Whether the gain can be told: the predictor is not known to be wrong."""
        return not (self.trust and self.trust.warning)

    @property
    def text(self) -> str:
        """The hint in a sentence, without the cost."""
        if not self.known:
            return (
                f"by how much {self.trials:,} more trials would raise the score cannot be told, since that is the "
                "predictor's to say; they would teach it more"
            )
        advice = "worth it" if self.go_on else "too little to be seen, stop here"
        mean = f"the mean of {self.runs:,} confirming runs is" if self.runs > 1 else "a single confirming run is"
        return (
            f"{self.trials:,} more trials should raise the score by about {self.gain:.2g}; {mean} off by "
            f"{self.visible:.2g} (one standard error): {advice}"
        )


def paired_gain(chosen: Mapping[int, float], natural: Mapping[int, float]) -> tuple[float, tuple[float, float]]:
    """Mean difference of scores with the same seed, and its 95 % interval."""
    pairs = [chosen[seed] - natural[seed] for seed in chosen if seed in natural]
    return (math.nan, (math.nan, math.nan)) if not pairs else mean_interval(pairs)


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, tuple[float, float]]:
    """Mean and its Student-t interval; the interval is nan for fewer than two values."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, (math.nan, math.nan)
    from scipy.stats import t

    half = float(t.ppf((1 + level) / 2, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))
    return mean, (mean - half, mean + half)
