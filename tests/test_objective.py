import math
import pickle

import numpy as np
import pytest

from climb_engine.config import TargetConfig
from climb_engine.search.objective import Objective, noise, signal_to_noise
from climb_engine.types import ClimbError, Result

DOMAINS = ("code", "math", "prose")


def objective(**target):
    return Objective.from_config(TargetConfig(**{"tasks": {}, **target}), DOMAINS)


def test_bits_per_byte_count_negatively_and_accuracies_positively():
    assert Objective({"a/bpb": 1.0}).score({"a/bpb": 2.0}) == -2.0
    assert Objective({"a/acc": 1.0}).score({"a/acc": 0.25}) == 0.25
    assert Objective({"a/acc_norm": 1.0}).score({"a/acc_norm": 0.25}) == 0.25
    assert Objective({"heldout/code": 1.0}).score({"heldout/code": 1.5}) == -1.5


def test_a_domain_called_acc_is_still_a_loss():
    assert Objective({"heldout/acc": 1.0}).score({"heldout/acc": 1.5}) == -1.5


def test_the_score_is_the_mean_weighted_by_the_config():
    wanted = objective(tasks={"piqa": 3.0, "siqa": 1.0}, heldout={"math": 4.0})
    assert wanted.metrics == ("piqa/bpb", "siqa/bpb", "heldout/math")
    assert wanted.score({"piqa/bpb": 1.0, "siqa/bpb": 3.0, "heldout/math": 2.0}) == -(3 * 1 + 1 * 3 + 4 * 2) / 8


def test_the_metric_of_the_config_is_the_one_that_is_asked_for():
    assert objective(tasks={"piqa": 1.0}, metric="acc_norm").metrics == ("piqa/acc_norm",)


def test_a_weight_of_zero_needs_no_measurement():
    assert objective(tasks={"piqa": 1.0, "siqa": 0.0}).score({"piqa/bpb": 1.0}) == -1.0


def test_heldout_all_is_the_mean_over_domains_whether_measured_or_not():
    every = objective(heldout={"all": 1.0})
    domains = {"heldout/code": 1.0, "heldout/math": 2.0, "heldout/prose": 6.0}
    assert every.score(domains) == -3.0
    assert every.score({**domains, "heldout/all": 3.0, "piqa/bpb": 9.0}) == -3.0


def test_nothing_to_score_is_refused_with_what_to_do():
    with pytest.raises(ClimbError, match=r"give target\.tasks or target\.heldout a weight"):
        objective()
    with pytest.raises(ClimbError, match="weighs nothing"):
        objective(tasks={"piqa": 0.0}, heldout={"code": 0.0})


def test_a_negative_weight_is_refused_by_name():
    with pytest.raises(ClimbError, match=r"piqa/bpb in the score is -1"):
        objective(tasks={"piqa": -1.0})


def test_an_unknown_heldout_domain_is_refused_with_the_nearest():
    with pytest.raises(ClimbError, match=r"no domain is called 'maths'; did you mean 'math'"):
        objective(heldout={"maths": 1.0})


def test_a_task_cannot_pose_as_heldout_text():
    with pytest.raises(ClimbError, match="no task can be called 'heldout'"):
        objective(tasks={"heldout": 1.0})


def test_a_metric_that_was_not_measured_is_named():
    with pytest.raises(ClimbError, match=r"needs piqa/bpb, which was not measured; did you mean 'piqa/acc'"):
        objective(tasks={"piqa": 1.0}).score({"piqa/acc": 0.5})
    with pytest.raises(ClimbError, match="needs heldout/all"):
        objective(heldout={"all": 1.0}).score({"piqa/acc": 0.5})


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_metric_that_is_not_finite_makes_the_score_nan_only_if_it_counts(value):
    wanted = Objective({"piqa/bpb": 1.0, "siqa/bpb": 1.0})
    assert math.isnan(wanted.score({"piqa/bpb": value, "siqa/bpb": 1.0}))
    assert wanted.score({"piqa/bpb": 1.0, "siqa/bpb": 1.0, "csqa/bpb": value}) == -1.0


def test_results_are_scored_in_order_and_rescored_under_other_weights_without_training():
    results = [
        Result({"piqa/bpb": b, "heldout/code": c}, tokens=1, seconds=1.0, flops=1.0) for b, c in ((1, 4), (2, 3))
    ]
    np.testing.assert_array_equal(objective(tasks={"piqa": 1.0}).scores(results), [-1.0, -2.0])
    np.testing.assert_array_equal(objective(heldout={"code": 1.0}).scores(results), [-4.0, -3.0])
    assert objective(tasks={"piqa": 1.0}).scores([]).shape == (0,)


