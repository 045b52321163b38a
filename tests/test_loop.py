import json
import math

import numpy as np
import pytest

from climb_engine.config import SearchConfig
from climb_engine.search.loop import Search, mean_interval
from climb_engine.search.objective import Objective
from climb_engine.search.space import MixtureSpace
from climb_engine.types import ClimbError, Mixture, Result

DOMAINS = ("a", "b", "c", "d")
BEST = np.array([0.5, 0.3, 0.15, 0.05])
OBJECTIVE = Objective({"loss/bpb": 1.0})


def config(**knobs):
    return SearchConfig(**{"iterations": (12, 8, 4), "candidates": 1000, "reference_runs": 3, "confirm": 2, **knobs})


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


@pytest.mark.parametrize("method", ["climb", "bayesian", "random"])
def test_a_planted_optimum_is_found(method):
    found = drive(search([], config(method=method)))
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


@pytest.mark.parametrize(("method", "killed_after"), CUTS)
def test_a_search_killed_anywhere_goes_on_as_if_nothing_had_happened(method, killed_after):
    settings = config(method=method)
    undisturbed = drive(search([], settings))
    log = []
    drive(search(log, settings), at_most=killed_after)
    resumed = drive(search(json.loads(json.dumps(log)), settings))
    assert resumed.trials == undisturbed.trials
    assert resumed.choice == undisturbed.choice


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
    search(log)
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
    pairs = [score - natural[seed] for seed, score in enumerate(outcome.confirmed, 1)]
    assert outcome.gain == pytest.approx(np.mean(pairs))
    assert outcome.gain_interval[0] < outcome.gain < outcome.gain_interval[1]


def test_an_interval_is_students():
    mean, (low, high) = mean_interval([1.0, 2.0, 3.0])
    assert (mean, low, high) == pytest.approx((2.0, 2 - 2.4841, 2 + 2.4841), abs=1e-3)
    assert math.isnan(mean_interval([1.0])[1][0])
