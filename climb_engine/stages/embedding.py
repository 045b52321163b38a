"""Documents as vectors."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from climb_engine.config import EmbeddingConfig
from climb_engine.stages.work import Work

if TYPE_CHECKING:
    from climb_engine.curate.embedding import Embedder


def embedding(work: Work) -> dict[str, Any]:
    """Embed every document: ``part-*.npy`` (n, d) float16, unit rows."""
    embedder = _embedder(work.config.embedding, work.config.machine.device)
    work.each_part(".npy", _embed)
    _embedder.cache_clear()
    return {"model": embedder.name, "dimensions": embedder.dimensions}


def _embed(work: Work, part: int) -> None:
    from climb_engine.curate.embedding import embed

    section, source = work.config.embedding, work.needs["corpus"]
    sizes = source.facts["part_documents"]
    texts = source.table(part, ["text"])["text"].to_pylist()
    seen = sum(sizes[:part])

    def on_batch(n: int) -> None:
        nonlocal seen
        seen += n
        work.progress(seen, sum(sizes))

    embedder = _embedder(section, work.config.machine.device)
    work.out.put_array(part, embed(texts, embedder, section.batch_size, on_batch))


@functools.lru_cache(maxsize=1)
def _embedder(section: EmbeddingConfig, device: str) -> Embedder:
    """Loaded once for all parts that this process embeds."""
    from climb_engine.curate.embedding import load_embedder

    return load_embedder(section, device)
