import functools
import json
import math
import re
from dataclasses import replace

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from climb_engine.config import SearchConfig
from climb_engine.search.baselines import Spent
from climb_engine.search.loop import Search, StopHint, Trust
from climb_engine.search.objective import Objective
from climb_engine.search.outcome import mean_interval
from climb_engine.search.reuse import Reusable
from climb_engine.search.space import MixtureSpace
from climb_engine.types import ClimbError, Mixture, Result, Trial

DOMAINS = ("a", "b", "c", "d")
BEST = np.array([0.5, 0.3, 0.15, 0.05])
OBJECTIVE = Objective({"loss/bpb": 1.0})


def config(**knobs):
    small = {"iterations": (12, 8, 4), "candidates": 600, "reference_runs": 3, "confirm": 2, "folds": 0}
    return SearchConfig(**{**small, **knobs})


def search(log, settings=None):
    settings = settings or config()
    space = MixtureSpace.from_config(DOMAINS, np.array([400, 300, 200, 100]), settings)
    return Search(space, OBJECTIVE, settings, log)


def measure(trial, noise=0.002):
    rng = np.random.default_rng([trial.seed, *np.round(trial.mixture.weights * 1e6).astype(int).tolist()])
    loss = 1 + ((trial.mixture.weights - BEST) ** 2).sum() + noise * rng.standard_normal()
    return Result({"loss/bpb": loss}, tokens=10, seconds=0.1, flops=1e3)


def drive(found, iterations=None, at_most=10_000):
    told = 0
    while told < at_most and (trials := found.ask(5, iterations)):
        for trial in trials[: at_most - told]:
            found.tell(trial.id, measure(trial))
            told += 1
    return found


def test_every_sampled_trial_reads_in_an_order_of_its_own_and_what_is_compared_shares_orders():
    found = drive(search([]))
    sampled = [trial.seed for trial in found.trials if trial.origin == "sampled"]
    compared = {trial.seed for trial in found.trials if trial.origin in ("natural", "confirm")}
    assert len(set(sampled)) == len(sampled)
    assert not set(sampled) & compared
    assert compared == {0, 1, 2}


def test_a_suggested_mixture_is_run_under_the_seeds_of_the_others_one_after_the_other():
    found = drive(search([]))
    own = Mixture(DOMAINS, np.array([0.25, 0.25, 0.25, 0.25]))
    assert [found.suggest(own).seed for _ in range(3)] == [0, 1, 2]
    assert found.suggest(Mixture(DOMAINS, found.space.natural)).seed == 3  # three references have run
    picked = next(trial for trial in found.trials if trial.origin == "sampled")
    assert found.suggest(picked.mixture).seed == 0


@pytest.mark.parametrize("method", ["bayesian", "climb", "regmix", "random"])
def test_a_choice_is_within_the_limits_as_they_are_when_it_is_made(method):
    log = []
    drive(search(log, config(method=method, iterations=(12,), confirm=0)))
    assert any(trial.mixture.weights[0] > 0.35 for trial in search(log).trials)
    tighter = config(method=method, iterations=(12, 4), confirm=0, max_weight={"a": 0.3})
    found = drive(search(log, tighter))
    assert found.choice.iterations == 2
    assert found.space.contains(found.choice.mixture.weights[None])[0]


def test_a_random_search_whose_trials_are_all_outside_the_limits_says_so():
    log = []
    drive(search(log, config(method="random", iterations=(12,), confirm=0)), at_most=12)
    tighter = config(
        method="random", iterations=(12,), confirm=0, max_weight={"a": 0.26, "b": 0.26, "c": 0.26, "d": 0.26}
    )
    with pytest.raises(ClimbError, match="relax them, or add an iteration"):
        drive(search(log, tighter))


def test_runs_since_the_choice_confirm_it_and_the_run_it_was_picked_for_does_not():
    found = drive(search([], config(method="random", confirm=0)))
    chosen = found.choice.mixture
    assert any(trial.mixture == chosen for trial in found.trials)
    assert found.outcome().confirmed == ()
    for trial in [found.suggest(chosen) for _ in range(2)]:
        found.tell(trial.id, measure(trial))
    assert len(found.outcome().confirmed) == len(found.outcome().pairs) == 2
    assert math.isfinite(found.outcome().gain_interval[0])


