"""The marginal likelihood of a Gaussian process, against the library that predicts with what it finds."""

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from climb_engine.search.gaussian import JITTER, gaussian_processes, surprise
from climb_engine.search.regression import Trials


def measured(n, m, seed=0):
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.full(m, 0.5), n)
    weights[1] = weights[0]  # a mixture that ran twice
    return weights, np.sqrt(weights) @ rng.normal(size=m) + 0.05 * rng.normal(size=n)


@pytest.mark.parametrize("m", [3, 20])
@pytest.mark.parametrize("each", [False, True])
def test_likelihood_and_gradient_are_those_of_scikit_learn(m, each):
    inputs, scores = measured(60, m)
    lengths = np.random.default_rng(1).uniform(0.1, 5, m) if each else 0.7
    kernel = ConstantKernel(1.7) * Matern(lengths, nu=2.5) + WhiteKernel(0.03)
    model = GaussianProcessRegressor(kernel, alpha=JITTER, optimizer=None).fit(inputs, scores)
    value, gradient = model.log_marginal_likelihood(model.kernel_.theta, eval_gradient=True)
    mine, slope = surprise(inputs, scores, model.kernel_.theta)
    assert mine == pytest.approx(-value, rel=1e-9)
    np.testing.assert_allclose(slope, -gradient, rtol=1e-7, atol=1e-7)


def test_a_kernel_that_cannot_be_factored_is_infinitely_far():
    inputs = np.zeros((40, 2))  # forty times the same mixture, of which any two are known to be equal
    value, slope = surprise(inputs, np.zeros(40), np.log([1e12, 1.0, 1e-300]))
    assert value == np.inf
    assert not slope.any()


def test_kernels_are_the_most_probable_ones():
    known = Trials.of(*measured(50, 4))
    for process in gaussian_processes(known, None).members:
        kernel, inputs = process.model.kernel_, process.inputs(known.weights)
        best, _ = surprise(inputs, known.scores, kernel.theta)
        for shift in np.eye(len(kernel.theta)) * 1.5:
            for sign in (-1, 1):
                assert surprise(inputs, known.scores, kernel.theta + sign * shift)[0] > best - 3
