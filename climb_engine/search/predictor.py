"""Mixture to predicted score, with its uncertainty: every predictor behind one protocol.

A predictor learns from trials, mixtures (n, m) and their scores (n,), higher is better, and predicts at ``c`` others.
It standardises the scores itself, and the order of the trials never matters. ``sd`` is always that of the latent mean;
what one measurement scatters around that mean is ``noise_sd``.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self

import numpy as np
import numpy.typing as npt

from climb_engine.config import nearest
from climb_engine.types import ClimbError, FloatArray

FEWEST = 3  # trials that a predictor can learn from
CHUNK = 10_000  # mixtures predicted at once
NORMAL_80 = 1.2815515655446004  # an 80 % interval of a normal: its mean plus and minus this many sd


class Predictor(Protocol):
    """What the search asks of a predictor."""

    name: str
    noise_sd: float  # of one measurement around the latent mean, in units of the score; known after fit

    def fit(self, weights: FloatArray, scores: FloatArray) -> Self:
        """Learn from mixtures (n, m) and scores (n,). ClimbError: too few trials, or a number that is not finite."""
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

    @classmethod
    def of(cls, weights: FloatArray, scores: FloatArray) -> Self:
        """Check, sort and standardise."""
        weights, scores = np.asarray(weights, dtype=np.float64), np.asarray(scores, dtype=np.float64)
        if weights.ndim != 2 or scores.shape != (len(weights),):
            raise ValueError(f"weights (n, m) and scores (n,) are needed, not {weights.shape} and {scores.shape}")
        if len(scores) < FEWEST:
            raise ClimbError(f"a predictor needs at least {FEWEST} measured trials, there are {len(scores)}; run more")
        finite = np.isfinite(weights).all(axis=1) & np.isfinite(scores)
        if not finite.all():
            rows = ", ".join(map(str, np.flatnonzero(~finite)[:5]))
            raise ClimbError(f"row {rows} of the trials has a weight or score that is no finite number; leave it out")
        order = np.lexsort((scores, *weights.T))
        weights, scores = weights[order], scores[order]
        mean, sd = float(scores.mean()), float(scores.std())
        sd = sd if sd > 1e-12 * max(1e-12, float(np.abs(scores).max())) else 0.0
        return cls(weights, (scores - mean) / sd if sd else np.zeros(len(scores)), mean, sd)


class Regression:
    """A predictor made of a learner: the scaling and the checks that all of them share."""

    def __init__(self, name: str, learn: Callable[[Trials], Posterior]) -> None:
        self.name = name
        self.noise_sd = float("nan")
        self._learn = learn

    def fit(self, weights: FloatArray, scores: FloatArray) -> Self:
        """See Predictor."""
        trials = Trials.of(weights, scores)
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
    is ranked at .98 in this way, at .93 when it is learned as one. Errors of metrics count as independent.
    """

    def __init__(self, name: str, coefficients: FloatArray, parts: tuple[Predictor, ...]) -> None:
        self.name = name
        self.noise_sd = float("nan")
        self._coefficients, self._parts = np.asarray(coefficients, dtype=np.float64), parts

    def fit(self, weights: FloatArray, scores: FloatArray) -> Self:
        """See Predictor."""
        if scores.shape != (len(weights), len(self._parts)):
            raise ValueError(f"metrics ({len(weights)}, {len(self._parts)}) are needed, not {scores.shape}")
        for part, metric in zip(self._parts, scores.T, strict=True):
            part.fit(weights, metric)
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
class _LowRank:
    """A normal posterior with covariance F F'; ``mean`` gives (c,) and ``root`` F (c, r) at mixtures (c, m)."""

    mean: Callable[[FloatArray], FloatArray]
    root: Callable[[FloatArray], FloatArray]
    noise_sd: float

    def predict(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        return self.mean(weights), np.sqrt(np.square(self.root(weights)).sum(axis=1))

    def sample(self, weights: FloatArray, n: int, rng: np.random.Generator) -> FloatArray:
        root = self.root(weights)
        return np.asarray(self.mean(weights) + rng.standard_normal((n, root.shape[1])) @ root.T)


# Trees

TREES = {
    "objective": "regression",
    "metric": ["l1", "l2"],
    "learning_rate": 0.01,
    "num_threads": 1,  # a few hundred rows: threads cost more than they bring
    "deterministic": True,
    "force_row_wise": True,
    "verbosity": -1,
}
CLIMB_TREES = {"max_depth": 4, "num_leaves": 16, "min_data_in_leaf": 5, "lambda_l1": 1.0, "lambda_l2": 1.0}


def _lightgbm(trials: Trials, seed: int, settings: Mapping[str, Any], patience: int) -> Posterior:
    """Boosted trees, each fit with a tenth of the trials held out for early stopping.

    The mean is one such fit, as published. Ten fits, each without another tenth, give the covariance (grouped
    jackknife) and, on what they held out, the noise.
    """
    import lightgbm

    rows = np.random.default_rng(seed).permutation(len(trials.scores))
    groups = np.array_split(rows, min(10, len(rows)))
    boosters, misses = [], []
    for held in groups:
        kept = np.setdiff1d(rows, held)
        training = lightgbm.Dataset(trials.weights[kept], trials.scores[kept], params={"verbosity": -1})
        booster = lightgbm.train(
            {**TREES, **settings, "seed": seed},
            training,
            num_boost_round=1000,
            valid_sets=[lightgbm.Dataset(trials.weights[held], trials.scores[held], reference=training)],
            callbacks=[lightgbm.early_stopping(patience, verbose=False)],
        )
        boosters.append(booster)
        misses.append(booster.predict(trials.weights[held]) - trials.scores[held])

    def root(weights: FloatArray) -> FloatArray:
        members = np.array([booster.predict(weights) for booster in boosters]).T
        return np.asarray((members - members.mean(axis=1, keepdims=True)) * np.sqrt(1 - 1 / len(groups)))

    variance = np.square(np.concatenate(misses)).mean() - np.square(root(trials.weights)).sum(axis=1).mean()
    return _LowRank(boosters[0].predict, root, float(np.sqrt(max(variance, 0.0))))


def _extratrees(trials: Trials, seed: int) -> Posterior:
    """Extremely randomised trees; the trees' spread is the covariance, as in SMAC (Hutter et al. 2011)."""
    from sklearn.ensemble import ExtraTreesRegressor

    forest = ExtraTreesRegressor(300, min_samples_leaf=2, random_state=seed).fit(trials.weights, trials.scores)

    def root(weights: FloatArray) -> FloatArray:
        members = np.array([tree.predict(weights.astype(np.float32)) for tree in forest.estimators_]).T
        return np.asarray((members - members.mean(axis=1, keepdims=True)) / np.sqrt(members.shape[1]))

    unexplained = np.square(forest.predict(trials.weights) - trials.scores).mean()
    return _LowRank(forest.predict, root, float(np.sqrt(unexplained)))


# Laws


def _ridge(trials: Trials) -> Posterior:
    """A line in the weights, shrunk as far as the evidence says (Bayesian ridge)."""
    from sklearn.linear_model import BayesianRidge

    centre = trials.weights.mean(axis=0)
    line = BayesianRidge().fit(trials.weights - centre, trials.scores)
    noise = float(1 / np.sqrt(line.alpha_))
    slopes = _root_of(line.sigma_)

    def root(weights: FloatArray) -> FloatArray:
        offset = np.full((len(weights), 1), noise / np.sqrt(len(trials.scores)))
        return np.hstack([offset, (weights - centre) @ slopes])

    return _LowRank(lambda weights: line.predict(weights - centre), root, noise)


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


def _loglinear(trials: Trials) -> Posterior:
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
    return _LowRank(lambda weights: law(weights - centre)[0], lambda weights: law(weights - centre)[1] @ root, noise)


# Gaussian processes

TRANSFORMS: Mapping[str, Callable[[FloatArray], FloatArray]] = {
    "weights": lambda weights: weights,
    "square root": np.sqrt,
    "cube root": np.cbrt,
    "log": lambda weights: np.log(weights + 1e-3),
}
LENGTH, LENGTH_SPREAD = np.log(3.0), 1.0  # prior of a log length scale, inputs scaled to a norm of about 1
EFFORT = {"maxiter": 50, "ftol": 1e-5}  # of a marginal likelihood; more does not change predictions
EXACT = 2000  # mixtures of a joint draw by Cholesky factor; more are drawn by random Fourier features
FEATURES = 1024


@dataclass(frozen=True)
class _Process:
    """One fitted Gaussian process over transformed, scaled weights."""

    transform: Callable[[FloatArray], FloatArray]
    centre: FloatArray
    scale: float
    model: Any  # GaussianProcessRegressor

    def inputs(self, weights: FloatArray) -> FloatArray:
        return np.asarray((self.transform(weights) - self.centre) / self.scale)

    @property
    def noise(self) -> float:
        """Variance of one measurement."""
        return float(self.model.kernel_.k2.noise_level)

    def mean(self, weights: FloatArray) -> FloatArray:
        return np.asarray(self.model.predict(self.inputs(weights)))

    def predict(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Latent mean and variance, each (c,)."""
        mean, sd = self.model.predict(self.inputs(weights), return_std=True)
        return mean, np.maximum(sd**2 - self.noise, 0.0)  # scikit-learn counts the noise in

    def left_out(self) -> tuple[FloatArray, FloatArray]:
        """Mean and variance of each measurement under the process without it (Rasmussen & Williams 2006, 5.4.2)."""
        from scipy.linalg import cho_solve

        inverse = cho_solve((self.model.L_, True), np.eye(len(self.model.L_)))
        variance = 1 / np.diag(inverse)
        return self.model.y_train_ - self.model.alpha_ * variance, variance

    def sample(self, weights: FloatArray, n: int, rng: np.random.Generator) -> FloatArray:
        """Latent draws (n, c), exact for up to ``EXACT`` mixtures."""
        if len(weights) > EXACT:
            return self._pathwise(weights, n, rng)
        mean, covariance = self.model.predict(self.inputs(weights), return_cov=True)
        jitter = 1e-10 * self.model.kernel_.k1.k1.constant_value
        root = np.linalg.cholesky(covariance + (jitter - self.noise) * np.eye(len(mean)))
        return np.asarray(mean + rng.standard_normal((n, len(mean))) @ root.T)

    def _pathwise(self, weights: FloatArray, n: int, rng: np.random.Generator) -> FloatArray:
        """Matheron's rule: a prior draw from random Fourier features, corrected where trials were measured.

        Linear in the mixtures where a Cholesky factor is cubic; the sd where trials are dense comes out a little large
        (Wilson et al. 2020).
        """
        from scipy.linalg import cho_solve

        kernel, known = self.model.kernel_.k1, self.model.X_train_
        degrees = 2 * kernel.k2.nu  # the spectrum of a Matérn kernel is a Student t
        heavy = np.sqrt(rng.chisquare(degrees, (1, FEATURES)) / degrees)
        waves = rng.standard_normal((known.shape[1], FEATURES)) / heavy
        waves = waves / np.reshape(kernel.k2.length_scale, (-1, 1))
        phases, amplitude = rng.uniform(0, 2 * np.pi, FEATURES), np.sqrt(2 * kernel.k1.constant_value / FEATURES)
        drawn = rng.standard_normal((FEATURES, n))

        def prior(inputs: FloatArray) -> FloatArray:
            return np.asarray(amplitude * np.cos(inputs @ waves + phases) @ drawn)

        noise = np.sqrt(self.noise) * rng.standard_normal((len(known), n))
        correction = cho_solve((self.model.L_, True), self.model.y_train_[:, None] - prior(known) - noise)
        parts = [prior(inputs) + kernel(inputs, known) @ correction for inputs in map(self.inputs, chunks(weights))]
        return np.concatenate(parts).T


@dataclass(frozen=True)
class _Stack:
    """A mixture of Gaussian processes."""

    members: tuple[_Process, ...]
    shares: FloatArray  # (members,) sum to 1

    @property
    def noise_sd(self) -> float:
        return float(np.sqrt(self.shares @ np.array([member.noise for member in self.members])))

    def mean(self, weights: FloatArray) -> FloatArray:
        return np.asarray(self.shares @ np.array([process.mean(weights) for process in self.members]))

    def predict(self, weights: FloatArray) -> tuple[FloatArray, FloatArray]:
        means, variances = (np.array(part) for part in zip(*(p.predict(weights) for p in self.members), strict=True))
        mean = self.shares @ means
        return mean, np.sqrt(self.shares @ (variances + (means - mean) ** 2))

    def sample(self, weights: FloatArray, n: int, rng: np.random.Generator) -> FloatArray:
        counts = rng.multinomial(n, self.shares)
        drawn = [p.sample(weights, count, rng) for p, count in zip(self.members, counts, strict=True) if count]
        return rng.permutation(np.concatenate(drawn))


def _gaussian_processes(trials: Trials, noise_sd: float | None) -> Posterior:
    """A stack of Gaussian processes: each transform of the weights, with one length scale and with one per domain."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    noise = None if noise_sd is None or not trials.sd else max((noise_sd / trials.sd) ** 2, 1e-6)
    with threadpool_limits(1):  # the matrices are small: threads cost more than they bring
        members: list[_Process] = []
        for transform in TRANSFORMS.values():
            one = _fit_process(trials, transform, np.array([np.exp(LENGTH)]), noise)
            length = one.model.kernel_.k1.k2.length_scale
            each = _fit_process(trials, transform, np.full(trials.weights.shape[1], length), noise)
            members += [one, each]
        shares = _stacking(trials.scores, *zip(*(member.left_out() for member in members), strict=True))
    used = shares > 0.01
    return _Stack(tuple(m for m, use in zip(members, used, strict=True) if use), shares[used] / shares[used].sum())


def _fit_process(
    trials: Trials, transform: Callable[[FloatArray], FloatArray], lengths: FloatArray, noise: float | None
) -> _Process:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    inputs = transform(trials.weights)
    centre = inputs.mean(axis=0)
    scale = float(np.sqrt(np.square(inputs - centre).sum(axis=1).mean())) or 1.0
    length = lengths if len(lengths) > 1 else float(lengths[0])
    kernel = ConstantKernel(1.0, (1e-2, 1e3)) * Matern(length, (1e-2, 1e3), nu=2.5)
    kernel += WhiteKernel(0.05, (1e-5, 2.0)) if noise is None else WhiteKernel(noise, "fixed")
    model = GaussianProcessRegressor(kernel, alpha=1e-8, optimizer=partial(_most_probable, count=len(lengths)))
    with warnings.catch_warnings():  # a parameter at its bound is no trouble: the prior, not the bound, holds it
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit((inputs - centre) / scale, trials.scores)
    return _Process(transform, centre, scale, model)


def _most_probable(
    objective: Callable[[FloatArray], tuple[float, FloatArray]], start: FloatArray, bounds: FloatArray, count: int
) -> tuple[FloatArray, float]:
    """Kernel parameters (logs: amplitude, ``count`` lengths, noise unless known) by likelihood times a weak prior.

    Without the prior a length scale per domain overfits twenty domains with thirty trials.
    """
    from scipy.optimize import minimize

    centre = np.r_[0.0, np.full(count, LENGTH), np.log(0.02)][: len(start)]
    spread = np.r_[2.0, np.full(count, LENGTH_SPREAD), 2.0][: len(start)]

    def penalised(theta: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = objective(theta)
        far = (theta - centre) / spread
        return value + 0.5 * float(far @ far), gradient + far / spread

    found = minimize(penalised, start, jac=True, method="L-BFGS-B", bounds=bounds, options=EFFORT)
    return found.x, float(found.fun)


def _stacking(scores: FloatArray, means: tuple[FloatArray, ...], variances: tuple[FloatArray, ...]) -> FloatArray:
    """Shares of the members (k,) that give the left-out scores the highest density (Yao et al. 2018), by EM.

    One pseudo-trial for each member keeps a few lucky trials from choosing one alone.
    """
    mean, variance = np.array(means), np.array(variances)
    densities = -0.5 * (np.log(2 * np.pi * variance) + (scores - mean) ** 2 / variance)  # (k, n), logs
    likelihood = np.exp(densities - densities.max(axis=0))
    shares = np.full(len(mean), 1 / len(mean))
    for _ in range(300):
        credit = shares[:, None] * likelihood
        shares = (credit / credit.sum(axis=0)).sum(axis=1) + 1
        shares /= shares.sum()
    return shares


# Choosing


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
    metrics (n, q) in place of scores. ``noise_sd`` is that of a whole score, and not for use with ``coefficients``.

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
        "lightgbm": partial(_lightgbm, seed=seed, settings=CLIMB_TREES, patience=20),
        "regmix": partial(_lightgbm, seed=seed, settings={}, patience=3),
        "ridge": _ridge,
        "loglinear": _loglinear,
        "gp": partial(_gaussian_processes, noise_sd=noise_sd),
        "extratrees": partial(_extratrees, seed=seed),
    }
    if name == "auto":
        return Chosen(seed, noise_sd, coefficients)
    if name not in learners:
        raise ClimbError(f"no predictor is called {name!r}{nearest(name, NAMES)}")
    if coefficients is None:
        return Regression(name, learners[name])
    if noise_sd is not None:
        raise ValueError("noise_sd is the noise of a whole score; with coefficients each metric's is learned")
    return WeightedSum(name, coefficients, tuple(Regression(name, learners[name]) for _ in coefficients))


class Chosen:
    """The predictor that cross-validation on the trials prefers; after fit, ``selection`` says which and why."""

    name = "auto"

    def __init__(self, seed: int, noise_sd: float | None, coefficients: FloatArray | None) -> None:
        self.noise_sd = float("nan")
        self._settings = (seed, noise_sd, coefficients)

    def fit(self, weights: FloatArray, scores: FloatArray) -> Self:
        """See Predictor."""
        self.selection = select(weights, scores, *self._settings)
        self._best = make_predictor(self.selection.name, *self._settings).fit(weights, scores)
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
) -> Validation:
    """Fit ``folds`` times without a part of the trials and foretell that part; a mixture is in one part only.

    With ``coefficients``, ``scores`` are metrics (n, q), see make_predictor.
    """
    learned, scores = scores, scores if coefficients is None else scores @ coefficients
    unit = Trials.of(weights, scores).sd or 1.0
    predictions, sds = np.empty(len(scores)), np.empty(len(scores))
    for held in _folds(weights, folds, seed):
        predictor = make_predictor(name, seed, noise_sd, coefficients).fit(weights[~held], learned[~held])
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
