"""Clusters as the corpus has them: our own ClimbLab and ClimbMix read back, from documents to domains."""

import json

import numpy as np
import pyarrow as pa
import pytest

from climb_engine.browse import cluster, clusters
from climb_engine.config import RunConfig
from climb_engine.curate import clustering
from climb_engine.curate.clustering import distances_to, distinct_values, given_clusters, means
from climb_engine.export.dataset import ClusteredOptions, MixedOptions
from climb_engine.pipeline import Run
from climb_engine.stages.graph import STAGES
from climb_engine.types import ClimbError
from climb_engine.workspace import ArtifactWriter
from tests.test_cli import climb  # noqa: F401
from tests.test_domains import split


def column(*values):
    return pa.chunked_array([pa.array(values)])


# --- values to clusters -----------------------------------------------------------------------------------------------


def test_values_are_sorted_as_people_count_whatever_their_part():
    parts = [column("cluster_10", "cluster_2"), column("b", "cluster_2", "cluster_01", "cluster_1"), column("")]
    assert distinct_values(parts, "x") == ("", "b", "cluster_01", "cluster_1", "cluster_2", "cluster_10")


def test_numbers_are_written_without_a_point_and_nothing_is_a_value_too():
    parts = [column(None, None).cast(pa.float64()), column(10.0, 9.0, None, 2.5)]
    values = distinct_values(parts, "x")
    assert values == ("", "2.5", "9", "10")
    found = given_clusters(column(10.0, None, 2.5), pa.chunked_array([pa.array(values)]))
    assert found.tolist() == [3, 0, 1]
    assert found.dtype == np.int32


def test_too_many_values_and_a_single_one_are_errors(monkeypatch):
    monkeypatch.setattr(clustering, "MOST_GIVEN", 5)
    assert len(distinct_values([column(*"abc"), column(*"cde")], "x")) == 5
    with pytest.raises(ClimbError, match=r"clustering.given = 'x': the column has more than 5 values"):
        distinct_values([column(*"abc"), column(*"def")], "x")
    with pytest.raises(ClimbError, match=r"every document has the same value there \('a'\)"):
        distinct_values([column("a"), column("a")], "x")


def test_means_by_part_are_the_means_of_the_whole():
    rng = np.random.default_rng(0)
    vectors, labels = rng.normal(size=(300, 8)).astype(np.float16), rng.integers(0, 5, 300).astype(np.int32)
    labels[labels == 3] = 4  # a cluster without documents has a mean of zero
    parts = [(vectors[rows], labels[rows]) for rows in np.split(np.arange(300), [10, 120, 120])]
    found = means(parts, 5)
    for label in (0, 1, 2, 4):
        np.testing.assert_allclose(found[label], vectors[labels == label].astype(float).mean(axis=0), atol=1e-6)
    assert not found[3].any()
    away = distances_to(vectors.astype(np.float32), found, labels)
    np.testing.assert_allclose(away[7], np.linalg.norm(vectors[7] - found[labels[7]]), rtol=1e-5)


# --- config and addresses ---------------------------------------------------------------------------------------------


def test_only_a_column_that_the_corpus_keeps_can_be_given():
    kept = {"corpus.keep_columns": ["topic"]}
    for column_name in ("source", "topic"):
        RunConfig().with_values({"clustering.given": column_name, **kept})
    with pytest.raises(ClimbError, match=r"^--set: clustering.given = 'text': the corpus keeps no such column, only "
                                         r"source, topic; name it in corpus.keep_columns"):  # fmt: skip
        RunConfig().with_values({"clustering.given": "text", **kept})


KMEANS = {"n_clusters": 77, "points_per_cluster": 9, "iterations": 3, "restarts": 4}


def digests(run, **values):
    named = {f"clustering.{name}": value for name, value in values.items()}
    return {one.stage: one.digest for one in run.with_config(run.config.with_values(named)).plan()}


