import numpy as np
import pytest

from climb_engine.search.acquisition import APART, expected_improvement, improving_and_thompson, spaced, top_n
from climb_engine.search.predictor import make_predictor


def mixtures(n, seed=0, m=4):
    return np.random.default_rng(seed).dirichlet(np.ones(m), n)


@pytest.fixture(scope="module")
def fitted():
    weights = mixtures(20)
    return make_predictor("ridge").fit(weights, weights[:, 0])


def test_top_n_draws_without_replacement_from_the_best_predicted_only(fitted):
    pool = mixtures(500, 1)
    drawn = top_n(fitted, pool, 10, 30, np.random.default_rng(0))
    assert len(np.unique(drawn, axis=0)) == 10
    assert drawn[:, 0].min() >= np.sort(pool[:, 0])[-30] - 1e-3


def test_top_n_of_a_small_pool_is_the_pool(fitted):
    assert len(top_n(fitted, mixtures(4, 1), 10, 100, np.random.default_rng(0))) == 4


def test_expected_improvement_is_the_mean_of_what_draws_exceed():
    mean, sd, best = np.array([0.0, 1.0, -3.0]), np.array([1.0, 0.5, 0.2]), 0.8
    draws = mean + sd * np.random.default_rng(0).normal(size=(400_000, 3))
    np.testing.assert_allclose(
        expected_improvement(mean, sd, best), np.maximum(draws - best, 0).mean(axis=0), atol=3e-3
    )


def test_expected_improvement_without_doubt_is_the_difference():
    np.testing.assert_allclose(expected_improvement(np.array([2.0, 0.0]), np.zeros(2), 1.0), [1.0, 0.0], atol=1e-9)


def test_spaced_takes_the_best_of_each_neighbourhood_and_fills_up_when_there_are_too_few():
    near = np.array([[0.5, 0.5], [0.501, 0.499], [0.1, 0.9], [0.101, 0.899]])
    assert spaced(near, np.arange(4), 2) == [0, 2]
    assert spaced(near, np.arange(4), 3) == [0, 2, 1]
    assert sorted(spaced(near, np.arange(4), 9)) == [0, 1, 2, 3]


def test_a_batch_has_no_mixture_twice_and_its_improving_half_keeps_apart(fitted):
    pool = mixtures(800, 2)
    improvement = expected_improvement(*fitted.predict(pool), 0.5)
    batch = improving_and_thompson(fitted, pool, improvement, 12, np.random.default_rng(0))
    assert len(np.unique(batch, axis=0)) == 12
    half = batch[:6]
    distances = np.abs(half[:, None] - half).sum(axis=2)[np.triu_indices(6, 1)]
    assert distances.min() > APART
