"""Near-duplicates among the documents."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from climb_engine.config import RunConfig, knobs
from climb_engine.stages.work import Work


def duplicates_knobs(config: RunConfig) -> dict[str, Any]:
    """The knobs of ``duplicates`` that find them; what becomes of them is the domains' and the tokens' matter."""
    return {name: value for name, value in knobs(config.duplicates).items() if name != "remove"}


def duplicates(work: Work) -> dict[str, Any]:
    """Find near-duplicates: ``part-*.npy`` (n, permutations) signatures, ``part-*.parquet`` (duplicate_of)."""
    from climb_engine.curate.duplicates import groups, signatures

    section, source, out = work.config.duplicates, work.needs["corpus"], work.out
    for part in work.remaining_parts(".npy"):
        out.put_array(part, signatures(source.table(part, ["text"])["text"].to_pylist(), section))
    found = groups([out.array(part) for part in range(source.parts)], section)
    for part, mine in enumerate(np.split(found, np.cumsum(source.facts["part_documents"])[:-1])):
        out.put_table(part, pa.table({"duplicate_of": mine}))
    copies = found[found >= 0]
    return {"documents": len(found), "duplicates": len(copies), "groups": len(np.unique(copies))}