def test_knobs_of_kmeans_matter_only_to_kmeans(tiny_config, tmp_path):
    run = Run.create(tmp_path / "r", tiny_config)
    plain, given = digests(run), digests(run, given="source")
    assert given == digests(run, given="source", **KMEANS)
    assert given["clustering"] != digests(run, given="source", keywords=3)["clustering"]
    for stage, digest in plain.items():
        later = stage not in ("corpus", "embedding", "quality")
        assert (given[stage] != digest) == later, stage
        assert (digests(run, **KMEANS)[stage] != digest) == later, stage


def test_the_address_of_kmeans_is_what_it_was_before_clusters_could_be_given(tiny_config):
    (stage,) = [one for one in STAGES if one.name == "clustering"]
    names = {"n_clusters", "points_per_cluster", "iterations", "restarts", "seed", "keywords"}
    assert set(stage.knobs(tiny_config)) == names


def test_a_split_of_a_given_cluster_depends_on_the_kmeans_that_splits_it(tiny_config, tmp_path):
    halved = {"domains.overrides": [split(0, parts=2).model_dump(mode="json")]}
    run = Run.create(tmp_path / "r", tiny_config.with_values(halved))
    given = digests(run, given="source")["splits"]
    assert given != digests(run, given="source", restarts=7)["splits"]
    assert given == digests(run, given="source", n_clusters=7)["splits"]


# --- data sets read back ----------------------------------------------------------------------------------------------


def reader(finished_run, folder, values):
    """A run that reads a data set of tokens that another has written."""
    inputs = {"corpus.inputs": [str(folder)], "corpus.tokenizer": str(folder / "tokenizer.json")}
    plain = {"corpus.source_column": "", "domains.thresholds": {}, "domains.n_domains": 3}
    return finished_run.config.with_values({**inputs, **plain, **values})


@pytest.fixture(scope="module")
def lab(finished_run, tmp_path_factory):
    """The finished run's ClimbLab, and a run as far as the domains that takes its folders for clusters."""
    home = tmp_path_factory.mktemp("given")
    folder = finished_run.export_clustered(ClusteredOptions("cluster", 2000, "tokens"), home / "lab")
    values = {"corpus.format": "climblab", "corpus.part_documents": 60}
    values |= {"clustering.given": "source", "domains.min_documents": 20}
    run = Run.create(home / "runs" / "lab", reader(finished_run, folder, values))
    run.run("domains")
    return folder, run


def documents(run):
    """Text, source and cluster of every document."""
    tables = zip(run.needed("corpus").tables(["text", "source"]), run.clusters.tables(["cluster"]), strict=True)
    return [
        (text, source, number)
        for texts, labels in tables
        for text, source, number in zip(*texts.to_pydict().values(), labels["cluster"].to_pylist(), strict=True)
    ]


@pytest.mark.network
def test_the_folders_of_a_climblab_are_its_clusters(lab, finished_run):
    folder, run = lab
    table = run.clusters.table("clusters").to_pydict()
    folders = sorted((path.name for path in folder.glob("cluster_*")), key=lambda name: int(name[8:]))
    assert table["given"] == folders
    assert all(table["given"][number] == source for _, source, number in documents(run))
    before = {text: f"cluster_{number}" for text, _, number in documents(finished_run)}
    assert all(before[text] == source for text, source, _ in documents(run))
    assert run.needed("corpus").parts > 1
    assert run.clusters.facts["clusters"] == len(folders)
    assert sum(table["documents"]) == len(documents(run)) > 200
    assert all(table["keywords"])


@pytest.mark.network
def test_a_given_cluster_has_the_mean_of_its_documents_and_their_distance_to_it(lab):
    _, run = lab
    parts = range(run.needed("corpus").parts)
    vectors = np.concatenate([run.needed("embedding").array(part) for part in parts]).astype(float)
    labels = np.array([number for *_, number in documents(run)])
    distances = np.concatenate([run.clusters.table(part)["distance"].to_numpy() for part in parts])
    centroids = run.clusters.array("centroids")
    for number in range(len(centroids)):
        np.testing.assert_allclose(centroids[number], vectors[labels == number].mean(axis=0), atol=1e-5)
    np.testing.assert_allclose(distances, np.linalg.norm(vectors - centroids[labels], axis=1), atol=1e-5)


