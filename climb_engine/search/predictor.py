"""Mixture to predicted score, with its uncertainty: every predictor by name, and which of them to trust.

A predictor learns from trials, mixtures (n, m) and their scores (n,), higher is better, and predicts at ``c`` others.
It standardises the scores itself, and the order of the trials never matters. ``sd`` is always that of the latent mean;
what one measurement scatters around that mean is ``noise_sd``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Self

import numpy as np
import numpy.typing as npt

from climb_engine.config import nearest
from climb_engine.search.gaussian import gaussian_processes
from climb_engine.search.laws import loglinear, ridge
from climb_engine.search.regression import FEWEST, Posterior, Predictor, Regression, Trials, WeightedSum
from climb_engine.search.trees import CLIMB_TREES, extratrees, lightgbm
from climb_engine.types import ClimbError, FloatArray

NORMAL_80 = 1.2815515655446004  # an 80 % interval of a normal: its mean plus and minus this many sd


@dataclass(frozen=True)
class Validation:
    """How well a predictor foretold trials that it had not seen."""

    name: str
    spearman: float  # rank correlation of prediction and score; 0 when either does not differ
    rmse: float
    coverage: float  # part of the scores inside the 80 % interval
    log_density: float  # mean log density of a score, in standard units; higher is better
    predictions: FloatArray  # (n,)
    sds: FloatArray  # (n,) of a measurement: the latent sd and the noise


@dataclass(frozen=True)
class Selection:
    """Which predictor was chosen by cross-validation, and why."""

    name: str
    validations: tuple[Validation, ...]  # best first
    reason: str


CANDIDATES = ("gp", "loglinear", "ridge", "lightgbm", "extratrees")
NAMES = ("lightgbm", "regmix", "ridge", "loglinear", "gp", "extratrees", "auto")


def make_predictor(
    name: str, seed: int = 0, noise_sd: float | None = None, coefficients: FloatArray | None = None
) -> Predictor:
    """The predictor of this name, to be fitted; one of ``NAMES``.

    With ``coefficients`` (q,) it learns each of q metrics by itself and predicts their weighted sum; ``fit`` then takes
    metrics (n, q) in place of scores. Those with a coefficient of 0 are not predicted, and gp learns from them what a
    mixture does. ``noise_sd`` is that of a whole score, and not for use with ``coefficients``.

    lightgbm
        The official CLIMB code's: 1000 trees, learning rate 0.01, depth 4, 5 trials per leaf, L1 = L2 = 1, a tenth
        held out, early stopping after 20 rounds. (Its newest version stops after fewer where fewer are held out.)
    regmix
        RegMix's (2407.01492): LightGBM's defaults, 1000 trees, learning rate 0.01, early stopping after 3 rounds; its
        20 trials per leaf make it a constant below about 45 trials.
    ridge, loglinear
        A line and an exponential law in the weights.
    gp
        A stack of Gaussian processes. ``noise_sd``, the sd of a repeated measurement, is learned unless given.
    extratrees
        Extremely randomised trees.
    auto
        The one of gp, loglinear, ridge, lightgbm and extratrees that cross-validation on the trials prefers.
    """
    learners: dict[str, Callable[[Trials], Posterior]] = {
        "lightgbm": partial(lightgbm, seed=seed, settings=CLIMB_TREES, patience=20),
        "regmix": partial(lightgbm, seed=seed, settings={}, patience=3),
        "ridge": ridge,
        "loglinear": loglinear,
        "gp": partial(gaussian_processes, noise_sd=noise_sd),
        "extratrees": partial(extratrees, seed=seed),
    }
    if name == "auto":
        return Chosen(seed, noise_sd, coefficients)
    if name not in learners:
        raise ClimbError(f"no predictor is called {name!r}{nearest(name, NAMES)}")
    if coefficients is None:
        return Regression(name, learners[name])
    if noise_sd is not None:
        raise ValueError("noise_sd is the noise of a whole score; with coefficients each metric's is learned")
    return WeightedSum(name, coefficients, lambda: Regression(name, learners[name]))


class Chosen:
    """The predictor that cross-validation on the trials prefers; after fit, ``selection`` says which and why."""

    name = "auto"

    def __init__(self, seed: int, noise_sd: float | None, coefficients: FloatArray | None) -> None:
        self.noise_sd = float("nan")
        self._settings = (seed, noise_sd, coefficients)

    def fit(self, weights: FloatArray, scores: FloatArray, besides: FloatArray | None = None) -> Self:
        """See Predictor."""
        self.selection = select(weights, scores, *self._settings)
        self._best = make_predictor(self.selection.name, *self._settings).fit(weights, scores, besides)
        self.noise_sd = self._best.noise_sd
        return self

    def mean(self, weights: FloatArray) -> FloatArray:
        """See Predictor."""
        return self._best.mean(weights)

    def predict(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """See Predictor."""
        return self._best.predict(weights)

    def sample(self, weights: FloatArray, n: int, rng: np.random.Generator) -> FloatArray:
        """See Predictor."""
        return self._best.sample(weights, n, rng)


def cross_validate(
    name: str,
    weights: FloatArray,
    scores: FloatArray,
    folds: int = 5,
    seed: int = 0,
    noise_sd: float | None = None,
    coefficients: FloatArray | None = None,
    besides: tuple[FloatArray, FloatArray] | None = None,
) -> Validation:
    """Fit ``folds`` times without a part of the trials and foretell that part; a mixture is in one part only.

    With ``coefficients``, ``scores`` are metrics (n, q), see make_predictor. ``besides``: mixtures and scores (or
    metrics) that are always learned from and never foretold.
    """
    more, results = besides or (weights[:0], scores[:0])
    learned, scores = scores, scores if coefficients is None else scores @ coefficients
    unit = Trials.of(weights, scores).sd or 1.0
    predictions, sds = np.empty(len(scores)), np.empty(len(scores))
    for held in _folds(weights, folds, seed):
        known = np.concatenate([weights[~held], more]), np.concatenate([learned[~held], results])
        predictor = make_predictor(name, seed, noise_sd, coefficients).fit(*known)
        predictions[held], latent = predictor.predict(weights[held])
        sds[held] = np.hypot(latent, predictor.noise_sd)
    misses = np.abs(predictions - scores)
    floor = np.maximum(sds / unit, 1e-3)
    return Validation(
        name,
        rank_correlation(predictions, scores),
        float(np.sqrt(np.square(misses).mean())),
        float((misses <= NORMAL_80 * sds).mean()),
        float((-0.5 * (np.log(2 * np.pi * floor**2) + (misses / unit / floor) ** 2)).mean()),
        predictions,
        sds,
    )


def _folds(weights: FloatArray, folds: int, seed: int) -> Iterator[npt.NDArray[np.bool_]]:
    """Masks (n,) of the trials held out; which they are does not depend on the order of the trials."""
    mixtures, which = np.unique(weights, axis=0, return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(mixtures))
    for group in np.array_split(order, min(folds, len(mixtures))):
        yield np.isin(which.ravel(), group)


def rank_correlation(a: FloatArray, b: FloatArray) -> float:
    """Spearman's rank correlation; 0 when either side does not differ."""
    from scipy.stats import rankdata

    ranks = [rankdata(side) for side in (a, b)]
    if any(np.ptp(side) == 0 for side in ranks):
        return 0.0
    return float(np.corrcoef(*ranks)[0, 1])


def select(
    weights: FloatArray,
    scores: FloatArray,
    seed: int = 0,
    noise_sd: float | None = None,
    coefficients: FloatArray | None = None,
) -> Selection:
    """Cross-validate ``CANDIDATES`` and choose the one that gives unseen scores the highest density."""
    if len(np.unique(weights, axis=0)) < 2 * FEWEST:
        return Selection("gp", (), f"fewer than {2 * FEWEST} different mixtures are too few to compare predictors")
    validations = [cross_validate(name, weights, scores, 5, seed, noise_sd, coefficients) for name in CANDIDATES]
    ranked = sorted(validations, key=lambda validation: -validation.log_density)
    best, second = ranked[:2]
    reason = (
        f"{best.name} foretells left-out trials best: log density {best.log_density:.2f} (next {second.name}, "
        f"{second.log_density:.2f}), rank correlation {best.spearman:.3f} (next {second.spearman:.3f})"
    )
    return Selection(best.name, tuple(ranked), reason)
