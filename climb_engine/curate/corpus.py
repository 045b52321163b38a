"""Documents in: files of many formats, and Hugging Face data sets, become parts of one table.

A fault of a file (no such column, cut short) is a ClimbError. A fault of one document is a Rejection: counted by its
reason, with a few examples, and reading goes on.
"""

from __future__ import annotations

import base64
import csv
import glob
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from decimal import Decimal
from functools import cache, partial
from hashlib import blake2b
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from climb_engine.config import CorpusConfig
from climb_engine.packages import package_files
from climb_engine.types import ClimbError, Rejection

Digests = npt.NDArray[np.uint64]
Row = tuple[int, Sequence[Any], str]  # line or row from 1; the wanted columns; why it is no record, or ""

COLUMNS = ("id", "text", "source", "digest")
EXAMPLES = 3  # rejections kept per reason

_COMPRESSIONS = {".gz": "gzip", ".zst": "zstd"}
_SUFFIXES = {
    "jsonl": (".jsonl", ".ndjson", ".json"),
    "parquet": (".parquet",),
    "csv": (".csv", ".tsv"),
    "txt": (".txt", ".md"),
    "climblab": (".tokenized.parquet", ".tokenized.jsonl"),
    "climbmix": (".tokenized.jsonl", ".tokenized.parquet"),
}
_TOKEN_FORMATS = ("climblab", "climbmix")
_HUB = "hf:"
_LONGEST = 1 << 28  # bytes of a line, characters of a CSV field: beyond, the file is not what its name says
_BATCH = 256  # rows of a Parquet file decoded at once
_RECENT = 1 << 16  # digests kept in a set before they are sorted into an array
_BOM = b"\xef\xbb\xbf"
_GPT2_END = 50256  # <|endoftext|>
_DIGITS = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d+)?([eE][-+]?\d{1,3})?")  # "007" is a name
_JSON = json.JSONDecoder(strict=False)  # raw control characters in a string harm nobody


@dataclass(frozen=True)
class CorpusState:
    """How far reading has come, and what became of the records so far. Plain JSON to and fro."""

    records: int = 0  # read: accepted and rejected
    documents: int = 0  # accepted
    rejected: Mapping[str, int] = field(default_factory=dict)  # reason -> records
    examples: Mapping[str, tuple[Rejection, ...]] = field(default_factory=dict)  # reason -> the first few
    input: int = 0  # index of the file or data set being read
    row: int = 0  # records of it that were read
    kinds: Mapping[str, str] = field(default_factory=dict)  # kept column -> "number" or "text"
    finished: bool = False  # nothing is left to read

    def as_json(self) -> dict[str, Any]:
        """Numbers, strings, lists and dicts only."""
        examples = {
            reason: [{"reason": r.reason, "where": r.where, "sample": r.sample} for r in rejections]
            for reason, rejections in self.examples.items()
        }
        plain = {**vars(self), "rejected": dict(self.rejected), "kinds": dict(self.kinds)}
        return {**plain, "examples": examples}

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> CorpusState:
        """The state that ``as_json`` wrote."""
        examples = {reason: tuple(Rejection(**r) for r in found) for reason, found in values["examples"].items()}
        return cls(**{**values, "examples": examples})


class SeenDigests:
    """Digests met so far, at 8 bytes each: a small set of recent ones, and sorted arrays that shrink by 4 or more."""

    def __init__(self, digests: Iterable[Digests] = ()) -> None:
        self._recent: set[int] = set()
        self._sorted: list[Digests] = []
        for some in digests:
            self._merge(np.array(some, dtype=np.uint64))

    def add(self, digest: int) -> bool:
        """Take in one digest; False when it was there before."""
        if digest in self._recent:
            return False
        key = np.uint64(digest)
        for known in self._sorted:
            at = known.searchsorted(key)
            if at < known.size and known[at] == key:
                return False
        self._recent.add(digest)
        if len(self._recent) == _RECENT:
            self._merge(np.fromiter(self._recent, np.uint64, _RECENT))
            self._recent = set()
        return True

    def _merge(self, digests: Digests) -> None:
        while self._sorted and self._sorted[-1].size < 4 * digests.size:
            digests = np.concatenate([self._sorted.pop(), digests])
        digests.sort()
        self._sorted.append(digests)


