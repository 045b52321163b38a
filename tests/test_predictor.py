import subprocess
import sys

import numpy as np
import pytest

from climb_engine.search.gaussian import gaussian_processes
from climb_engine.search.predictor import (
    CANDIDATES,
    NAMES,
    cross_validate,
    make_predictor,
    rank_correlation,
    select,
)
from climb_engine.search.regression import Trials
from climb_engine.types import ClimbError

DOMAINS = 6
SINGLE = [name for name in NAMES if name != "auto"]  # auto is one of these, and has tests of its own


def planted(weights):
    """A score of saturating domains, two of which matter most: an optimum inside the simplex."""
    return 2.0 * np.sqrt(weights[:, 0]) + np.cbrt(weights[:, 1] + 0.01) - 1.5 * weights[:, 2]


def mixtures(n, seed, concentration=0.5):
    return np.random.default_rng(seed).dirichlet(np.full(DOMAINS, concentration), n)


def trials(n=64, seed=0, noise=0.02):
    weights = mixtures(n, seed)
    return weights, 0.4 + 0.05 * (planted(weights) + noise * np.random.default_rng(seed + 1).normal(size=n))


@pytest.fixture(scope="module", params=SINGLE)
def fitted(request):
    return make_predictor(request.param).fit(*trials())


def test_importing_the_module_loads_no_heavy_library():
    heavy = "{'scipy', 'sklearn', 'lightgbm', 'pandas', 'torch', 'threadpoolctl'}"
    code = f"import sys, climb_engine.search.predictor, climb_engine.search.space; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


class TestEveryPredictor:
    """The contract of all of them."""

    def test_it_ranks_mixtures_that_it_has_not_seen(self, fitted):
        unseen = mixtures(200, 9)
        worst = {"ridge": 0.8, "regmix": 0.6}.get(fitted.name, 0.85)
        assert rank_correlation(fitted.predict(unseen)[0], planted(unseen)) > worst

    def test_mean_and_sd_are_finite_and_the_sd_is_not_negative(self, fitted):
        corners = np.vstack([np.eye(DOMAINS), np.full((1, DOMAINS), 1 / DOMAINS), mixtures(20, 5)])
        mean, sd = fitted.predict(corners)
        assert mean.shape == sd.shape == (len(corners),)
        assert np.isfinite(mean).all()
        assert np.isfinite(sd).all()
        assert (sd >= 0).all()
        assert fitted.noise_sd >= 0

    def test_the_mean_alone_is_the_mean(self, fitted):
        unseen = mixtures(30, 4)
        np.testing.assert_allclose(fitted.mean(unseen), fitted.predict(unseen)[0])

    def test_draws_scatter_around_the_mean_as_the_sd_says(self, fitted):
        unseen = mixtures(40, 3)
        mean, sd = fitted.predict(unseen)
        draws = fitted.sample(unseen, 2000, np.random.default_rng(0))
        assert draws.shape == (2000, 40)
        np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.2 * sd.max())
        np.testing.assert_allclose(draws.std(axis=0), sd, rtol=0.4, atol=0.1 * sd.max())

    def test_draws_are_joint_so_that_equal_mixtures_get_equal_scores(self, fitted):
        twice = np.repeat(mixtures(3, 6), 2, axis=0)
        draws = fitted.sample(twice, 20, np.random.default_rng(0))
        np.testing.assert_allclose(draws[:, ::2], draws[:, 1::2], atol=1e-5)

    def test_draws_depend_on_the_generator_alone(self, fitted):
        unseen = mixtures(5, 6)
        draws = [fitted.sample(unseen, 4, np.random.default_rng(seed)) for seed in (1, 1, 2)]
        np.testing.assert_array_equal(draws[0], draws[1])
        assert (draws[0] != draws[2]).any()

    def test_intervals_hold_about_as_many_new_measurements_as_they_say(self, fitted):
        unseen, scores = trials(400, seed=50)
        mean, sd = fitted.predict(unseen)
        inside = np.abs(scores - mean) <= 1.2816 * np.hypot(sd, fitted.noise_sd)
        assert 0.6 <= inside.mean() <= 0.99

    def test_the_order_of_the_trials_does_not_matter(self, fitted):
        weights, scores = trials()
        order = np.random.default_rng(1).permutation(len(scores))
        again = make_predictor(fitted.name).fit(weights[order], scores[order])
        for one, other in zip(fitted.predict(weights), again.predict(weights), strict=True):
            np.testing.assert_array_equal(one, other)

    def test_the_unit_of_the_score_does_not_matter(self, fitted):
        weights, scores = trials()
        unseen = mixtures(20, 2)
        again = make_predictor(fitted.name).fit(weights, 100 * scores - 7)
        mean, sd = fitted.predict(unseen)
        np.testing.assert_allclose(again.predict(unseen)[0], 100 * mean - 7, atol=0.1 * 100 * scores.std())
        np.testing.assert_allclose(again.predict(unseen)[1], 100 * sd, rtol=0.2, atol=0.01)

    @pytest.mark.parametrize("name", SINGLE)
    def test_scores_that_do_not_differ_are_predicted_as_they_are(self, name):
        predictor = make_predictor(name).fit(mixtures(20, 0), np.full(20, 0.3))
        mean, sd = predictor.predict(mixtures(5, 1))
        np.testing.assert_allclose(mean, 0.3)
        np.testing.assert_array_equal(sd, 0)
        np.testing.assert_allclose(predictor.sample(mixtures(5, 1), 2, np.random.default_rng(0)), 0.3)

    @pytest.mark.parametrize("n", [3, 5])
    @pytest.mark.parametrize("name", SINGLE)
    def test_a_handful_of_trials_is_enough_to_go_on(self, name, n):
        mean, sd = make_predictor(name).fit(*trials(n)).predict(mixtures(5, 1))
        assert np.isfinite(mean).all()
        assert np.isfinite(sd).all()

    @pytest.mark.parametrize("name", SINGLE)
    def test_a_mixture_measured_often_is_predicted_near_its_average(self, name):
        weights, scores = trials(40)
        repeated = np.vstack([weights, np.repeat(weights[:1], 8, axis=0)])
        measured = np.r_[scores, scores[0] + 0.002 * np.random.default_rng(0).normal(size=8)]
        mean, _ = make_predictor(name).fit(repeated, measured).predict(weights[:1])
        assert abs(mean[0] - scores[0]) < np.std(scores)

    @pytest.mark.parametrize("name", SINGLE)
    def test_a_domain_that_never_varied_does_not_matter(self, name):
        weights, scores = trials(30)
        padded = np.hstack([weights, np.zeros((30, 1))])
        assert np.isfinite(make_predictor(name).fit(padded, scores).predict(padded)).all()

    @pytest.mark.parametrize("name", NAMES)
    def test_scores_or_weights_that_are_no_number_are_refused(self, name):
        weights, scores = trials(12)
        with pytest.raises(ClimbError, match="row 4 "):
            make_predictor(name).fit(weights, np.where(np.arange(12) == 4, np.nan, scores))
        with pytest.raises(ClimbError, match="row 0 "):
            make_predictor(name).fit(np.vstack([np.full(DOMAINS, np.inf), weights[1:]]), scores)

    @pytest.mark.parametrize("name", NAMES)
    def test_fewer_than_three_trials_are_refused(self, name):
        with pytest.raises(ClimbError, match="at least 3"):
            make_predictor(name).fit(*trials(2))