@pytest.mark.parametrize("method", ["climb", "bayesian", "regmix", "random"])
def test_a_planted_optimum_is_found(method):
    sizes = (48,) if method == "regmix" else (12, 8, 4)  # below 45 trials RegMix's regression is a constant
    found = drive(search([], config(method=method, iterations=sizes)))
    assert found.finished
    outcome = found.outcome()
    assert np.abs(outcome.chosen.mixture.weights - BEST).sum() < 0.5
    assert len(outcome.confirmed) == 2
    assert np.mean(outcome.confirmed) > np.mean(outcome.natural)
    assert math.isfinite(outcome.noise_sd)


def test_the_iterations_have_the_sizes_that_were_asked_for():
    found = drive(search([]))
    counts = [sum(t.iteration == i and t.origin == "sampled" for t in found.trials) for i in (1, 2, 3)]
    assert counts == [12, 8, 4]
    assert sum(t.origin == "natural" for t in found.trials) == 3


@pytest.mark.parametrize("method", ["climb", "bayesian"])
def test_no_mixture_is_tried_twice_and_all_are_allowed(method):
    found = drive(search([], config(method=method, max_weight={"a": 0.45})))
    sampled = np.array([t.mixture.weights for t in found.trials if t.origin == "sampled"])
    assert len(np.unique(np.round(sampled, 6), axis=0)) == len(sampled)
    assert found.space.contains(sampled).all()
    assert found.space.contains(found.choice.mixture.weights[None])[0]


def test_ask_gives_the_same_trials_until_they_are_told():
    found = search([])
    first = found.ask(4)
    assert found.ask(4) == first
    found.tell(first[0].id, measure(first[0]))
    assert found.ask(3) == first[1:4]


CUTS = [("climb", n) for n in (0, 1, 15, 16, 22, 27, 29)] + [("bayesian", n) for n in (16, 27)]


@functools.cache
def undisturbed(method):
    return drive(search([], config(method=method)))


@pytest.mark.parametrize(("method", "killed_after"), CUTS)
def test_a_search_killed_anywhere_goes_on_as_if_nothing_had_happened(method, killed_after):
    settings = config(method=method)
    log = []
    drive(search(log, settings), at_most=killed_after)
    resumed = drive(search(json.loads(json.dumps(log)), settings))
    assert resumed.trials == undisturbed(method).trials
    assert resumed.choice == undisturbed(method).choice


def test_stopping_after_an_iteration_asks_nothing_of_the_next():
    found = drive(search([]), iterations=1)
    assert found.iteration == 1
    assert found.ask(9, 1) == ()
    assert not found.finished
    assert found.choice is None
    assert drive(found).finished


def test_a_finished_search_goes_on_when_it_is_given_more_iterations():
    log = []
    drive(search(log))
    longer = search(log, config(iterations=(12, 8, 4, 4)))
    assert not longer.finished
    assert drive(longer).finished
    assert longer.choice.iterations == 4


def test_the_users_own_mixture_comes_before_what_waits():
    found = search([])
    found.ask(5)
    own = found.suggest(Mixture(DOMAINS, np.array([0.25, 0.25, 0.25, 0.25])))
    assert found.ask(5)[0].id == own.id
    found.tell(own.id, measure(own))
    assert own.id not in [trial.id for trial in found.open]


def test_a_suggestion_outside_the_space_is_refused():
    found = search([], config(max_weight={"d": 0.2}))
    with pytest.raises(ClimbError, match="outside the allowed space"):
        found.suggest(Mixture(DOMAINS, np.array([0.1, 0.1, 0.1, 0.7])))


def test_a_score_that_is_not_finite_is_a_failed_trial_and_harms_no_other():
    found = search([])
    bad, good = found.ask(2)
    found.tell(bad.id, Result({"loss/bpb": math.nan}, 10, 0.1, 1e3))
    found.tell(good.id, measure(good))
    told = {trial.id: trial for trial in found.trials}
    assert told[bad.id].error == "not a finite number: loss/bpb"
    assert told[good.id].result
    assert drive(found).finished


