"""Figures and drafts of the page to curate: planted trees, clusters and decisions."""

import json

import numpy as np
import pytest

from app.charts import PALETTE
from app.curate.charts import cut_curves, dendrogram, size_quality
from app.curate.dendrogram import short_tree
from app.curate.draft import Draft, Edit, last_batch
from climb_engine.config import Override, RunConfig
from climb_engine.curate.merging import cut_into, ward
from climb_engine.types import ClimbError

HOSTILE = "<img src=x onerror=alert(1)>"


def planted(groups=3, each=40):
    """Clusters in well separated groups, and the group of each."""
    rng = np.random.default_rng(0)
    centres = 10 * np.eye(groups)
    labels = np.repeat(np.arange(groups), each)
    return (centres[labels] + rng.normal(0, 0.1, (groups * each, groups))).astype(np.float32), labels


def scatter(sizes, values, status, changed=(), picked=(), limits=(2.0, 5)):
    hover = [f"c{i}" for i in range(len(sizes))]
    arrays = (np.array(sizes), np.array(values, float), np.array(status), hover)
    return size_quality(*arrays, "quality", limits, np.array(changed, int), np.array(picked, int))


def test_each_cluster_is_drawn_once_under_its_status_and_found_again_by_its_number():
    figure = scatter([10, 20, 0, 40, 50], [1, 2, 3, np.nan, 4], [0, 1, 0, 0, 2])
    drawn = {trace.name: list(trace.customdata) for trace in figure.data}
    assert drawn == {"kept (1)": [0], "pruned (1)": [1], "by hand (1)": [4]}  # empty and unscored ones are not drawn
    assert len({(trace.marker.symbol, trace.marker.color) for trace in figure.data}) == 3


def test_limits_are_lines_and_a_limit_beyond_all_clusters_is_still_to_be_seen():
    figure = scatter([10, 20], [3.0, 3.5], [0, 0], limits=(1.0, 5))
    lines = figure.layout.shapes
    assert (lines[0].y0, lines[1].x0) == (1.0, 5)
    assert figure.layout.yaxis.range[0] < 1.0
    assert not scatter([10], [3.0], [0], limits=(None, None)).layout.shapes


def test_rings_are_where_the_selected_and_the_changed_clusters_are():
    figure = scatter([10, 20, 30], [1, 2, 3], [0, 0, 0], changed=[1], picked=[0, 2])
    rings = {trace.name: list(trace.x) for trace in figure.data if trace.name.startswith(("would", "sel"))}
    assert rings == {"would flip (1)": [20], "selected (2)": [10, 30]}


def test_a_tree_cut_short_still_holds_every_cluster_and_its_branches_are_the_domains():
    centroids, labels = planted()
    linkage = ward(centroids)
    words = [("sea", "ship")] * len(labels)
    cut = linkage[len(linkage) - 3, 2]
    tree = short_tree(linkage, np.arange(len(labels)), labels, np.ones(len(labels), int), words, cut, most=12)
    assert len(tree.leaves) == 12
    assert sorted(i for leaf in tree.leaves for i in leaf.clusters) == list(range(len(labels)))
    for leaf in tree.leaves:
        assert {int(labels[i]) for i in leaf.clusters} == {leaf.domain}
    assert (tree.domains == tree.ABOVE).sum() == 2  # three domains are two merges short of one
    assert tree.height == pytest.approx(linkage[-1, 2])


def test_a_small_tree_is_drawn_whole_and_one_cluster_alone_is_no_tree():
    centroids, _ = planted(2, 3)
    linkage = ward(centroids)
    tree = short_tree(linkage, np.arange(6), cut_into(linkage, 2), np.arange(1, 7), [(HOSTILE,)] * 6, 1.0)
    assert [len(leaf.clusters) for leaf in tree.leaves] == [1] * 6
    figure = dendrogram(tree, (1.0, np.inf), ["sea", HOSTILE], 2, PALETTE)
    assert "<img" not in json.dumps(figure.to_dict(), default=str)
    alone = short_tree(np.empty((0, 4)), np.array([3]), np.zeros(4, int), np.ones(4, int), [("a",)] * 4, 0.0)
    assert [leaf.clusters for leaf in alone.leaves] == [(3,)]
    assert dendrogram(alone, (0.0, np.inf), ["sea"], 1, PALETTE).data


