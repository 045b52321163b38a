"""What a search says that it will train is what it then trains; and what is said of it."""

import re
from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from app.search.estimates import ahead
from app.steps import next_step, verdict
from climb_engine.config import RunConfig
from climb_engine.search.threads import one_thread
from climb_engine.types import Mixture, Result
from tests.test_loop import DOMAINS, config, search

GOOD = np.array([0.05, 0.15, 0.3, 0.5])  # far from the natural mixture
BAD = Mixture(DOMAINS, np.array([0.85, 0.05, 0.05, 0.05]))


def measure(trial):
    rng = np.random.default_rng([trial.seed, trial.id])
    loss = 1 + ((trial.mixture.weights - GOOD) ** 2).sum() + 0.002 * rng.standard_normal()
    return Result({"loss/bpb": loss}, tokens=10, seconds=0.1, flops=1e3)


def drive(found, iterations=None, at_most=10_000):
    told = 0
    while told < at_most and (trials := found.ask(1, iterations)):
        found.tell(trials[0].id, measure(trials[0]))
        told += 1


def trained(found, iterations):
    """How many trials ``climb search`` trains from here, with its --iterations (None: without)."""
    asked = found.iteration - any(trial.open and trial.origin == "sampled" for trial in found.trials)
    before = sum(not trial.open for trial in found.trials)
    drive(found, None if iterations is None else asked + iterations)
    return sum(not trial.open for trial in found.trials) - before


@pytest.mark.parametrize("queued", [0, 2])
@pytest.mark.parametrize("iterations", [0, 1, 2, None])
@pytest.mark.parametrize("told", [0, 2, 5, 9, 11, 14, 16, 18, 20, 99])
@pytest.mark.parametrize(
    "knobs",
    [
        {},
        {"confirm_best": 2, "reference_runs": 1},
        {"confirm": 0},
        {"reference_runs": 0},
        {"iterations": (8,), "reference_runs": 1},
    ],
    ids=str,
)
def test_what_is_said_to_be_trained_is_what_is_trained(knobs, told, iterations, queued):
    wanted = config(**{"method": "random", "iterations": (6, 4), **knobs})
    found = search([], wanted)
    drive(found, at_most=told)
    for _ in range(queued):
        found.suggest(BAD)
    said = ahead(found, wanted, iterations)
    assert said.proxies == trained(found, iterations)


def test_before_there_is_a_search_it_is_said_of_the_knobs_alone():
    wanted = config(method="random", iterations=(6, 4))
    assert ahead(None, wanted, 1) == ahead(search([], wanted), wanted, 1)
    assert ahead(None, wanted).proxies == 3 + 6 + 4 + 2


def numbers(text):
    words = {"once": 1, "twice": 2}
    found = re.sub(r"iterations? \d+( to \d+)?|the best \d+ mixtures", "", text)
    return sum(words.get(n) or int(n) for n in re.findall(r"\d+|once|twice", found))


def at(told, queued=0, **knobs):
    found = search([], config(**{"method": "random", "iterations": (6, 4), **knobs}))
    drive(found, at_most=told)
    for _ in range(queued):
        found.suggest(BAD)
    return found


@pytest.mark.parametrize(
    ("found", "button", "text"),
    [
        (at(0), "Run iteration 1 of 2", "Trains 6 mixtures of iteration 1 and the natural mixture 3 times as the"),
        (at(9), "Run iteration 2 of 2", "Trains 4 mixtures of iteration 2. Then chooses the mixture and confirms it"),
        (at(9, 1), "Run iteration 2 of 2", "Trains 1 mixture of your own and 4 mixtures of iteration 2. Then chooses"),
        (at(1), "Finish iteration 1", "Trains 6 open trials of iteration 1 and 2 open runs of the natural mixture."),
        (at(11), "Finish iteration 2", "Trains 2 open trials of iteration 2. Then chooses the mixture and confirms it"),
        (at(13), "Choose and confirm the mixture", "Chooses the mixture and confirms it with 2 fresh seeds."),
        (at(14), "Finish the confirmation", "Trains 1 open run of the confirmation."),
        (at(99, 1), "Train what is queued", "Trains 1 mixture of your own."),
        (
            at(9, reference_runs=1, confirm=3), "Finish iteration 2",
            "Trains 2 open trials of iteration 2. Then chooses the mixture and confirms it with 3 fresh seeds, and the "
            "natural mixture twice more, for pairs.",
        ),
    ],
)  # fmt: skip
def test_the_sentence_of_the_next_step_adds_up_to_its_cost(found, button, text):
    step = next_step([], found, found.config)
    assert step.words == button
    assert step.why.startswith(text)
    said = ahead(found, found.config, 1 if "iteration" in button else None)
    assert said.text == step.why
    assert numbers(step.why) == said.proxies


def test_where_nothing_is_left_but_the_next_step_no_second_button_offers_it_again():
    assert next_step([], at(0), at(0).config).more
    assert next_step([], at(9), at(9).config).more is None


def test_advice_within_the_noise_names_knobs_that_exist_and_nothing_that_would_change_nothing():
    found = at(99)
    kind, headline, said = verdict(found, replace(found.outcome(), gain_interval=(-1.0, 1.0)))
    assert kind == "unclear"
    assert "Within the noise" in headline
    knobs = re.findall(r"\b([a-z]+)\.([a-z_]+)\b", said)
    assert knobs
    assert all(hasattr(getattr(RunConfig(), section), name) for section, name in knobs)
    assert "Compare page" in said
    assert "search.confirm" not in said  # what has been chosen is not confirmed again


def test_training_more_runs_of_both_adds_pairs_as_the_advice_says():
    found = at(99)
    before = len(found.outcome().pairs)
    for mixture in (found.choice.mixture, Mixture(DOMAINS, found.space.natural)):
        while len(found.fresh(mixture.weights)) < 5:
            trial = found.suggest(mixture)
            found.tell(trial.id, measure(trial))
    assert len(found.outcome().pairs) == 5 > before


def test_what_is_small_is_computed_on_one_thread():
    with threadpool_limits(2):
        with one_thread():
            assert {pool["num_threads"] for pool in threadpool_info()} == {1}
        assert 2 in {pool["num_threads"] for pool in threadpool_info()}
