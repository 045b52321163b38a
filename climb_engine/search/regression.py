"""What all predictors share: the protocol, the trials they learn from, the scaling, and sums of metrics."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol, Self

import numpy as np

from climb_engine.types import ClimbError, FloatArray

FEWEST = 3  # trials that a predictor can learn from
CHUNK = 10_000  # mixtures predicted at once


class Predictor(Protocol):
    """What the search asks of a predictor."""

    name: str
    noise_sd: float  # of one measurement around the latent mean, in units of the score; known after fit

    def fit(self, weights: FloatArray, scores: FloatArray, besides: FloatArray | None = None) -> Self:
        """Learn from mixtures (n, m) and scores (n,). ClimbError: too few trials, or a number that is not finite.

        ``besides`` (n, k) is what else the trials measured, for a learner that can make use of it.
        """
        ...

    def mean(self, weights: FloatArray) -> FloatArray:
        """Predicted scores (c,) of mixtures (c, m); what ``predict`` gives first, at a fraction of its cost."""
        ...

    def predict(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Mean and sd of the latent score at mixtures (c, m); each (c,)."""
        ...

    def sample(self, weights: FloatArray, n: int, rng: np.random.Generator) -> FloatArray:
        """Draws (n, c) of the latent score, joint over mixtures (c, m): each row is one possible truth."""
        ...