def test_an_objective_does_not_change_with_the_mapping_it_was_made_of_and_travels_between_processes():
    weights = {"piqa/bpb": 1.0}
    wanted = Objective(weights)
    weights["piqa/bpb"] = 5.0
    assert wanted.weights == {"piqa/bpb": 1.0}
    assert pickle.loads(pickle.dumps(wanted)) == wanted


def test_a_score_is_taken_apart_into_its_metrics():
    wanted = Objective({"piqa/acc": 2.0, "heldout/all": 1.0, "heldout/code": 1.0})
    measured = [{"piqa/acc": a, "heldout/code": c, "heldout/math": m} for a, c, m in ((0.5, 1, 3), (0.7, 2, 2))]
    results = [Result(metrics, 1, 1.0, 1.0) for metrics in measured]
    metrics, coefficients = wanted.terms(results)
    assert metrics.shape == (2, 3)
    np.testing.assert_allclose(coefficients, [0.5, -0.375, -0.125])
    np.testing.assert_allclose(metrics @ coefficients, wanted.scores(results))


def test_losses_that_all_results_measured_besides_are_terms_without_a_part_in_the_score():
    wanted = Objective({"piqa/bpb": 1.0})
    everywhere = {"piqa/acc": 0.5, "arc/bpb": 2.0, "heldout/code": 3.0}
    results = [
        Result({"heldout/once": 1.0, "heldout/nan": 1.0, "piqa/bpb": 4.0, **everywhere}, 1, 1.0, 1.0),
        Result({"piqa/bpb": 5.0, "heldout/nan": math.nan, **everywhere}, 1, 1.0, 1.0),
    ]
    metrics, coefficients = wanted.terms(results)
    np.testing.assert_array_equal(metrics, [[4.0, 2.0, 3.0], [5.0, 2.0, 3.0]])
    np.testing.assert_array_equal(coefficients, [-1.0, 0.0, 0.0])


def test_results_that_measured_different_domains_have_one_term_the_score():
    wanted = Objective({"heldout/all": 1.0})
    results = [Result({"heldout/code": 1.0}, 1, 1.0, 1.0), Result({"heldout/math": 3.0}, 1, 1.0, 1.0)]
    metrics, coefficients = wanted.terms(results)
    np.testing.assert_array_equal(metrics, [[-1.0], [-3.0]])
    np.testing.assert_array_equal(coefficients, [1.0])


def test_noise_is_pooled_over_mixtures_and_counts_its_degrees_of_freedom():
    sd, freedom = noise([[1.0, 3.0], [10.0, 10.0, 13.0], [7.0]])
    assert freedom == 3
    assert sd == pytest.approx(math.sqrt((1 + 1 + 1 + 1 + 4) / 3))


def test_noise_without_repeats_is_not_known():
    for groups in ([], [[]], [[1.0], [2.0]], [[1.0, math.nan]]):
        sd, freedom = noise(groups)
        assert math.isnan(sd)
        assert freedom == 0


def test_failed_runs_do_not_count_as_noise():
    assert noise([[1.0, 3.0, math.nan, math.inf]]) == noise([[1.0, 3.0]])


def test_noise_and_signal_are_recovered_from_planted_ones():
    rng = np.random.default_rng(0)
    means = rng.normal(0, 0.03, size=4000)
    runs = means[:, None] + rng.normal(0, 0.01, size=(4000, 3))
    sd, freedom = noise(runs)
    assert freedom == 8000
    assert sd == pytest.approx(0.01, rel=0.03)
    assert signal_to_noise(runs[:, 0], sd) == pytest.approx(3.0, rel=0.05)


def test_scores_that_spread_no_more_than_noise_have_no_signal():
    assert signal_to_noise([1.0, 1.1, 0.9], 0.5) == 0.0


def test_signal_to_noise_says_so_when_it_cannot_be_known():
    assert math.isnan(signal_to_noise([1.0], 0.1))
    assert math.isnan(signal_to_noise([1.0, math.nan], 0.1))
    assert math.isnan(signal_to_noise([1.0, 2.0], math.nan))
    assert math.isnan(signal_to_noise([1.0, 1.0], 0.0))
    assert signal_to_noise([1.0, 2.0], 0.0) == math.inf
