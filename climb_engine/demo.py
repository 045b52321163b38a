"""The demo corpus: real public text out of pinned packages, the same documents on every machine.

``data/sources.toml`` says what is taken from where. A parser turns a member of a package into records (an article, a
speech, a source file); records become documents of ``SHORTEST`` to ``LONGEST`` characters, split at the best boundary
there is. Some exact duplicates and empty texts are put in on purpose, so that reading the corpus has faults to count.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import hashlib
import html
import io
import json
import re
import textwrap
import tomllib
import unicodedata
import zipfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from climb_engine.config import RunConfig
from climb_engine.packages import package_files
from climb_engine.types import ClimbError, Event, Report, silent
from climb_engine.workspace import write_atomically

DATA = Path(__file__).parents[1] / "data"
SHORTEST, LONGEST = 300, 1800  # characters of a document
ENOUGH = 800  # a document this long takes no further paragraph
DUPLICATE_EVERY, EMPTY_EVERY = 150, 400  # planted faults: together about 1 % of the documents


@dataclass(frozen=True)
class Source:
    """One table of ``sources.toml``, which says what each field means."""

    name: str
    package: str
    prefix: str
    kind: str
    licence: str
    cap: int
    suffix: str = ""
    members: int = 0  # 0: all
    column: str = ""
    where: str = ""
    short: bool = False
    raw: bool = False
    keep: str = ""
    drop: str = ""
    cut: str = ""


@dataclass(frozen=True)
class Row:
    """One line of the corpus file."""

    text: str
    source: str
    licence: str


def demo_config() -> RunConfig:
    """The config of the demo run, its inputs still to be named."""
    return RunConfig.load(DATA / "demo.toml")


def build_corpus(folder: Path, report: Report = silent) -> Path:
    """Write ``folder/documents.jsonl.zst`` (keys text, source, licence) unless it is there, and return its path.

    The file appears under its name only when it is complete. Raises ClimbError when the list of sources is missing or
    a package cannot be downloaded.
    """
    path = folder / "documents.jsonl.zst"
    if path.exists():
        return path
    sources = load_sources(DATA / "sources.toml")
    rows: dict[str, Row] = {}  # by text: what is found twice counts once, so that all duplicates are planted ones
    total = sum(source.cap for source in sources)
    for source in sources:
        report(Event("demo corpus", len(rows), total, "documents", {"source": source.name}))
        found = [text for text in dict.fromkeys(documents(source)) if text not in rows]
        taken = evenly(found, source.cap)
        rows.update((text, Row(text, source.name, source.licence)) for text in taken)
        total -= source.cap - len(taken)
    planted = shuffled(plant(list(rows.values())))
    write_atomically(path, _encoded(planted))
    report(Event("demo corpus", len(planted), len(planted), "documents"))
    return path


def load_sources(path: Path) -> tuple[Source, ...]:
    """The sources of a TOML file, in its order."""
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))["source"]
    except FileNotFoundError as error:
        raise ClimbError(
            f"{path}: no such file; the demo runs from a checkout of the repository: clone it and install it there "
            "with 'pip install -e .'"
        ) from error
    return tuple(Source(**table) for table in tables)


# Records to documents


def documents(source: Source) -> Iterator[str]:
    """All the texts of a source, within the bounds of length, in the order of its package."""
    members = package_files(source.package).matching(source.prefix, source.suffix, source.members)
    texts = (text for name, content in members for text in PARSERS[source.kind](unpacked(name, content), source))
    kept = filter(None, (_edited(text, source) for text in texts))
    pieces = pack(kept, "\n", SHORTEST) if source.short else (piece for record in kept for piece in split(record))
    for piece in pieces:
        text = piece.strip("\n").rstrip() if source.raw else piece.strip()
        if SHORTEST <= len(text) <= LONGEST:
            yield text


def _edited(text: str, source: Source) -> str:
    if source.keep and not re.search(source.keep, text):
        return ""
    if source.drop and re.search(source.drop, text):
        return ""
    text = re.sub(source.cut, "", text) if source.cut else text
    return text if source.raw else tidy(text)


def tidy(text: str) -> str:
    """Prose with single spaces, at most one empty line, composed characters, and no invisible ones."""
    text = unicodedata.normalize("NFC", text).replace("\r\n", "\n")
    text = re.sub(r"[\u00ad\u200b-\u200f\ufeff]", "", text)
    text = re.sub(r"[^\S\n]+", " ", text)
    return re.sub(r"\n{3,}", "\n\n", re.sub(r" ?\n ?", "\n", text)).strip()


# Where a long text may be parted, best first: pattern, and what joins the parts again.
BOUNDARIES = (
    (r"\n(?=@|def |async def |class )", "\n"),
    (r"\n(?:[^\S\n]*\n)+", "\n\n"),
    (r"\n", "\n"),
    (r"(?<=[.!?;]) ", " "),
    (r" ", " "),
)


def split(text: str, level: int = 0) -> list[str]:
    """Part a text longer than ``LONGEST`` at the best boundaries; its parts, joined, are the text."""
    if len(text) <= LONGEST:
        return [text]
    if level == len(BOUNDARIES):
        return [text[i : i + LONGEST] for i in range(0, len(text), LONGEST)]
    pattern, joiner = BOUNDARIES[level]
    return list(pack((piece for part in re.split(pattern, text) for piece in split(part, level + 1)), joiner))


def pack(parts: Iterable[str], joiner: str, enough: int = ENOUGH) -> Iterator[str]:
    """Join neighbours until they have ``enough`` characters, never beyond ``LONGEST``."""
    current = ""
    for part in parts:
        joined = current + joiner + part if current else part
        if current and (len(current) >= enough or len(joined) > LONGEST):
            yield current
            joined = part
        current = joined
    if current:
        yield current


def evenly(texts: list[str], most: int) -> list[str]:
    """At most so many, evenly spaced."""
    return texts if len(texts) <= most else [texts[i * len(texts) // most] for i in range(most)]


def plant(rows: list[Row]) -> list[Row]:
    """The rows, some of them a second time, some also with their text lost."""
    return rows + rows[::DUPLICATE_EVERY] + [replace(row, text="") for row in rows[::EMPTY_EVERY]]


def shuffled(rows: list[Row]) -> list[Row]:
    """In an order that depends on nothing but their number, and on no library's generator."""
    order = sorted(range(len(rows)), key=lambda i: hashlib.sha256(b"%d" % i).digest())
    return [rows[i] for i in order]


