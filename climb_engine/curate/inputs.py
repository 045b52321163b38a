"""Which files a corpus is read from, and the rows of each: one reader per format, all of them streaming."""

from __future__ import annotations

import base64
import csv
import glob
import io
import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, partial
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from climb_engine.config import CorpusConfig
from climb_engine.packages import package_files
from climb_engine.types import ClimbError

Row = tuple[int, Sequence[Any], str]  # line or row from 1; the wanted columns; why it is no record, or ""

COLUMNS = ("id", "text", "source", "digest")

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
_BOM = b"\xef\xbb\xbf"
_GPT2_END = 50256  # <|endoftext|>
_JSON = json.JSONDecoder(strict=False)  # raw control characters in a string harm nobody


def find_files(config: CorpusConfig) -> tuple[Path, ...]:
    """The files that ``config.inputs`` names: in the given order, sorted inside a folder or glob, none twice.

    Hugging Face data sets (``hf:...``) have no files here. Raises ClimbError for no inputs, an input that is missing
    or matches nothing, an empty file, and a name whose format ``auto`` does not know.
    """
    return tuple(found for found in expand(config) if isinstance(found, Path))


def fingerprint(config: CorpusConfig) -> list[dict[str, str | int]]:
    """What the corpus's address is made of: name, place, size and time of each file; the id of each data set.

    A data set that is a local folder (``hf:/path``) counts its files too. Raises ClimbError as ``find_files`` does.
    """
    facts: list[dict[str, str | int]] = []
    for found in expand(config):
        if isinstance(found, Path):
            facts.append(_file_facts(found))
            continue
        facts.append({"id": found})
        folder = _hub_path(found)
        facts += [_file_facts(path) for path in sorted(folder.rglob("*")) if path.is_file()]
    return facts


# Which files, and how each is read


_Reader = Callable[["Input", CorpusConfig, int], Iterator[Row]]  # the rows behind the first so many


@dataclass(frozen=True)
class Input:
    """One file or data set, and what to read of it."""

    path: Path
    name: str  # in messages about rows
    reader: _Reader
    columns: tuple[str, ...]  # text or tokens, then the source's when one names it, then the kept ones
    source: str  # of its documents, when no column names it
    source_column: str = ""
    source_prefix: str = ""
    decode: Callable[[Any], Any] | None = None  # tokens -> text

    @property
    def written(self) -> bool:
        """Whether its numbers are written out as text."""
        return self.reader is _csv_rows

    def where(self, number: int) -> str:
        """File and row of a document, for people."""
        if self.reader is _text_rows:
            return self.name
        return f"{self.name}:{number}" if self.reader in (_json_rows, _csv_rows) else f"{self.name}:row {number}"


def expand(config: CorpusConfig) -> list[Path | str]:
    """The files and data sets that the inputs name, in order, none twice. ClimbError as ``find_files`` says."""
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


def make_input(found: Path | str, config: CorpusConfig) -> Input:
    """How one of ``expand``'s finds is read."""
    form = _format(found, config) if isinstance(found, Path) else config.format
    tokens = form in _TOKEN_FORMATS
    reader = _reader(found, form)
    column = config.source_column or ("cluster_id" if form == "climbmix" else "")
    column = "" if reader is _text_rows else column
    path = found if isinstance(found, Path) else _hub_path(found)
    source = path.name if path.exists() else str(found).removeprefix(_HUB)
    return Input(
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


def check_kept(config: CorpusConfig) -> None:
    """Raise ClimbError for a kept column that is named like one of the corpus's own."""
    if clash := sorted(set(config.keep_columns) & set(COLUMNS)):
        raise ClimbError(
            f"corpus.keep_columns: the corpus has its own {', '.join(COLUMNS)}; rename {', '.join(clash)} in the "
            "inputs, or leave it out"
        )
    if len(set(config.keep_columns)) < len(config.keep_columns):
        raise ClimbError(f"corpus.keep_columns names a column twice: {', '.join(config.keep_columns)}")


def _require(given: Input, config: CorpusConfig, there: Iterable[str], where: str = "") -> None:
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


def _json_rows(given: Input, config: CorpusConfig, skip: int) -> Iterator[Row]:
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


def _check_first(given: Input, config: CorpusConfig, record: dict[str, Any], where: str) -> None:
    if not record:
        raise ClimbError(f'{where}: every line must be a JSON object with a "{given.columns[0]}" field')
    _require(given, config, record, where)


def _csv_rows(given: Input, config: CorpusConfig, skip: int) -> Iterator[Row]:
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


def _text_rows(given: Input, config: CorpusConfig, skip: int) -> Iterator[Row]:
    _require(given, config, given.columns[:1])
    if skip:
        return
    most = 4 * config.max_chars + len(_BOM)  # more bytes than these are more characters than max_chars
    with _opened(given.path) as file:
        data = file.read(most + 1)
    yield 1, (data.removeprefix(_BOM),), "too-long" if len(data) > most else ""


def _parquet_rows(given: Input, config: CorpusConfig, skip: int) -> Iterator[Row]:
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


def _hub_rows(given: Input, config: CorpusConfig, skip: int) -> Iterator[Row]:
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
