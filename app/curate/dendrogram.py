"""A merge tree cut short to as many leaves as can be read, with the domain of each branch. Knows no Streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.charts import label
from app.words import plural
from climb_engine.types import FloatArray, Ids

LEAVES = 50
"""So many leaves are drawn; each may stand for several clusters that are merged before."""

_ABOVE = -2


@dataclass(frozen=True)
class Leaf:
    """The clusters below one end of the tree that is drawn."""

    clusters: tuple[int, ...]
    documents: int
    domain: int  # where most of its documents are, -1: pruned by hand
    keywords: tuple[str, ...]  # of its largest cluster

    @property
    def title(self) -> str:
        """In a line."""
        what = f"c{self.clusters[0]}" if len(self.clusters) == 1 else f"{len(self.clusters)} clusters"
        return f"{what} · {', '.join(self.keywords[:3])}"

    def hover(self, names: Sequence[str]) -> str:
        """More of it, escaped for a figure."""
        name = names[self.domain] if self.domain >= 0 else "pruned"
        some = ", ".join(f"c{i}" for i in self.clusters[:8]) + (" …" if len(self.clusters) > 8 else "")
        lines = (name, some, plural(self.documents, "document"), ", ".join(self.keywords[:8]))
        return "<br>".join(label(line, 80) for line in lines)


@dataclass(frozen=True, eq=False)
class Tree:
    """Where its lines go: distance along x, leaves along y."""

    x: tuple[FloatArray, ...]  # four points for each merge
    y: tuple[FloatArray, ...]
    domains: Ids  # of each merge: below the cut the domain of most of its documents, else ABOVE
    leaves: tuple[Leaf, ...]  # from the bottom to the top
    places: FloatArray  # along y
    height: float  # the largest distance

    ABOVE = _ABOVE


def short_tree(
    linkage: FloatArray,
    leaves: Ids,
    labels: Ids,
    sizes: Ids,
    keywords: Sequence[Sequence[str]],
    cut: float,
    most: int = LEAVES,
) -> Tree:
    """The upper part of a linkage (n - 1, 4) of clusters ``leaves`` (n,), with at most ``most`` ends.

    ``labels``, ``sizes`` and ``keywords`` (k,) are of all clusters; merges up to the distance ``cut`` were made.
    """
    from scipy.cluster.hierarchy import dendrogram

    n, below = len(leaves), _members(linkage, leaves)
    if n < 2:
        ends = tuple(_leaf([int(c)], labels, sizes, keywords) for c in leaves)
        return Tree((), (), np.empty(0, np.int64), ends, np.full(len(ends), 5.0), 0.0)
    drawn = dendrogram(linkage, p=most, truncate_mode="lastp", no_plot=True, link_color_func=lambda i: f"{i}")
    merges = [int(colour) for colour in drawn["color_list"]]  # by scipy's numbers, behind the n clusters
    domains = [_domain(below[i], labels, sizes) if linkage[i - n, 2] <= cut else _ABOVE for i in merges]
    ends = tuple(_leaf(below[i], labels, sizes, keywords) for i in drawn["leaves"])
    return Tree(
        tuple(np.asarray(line) for line in drawn["dcoord"]),
        tuple(np.asarray(line) for line in drawn["icoord"]),
        np.array(domains, np.int64),
        ends,
        np.arange(len(ends), dtype=np.float64) * 10 + 5,
        float(linkage[-1, 2]),
    )


def _members(linkage: FloatArray, leaves: Ids) -> list[list[int]]:
    """The clusters below each node, by scipy's numbers."""
    found = [[int(cluster)] for cluster in leaves]
    for one, other in linkage[:, :2].astype(np.int64).tolist():
        found.append(found[one] + found[other])
    return found


def _leaf(clusters: Sequence[int], labels: Ids, sizes: Ids, keywords: Sequence[Sequence[str]]) -> Leaf:
    ordered = sorted(clusters, key=lambda cluster: (-int(sizes[cluster]), cluster))
    documents = int(sizes[ordered].sum())
    return Leaf(tuple(ordered), documents, _domain(ordered, labels, sizes), tuple(keywords[ordered[0]]))


def _domain(clusters: Sequence[int], labels: Ids, sizes: Ids) -> int:
    """Where most of the documents of some clusters are."""
    at = np.asarray(clusters)
    return int(np.bincount(labels[at] + 1, weights=np.maximum(sizes[at], 1)).argmax()) - 1