# Members of packages to records, one function per kind


def unpacked(name: str, content: bytes) -> str:
    """The text of a member, out of the archive that it may be in turn (the first file of a zip)."""
    if name.endswith(".gz"):
        content = gzip.decompress(content)
    elif name.endswith(".bz2"):
        content = bz2.decompress(content)
    elif name.endswith(".zip"):
        with zipfile.ZipFile(io.BytesIO(content)) as inner:
            content = inner.read(inner.namelist()[0])
    return content.decode("utf-8-sig").replace("\r\n", "\n")


def plain(text: str, _: Source) -> Iterator[str]:
    """One record: the text, without the YAML block it may begin with."""
    yield re.sub(r"\A---\n.*?\n---\n", "", text, count=1, flags=re.DOTALL)


def lines(text: str, _: Source) -> Iterator[str]:
    """Every line is a record."""
    yield from text.splitlines()


def table(text: str, source: Source) -> Iterator[str]:
    """Every row of a CSV or tab-separated table is a record: ``source.column``, where ``source.where`` holds."""
    header = text.partition("\n")[0]
    column, _, value = source.where.partition("=")
    for row in csv.DictReader(io.StringIO(text), delimiter="\t" if "\t" in header else ","):
        if not column or row[column] == value:
            yield html.unescape(row[source.column] or "")


def quoted(text: str, _: Source) -> Iterator[str]:
    """One record: the first triple-quoted string of a Python module; each of its lines is a paragraph."""
    yield text.split('"""')[1].replace("\n", "\n\n")


def code(text: str, _: Source) -> Iterator[str]:
    """One record: a Python module without the comment and the docstring it begins with."""
    yield re.sub(r'\A(?:\s*#[^\n]*\n)*\s*(?:r?""".*?"""\n)?', "", text, count=1, flags=re.DOTALL)


def docstrings(text: str, _: Source) -> Iterator[str]:
    """Every triple-quoted string of a Python module is a record, its indentation removed."""
    for string in re.findall(r'"""(.*?)"""', text, flags=re.DOTALL):
        first, _, rest = string.partition("\n")
        yield f"{first.strip()}\n{textwrap.dedent(rest)}".strip()


def speeches(text: str, _: Source) -> Iterator[str]:
    """Every speech of a JSON list of parties is a record; each of its lines is a paragraph."""
    for party in json.loads(text):
        yield from (speech.replace("\n", "\n\n") for speech in party["speeches"])


def botocore(text: str, _: Source) -> Iterator[str]:
    """The documentation of a cloud service and of each of its operations, out of its HTML."""
    service = json.loads(text)
    for described in (service, *service["operations"].values()):
        yield html_text(described.get("documentation", ""))


def factbook(text: str, _: Source) -> Iterator[str]:
    """Every chapter on a country is a record: the country and the chapter, then a paragraph per field."""
    chapters = json.loads(text)
    names = chapters.get("Government", {}).get("Country name", {})
    short = names.get("conventional short form", {}).get("text", "")
    name = html_text(short if short not in ("", "none") else names.get("conventional long form", {}).get("text", ""))
    for chapter, fields in chapters.items():
        paragraphs = (f"{field}: {'; '.join(_leaves(value))}" for field, value in fields.items())
        yield "\n\n".join([f"{name}: {chapter}" if name else chapter, *paragraphs])


def _leaves(value: Any, label: str = "") -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, label if key in ("text", "note") else key.strip())
    elif words := " ".join(html_text(str(value)).split()):
        repeated = label.rpartition(": ")[2]  # many texts begin with the last word of their label
        before = label.removesuffix(repeated) if words.startswith(f"{repeated}:") else f"{label}: "
        yield f"{before}{words}" if label else words


def html_text(markup: str) -> str:
    """The words of HTML; block elements become paragraphs."""
    blocks = re.sub(r"</?(?:p|li|ul|ol|dl|dt|dd|br|div|h\d|note|important|table|tr)\b[^>]*>", "\n\n", markup)
    words = html.unescape(re.sub(r"</?[A-Za-z][^>]*>", "", blocks))
    return tidy("\n\n".join(block.strip() for block in words.split("\n\n") if block.strip()))


PARSERS: dict[str, Callable[[str, Source], Iterator[str]]] = {
    parser.__name__: parser for parser in (plain, lines, table, quoted, code, docstrings, speeches, botocore, factbook)
}


def _encoded(rows: list[Row]) -> bytes:
    import zstandard

    lines = "".join(json.dumps(asdict(row), ensure_ascii=False) + "\n" for row in rows)
    return zstandard.ZstdCompressor(level=9).compress(lines.encode())