def find_files(config: CorpusConfig) -> tuple[Path, ...]:
    """The files that ``config.inputs`` names: in the given order, sorted inside a folder or glob, none twice.

    Hugging Face data sets (``hf:...``) have no files here. Raises ClimbError for no inputs, an input that is missing
    or matches nothing, an empty file, and a name whose format ``auto`` does not know.
    """
    return tuple(found for found in _expand(config) if isinstance(found, Path))


def fingerprint(config: CorpusConfig) -> list[dict[str, str | int]]:
    """What the corpus's address is made of: name, place, size and time of each file; the id of each data set.

    A data set that is a local folder (``hf:/path``) counts its files too. Raises ClimbError as ``find_files`` does.
    """
    facts: list[dict[str, str | int]] = []
    for found in _expand(config):
        if isinstance(found, Path):
            facts.append(_file_facts(found))
            continue
        facts.append({"id": found})
        folder = _hub_path(found)
        facts += [_file_facts(path) for path in sorted(folder.rglob("*")) if path.is_file()]
    return facts


def corpus_parts(
    config: CorpusConfig, state: CorpusState | None = None, digests: Iterable[Digests] = ()
) -> Iterator[tuple[pa.Table, CorpusState]]:
    """Read the inputs part by part: (id int64, text, source string, digest uint64, kept columns) and the state after.

    Given the state after a part and the digests of all parts so far, the next parts are those of an undisturbed run.
    Only the last state is ``finished``; its part is empty only when no document at all was accepted. A kept column is
    float64 when its first value is a number, else string (parts before its first value: float64, all null).
    Memory: one part, and 8 bytes per document.
    Raises ClimbError for a fault of a file; a fault of a document is counted in the state.
    """
    state = CorpusState() if state is None else state
    if state.finished:
        return
    _check_kept(config)
    intake = _Intake(config, state, digests)
    part = _Part(config, state.documents)
    for given, (number, values, fault) in intake.rows():
        try:
            document = intake.judge(given, values, fault)
        except _RecordError as error:
            intake.reject(error.reason, given.where(number), values[0] if error.sample is None else error.sample)
            continue
        # A part closes when the next document comes, so that rejections behind the last one belong to it.
        if part.is_full_for(document):
            yield part.table(intake.kinds), intake.state()
            part = _Part(config, intake.documents)
        part.add(document)
        intake.accept()
        if intake.documents == config.max_documents:
            break
    yield part.table(intake.kinds), replace(intake.state(), finished=True)


# Which files, and how each is read


_Reader = Callable[["_Input", CorpusConfig, int], Iterator[Row]]  # the rows behind the first so many


@dataclass(frozen=True)
class _Input:
    """One file or data set, and what to read of it."""

    path: Path
    name: str  # in messages about rows
    reader: _Reader
    columns: tuple[str, ...]  # text or tokens, then the source's when one names it, then the kept ones
    source: str  # of its documents, when no column names it
    source_column: str = ""
    source_prefix: str = ""
    decode: Callable[[Any], Any] | None = None  # tokens -> text

    def where(self, number: int) -> str:
        if self.reader is _text_rows:
            return self.name
        return f"{self.name}:{number}" if self.reader in (_json_rows, _csv_rows) else f"{self.name}:row {number}"


