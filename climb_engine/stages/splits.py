"""The stage that splits clusters: the overrides that ask for it, and all files of a clustering with the parts in it.

The largest part keeps the cluster's id, the others get new ones at the end. No other document changes its cluster.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from climb_engine.clusters import clusters_of_documents
from climb_engine.config import RunConfig, knobs
from climb_engine.curate.overrides import cluster_splits, lineage
from climb_engine.stages.clustering import GIVEN, keywords_of
from climb_engine.stages.work import Work
from climb_engine.types import ClimbError, FloatArray, Ids, Vectors

_RESTARTS = 10  # k-means into a few parts is cheap, and one start may miss the parts that there are


def splits_knobs(config: RunConfig) -> dict[str, Any]:
    """Which clusters are split, in order, and into how many parts; by which k-means, where the clusters are given."""
    wanted = [knobs(one) for one in cluster_splits(config.domains.overrides)]
    made = {"splits": [{name: one[name] for name in ("cluster", "parts")} for one in wanted]}
    if not config.clustering.given:  # then the address of the clusters has it
        return made
    kmeans = ("points_per_cluster", "iterations", "restarts", "seed")
    return made | {name: value for name, value in knobs(config.clustering).items() if name in kmeans}


def splits(work: Work) -> dict[str, Any]:
    """Split clusters: the files of a clustering, and ``split-*.npy``, the k-means centroids of each split's parts."""
    whole = work.needs["clustering"]
    made: list[_Split] = []
    for number, parts in enumerate(lineage(work.config.domains.overrides, whole.facts["clusters"])):
        made.append(_split(work, number, parts, made))
    k = whole.facts["clusters"] + sum(len(one.parts) - 1 for one in made)
    labels = [_labels(work, part, made) for part in range(work.needs["corpus"].parts)]
    sizes = np.bincount(np.concatenate(labels), minlength=k)
    touched = np.unique(np.concatenate([one.parts for one in made]))
    centroids = np.zeros((k, whole.array("centroids").shape[1]))
    centroids[: whole.facts["clusters"]] = whole.array("centroids")
    centroids[touched] = _means(work, labels, touched)
    work.out.put_array("centroids", centroids.astype(np.float32))
    totals = np.zeros(k)
    for part in work.remaining_parts(".parquet"):
        distances = _distances(work, part, labels[part], touched, centroids)
        work.out.put_table(part, pa.table({"cluster": labels[part].astype(np.int32), "distance": distances}))
    for part, mine in enumerate(labels):
        distances = work.out.table(part, ["distance"])["distance"].to_numpy()
        totals += np.bincount(mine, weights=distances, minlength=k)
    columns = {
        "cluster": np.arange(k),
        "documents": sizes,
        "mean_distance": (totals / np.maximum(sizes, 1)).astype(np.float32),
        "keywords": pa.array(_keywords(work, np.concatenate(labels), made, k), pa.list_(pa.string())),
    }
    work.out.put_table("clusters", pa.table(columns | _given(work, made)))
    spread = float(totals.sum() / max(1, sizes.sum()))
    return {"clusters": k, "empty": int((sizes == 0).sum()), "mean_distance": spread}


@dataclass(frozen=True, eq=False)
class _Split:
    parts: tuple[int, ...]  # ids, the split cluster's own first
    centroids: Vectors  # (parts, d) by which documents are told apart, the largest part first


