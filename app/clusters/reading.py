"""Documents to be read, some at a time: plain text, never markup."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import streamlit as st

from app import charts, documents
from app.clusters import focus
from app.colours import decided_colours
from app.curation import Curated
from app.words import plain
from climb_engine.types import Ids
from climb_engine.workspace import digest_of

FOLD = 400  # characters of a document that are shown at once
READ = 5  # documents at a time
_WHOLE = 20_000  # characters of a document that are shown at most

Said = Callable[[int, documents.Text], tuple[str, str]]
"""(place in the list, document) -> a further fact, and Markdown in the place of the text's beginning ("": as it is)."""


def paged(view: Curated, rows: Ids, key: str, listed: object, said: Said | None = None, home: bool = True) -> None:
    """A page of documents with the pages to turn; with ``home`` each says which cluster it is in, and leads there.

    ``listed`` says what is listed: another list begins at its first page.
    """
    pages, page = -(-len(rows) // READ), 1
    if pages > 1:
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            told = st.empty()
            page = st.pagination(pages, key=f"{key}.page.{digest_of(listed)}", max_visible_pages=5)
        first, last = (page - 1) * READ + 1, min(page * READ, len(rows))
        told.caption(f"{first:,} to {last:,} of {len(rows):,}", width="content")
    begin = (page - 1) * READ
    shown = rows[begin : begin + READ].tolist()
    for place, document in enumerate(documents.texts(view.corpus, tuple(shown)), begin):
        extra, excerpt = said(place, document) if said else ("", "")
        _head(view, document, key, extra, home)
        _text(document, key, excerpt)


def one(view: Curated, row: int, key: str) -> None:
    """A single document."""
    for document in documents.texts(view.corpus, (row,)):
        _head(view, document, key, "", False)
        _text(document, key, "")


def _head(view: Curated, document: documents.Text, key: str, extra: str, home: bool) -> None:
    facts = [f"document {document.row:,}", document.source[:80], f"{len(document.text):,} characters"]
    scores = zip(view.member.metrics, view.member.scores[document.row], strict=True)
    facts += [f"{metric} {score:.1f}" for metric, score in scores if np.isfinite(score)]
    said = plain(" · ".join([*facts, *([extra] if extra else [])]))
    if not home:
        st.caption(said)
        return
    cluster = int(view.member.clusters[document.row])
    domain = int(view.decided.labels[cluster])
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.image(charts.swatch(decided_colours(view.decided, view.run.config.domains.overrides)[domain]), width=14)
        st.button(
            plain(f"c{cluster} · {view.domain_name(domain)}"), key=f"{key}.open.{document.row}", type="tertiary",
            on_click=focus.choose, args=(f"c{cluster}",), help=plain(" · ".join(view.keywords[cluster])),
        )  # fmt: skip
        st.caption(said, width="content")


def _text(document: documents.Text, key: str, excerpt: str) -> None:
    """The first characters, or an excerpt as Markdown; the rest folded."""
    long = len(document.text) > FOLD
    if excerpt:
        st.markdown(excerpt)
    else:
        st.code(document.text[:FOLD] + ("…" if long else ""), language=None, wrap_lines=True)
    if long or excerpt:
        rest = st.expander("The whole document", key=f"{key}.{document.row}", on_change="rerun")
        if rest.open:
            cut = f"\n… cut at {_WHOLE:,} characters" if len(document.text) > _WHOLE else ""
            rest.code(document.text[:_WHOLE] + cut, language=None, wrap_lines=True, height=400)


def samples(kinds: Mapping[str, str], key: str) -> tuple[str, int]:
    """Which documents to read, of kinds with what they mean; and the seed of what is drawn by lot."""
    with st.container(horizontal=True, vertical_alignment="center"):
        kind = st.segmented_control(
            "Samples", list(kinds), default=next(iter(kinds)), key=f"{key}.kind", required=True,
            label_visibility="collapsed", wrap=True,
        )  # fmt: skip
        if kind == "random" and st.button("Shuffle", key=f"{key}.shuffle", type="tertiary", icon=":material/shuffle:"):
            st.session_state["draw"] = st.session_state.get("draw", 0) + 1
    kind = kind or next(iter(kinds))
    st.caption(kinds[kind])
    return kind, st.session_state.get("draw", 0) if kind == "random" else 0
