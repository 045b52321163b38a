"""All documents in the plane."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from climb_engine.stages.work import Work
from climb_engine.workspace import Artifact


def projection(work: Work) -> dict[str, Any]:
    """A map: ``part-*.npy`` (n, 2), ``clusters.npy`` (k, 2) medians; ``rows.npy`` and ``fitted.npy``, the sample."""
    from climb_engine.curate.projection import medians, neighbour_index, place

    vectors, clustering, out = work.needs["embedding"], work.needs["clustering"], work.out
    sizes = work.needs["corpus"].facts["part_documents"]
    clusters = np.concatenate([table["cluster"].to_numpy() for table in clustering.tables(["cluster"])])
    if not out.has("fitted.npy"):
        _fit_projection(work, clusters)
    rows, fitted = np.asarray(out.array("rows")), np.asarray(out.array("fitted"))
    index = None
    for part in work.remaining_parts(".npy"):
        first = sum(sizes[:part])
        mine = (rows >= first) & (rows < first + sizes[part])
        others = np.setdiff1d(np.arange(sizes[part]), rows[mine] - first)
        positions = np.empty((sizes[part], 2), np.float32)
        positions[rows[mine] - first] = fitted[mine]
        if len(others):
            index = index or neighbour_index(_vectors_at(vectors, sizes, rows))
            section = work.config.projection
            positions[others] = place(vectors.array(part)[others], index, fitted, section.place_neighbours)
        out.put_array(part, positions)
    everywhere = np.concatenate([out.array(part) for part in range(len(sizes))])
    out.put_array("clusters", medians(everywhere, clusters, clustering.facts["clusters"]))
    return {"method": work.config.projection.method, "fitted": len(rows), "placed": len(clusters) - len(rows)}


def _fit_projection(work: Work, clusters: np.ndarray) -> None:
    from climb_engine.curate.projection import fit, stratified_rows

    section = work.config.projection
    sizes = work.needs["corpus"].facts["part_documents"]
    rows = stratified_rows(clusters, section.documents, section.seed)
    work.progress(0, None, "epochs", note=f"{section.method} of {len(rows):,} documents")
    sample = _vectors_at(work.needs["embedding"], sizes, rows)
    work.out.put_array("rows", rows)
    work.out.put_array("fitted", fit(sample, section, lambda done, of: work.progress(done, of, "epochs")))


def _vectors_at(vectors: Artifact, sizes: Sequence[int], rows: np.ndarray) -> np.ndarray:
    """The vectors (s, d) float32 of sorted rows, read part by part."""
    ends = np.cumsum(sizes, dtype=np.int64)
    pieces = np.split(rows, np.searchsorted(rows, ends[:-1]))
    starts = ends - np.asarray(sizes)
    found = [np.asarray(vectors.array(i)[mine - starts[i]], np.float32) for i, mine in enumerate(pieces)]
    return np.concatenate(found)
