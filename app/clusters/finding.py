"""Searching the documents, by their texts or by their meaning, and reading what was found."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
import streamlit as st

from app import documents
from app.clusters import reading
from app.curation import Curated
from app.words import plain, plural
from climb_engine.browse import one_line
from climb_engine.types import Ids, Vectors

_AROUND = 160  # characters on both sides of a match
_LINK = re.compile(r"(?<=:)(?=//)|(?<=www)(?=\.)|(?<=@)", re.IGNORECASE)  # where a bare address becomes a link
_JOINER = "\u2060"  # not to be seen


@dataclass(frozen=True, eq=False)
class Hits:
    """What was found."""

    rows: Ids = field(default_factory=lambda: np.empty(0, np.int64))
    words: str = ""
    cosines: Vectors | None = None  # (hits,) of a search by meaning


def search(view: Curated, how: str, words: str) -> Hits:
    """Documents that contain the words, or whose vectors are nearest to theirs; what was found is told, and shown."""
    found = _found(view, how, words) if words else Hits()
    if len(found.rows) and (how, words) != st.session_state.get("found.last"):
        st.session_state["side"] = "found"
    st.session_state["found.last"] = (how, words)
    return found


def read(view: Curated, hits: Hits) -> None:
    """All that was found, page by page."""

    def said(place: int, document: documents.Text) -> tuple[str, str]:
        if hits.cosines is not None:
            return f"similarity {hits.cosines[place]:.2f}", ""
        return "", marked(document.text, hits.words)

    reading.paged(view, hits.rows, "hit", [hits.words, hits.cosines is None], said)


def marked(text: str, words: str) -> str:
    """The first match in its surroundings as Markdown, in which nothing of the text is markup; "" without a match."""
    match = re.search(re.escape(words), text, re.IGNORECASE)
    if match is None:
        return ""
    begin, end = max(0, match.start() - _AROUND), min(len(text), match.end() + _AROUND)
    before, after = one_line(text[begin : match.start()]), one_line(text[match.end() : end])
    if begin:  # not in the middle of a word
        before = "… " + before.partition(" ")[2]
    if end < len(text):
        after = after.rpartition(" ")[0] + " …"
    return f"{_tame(before)}:orange-background[{_tame(one_line(match[0]))}]{_tame(after)}"


def _tame(line: str) -> str:
    """A line as itself inside Markdown; addresses too, which backslashes do not keep from becoming links."""
    return plain(_LINK.sub(_JOINER, line))


def _found(view: Curated, how: str, words: str) -> Hits:
    if how == "text":
        found, seen = documents.containing(view.corpus, words)
        more = len(found) >= documents.FOUND
        st.caption(f"{plural(len(found), 'document')}{' or more' if more else ''} of {seen:,} contain it.")
        return Hits(found, words)
    config = view.run.config.embedding
    if config.model not in documents.STATIC and not st.toggle(
        f"Load {plain(config.model)} into the app, on the CPU", key="load", help="It may take a while and much memory."
    ):
        return Hits()
    found, cosines = documents.meaning(str(view.run.needed("embedding").folder), words, config)
    st.caption(f"The {len(found):,} documents nearest in meaning are ringed.")
    return Hits(found, words, cosines)
