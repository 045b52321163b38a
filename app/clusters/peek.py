"""What a document says when the mouse rests on its point. A fragment: the rest of the page does not run again."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app import documents
from app.clusters import drawing
from app.clusters.maps import Atlas, Colouring
from app.components.tips import hovered, tips
from app.curation import Curated
from climb_engine.browse import one_line, plain
from climb_engine.workspace import digest_of

_SAID = 140  # characters of a document
_SOURCE = 60  # of its source


@st.fragment
def tip(view: Curated, place: Atlas, colouring: Colouring, plot: str = "") -> None:
    """Answer what the browser asks; ``plot`` selects the element that Plotly's map is in, if any."""
    row = hovered()
    known = row is not None and row < len(view.member.clusters)
    said = told(view, place, colouring, row) if row is not None and known else None
    tips(digest_of([view.corpus, place.address, colouring.address, drawing.decisions(view)]), row, said, plot)


def told(view: Curated, place: Atlas, colouring: Colouring, row: int) -> tuple[str, str]:
    """Where a document belongs, and the beginning of its text in one line; not escaped for anything.

    While every document stands at its cluster's centroid, they are its cluster's.
    """
    cluster = int(view.member.clusters[row])
    home = f"{view.domain_name(int(view.decided.labels[cluster]))} · c{cluster}"
    (document,) = documents.texts(view.corpus, (row,))
    if not place.projected:
        size = int(view.member.sizes[cluster])
        return f"{home} · {size:,} documents", f"{', '.join(view.keywords[cluster][:8])}. {plain(document.text, _SAID)}"
    facts = [home, one_line(document.source[:_SOURCE]), f"document {row:,}"]
    if not colouring.names:
        value = colouring.values[row]
        facts.append(f"{colouring.title} {value:.2f}" if np.isfinite(value) else f"{colouring.title} not known")
    return " · ".join(facts), plain(document.text, _SAID)
