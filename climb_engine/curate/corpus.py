"""Documents in: files of many formats, and Hugging Face data sets, become parts of one table.

A fault of a file (no such column, cut short) is a ClimbError. A fault of one document is a Rejection: counted by its
reason, with a few examples, and reading goes on.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal
from hashlib import blake2b
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from climb_engine.config import CorpusConfig
from climb_engine.curate.inputs import Input, Row, check_kept, expand, make_input
from climb_engine.types import Rejection

Digests = npt.NDArray[np.uint64]

EXAMPLES = 3  # rejections kept per reason

_RECENT = 1 << 16  # digests kept in a set before they are sorted into an array
_DIGITS = re.compile(r"-?(0|[1-9]\d{0,14})(\.\d+)?([eE][-+]?\d{1,3})?")  # "007" is a name


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
    check_kept(config)
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

    def rows(self) -> Iterator[tuple[Input, Row]]:
        """The rows that were not read yet, with where each is from."""
        for index, found in enumerate(expand(self.config)):
            if index < self._input:
                continue
            given = make_input(found, self.config)
            skip = self._row if index == self._input else 0
            self._input, self._row = index, skip
            for row in given.reader(given, self.config, skip):
                yield given, row

    def judge(self, given: Input, values: Sequence[Any], fault: str) -> _Document:
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

    def _fit(self, given: Input, name: str, value: Any) -> float | str | None:
        if value is None or value == "":
            return None
        if name not in self.kinds:
            self.kinds[name] = "number" if _is_number(value, written=given.written) else "text"
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


def _decoded(value: Any, given: Input) -> Any:
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
