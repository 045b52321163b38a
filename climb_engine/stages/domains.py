"""Clusters to domains, with a decision for each cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import pyarrow as pa

from climb_engine.clusters import (
    WHOLE,
    by_domain,
    characters_by_domain,
    domains_content,
    domains_of_documents,
    from_tables,
    labelling,
    removes_duplicates,
    tallies,
)
from climb_engine.config import RunConfig, knobs
from climb_engine.curate.overrides import canonical
from climb_engine.stages.work import Work
from climb_engine.types import finite


def domains_knobs(config: RunConfig) -> dict[str, Any]:
    """The knobs of ``domains`` with what its overrides do: what a domain is called and notes decide nothing."""
    done = [knobs(override) for override in canonical(config.domains.overrides)[0]]
    removed = {"remove_duplicates": True} if removes_duplicates(config) else {}
    return knobs(config.domains) | {"overrides": done} | removed


def domains(work: Work) -> dict[str, Any]:
    """Prune and merge clusters: ``clusters.parquet`` (a decision each), ``domains.parquet``, ``linkage.npy``.

    Names of domains are those that they were made under. Clusters that were split are in ``whole.parquet`` too.
    """
    from climb_engine.curate.domains import decide

    total = work.needs["corpus"].facts["documents"]
    tables = tallies(work.needs, lambda done: work.progress(done, total))
    decided = decide(from_tables(tables, work.needs), work.config.domains)
    clusters, copies = work.needs[labelling(work.config)], work.needs.get("duplicates")
    without = copies.digest if copies and removes_duplicates(work.config) else None
    rows = pa.Table.from_pylist([asdict(decision) for decision in decided.decisions])
    for name in tables["clusters"].column_names:
        rows = rows.append_column(name, tables["clusters"][name])
    work.out.put_table("clusters", rows)
    if WHOLE in tables:
        work.out.put_table(WHOLE, tables[WHOLE])
    owner = decided.labels
    summary = _summary(work, owner, decided.names, tables["clusters"])
    work.out.put_table("domains", summary)
    work.out.put_array("linkage", decided.linkage)
    work.out.put_array("leaves", np.asarray(decided.leaves, np.int64))
    documents = rows["documents"].to_numpy()
    kept, pruned = int(np.sum(summary["documents"].to_numpy())), int(documents[owner < 0].sum())
    return {
        "content": domains_content(clusters.digest, without, decided),
        "names": list(decided.names),
        "automatic_names": list(decided.automatic_names),  # what a decision's automatic_domain counts in
        "ever": list(decided.ever),  # every domain that there was on the way, which a rename may name
        "cut": [finite(height) for height in decided.cut],
        "kept_clusters": int((owner >= 0).sum()),
        "pruned_clusters": int((owner < 0).sum()),
        "kept_documents": kept,
        "pruned_documents": pruned,
        "duplicate_documents": int(documents.sum()) - kept - pruned,  # left out of clusters that are kept
    }


def _summary(work: Work, owner: np.ndarray, names: Sequence[str], clusters: pa.Table) -> pa.Table:
    """A row per domain: its clusters, and what documents and characters are in it."""
    m = len(names)
    if removes_duplicates(work.config):
        placed = domains_of_documents(work.needs, owner, remove=True)
        documents = sum(by_domain(part, np.ones(len(part), np.int64), m) for part in placed)
        characters = characters_by_domain(work.needs, placed, m)
    else:
        documents, characters = (by_domain(owner, clusters[of].to_numpy(), m) for of in ("documents", "characters"))
    counted = by_domain(owner, np.ones(len(owner), np.int64), m)
    columns: dict[str, Any] = {"domain": np.arange(m), "name": list(names), "clusters": counted}
    return pa.table(columns | {"documents": documents, "characters": characters})
