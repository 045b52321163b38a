"""Trials of one division of a corpus as data for another: the arithmetic, and a real run whose domains change."""

import json
import math

import hypothesis
import numpy as np
import pytest
from hypothesis import strategies as st

from climb_engine import cli
from climb_engine.config import SearchConfig, TargetConfig
from climb_engine.pipeline import Run
from climb_engine.search.objective import Objective
from climb_engine.search.reuse import Division, Overlap, Reusable, check, lacking, translated
from climb_engine.search.space import MixtureSpace
from climb_engine.types import ClimbError, Mixture, Result

needs_embedder = pytest.mark.network  # the run's static embedder comes out of a registry package


# The arithmetic


def division(domains, tokens, heldout=()):
    held = np.isin(np.arange(len(domains)), heldout)
    return Division(np.array(domains), np.array(tokens), held)


def spread(one, weights):
    """What a mixture gives each document, the long way: its domain's weight over the domain's training tokens."""
    tokens = np.where(one.heldout, 0, one.tokens)
    totals = np.bincount(one.domains + 1, tokens, len(weights) + 1)[1:]
    return np.where(one.domains >= 0, weights[one.domains] * tokens / totals[one.domains], 0.0)


def test_a_domain_that_is_split_is_carried_without_any_error():
    old = division([0, 0, 0, 1, 1], [10, 20, 30, 5, 5])
    new = division([0, 2, 2, 1, 1], [10, 20, 30, 5, 5])
    overlap = Overlap.count([(old, new)], 2, 3)
    weights = np.array([[0.6, 0.4], [0.0, 1.0]])
    carried = overlap.carry(weights)
    assert carried == pytest.approx(np.array([[0.1, 0.4, 0.5], [0.0, 1.0, 0.0]]))
    assert overlap.distance(weights, carried) == pytest.approx([0.0, 0.0], abs=1e-12)


def test_what_was_pruned_counts_as_error_and_the_rest_is_divided_anew():
    old = division([0, 0, 1, 2], [10, 10, 10, 10])
    new = division([0, 0, 1, -1], [10, 10, 10, 10])
    overlap = Overlap.count([(old, new)], 3, 2)
    weights = np.array([[0.5, 0.3, 0.2], [0.0, 0.0, 1.0]])
    carried = overlap.carry(weights)
    assert carried[0] == pytest.approx([0.625, 0.375])
    assert overlap.distance(weights, carried) == pytest.approx([0.2, 1.0])


def test_a_merge_is_exact_only_where_both_had_their_natural_proportion():
    old = division([0, 1, 2], [30, 10, 60])
    new = division([0, 0, 1], [30, 10, 60])
    overlap = Overlap.count([(old, new)], 3, 2)
    weights = np.array([[0.3, 0.1, 0.6], [0.4, 0.0, 0.6]])
    carried = overlap.carry(weights)
    assert carried == pytest.approx(np.array([[0.4, 0.6], [0.4, 0.6]]))
    assert overlap.distance(weights, carried) == pytest.approx([0.0, 0.1])


