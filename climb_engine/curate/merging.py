"""Clusters merged by Ward's method: the tree, its cut, and numbers that help to choose where to cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from climb_engine.types import FloatArray, Ids, Vectors

MOST_DOMAINS = 60
"""The table of cuts goes no further."""

SILHOUETTE_CLUSTERS = 2000
"""Of more clusters, the silhouette is taken on a sample of this many."""


@dataclass(frozen=True)
class Cut:
    """What a number of domains means: every cluster counts once, however large; all numbers are of centroids."""

    domains: int
    distance: float  # Ward distance of the last merge made for it; a large step to the row above it is a good cut
    silhouette: float  # mean, -1 to 1, nan where every cluster is a domain
    within: float  # mean squared distance of a cluster to its domain's mean
    between: float  # mean squared distance of the domains' means, by clusters, to the mean of all


def ward(centroids: Vectors) -> FloatArray:
    """Linkage (leaves - 1, 4) of centroids (leaves, d), each counting once, as scipy has it."""
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import pdist

    if len(centroids) < 2:
        return np.empty((0, 4))
    return np.asarray(linkage(pdist(centroids.astype(np.float64)), method="ward"))


def cut_into(tree: FloatArray, groups: int) -> Ids:
    """The labels (leaves,) of a tree cut into so many groups, or into as many as there are leaves.

    Ward's heights never fall, so the first merges are the cut; cutting by count also holds where heights are tied.
    """
    return _cut_into_each(tree, [groups])[:, 0]


def _cut_into_each(tree: FloatArray, groups: Sequence[int]) -> Ids:
    """Labels (leaves, cuts) for each of several rising numbers of groups, by one walk along the tree."""
    from scipy.cluster.hierarchy import cut_tree

    if not len(tree):
        return np.zeros((1, len(groups)), dtype=np.int64)
    falling = [min(wanted, len(tree) + 1) for wanted in reversed(groups)]  # scipy takes "all apart" for the first
    return np.asarray(cut_tree(tree, n_clusters=falling)[:, ::-1], dtype=np.int64)


def cuts(centroids: Vectors, seed: int = 0) -> tuple[Cut, ...]:
    """For 2 to ``MOST_DOMAINS`` domains, or as many as there are centroids (leaves, d): what that cut is like."""
    leaves = centroids.astype(np.float64)
    tree = ward(centroids)
    distances, sample = _distances(leaves, seed)
    numbers = range(2, min(MOST_DOMAINS, len(leaves)) + 1)
    found = []
    for domains, labels in zip(numbers, _cut_into_each(tree, numbers).T, strict=True):
        within, between = _spread(leaves, labels)
        merges = len(leaves) - domains
        height = float(tree[merges - 1, 2]) if merges else 0.0
        found.append(Cut(domains, height, _silhouette(distances, labels[sample]), within, between))
    return tuple(found)


def _distances(leaves: FloatArray, seed: int) -> tuple[FloatArray, Ids]:
    """Distances between a sample of the centroids, and the rows that it is of."""
    from scipy.spatial.distance import pdist, squareform

    sample = np.arange(len(leaves))
    if len(leaves) > SILHOUETTE_CLUSTERS:
        sample = np.sort(np.random.default_rng(seed).choice(len(leaves), SILHOUETTE_CLUSTERS, replace=False))
    return np.asarray(squareform(pdist(leaves[sample]))), sample


def _silhouette(distances: FloatArray, labels: Ids) -> float:
    from sklearn.metrics import silhouette_score

    if not 2 <= len(np.unique(labels)) < len(labels):
        return float("nan")
    return float(silhouette_score(distances, labels, metric="precomputed"))


def _spread(leaves: FloatArray, labels: npt.NDArray[np.int64]) -> tuple[float, float]:
    """Mean squared distances: within domains, and between them."""
    counts = np.bincount(labels)
    means = np.zeros((len(counts), leaves.shape[1]))
    np.add.at(means, labels, leaves)
    means /= counts[:, None]
    within = float(((leaves - means[labels]) ** 2).sum(axis=1).mean())
    between = float(((means[labels] - leaves.mean(axis=0)) ** 2).sum(axis=1).mean())
    return within, between
