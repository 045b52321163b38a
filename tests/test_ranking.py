"""Whether predictions order trials, how far noise lets them, and numbers of trials that add up."""

import math

import numpy as np
import pytest

from app.search.charts import SMOOTH, smoothed
from app.search.counts import KINDS, add_up
from app.search.ranking import Order, Ranking, doubt, ranking
from climb_engine.search.predictor import rank_correlation
from climb_engine.types import Mixture, Result, Trial

RNG = np.random.default_rng


def found(predicted, scores, noise=0.01, mixtures=None):
    mixtures = np.arange(len(scores)) if mixtures is None else mixtures
    return ranking(predicted, np.full(len(scores), 0.1), scores, mixtures, noise)


def test_a_predictor_that_finds_the_region_only_is_told_from_one_that_orders_the_best():
    scores = np.r_[RNG(0).normal(-5, 1, 30), RNG(1).normal(0, 1, 30)]
    region = np.where(np.arange(60) < 30, -5.0, 0.0) + 0.01 * RNG(2).normal(size=60)
    lame, able = found(region, scores), found(scores, scores)
    assert lame.whole.spearman > 0.7
    assert lame.best.spearman < 0.4
    assert lame.best.ceiling > 0.95
    assert "not to be trusted among the best" in doubt(lame)
    assert able.best.spearman == pytest.approx(1)
    assert doubt(able) == ""


def test_where_runs_differ_by_their_noise_alone_nobody_is_to_blame():
    truth = np.r_[RNG(0).normal(-5, 1, 30), np.zeros(30)]
    scores = truth + 0.1 * RNG(1).normal(size=60)
    judged = found(truth + 1e-3 * RNG(2).normal(size=60), scores, 0.1)
    assert judged.whole.ceiling > 0.85
    assert judged.best.limited
    assert "Nothing could" in doubt(judged)
    assert "region" not in doubt(judged)


@pytest.mark.parametrize("noise", [0.1, 0.5, 1.0])
def test_the_ceiling_is_about_what_the_truth_itself_reaches(noise):
    reached, said = [], []
    for seed in range(20):
        truth = RNG(seed).normal(size=60)
        judged = found(truth, truth + noise * RNG(100 + seed).normal(size=60), noise)
        reached.append([judged.whole.spearman, judged.best.spearman])
        said.append([judged.whole.ceiling, judged.best.ceiling])
    np.testing.assert_allclose(np.mean(said, axis=0), np.mean(reached, axis=0), atol=0.1)


def test_runs_of_one_mixture_cannot_be_ordered():
    scores = RNG(0).normal(size=20)
    assert found(scores, scores, 1.0, np.zeros(20, dtype=int)).whole.ceiling == 0


def test_the_noise_may_be_unknown_and_trials_few():
    scores = RNG(0).normal(size=20)
    unknown = found(-scores, scores, math.nan)
    assert math.isnan(unknown.best.ceiling)
    assert "allow" not in doubt(unknown)
    assert "noise" not in unknown.text
    few = found(scores[:4], scores[:4])
    assert math.isnan(few.whole.spearman)
    assert doubt(few) == ""
    assert "4 trials, too few for a rank correlation" in few.text


def test_a_sentence_says_both_orders_and_how_many_trials_they_are_of():
    judged = Ranking(Order(35, 0.906, 0.93), Order(18, 0.58, 0.53), 0.69)
    assert judged.text == (
        "rank correlation 0.91 over all 35 trials (noise allows about 0.9), 0.58 over their best 18 (noise allows "
        "about 0.5); 69% of them inside the 80 % interval"
    )


def test_the_correlation_is_that_of_the_best_half_by_measured_score():
    scores, predicted = RNG(0).normal(size=31), RNG(1).normal(size=31)
    best = np.argsort(-scores)[:16]
    judged = found(predicted, scores).best
    assert (judged.trials, judged.spearman) == (16, pytest.approx(rank_correlation(predicted[best], scores[best])))


def trial(key, origin, state="measured"):
    result = Result({"a/bpb": 1.0}, 1, 1.0, 1.0) if state == "measured" else None
    error = "broken" if state == "failed" else None
    mixture = Mixture(("a", "b"), np.array([0.5, 0.5]))
    return Trial(id=key, iteration=1, origin=origin, mixture=mixture, seed=0, result=result, error=error)


def test_numbers_of_trials_have_their_unit_and_add_up():
    origins = ["sampled"] * 3 + ["natural"] * 2 + ["confirm", "suggested", "reused"]
    trials = [trial(i, origin) for i, origin in enumerate(origins)]
    assert add_up(trials) == "8 trials: 3 of the search, 1 of your own, 2 natural, 1 confirmation, 1 taken over"
    assert add_up(trials[:1]) == "1 trial: 1 of the search"
    assert add_up([]) == "0 trials"
    assert set(origins) == set(KINDS)
    waiting = [trial(0, "sampled"), trial(1, "sampled", "open"), trial(2, "sampled", "failed")]
    assert add_up(waiting) == "3 trials: 3 of the search; 1 open, 1 failed"


def test_smoothing_keeps_a_line_and_averages_a_wiggle_to_its_ends():
    line = np.linspace(5, 4, 40)
    np.testing.assert_allclose(smoothed(line)[SMOOTH:-SMOOTH], line[SMOOTH:-SMOOTH])
    wiggle = line + np.where(np.arange(40) % 2, 0.3, -0.3)
    assert np.abs(smoothed(wiggle) - smoothed(line)).max() < 0.3 / (SMOOTH // 2) + 1e-9
    assert len(smoothed(np.array([1.0]))) == 1
