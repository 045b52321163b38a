"""The marginal likelihood of a Gaussian process, against the library that predicts with what it finds."""

import numpy as np
import pytest
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from climb_engine.search.gaussian import JITTER, TRANSFORMS, gaussian_processes, outcomes, surprise
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


def test_outcomes_are_foretold_where_nothing_was_measured():
    rng = np.random.default_rng(0)
    weights, unseen = rng.dirichlet(np.full(6, 0.5), 60), rng.dirichlet(np.full(6, 0.5), 40)
    straight, rooted = rng.normal(size=(6, 9)), rng.normal(size=(6, 9))

    def truth(mixtures):
        return mixtures @ straight + np.sqrt(mixtures) @ rooted

    foretold = outcomes(weights, truth(weights) + 0.01 * rng.normal(size=(60, 9)))(unseen)
    assert foretold.shape == (40, 9)
    np.testing.assert_allclose(foretold, truth(unseen) - truth(weights).mean(axis=0), atol=0.1)


def test_outcomes_of_noise_are_shrunk():
    rng = np.random.default_rng(0)
    weights, noise = rng.dirichlet(np.full(12, 0.5), 20), rng.normal(size=(20, 30))
    assert outcomes(weights, noise)(weights).std() < 0.7 * noise.std()


def test_metrics_that_never_differ_teach_nothing():
    weights, scores = measured(20, 4)
    alone = gaussian_processes(Trials.of(weights, scores), None)
    constant = gaussian_processes(Trials.of(weights, scores, np.ones((20, 3))), None)
    np.testing.assert_array_equal(constant.mean(weights), alone.mean(weights))
    assert {member.transform for member in constant.members} <= set(TRANSFORMS.values())


def test_one_varying_metric_among_constant_ones_is_enough():
    weights, scores = measured(20, 4)
    besides = np.column_stack([np.ones(20), weights[:, 0]])
    assert np.isfinite(gaussian_processes(Trials.of(weights, scores, besides), None).mean(weights)).all()