def test_an_unknown_predictor_is_refused_with_the_nearest():
    with pytest.raises(ClimbError, match="did you mean 'lightgbm'"):
        make_predictor("lightbgm")


def test_lightgbm_differs_by_seed_and_only_by_it():
    weights, scores = trials(48)
    means = [make_predictor("lightgbm", seed).fit(weights, scores).predict(weights)[0] for seed in (1, 1, 2)]
    np.testing.assert_array_equal(means[0], means[1])
    assert (means[0] != means[2]).any()


def test_regmix_is_a_constant_below_its_trials_per_leaf():
    mean, _ = make_predictor("regmix").fit(*trials(32)).predict(mixtures(20, 1))
    assert np.ptp(mean) == 0


def test_the_exponential_law_finds_the_law_that_it_is():
    weights = mixtures(60, 0)
    truth = np.array([1.0, -2.0, 0.5, 0.0, 3.0, -1.0])
    unseen = mixtures(100, 1)
    for sign in (1.0, -1.0):
        law = make_predictor("loglinear").fit(weights, 5 + sign * 0.2 * np.exp(weights @ truth))
        np.testing.assert_allclose(law.predict(unseen)[0], 5 + sign * 0.2 * np.exp(unseen @ truth), atol=0.02)


def test_a_sum_of_metrics_is_ranked_better_metric_by_metric():
    weights, unseen = mixtures(40, 0), mixtures(300, 1)
    laws = np.random.default_rng(2).normal(0, 3, (DOMAINS, 4))
    coefficients = np.array([1.0, 1.0, -0.5, 1.0])
    learned, truth = -np.exp(weights @ laws), -np.exp(unseen @ laws) @ coefficients
    whole = make_predictor("loglinear").fit(weights, learned @ coefficients)
    each = make_predictor("loglinear", coefficients=coefficients).fit(weights, learned)
    assert rank_correlation(each.mean(unseen), truth) > 0.99 > rank_correlation(whole.mean(unseen), truth)


