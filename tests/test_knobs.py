"""Knobs and their changes in words, and why stages would run again."""

import pytest

from app.knobs import changed, differences, named, title
from app.overview.reasons import reasons
from climb_engine import curation
from climb_engine.config import Override, RunConfig


@pytest.mark.parametrize(
    ("name", "before", "after", "words"),
    [
        ("thresholds", {"quality": 2.0, "educational": 1}, {"quality": 2.5}, ["quality threshold 2 → 2.5",
                                                                              "educational threshold 1 → none"]),
        ("n_clusters", 1000, 0, ["number of clusters 1,000 → 0"]),
        ("learning_rate", 3e-3, 1e-4, ["learning rate 0.003 → 0.0001"]),
        ("scorers", ["heuristics"], ("heuristics", "ratings"), ["scorers heuristics → heuristics, ratings"]),
        ("remove", False, True, ["remove off → on"]),
        ("ratings", "", "/somewhere/else/mine.csv", ["ratings none → mine.csv"]),
        ("tasks", {}, {"piqa": 0.5}, ["weight of piqa none → 0.5"]),
    ],
)  # fmt: skip
def test_a_change_is_told_in_words(name, before, after, words):
    assert changed(name, before, after) == words


def test_overrides_that_came_and_went_are_told_each():
    kept = {"action": "keep", "cluster": 1}
    before = [kept, {"action": "prune", "cluster": 3}]
    after = [Override(**kept), Override(action="split", domain="sea", parts=3)]
    assert changed("overrides", before, after) == ["split sea into 3", "no longer prune c3"]


def test_of_two_configs_only_what_differs_is_told():
    then = RunConfig().with_values({"search.seed": 4, "domains.n_domains": 7})
    assert differences(RunConfig(), then) == ["number of domains 20 → 7", "seed 0 → 4"]
    assert differences(then, then) == []


def test_only_knobs_that_there_are_count_as_named_in_a_message():
    told = "docs.jsonl, clustering.n_clusters = 9, search.nothing, clustering.n_clusters; see corpus.inputs"
    assert named(told) == [("clustering", "n_clusters"), ("corpus", "inputs")]
    assert title("hf_split") == "Hugging Face split"


def told(run, **values):
    then = curation.foreseen(run, run.config.with_values({name.replace("__", "."): v for name, v in values.items()}))
    return reasons(then, then.plan())


def test_the_reasons_of_a_run_name_each_knob_and_what_follows_for_certain_or_perhaps(finished_run):
    assert told(finished_run) == []
    assert told(finished_run, domains__n_domains=3) == [
        "domains (number of domains 4 → 3)",
        "and what follows: tokens, trunk",
    ]
    assert told(finished_run, domains__min_documents=4) == ["domains (min documents 5 → 4)"]  # which decides nothing
    assert told(finished_run, quality__columns={"quality": "q"}) == [
        "quality (columns of quality none → q)",
        "and what follows: domains",
        "and, if that changes what comes out, tokens, trunk",
    ]