def test_telling_twice_or_telling_the_unknown_is_refused():
    found = search([])
    trial = found.ask(1)[0]
    found.tell(trial.id, "out of memory")
    with pytest.raises(ClimbError, match="told already"):
        found.tell(trial.id, measure(trial))
    with pytest.raises(ClimbError, match="no trial 999"):
        found.tell(999, "x")


def test_when_every_trial_fails_the_first_reason_is_given():
    found = search([])
    for trial in found.ask(100):
        found.tell(trial.id, "loss was nan at step 3")
    with pytest.raises(ClimbError, match="loss was nan at step 3"):
        found.ask(1)


def test_a_log_of_other_domains_is_refused():
    log = []
    search(log).ask(1)
    log[0]["domains"] = ["x", "y"]
    with pytest.raises(ClimbError, match="other domains"):
        search(log)


def test_reweighting_the_target_needs_no_training():
    log = []
    settings = config(iterations=(6,), confirm=0)
    space = MixtureSpace.from_config(DOMAINS, np.array([400, 300, 200, 100]), settings)
    found = Search(space, Objective({"x/bpb": 1.0}), settings, log)
    for trial in found.ask(99):
        x, y = trial.mixture.weights[:2]
        found.tell(trial.id, Result({"x/bpb": x, "y/bpb": y}, 1, 0.1, 1.0))
    other = Search(space, Objective({"y/bpb": 1.0}), settings, log)
    trial = other.trials[-1]
    assert other.score(trial) == -trial.mixture.weights[1]
    assert found.score(found.trials[-1]) == -trial.mixture.weights[0]


def test_the_gain_is_paired_by_seed():
    log = []
    found = drive(search(log, config(reference_runs=4, confirm=3)))
    outcome = found.outcome()
    natural = dict(enumerate(outcome.natural))
    pairs = [score - natural[seed] for seed, score in enumerate(outcome.confirmed)]
    assert len(pairs) == 3
    assert outcome.gain == pytest.approx(np.mean(pairs))
    assert outcome.gain_interval[0] < outcome.gain < outcome.gain_interval[1]
    assert [chosen - natural for chosen, natural in outcome.pairs] == pytest.approx(pairs)


def test_natural_is_run_under_every_seed_that_confirms_so_that_all_of_them_are_pairs():
    found = drive(search([], config(reference_runs=1, confirm=3)))
    assert len(found.outcome().natural) == len(found.outcome().pairs) == 3
    unasked = drive(search([], config(reference_runs=0, confirm=3)))  # who wants no references gets none
    assert unasked.outcome().natural == ()


def test_natural_is_confirmed_once_when_it_is_itself_the_best():
    found = search([], config(method="random", confirm=2))
    while trials := found.ask(99):
        for trial in trials:
            loss = 0.5 if trial.origin in ("natural", "confirm") else 1.0
            found.tell(trial.id, Result({"loss/bpb": loss}, 1, 0.1, 1.0))
    assert found.choice.mixture.weights == pytest.approx(found.space.natural)
    assert [trial.seed for trial in found.trials if trial.origin == "natural"] == [0, 1, 2]
    assert [trial.seed for trial in found.trials if trial.origin == "confirm"] == [3, 4]
    assert found.outcome().gain == 0


def test_what_was_suggested_before_it_was_chosen_is_confirmed_under_other_seeds():
    found = search([], config(method="random", confirm=2))
    own = Mixture(DOMAINS, BEST)
    found.tell(found.suggest(own).id, Result({"loss/bpb": 0.1}, 1, 0.1, 1.0))
    drive(found)
    assert found.choice.mixture == own
    assert [trial.seed for trial in found.trials if trial.origin == "confirm"] == [1, 2]
    assert len(found.outcome().confirmed) == 2


def test_a_gain_on_the_whole_tells_what_got_worse():
    settings = config(reference_runs=4, confirm=3)
    space = MixtureSpace.from_config(DOMAINS, np.array([400, 300, 200, 100]), settings)
    found = Search(space, Objective({"x/bpb": 3.0, "y/bpb": 1.0}), settings, [])
    while trials := found.ask(99):
        for trial in trials:
            x, noise = trial.mixture.weights[0], trial.seed * 1e-3
            found.tell(trial.id, Result({"x/bpb": x + noise * x, "y/bpb": 1 - x + noise * x}, 1, 0.1, 1.0))
    gains = found.outcome().gains
    assert gains["x/bpb"][1][0] > 0 > gains["y/bpb"][1][1]
    assert found.outcome().gain == pytest.approx((3 * gains["x/bpb"][0] + gains["y/bpb"][0]) / 4)