def _split(work: Work, number: int, parts: tuple[int, ...], before: Sequence[_Split]) -> _Split:
    """Train one split, or read what a stopped run had of it."""
    from climb_engine.curate.clustering import assign, sample_rows, train_centroids

    name, section = f"split-{number}", work.config.clustering
    if work.out.has(f"{name}.npy"):
        return _Split(parts, np.asarray(work.out.array(name)))
    work.progress(number, None, "splits", note=f"splitting cluster {parts[0]} into {len(parts)}")
    rows = [np.flatnonzero(_labels(work, part, before) == parts[0]) for part in range(work.needs["corpus"].parts)]
    members = sum(map(len, rows))
    if members < len(parts):
        raise ClimbError(
            f"domains.overrides: cluster {parts[0]} has {members} documents, too few to be split into {len(parts)}"
        )
    drawn = sample_rows([len(mine) for mine in rows], len(parts) * section.points_per_cluster, section.seed)
    sample = np.concatenate(list(_vectors(work, [mine[some] for mine, some in zip(rows, drawn, strict=True)])))
    wanted = {"n_clusters": len(parts), "restarts": max(section.restarts, _RESTARTS)}
    centroids = train_centroids(sample, section.model_copy(update=wanted))
    counts = np.zeros(len(parts), np.int64)
    for vectors in _vectors(work, rows):
        counts += np.bincount(assign(vectors, centroids)[0], minlength=len(parts))
    centroids = centroids[np.argsort(-counts, kind="stable")]
    work.out.put_array(name, centroids)
    return _Split(parts, centroids)


def _labels(work: Work, part: int, made: Sequence[_Split]) -> Ids:
    """The cluster of each of a part's documents after these splits."""
    from climb_engine.curate.clustering import assign

    labels = clusters_of_documents(work.needs["clustering"], part).copy()
    for split in made:
        mine = np.flatnonzero(labels == split.parts[0])
        if len(mine):
            vectors = np.asarray(work.needs["embedding"].array(part)[mine], np.float32)
            labels[mine] = np.asarray(split.parts)[assign(vectors, split.centroids)[0]]
    return labels


def _vectors(work: Work, rows: Sequence[Ids]) -> Iterator[Vectors]:
    """The vectors of some rows of each part."""
    for part, mine in enumerate(rows):
        if len(mine):
            yield np.asarray(work.needs["embedding"].array(part)[mine], np.float32)


def _means(work: Work, labels: Sequence[Ids], touched: Ids) -> FloatArray:
    """The mean vector of the documents of each of these clusters."""
    vectors = work.needs["embedding"]
    sums, counts = np.zeros((len(touched), vectors.array(0).shape[1])), np.zeros(len(touched))
    for part, mine in enumerate(labels):
        for row, cluster in enumerate(touched):
            rows = np.flatnonzero(mine == cluster)
            sums[row] += np.asarray(vectors.array(part)[rows], np.float64).sum(axis=0)
            counts[row] += len(rows)
    return np.asarray(sums / np.maximum(counts, 1)[:, None])


def _distances(work: Work, part: int, labels: Ids, touched: Ids, centroids: FloatArray) -> np.ndarray:
    """Distance of each of a part's documents to its centroid: those of whole clusters as they were."""
    distances = work.needs["clustering"].table(part, ["distance"])["distance"].to_numpy().copy()
    mine = np.flatnonzero(np.isin(labels, touched))
    away = np.asarray(work.needs["embedding"].array(part)[mine], np.float64) - centroids[labels[mine]]
    distances[mine] = np.linalg.norm(away, axis=1)
    return np.asarray(distances, np.float32)


def _given(work: Work, made: Sequence[_Split]) -> dict[str, list[str]]:
    """What the clusters were given as, where they were: the parts of one as that one."""
    whole = work.needs["clustering"].table("clusters")
    if GIVEN not in whole.column_names:
        return {}
    values: list[str] = whole[GIVEN].to_pylist()
    for split in made:
        values += [values[split.parts[0]]] * (len(split.parts) - 1)
    return {GIVEN: values}


def _keywords(work: Work, labels: Ids, made: Sequence[_Split], k: int) -> list[list[str]]:
    """Whole clusters keep theirs; the parts of a cluster get those that tell them from each other."""
    words: list[list[str]] = work.needs["clustering"].table("clusters", ["keywords"])["keywords"].to_pylist()
    words += [[] for _ in range(k - len(words))]
    families: dict[int, list[int]] = {}
    for split in made:
        root = next((root for root, members in families.items() if split.parts[0] in members), split.parts[0])
        families.setdefault(root, [root]).extend(split.parts[1:])
    for members in families.values():
        for cluster, found in zip(members, keywords_of(work, labels, members), strict=True):
            words[cluster] = list(found)
    return words
