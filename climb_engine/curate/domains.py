"""Clusters to domains: prune by quality, size and spread, merge by Ward, apply human overrides; each with its reason.

Nothing is deleted: a cluster that is pruned stays in the table of decisions, beside what the machine alone would say.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from climb_engine.config import DomainsConfig
from climb_engine.curate.merging import Cut, cut_into, cuts, ward
from climb_engine.curate.naming import name_groups
from climb_engine.curate.overrides import Names, State, Unit, lineage
from climb_engine.types import ClimbError, Decision, FloatArray, Ids, Vectors


@dataclass(frozen=True, eq=False)
class Clusters:
    """What is known of every cluster."""

    sizes: Ids  # (k,) documents
    means: FloatArray  # (k, len(metrics)) mean scores, NaN where none
    metrics: tuple[str, ...]
    centroids: Vectors  # (k, d) float32
    keywords: Sequence[Sequence[str]]  # (k,) most telling first
    spreads: FloatArray  # (k,) mean distance to the centroid
    duplicates: Ids | None = None  # (k,) documents that are near-duplicates of an earlier one; None: nobody looked
    whole: Clusters | None = None  # the clusters of k-means, where some of them were split since

    @property
    def first(self) -> Clusters:
        """The clusters before any was split."""
        return self.whole or self

    def joined(self, rows: Sequence[int]) -> Clusters:
        """Some clusters as one."""
        at = np.asarray(rows)
        sizes = self.sizes[at].astype(np.float64)
        weights = sizes / max(sizes.sum(), 1.0)
        known = np.where(np.isfinite(self.means[at]), weights[:, None], 0.0)
        with np.errstate(invalid="ignore"):
            means = (np.nan_to_num(self.means[at]) * known).sum(axis=0) / np.where(known.any(0), known.sum(0), np.nan)
        return Clusters(
            sizes=self.sizes[at].sum(keepdims=True),
            means=means[None],
            metrics=self.metrics,
            centroids=(weights @ self.centroids[at])[None].astype(np.float32),
            keywords=[self.keywords[int(at[sizes.argmax()])]],
            spreads=np.array([weights @ self.spreads[at]]),
            duplicates=None if self.duplicates is None else self.duplicates[at].sum(keepdims=True),
        )


@dataclass(frozen=True, eq=False)
class Domains:
    """What becomes of every cluster, and the tree that the merge is cut from.

    Domains have the names that artifacts know them by; ``renamed`` gives them those that people gave.
    """

    names: tuple[str, ...]  # (m,) by documents, largest first
    decisions: tuple[Decision, ...]  # (k,) one per cluster, in order
    automatic_names: tuple[str, ...]  # what Decision.automatic_domain counts in: the domains before any override
    linkage: FloatArray  # (leaves - 1, 4) scipy linkage of the clusters that were kept automatically
    leaves: Ids  # cluster ids of the linkage's leaves
    cut: tuple[float, float]  # Ward distance of the last merge made (0: none) and of the first not made (inf: none)
    ever: tuple[str, ...]  # every domain that there was on the way
    renames: Names

    @property
    def labels(self) -> Ids:
        """(k,) domain of each cluster, -1 when pruned."""
        return np.array([decision.domain for decision in self.decisions], dtype=np.int64)

    def renamed(self) -> Domains:
        """The same in the names that people gave."""
        return replace(
            self,
            names=tuple(self.renames.called(name) for name in self.names),
            automatic_names=tuple(self.renames.called(name) for name in self.automatic_names),
            decisions=tuple(replace(one, reason=self.renames.reason(one.reason)) for one in self.decisions),
        )


def decide(clusters: Clusters, config: DomainsConfig) -> Domains:
    """Prune, merge, name and order; then the overrides, in their order.

    Ward linkage on the centroids of kept clusters, each counting once however large, as in the official CLIMB code
    (Diao et al. 2025, arXiv 2504.13161); where clusters were split, on those before. A split's parts begin in the
    domain of the cluster that they come from, each judged by itself.

    Raises ClimbError for a threshold whose metric has no scores, for an override that names no cluster or domain, and
    when nothing is left.
    """
    first = clusters.first
    faults = _faults(first, config)
    kept = np.flatnonzero([not fault for fault in faults])
    tree, labels, cut = _merge(first.centroids[kept], config)
    groups = [kept[labels == label] for label in np.unique(labels)]
    groups.sort(key=lambda members: (-int(first.sizes[members].sum()), int(members.min())))
    names = name_groups(groups, first.sizes, first.keywords)
    automatic = np.full(len(first.sizes), -1, dtype=np.int64)
    for domain, members in enumerate(groups):
        automatic[members] = domain

    state = _begin(clusters, faults, automatic, names, config)
    for number, override in enumerate(config.overrides):
        state.apply(override, f"domains.overrides[{number}] ({override.action})")
    final = state.alive()
    if not final:
        raise ClimbError(_nothing_left(clusters, config))
    assert len(state.units) == len(clusters.sizes), "the clusters are not those that the overrides make"
    decisions = tuple(_decision(cluster, unit, final) for cluster, unit in enumerate(state.units))
    leaves, ever = kept.astype(np.int64), tuple(sorted(state.ever))
    return Domains(final, decisions, names, tree, leaves, cut, ever, state.names)


def merge_table(clusters: Clusters, config: DomainsConfig) -> tuple[Cut, ...]:
    """What each number of domains would be like, for the clusters that the thresholds keep; see ``merging.cuts``."""
    kept = [i for i, fault in enumerate(_faults(clusters.first, config)) if not fault]
    return cuts(clusters.first.centroids[kept])


def _begin(
    clusters: Clusters, faults: Sequence[str], automatic: Ids, names: Sequence[str], config: DomainsConfig
) -> State:
    """The state before the first override."""
    first, parts = clusters.first, lineage(config.overrides, len(clusters.first.sizes))
    limit = _widest(first, config)

    def part(cluster: int, split: int) -> Unit:
        """What a split makes, when later splits of it have not happened yet."""
        rows = [cluster]
        for later in parts[split + 1 :]:
            rows += later[1:] if later[0] in rows else ()
        row = clusters.joined(rows)
        return Unit(int(row.sizes[0]), row.centroids[0], row.keywords[0], _fault(row, 0, config, limit), -1)

    units = [
        Unit(
            size=int(first.sizes[i]),
            centroid=first.centroids[i],
            keywords=first.keywords[i],
            fault=fault,
            automatic=int(automatic[i]),
            home=names[automatic[i]] if automatic[i] >= 0 else "",
            kept=not fault,
            reason=fault or "kept",
        )
        for i, fault in enumerate(faults)
    ]
    return State(units, part)


def _decision(cluster: int, unit: Unit, names: Sequence[str]) -> Decision:
    return Decision(
        cluster=cluster,
        kept=unit.kept,
        domain=names.index(unit.home) if unit.kept else -1,
        reason=unit.reason,
        automatic_kept=not unit.fault,
        automatic_domain=unit.automatic,
    )


# --- prune ----------------------------------------------------------------------------------------------------------


def _faults(clusters: Clusters, config: DomainsConfig) -> list[str]:
    """Why each cluster is pruned, "" for those that are kept."""
    means = clusters.means
    scored = [metric for j, metric in enumerate(clusters.metrics) if np.isfinite(means[:, j]).any()]
    for metric in config.thresholds:
        if metric not in scored:
            there = f"there are scores for {', '.join(scored)}" if scored else "there are no scores at all"
            raise ClimbError(
                f"domains.thresholds: nothing scores {metric!r} ({there}); take it out, or add a scorer that gives it"
            )
    if config.max_duplicate_share < 1 and clusters.duplicates is None:
        raise ClimbError(
            "domains.max_duplicate_share: nobody looks for near-duplicates; set duplicates.method = 'minhash', "
            "or max_duplicate_share = 1"
        )
    limit = _widest(clusters, config)
    return [_fault(clusters, cluster, config, limit) for cluster in range(len(clusters.sizes))]


def _widest(clusters: Clusters, config: DomainsConfig) -> tuple[float, float]:
    """Largest mean distance to its centroid that a cluster may have, inf without a limit; and the median cluster's."""
    median = float(np.median(clusters.spreads[clusters.sizes > 0])) if (clusters.sizes > 0).any() else 0.0
    return (config.max_spread * median if config.max_spread else np.inf), median