def test_reading_a_search_writes_nothing_to_its_log():
    log = []
    assert search(log).trials == ()
    assert log == []


def test_the_bayesian_choice_is_nearer_to_the_planted_optimum_than_what_was_measured_at_first():
    found = drive(search([], config(method="bayesian")))
    first = [np.square(t.mixture.weights - BEST).sum() for t in found.trials if t.iteration == 1]
    assert np.square(found.choice.mixture.weights - BEST).sum() < min(first)


def test_a_choice_says_what_gain_is_expected_and_how_far_its_predictor_can_be_trusted():
    log = []
    found = drive(search(log, config(method="bayesian", folds=4)))
    choice = found.choice
    low, high = choice.gain_interval
    true_gain = np.square(found.space.natural - BEST).sum() - np.square(choice.mixture.weights - BEST).sum()
    assert low < choice.gain < high
    assert abs(choice.gain - true_gain) < 0.02
    assert choice.trust.spearman > 0.8
    assert choice.trust.warning == ""
    assert search(json.loads(json.dumps(log)), config(method="bayesian")).choice == choice


def test_a_score_that_is_only_noise_is_not_to_be_trusted():
    found = search([], config(iterations=(20,), method="bayesian", folds=4))
    rng = np.random.default_rng(0)
    while trials := found.ask(99):
        for trial in trials:
            found.tell(trial.id, Result({"loss/bpb": rng.normal()}, 1, 0.1, 1.0))
    assert "do not trust" in found.choice.trust.warning


def test_a_log_from_before_predictors_were_validated_is_still_read():
    log = []
    drive(search(log))
    for event in log:
        for fact in ("gain", "gain_sd", "trust"):
            event.pop(fact, None)
    old = search(log).choice
    assert math.isnan(old.gain)
    assert old.trust is None


@pytest.mark.parametrize("method", ["climb", "bayesian"])
def test_several_are_confirmed_and_the_choice_is_made_on_all_measurements(method):
    log = []
    settings = config(method=method, confirm_best=3, confirm=2)
    found = drive(search(log, settings), at_most=12 + 8 + 4 + 3)
    assert found.choice is None
    confirming = found.ask(99)
    assert len({trial.mixture for trial in confirming}) == 3
    assert sorted(trial.seed for trial in confirming) == [0, 0, 0, 1, 1, 1]
    assert not found.finished
    lucky = confirming[-1].mixture
    for trial in search(json.loads(json.dumps(log)), settings).ask(99):
        found.tell(trial.id, Result({"loss/bpb": 0.5 if trial.mixture == lucky else 1.5}, 1, 0.1, 1.0))
    assert found.ask(1) == ()
    assert found.finished
    assert found.choice.mixture == lucky
    assert found.outcome().confirmed == (-0.5, -0.5)


def test_when_no_confirmation_can_be_measured_the_best_predicted_is_chosen():
    found = drive(search([], config(confirm_best=2)), at_most=27)
    best = found.ask(99)[0].mixture
    for trial in found.ask(99):
        found.tell(trial.id, "out of memory")
    assert found.ask(1) == ()
    assert found.choice.mixture == best


def test_proposals_are_untried_apart_and_best_first():
    found = drive(search([], config(method="bayesian")), iterations=2)
    proposed = found.propose(4)
    weights = np.array([choice.mixture.weights for choice in proposed])
    distances = np.abs(weights[:, None] - weights).sum(axis=2)
    assert distances[np.triu_indices(4, 1)].min() > 0.05
    assert [choice.predicted for choice in proposed] == sorted((c.predicted for c in proposed), reverse=True)
    assert not set(map(tuple, weights)) & {tuple(t.mixture.weights) for t in found.trials}


def test_more_trials_are_worth_more_early_than_late():
    early = drive(search([], config(method="bayesian")), iterations=1).stop_hint()
    late = drive(search([], config(method="bayesian", iterations=(12, 16, 16, 4)))).stop_hint()
    assert early.gain > late.gain >= 0
    assert early.seconds == pytest.approx(0.4)
    assert early.visible < 0.01


