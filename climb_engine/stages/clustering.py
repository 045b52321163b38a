"""Clusters of documents: by k-means, or as a column gives them; with their keywords."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from climb_engine.config import RunConfig, knobs
from climb_engine.stages.work import Work
from climb_engine.types import Vectors

GIVEN = "given"
"""Column of ``clusters.parquet`` with the value that a given cluster stands for; k-means clusters have none."""

_KEYWORD_DOCUMENTS = 100  # per cluster, for its keywords


def clustering_knobs(config: RunConfig) -> dict[str, Any]:
    """The knobs of ``clustering`` that it depends on: of clusters that are given, only those of the keywords."""
    values = knobs(config.clustering)
    if config.clustering.given:
        return {name: values[name] for name in ("given", "keywords", "seed")}
    del values["given"]
    return values


def clustering(work: Work) -> dict[str, Any]:
    """Clusters: ``centroids.npy``, ``part-*.parquet`` (cluster, distance), ``clusters.parquet`` (size, keywords).

    They are those of k-means, or the values of a column: these are in ``given.parquet`` and ``clusters.parquet``.
    """
    out, given = work.out, bool(work.config.clustering.given)
    sizes = work.needs["corpus"].facts["part_documents"]
    if not out.has("centroids.npy"):
        out.put_array("centroids", _given_centroids(work) if given else _kmeans(work))
    work.each_part(".parquet", _assign)
    tables = [out.table(part) for part in range(len(sizes))]
    clusters = np.concatenate([table["cluster"].to_numpy() for table in tables])
    distances = np.concatenate([table["distance"].to_numpy() for table in tables])
    k = len(out.array("centroids"))
    counts = np.bincount(clusters, minlength=k)
    totals = np.bincount(clusters, weights=distances, minlength=k)
    columns = {
        "cluster": np.arange(k),
        "documents": counts,
        "mean_distance": (totals / np.maximum(counts, 1)).astype(np.float32),
        "keywords": pa.array([list(words) for words in keywords_of(work, clusters, range(k))], pa.list_(pa.string())),
    }
    out.put_table("clusters", pa.table(columns | ({GIVEN: out.table("given")[GIVEN]} if given else {})))
    return {"clusters": k, "empty": int((counts == 0).sum()), "mean_distance": float(distances.mean())}


def _kmeans(work: Work) -> Vectors:
    from climb_engine.curate.clustering import resolved, sample_rows, train_centroids

    vectors, sizes = work.needs["embedding"], work.needs["corpus"].facts["part_documents"]
    section = resolved(work.config.clustering, sum(sizes))
    work.progress(0, sum(sizes), note="training k-means")
    rows = sample_rows(sizes, section.n_clusters * section.points_per_cluster, section.seed)
    sample = np.concatenate([np.asarray(vectors.array(part)[mine], np.float32) for part, mine in enumerate(rows)])
    return train_centroids(sample, section)


def _given_centroids(work: Work) -> Vectors:
    """Put the values that the column has, which number the clusters, and return the mean vector of each."""
    from climb_engine.curate.clustering import distinct_values, means

    column, source = work.config.clustering.given, work.needs["corpus"]
    values = distinct_values((table[column] for table in source.tables([column])), column)
    work.out.put_table("given", pa.table({GIVEN: values}))
    pairs = ((work.needs["embedding"].array(part), _given_clusters(work, part)) for part in range(source.parts))
    return means(pairs, len(values))


def _given_clusters(work: Work, part: int) -> np.ndarray:
    from climb_engine.curate.clustering import given_clusters

    column = work.config.clustering.given
    return given_clusters(work.needs["corpus"].table(part, [column])[column], work.out.table("given")[GIVEN])


def _assign(work: Work, part: int) -> None:
    from climb_engine.curate.clustering import assign, distances_to

    vectors = np.asarray(work.needs["embedding"].array(part), np.float32)
    centroids = np.asarray(work.out.array("centroids"))
    if work.config.clustering.given:
        clusters = _given_clusters(work, part)
        distances = distances_to(vectors, centroids, clusters)
    else:
        clusters, distances = assign(vectors, centroids)
    work.out.put_table(part, pa.table({"cluster": clusters, "distance": distances}))


def keywords_of(work: Work, clusters: np.ndarray, chosen: Sequence[int]) -> tuple[tuple[str, ...], ...]:
    """The words that tell some clusters from each other, from a sample of their documents (n,)."""
    from climb_engine.curate.clustering import cluster_keywords, keyword_rows

    section, source = work.config.clustering, work.needs["corpus"]
    rows = keyword_rows(clusters, _KEYWORD_DOCUMENTS, section.seed)
    rows = rows[np.isin(clusters[rows], chosen)]
    place = {cluster: at for at, cluster in enumerate(chosen)}
    texts: list[str] = []
    first = 0
    for part, size in enumerate(source.facts["part_documents"]):
        mine = rows[(rows >= first) & (rows < first + size)] - first
        if len(mine):
            texts += source.table(part, ["text"])["text"].take(mine).to_pylist()
        first += size
    owners = np.array([place[int(cluster)] for cluster in clusters[rows]], dtype=np.int64)
    return cluster_keywords(texts, owners, len(chosen), section.keywords)