def test_the_line_of_the_cut_lies_between_the_merges_on_both_sides_of_it():
    centroids, labels = planted()
    linkage = ward(centroids)
    tree = short_tree(linkage, np.arange(120), labels, np.ones(120, int), [("a",)] * 120, linkage[-3, 2])
    figure = dendrogram(tree, (linkage[-3, 2], linkage[-2, 2]), ["a", "b", "c"], 3, PALETTE)
    assert linkage[-3, 2] < figure.layout.shapes[0].x0 < linkage[-2, 2]


def test_the_curves_mark_the_chosen_number():
    n = np.arange(2, 10)
    figure = cut_curves(n, n[::-1] * 1.0, np.full(8, np.nan), n * 1.0, n * 2.0, chosen=4)
    assert {shape.x0 for shape in figure.layout.shapes} == {4}
    assert not cut_curves(n, n * 1.0, n * 1.0, n * 1.0, n * 1.0, chosen=99).layout.shapes


# Drafts


def config(*overrides):
    return RunConfig().with_values({"domains.overrides": [dict(one) for one in overrides]})


PRUNED = {"action": "prune", "cluster": 3, "who": "ann", "when": "2026-01-01T00:00:00Z", "why": "dull"}
NOTED = {"action": "note", "cluster": 3, "why": "look again"}


def test_a_draft_is_added_behind_what_is_there_and_signed():
    draft = Draft({"n_domains": 7}, edits={4: Edit("move", to="sea"), 2: Edit("keep", why="good", note="read twice")})
    then = draft.config(config(PRUNED), "bob", "2026-02-02T00:00:00Z", "because")
    assert then.domains.n_domains == 7
    first, *rest = then.domains.overrides
    assert first == Override(**PRUNED)
    assert [(one.action, one.cluster, one.domain, one.why) for one in rest] == [
        ("keep", 2, "", "good"),
        ("note", 2, "", "read twice"),
        ("move", 4, "sea", "because"),
    ]
    assert {(one.who, one.when) for one in rest} == {("bob", "2026-02-02T00:00:00Z")}


def test_emptied_cells_take_back_the_decision_or_the_note_and_leave_the_rest():
    base = config(PRUNED, NOTED, {**PRUNED, "cluster": 4})
    assert [one.cluster for one in Draft(edits={3: Edit("")}).config(base).domains.overrides] == [3, 4]
    assert [one.action for one in Draft(edits={3: Edit(note="")}).config(base).domains.overrides] == ["prune", "prune"]


def test_what_is_so_already_is_no_draft():
    base = config(PRUNED, NOTED)
    same = Draft(edits={3: Edit("prune", note="look again"), 5: Edit("", note="")})
    assert same.tidied(base).empty
    assert Draft().with_knobs({"min_documents": base.domains.min_documents}, base).empty
    assert Draft({"min_documents": 9}).with_knobs({"min_documents": base.domains.min_documents}, base).empty
    assert Draft(edits={3: Edit("keep", note="look again")}).tidied(base).edits == {3: Edit("keep")}


def test_a_move_without_a_domain_says_what_is_missing():
    with pytest.raises(ClimbError, match="c4: say where it moves to"):
        Draft(edits={4: Edit("move")}).config(config())


def test_a_draft_is_told_in_words():
    base = config(PRUNED)
    thresholds = {**base.domains.thresholds, "quality": 1.5}
    draft = Draft({"thresholds": thresholds}, (Override(action="rename", domain="sea", to="ocean"),), {3: Edit("")})
    assert draft.told(base) == ["quality threshold 1 → 1.5", "rename sea as ocean", "c3 as the thresholds say"]


def test_what_was_written_together_is_taken_back_together():
    late = {**PRUNED, "when": "2026-03-03T00:00:00Z"}
    overrides = config(PRUNED, late, {**late, "cluster": 4}).domains.overrides
    assert [last_batch(overrides[:n]) for n in (0, 1, 2, 3)] == [0, 1, 1, 2]
    unsigned = config(*[{"action": "prune", "cluster": i} for i in range(3)]).domains.overrides
    assert last_batch(unsigned) == 1  # written by hand, one by one for all we know