class Posterior(Protocol):
    """What a learner makes of trials: a Predictor's answers in standard units."""

    @property
    def noise_sd(self) -> float:
        """See Predictor."""
        ...

    def mean(self, weights: FloatArray) -> FloatArray:
        """See Predictor."""
        ...

    def predict(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See Predictor."""
        ...

    def sample(self, weights: FloatArray, n: int, rng: np.random.Generator) -> FloatArray:
        """See Predictor."""
        ...


@dataclass(frozen=True)
class Trials:
    """What a learner gets: trials in an order of their own, so that no split depends on the order they came in."""

    weights: FloatArray  # (n, m)
    scores: FloatArray  # (n,) with mean 0 and sd 1; all 0 when they do not differ
    mean: float
    sd: float  # 0 when the scores do not differ
    besides: FloatArray  # (n, k) what else they measured, as it is

    @classmethod
    def of(cls, weights: FloatArray, scores: FloatArray, besides: FloatArray | None = None) -> Self:
        """Check, sort and standardise."""
        weights, scores = np.asarray(weights, dtype=np.float64), np.asarray(scores, dtype=np.float64)
        if weights.ndim != 2 or scores.shape != (len(weights),):
            raise ValueError(f"weights (n, m) and scores (n,) are needed, not {weights.shape} and {scores.shape}")
        if len(scores) < FEWEST:
            raise ClimbError(f"a predictor needs at least {FEWEST} measured trials, there are {len(scores)}; run more")
        besides = np.empty((len(scores), 0)) if besides is None else np.asarray(besides, dtype=np.float64)
        finite = np.isfinite(weights).all(axis=1) & np.isfinite(scores) & np.isfinite(besides).all(axis=1)
        if not finite.all():
            rows = ", ".join(map(str, np.flatnonzero(~finite)[:5]))
            raise ClimbError(f"row {rows} of the trials has a weight or score that is no finite number; leave it out")
        order = np.lexsort((scores, *weights.T))
        weights, scores, besides = weights[order], scores[order], besides[order]
        mean, sd = float(scores.mean()), float(scores.std())
        sd = sd if sd > 1e-12 * max(1e-12, float(np.abs(scores).max())) else 0.0
        return cls(weights, (scores - mean) / sd if sd else np.zeros(len(scores)), mean, sd, besides)


class Regression:
    """A predictor made of a learner: the scaling and the checks that all of them share."""

    def __init__(self, name: str, learn: Callable[[Trials], Posterior]) -> None:
        self.name = name
        self.noise_sd = float("nan")
        self._learn = learn

    def fit(self, weights: FloatArray, scores: FloatArray, besides: FloatArray | None = None) -> Self:
        """See Predictor."""
        trials = Trials.of(weights, scores, besides)
        self._mean, self._sd = trials.mean, trials.sd
        self._posterior = self._learn(trials)
        self.noise_sd = self._posterior.noise_sd * trials.sd
        return self

    def mean(self, weights: FloatArray) -> FloatArray:
        """See Predictor."""
        means = [self._posterior.mean(chunk) for chunk in chunks(weights)]
        return np.asarray(self._mean + self._sd * np.concatenate(means))

    def predict(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See Predictor."""
        pairs = [self._posterior.predict(chunk) for chunk in chunks(weights)]
        mean, sd = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        return self._mean + self._sd * mean, self._sd * np.maximum(sd, 0.0)

    def sample(self, weights: FloatArray, n: int, rng: np.random.Generator) -> FloatArray:
        """See Predictor."""
        return np.asarray(self._mean + self._sd * self._posterior.sample(weights, n, rng))


class WeightedSum:
    """A score that is a weighted sum of metrics, each learned by itself; ``fit`` takes metrics (n, q) as scores.

    A metric depends on the mixture more simply than a sum of many does: with 64 trials the mean of RegMix's 13 losses
    is ranked at .98 in this way, at .93 when it is learned as one. Errors of metrics count as independent. Metrics with
    a coefficient of 0 are no part of the score, and are what its parts are learned with besides.
    """

    def __init__(self, name: str, coefficients: FloatArray, part: Callable[[], Predictor]) -> None:
        self.name = name
        self.noise_sd = float("nan")
        coefficients = np.asarray(coefficients, dtype=np.float64)
        self._in_score = coefficients != 0
        self._coefficients = coefficients[self._in_score]
        self._parts = tuple(part() for _ in self._coefficients)

    def fit(self, weights: FloatArray, scores: FloatArray, besides: FloatArray | None = None) -> Self:
        """See Predictor."""
        if scores.shape != (len(weights), len(self._in_score)):
            raise ValueError(f"metrics ({len(weights)}, {len(self._in_score)}) are needed, not {scores.shape}")
        more = scores[:, ~self._in_score]
        besides = more if besides is None else np.concatenate([more, besides], axis=1)
        for part, metric in zip(self._parts, scores[:, self._in_score].T, strict=True):
            part.fit(weights, metric, besides)
        noises = np.array([part.noise_sd for part in self._parts])
        self.noise_sd = float(np.linalg.norm(self._coefficients * noises))
        return self

    def mean(self, weights: FloatArray) -> FloatArray:
        """See Predictor."""
        return np.asarray(self._coefficients @ np.array([part.mean(weights) for part in self._parts]))

    def predict(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See Predictor."""
        means, sds = np.array([part.predict(weights) for part in self._parts]).swapaxes(0, 1)  # (q, c) each
        return self._coefficients @ means, np.sqrt(self._coefficients**2 @ sds**2)

    def sample(self, weights: FloatArray, n: int, rng: np.random.Generator) -> FloatArray:
        """See Predictor."""
        draws = np.array([part.sample(weights, n, rng) for part in self._parts])  # (q, n, c)
        return np.asarray(np.tensordot(self._coefficients, draws, axes=1))


def chunks(weights: FloatArray) -> Iterator[FloatArray]:
    """Mixtures (c, m) by at most ``CHUNK``; at least one part, which may be empty."""
    weights = np.asarray(weights, dtype=np.float64)
    for start in range(0, max(len(weights), 1), CHUNK):
        yield weights[start : start + CHUNK]


@dataclass(frozen=True)
class LowRank:
    """A normal posterior with covariance F F'; ``mean`` gives (c,) and ``root`` F (c, r) at mixtures (c, m)."""

    mean: Callable[[FloatArray], FloatArray]
    root: Callable[[FloatArray], FloatArray]
    noise_sd: float

    def predict(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See Predictor."""
        return self.mean(weights), np.sqrt(np.square(self.root(weights)).sum(axis=1))

    def sample(self, weights: FloatArray, n: int, rng: np.random.Generator) -> FloatArray:
        """See Predictor."""
        root = self.root(weights)
        return np.asarray(self.mean(weights) + rng.standard_normal((n, root.shape[1])) @ root.T)