def _expand(config: CorpusConfig) -> list[Path | str]:
    if not config.inputs:
        raise ClimbError("corpus.inputs is empty; name files, folders, globs, or hf:owner/name")
    found: dict[Path | str, Path | str] = {}  # what it really is -> as given
    for given in config.inputs:
        if given.startswith(_HUB):
            if given == _HUB:
                raise ClimbError("hf: names no data set; write hf:owner/name")
            found.setdefault(given, given)
            continue
        try:
            found |= {path.resolve(): path for path in _matches(given, config.format) if path.resolve() not in found}
        except OSError as error:
            raise ClimbError(f"{given}: cannot be looked up ({error}); check corpus.inputs") from error
    files = [path for path in found.values() if isinstance(path, Path)]
    if empty := [str(path) for path in files if path.stat().st_size == 0]:
        raise ClimbError(f"empty (0 bytes): {_some(empty)}; remove or replace what was not written")
    for path in files:
        _format(path, config)
    return list(found.values())


def _matches(given: str, form: str) -> list[Path]:
    path = Path(given).expanduser()
    if path.is_dir():
        if files := _folder(path, form):
            return files
        raise ClimbError(f"{given}: the folder holds no file of a known kind; known are {_known(form)}")
    if path.exists():
        return [path]
    if not glob.has_magic(given):
        raise ClimbError(f"{given}: there is no such file or folder; check corpus.inputs")
    matches = [Path(match) for match in sorted(glob.glob(str(path), recursive=True))]  # noqa: PTH207 (may be absolute)
    files = [file for match in matches for file in (_folder(match, form) if match.is_dir() else [match])]
    if not files:
        raise ClimbError(f"{given}: no file matches; check corpus.inputs")
    return files


def _folder(folder: Path, form: str) -> list[Path]:
    return sorted(
        path
        for path in folder.rglob("*")
        if _plain_name(path).endswith(_suffixes(form))
        and not any(part.startswith(".") for part in path.relative_to(folder).parts)
        and path.is_file()
    )


def _plain_name(path: Path) -> str:
    """The name in lower case, without .gz or .zst."""
    name = path.name.lower()
    plain = name[: -len(path.suffix)] if path.suffix.lower() in _COMPRESSIONS else name
    return name if plain.endswith(".parquet") else plain


def _suffixes(form: str) -> tuple[str, ...]:
    return _SUFFIXES[form] if form != "auto" else tuple(dict.fromkeys(s for some in _SUFFIXES.values() for s in some))


def _known(form: str) -> str:
    return ", ".join(_suffixes(form)) + " (but for Parquet also with .gz or .zst)"


def _format(path: Path, config: CorpusConfig) -> str:
    if config.format != "auto":
        return config.format
    name = _plain_name(path)
    if name.endswith(_SUFFIXES["climblab"]):
        lab = path.parent.name.startswith("cluster_") and name.endswith(".parquet")
        return "climblab" if lab else "climbmix"
    for form, suffixes in _SUFFIXES.items():
        if name.endswith(suffixes):
            return form
    raise ClimbError(
        f"{path}: the suffix {path.suffix!r} is not known; known are {_known('auto')}; or say it in corpus.format"
    )


def _input(found: Path | str, config: CorpusConfig) -> _Input:
    form = _format(found, config) if isinstance(found, Path) else config.format
    tokens = form in _TOKEN_FORMATS
    reader = _reader(found, form)
    column = config.source_column or ("cluster_id" if form == "climbmix" else "")
    column = "" if reader is _text_rows else column
    path = found if isinstance(found, Path) else _hub_path(found)
    source = path.name if path.exists() else str(found).removeprefix(_HUB)
    return _Input(
        path=path,
        name=path.name if isinstance(found, Path) else found,
        reader=reader,
        columns=("tokens" if tokens else config.text_column, *([column] if column else []), *config.keep_columns),
        source=path.parent.name if form == "climblab" and isinstance(found, Path) else source,
        source_column=column,
        source_prefix="cluster-" if form == "climbmix" and column == "cluster_id" else "",
        decode=_decoder(config.tokenizer) if tokens else None,
    )


def _reader(found: Path | str, form: str) -> _Reader:
    if isinstance(found, str):
        return _hub_rows
    if form in _TOKEN_FORMATS:
        return _parquet_rows if _plain_name(found).endswith(".parquet") else _json_rows
    return {"parquet": _parquet_rows, "csv": _csv_rows, "txt": _text_rows}.get(form, _json_rows)


