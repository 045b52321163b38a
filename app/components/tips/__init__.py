"""What the document under the mouse says, over either map of documents. Our own JavaScript; no other host."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import streamlit as st

KEY = "tips"
"""Where the session keeps which document is asked for: its ``row``."""


def hovered() -> int | None:
    """The document that the mouse rests on, when its text is wanted."""
    row = (st.session_state.get(KEY) or {}).get("row")
    return row if isinstance(row, int) and row >= 0 else None


def tips(source: str, row: int | None, said: tuple[str, str] | None, plot: str = "") -> None:
    """Answer with what is ``said`` of a document, facts and the beginning of its text: plain text to be shown as it is.

    ``source`` is the address of all that can be said; ``plot`` selects the element that Plotly's map is in, if any.
    """
    _component()(key=KEY, data={"source": source, "row": row if said else None, "said": said, "plot": plot})


@functools.cache
def _component() -> Any:
    folder = Path(__file__).parent
    css, js = ((folder / f"tips.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    return st.components.v2.component("tips", css=css, js=js)
