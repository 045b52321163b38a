"""Predictors made of a law: a line in the weights, and the exponential mixing law."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import numpy as np

from climb_engine.search.regression import LowRank, Posterior, Trials
from climb_engine.types import FloatArray


def ridge(trials: Trials) -> Posterior:
    """A line in the weights, shrunk as far as the evidence says (Bayesian ridge)."""
    from sklearn.linear_model import BayesianRidge

    centre = trials.weights.mean(axis=0)
    line = BayesianRidge().fit(trials.weights - centre, trials.scores)
    noise = float(1 / np.sqrt(line.alpha_))
    slopes = _root_of(line.sigma_)

    def root(weights: FloatArray) -> FloatArray:
        offset = np.full((len(weights), 1), noise / np.sqrt(len(trials.scores)))
        return np.hstack([offset, (weights - centre) @ slopes])

    return LowRank(lambda weights: line.predict(weights - centre), root, noise)


def _root_of(covariance: FloatArray) -> FloatArray:
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)))


def _law(theta: FloatArray, centred: FloatArray, sign: float) -> tuple[FloatArray, FloatArray]:
    """``c + sign * exp(k + w.t)`` for theta = (c, k, t) at centred weights (c, m), and its Jacobian (c, m + 2)."""
    growth = sign * np.exp(np.minimum(theta[1] + centred @ theta[2:], 30.0))
    jacobian = np.hstack([np.ones((len(centred), 1)), growth[:, None], growth[:, None] * centred])
    return theta[0] + growth, jacobian


@dataclass(frozen=True)
class _LawFit:
    """One penalised least-squares fit of the exponential law."""

    theta: FloatArray
    sign: float
    residuals: FloatArray  # (n,)
    unscaled: FloatArray  # (m + 2, m + 2) covariance of theta for noise of variance 1
    leverage: FloatArray  # (n,)

    @property
    def left_out(self) -> float:
        """Mean squared residual of each trial under a fit without it (linearised)."""
        return float(np.square(self.residuals / np.maximum(1 - self.leverage, 1e-3)).mean())


def _fit_law(centred: FloatArray, scores: FloatArray, start: FloatArray, sign: float, shrinkage: float) -> _LawFit:
    from scipy.optimize import least_squares

    penalty: FloatArray = np.diag(np.sqrt(np.r_[1e-6, 1e-3, np.full(centred.shape[1], shrinkage)]))

    def residuals(theta: FloatArray) -> FloatArray:
        return np.asarray(np.r_[_law(theta, centred, sign)[0] - scores, penalty @ theta])

    def jacobian(theta: FloatArray) -> FloatArray:
        return np.concatenate([_law(theta, centred, sign)[1], penalty])

    theta: FloatArray = least_squares(residuals, start, jacobian, method="lm", max_nfev=200).x
    slopes = _law(theta, centred, sign)[1]
    unscaled = np.asarray(np.linalg.pinv(slopes.T @ slopes + penalty**2, hermitian=True), dtype=np.float64)
    leverage = ((slopes @ unscaled) * slopes).sum(axis=1)
    return _LawFit(theta, sign, residuals(theta)[: len(scores)], unscaled, leverage)


def loglinear(trials: Trials) -> Posterior:
    """The exponential mixing law, score = c + k exp(w.t) (2403.16952; log-linear in Olmix, 2602.12237).

    Starts are the ridge line bent by three curvatures in both directions; the shrinkage of t is the one with the best
    leave-one-out error; the covariance is that of the linearised law.
    """
    from sklearn.linear_model import BayesianRidge

    centre = trials.weights.mean(axis=0)
    centred = trials.weights - centre
    slope = BayesianRidge().fit(centred, trials.scores).coef_
    fits = [
        _fit_law(centred, trials.scores, np.r_[-sign * size, np.log(size), sign * slope / size], sign, 0.01)
        for sign in (1.0, -1.0)
        for size in (0.5, 2.0, 8.0)
    ]
    first = min(fits, key=lambda fit: fit.left_out)
    fits = [_fit_law(centred, trials.scores, first.theta, first.sign, s) for s in np.geomspace(1e-4, 1.0, 5)]
    best = min([first, *fits], key=lambda fit: fit.left_out)
    noise = float(np.sqrt(np.square(best.residuals).sum() / max(len(centred) - best.leverage.sum(), 1.0)))
    root = noise * _root_of(best.unscaled)
    law = partial(_law, best.theta, sign=best.sign)
    return LowRank(lambda weights: law(weights - centre)[0], lambda weights: law(weights - centre)[1] @ root, noise)