@pytest.mark.network
def test_given_clusters_are_pruned_by_size_and_merged_into_domains(lab):
    _, run = lab
    rows = clusters(run)
    assert len(run.domains) == 3
    for row in rows:
        assert row["kept"] == (row["documents"] >= 20)
        assert row["kept"] or "documents" in row["reason"]


@pytest.mark.network
def test_one_sees_what_a_cluster_was_given_as(lab, climb):  # noqa: F811
    _, run = lab
    runs, rows = run.workspace.folder.parent, clusters(run)
    assert cluster(run, 1)["given"] == rows[1]["given"] == cluster(run, 1)["samples"]["central"][0]["source"]
    assert f"given as    {rows[1]['given']}" in climb("cluster", "lab", 1, runs=runs)[1]
    assert json.loads(climb("clusters", "lab", "--json", runs=runs)[1])[1]["given"] == rows[1]["given"]
    assert climb("clusters", "lab", "--sort", "given", runs=runs)[0] == 0
    assert "given" in climb("clusters", "lab", runs=runs)[1]


@pytest.mark.network
def test_the_parts_of_a_given_cluster_are_still_given_as_it_was(lab, tmp_path):
    import shutil

    run = Run(shutil.copytree(lab[1].workspace.folder, tmp_path / "runs" / "lab"))
    value = clusters(run)[2]["given"]
    overrides = [split(2, parts=2).model_dump(mode="json")]
    run.configure(run.config.with_values({"domains.overrides": overrides}))
    run.run("domains")
    table = run.clusters.table("clusters").to_pydict()
    assert table["given"][2] == table["given"][-1] == value
    assert len(table["given"]) == len(clusters(lab[1])) + 1


@pytest.mark.network
def test_stopped_before_the_last_part_it_goes_on_to_the_same_files(lab, tmp_path, monkeypatch):
    run = Run.create(tmp_path / "runs" / "again", lab[1].config)
    put = ArtifactWriter.put_table

    def stopped(self, name, table):
        if name == 2 and self.final.name.startswith("clustering"):
            raise KeyboardInterrupt
        put(self, name, table)

    monkeypatch.setattr(ArtifactWriter, "put_table", stopped)
    with pytest.raises(KeyboardInterrupt):
        run.run("clustering")
    monkeypatch.undo()
    made, whole = run.run("clustering").folder, lab[1].needed("clustering").folder
    for path in whole.iterdir():
        if path.name != "manifest.json":
            assert (made / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.network
@pytest.mark.parametrize(
    ("keep", "given", "values"), [((), "source", "cluster-{}"), (("cluster_id",), "cluster_id", "{}")]
)
def test_the_cluster_ids_of_a_climbmix_are_its_clusters(finished_run, tmp_path, keep, given, values):
    options = MixedOptions(6000, layout="climbmix", contents="tokens")
    folder = finished_run.export_dataset(options, tmp_path / "mix")
    wanted = {"corpus.format": "climbmix", "corpus.keep_columns": list(keep), "clustering.given": given}
    run = Run.create(tmp_path / "runs" / "mix", reader(finished_run, folder, wanted))
    run.run("domains")
    lines = (line for path in sorted(folder.glob("*.jsonl")) for line in path.read_text().splitlines())
    ids = sorted({json.loads(line)["cluster_id"] for line in lines})
    found = clusters(run)
    assert [row["given"] for row in found] == [values.format(number) for number in ids]
    assert len(found) > 1
    homes = dict(enumerate(finished_run.needed("domains").table("clusters")["domain"].to_pylist()))
    domain = {text: homes[number] for text, _, number in documents(finished_run)}
    assert all(domain[text] == ids[number] for text, _, number in documents(run))
