"""Documents that are read, checked and de-duplicated; and documents by id."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from climb_engine.stages.work import Work
from climb_engine.types import ClimbError, Ids, Vectors
from climb_engine.workspace import Artifact, digest_of, read_json

if TYPE_CHECKING:
    from climb_engine.curate.quality import Rows
    from climb_engine.curate.ratings import Digests


def corpus(work: Work) -> dict[str, Any]:
    """Read, check and de-duplicate documents: ``part-*.parquet`` (id, text, source, digest, kept columns)."""
    from climb_engine.curate.corpus import CorpusState, corpus_parts

    section, out = work.config.corpus, work.out
    state, sizes, characters, contents = CorpusState(), [], 0, []
    finished = 0
    while out.has(f"part-{finished:05d}.json"):  # written after its part, so its part is whole
        saved = read_json(out.path(f"part-{finished:05d}.json"))
        state = CorpusState.from_json(saved["state"])
        sizes.append(saved["documents"])
        characters += saved["characters"]
        contents.append(saved["content"])
        finished += 1
    digests = [out.table(part, ["digest"])["digest"].to_numpy() for part in range(finished)]
    for table, after in corpus_parts(section, state, digests):
        count = sum(len(text) for text in table["text"].to_pylist())
        contents.append(out.put_table(finished, table))
        saved = {"documents": table.num_rows, "characters": count, "content": contents[-1], "state": after.as_json()}
        out.put_json(finished, saved)
        state, finished, characters = after, finished + 1, characters + count
        sizes.append(table.num_rows)
        work.progress(sum(sizes), None, "documents", rejected=sum(state.rejected.values()))
    if not sum(sizes):
        reasons = ", ".join(f"{n} {reason}" for reason, n in state.rejected.items()) or "the inputs hold none"
        raise ClimbError(f"no document was accepted ({reasons}); check corpus.inputs and corpus.text_column")
    return {
        "content": digest_of(contents),
        "documents": sum(sizes),
        "characters": characters,
        "part_documents": sizes,
        **{key: value for key, value in state.as_json().items() if key in ("rejected", "examples")},
    }


def rows_of(source: Artifact, embedded: Artifact | None) -> Rows:
    """Documents by id, for those who learn from a few of them; ``source`` is the corpus."""
    from climb_engine.curate.quality import Rows

    sizes = source.facts["part_documents"]

    def by_part(ids: Ids) -> Iterator[tuple[int, Ids]]:
        ends = np.cumsum(sizes)
        for part, mine in enumerate(np.split(ids, np.searchsorted(ids, ends[:-1]))):
            if len(mine):
                yield part, mine - (ends[part] - sizes[part])

    def texts(ids: Ids) -> list[str]:
        columns = (source.table(part, ["text"])["text"].take(mine) for part, mine in by_part(ids))
        return [text for column in columns for text in column.to_pylist()]

    def vectors(ids: Ids) -> Vectors:
        assert embedded is not None, "this corpus was not embedded"
        pieces = [np.asarray(embedded.array(part)[mine], np.float32) for part, mine in by_part(ids)]
        return np.concatenate([embedded.array(0)[:0], *pieces], dtype=np.float32)

    def digest_parts() -> Iterator[Digests]:
        return (rows["digest"].to_numpy() for rows in source.tables(["digest"]))

    def digests(ids: Ids) -> Digests:
        columns = (source.table(part, ["digest"])["digest"].to_numpy()[mine] for part, mine in by_part(ids))
        return np.concatenate([np.empty(0, np.uint64), *columns])

    return Rows(sum(sizes), texts, vectors, digests, digest_parts)
