"""Domains: pruning with its reasons, merging, naming, and human overrides."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from climb_engine.config import DomainsConfig, Override
from climb_engine.curate.domains import Clusters, decide, merge_table
from climb_engine.curate.merging import MOST_DOMAINS, cuts
from climb_engine.curate.overrides import canonical
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
        self.spreads = np.full(9, 0.4)
        self.metrics, self.duplicates, self.whole = METRICS, None, None

    @property
    def clusters(self):
        return Clusters(self.sizes, self.means, self.metrics, self.centroids, self.keywords, self.spreads,
                        self.duplicates, self.whole)  # fmt: skip

    def decide(self, overrides=(), **knobs):
        """What is decided, in the names that people gave."""
        return decide(self.clusters, wanted(overrides, **knobs)).renamed()

    def split(self, cluster, *parts):
        """Split a cluster: each part is its documents, centroid and mean score; the largest keeps the number."""
        self.whole = self.whole or self.clusters
        sizes, centroids, means = (np.array(values) for values in zip(*parts, strict=True))
        more, k = len(parts) - 1, len(self.sizes)
        rows = [cluster, *range(k, k + more)]
        self.sizes = np.append(self.sizes, np.zeros(more, np.int64))
        self.centroids = np.vstack([self.centroids, np.zeros((more, 3), np.float32)])
        self.means = np.vstack([self.means, np.zeros((more, 4))])
        self.spreads = np.append(self.spreads, np.full(more, 0.3))
        self.sizes[rows], self.centroids[rows], self.means[rows] = sizes, centroids, means[:, None]
        self.keywords = [*self.keywords, *([f"part-{i}"] for i in rows[1:])]


def wanted(overrides=(), **knobs):
    return DomainsConfig(overrides=tuple(overrides), **{"n_domains": 3, **knobs})


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


def merge(domain, to):
    return Override(action="merge", domain=domain, to=to)


def split(what, parts):
    return Override(action="split", parts=parts, **{"cluster" if isinstance(what, int) else "domain": what})


def note(what, text="look again"):
    return Override(action="note", why=text, **{"cluster" if isinstance(what, int) else "domain": what})


def scored(planted, means, metrics):
    planted.means, planted.metrics = means, metrics
    return planted


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
        scored(planted, planted.means[:, :1], ("educational",)).decide(thresholds={"quality": 1.0})
    scored(planted, np.full((9, 4), np.nan), METRICS)
    with pytest.raises(ClimbError, match="nothing scores 'quality'"):
        planted.decide()


def test_no_thresholds_need_no_scores(planted):
    decided = scored(planted, np.empty((9, 0)), ()).decide(thresholds={})
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
    assert planted.decide(min_documents=1).labels.tolist() == [2, 2, 2, 0, 0, 0, 1, 1, 1]


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
    assert decided.automatic_names[0] == "proofs"
    assert decide(planted.clusters, wanted([rename(old, "proofs")])).names[0] == old  # what artifacts know
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


# --- pruning by duplicates and spread -----------------------------------------------------------------------------


def test_a_cluster_of_too_many_near_duplicates_is_pruned_with_its_share(planted):
    planted.duplicates = np.array([10, 10, 10, 13, 10, 0, 0, 0, 0])
    decisions = planted.decide(max_duplicate_share=0.5).decisions
    assert [d.cluster for d in decisions if not d.kept] == [3]
    assert decisions[3].reason == "duplicate share 0.7 > 0.5"
    assert all(d.kept for d in planted.decide().decisions)
    planted.duplicates[:] = planted.sizes
    assert all(d.kept for d in planted.decide(max_duplicate_share=1.0).decisions)


def test_a_share_of_duplicates_that_nobody_counts_is_refused(planted):
    with pytest.raises(ClimbError, match=r"set duplicates\.method = 'minhash'"):
        planted.decide(max_duplicate_share=0.5)


def test_a_cluster_that_spreads_too_far_is_pruned_with_the_median_it_is_held_against(planted):
    planted.spreads = np.array([0.4, 0.4, 0.4, 0.4, 0.61, 0.4, 0.3, 0.5, 0.6])
    decisions = planted.decide(max_spread=1.5).decisions
    assert [d.cluster for d in decisions if not d.kept] == [4]
    assert decisions[4].reason == "mean distance 0.610 > 1.5 x 0.400 of the median cluster"
    planted.sizes[6] = 0  # an empty cluster has no say in the median
    planted.spreads[6] = 0
    assert planted.decide(max_spread=1.5, min_documents=1).decisions[4].reason.startswith("mean distance 0.610 > 1.5 x")
    assert planted.decide().decisions[4].kept


def test_when_the_spread_prunes_all_the_error_says_to_raise_it(planted):
    with pytest.raises(ClimbError, match=r"max_spread = 0.5 prunes 9; raise domains.max_spread"):
        planted.decide(max_spread=0.5)


# --- merge, split, note ---------------------------------------------------------------------------------------------


def test_a_merge_moves_all_clusters_of_a_domain_into_another(planted):
    first, second, last = planted.decide().names
    decided = planted.decide([prune(4), merge(second, last), keep(4)])
    assert decided.names == (first, last)
    assert {d.cluster for d in decided.decisions if d.domain == 1} == {3, 4, 5, 6, 7, 8}
    assert decided.decisions[3].reason == f"override: merged into {last} (was in {second})"
    assert decided.decisions[3].automatic_domain == 1
    with pytest.raises(ClimbError, match=rf"overrides\[1\] \(rename\): no domain is called '{second}'"):
        planted.decide([merge(second, last), rename(second, "gone")])
    with pytest.raises(ClimbError, match="cannot be merged into itself"):
        planted.decide([merge(first, first)])


def test_a_domain_is_split_by_its_own_tree_and_the_largest_part_keeps_its_name(planted):
    planted.centroids[2] = [10, 5, 0]  # of the first corner, and off it
    first, *others = planted.decide().names
    decided = planted.decide([split(first, 2)])
    assert set(decided.names) == {first, *others, decided.names[decided.decisions[2].domain]}
    assert len(decided.names) == 4
    assert [decided.names[decided.decisions[i].domain] for i in (0, 1)] == [first] * 2
    made = decided.names[decided.decisions[2].domain]
    assert "w2" in made  # what tells it from the others
    assert decided.decisions[2].reason == f"override: split off {made} (was in {first})"
    assert [d.domain for d in decided.decisions[3:]] != [-1] * 6
    assert len(planted.decide([split(first, 3)]).names) == 5
    with pytest.raises(ClimbError, match="has 3 clusters, too few for 4"):
        planted.decide([split(first, 4)])


def test_the_order_of_overrides_is_the_order_they_are_applied_in(planted):
    first, second, _ = planted.decide().names
    into = planted.decide([move(0, second), merge(second, first)])
    back = planted.decide([merge(second, first), move(0, "fresh")])
    assert into.labels.tolist() == [0] * 6 + [1] * 3
    assert back.names[back.decisions[0].domain] == "fresh"
    assert planted.decide([keep(4), prune(4)]).decisions[4].kept is False
    assert planted.decide([prune(4), keep(4)]).decisions[4].kept is True


def test_a_note_changes_nothing_but_must_be_about_something(planted):
    first = planted.decide().names[0]
    plain, noted = planted.decide(), planted.decide([note(3), note(first)])
    assert (noted.names, noted.decisions) == (plain.names, plain.decisions)
    with pytest.raises(ClimbError, match="there is no cluster 9"):
        planted.decide([note(9)])
    with pytest.raises(ClimbError, match="no domain is called 'oceans'"):
        planted.decide([note("oceans")])


def test_an_override_says_what_it_lacks():
    for values, lacks in (
        ({"action": "merge", "domain": "a"}, 'needs to = "..."'),
        ({"action": "split", "cluster": 3}, "needs parts = N"),
        ({"action": "split", "parts": 2}, "needs cluster = N or domain"),
        ({"action": "split", "parts": 2, "cluster": 3, "domain": "a"}, "and not both"),
        ({"action": "note", "cluster": 3}, "its text"),
        ({"action": "split", "parts": 1, "cluster": 3}, "parts"),
    ):
        with pytest.raises(ClimbError, match=f"here: .*{lacks}"):
            Override.parse(values, "here")


# --- clusters that are split ----------------------------------------------------------------------------------------


def but(decided, *clusters):
    return [(d.cluster, d.reason, decided.names[d.domain] if d.kept else "") for d in decided.decisions
            if d.cluster not in clusters]  # fmt: skip


def test_a_split_of_a_cluster_leaves_every_other_decision_alone(planted):
    planted.means[5, 0] = 0.2
    before = planted.decide(max_spread=1.2)
    planted.split(4, (12, [0, 11, 0], 4.0), (8, [4, 6, 0], 0.5))
    decided = planted.decide([split(4, 2)], max_spread=1.2)
    assert but(decided, 4, 9) == but(before, 4)
    assert decided.names == before.names
    assert decided.automatic_names == before.automatic_names
    np.testing.assert_array_equal(decided.linkage, before.linkage)
    assert (decided.decisions[4].domain, decided.decisions[4].reason) == (1, "kept")
    assert decided.decisions[9].reason.startswith("quality 0.5 < 1.0")  # each part is judged by itself
    assert not decided.decisions[9].automatic_kept


def test_a_part_that_passes_while_its_cluster_did_not_joins_the_nearest_domain(planted):
    planted.means[4] = 0.9
    assert not planted.decide().decisions[4].kept
    planted.split(4, (12, [0, 10, 0], 0.1), (8, [0, 0, 9], 3.0))
    decided = planted.decide([split(4, 2)])
    assert not decided.decisions[4].kept
    assert (decided.decisions[9].kept, decided.decisions[9].automatic_domain) == (True, 2)
    assert decided.names[decided.decisions[9].domain] == planted.decide([split(4, 2)]).automatic_names[2]


def test_what_was_decided_before_a_split_holds_for_all_parts_and_what_comes_after_for_one(planted):
    first = planted.decide().names[0]
    planted.split(4, (12, [0, 11, 0], 4.0), (8, [4, 6, 0], 4.0))
    before = planted.decide([prune(4), split(4, 2)])
    assert [before.decisions[i].kept for i in (4, 9)] == [False, False]
    after = planted.decide([split(4, 2), prune(4)])
    assert [after.decisions[i].kept for i in (4, 9)] == [False, True]
    moved = planted.decide([move(4, first), split(4, 2), move(9, "bay")])
    assert [moved.names[moved.decisions[i].domain] for i in (4, 9)] == [first, "bay"]
    with pytest.raises(ClimbError, match=r"overrides\[0\] \(prune\): there is no cluster 9"):
        planted.decide([prune(9), split(4, 2)])


def test_a_part_can_be_split_again(planted):
    before = planted.decide()
    planted.split(4, (12, [0, 11, 0], 4.0), (8, [4, 6, 0], 4.0))
    planted.split(9, (5, [4, 6, 0], 4.0), (3, [4, 6, 1], 0.0))
    decided = planted.decide([split(4, 2), split(9, 2)], min_documents=1)
    assert [(d.cluster, d.kept) for d in decided.decisions[9:]] == [(9, True), (10, False)]
    assert but(decided, 4, 9, 10) == but(before, 4)
    family = planted.decide([split(4, 2), move(9, "bay"), split(9, 2)])
    assert [family.names[family.decisions[i].domain] for i in (9, 10)] == ["bay", "bay"]


def test_a_split_of_a_cluster_after_that_of_its_domain_moves_no_other_cluster(planted):
    planted.centroids[3] = [0, 10, 8]
    second = planted.decide().names[1]
    before = planted.decide([split(second, 2)])
    planted.split(4, (12, [0, 11, 9], 4.0), (8, [4, -6, 0], 4.0))
    decided = planted.decide([split(second, 2), split(4, 2)])
    assert but(decided, 4, 9) == but(before, 4)


def test_a_cluster_of_fewer_documents_than_parts_is_not_split(planted):
    planted.split(8, (3, [0, 0, 10], 4.0), *[(1, [0, 0, 10], 4.0)] * 2, *[(0, [0, 0, 10], 4.0)] * 3)
    with pytest.raises(ClimbError, match="cluster 8 has 5 documents, too few for 6 parts"):
        planted.decide([split(8, 6)])


# --- what artifacts know --------------------------------------------------------------------------------------------


def test_renames_and_notes_are_no_part_of_what_is_decided(planted):
    first, second, _ = planted.decide().names
    told = [note(1), rename(first, "sums"), move(4, "sums"), rename("sums", "maths"), prune(7), merge(second, "maths"),
            rename("maths", second)]  # fmt: skip
    plain, names = canonical(told)
    assert plain == (move(4, first), prune(7), merge(second, first))
    assert names.called(first) == second
    with_names, without = (decide(planted.clusters, wanted(given)) for given in (told, plain))
    assert (with_names.names, with_names.decisions, with_names.ever) == (without.names, without.decisions, without.ever)
    shown = with_names.renamed()
    assert shown.names[0] == second
    assert shown.decisions[4].reason == f"override: moved to {second} (was in {second})"


def test_a_name_that_a_rename_freed_is_not_given_to_another_domain_by_a_move(planted):
    first = planted.decide().names[0]
    with pytest.raises(ClimbError, match=f"made as '{first}' is called 'sums' now"):
        planted.decide([rename(first, "sums"), move(7, first)])


def test_two_domains_never_have_one_name(planted):
    first, _, last = planted.decide().names
    empty = [prune(6), prune(7), prune(8)]
    with pytest.raises(ClimbError, match=rf"overrides\[4\] \(keep\): two domains would be called '{last}'"):
        planted.decide([*empty, rename(first, last), keep(6)])


def test_names_are_checked_against_what_an_artifact_has():
    names = canonical([rename("a", "b")])[1]
    assert names.apply(("a", "c"), ("a", "c", "d")) == ("b", "c")
    with pytest.raises(ClimbError, match="no domain is called 'a'"):
        names.apply(("c",), ("c",))
    with pytest.raises(ClimbError, match="two domains are called 'b'"):
        names.apply(("a", "b"), ("a", "b"))
    with pytest.raises(ClimbError, match="no domain name"):
        canonical([rename("a", "../b")])[1].apply(("a",), ("a",))


# --- how many domains -----------------------------------------------------------------------------------------------


def test_the_table_of_merges_points_at_the_planted_number(planted):
    table = merge_table(planted.clusters, wanted())
    assert [row.domains for row in table] == list(range(2, 10))
    assert max(table[:-1], key=lambda row: row.silhouette).domains == 3
    steps = [one.distance - two.distance for one, two in pairwise(table)]
    assert int(np.argmax(steps)) == 0  # from 3 to 2 domains the tree merges what is far apart
    total = ((planted.centroids - planted.centroids.mean(0)) ** 2).sum(1).mean()
    for row in table:
        assert row.within + row.between == pytest.approx(total, rel=1e-4)
    assert np.isnan(table[-1].silhouette)
    assert table[-1].within == pytest.approx(0)


def test_the_table_of_merges_ends_at_sixty_and_takes_a_sample_of_very_many():
    rng = np.random.default_rng(0)
    assert len(cuts(rng.normal(size=(100, 4)).astype(np.float32))) == MOST_DOMAINS - 1
    assert cuts(np.ones((1, 4), np.float32)) == ()


# --- for any input ----------------------------------------------------------------------------------------------------

NAMES = st.sampled_from(["math", "law", "domain", "domain-2", "w0-w1-w2", "w1-w0-w2", "w0-w1-w3"])


@st.composite
def situations(draw):
    k = draw(st.integers(1, 12))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    sizes = rng.integers(0, 9, k)
    means = np.where(rng.random((k, 4)) < 0.1, np.nan, rng.uniform(0, 5, (k, 4)))
    keywords = [[f"w{w}" for w in rng.permutation(6)[:4]] for _ in range(k)]
    clusters = st.integers(0, k - 1)
    override = st.one_of(clusters.map(keep), clusters.map(prune), st.builds(move, clusters, NAMES),
                         st.builds(rename, NAMES, NAMES), st.builds(merge, NAMES, NAMES), clusters.map(note),
                         NAMES.map(lambda name: split(name, 2)))  # fmt: skip
    config = DomainsConfig(
        thresholds=draw(st.dictionaries(st.sampled_from(METRICS), st.sampled_from([0.5, 1.0, 2.0]))),
        min_documents=draw(st.integers(1, 4)),
        n_domains=draw(st.integers(0, 5)),
        merge_distance=draw(st.sampled_from([0.1, 1.5, 3.0])),
        overrides=tuple(draw(st.lists(override, max_size=5))),
    )
    centroids = rng.integers(0, 3, (k, 2)).astype(np.float32)
    return Clusters(sizes, means, METRICS, centroids, keywords, rng.random(k)), config


@settings(max_examples=300, deadline=None)
@given(situations())
def test_whatever_comes_in_each_cluster_has_one_decision_and_domains_are_sound(situation):
    clusters, config = situation
    sizes = clusters.sizes
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
    touched = {override.cluster for override in config.overrides if override.action in ("keep", "prune", "move")}
    assert touched <= {d.cluster for d in decided.decisions if d.reason.startswith("override")}


@settings(max_examples=300, deadline=None)
@given(situations())
def test_whatever_is_renamed_the_same_is_decided(situation):
    clusters, config = situation
    try:
        decided = decide(clusters, config)
    except ClimbError:
        return
    plain, names = canonical(config.overrides)
    again = decide(clusters, config.model_copy(update={"overrides": plain}))
    assert (decided.names, decided.decisions, decided.ever) == (again.names, again.decisions, again.ever)
    assert names.apply(again.names, again.ever) == decided.renamed().names


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