def test_the_stop_hint_says_to_stop_when_the_gain_would_drown_in_noise():
    hint = StopHint(gain=0.001, visible=0.004, trials=16, seconds=60.0, flops=1e12)
    assert not hint.go_on
    assert "stop here" in hint.text
    assert "worth it" in replace(hint, gain=0.01).text


def test_the_stop_hint_says_what_it_weighs_the_gain_against():
    found = drive(search([], config(method="bayesian", confirm=3)))
    hint, sd = found.stop_hint(), found.outcome().noise_sd
    assert hint.visible == pytest.approx(sd / math.sqrt(3))
    assert f"the mean of 3 confirming runs is off by {hint.visible:.2g} (one standard error)" in hint.text
    assert "runs differ" not in hint.text


def test_a_predictor_that_is_not_trusted_gives_no_stop_hint():
    trusted, not_trusted = (Trust("gp", True, 20, spearman, 0.8) for spearman in (0.7, 0.5))
    hint = StopHint(gain=0.01, visible=0.004, trials=16, seconds=60.0, flops=1e12, trust=trusted)
    assert "worth it" in hint.text
    for gain in (0.01, 0.001):
        doubted = replace(hint, gain=gain, trust=not_trusted)
        assert not doubted.go_on
        assert "cannot be told" in doubted.text
        assert not re.search("worth it|stop here", doubted.text)


def test_baselines_come_with_what_is_expected_of_them_and_the_cost_is_counted():
    found = drive(search([], config(method="bayesian", iterations=(48, 4))))
    known = found.baselines()
    assert list(known) == ["natural", "uniform", "best of random", "regmix"]
    assert known["natural"].gain == pytest.approx(0, abs=1e-9)
    assert max(choice.predicted for choice in known.values()) < found.choice.predicted
    for choice in known.values():
        assert found.space.contains(choice.mixture.weights[None])[0]
        assert choice.predicted == pytest.approx(-1 - np.square(choice.mixture.weights - BEST).sum(), abs=0.05)
    measured = sum(trial.result is not None for trial in found.trials)
    assert found.spent() == Spent(measured, 10 * measured, pytest.approx(0.1 * measured), 1e3 * measured)


def test_learning_by_metric_ranks_a_sum_better_than_learning_the_sum():
    space = MixtureSpace.from_config(DOMAINS, np.array([4.0, 3.0, 2.0, 1.0]), config())
    laws = np.random.default_rng(1).normal(0, 3, (4, 5))
    objective = Objective({f"t{i}/bpb": 1.0 for i in range(5)})
    ranks = {}
    for by_metric in (True, False):
        found = Search(space, objective, config(method="bayesian", by_metric=by_metric, folds=4, iterations=(24,)), [])
        for trial in found.ask(99, 1):
            losses = np.exp(trial.mixture.weights @ laws)
            found.tell(trial.id, Result({f"t{i}/bpb": v for i, v in enumerate(losses)}, 1, 0.1, 1.0))
        assert found.evidence().by_metric is by_metric
        ranks[by_metric] = found.validation().rmse
    assert ranks[True] < ranks[False]


@pytest.mark.parametrize("method", ["bayesian", "climb", "regmix"])
def test_ours_learns_from_all_that_is_measured_and_the_published_methods_from_the_score(method):
    space = MixtureSpace.from_config(DOMAINS, np.array([4.0, 3.0, 2.0, 1.0]), config())
    chosen = []
    for besides in (False, True):
        found = Search(space, Objective({"t/bpb": 1.0}), config(method=method, iterations=(24, 4)), [])
        while asked := found.ask(99):
            for trial in asked:
                losses = 1 / (0.1 + trial.mixture.weights)
                measured = {"t/bpb": float(losses[0] + np.random.default_rng(trial.id).normal())}
                measured |= {f"heldout/{i}": float(v) for i, v in enumerate(losses)} if besides else {}
                found.tell(trial.id, Result(measured, 1, 0.1, 1.0))
        assert found.evidence().by_metric is False  # the score has one metric
        chosen.append(found.choice.mixture)
    assert (chosen[0] == chosen[1]) == (method != "bayesian")