def _fault(clusters: Clusters, cluster: int, config: DomainsConfig, widest: tuple[float, float]) -> str:
    size = int(clusters.sizes[cluster])
    if size == 0:
        return "empty"
    means = dict(zip(clusters.metrics, clusters.means[cluster].tolist(), strict=True))
    low = [
        _beyond(metric, means[metric], "<", threshold)
        for metric, threshold in config.thresholds.items()
        if means[metric] < threshold  # NaN is never less: what cannot be said prunes nothing
    ]
    if size < config.min_documents:
        low.append(f"documents {size} < {config.min_documents}")
    if clusters.duplicates is not None and clusters.duplicates[cluster] / size > config.max_duplicate_share:
        share = float(clusters.duplicates[cluster]) / size
        low.append(_beyond("duplicate share", share, ">", config.max_duplicate_share))
    if clusters.spreads[cluster] > widest[0]:
        spread = f"mean distance {clusters.spreads[cluster]:.3f}"
        low.append(f"{spread} > {config.max_spread:g} x {widest[1]:.3f} of the median cluster")
    return "; ".join(low)


def _beyond(what: str, value: float, sign: str, limit: float) -> str:
    """Both numbers, with as few decimals as tell them apart."""
    for decimals in range(1, 7):
        shown, bound = f"{value:.{decimals}f}", f"{limit:.{decimals}f}"
        apart = float(shown) < limit if sign == "<" else float(shown) > limit
        if float(bound) == limit and apart:
            return f"{what} {shown} {sign} {bound}"
    return f"{what} {value!r} {sign} {limit!r}"


