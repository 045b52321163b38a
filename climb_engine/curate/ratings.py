"""The file of ratings: a CSV with a line for each, and whose they are when the corpus has changed.

A rating hangs on a document's number, and on the digest of its text where the file has one: documents are inserted and
removed, and their numbers move on. curate/head.py learns from what is found here.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from climb_engine.config import TOP_SCORE, nearest
from climb_engine.types import METRICS, ClimbError, Ids, Vectors

COLUMNS = ("id", "metric", "rating")
DIGEST = "digest"
"""The optional column: the document's digest in the corpus, in hexadecimal, which spreadsheets leave as it is."""

Digests = npt.NDArray[np.uint64]


@dataclass(frozen=True)
class Rating:
    """One rating of one document. Raises ClimbError for what cannot be one."""

    id: int
    metric: str
    rating: float  # 0 to 5
    digest: int | None = None  # of the document's text, as the corpus has it; None: not known

    def __post_init__(self) -> None:
        if self.metric not in METRICS:
            raise ClimbError(f"no metric is called {self.metric!r}{nearest(self.metric, METRICS)}")
        if self.id < 0 or not 0 <= self.rating <= TOP_SCORE:
            raise ClimbError(f"document {self.id}, rating {self.rating:g}; ids begin at 0, ratings run from 0 to 5")
        if self.digest is not None and not 0 <= self.digest < 1 << 64:
            raise ClimbError(f"document {self.id}: a digest has 64 bits")


@dataclass(frozen=True, eq=False)
class Ratings:
    """What is known of some documents."""

    ids: Ids  # (n,) sorted, distinct
    values: Vectors  # (n, len(METRICS)) float32, 0 to 5, NaN where not rated


@dataclass(frozen=True)
class Followed:
    """Ratings by the documents' numbers in the corpus as it is now."""

    rows: tuple[Rating, ...]
    lost: tuple[Rating, ...]  # whose text is no longer in the corpus
    moved: int  # documents that have another number now

    @property
    def facts(self) -> dict[str, int]:
        """How many rated documents have moved, and how many are lost; for the manifest."""
        return {"moved": self.moved, "lost": len({(row.id, row.digest) for row in self.lost})}

    @property
    def ratings(self) -> Ratings:
        """The ratings of the documents that are there; of two for one thing the later counts."""
        rated: dict[int, dict[str, float]] = {}
        for row in self.rows:
            rated.setdefault(row.id, {})[row.metric] = row.rating
        return as_ratings(rated)


# --- the CSV --------------------------------------------------------------------------------------------------------


def read_ratings(path: Path, count: int | None = None, blanks: bool = False) -> list[Rating]:
    """The ratings in a CSV with the columns id, metric, rating and perhaps digest, line by line; others are ignored.

    count: documents of the corpus; one that is numbered beyond it and has no digest is an error.
    blanks: pass over lines without a rating, as a sheet has that is filled in.
    Raises ClimbError that names the line.
    """
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            rows = csv.DictReader(file)
            _check_columns(path, rows.fieldnames or ())
            wanted = (row for row in rows if not blanks or (row["rating"] or "").strip())
            return [_numbered(row, f"{path}:{rows.line_num}", count) for row in wanted]
        except UnicodeDecodeError as error:
            raise ClimbError(f"{path}: is not UTF-8 ({error}); save it as CSV in UTF-8") from error
        except csv.Error as error:
            raise ClimbError(f"{path}: cannot be read as CSV ({error})") from error


