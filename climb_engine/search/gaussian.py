"""The Gaussian-process predictor: a stack of processes over transforms of the weights.

One of the transforms is learned, from what the trials measured besides the score, such as the held-out loss of every
domain: mixtures that do much the same to those are near each other, and so should their scores be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from climb_engine.search.regression import Posterior, Trials, chunks
from climb_engine.types import FloatArray

TRANSFORMS: Mapping[str, Callable[[FloatArray], FloatArray]] = {
    "weights": lambda weights: weights,
    "square root": np.sqrt,
    "cube root": np.cbrt,
    "log": lambda weights: np.log(weights + 1e-3),
}
LENGTH, LENGTH_SPREAD = np.log(3.0), 1.0  # prior of a log length scale, inputs scaled to a norm of about 1
AMPLITUDES, LENGTHS, NOISES = (1e-2, 1e3), (1e-2, 1e3), (1e-5, 2.0)  # bounds of kernel parameters
JITTER = 1e-8  # added to every variance, so that a kernel without noise can be factored
EFFORT = {"maxiter": 50, "ftol": 1e-5}  # of a marginal likelihood; more does not change predictions
EXACT = 2000  # mixtures of a joint draw by Cholesky factor; more are drawn by random Fourier features
FEATURES = 1024
KERNEL_TRIALS = 200  # as many trials settle a kernel; all of them are then conditioned on
PENALTIES = np.logspace(-3, 0, 7)  # of the learned transform's ridge, one of which leaving out trials prefers
DROPPED = 0.05  # share of a member that is left out: it costs as much as the best and changes no prediction


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


def gaussian_processes(trials: Trials, noise_sd: float | None) -> Posterior:
    """A stack of Gaussian processes: each transform of the weights, with one length scale and with one per input."""
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    noise = None if noise_sd is None or not trials.sd else max((noise_sd / trials.sd) ** 2, 1e-6)
    with threadpool_limits(1):  # the matrices are small: threads cost more than they bring
        members: list[_Process] = []
        learned = [outcomes(trials.weights, trials.besides)] if np.ptp(trials.besides, axis=0).any() else []
        for transform in [*TRANSFORMS.values(), *learned]:
            one = _fit_process(trials, transform, np.array([np.exp(LENGTH)]), noise)
            length = one.model.kernel_.k1.k2.length_scale
            each = _fit_process(trials, transform, np.full(len(one.centre), length), noise)
            members += [one, each]
        shares = _stacking(trials.scores, *zip(*(member.left_out() for member in members), strict=True))
    used = shares > DROPPED
    return _Stack(tuple(m for m, use in zip(members, used, strict=True) if use), shares[used] / shares[used].sum())


def outcomes(weights: FloatArray, measured: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """What is foretold of metrics (n, k) at mixtures (c, m), (c, k): a ridge on the weights and their square roots.

    One penalty for all, that with the smallest left-out error in units of each metric's spread. The metrics keep their
    units: what mixtures hardly move tells them apart little.
    """

    def terms(mixtures: FloatArray) -> FloatArray:
        return np.concatenate([mixtures, np.sqrt(mixtures)], axis=1)

    inputs, targets = terms(weights), measured - measured.mean(axis=0)
    centre = inputs.mean(axis=0)
    scale = float((inputs - centre).std()) or 1.0
    left, singular, right = np.linalg.svd((inputs - centre) / scale, full_matrices=False)
    spread = np.where(np.ptp(measured, axis=0) > 0, measured.std(axis=0), 1.0)

    def error(penalty: float) -> float:
        shrunk = left * (singular**2 / (singular**2 + penalty * len(weights)))
        missed = targets - shrunk @ (left.T @ targets)
        free = 1 - (shrunk * left).sum(axis=1) - 1 / len(weights)  # 1 less the leverage; the mean is left out as well
        return float(np.square(missed / np.maximum(free, 1e-3)[:, None] / spread).mean())

    penalty = min(PENALTIES, key=error)
    slopes = (right.T * (singular / (singular**2 + penalty * len(weights)))) @ (left.T @ targets)
    return lambda mixtures: np.asarray((terms(mixtures) - centre) / scale @ slopes)


def _fit_process(
    trials: Trials, transform: Callable[[FloatArray], FloatArray], lengths: FloatArray, noise: float | None
) -> _Process:
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    inputs = transform(trials.weights)
    centre = inputs.mean(axis=0)
    scale = float(np.sqrt(np.square(inputs - centre).sum(axis=1).mean())) or 1.0
    scaled = (inputs - centre) / scale
    part = np.sort(np.random.default_rng(0).permutation(len(scaled))[:KERNEL_TRIALS])
    amplitude, lengths, noise = _most_probable(scaled[part], trials.scores[part], lengths, noise)
    length = lengths if len(lengths) > 1 else float(lengths[0])
    kernel = ConstantKernel(amplitude) * Matern(length, nu=2.5) + WhiteKernel(noise)
    model = GaussianProcessRegressor(kernel, alpha=JITTER, optimizer=None).fit(scaled, trials.scores)
    return _Process(transform, centre, scale, model)


def _most_probable(
    inputs: FloatArray, scores: FloatArray, lengths: FloatArray, noise: float | None
) -> tuple[float, FloatArray, float]:
    """Amplitude, length scales and noise (variances) by likelihood times a weak prior, from these ``lengths`` on.

    Without the prior a length scale per domain overfits twenty domains with thirty trials.
    """
    from scipy.optimize import minimize

    count, known = len(lengths), [] if noise is None else [np.log(noise)]
    free = 2 + count - len(known)
    start = np.log(np.r_[1.0, lengths, 0.05])[:free]
    centre = np.r_[0.0, np.full(count, LENGTH), np.log(0.02)][:free]
    spread = np.r_[2.0, np.full(count, LENGTH_SPREAD), 2.0][:free]
    bounds = np.log([AMPLITUDES, *[LENGTHS] * count, NOISES])[:free]

    def penalised(logs: FloatArray) -> tuple[float, FloatArray]:
        value, gradient = surprise(inputs, scores, np.r_[logs, known])
        far = (logs - centre) / spread
        return value + 0.5 * float(far @ far), gradient[:free] + far / spread

    found = minimize(penalised, start, jac=True, method="L-BFGS-B", bounds=bounds, options=EFFORT)
    values = np.exp(np.r_[found.x, known])
    return float(values[0]), values[1:-1], float(values[-1])


def surprise(inputs: FloatArray, scores: FloatArray, logs: FloatArray) -> tuple[float, FloatArray]:
    """Minus the log marginal likelihood of scores (n,) at inputs (n, d), and its gradient by the kernel's logs.

    ``logs`` are the amplitude, one or d length scales of a Matérn 5/2 kernel, and the noise, amplitude and noise as
    variances (Rasmussen & Williams 2006, 5.8 and 5.9). The derivatives by d lengths are taken together, by one product
    of matrices, where one matrix each would cost d times as much. A kernel that cannot be factored is infinitely far.
    """
    from scipy.linalg import lapack

    amplitude, lengths, noise = np.exp(logs[0]), np.exp(logs[1:-1]), np.exp(logs[-1])
    near = inputs * (np.sqrt(5.0) / lengths)
    norms = np.square(near).sum(axis=1)
    squares = np.maximum(norms[:, None] + norms - 2 * (near @ near.T), 0.0)
    np.fill_diagonal(squares, 0.0)
    r = np.sqrt(squares)
    decay = amplitude * np.exp(-r)
    flat = decay * (1 + r)
    kernel = flat + decay * squares / 3
    noisy = kernel.copy()
    noisy[np.diag_indices_from(noisy)] += noise + JITTER
    factor, failed = lapack.dpotrf(noisy.T, lower=1, overwrite_a=1)  # symmetric: the transpose spares a copy
    if failed:
        return np.inf, np.zeros(len(logs))
    half_log_determinant = np.log(np.diag(factor)).sum()
    lower = lapack.dpotri(factor, lower=1, overwrite_c=1)[0]
    inverse = lower + lower.T
    inverse[np.diag_indices_from(inverse)] /= 2
    explained = inverse @ scores
    value = 0.5 * scores @ explained + half_log_determinant + 0.5 * len(scores) * np.log(2 * np.pi)
    slope = 0.5 * (inverse - np.outer(explained, explained))  # of the value by each entry of the kernel
    pull = slope * flat / 3
    by_length = 2 * (pull.sum(axis=1) @ near**2 - (near * (pull @ near)).sum(axis=0))
    by_length = by_length if len(lengths) > 1 else by_length.sum(keepdims=True)
    return float(value), np.r_[(slope * kernel).sum(), by_length, noise * np.trace(slope)]


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