def _hub_path(found: str) -> Path:
    return Path(found.removeprefix(_HUB)).expanduser()


def _file_facts(path: Path) -> dict[str, str | int]:
    stat = path.stat()
    return {"path": str(path), "resolved": str(path.resolve()), "size": stat.st_size, "mtime_ns": stat.st_mtime_ns}


def _check_kept(config: CorpusConfig) -> None:
    if clash := sorted(set(config.keep_columns) & set(COLUMNS)):
        raise ClimbError(
            f"corpus.keep_columns: the corpus has its own {', '.join(COLUMNS)}; rename {', '.join(clash)} in the "
            "inputs, or leave it out"
        )
    if len(set(config.keep_columns)) < len(config.keep_columns):
        raise ClimbError(f"corpus.keep_columns names a column twice: {', '.join(config.keep_columns)}")


def _require(given: _Input, config: CorpusConfig, there: Iterable[str], where: str = "") -> None:
    columns = list(there)
    for index, column in enumerate(given.columns):
        if column not in columns:
            if index > bool(given.source_column):
                knob = "keep_columns"
            elif index:
                knob = "source_column" if config.source_column else "format"
            else:
                knob = "format" if given.decode else "text_column"
            raise ClimbError(
                f"{where or given.path}: there is no column {column!r} (see corpus.{knob}); "
                f"the columns are {_some(columns) or 'none'}"
            )