def moved(weights, seed):
    """What proxies of mixtures measure: a held-out loss of every domain, and a noisy score; domains come in kinds."""
    rng = np.random.default_rng(seed)
    kinds = weights.reshape(len(weights), 4, -1).sum(axis=2)
    losses = np.repeat(1 / (0.1 + kinds) ** 0.3, weights.shape[1] // 4, axis=1)
    truth = -losses[:, 0] - losses[:, -1]
    noisy = truth + 0.5 * truth.std() * rng.normal(size=len(weights))
    return np.column_stack([noisy, losses + 0.01 * rng.normal(size=losses.shape)]), truth


def test_what_trials_measure_besides_makes_up_for_a_noisy_score():
    space = np.full(16, 0.7)
    unseen = np.random.default_rng(99).dirichlet(space, 300)
    truth = moved(unseen, 99)[1]
    ranks = []
    for seed in range(6):
        weights = np.random.default_rng(seed).dirichlet(space, 24)
        metrics, _ = moved(weights, seed)
        alone = make_predictor("gp").fit(weights, metrics[:, 0])
        both = make_predictor("gp", coefficients=np.r_[1.0, np.zeros(16)]).fit(weights, metrics)
        ranks.append([rank_correlation(one.mean(unseen), truth) for one in (alone, both)])
    alone, both = np.mean(ranks, axis=0)
    assert both > alone + 0.02


@pytest.mark.parametrize("name", ["ridge", "lightgbm"])
def test_who_cannot_learn_from_what_is_measured_besides_is_not_disturbed_by_it(name):
    weights, scores = trials(24)
    metrics = np.column_stack([weights[:, 0], scores, weights[:, 1]])
    alone = make_predictor(name).fit(weights, scores)
    both = make_predictor(name, coefficients=np.array([0.0, 1.0, 0.0])).fit(weights, metrics)
    np.testing.assert_array_equal(both.mean(weights), alone.mean(weights))
    assert both.noise_sd == alone.noise_sd


def test_a_number_besides_the_score_that_is_not_finite_is_told_by_its_row():
    weights, scores = trials(24)
    metrics = np.column_stack([scores, np.where(np.arange(24) == 7, np.nan, scores)])
    with pytest.raises(ClimbError, match="row 7"):
        make_predictor("gp", coefficients=np.array([1.0, 0.0])).fit(weights, metrics)


def test_draws_of_a_sum_scatter_as_its_sd_says():
    weights, scores = trials(24)
    metrics = np.column_stack([scores, weights[:, 0]])
    both = make_predictor("extratrees", coefficients=np.array([1.0, -0.1])).fit(weights, metrics)
    mean, sd = both.predict(mixtures(10, 1))
    draws = both.sample(mixtures(10, 1), 2000, np.random.default_rng(0))
    np.testing.assert_allclose(draws.mean(axis=0), mean, atol=0.1 * sd.max())
    np.testing.assert_allclose(draws.std(axis=0), sd, rtol=0.15)


def test_a_sum_of_one_metric_is_that_metric():
    weights, scores = trials(24)
    unseen = mixtures(10, 1)
    alone = make_predictor("ridge").fit(weights, scores)
    double = make_predictor("ridge", coefficients=np.array([-2.0])).fit(weights, scores[:, None])
    np.testing.assert_allclose(double.predict(unseen)[0], -2 * alone.predict(unseen)[0])
    np.testing.assert_allclose(double.predict(unseen)[1], 2 * alone.predict(unseen)[1])
    assert double.noise_sd == pytest.approx(2 * alone.noise_sd)
    whole = cross_validate("ridge", weights, -2 * scores)
    parts = cross_validate("ridge", weights, scores[:, None], coefficients=np.array([-2.0]))
    np.testing.assert_allclose(parts.predictions, whole.predictions)


def test_gp_learns_the_noise_or_takes_it_as_given():
    weights = mixtures(80, 0)
    scores = planted(weights) + 0.2 * np.random.default_rng(1).normal(size=80)
    assert make_predictor("gp").fit(weights, scores).noise_sd == pytest.approx(0.2, rel=0.35)
    assert make_predictor("gp", noise_sd=0.05).fit(weights, scores).noise_sd == pytest.approx(0.05)


@pytest.mark.parametrize("n", [40, 230])
def test_what_a_process_foretells_of_a_left_out_trial_stands_in_the_trials_order(n):
    weights, scores = trials(n)
    known = Trials.of(weights, scores)
    for process in gaussian_processes(known, None).members:
        assert rank_correlation(process.left_out()[0], known.scores) > 0.8


def test_gp_draws_over_many_mixtures_scatter_as_those_over_few():
    gp = make_predictor("gp").fit(*trials(40))
    many = mixtures(2100, 3)
    few, lots = (gp.sample(weights, 400, np.random.default_rng(0)) for weights in (many[:60], many))
    np.testing.assert_allclose(lots[:, :60].mean(axis=0), few.mean(axis=0), atol=0.5 * few.std(axis=0).max())
    assert 0.8 < lots[:, :60].std(axis=0).mean() / few.std(axis=0).mean() < 1.3


def test_gp_is_surer_where_trials_are():
    weights, scores = trials(40)
    gp = make_predictor("gp").fit(weights, scores)
    assert gp.predict(weights)[1].mean() < 0.7 * gp.predict(mixtures(200, 8, concentration=0.2))[1].mean()


def test_gp_finds_the_planted_optimum_among_candidates():
    gp = make_predictor("gp").fit(*trials(64))
    candidates = mixtures(3000, 77)
    best = candidates[gp.mean(candidates).argmax()][None]
    assert planted(best)[0] > np.quantile(planted(candidates), 0.995)


def test_cross_validation_foretells_each_trial_from_others():
    weights, scores = trials(48)
    found = cross_validate("gp", weights, scores, folds=4, seed=0)
    assert found.predictions.shape == found.sds.shape == (48,)
    assert found.spearman == pytest.approx(rank_correlation(found.predictions, scores))
    assert found.rmse == pytest.approx(np.sqrt(np.mean((found.predictions - scores) ** 2)))
    assert found.spearman > 0.9
    assert 0.6 < found.coverage <= 1
    assert found.rmse < 0.5 * scores.std()


def test_cross_validation_does_not_depend_on_the_order_of_the_trials():
    weights, scores = trials(30)
    order = np.random.default_rng(3).permutation(30)
    one, other = cross_validate("ridge", weights, scores), cross_validate("ridge", weights[order], scores[order])
    np.testing.assert_allclose(one.predictions[order], other.predictions)


def test_repeats_of_a_mixture_are_held_out_together():
    rng = np.random.default_rng(0)
    weights, noise = mixtures(20, 0), rng.normal(size=20)
    found = cross_validate("gp", np.vstack([weights, weights, weights]), np.r_[noise, noise, noise])
    assert found.spearman < 0.5


def test_noise_is_not_foretold():
    weights = mixtures(40, 0)
    found = cross_validate("extratrees", weights, np.random.default_rng(5).normal(size=40))
    assert abs(found.spearman) < 0.5


def test_selection_takes_trees_for_steps_and_says_why():
    weights = mixtures(32, 0)
    noise = 0.02 * np.random.default_rng(1).normal(size=32)
    steps = select(weights, np.sign(weights[:, 0] - 0.1) + 2 * np.sign(weights[:, 1] - 0.15) + noise)
    assert {validation.name for validation in steps.validations} == set(CANDIDATES)
    densities = [validation.log_density for validation in steps.validations]
    assert densities == sorted(densities, reverse=True)
    assert steps.name == steps.validations[0].name
    assert steps.name in ("lightgbm", "extratrees")
    assert steps.name in steps.reason


def test_a_line_is_foretold_better_by_a_line_than_by_trees():
    weights = mixtures(32, 0)
    scores = weights @ np.arange(DOMAINS) + 0.05 * np.random.default_rng(1).normal(size=32)
    line, trees = (cross_validate(name, weights, scores) for name in ("ridge", "extratrees"))
    assert line.log_density > trees.log_density + 0.5
    assert line.spearman > trees.spearman


def test_auto_is_the_predictor_that_it_selects():
    weights, scores = trials(24)
    auto = make_predictor("auto").fit(weights, scores)
    alone = make_predictor(auto.selection.name).fit(weights, scores)
    unseen = mixtures(10, 1)
    for one, other in zip(auto.predict(unseen), alone.predict(unseen), strict=True):
        np.testing.assert_array_equal(one, other)


def test_too_few_trials_are_not_cross_validated():
    chosen = select(*trials(5))
    assert chosen.name == "gp"
    assert not chosen.validations
    assert "too few" in chosen.reason
