"""Domains: pruning with its reasons, merging, naming, and human overrides."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from climb_engine.config import DomainsConfig, Override
from climb_engine.curate.domains import decide
from climb_engine.types import METRICS, ClimbError

WORDS = {0: "algebra", 1: "ocean", 2: "court"}


class Planted:
    """Nine clusters around three far corners, three each; the first corner has most documents, the last fewest."""

    def __init__(self):
        rng = np.random.default_rng(0)
        self.truth = np.repeat([0, 1, 2], 3)
        self.centroids = (np.eye(3)[self.truth] * 10 + rng.normal(0, 0.1, (9, 3))).astype(np.float32)
        self.sizes = np.array([50, 40, 30, 20, 20, 20, 5, 5, 5])
        self.means = np.full((9, 4), 4.0)
        self.keywords = [[WORDS[t], f"{WORDS[t]}-{i}", f"w{i}", "common"] for i, t in enumerate(self.truth)]

    def decide(self, overrides=(), **knobs):
        config = DomainsConfig(overrides=tuple(overrides), **{"n_domains": 3, **knobs})
        return decide(self.sizes, self.means, METRICS, self.centroids, self.keywords, config)


@pytest.fixture
def planted():
    return Planted()


def keep(cluster):
    return Override(action="keep", cluster=cluster)


def prune(cluster):
    return Override(action="prune", cluster=cluster)


def move(cluster, domain):
    return Override(action="move", cluster=cluster, domain=domain)


def rename(domain, to):
    return Override(action="rename", domain=domain, to=to)


# --- prune ------------------------------------------------------------------------------------------------------------


def test_a_cluster_below_its_threshold_is_pruned_and_says_by_how_much(planted):
    planted.means[4, METRICS.index("advertisement")] = 1.2
    decided = planted.decide()
    assert decided.decisions[4].reason == "advertisement 1.2 < 2.0"
    assert (decided.decisions[4].kept, decided.decisions[4].domain) == (False, -1)
    assert [d.reason for d in decided.decisions if d.cluster != 4] == ["kept"] * 8


def test_a_cluster_at_its_threshold_is_kept(planted):
    planted.means[4, METRICS.index("advertisement")] = 2.0
    assert planted.decide().decisions[4].kept


def test_a_reason_shows_as_many_decimals_as_it_needs(planted):
    planted.means[4, 0] = 0.998
    planted.means[5, 1] = 1.2
    reasons = [d.reason for d in planted.decide(thresholds={"quality": 1.0, "educational": 1.25}).decisions]
    assert reasons[4:6] == ["quality 0.998 < 1.000", "educational 1.20 < 1.25"]


def test_every_fault_of_a_cluster_is_named(planted):
    planted.means[6] = [0.5, 4.0, 0.25, 4.0]
    reason = planted.decide(min_documents=10, thresholds={"quality": 1, "informational": 1}).decisions[6].reason
    assert reason == "quality 0.5 < 1.0; informational 0.2 < 1.0; documents 5 < 10"


def test_small_and_empty_clusters_are_pruned_with_their_reason(planted):
    planted.sizes[8] = 0
    planted.centroids[8] = np.nan
    planted.means[8] = np.nan
    reasons = [d.reason for d in planted.decide(min_documents=6).decisions]
    assert reasons[6:] == ["documents 5 < 6", "documents 5 < 6", "empty"]


def test_a_mean_that_cannot_be_said_prunes_nothing(planted):
    planted.means[3] = np.nan
    assert planted.decide().decisions[3].kept


def test_a_threshold_without_scores_is_refused_and_names_what_there_is(planted):
    with pytest.raises(ClimbError, match=r"nothing scores 'quality' \(there are scores for educational\)"):
        decide(planted.sizes, planted.means[:, :1], ["educational"], planted.centroids, planted.keywords,
               DomainsConfig(thresholds={"quality": 1.0}))  # fmt: skip
    planted.means[:, 0] = np.nan
    with pytest.raises(ClimbError, match="nothing scores 'quality'"):
        planted.decide()


def test_no_thresholds_need_no_scores(planted):
    config = DomainsConfig(thresholds={}, n_domains=3)
    decided = decide(planted.sizes, np.empty((9, 0)), [], planted.centroids, planted.keywords, config)
    assert all(decision.kept for decision in decided.decisions)


def test_when_all_are_pruned_the_error_says_which_threshold_prunes_how_many(planted):
    planted.means[:, 0] = 0.5
    planted.means[:2, 3] = 1.0
    planted.sizes[8] = 0
    with pytest.raises(ClimbError) as error:
        planted.decide(min_documents=6)
    message = str(error.value)
    assert "all 9 clusters are pruned: thresholds.quality = 1 prunes 9 (best mean 0.50)" in message
    assert "min_documents = 6 prunes 2 (largest 50)" in message
    assert "thresholds.advertisement = 2 prunes 2" in message
    assert "1 are empty" in message
    assert "lower domains.thresholds.quality" in message


def test_overrides_that_prune_everything_are_told_so(planted):
    with pytest.raises(ClimbError, match="overrides prune 9; take some overrides back"):
        planted.decide([prune(i) for i in range(9)])


# --- merge ------------------------------------------------------------------------------------------------------------


def test_planted_corners_become_the_domains_largest_first(planted):
    decided = planted.decide()
    assert decided.labels.tolist() == planted.truth.tolist()
    assert decided.names == decided.automatic_names
    assert [decision.automatic_domain for decision in decided.decisions] == planted.truth.tolist()


def test_domains_are_ordered_by_documents_then_by_smallest_cluster(planted):
    planted.sizes[:] = [1, 1, 1, 5, 5, 5, 5, 5, 5]
    assert planted.decide().labels.tolist() == [2, 2, 2, 0, 0, 0, 1, 1, 1]


def test_the_merge_distance_finds_the_corners_too_and_the_cut_lies_around_it(planted):
    decided = planted.decide(n_domains=0, merge_distance=1.5)
    assert decided.labels.tolist() == planted.truth.tolist()
    below, above = decided.cut
    assert below <= 1.5 < above
    assert {below, above} <= set(decided.linkage[:, 2])


def test_everything_merges_into_one_when_the_distance_is_huge(planted):
    decided = planted.decide(n_domains=0, merge_distance=1e6)
    assert len(decided.names) == 1
    assert decided.cut[1] == np.inf


def test_the_linkage_is_of_the_kept_clusters_and_says_which(planted):
    planted.means[4, 0] = 0
    decided = planted.decide()
    assert decided.linkage.shape == (7, 4)
    assert decided.leaves.tolist() == [0, 1, 2, 3, 5, 6, 7, 8]


def test_fewer_kept_clusters_than_domains_give_one_domain_each(planted):
    decided = planted.decide(n_domains=20)
    assert sorted(decided.labels.tolist()) == list(range(9))
    assert decided.cut[0] == 0


def test_one_kept_cluster_is_one_domain_with_an_empty_linkage(planted):
    planted.means[1:, 0] = 0
    decided = planted.decide()
    assert decided.labels.tolist() == [0] + [-1] * 8
    assert decided.linkage.shape == (0, 4)


def test_clusters_on_one_point_still_give_the_wanted_number_of_domains(planted):
    planted.centroids[:] = 1.0
    for wanted in range(1, 10):
        assert len(planted.decide(n_domains=wanted).names) == wanted


def test_the_size_of_a_cluster_does_not_move_the_cut(planted):
    before = planted.decide().linkage
    planted.sizes[3] = 10_000
    np.testing.assert_array_equal(planted.decide().linkage, before)


# --- name -------------------------------------------------------------------------------------------------------------


def test_names_hold_the_words_that_tell_a_domain_from_the_others(planted):
    names = planted.decide().names
    assert [name.split("-")[0] for name in names] == ["algebra", "ocean", "court"]
    assert not any("common" in name for name in names)


def test_a_word_of_a_large_cluster_outweighs_that_of_a_small_one(planted):
    planted.keywords = [[f"word{chr(97 + i)}"] for i in range(9)]
    assert planted.decide().names[0] == "worda-wordb-wordc"
    planted.sizes[:3] = [10, 20, 90]
    assert planted.decide().names[0] == "wordc-wordb-worda"


def test_names_are_unique_by_a_further_word_and_else_by_a_number(planted):
    planted.keywords = [["a1", "b1", "c1", "d1"]] * 9
    names = planted.decide().names
    assert names == ("a1-b1-c1", "a1-b1-c1-d1", "a1-b1-c1-d1-2")


def test_names_are_plain_slugs_whatever_the_keywords(planted):
    planted.keywords = [["Café au lait", "../etc", "naïve!"]] * 3 + [["日本"]] * 3 + [[]] * 3
    assert planted.decide().names == ("cafe-au-lait-etc-naive", "domain", "domain-2")


def test_a_word_and_its_plural_do_not_fill_a_name(planted):
    planted.keywords = [["theorem", "theorems", "proof", "group"]] * 9
    assert planted.decide(n_domains=1).names == ("theorem-proof-group",)


# --- override ---------------------------------------------------------------------------------------------------------


def test_a_pruned_cluster_that_is_kept_joins_its_nearest_domain(planted):
    planted.means[4, 0] = 0.8
    decision = planted.decide([keep(4)]).decisions[4]
    assert decision.reason == "override: kept (was pruned: quality 0.8 < 1.0)"
    assert (decision.kept, decision.domain) == (True, 1)
    assert (decision.automatic_kept, decision.automatic_domain) == (False, -1)


def test_a_cluster_pruned_by_hand_keeps_its_automatic_verdict(planted):
    decision = planted.decide([prune(4)]).decisions[4]
    assert decision.reason == "override: pruned (was kept)"
    assert (decision.kept, decision.domain) == (False, -1)
    assert (decision.automatic_kept, decision.automatic_domain) == (True, 1)


def test_a_prune_can_be_taken_back_into_the_same_domain_under_its_new_name(planted):
    name = planted.decide().names[2]
    decided = planted.decide([prune(6), prune(7), prune(8), keep(7)])
    assert decided.names[decided.decisions[7].domain] == name
    old = planted.decide().names[1]
    decided = planted.decide([prune(4), rename(old, "sea"), keep(4)])
    assert decided.names[decided.decisions[4].domain] == "sea"


def test_a_cluster_moves_to_a_domain_by_name(planted):
    first, second, _ = planted.decide().names
    decided = planted.decide([move(4, first)])
    assert decided.names[decided.decisions[4].domain] == first
    assert decided.decisions[4].reason == f"override: moved to {first} (was in {second})"
    assert decided.decisions[4].automatic_domain == 1


def test_moving_to_a_new_name_makes_a_domain(planted):
    decided = planted.decide([move(4, "math"), move(7, "math")])
    assert len(decided.names) == 4
    assert [d.cluster for d in decided.decisions if d.domain == decided.names.index("math")] == [4, 7]
    assert "math" not in decided.automatic_names


def test_moving_a_pruned_cluster_keeps_it(planted):
    planted.means[4, 0] = 0.8
    decision = planted.decide([move(4, "math")]).decisions[4]
    assert decision.kept
    assert decision.reason == "override: moved to math (was pruned: quality 0.8 < 1.0)"


def test_a_move_can_rescue_a_corpus_that_is_pruned_whole(planted):
    planted.means[:, 0] = 0
    decided = planted.decide([move(4, "math"), keep(5)])
    assert decided.names == ("math",)
    assert decided.automatic_names == ()
    assert decided.labels.tolist() == [-1] * 4 + [0, 0] + [-1] * 3


def test_keeping_when_nothing_is_kept_says_to_move_instead(planted):
    planted.means[:, 0] = 0
    with pytest.raises(ClimbError, match=r'overrides\[0\] \(keep\): no cluster is kept.*action = "move"'):
        planted.decide([keep(5)])


def test_a_domain_is_renamed_and_overrides_after_it_use_the_new_name(planted):
    old = planted.decide().names[0]
    decided = planted.decide([rename(old, "proofs"), move(4, "proofs")])
    assert decided.names[0] == "proofs"
    assert decided.decisions[4].domain == 0
    assert decided.automatic_names[0] == old
    with pytest.raises(ClimbError, match=rf"overrides\[1\] \(rename\): no domain is called '{old}'"):
        planted.decide([rename(old, "proofs"), rename(old, "again")])


def test_a_name_that_is_taken_is_refused_until_it_is_free(planted):
    first, second, _ = planted.decide().names
    with pytest.raises(ClimbError, match=f"there is a domain '{first}' already"):
        planted.decide([rename(second, first)])
    swapped = planted.decide([rename(first, "aside"), rename(second, first), rename("aside", second)])
    assert swapped.names[:2] == (second, first)
    assert planted.decide([rename(first, first)]).names[0] == first


def test_a_domain_left_empty_disappears_and_its_name_is_free(planted):
    first, _, last = planted.decide().names
    empty = [prune(6), move(7, first), prune(8)]
    decided = planted.decide(empty)
    assert last not in decided.names
    assert len(decided.names) == 2
    with pytest.raises(ClimbError, match="no domain is called"):
        planted.decide([*empty, rename(last, "gone")])
    assert planted.decide([*empty, rename(first, last)]).names[0] == last


def test_domains_are_ordered_anew_after_overrides(planted):
    first, second, last = planted.decide().names
    assert planted.decide([prune(0), prune(1)]).names == (second, first, last)


def test_an_unknown_cluster_is_refused_with_the_valid_range(planted):
    for override in (keep(9), prune(9), move(9, "math")):
        with pytest.raises(ClimbError, match="there is no cluster 9; clusters are 0 to 8"):
            planted.decide([override])


def test_an_unknown_domain_is_refused_with_the_nearest_name(planted):
    name = planted.decide().names[0]
    with pytest.raises(ClimbError, match=f"did you mean '{name}'"):
        planted.decide([rename(name[:-1], "x")])


def test_an_empty_cluster_cannot_be_kept_or_moved_but_may_be_pruned(planted):
    planted.sizes[8] = 0
    for override in (keep(8), move(8, "math")):
        with pytest.raises(ClimbError, match="cluster 8 is empty"):
            planted.decide([override])
    assert not planted.decide([prune(8)]).decisions[8].kept


@pytest.mark.parametrize("name", ["../up", "Math", "a b", "-x", "a/b", "x" * 65, "日本"])
def test_names_that_are_no_slugs_are_refused(planted, name):
    old = planted.decide().names[0]
    for override in (move(4, name), rename(old, name)):
        with pytest.raises(ClimbError, match="is no domain name"):
            planted.decide([override])


def test_a_refused_name_comes_with_one_that_works(planted):
    with pytest.raises(ClimbError, match="try 'math-proofs'"):
        planted.decide([move(4, "Math & Proofs")])


# --- for any input ----------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["math", "law", "domain", "w0-w1-w2"])


@st.composite
def situations(draw):
    k = draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = rng.integers(0, 9, k)
    means = np.where(rng.random((k, 4)) < 0.1, np.nan, rng.uniform(0, 5, (k, 4)))
    keywords = [[f"w{w}" for w in rng.permutation(6)[:4]] for _ in range(k)]
    clusters = st.integers(0, k - 1)
    override = st.one_of(clusters.map(keep), clusters.map(prune), st.builds(move, clusters, NAMES),
                         st.builds(rename, NAMES, NAMES))  # fmt: skip
    config = DomainsConfig(
        thresholds=draw(st.dictionaries(st.sampled_from(METRICS), st.sampled_from([0.5, 1.0, 2.0]))),
        min_documents=draw(st.integers(1, 4)),
        n_domains=draw(st.integers(0, 5)),
        merge_distance=draw(st.sampled_from([0.1, 1.5, 3.0])),
        overrides=tuple(draw(st.lists(override, max_size=5))),
    )
    return sizes, means, METRICS, rng.integers(0, 3, (k, 2)).astype(np.float32), keywords, config


@settings(max_examples=300, deadline=None)
@given(situations())
def test_whatever_comes_in_each_cluster_has_one_decision_and_domains_are_sound(situation):
    sizes, _, _, _, _, config = situation
    try:
        decided = decide(*situation)
    except ClimbError:
        return
    assert [decision.cluster for decision in decided.decisions] == list(range(len(sizes)))
    documents = [int(sizes[decided.labels == domain].sum()) for domain in range(len(decided.names))]
    assert min(documents) > 0
    assert documents == sorted(documents, reverse=True)
    assert len(set(decided.names)) == len(decided.names) == decided.labels.max() + 1
    assert len(set(decided.automatic_names)) == len(decided.automatic_names)
    for decision in decided.decisions:
        assert decision.kept == (decision.domain >= 0)
        assert decision.automatic_kept == (decision.automatic_domain >= 0)
        assert decision.reason.startswith("override") or decision.kept == decision.automatic_kept
    touched = {override.cluster for override in config.overrides}
    assert all((d.cluster in touched) == d.reason.startswith("override") for d in decided.decisions)


@settings(max_examples=50, deadline=None)
@given(situations())
def test_the_same_input_gives_the_same_domains(situation):
    def outcome():
        try:
            decided = decide(*situation)
            return decided.names, decided.decisions
        except ClimbError as error:
            return str(error)

    assert outcome() == outcome()
