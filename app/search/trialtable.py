"""The table of trials: sortable, through the one filter; a click on a row chooses its trial."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from app.search.filtering import choose
from app.search.fitting import Fitted, predictions
from app.search.panels import drawn
from app.search.trialpanel import state_of
from app.search.view import Flags, View
from app.words import plural
from climb_engine.workspace import digest_of


def table(view: View, fit: Fitted | None, passed: Flags, notes: dict[int, str]) -> None:
    """The trials that pass, best first; those without a score at the end."""
    rows = np.flatnonzero(passed)
    rows = rows[np.argsort(-np.where(np.isfinite(view.scores[rows]), view.scores[rows], -np.inf), kind="stable")]
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.subheader("Trials", width="content", help="A column's head sorts. A row's first cell chooses its trial.")
        whole = st.toggle("All metrics", key="metrics", bind="query-params")
    if not len(rows):
        st.caption("No trial passes the filter.")
        return
    st.caption(f"{plural(len(rows), 'row')}, one for each trial that passes the filter; the best first.")
    names = _metrics(view, bool(whole))
    key = digest_of(["table", view.key, fit.told if fit else "", rows.tolist(), names, sorted(notes.items())])
    frame = drawn(key, lambda: _frame(view, fit, rows.tolist(), names, notes))

    def chosen() -> None:
        picked = st.session_state["trials"]["selection"]["rows"]
        if picked:
            choose(view.trials[int(rows[picked[0]])].id)

    number = st.column_config.NumberColumn
    st.dataframe(
        frame, hide_index=True, key="trials", on_select=chosen, selection_mode="single-row",
        height="content" if len(rows) < 12 else 440, alt=f"{len(rows):,} trials with their scores",
        column_config={
            "trial": number("Trial", width=60, pinned=True), "iteration": number("Iteration", width=70),
            "origin": st.column_config.TextColumn("Origin", width=90),
            "state": st.column_config.TextColumn("State", width=90),
            "score": number("Score", format="%.4f", help="Higher is better."),
            "gain": number("To natural", format="%+.4f"),
            "predicted": number("Predicted", format="%.4f", help="Held out where it was measured."),
            "sd": number("±", format="%.4f", help="Of a measurement where held out, of the mean where open."),
            **{name: number(name, format="%.4f") for name in names},
            "seconds": number("Seconds", format="%.1f"),
            "repeats": number("Most repeats", format="%.2f", help="Of the domain that was read most often."),
            "note": st.column_config.TextColumn("Note", width="medium"),
        },
    )  # fmt: skip


def _metrics(view: View, whole: bool) -> list[str]:
    """Those in the score, or all that were measured; in the order of the first trial that has them."""
    result = next((trial.result for trial in view.trials if trial.result), None)
    if result is None:
        return []
    parts = view.search.objective.parts(result.metrics)
    return [name for name in result.metrics if whole or (name in parts and len(parts) <= 12)]


def _frame(view: View, fit: Fitted | None, rows: list[int], names: list[str], notes: dict[int, str]) -> Any:
    import pandas as pd

    mean, sd = predictions(view, fit)
    trials = [view.trials[i] for i in rows]
    results = [trial.result for trial in trials]
    columns: dict[str, Any] = {
        "trial": [trial.id for trial in trials],
        "iteration": [trial.iteration for trial in trials],
        "origin": [trial.origin for trial in trials],
        "state": [state_of(trial) for trial in trials],
        "score": view.scores[rows],
        **({"gain": view.scores[rows] - view.natural} if np.isfinite(view.natural) else {}),
        "predicted": mean[rows],
        "sd": sd[rows],
    }
    columns |= {name: [r.metrics.get(name, np.nan) if r else np.nan for r in results] for name in names}
    columns["seconds"] = [r.seconds if r else np.nan for r in results]
    columns["repeats"] = [max(r.repeats.values(), default=np.nan) if r else np.nan for r in results]
    columns["note"] = [notes.get(trial.id, "") for trial in trials]
    return pd.DataFrame(columns)
