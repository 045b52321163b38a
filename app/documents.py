"""What the pages read of single documents, part by part, kept by the address of the artifact that it comes from."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import streamlit as st

from climb_engine.config import EmbeddingConfig
from climb_engine.curate.embedding import Embedder, load_embedder
from climb_engine.types import Ids, Vectors
from climb_engine.workspace import Artifact

if TYPE_CHECKING:
    import pyarrow.parquet as pq

FOUND = 2_000
"""Documents that a search finds at most."""

STATIC = ("wordllama",)
"""Embedders that are small and run without torch, so that the server may load them unasked."""


@dataclass(frozen=True, eq=False)
class Membership:
    """Which cluster each document belongs to, and how it scores."""

    clusters: npt.NDArray[np.int32]  # (n,)
    distances: Vectors  # (n,) to its centroid
    sizes: Ids  # (k,) documents
    metrics: tuple[str, ...]
    scores: Vectors  # (n, metrics), nan where not known

    def means(self) -> npt.NDArray[np.float64]:
        """(k, metrics) mean scores of the clusters, nan where none is known."""
        k, found = len(self.sizes), np.full((len(self.sizes), len(self.metrics)), np.nan)
        for column, values in enumerate(self.scores.T):
            known = np.isfinite(values)
            counts = np.bincount(self.clusters[known], minlength=k)
            sums = np.bincount(self.clusters[known], weights=values[known], minlength=k)
            np.divide(sums, counts, out=found[:, column], where=counts > 0)
        return found


@dataclass(frozen=True)
class Text:
    """A document to be read."""

    row: int
    source: str
    text: str


@st.cache_resource(max_entries=4, show_spinner="Reading the clusters")
def membership(clustering: str, quality: str) -> Membership:
    """Clusters and scores of every document, from the folders of the two artifacts."""
    tables = list(Artifact(Path(clustering)).tables(["cluster", "distance"]))
    clusters = np.concatenate([table["cluster"].to_numpy() for table in tables])
    distances = np.concatenate([table["distance"].to_numpy() for table in tables])
    sizes = np.bincount(clusters, minlength=Artifact(Path(clustering)).facts["clusters"])
    scored = Artifact(Path(quality))
    metrics = tuple(scored.facts["metrics"])
    columns = [np.column_stack([table[name].to_numpy() for name in metrics]) for table in scored.tables()]
    return Membership(clusters, distances, sizes, metrics, np.concatenate(columns).astype(np.float32))


@st.cache_resource(max_entries=4, show_spinner=False)
def positions(projection: str) -> Vectors:
    """Where every document is on the map (n, 2)."""
    artifact = Artifact(Path(projection))
    return np.concatenate([artifact.array(part) for part in range(artifact.parts)])


@st.cache_resource(max_entries=4, show_spinner=False)
def centroids(clustering: str) -> Vectors:
    """(k, d)."""
    return np.asarray(Artifact(Path(clustering)).array("centroids"))


@st.cache_resource(max_entries=4, show_spinner="Reading the sources")
def sources(corpus: str) -> tuple[Ids, tuple[str, ...]]:
    """The source of every document (n,), and the sources' names."""
    import pyarrow as pa

    column = pa.chunked_array(
        [chunk for table in Artifact(Path(corpus)).tables(["source"]) for chunk in table[0].chunks]
    )
    coded = column.combine_chunks().dictionary_encode()
    return coded.indices.to_numpy().astype(np.int64), tuple(str(name) for name in coded.dictionary.to_pylist())


@st.cache_resource(max_entries=4, show_spinner="Measuring the documents")
def lengths(corpus: str) -> Ids:
    """UTF-8 bytes of every document (n,): they come with a text's place in its column, characters are counted."""
    import pyarrow.compute as pc

    found = [pc.binary_length(table["text"]).to_numpy() for table in Artifact(Path(corpus)).tables(["text"])]
    return np.concatenate(found).astype(np.int64)


