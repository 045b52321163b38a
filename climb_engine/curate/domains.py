"""Clusters to domains: prune by quality and size, merge by Ward, apply human overrides; each decision has its reason.

Nothing is deleted: a cluster that is pruned stays in the table of decisions, beside what the machine alone would say.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from climb_engine.config import DomainsConfig, Override, nearest
from climb_engine.types import ClimbError, Decision, FloatArray, Ids, Vectors

_SLUG = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*")
_LONGEST_NAME = 64


@dataclass(frozen=True, eq=False)
class Domains:
    """What becomes of every cluster, and the tree that the merge is cut from."""

    names: tuple[str, ...]  # (m,) by documents, largest first
    decisions: tuple[Decision, ...]  # (k,) one per cluster, in order
    automatic_names: tuple[str, ...]  # what Decision.automatic_domain counts in: the domains before any override
    linkage: FloatArray  # (leaves - 1, 4) scipy linkage of the clusters that were kept automatically
    leaves: Ids  # cluster ids of the linkage's leaves
    cut: tuple[float, float]  # Ward distance of the last merge made (0: none) and of the first not made (inf: none)

    @property
    def labels(self) -> Ids:
        """(k,) domain of each cluster, -1 when pruned."""
        return np.array([decision.domain for decision in self.decisions], dtype=np.int64)


def decide(
    sizes: Ids,  # (k,) documents
    means: FloatArray,  # (k, len(metrics)) mean scores, NaN where none
    metrics: Sequence[str],
    centroids: Vectors,  # (k, d) float32
    keywords: Sequence[Sequence[str]],  # (k,) most telling first
    config: DomainsConfig,
) -> Domains:
    """Prune, merge, name and order; then the overrides, in their order.

    Ward linkage on the centroids of kept clusters, each counting once however large, as in the official CLIMB code
    (Diao et al. 2025, arXiv 2504.13161). Raises ClimbError for a threshold whose metric has no scores, for an override
    that names no cluster or domain, and when nothing is left.
    """
    faults = _faults(sizes, means, metrics, config)
    kept = np.flatnonzero([not fault for fault in faults])
    linkage, labels, cut = _merge(centroids[kept], config)
    groups = [kept[labels == label] for label in np.unique(labels)]
    groups.sort(key=lambda members: (-int(sizes[members].sum()), int(members.min())))
    names = name_groups(groups, sizes, keywords)
    automatic = np.full(len(sizes), -1, dtype=np.int64)
    for domain, members in enumerate(groups):
        automatic[members] = domain

    state = _State(np.asarray(sizes), centroids, faults, [names[i] if i >= 0 else "" for i in automatic])
    for number, override in enumerate(config.overrides):
        state.apply(override, f"domains.overrides[{number}] ({override.action})")
    if not any(state.kept):
        raise ClimbError(_nothing_left(sizes, means, metrics, config))
    final = state.names()
    return Domains(final, state.decisions(final, automatic), names, linkage, kept.astype(np.int64), cut)


# --- prune ----------------------------------------------------------------------------------------------------------


def _faults(sizes: Ids, means: FloatArray, metrics: Sequence[str], config: DomainsConfig) -> list[str]:
    """Why each cluster is pruned, "" for those that are kept."""
    scored = [metric for j, metric in enumerate(metrics) if np.isfinite(means[:, j]).any()]
    for metric in config.thresholds:
        if metric not in scored:
            there = f"there are scores for {', '.join(scored)}" if scored else "there are no scores at all"
            raise ClimbError(
                f"domains.thresholds: nothing scores {metric!r} ({there}); take it out, or add a scorer that gives it"
            )
    return [
        _fault(int(size), dict(zip(metrics, row, strict=True)), config) for size, row in zip(sizes, means, strict=True)
    ]


def _fault(size: int, means: dict[str, float], config: DomainsConfig) -> str:
    if size == 0:
        return "empty"
    low = [
        _less(metric, float(means[metric]), threshold)
        for metric, threshold in config.thresholds.items()
        if means[metric] < threshold  # NaN is never less: what cannot be said prunes nothing
    ]
    if size < config.min_documents:
        low.append(f"documents {size} < {config.min_documents}")
    return "; ".join(low)


def _less(metric: str, mean: float, threshold: float) -> str:
    """Both numbers, with as few decimals as tell them apart."""
    for decimals in range(1, 7):
        shown, limit = f"{mean:.{decimals}f}", f"{threshold:.{decimals}f}"
        if float(limit) == threshold and float(shown) < threshold:
            return f"{metric} {shown} < {limit}"
    return f"{metric} {mean!r} < {threshold!r}"


def _nothing_left(sizes: Ids, means: FloatArray, metrics: Sequence[str], config: DomainsConfig) -> str:
    culprits = []
    for metric, threshold in config.thresholds.items():
        column = means[:, list(metrics).index(metric)]
        if count := int((column < threshold).sum()):
            culprits.append(
                (count, f"thresholds.{metric} = {threshold:g} prunes {count} (best mean {np.nanmax(column):.2f})")
            )
    if count := int(((sizes < config.min_documents) & (sizes > 0)).sum()):
        culprits.append((count, f"min_documents = {config.min_documents} prunes {count} (largest {int(sizes.max())})"))
    culprits.sort(key=lambda culprit: -culprit[0])
    told = [text for _, text in culprits]
    remedy = f"lower domains.{told[0].split(' = ')[0]}, or move clusters to a domain by override" if told else ""
    if count := int((sizes == 0).sum()):
        told.append(f"{count} are empty")
    if count := sum(override.action == "prune" for override in config.overrides):
        told.append(f"overrides prune {count}")
    return f"domains: all {len(sizes)} clusters are pruned: {'; '.join(told)}; {remedy or 'take some overrides back'}"


# --- merge ----------------------------------------------------------------------------------------------------------


def _merge(centroids: Vectors, config: DomainsConfig) -> tuple[FloatArray, Ids, tuple[float, float]]:
    """Linkage, (leaves,) labels and the distances on both sides of the cut."""
    from scipy.cluster.hierarchy import cut_tree, linkage
    from scipy.spatial.distance import pdist

    leaves = len(centroids)
    if leaves < 2:
        return np.empty((0, 4)), np.zeros(leaves, dtype=np.int64), (0.0, np.inf)
    tree: FloatArray = linkage(pdist(centroids.astype(np.float64)), method="ward")
    heights = tree[:, 2]
    merges = max(leaves - config.n_domains, 0)
    if not config.n_domains:
        merges = int((heights <= config.merge_distance).sum())
    # Ward's heights never fall, so the first merges are the cut; cutting by count also holds where heights are tied.
    labels = cut_tree(tree, n_clusters=[leaves - merges])[:, 0]
    below = float(heights[merges - 1]) if merges else 0.0
    above = float(heights[merges]) if merges < len(heights) else np.inf
    return tree, np.asarray(labels, dtype=np.int64), (below, above)


# --- name -----------------------------------------------------------------------------------------------------------


def slug(text: str) -> str:
    """Lower-case ASCII letters and digits, joined by hyphens; "" when there are none."""
    plain = unicodedata.normalize("NFKD", text.lower()).encode("ascii", "ignore").decode()
    return "-".join(re.findall(r"[a-z0-9]+", plain))


def name_groups(groups: Sequence[Ids], sizes: Ids, keywords: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """A unique name for each group of clusters, from the keywords that tell it from the other groups."""
    names: list[str] = []
    for words in _telling([_word_weights(members, sizes, keywords) for members in groups]):
        names.append(_unused(words, names))
    return tuple(names)


def _word_weights(members: Ids, sizes: Ids, keywords: Sequence[Sequence[str]]) -> dict[str, float]:
    """Word -> documents that it stands for; a keyword counts less the later it comes in its cluster's list."""
    weights: dict[str, float] = defaultdict(float)
    for cluster in members.tolist():
        for rank, keyword in enumerate(keywords[cluster]):
            if word := slug(keyword):
                weights[word] += float(sizes[cluster]) / (1 + rank)
    return weights