@pytest.mark.parametrize("predictor", ["ridge", "loglinear"])
def test_the_predictor_is_a_knob(predictor):
    found = drive(search([], config(predictor=predictor, iterations=(12, 4))))
    assert found.finished
    assert found.evidence().predictor.name == predictor


@st.composite
def told_in_any_order(draw):
    order = draw(st.permutations(range(12 + 3)))
    failed = draw(st.sets(st.integers(0, 14), max_size=5))
    return order, failed, draw(st.integers(0, 15))


@hypothesis.settings(deadline=None, max_examples=25)
@hypothesis.given(told_in_any_order())
def test_a_log_read_again_at_any_point_is_the_search_that_wrote_it(plan):
    order, failed, cut = plan
    log = []
    found = search(log)
    asked = found.ask(99)
    for step, i in enumerate(order):
        if step == cut:
            log = json.loads(json.dumps(log))
            found = search(log)
            assert len(found.open) == 15 - cut
        found.tell(asked[i].id, "gone" if i in failed else measure(asked[i]))
    again = search(json.loads(json.dumps(log)))
    assert again.trials == found.trials
    assert again.open == ()
    assert {trial.id for trial in again.trials if trial.error} == failed
    assert [event["event"] for event in log[:2]] == ["started", "asked"]


@hypothesis.settings(deadline=None, max_examples=15)
@hypothesis.given(st.permutations(range(15)))
def test_the_next_iteration_does_not_depend_on_the_order_of_telling(order):
    asked = {}
    for told in (range(15), order):
        found = search([], config(predictor="ridge"))
        first = found.ask(99)
        for i in told:
            found.tell(first[i].id, measure(first[i]))
        asked[tuple(told)] = found.ask(99)
    assert len({tuple(trials) for trials in asked.values()}) == 1


def elsewhere(n, source="other"):
    """Trials that another search measured: of the prior, the best mixture, and the natural one twice."""
    space = search([]).space
    weights = [*space.sample(n - 3, np.random.default_rng(7)), BEST, space.natural, space.natural]
    found = []
    for i, row in enumerate(weights):
        mixture, seed = Mixture(DOMAINS, row), int(i == n - 1)
        result = measure(Trial(i, 1, "sampled", mixture, seed))
        found.append(Reusable(source, 2 * i, mixture, seed, result, 0.01, natural=i >= n - 2))
    return found


def from_another_trunk(reusable, shift):
    metrics = {"loss/bpb": reusable.result.metrics["loss/bpb"] + shift}
    return replace(reusable, result=replace(reusable.result, metrics=metrics))


@pytest.mark.parametrize("shift", [-0.3, 0.3])
def test_what_another_trunk_does_to_all_scores_is_taken_off_by_the_natural_runs(shift):
    found = search([], config(iterations=(6, 6)))
    found.reuse([from_another_trunk(one, shift) for one in elsewhere(12)])
    best = found.trials[9]
    assert found.score(best) == pytest.approx(-1 - shift, abs=0.02)  # nothing to compare it with yet
    drive(found, 1)
    assert found.score(best) == pytest.approx(-1, abs=0.02)
    weights, scores = found.measured()
    assert scores == pytest.approx(-1 - np.square(weights - BEST).sum(axis=1), abs=0.02)
    assert found.trials[9].result == best.result  # as it was measured
    gap = np.square(drive(found).choice.mixture.weights - BEST).sum()
    assert gap < np.square(found.space.natural - BEST).sum() / 4


def test_reused_trials_that_mislead_are_not_learned_from_and_those_that_help_are():
    def wrong(one):
        metrics = {"loss/bpb": 2 - one.result.metrics["loss/bpb"]}  # what is good there is bad here
        return replace(one, result=replace(one.result, metrics=metrics))

    for misleading in (True, False):
        found = search([], config(method="bayesian"))
        found.reuse([wrong(one) if misleading else one for one in elsewhere(20)])
        assert len(found.evidence().weights) == 20  # there is nothing yet to judge them by
        drive(found, 2)
        assert len(found.evidence().weights) == 3 + 20 + (0 if misleading else 20)
        assert np.square(drive(found).choice.mixture.weights - BEST).sum() < 0.02