@st.composite
def two_divisions(draw):
    n = draw(st.integers(8, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    tokens = rng.integers(1, 50, n)
    old, new = (np.concatenate([[0, 1, 2], rng.integers(-1, 3, n - 3)]) for _ in range(2))
    return division(old, tokens), division(new, tokens), rng.dirichlet(np.ones(3), 4), draw(st.integers(1, n - 1))


@hypothesis.given(two_divisions())
def test_the_distance_is_the_one_between_distributions_over_documents(case):
    old, new, weights, _ = case
    overlap = Overlap.count([(old, new)], 3, 3)
    carried = overlap.carry(weights)
    for mixture, there, distance in zip(weights, carried, overlap.distance(weights, carried), strict=True):
        difference = np.abs(spread(old, mixture) - (spread(new, there) if there.sum() else 0)).sum() / 2
        assert distance == pytest.approx(difference if there.sum() else 1.0, abs=1e-9)


@hypothesis.given(two_divisions())
def test_no_other_mixture_is_nearer_in_divergence_to_what_was_trained(case):
    old, _, weights, _ = case
    new = division(np.maximum(case[1].domains, 0), case[1].tokens)  # nothing pruned: else every divergence is infinite
    carried = Overlap.count([(old, new)], 3, 3).carry(weights)
    others = np.random.default_rng(0).dirichlet(np.ones(3), 20)
    trained = spread(old, weights[0])
    seen = trained > 0

    def divergence(there):
        return np.sum(trained[seen] * np.log(trained[seen] / np.maximum(spread(new, there)[seen], 1e-300)))

    assert all(divergence(carried[0]) <= divergence(other) + 1e-9 for other in others)


@hypothesis.given(two_divisions())
def test_counting_part_by_part_is_counting_at_once(case):
    old, new, _, cut = case

    def halves(one):
        ends = slice(cut), slice(cut, None)
        return [Division(one.domains[end], one.tokens[end], one.heldout[end]) for end in ends]

    whole = Overlap.count([(old, new)], 3, 3)
    parts = Overlap.count(zip(halves(old), halves(new), strict=True), 3, 3)
    for name in ("old", "new", "documents", "exchanged"):
        assert np.array_equal(getattr(whole, name), getattr(parts, name))


def test_a_domain_is_unchanged_when_it_has_the_same_documents_and_holds_out_the_same():
    domains = [0, 0, 1, 1, 2, 2, 3, -1]
    now = [2, 2, 0, 0, 1, -1, 3, 3]
    tokens = [1] * 8
    held = Overlap.count([(division(domains, tokens, [0, 2]), division(now, tokens, [0, 3]))], 4, 4)
    assert held.unchanged == {2: 0}  # of the others one holds out otherwise, one lost and one won a document


RESULT = Result({"own/bpb": 1.0, "heldout/a": 2.0, "heldout/b": 3.0}, 10, 0.1, 1e3, {"a": 1.0}, ((0, 5.0),))


def test_only_what_means_the_same_is_taken_over_under_its_new_name():
    kept = translated(RESULT, ("a", "b"), ("x", "b", "y"), {2: 0})
    assert kept.metrics == {"own/bpb": 1.0, "heldout/y": 2.0}
    assert kept.repeats == {}
    assert (kept.tokens, kept.flops, kept.curve) == (10, 1e3, ((0, 5.0),))


def test_the_mean_over_all_domains_needs_the_text_of_every_one():
    everything = Objective({"heldout/all": 1.0, "own/bpb": 1.0})
    assert lacking(RESULT, everything, ("a", "b")) == ()
    assert lacking(RESULT, everything, ("a", "b", "c")) == ("heldout/c",)
    assert lacking(RESULT, Objective({"other/bpb": 1.0}), ("a",)) == ("other/bpb",)


# A real run


def changed(run, **knobs):
    """The same run with other domains; its target is a task, which means the same over all domains."""
    run.configure(run.config.with_values({"target.heldout": {}, **knobs}))
    run.run("tokens")
    return run


@pytest.fixture
def split_run(own_run):
    """The finished run with one more domain: nothing of its earlier search is lost on the way."""
    return changed(own_run, **{"domains.n_domains": 5})


def measured(run):
    return [trial for trial in run.open_search().trials if trial.result]


@needs_embedder
def test_an_earlier_search_over_coarser_domains_is_offered_whole(split_run):
    before = Run(split_run.workspace.folder)
    before.config = before.config.with_values({"domains.n_domains": 4})
    (source,) = split_run.reusable()
    assert source.digest == before.search_digest != split_run.search_digest
    assert source.measured == len(source.trials) == len(measured(before)) == 15
    assert source.distances == pytest.approx(np.zeros(15), abs=1e-9)
    assert source.reason == ""
    natural = split_run.open_search().space.natural
    assert source.trials[0].mixture.weights == pytest.approx(natural, abs=0.01)  # what is held out has changed a little
    assert source.trials[3].result.metrics["own/bpb"] == measured(before)[3].result.metrics["own/bpb"]


@needs_embedder
def test_what_is_reused_teaches_and_is_no_measurement_of_the_search(split_run):
    assert split_run.open_search().outcome().best is None
    taken = split_run.reuse()
    assert [trial.origin for trial in taken] == ["reused"] * 15
    assert split_run.reuse() == ()
    search = split_run.open_search()
    assert search.evidence().weights.shape == (15, 5)
    outcome = search.outcome()
    assert (outcome.best, outcome.natural, search.spent().proxies) == (None, (), 0)
    assert math.isnan(outcome.noise_sd)
    assert "15 reused already" in split_run.reusable()[0].reason
    done = split_run.search()
    assert done.finished
    assert len(done.own) == 3 + 6 + 4 + 2
    assert len(done.outcome().natural) == 3
    assert done.outcome().best.origin != "reused"
    assert done.choice.trust is None or done.choice.trust.trials == 15 + 3 + 6 + 4


@needs_embedder
def test_a_mixture_that_the_new_domains_cannot_stand_for_is_not_offered(own_run):
    (source,) = changed(own_run, **{"domains.n_domains": 3}).reusable()
    near = source.distances <= 0.05
    assert 0 < near.sum() < 15
    assert len(source.trials) == near.sum()
    assert f"{15 - near.sum()} further than 0.05" in source.reason
    assert len(own_run.reusable(1.0)[0].trials) == 15


@needs_embedder
def test_trials_are_not_offered_when_the_score_needs_what_has_changed(finished_run, split_run):
    split_run.configure(split_run.config.with_values({"target.heldout": {"all": 1.0}}))
    (source,) = split_run.reusable()
    assert source.trials == ()
    assert "15 without the score's metrics" in source.reason
    untouched = next(name for name in split_run.domains if name in finished_run.domains)
    split_run.configure(split_run.config.with_values({"target.heldout": {untouched: 1.0}}))
    assert len(split_run.reusable()[0].trials) == 15


@needs_embedder
def test_a_renamed_domain_keeps_what_was_reused(split_run):
    old = next(name for name in split_run.open_search().space.domains)
    split_run.configure(split_run.config.with_values({"target.heldout": {old: 1.0}}))
    taken = split_run.reuse()
    overrides = [{"action": "rename", "domain": old, "to": "anew"}]
    knobs = {"domains.overrides": overrides, "target.heldout": {"anew": 1.0}}
    split_run.configure(split_run.config.with_values(knobs))
    search = split_run.open_search()
    assert len(taken) == len(search.measured()[1]) == 15
    assert (
        search.score(search.trials[3])
        == -(taken[3].result.metrics["own/bpb"] + taken[3].result.metrics[f"heldout/{old}"]) / 2
    )
    assert "15 reused already" in split_run.reusable()[0].reason


@needs_embedder
def test_a_target_that_reused_trials_lack_leaves_them_out_and_breaks_nothing(split_run):
    split_run.reuse()
    split_run.configure(split_run.config.with_values({"target.heldout": {"all": 1.0}}))
    search = split_run.open_search()
    assert math.isnan(search.score(search.trials[0]))
    assert search.measured()[0].shape == (0, 5)
    assert split_run.search(1).iteration == 1


@needs_embedder
def test_trials_outside_the_new_limits_are_brought_inside_and_the_way_counts(split_run):
    first = split_run.domains[0]
    split_run.configure(split_run.config.with_values({"search.max_weight": {first: 0.3}}))
    (source,) = split_run.reusable(1.0)
    assert all(one.mixture.as_dict()[first] <= 0.3 + 1e-9 for one in source.trials)
    assert 0 < (source.distances > 1e-6).sum() < 15


@needs_embedder
def test_tokens_that_were_made_otherwise_are_not_offered_and_the_reason_is_said(own_run):
    (source,) = changed(own_run, **{"domains.n_domains": 5, "tokens.vocab_size": 500}).reusable()
    assert (source.trials, source.reason) == ((), "its tokens were made otherwise: tokens.vocab_size")


@needs_embedder
def test_proxies_of_another_kind_are_no_source(own_run):
    assert changed(own_run, **{"domains.n_domains": 5, "proxy.tokens": 4000}).reusable() == ()


@needs_embedder
def test_a_trial_that_was_reused_is_offered_from_where_it_was_measured_and_not_twice(split_run):
    first = split_run.reusable()[0].digest
    split_run.reuse()
    later = changed(split_run, **{"domains.n_domains": 6})
    assert [source.digest for source in later.reusable()] == [first]


@needs_embedder
def test_the_search_points_to_what_can_be_reused_and_takes_nothing_by_itself(split_run, capsys):
    def climb(*words):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as left:
            patch.setattr("sys.argv", ["climb", "--runs", str(split_run.workspace.folder.parent), *words])
            cli.main()
        return left.value.code, *capsys.readouterr()

    code, out, _ = climb("reuse", "tiny", "--dry-run", "--json")
    (source,) = json.loads(out)
    assert (code, source["measured"], source["taken"], len(source["trials"])) == (0, 15, False, 15)
    code, _, err = climb("search", "tiny", "--iterations", "1")
    assert code == 0
    assert "15 trials of earlier searches can be reused here: climb reuse tiny" in err
    assert {trial.origin for trial in split_run.open_search().trials} == {"natural", "sampled"}
    assert "15 trials are reused" in climb("reuse", "tiny")[1]
    assert "0 trials are reused" in climb("reuse", "tiny")[1]
    assert "can be reused" not in climb("search", "tiny")[2]


def test_a_mixture_outside_the_space_or_over_other_domains_is_refused():
    space = MixtureSpace.from_config(("a", "b"), np.array([3.0, 1.0]), SearchConfig(max_weight={"a": 0.8}))
    objective = Objective.from_config(TargetConfig(tasks={"own": 1.0}), ("a", "b"))

    def reusable(domains, weights, result=RESULT):
        return Reusable("s", 7, Mixture(domains, np.array(weights)), 0, result, 0.0)

    check(reusable(("a", "b"), [0.5, 0.5]), space, objective)
    with pytest.raises(ClimbError, match=r"trial 7 of search s is outside the allowed space"):
        check(reusable(("a", "b"), [0.9, 0.1]), space, objective)
    with pytest.raises(ClimbError, match="other domains"):
        check(reusable(("a", "c"), [0.5, 0.5]), space, objective)
    with pytest.raises(ClimbError, match="has no own/bpb"):
        check(reusable(("a", "b"), [0.5, 0.5], Result({}, 1, 1.0, 1.0)), space, objective)
    with pytest.raises(ClimbError, match="no finite number"):
        check(reusable(("a", "b"), [0.5, 0.5], Result({"own/bpb": math.nan}, 1, 1.0, 1.0)), space, objective)
