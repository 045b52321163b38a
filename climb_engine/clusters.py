"""What artifacts say of every cluster: which one each document is in, and sums over its documents."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from climb_engine.config import RunConfig
from climb_engine.curate.domains import Clusters, Domains
from climb_engine.curate.overrides import cluster_splits
from climb_engine.types import Ids
from climb_engine.workspace import Artifact, digest_of

WHOLE = "whole"
"""The table of the clusters before any was split, beside the table ``clusters`` of the domains."""


def labelling(config: RunConfig) -> str:
    """The stage that says which cluster a document is in: "clustering", or "splits" when clusters are split."""
    return "splits" if cluster_splits(config.domains.overrides) else "clustering"


def removes_duplicates(config: RunConfig) -> bool:
    """Whether near-duplicates are left out of the domains."""
    return config.duplicates.remove and config.duplicates.method != "none"


def domains_content(clusters: str, without: str | None, decided: Domains) -> str:
    """What the domains are, however they were decided on: all that depends on them is addressed by it.

    Args:
        clusters: address of the clusters that documents are in.
        without: address of the near-duplicates that are left out of them; None when none are.
        decided: on these clusters, in the names that the domains were made under.
    """
    of = decided.labels.tolist()
    return digest_of({"clusters": clusters, "without": without, "of": of, "names": decided.names})


def tallies(artifacts: Mapping[str, Artifact], progress: Callable[[int], None]) -> dict[str, pa.Table]:
    """A row per cluster: documents, characters, mean of each metric, mean distance, near-duplicates (0: none known).

    artifacts: corpus, clustering and quality, and where they are made splits and duplicates. The table of the clusters
    is called "clusters", and with splits that of the clusters before any was split ``WHOLE``.
    """
    metrics: Sequence[str] = artifacts["quality"].facts["metrics"]
    labels = {"clusters": artifacts.get("splits", artifacts["clustering"])}
    if "splits" in artifacts:
        labels[WHOLE] = artifacts["clustering"]
    sums = {name: _Sums(artifact.facts["clusters"], len(metrics)) for name, artifact in labels.items()}
    done = 0
    for part in range(artifacts["corpus"].parts):
        characters = _lengths(artifacts["corpus"], part)
        scores = artifacts["quality"].table(part)
        values = np.array([scores[metric].to_numpy() for metric in metrics]).reshape(len(metrics), len(characters))
        copies = duplicates_of(artifacts, part) >= 0
        for name, artifact in labels.items():
            sums[name].add(clusters_of_documents(artifact, part), characters, values, copies)
        done += len(characters)
        progress(done)
    return {name: found.table(metrics, labels[name]) for name, found in sums.items()}


def from_tables(tables: Mapping[str, pa.Table], artifacts: Mapping[str, Artifact]) -> Clusters:
    """The clusters to decide on, from what ``tallies`` gave."""
    known = "duplicates" in artifacts
    metrics = artifacts["quality"].facts["metrics"]
    first = _clusters(tables.get(WHOLE, tables["clusters"]), artifacts["clustering"], metrics, known, None)
    if WHOLE not in tables:
        return first
    return _clusters(tables["clusters"], artifacts["splits"], metrics, known, first)


def clusters_of_documents(labels: Artifact, part: int) -> Ids:
    """The cluster of each document of a part (n,)."""
    return np.asarray(labels.table(part, ["cluster"])["cluster"].to_numpy(), np.int64)


def duplicates_of(artifacts: Mapping[str, Artifact], part: int) -> Ids:
    """For each document of a part (n,) the one that stands for its group; -1 for that one, and where nobody looked."""
    if "duplicates" in artifacts:
        return np.asarray(artifacts["duplicates"].table(part)["duplicate_of"].to_numpy(), np.int64)
    return np.full(artifacts["corpus"].facts["part_documents"][part], -1, dtype=np.int64)


def domains_of_documents(artifacts: Mapping[str, Artifact], owner: Ids, remove: bool) -> list[np.ndarray]:
    """The domain of every document by part, int32, -1 where it is pruned or, with ``remove``, a near-duplicate.

    owner: domain of each cluster (k,), -1 when pruned. Of a group of near-duplicates the first that is kept stays.
    """
    labels = artifacts.get("splits", artifacts["clustering"])
    sizes = artifacts["corpus"].facts["part_documents"]
    found = [owner[clusters_of_documents(labels, part)].astype(np.int32) for part in range(len(sizes))]
    if not remove:
        return found
    standing = np.concatenate([duplicates_of(artifacts, part) for part in range(len(sizes))])
    group = np.where(standing >= 0, standing, np.arange(len(standing)))
    domains = np.concatenate(found)
    kept = np.flatnonzero(domains >= 0)
    first = kept[np.unique(group[kept], return_index=True)[1]]
    left = np.full(len(domains), -1, dtype=np.int32)
    left[first] = domains[first]
    return np.split(left, np.cumsum(sizes)[:-1])


def by_domain(domains: Ids, values: Ids, m: int) -> Ids:
    """Sums (m,) of values (n,) by domain (n,); -1 is left out."""
    found = np.zeros(m, dtype=np.int64)
    np.add.at(found, domains[domains >= 0], values[domains >= 0])
    return found


def characters_by_domain(artifacts: Mapping[str, Artifact], domains: Sequence[np.ndarray], m: int) -> Ids:
    """Characters (m,) of the documents of each domain, from the domains of the documents by part."""
    sums = [by_domain(owners, _lengths(artifacts["corpus"], part), m) for part, owners in enumerate(domains)]
    return np.asarray(np.sum(sums, axis=0), np.int64)


class _Sums:
    """Sums over documents by cluster, added up part by part."""

    def __init__(self, k: int, metrics: int) -> None:
        self.k = k
        self.characters, self.duplicates = np.zeros(k, np.int64), np.zeros(k, np.int64)
        self.sums, self.counts = np.zeros((k, metrics)), np.zeros((k, metrics))

    def add(self, clusters: Ids, characters: Ids, scores: np.ndarray, copies: np.ndarray) -> None:
        """Add documents (n,) with their scores (metrics, n), and whether each is a near-duplicate of an earlier one."""
        self.characters += np.bincount(clusters, weights=characters, minlength=self.k).astype(np.int64)
        self.duplicates += np.bincount(clusters[copies], minlength=self.k)
        for column, values in enumerate(scores):
            told = np.isfinite(values)
            self.sums[:, column] += np.bincount(clusters[told], weights=values[told], minlength=self.k)
            self.counts[:, column] += np.bincount(clusters[told], minlength=self.k)

    def table(self, metrics: Sequence[str], labels: Artifact) -> pa.Table:
        """Sums and means, beside what the clusters' own artifact counted."""
        known = labels.table("clusters", ["documents", "mean_distance"])
        with np.errstate(invalid="ignore"):
            means = self.sums / np.where(self.counts, self.counts, np.nan)
        columns: dict[str, Any] = {"documents": known["documents"], "characters": self.characters}
        columns |= dict(zip(metrics, means.T, strict=True))
        return pa.table(columns | {"mean_distance": known["mean_distance"], "duplicates": self.duplicates})


def _clusters(
    sums: pa.Table, labels: Artifact, metrics: Sequence[str], known: bool, whole: Clusters | None
) -> Clusters:
    return Clusters(
        sizes=np.asarray(sums["documents"].to_numpy(), np.int64),
        means=np.array([sums[metric].to_numpy() for metric in metrics]).reshape(len(metrics), len(sums)).T,
        metrics=tuple(metrics),
        centroids=np.asarray(labels.array("centroids")),
        keywords=[tuple(words) for words in labels.table("clusters", ["keywords"])["keywords"].to_pylist()],
        spreads=np.asarray(sums["mean_distance"].to_numpy(), np.float64),
        duplicates=np.asarray(sums["duplicates"].to_numpy(), np.int64) if known else None,
        whole=whole,
    )


def _lengths(source: Artifact, part: int) -> Ids:
    import pyarrow.compute as pc

    return np.asarray(pc.utf8_length(source.table(part, ["text"])["text"]), np.int64)