def test_trust_in_the_predictor_counts_what_was_measured_here():
    found = search([], config(method="bayesian", folds=4))
    found.reuse(elsewhere(20))
    drive(found, 1)
    validation = found.validation()
    assert len(validation.predictions) == 12 + 3
    assert validation.spearman > 0.8


def test_without_natural_runs_on_both_sides_reused_results_stay_as_they_are():
    found = search([], config(iterations=(6,), reference_runs=0, confirm=0))
    found.reuse([from_another_trunk(one, 0.3) for one in elsewhere(12)])
    drive(found)
    assert found.score(found.trials[9]) == pytest.approx(-1.3, abs=0.02)


def test_reused_trials_teach_and_count_as_tried_but_are_no_measurements_of_the_search():
    found = search([])
    taken = found.reuse(elsewhere(10))
    assert [(trial.origin, trial.iteration, trial.open) for trial in taken] == [("reused", 0, False)] * 10
    assert len(found.evidence().weights) == 10
    assert found.own == ()
    assert found.spent().proxies == 0
    outcome = found.outcome()
    assert (outcome.best, outcome.natural) == (None, ())
    assert math.isnan(outcome.noise_sd)
    asked = found.ask(99)
    assert [trial.seed for trial in asked if trial.origin == "natural"] == [0, 1, 2]
    assert sum(trial.origin == "sampled" for trial in asked) == 12
    for trial in asked:
        found.tell(trial.id, measure(trial))
    assert len(found.evidence().weights) == 10 + 15
    assert found.outcome().best in found.own  # although the best of all was measured elsewhere
    assert found.outcome().noise_freedom == 2
    assert drive(found).finished
    tried = np.array([t.mixture.weights for t in found.trials if t.origin in ("sampled", "reused")])
    assert len(np.unique(np.round(tried, 6), axis=0)) == len(tried) - 1  # the natural mixture was reused twice
    assert [trial.seed for trial in found.trials if trial.origin == "confirm"] == [0, 1]


def test_reusing_again_adds_only_what_is_new():
    log = []
    found = search(log)
    found.reuse(elsewhere(6)[:4])
    assert found.reuse(elsewhere(6)[:4]) == ()
    later = search(json.loads(json.dumps(log)))
    assert [trial.id for trial in later.reuse([*elsewhere(6), *elsewhere(6, "a third")])] == list(range(4, 12))
    assert later.reuse(elsewhere(6) * 2) == ()
    assert len(search(log).trials) == 4


def test_a_fault_in_one_reused_trial_takes_over_none():
    log = []
    found = search(log, config(max_weight={"a": 0.45}))
    with pytest.raises(ClimbError, match="outside the allowed space"):
        found.reuse(elsewhere(6))
    assert log == []


@pytest.mark.parametrize("killed_after", [0, 5, 15, 17])
def test_a_search_with_reused_trials_killed_anywhere_goes_on_as_if_nothing_had_happened(killed_after):
    whole = search([], config(iterations=(6, 4)))
    whole.reuse(elsewhere(8))
    log = []
    killed = search(log, config(iterations=(6, 4)))
    killed.reuse(elsewhere(8))
    drive(killed, at_most=killed_after)
    resumed = search(json.loads(json.dumps(log)), config(iterations=(6, 4)))
    assert resumed.reuse(elsewhere(8)) == ()
    assert drive(resumed).trials == drive(whole).trials
    assert resumed.choice == whole.choice


def test_a_log_killed_between_two_sources_takes_the_second_when_it_is_asked_again():
    log = []
    search(log).reuse([*elsewhere(5), *elsewhere(5, "a third")])
    cut = search(json.loads(json.dumps(log[:-1])))
    assert len(cut.trials) == 5
    cut.reuse([*elsewhere(5), *elsewhere(5, "a third")])
    assert cut.trials == search(log).trials


def test_an_interval_is_students():
    mean, (low, high) = mean_interval([1.0, 2.0, 3.0])
    assert (mean, low, high) == pytest.approx((2.0, 2 - 2.4841, 2 + 2.4841), abs=1e-3)
    assert math.isnan(mean_interval([1.0])[1][0])
