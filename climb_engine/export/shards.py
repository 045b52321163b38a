"""The documents of a data set into its shards, in two passes and in bounded memory.

The parts of a run hold the documents in one order and the shards want them in another. The first pass reads each part
once and sets its drawn documents down in the order of the shards; the second picks every shard's rows out of all
parts. Both skip the files that are there, so work that was killed goes on. Memory: one part or one shard.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from climb_engine.export.drawing import Shard
from climb_engine.types import Event, Ids, Report
from climb_engine.workspace import ROW_GROUP, file_name, write_atomically

ReadPart = Callable[[int, Ids], pa.Table]  # part, its rows (repeats too) -> these documents
_PLACE = "_place"  # of a document in the order


def write_shards(
    folder: Path, scratch: Path, order: Ids, firsts: Ids, shards: Sequence[Shard], read: ReadPart, report: Report
) -> None:
    """Write the shards that are not there yet.

    order (r,): rows of documents; firsts (parts + 1,): the row where each part begins. A shard's format is its
    suffix's: ``.parquet`` or ``.jsonl``.
    """
    missing = [shard for shard in shards if not (folder / shard.file).exists()]
    if missing:
        _scatter(scratch, order, firsts, read, report)
    done = len(shards) - len(missing)
    for shard in missing:
        report(Event("dataset", done, len(shards), "shards"))
        table = _gather(scratch, len(firsts) - 1, shard)
        content = _jsonl(table) if shard.file.endswith(".jsonl") else _parquet(table)
        write_atomically(folder / shard.file, content)
        done += 1
    report(Event("dataset", done, len(shards), "shards"))


def _scatter(scratch: Path, order: Ids, firsts: Ids, read: ReadPart, report: Report) -> None:
    """Each part's drawn documents to a file, in the order of the shards."""
    by_row = np.argsort(order, kind="stable")
    starts = np.searchsorted(order[by_row], firsts)
    for part, (first, a, b) in enumerate(zip(firsts[:-1], starts[:-1], starts[1:], strict=True)):
        report(Event("dataset", part, len(firsts) - 1, "parts read"))
        if a == b or _scattered(scratch, part).exists():
            continue
        places = np.sort(by_row[a:b])
        table = read(part, order[places] - first).append_column(_PLACE, pa.array(places)).combine_chunks()
        buffer = io.BytesIO()
        with pa.ipc.new_file(buffer, table.schema) as file:
            file.write_table(table)
        write_atomically(_scattered(scratch, part), buffer.getbuffer())


def _gather(scratch: Path, parts: int, shard: Shard) -> pa.Table:
    """The documents of a shard, in order."""
    pieces = []
    for part in range(parts):
        path = _scattered(scratch, part)
        if not path.exists():  # nothing was drawn from it
            continue
        with pa.memory_map(str(path)) as mapped:
            table = pa.ipc.open_file(mapped).read_all()
            a, b = np.searchsorted(table[_PLACE].to_numpy(), [shard.first, shard.last])
            if a < b:
                pieces.append(table.slice(a, b - a).take(np.arange(b - a)))  # a copy, for the map is closed
            del table
    table = pa.concat_tables(pieces)
    return table.take(np.argsort(table[_PLACE].to_numpy())).drop_columns([_PLACE])


def _scattered(scratch: Path, part: int) -> Path:
    return scratch / f"{file_name(part)}.arrow"


def _parquet(table: pa.Table) -> memoryview:
    """Parquet in small row groups, so that one document is read fast."""
    buffer = io.BytesIO()
    schema = pa.schema([(field.name, _plain(field.type)) for field in table.schema])
    with pq.ParquetWriter(buffer, schema, compression="zstd") as writer:
        for piece in _slices(table):
            writer.write_table(piece.cast(schema), row_group_size=ROW_GROUP)
    return buffer.getbuffer()


def _jsonl(table: pa.Table) -> memoryview:
    buffer = io.BytesIO()
    for piece in _slices(table):
        for row in piece.to_pylist():
            buffer.write(json.dumps(row, ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
    return buffer.getbuffer()


def _slices(table: pa.Table) -> Iterator[pa.Table]:
    return (table.slice(first, ROW_GROUP) for first in range(0, table.num_rows, ROW_GROUP))


def _plain(kind: pa.DataType) -> pa.DataType:
    """The type that every reader knows: 32-bit offsets are enough within a row group."""
    if pa.types.is_large_string(kind):
        return pa.string()
    return pa.list_(kind.value_type) if pa.types.is_large_list(kind) else kind
