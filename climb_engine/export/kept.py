"""The kept documents of a run, read part by part: their lengths and domains, and their texts and tokens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from climb_engine.export.drawing import Documents, tokens_by_domain
from climb_engine.types import Ids
from climb_engine.workspace import Artifact


@dataclass(frozen=True)
class Artifacts:
    """The finished stages that a data set is read from."""

    corpus: Artifact
    clustering: Artifact  # or the splits, which say the same of clusters that were split
    domains: Artifact
    tokens: Artifact
    called: tuple[str, ...] = ()  # (m,) what people call the domains; (): as they were made

    @property
    def names(self) -> tuple[str, ...]:
        """The domains' names."""
        return self.called or tuple(self.domains.facts["names"])

    def identity(self) -> dict[str, Any]:
        """What makes these what they are: addresses, and the domains' names."""
        stages = {"corpus": self.corpus, "clustering": self.clustering, "domains": self.domains, "tokens": self.tokens}
        return {name: artifact.digest for name, artifact in stages.items()} | {"names": list(self.names)}

    def documents(self) -> Documents:
        """Length, domain and held-out mark of every kept document."""
        tables = list(self.tokens.tables(["domain", "length", "heldout"]))
        rows = pa.concat_tables(tables)
        return Documents(
            lengths=rows["length"].to_numpy().astype(np.int32),
            domains=rows["domain"].to_numpy().astype(np.int32),
            heldout=rows["heldout"].to_numpy(),
            firsts=np.cumsum([0, *(table.num_rows for table in tables)]).astype(np.int64),
        )

    def clusters(self) -> np.ndarray:
        """The cluster of every kept document, shape (n,) int32."""
        first, found = 0, []
        for part, size in enumerate(self.corpus.facts["part_documents"]):
            ids = self.tokens.table(part, ["id"])["id"].to_numpy()
            found.append(self.clustering.table(part, ["cluster"])["cluster"].to_numpy()[ids - first].astype(np.int32))
            first += size
        return np.concatenate(found)

    def read(self, part: int, rows: Ids, columns: Sequence[str]) -> pa.Table:
        """Kept documents of a part by their row among these, with the columns asked for."""
        kept = self.tokens.table(part).take(rows)
        first = sum(self.corpus.facts["part_documents"][:part])
        at = kept["id"].to_numpy() - first
        stored = self.corpus.table(part, [name for name in ("text", "source") if name in columns])
        made = {name: stored[name].cast(pa.large_string()).take(at) for name in stored.column_names}
        domains = kept["domain"].to_numpy()
        if "tokens" in columns:
            made["tokens"] = _lists(np.asarray(self.tokens.array(part)), kept["start"], kept["length"])
        if "domain" in columns:
            made["domain"] = pa.array(self.names, pa.large_string()).take(domains)
        if "cluster" in columns:
            made["cluster"] = self.clustering.table(part, ["cluster"])["cluster"].take(at).cast(pa.int32())
        made["token_count"] = kept["length"].cast(pa.int32())
        made |= {"cluster_id": pa.array(domains, pa.int32()), "id": kept["id"], "heldout": kept["heldout"]}
        return pa.table({name: made[name] for name in columns})


def tokens_per_document(artifacts: Artifacts) -> dict[str, float]:
    """Mean tokens of a domain's documents, held-out ones left out; by domain."""
    documents, m = artifacts.documents(), len(artifacts.names)
    counts = np.bincount(documents.domains[~documents.heldout], minlength=m)
    means = tokens_by_domain(documents, m) / np.maximum(1, counts)
    return {name: float(mean) for name, mean in zip(artifacts.names, means, strict=True) if mean}


def _lists(flat: np.ndarray, starts: pa.ChunkedArray, lengths: pa.ChunkedArray) -> pa.Array:
    """Slices of a part's tokens as lists of int32."""
    counts = lengths.to_numpy()
    pieces = [flat[start : start + count] for start, count in zip(starts.to_pylist(), counts.tolist(), strict=True)]
    values = np.concatenate(pieces).astype(np.int32)
    return pa.LargeListArray.from_arrays(np.concatenate([[0], np.cumsum(counts, dtype=np.int64)]), values)