@st.cache_data(max_entries=64, show_spinner=False)
def texts(corpus: str, rows: tuple[int, ...]) -> list[Text]:
    """Some documents, in the order asked; reads only the row groups that they are in."""
    import pyarrow.parquet as pq

    artifact = Artifact(Path(corpus))
    ends = np.cumsum(artifact.facts["part_documents"])
    found: dict[int, Text] = {}
    for part in sorted({int(np.searchsorted(ends, row, side="right")) for row in rows}):
        first = int(ends[part]) - artifact.facts["part_documents"][part]
        mine = sorted(row - first for row in set(rows) if first <= row < ends[part])
        with artifact.reading(f"part-{part:05d}.parquet") as path:
            for row, source, text in _read(pq.ParquetFile(path), mine):
                found[first + row] = Text(first + row, source, text)
    return [found[row] for row in rows]


def _read(file: pq.ParquetFile, rows: Sequence[int]) -> Iterator[tuple[int, str, str]]:
    """Row, source and text of some documents of a part."""
    begin = 0
    for group in range(file.num_row_groups):
        end = begin + file.metadata.row_group(group).num_rows
        here = [row - begin for row in rows if begin <= row < end]
        if here:
            table = file.read_row_group(group, ["source", "text"]).take(here)
            for row, record in zip(here, table.to_pylist(), strict=True):
                yield begin + row, str(record["source"]), str(record["text"])
        begin = end


@st.cache_data(max_entries=32, show_spinner="Searching the texts")
def containing(corpus: str, words: str) -> tuple[Ids, int]:
    """The first documents that contain ``words``, whatever their case, and how many documents were looked at."""
    import pyarrow as pa
    import pyarrow.compute as pc

    artifact = Artifact(Path(corpus))
    found: list[npt.NDArray[np.int64]] = []
    seen = 0
    for table in artifact.tables(["text"]):
        hit = pc.match_substring(table["text"], words, ignore_case=True)
        found.append(pc.indices_nonzero(pa.chunked_array(hit.chunks)).to_numpy().astype(np.int64) + seen)
        seen += table.num_rows
        if sum(map(len, found)) >= FOUND:
            break
    return np.concatenate(found)[:FOUND], seen


@st.cache_data(max_entries=32, show_spinner="Comparing the meanings")
def meaning(embedding: str, words: str, _config: EmbeddingConfig, wanted: int = 200) -> tuple[Ids, Vectors]:
    """The documents whose vectors are nearest to that of ``words``, nearest first, and the cosines."""
    artifact = Artifact(Path(embedding))
    query = embedder(_config)([words])[0]
    similar = [np.asarray(artifact.array(part), np.float32) @ query for part in range(artifact.parts)]
    scores = np.concatenate(similar)
    best = np.argpartition(-scores, min(wanted, len(scores) - 1))[:wanted]
    nearest: Ids = best[np.argsort(-scores[best], kind="stable")]
    return nearest, scores[nearest]


@st.cache_resource(max_entries=1, show_spinner="Loading the embedder")
def embedder(config: EmbeddingConfig) -> Embedder:
    """The run's embedder, on the CPU: the graphics card is the jobs'."""
    return load_embedder(config, "cpu")


def samples(member: Membership, cluster: int, how: str, count: int, seed: int) -> Sequence[int]:
    """Rows of a cluster, as ``ordered`` has them."""
    return [int(row) for row in ordered(member, np.flatnonzero(member.clusters == cluster), how, seed)[:count]]


def ordered(member: Membership, rows: Ids, how: str, seed: int) -> Ids:
    """Rows by lot (random), by distance to their centroids (central, borderline) or by lowest scores (worst)."""
    if how == "random":
        return np.random.default_rng(seed).permutation(rows)
    if how == "worst":
        with np.errstate(invalid="ignore"):
            keys = np.nan_to_num(np.mean(member.scores[rows], axis=1), nan=np.inf)
    else:
        keys = member.distances[rows] * (-1 if how == "borderline" else 1)
    return np.asarray(rows[np.argsort(keys, kind="stable")])
