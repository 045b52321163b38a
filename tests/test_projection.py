"""The map: a fair sample, groups that stay together, the same map twice, and a stage that nothing waits for."""

import shutil

import numpy as np
import pytest

from climb_engine.config import ProjectionConfig
from climb_engine.curate.embedding import unit_rows
from climb_engine.curate.projection import fit, medians, neighbour_index, place, principal_plane, stratified_rows
from climb_engine.pipeline import Run
from climb_engine.types import ClimbError

SMALL = ProjectionConfig(documents=100, neighbours=8)


def planted(per_group=60, groups=3, d=16, seed=0):
    """Unit rows in well separated groups, and which group each is of."""
    rng = np.random.default_rng(seed)
    labels = np.repeat(np.arange(groups), per_group)
    return unit_rows(8 * np.eye(d)[labels] + rng.normal(size=(len(labels), d))), labels


def purity(positions, labels, others, other_labels, k=5):
    """The share of the nearest ``k`` of ``others`` that are of a row's own group."""
    distances = np.linalg.norm(positions[:, None] - others[None], axis=2)
    nearest = np.argsort(distances, axis=1)[:, :k]
    return (other_labels[nearest] == labels[:, None]).mean()


# The sample


def test_a_sample_holds_every_cluster_by_its_share_and_the_small_ones_at_least_a_little():
    labels = np.repeat([0, 1, 2, 3], [7000, 2500, 480, 20])
    rows = stratified_rows(labels, 1000, seed=1, least=50)
    counts = np.bincount(labels[rows], minlength=4)
    assert len(rows) == len(set(rows.tolist())) == 1000
    assert counts[3] == 20  # all it has
    assert counts[2] >= 50
    assert counts[0] / counts[1] == pytest.approx(7000 / 2500, rel=0.1)
    assert (np.diff(rows) > 0).all()


def test_a_sample_as_large_as_the_corpus_is_the_corpus():
    assert stratified_rows(np.array([3, 3, 7]), 3, seed=0).tolist() == [0, 1, 2]


def test_a_sample_never_exceeds_what_is_wanted_even_with_more_clusters_than_places():
    labels = np.arange(500) % 200
    assert len(stratified_rows(labels, 100, seed=0)) <= 100


def test_another_seed_draws_another_sample_and_the_same_seed_the_same():
    labels = np.arange(1000) % 10
    first, again, other = (stratified_rows(labels, 200, seed).tolist() for seed in (1, 1, 2))
    assert first == again != other


# The methods


@pytest.mark.parametrize("method", ["umap", "tsne"])
def test_groups_stay_together_and_the_same_seed_gives_the_same_map(method):
    vectors, labels = planted()
    config = SMALL.model_copy(update={"method": method})
    positions = fit(vectors, config)
    assert positions.shape == (180, 2)
    assert positions.dtype == np.float32
    assert purity(positions, labels, positions, labels) > 0.95
    assert np.array_equal(positions, fit(vectors, config))


def test_the_epochs_are_told():
    told = []
    fit(planted(20)[0], SMALL, lambda done, of: told.append((done, of)))
    assert told[-1][0] == told[-1][1] > 0
    assert told == sorted(told)


def test_who_is_told_may_stop_it():
    def stop(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(planted(20)[0], SMALL, stop)


def test_documents_that_were_not_fitted_stand_among_their_own():
    vectors, labels = planted(120)
    fitted = fit(vectors[::2], SMALL)
    placed = place(vectors[1::2], neighbour_index(vectors[::2]), fitted, 4)
    assert purity(placed, labels[1::2], fitted, labels[::2]) > 0.95


def test_a_document_like_a_fitted_one_stands_where_that_one_stands():
    vectors, _ = planted()
    fitted = fit(vectors, SMALL)
    placed = place(vectors[:5].astype(np.float16), neighbour_index(vectors), fitted, 1)
    assert np.array_equal(placed, fitted[:5])


def test_equal_documents_do_not_break_the_map():
    vectors = np.tile(unit_rows(np.ones((1, 8))), (30, 1))
    for method in ("umap", "tsne"):
        assert np.isfinite(fit(vectors, SMALL.model_copy(update={"method": method}))).all()
    assert np.isfinite(place(vectors, neighbour_index(vectors), np.zeros((30, 2), np.float32), 4)).all()


@pytest.mark.parametrize("n", [1, 2, 7, 8, 9])
def test_a_handful_of_documents_has_a_map_too(n):
    vectors = unit_rows(np.random.default_rng(0).normal(size=(n, 5)))
    assert np.isfinite(fit(vectors, SMALL)).all()


def test_the_principal_plane_shows_the_directions_of_most_variance():
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(200, 6)) * [1, 9, 1, 1, 4, 1]
    plane = principal_plane(vectors)
    assert abs(np.corrcoef(plane[:, 0], vectors[:, 1])[0, 1]) > 0.99
    assert abs(np.corrcoef(plane[:, 1], vectors[:, 4])[0, 1]) > 0.97
    assert principal_plane(vectors[:, :1]).shape == (200, 2)


