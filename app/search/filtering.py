"""The one filter of the search page, in the address; and the trial that is looked at."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app.search.counts import MEANING, add_up
from app.search.view import Filter, Flags, View
from app.words import plain, plural

_TOPS = ("all", "100", "50", "20", "10", "5")
_CLICKABLE = ("landscape", "foretold")  # charts whose points are trials

BESIDE = ("Trial", "My own mixture")
"""What can stand beside the map; ``st.session_state["beside"]``."""


def filter_bar(view: View) -> Filter:
    """The widgets, and what they let pass."""
    iterations = sorted({str(trial.iteration) for trial in view.trials}, key=int)
    origins = list(dict.fromkeys(trial.origin for trial in view.trials))
    _forget("iteration", iterations)
    _forget("origin", origins)
    with st.container(horizontal=True, vertical_alignment="bottom", key="filter", gap="small"):
        steps = st.pills(
            "Iteration", iterations, selection_mode="multi", key="iteration", bind="query-params",
            help="None chosen: all. 0: the natural mixture's runs, and what was there before the first iteration.",
        )  # fmt: skip
        kinds = st.pills("Origin", origins, selection_mode="multi", key="origin", bind="query-params")
        top = st.selectbox(
            "Best", _TOPS, key="top", bind="query-params", width=100, help="Only the best measured of what passes."
        )
        measured = st.toggle("Measured only", key="measured", bind="query-params")
    best = 0 if top in (None, "all") else int(top)
    return Filter(tuple(int(step) for step in steps), tuple(kinds), bool(measured), best)


def counted(view: View, passed: Flags) -> None:
    """How many trials are looked at, of each kind, so that every number on the page can be found again."""
    trials = [trial for trial, seen in zip(view.trials, passed, strict=True) if seen]
    hidden = len(view.trials) - len(trials)
    rest = f" The filter hides {plural(hidden, 'trial')}." if hidden else ""
    st.caption(plain(f"{add_up(trials)}.{rest}"), help=MEANING)


def take_click() -> None:
    """Turn a new click on a chart into the trial, before widgets are drawn.

    A changed figure clears the chart's own selection, so an empty one says nothing.
    """
    for chart in _CLICKABLE:
        trial = clicked(st.session_state.get(chart) or {})
        if trial is not None and trial != st.session_state.get(f"{chart}.taken"):
            st.session_state["trial"] = str(trial)
            st.session_state["beside"] = BESIDE[0]
            for other in _CLICKABLE:
                st.session_state[f"{other}.taken"] = trial if other == chart else None


def clicked(state: Any) -> int | None:
    """The trial that a chart says was clicked; None when none was."""
    points = (state.get("selection") or {}).get("points") or ()
    data = points[-1].get("customdata") if points else None
    data = data[0] if isinstance(data, (list, tuple)) and data else data
    return int(data) if isinstance(data, (int, float, str)) and str(data).removesuffix(".0").isdecimal() else None


def looked_at(view: View) -> int | None:
    """The trial that is looked at, also before its widget is drawn."""
    found = st.session_state.get("trial", st.query_params.get("trial"))
    return int(found) if found and str(found).isdecimal() and view.place(int(found)) is not None else None


def choose(trial: int | None) -> None:
    """Look at a trial; what a chart still has selected does not count as a new click."""
    st.session_state["trial"] = None if trial is None else str(trial)
    st.session_state["beside"] = BESIDE[0]
    for chart in _CLICKABLE:
        st.session_state[f"{chart}.taken"] = clicked(st.session_state.get(chart) or {})


def _forget(key: str, options: list[str]) -> None:
    """Another run may know fewer iterations and origins."""
    if key in st.session_state:
        st.session_state[key] = [one for one in st.session_state[key] or () if one in options]