def _nothing_left(clusters: Clusters, config: DomainsConfig) -> str:
    culprits = sorted((one for one in _culprits(clusters, config) if one[0]), key=lambda one: -one[0])
    told = [text for _, text in culprits]
    remedy = "take some overrides back"
    if told:
        knob = told[0].split(" = ")[0]
        change = "raise" if knob.startswith("max") else "lower"
        remedy = f"{change} domains.{knob}, or move clusters to a domain by override"
    if count := int((clusters.sizes == 0).sum()):
        told.append(f"{count} are empty")
    if count := sum(override.action == "prune" for override in config.overrides):
        told.append(f"overrides prune {count}")
    return f"domains: all {len(clusters.sizes)} clusters are pruned: {'; '.join(told)}; {remedy}"


def _culprits(clusters: Clusters, config: DomainsConfig) -> Iterator[tuple[int, str]]:
    """How many clusters each limit prunes, and in words."""
    sizes = clusters.sizes
    for metric, threshold in config.thresholds.items():
        column = clusters.means[:, list(clusters.metrics).index(metric)]
        count = int((column < threshold).sum())
        yield count, f"thresholds.{metric} = {threshold:g} prunes {count} (best mean {np.nanmax(column):.2f})"
    count = int(((sizes < config.min_documents) & (sizes > 0)).sum())
    yield count, f"min_documents = {config.min_documents} prunes {count} (largest {int(sizes.max())})"
    if clusters.duplicates is not None:
        count = int((clusters.duplicates > config.max_duplicate_share * sizes).sum())
        yield count, f"max_duplicate_share = {config.max_duplicate_share:g} prunes {count}"
    count = int((clusters.spreads > _widest(clusters.first, config)[0]).sum())
    yield count, f"max_spread = {config.max_spread:g} prunes {count}"


# --- merge ----------------------------------------------------------------------------------------------------------


def _merge(centroids: Vectors, config: DomainsConfig) -> tuple[FloatArray, Ids, tuple[float, float]]:
    """Linkage, (leaves,) labels and the distances on both sides of the cut."""
    leaves, tree = len(centroids), ward(centroids)
    if leaves < 2:
        return tree, np.zeros(leaves, dtype=np.int64), (0.0, np.inf)
    heights = tree[:, 2]
    merges = max(leaves - config.n_domains, 0)
    if not config.n_domains:
        merges = int((heights <= config.merge_distance).sum())
    below = float(heights[merges - 1]) if merges else 0.0
    above = float(heights[merges]) if merges < len(heights) else np.inf
    return tree, cut_into(tree, leaves - merges), (below, above)