def test_medians_leave_out_what_is_pruned_and_know_no_place_for_the_empty():
    points = np.array([[0, 0], [2, 4], [100, 100], [4, 2], [9, 9]], np.float32)
    found = medians(points, np.array([0, 0, 0, -1, 2]), 3)
    assert found[0].tolist() == [2, 4]
    assert np.isnan(found[1]).all()
    assert found[2].tolist() == [9, 9]


# The stage


@pytest.fixture(scope="module")
def tokenised(tiny_config, tmp_path_factory):
    """A run as far as its tokens; not to be changed."""
    run = Run.create(tmp_path_factory.mktemp("tokenised") / "tiny", tiny_config)
    run.run("tokens")
    return run.workspace.folder


@pytest.fixture
def own_run(tokenised, tmp_path):
    """A copy, to be changed at will."""
    return Run(shutil.copytree(tokenised, tmp_path / "runs" / "tiny"))


@pytest.mark.network
def test_the_map_is_made_only_when_asked_for(own_run):
    assert own_run.artifact("projection") is None
    own_run.run()
    assert own_run.artifact("projection") is None
    planned = own_run.plan()[-1]
    assert (planned.stage, planned.optional, planned.state) == ("projection", True, "missing")
    assert "only when asked for" in planned.why
    assert [stage.stage for stage in own_run.plan() if stage.optional] == ["projection"]


@pytest.mark.network
def test_every_document_and_every_cluster_has_a_place(own_run):
    own_run.configure(own_run.config.with_values({"projection.documents": 150}))
    made = own_run.run("projection")
    sizes = own_run.needed("corpus").facts["part_documents"]
    assert [made.array(part).shape for part in range(made.parts)] == [(size, 2) for size in sizes]
    everywhere = np.concatenate([made.array(part) for part in range(made.parts)])
    assert everywhere.dtype == np.float32
    assert np.isfinite(everywhere).all()
    assert np.array_equal(everywhere[made.array("rows")], made.array("fitted"))
    assert made.array("clusters").shape == (8, 2)
    assert made.facts["fitted"] == 150
    assert made.facts["placed"] == sum(sizes) - 150


@pytest.mark.network
def test_a_map_that_was_stopped_goes_on_and_comes_out_the_same(own_run, tmp_path):
    own_run.configure(own_run.config.with_values({"projection.documents": 150}))

    def stop(event):
        if event.stage == "projection" and event.unit == "documents" and event.done > 0:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        own_run.run("projection", stop)
    assert own_run.plan()[-1].state == "partial"
    epochs = []
    made = own_run.run("projection", lambda event: epochs.append(event) if event.unit == "epochs" else None)
    assert not epochs  # fitted already
    other = Run.create(tmp_path / "runs" / "other", own_run.config).run("projection")
    for part in range(made.parts):
        assert np.array_equal(made.array(part), other.array(part))


@pytest.mark.network
def test_only_what_a_stage_needs_is_made_for_it(own_run, tmp_path):
    fresh = Run.create(tmp_path / "runs" / "fresh", own_run.config)
    fresh.run("projection")
    assert [stage.stage for stage in fresh.plan() if stage.state == "done"] == [
        *("corpus", "embedding", "clustering", "projection")
    ]
    with pytest.raises(ClimbError, match="there is no stage 'map'"):
        fresh.run("map")


@pytest.mark.network
def test_an_override_leaves_the_map_as_it_is_and_a_mixture_does_not_depend_on_it(own_run):
    own_run.run("projection")
    before = own_run.provenance(own_run.open_search())
    own_run.configure(own_run.config.with_values({"projection.seed": 5}))
    assert own_run.artifact("projection") is None
    assert own_run.provenance(own_run.open_search()) == before
    overrides = [{"action": "prune", "cluster": 0}]
    own_run.configure(own_run.config.with_values({"projection.seed": 0, "domains.overrides": overrides}))
    assert own_run.artifact("projection") is not None