def add_ratings(path: Path, rows: Iterable[Rating]) -> None:
    """Append to a CSV, on the disk when this returns. The file is made, and given a column for digests, if need be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = path.read_bytes() if path.exists() else b""
    columns = _columns_of(path) if content.strip() else [*COLUMNS, DIGEST]
    if DIGEST not in columns:
        columns.append(DIGEST)
        content = _widened(path, content)
    with path.open("a", encoding="utf-8", newline="") as file:
        if content and not content.endswith(b"\n"):  # torn: what is added must not become part of it
            file.write("\n")
        writer = csv.DictWriter(file, columns, restval="", extrasaction="ignore", lineterminator="\n")
        if not content.strip():
            writer.writeheader()
        writer.writerows(_cells(row) for row in rows)
        file.flush()
        os.fsync(file.fileno())


def as_csv(rows: Iterable[Rating]) -> bytes:
    """The content of a file of its own for these ratings."""
    text = io.StringIO()
    writer = csv.DictWriter(text, [*COLUMNS, DIGEST], lineterminator="\n")
    writer.writeheader()
    writer.writerows(_cells(row) for row in rows)
    return text.getvalue().encode()


def latest(rows: Iterable[Rating]) -> list[Rating]:
    """Of several ratings for one thing only the last, sorted by document: the same ratings, the same list."""
    found: dict[tuple[int | None, int | None, str], Rating] = {}
    for row in rows:
        thing = (row.id if row.digest is None else None, row.digest, row.metric)
        found.pop(thing, None)
        found[thing] = row
    return sorted(found.values(), key=lambda row: (row.id, row.metric))


def parsed(cells: Mapping[str, str | None], where: str) -> Rating:
    """A rating from text: id, metric, rating and perhaps digest. ClimbError that begins with ``where``."""
    try:
        document, rating = int(cells["id"] or ""), float(cells["rating"] or "")
    except ValueError as error:
        raise ClimbError(f"{where}: id must be a whole number and rating a number ({error})") from error
    try:
        digest = int(cells.get(DIGEST) or "", 16) if (cells.get(DIGEST) or "").strip() else None
    except ValueError as error:
        raise ClimbError(f"{where}: digest must be a hexadecimal number, or empty ({error})") from error
    try:
        return Rating(document, (cells["metric"] or "").strip(), rating, digest)
    except ClimbError as error:
        raise ClimbError(f"{where}: {error}") from error


def digest_text(digest: int) -> str:
    """A digest as the CSV has it."""
    return f"{digest:#018x}"


def as_ratings(rated: Mapping[int, Mapping[str, float]]) -> Ratings:
    """Document id -> metric -> rating, as arrays."""
    ids = np.array(sorted(rated), dtype=np.int64)
    values = np.full((len(ids), len(METRICS)), np.nan, dtype=np.float32)
    for row, document in enumerate(ids.tolist()):
        for metric, rating in rated[document].items():
            values[row, METRICS.index(metric)] = rating
    return Ratings(ids, values)


def _numbered(cells: Mapping[str, str | None], where: str, count: int | None) -> Rating:
    row = parsed(cells, where)
    if count is not None and row.digest is None and row.id >= count:
        raise ClimbError(
            f"{where}: document {row.id} is rated, but the corpus ends at {count - 1}; "
            "were these ratings made for another corpus?"
        )
    return row


def _cells(row: Rating) -> dict[str, str | int]:
    digest = "" if row.digest is None else digest_text(row.digest)
    return {"id": row.id, "metric": row.metric, "rating": f"{row.rating:g}", DIGEST: digest}


def _columns_of(path: Path) -> list[str]:
    with path.open(encoding="utf-8-sig", newline="") as file:
        columns = next(csv.reader(file), [])
    _check_columns(path, columns)
    return columns


def _check_columns(path: Path, columns: Sequence[str]) -> None:
    if missing := sorted(set(COLUMNS) - set(columns)):
        raise ClimbError(f"{path}: has no column {', '.join(missing)}; a line is id,metric,rating, with commas")


def _widened(path: Path, content: bytes) -> bytes:
    """Name a further column in the first line; lines that end before it have no digest, and that is what they mean."""
    first, _, rest = content.partition(b"\n")
    made = first.rstrip(b"\r") + f",{DIGEST}\n".encode() + rest
    aside = path.with_name(f".tmp-{path.name}-{os.getpid()}")
    aside.write_bytes(made)
    aside.replace(path)
    return made


# --- documents whose numbers have changed ---------------------------------------------------------------------------


def follow(
    rows: Sequence[Rating], count: int, digests: Callable[[Ids], Digests], parts: Callable[[], Iterable[Digests]]
) -> Followed:
    """Whose the ratings are in a corpus of ``count`` documents; a rating without a digest stays where it is.

    digests: those of sorted document numbers. parts: all of them in order, read only when a document is elsewhere than
    its rating says, and of which only those of rated documents are held.
    """
    ids = np.unique(np.array([row.id for row in rows if row.digest is not None and row.id < count], dtype=np.int64))
    there = dict(zip(ids.tolist(), digests(ids).tolist(), strict=True)) if len(ids) else {}
    settled = [row.digest is None or there.get(row.id) == row.digest for row in rows]
    astray = {row.digest for row, good in zip(rows, settled, strict=True) if not good and row.digest is not None}
    place = dict(_found(astray, parts())) if astray else {}
    placed, lost, moved = [], [], set()
    for row, good in zip(rows, settled, strict=True):
        if good:
            placed.append(row)
        elif row.digest in place:
            placed.append(replace(row, id=place[row.digest]))
            moved.add((row.id, row.digest))
        else:
            lost.append(row)
    return Followed(tuple(placed), tuple(lost), len(moved))


def _found(wanted: set[int], parts: Iterable[Digests]) -> Iterator[tuple[int, int]]:
    """Digest and document number of those that are there; of copies of one text, the last."""
    sought = np.array(sorted(wanted), dtype=np.uint64)
    first = 0
    for part in parts:
        mine = np.flatnonzero(np.isin(part, sought))
        yield from zip(part[mine].tolist(), (mine + first).tolist(), strict=True)
        first += len(part)