def _telling(groups: Sequence[dict[str, float]]) -> list[list[str]]:
    """The words of each group, best first: weight in the group, less the more other groups have the word too."""
    spread = Counter(word for weights in groups for word in weights)

    def telling(word: str, weights: dict[str, float]) -> float:
        return weights[word] * (1 - (spread[word] - 1) / len(groups))

    return [sorted(weights, key=lambda word: (-telling(word, weights), word)) for weights in groups]


def _unused(words: Sequence[str], taken: Sequence[str]) -> str:
    """Three words, a fourth where that is taken, else a number."""
    chosen: list[str] = []
    for word in words:
        if not any(word.startswith(other) or other.startswith(word) for other in chosen):  # theorem, theorems
            chosen.append(word)
    for length in (3, 4):
        name = "-".join(chosen[:length])[:_LONGEST_NAME].strip("-") or "domain"
        if name not in taken:
            return name
    return next(f"{name}-{number}" for number in range(2, len(taken) + 3) if f"{name}-{number}" not in taken)


# --- override -------------------------------------------------------------------------------------------------------


class _State:
    """Clusters while overrides are applied. ``home`` outlives a prune, so that a later keep finds its way back."""

    def __init__(self, sizes: Ids, centroids: Vectors, faults: Sequence[str], home: Sequence[str]) -> None:
        self.sizes, self.centroids, self.faults = sizes, centroids, faults
        self.home = list(home)  # name of its domain, "" for a cluster that never had one
        self.kept = [not fault for fault in faults]
        self.reasons = [fault or "kept" for fault in faults]

    def apply(self, override: Override, where: str) -> None:
        if override.action == "rename":
            return self._rename(override.domain, override.to, where)
        cluster = self._cluster(override, where)
        before = "kept" if self.kept[cluster] else f"pruned: {self.faults[cluster] or 'by override'}"
        if override.action == "prune":
            self.kept[cluster], verdict = False, "pruned"
        elif override.action == "keep":
            self.home[cluster] = self.home[cluster] or self._nearest_home(cluster, where)
            self.kept[cluster], verdict = True, "kept"
        else:
            before = f"in {self.home[cluster]}" if self.kept[cluster] else before
            self.home[cluster] = (
                override.domain if override.domain in self.alive() else _checked(override.domain, where)
            )
            self.kept[cluster], verdict = True, f"moved to {override.domain}"
        self.reasons[cluster] = f"override: {verdict} (was {before})"

    def alive(self) -> set[str]:
        """Names of the domains that have clusters now."""
        return {home for home, kept in zip(self.home, self.kept, strict=True) if kept}

    def names(self) -> tuple[str, ...]:
        """The domains by documents, largest first, ties by their smallest cluster id."""
        documents: dict[str, int] = defaultdict(int)  # in order of the smallest cluster id, which sorting keeps
        for home, kept, size in zip(self.home, self.kept, self.sizes.tolist(), strict=True):
            if kept:
                documents[home] += size
        return tuple(sorted(documents, key=lambda name: -documents[name]))

    def decisions(self, names: Sequence[str], automatic: Ids) -> tuple[Decision, ...]:
        index = {name: i for i, name in enumerate(names)}
        return tuple(
            Decision(
                cluster=cluster,
                kept=self.kept[cluster],
                domain=index[self.home[cluster]] if self.kept[cluster] else -1,
                reason=self.reasons[cluster],
                automatic_kept=not self.faults[cluster],
                automatic_domain=int(automatic[cluster]),
            )
            for cluster in range(len(self.kept))
        )

    def _cluster(self, override: Override, where: str) -> int:
        cluster = override.cluster
        assert cluster is not None  # Override checks it
        if cluster >= len(self.kept):
            raise ClimbError(f"{where}: there is no cluster {cluster}; clusters are 0 to {len(self.kept) - 1}")
        if not self.sizes[cluster] and override.action != "prune":
            raise ClimbError(f"{where}: cluster {cluster} is empty, there is nothing to keep; take this override out")
        return cluster

    def _nearest_home(self, cluster: int, where: str) -> str:
        kept = np.flatnonzero(self.kept)
        if not len(kept):
            raise ClimbError(
                f"{where}: no cluster is kept whose domain {cluster} could join; lower domains.thresholds, "
                'or give it a domain: action = "move", domain = "..."'
            )
        distances = np.linalg.norm(self.centroids[kept].astype(np.float64) - self.centroids[cluster], axis=1)
        return self.home[int(kept[distances.argmin()])]

    def _rename(self, old: str, new: str, where: str) -> None:
        alive = self.alive()
        if old not in alive:
            raise ClimbError(f"{where}: no domain is called {old!r}{nearest(old, alive)}")
        if new != old and new in alive:
            raise ClimbError(f"{where}: there is a domain {new!r} already; choose another name, or move clusters to it")
        new = _checked(new, where)
        self.home = [new if home == old else home for home in self.home]


def _checked(name: str, where: str) -> str:
    """A name that is safe as a file's name and unambiguous in a table."""
    if not _SLUG.fullmatch(name) or len(name) > _LONGEST_NAME:
        better = slug(name)[:_LONGEST_NAME].strip("-") or "my-domain"
        raise ClimbError(f"{where}: {name!r} is no domain name: lower-case letters, digits and hyphens; try {better!r}")
    return name