def _some(names: Sequence[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


# Readers: the rows of one file behind the first ``skip``


@contextmanager
def _opened(path: Path) -> Iterator[io.BufferedReader]:
    """A file's bytes, decompressed by its suffix. Arrow's streams are fast and refuse data that was cut short."""
    try:
        raw = pa.OSFile(str(path))
    except OSError as error:
        raise ClimbError(f"{path}: cannot be opened ({error})") from error
    compression = _COMPRESSIONS.get(path.suffix.lower())
    with raw:
        try:
            yield io.BufferedReader(pa.CompressedInputStream(raw, compression) if compression else raw, 1 << 20)
        except (OSError, pa.ArrowException) as error:
            raise ClimbError(
                f"{path}: damaged or cut short near byte {raw.tell()} ({error}); write or fetch it again"
            ) from error


def _json_rows(given: _Input, config: CorpusConfig, skip: int) -> Iterator[Row]:
    record = 0
    with _opened(given.path) as file:
        for number, line in enumerate(iter(partial(file.readline, _LONGEST), b""), 1):
            if line.isspace():
                continue
            if len(line) == _LONGEST:
                raise ClimbError(f"{given.path}:{number}: a line of over {_LONGEST} bytes; is this JSON Lines?")
            record += 1
            if record <= skip:
                continue
            values, fault = _parse(line.removeprefix(_BOM) if number == 1 else line)
            if record == 1:
                _check_first(given, config, values, f"{given.path}:{number}")
            if fault:
                yield number, (line,), fault
            else:
                yield number, [values.get(column) for column in given.columns], ""


def _parse(line: bytes) -> tuple[dict[str, Any], str]:
    try:
        record = _JSON.decode(line.decode())
    except UnicodeDecodeError:
        return {}, "not-utf8"
    except (ValueError, RecursionError):
        return {}, "not-json"
    return (record, "") if isinstance(record, dict) else ({}, "not-an-object")


def _check_first(given: _Input, config: CorpusConfig, record: dict[str, Any], where: str) -> None:
    if not record:
        raise ClimbError(f'{where}: every line must be a JSON object with a "{given.columns[0]}" field')
    _require(given, config, record, where)


def _csv_rows(given: _Input, config: CorpusConfig, skip: int) -> Iterator[Row]:
    csv.field_size_limit(_LONGEST)  # process-wide; the default of 128 KiB is shorter than documents are
    tabs = _plain_name(given.path).endswith(".tsv")
    with _opened(given.path) as file:
        text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
        rows = _fields(csv.reader(text, delimiter="\t" if tabs else ",", strict=True), given.path)
        _, header, _ = next(rows, (0, [], ""))
        _require(given, config, header)
        at = [header.index(column) for column in given.columns]
        for number, fields, fault in islice(rows, skip, None):
            if fault or len(fields) != len(header):
                yield number, (" | ".join(fields),), "bad-row"
            else:
                yield number, [fields[i] for i in at], ""


def _fields(reader: Any, path: Path) -> Iterator[tuple[int, list[str], str]]:
    """First line, fields and fault of each row that is not blank; a row with misplaced quotes says so."""
    while True:
        number = reader.line_num + 1
        try:
            fields = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if "expected after" not in str(error):
                raise ClimbError(f"{path}:{number}: {error}; is a quote left open there?") from error
            yield number, [str(error)], "bad-row"
            continue
        if fields:
            yield number, fields, ""


def _text_rows(given: _Input, config: CorpusConfig, skip: int) -> Iterator[Row]:
    _require(given, config, given.columns[:1])
    if skip:
        return
    most = 4 * config.max_chars + len(_BOM)  # more bytes than these are more characters than max_chars
    with _opened(given.path) as file:
        data = file.read(most + 1)
    yield 1, (data.removeprefix(_BOM),), "too-long" if len(data) > most else ""


def _parquet_rows(given: _Input, config: CorpusConfig, skip: int) -> Iterator[Row]:
    number = skip
    try:
        with pq.ParquetFile(given.path, buffer_size=1 << 20, pre_buffer=False, page_checksum_verification=True) as file:
            _require(given, config, file.schema_arrow.names)
            groups, number = _groups_behind(file.metadata, skip)
            columns = list(dict.fromkeys(given.columns))
            for batch in file.iter_batches(_BATCH, row_groups=groups, columns=columns, use_threads=False):
                rows = zip(*(_as_list(batch.column(column)) for column in given.columns), strict=True)
                for values in rows:
                    number += 1
                    if number > skip:
                        yield number, values, ""
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise ClimbError(
            f"{given.path}: damaged or cut short behind row {number} ({error}); write or fetch it again"
        ) from error


def _groups_behind(metadata: Any, skip: int) -> tuple[list[int], int]:
    """The row groups that hold the rows behind the first ``skip``, and how many rows come before those groups."""
    before = 0
    for group in range(metadata.num_row_groups):
        rows = metadata.row_group(group).num_rows
        if before + rows > skip:
            return list(range(group, metadata.num_row_groups)), before
        before += rows
    return [], before


def _as_list(column: Any) -> list[Any]:
    """Values as Python has them, but strings as bytes: Arrow would fail for a whole batch at one that is not UTF-8."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        column = column.cast(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary())
    values: list[Any] = column.to_pylist()
    return values


def _hub_rows(given: _Input, config: CorpusConfig, skip: int) -> Iterator[Row]:
    local = given.path.exists()
    name = str(given.path) if local else given.name.removeprefix(_HUB)
    try:
        from datasets import load_dataset

        revision = None if local else config.hf_revision or None
        data = load_dataset(name, config.hf_config or None, split=config.hf_split, revision=revision, streaming=True)
        if data.column_names:
            _require(given, config, data.column_names, given.name)
            data = data.select_columns(list(dict.fromkeys(given.columns)))
        for number, record in enumerate(data.skip(skip), skip + 1):
            if number == 1:
                _require(given, config, record, given.name)
            yield number, [record.get(column) for column in given.columns], ""
    except ClimbError:
        raise
    except Exception as error:  # the hub client raises whatever its many layers raise
        raise ClimbError(
            f"{given.name}: the data set cannot be read ({type(error).__name__}: {error}); check its name, "
            f"corpus.hf_config and corpus.hf_split ({config.hf_split!r}), the network and HF_TOKEN, or download it "
            "and give its folder"
        ) from error


# Tokens back to text


@cache
def _decoder(tokenizer: str) -> Callable[[Any], Any]:
    """Token ids -> UTF-8 bytes or text. KeyError, TypeError or OverflowError for what are not ids of it."""
    if tokenizer == "gpt2":
        return _gpt2_decoder()
    try:
        loaded_decode, size = _load_tokenizer(tokenizer)
    except Exception as error:  # each kind of tokenizer fails in its own way
        raise ClimbError(
            f"corpus.tokenizer {tokenizer!r} cannot be loaded ({type(error).__name__}: {error}); "
            "give 'gpt2', the id of a tokenizer on the hub, or the path of one"
        ) from error

    def decode(ids: Any) -> Any:
        if ids and not 0 <= min(ids) <= max(ids) < size:
            raise KeyError("no such token")
        return loaded_decode(ids)

    return decode


def _load_tokenizer(tokenizer: str) -> tuple[Callable[[Any], str], int]:
    """How a tokenizer decodes, and the size of its vocabulary."""
    local = Path(tokenizer).expanduser()
    if local.is_file():
        from tokenizers import Tokenizer

        fast = Tokenizer.from_file(str(local))
        return partial(fast.decode, skip_special_tokens=True), fast.get_vocab_size()
    from transformers import AutoTokenizer

    loaded = AutoTokenizer.from_pretrained(str(local) if local.is_dir() else tokenizer)
    return partial(loaded.decode, skip_special_tokens=True, clean_up_tokenization_spaces=False), len(loaded)


def _gpt2_decoder() -> Callable[[Any], bytes]:
    ranks = package_files("openai-whisper").read("whisper/assets/gpt2.tiktoken").split()
    pieces = {int(rank): base64.b64decode(piece) for piece, rank in zip(ranks[::2], ranks[1::2], strict=True)}
    pieces[_GPT2_END] = b""

    def decode(ids: Any) -> bytes:
        return b"".join([pieces[i] for i in ids])

    return decode


# Records to documents


class _RecordError(Exception):
    """A record that does not become a document."""

    def __init__(self, reason: str, sample: Any = None) -> None:
        self.reason = reason
        self.sample = sample  # when it is not the text that is at fault


class _Document(NamedTuple):
    text: str
    source: str
    digest: int
    kept: list[float | str | None]


class _Intake:
    """What a run of reading remembers: the digests met, the kinds of the kept columns, and the counts."""

    def __init__(self, config: CorpusConfig, state: CorpusState, digests: Iterable[Digests]) -> None:
        self.config = config
        self.kinds = dict(state.kinds)
        self.documents = state.documents
        self._seen = SeenDigests(digests)
        self._records, self._input, self._row = state.records, state.input, state.row
        self._rejected = dict(state.rejected)
        self._examples = dict(state.examples)

    def rows(self) -> Iterator[tuple[_Input, Row]]:
        """The rows that were not read yet, with where each is from."""
        for index, found in enumerate(_expand(self.config)):
            if index < self._input:
                continue
            given = _input(found, self.config)
            skip = self._row if index == self._input else 0
            self._input, self._row = index, skip
            for row in given.reader(given, self.config, skip):
                yield given, row

    def judge(self, given: _Input, values: Sequence[Any], fault: str) -> _Document:
        """The document that a record is; raises _RecordError."""
        if fault:
            raise _RecordError(fault)
        text = _text(_decoded(values[0], given))
        digest = _checked_digest(text, self.config)
        named = _string(values[1]) if given.source_column else ""
        kept = values[len(given.columns) - len(self.config.keep_columns) :] if self.config.keep_columns else ()
        fitted = [self._fit(given, *pair) for pair in zip(self.config.keep_columns, kept, strict=True)]
        if self.config.deduplicate and not self._seen.add(digest):
            raise _RecordError("duplicate")
        return _Document(text, given.source_prefix + named if named else given.source, digest, fitted)

    def accept(self) -> None:
        self._count()
        self.documents += 1

    def reject(self, reason: str, where: str, sample: Any) -> None:
        self._count()
        self._rejected[reason] = self._rejected.get(reason, 0) + 1
        if self._rejected[reason] <= EXAMPLES:
            rejection = Rejection(reason, where, _sample(sample))
            self._examples[reason] = (*self._examples.get(reason, ()), rejection)

    def state(self) -> CorpusState:
        return CorpusState(
            self._records,
            self.documents,
            dict(self._rejected),
            dict(self._examples),
            self._input,
            self._row,
            dict(self.kinds),
        )

    def _count(self) -> None:
        self._records += 1
        self._row += 1

    def _fit(self, given: _Input, name: str, value: Any) -> float | str | None:
        if value is None or value == "":
            return None
        if name not in self.kinds:
            self.kinds[name] = "number" if _is_number(value, written=given.reader is _csv_rows) else "text"
        if self.kinds[name] == "text":
            return _string(value)
        try:
            return float(value)
        except (TypeError, ValueError, OverflowError):
            raise _RecordError("bad-column", f"{name}: {_sample(value)}") from None


class _Part:
    """The documents of the part being filled."""

    def __init__(self, config: CorpusConfig, first: int) -> None:
        self._config = config
        self._first = first
        self._documents: list[_Document] = []
        self._chars = 0

    def is_full_for(self, document: _Document) -> bool:
        if not self._documents:
            return False
        chars = self._chars + len(document.text)
        return len(self._documents) == self._config.part_documents or chars > self._config.part_chars

    def add(self, document: _Document) -> None:
        self._documents.append(document)
        self._chars += len(document.text)

    def table(self, kinds: dict[str, str]) -> pa.Table:
        """All of it. A kept column that had no value so far is taken for numbers."""
        documents = self._documents
        columns = {
            "id": pa.array(range(self._first, self._first + len(documents)), pa.int64()),
            "text": pa.array([d.text for d in documents], pa.string()),
            "source": pa.array([d.source for d in documents], pa.string()),
            "digest": pa.array([d.digest for d in documents], pa.uint64()),
        }
        for index, name in enumerate(self._config.keep_columns):
            kind = pa.float64() if kinds.get(name, "number") == "number" else pa.string()
            columns[name] = pa.array([d.kept[index] for d in documents], kind)
        return pa.table(columns)


def _decoded(value: Any, given: _Input) -> Any:
    if given.decode is None or value is None:
        return value
    if not isinstance(value, list):
        raise _RecordError("not-tokens")
    try:
        return given.decode(value)
    except (KeyError, TypeError, OverflowError):
        raise _RecordError("not-tokens") from None


def _text(value: Any) -> str:
    if value is None:
        raise _RecordError("no-text")
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            raise _RecordError("not-utf8") from None
    if not isinstance(value, str):
        raise _RecordError("not-a-string")
    return value


def _checked_digest(text: str, config: CorpusConfig) -> int:
    stripped = text.strip()
    if not stripped:
        raise _RecordError("empty")
    if len(text) < config.min_chars:
        raise _RecordError("too-short")
    if len(text) > config.max_chars:
        raise _RecordError("too-long")
    try:
        data = stripped.encode()
    except UnicodeEncodeError:  # lone surrogates
        raise _RecordError("not-utf8") from None
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "little")


def _is_number(value: Any, written: bool) -> bool:
    """A number that a float holds (longer identifiers are better off as text), or one ``written`` as digits."""
    if written and isinstance(value, str):
        return _DIGITS.fullmatch(value) is not None
    try:
        whole = not isinstance(value, int) or float(value) == value
        return whole and isinstance(value, (int, float, Decimal))
    except OverflowError:
        return False


def _string(value: Any) -> str:
    """Any value as text that is valid UTF-8; "" for None."""
    if value is None:
        return ""
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, (list, dict)):
        value = json.dumps(value, ensure_ascii=False, default=str)
    return str(value).encode(errors="replace").decode()


def _sample(value: Any) -> str:
    return _string(value[:100] if isinstance(value, (bytes, str, list)) else value)[:100].strip()
