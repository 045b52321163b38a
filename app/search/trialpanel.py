"""One trial: its weights beside natural, what it measured, how often it read what, its curve, and a note on it."""

from __future__ import annotations

import math

import numpy as np
import streamlit as st

from app import charts, session
from app.colours import domain_colours
from app.search import ownmixture
from app.search.filtering import choose
from app.search.fitting import Fitted, predictions
from app.search.notes import LONGEST, write_note
from app.search.view import Flags, View
from app.words import count, plain
from climb_engine.console import seconds_text
from climb_engine.search.reuse import REUSED
from climb_engine.types import FloatArray, Trial

_STATES = {"measured": "green", "open": "blue", "failed": "red", "taken over": "gray"}


def panel(view: View, fit: Fitted | None, passed: Flags, notes: dict[int, str]) -> int | None:
    """The chosen trial in full, else what was found. Returns the trial's id."""
    options = [str(trial.id) for trial in view.trials]
    if st.session_state.get("trial") not in options:
        st.session_state["trial"] = None
    with st.container(horizontal=True, vertical_alignment="bottom", key="trial-chooser"):
        chosen = st.selectbox(
            "Trial", options, index=None, key="trial", bind="query-params", placeholder="None chosen",
            on_change=_picked, help="Its number is in the page's address: copy that to point somebody to a trial.",
        )  # fmt: skip
        shown = [one for one, seen in zip(options, passed, strict=True) if seen] or options
        at = shown.index(chosen) if chosen in shown else -1
        for words, step, key in (("Previous", -1, "J"), ("Next", 1, "L")):
            icon = ":material/chevron_left:" if step < 0 else ":material/chevron_right:"
            other = int(shown[(at + step) % len(shown) if at >= 0 else 0])
            st.button(
                "", key=f"trial.{words}", icon=icon, shortcut=key, help=f"{words} trial", on_click=choose, args=(other,)
            )
    if chosen is None:
        _found(view)
        return None
    row = options.index(chosen)
    _trial(view, fit, row, notes.get(view.trials[row].id, ""))
    return view.trials[row].id


def state_of(trial: Trial) -> str:
    """What became of a trial."""
    if trial.origin == REUSED:
        return "taken over"
    return "open" if trial.open else "failed" if trial.error else "measured"


def _picked() -> None:
    trial = st.session_state.get("trial")
    choose(int(trial) if trial else None)


def _found(view: View) -> None:
    mixture = view.outcome.chosen.mixture if view.outcome.chosen else view.leader.mixture if view.leader else None
    title = "Chosen mixture" if view.outcome.chosen else "Best so far" if view.leader else "Natural mixture"
    if view.leader and not view.outcome.chosen:
        title += f": trial {view.leader.id}"
    weights = mixture.weights if mixture else view.search.space.natural
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        st.markdown(
            f"**{title}**", width="content",
            help="Bars: weight. Ticks: the domain's natural share. Choose a trial to see it here.",
        )  # fmt: skip
        _own_from(view, weights, title[:1].lower() + title[1:])
    _bars(view, weights, title)


def _trial(view: View, fit: Fitted | None, row: int, note: str) -> None:
    trial, score = view.trials[row], float(view.scores[row])
    state = state_of(trial)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        with st.container(horizontal=True, vertical_alignment="center", width="content"):
            st.badge(state, color=_STATES[state])  # type: ignore[arg-type]
            st.markdown(f"iteration {trial.iteration} · {plain(trial.origin)} · seed {trial.seed}", width="content")
        _own_from(view, trial.mixture.weights, f"trial {trial.id}")
    st.markdown(_said(view, fit, row, score))
    if trial.error:
        session.show_error(trial.error)
    look = st.segmented_control(
        "Look at", ["weights", "metrics"], default="weights", key="trial.look", required=True,
        label_visibility="collapsed",
    )  # fmt: skip
    if look == "metrics":
        _metrics(view, trial)
    else:
        _bars(view, trial.mixture.weights, f"Weights of trial {trial.id}")
    st.text_input(
        "Note", note, max_chars=LONGEST, key=f"note.{view.run.search_digest}.{trial.id}", on_change=_note,
        args=(view, trial.id), placeholder="a note on this trial", label_visibility="collapsed",
    )  # fmt: skip


def _own_from(view: View, weights: FloatArray, source: str) -> None:
    st.button(
        "Make my own from it", key="own.from", icon=":material/tune:", on_click=ownmixture.begin,
        args=(view, weights, source, True), help="Puts its weights on the sliders of 'My own mixture', in this place.",
    )  # fmt: skip


def _said(view: View, fit: Fitted | None, row: int, score: float) -> str:
    trial = view.trials[row]
    words = []
    if math.isfinite(score):
        words.append(f"score **{score:.4f}**")
        if math.isfinite(view.natural) and trial.origin != "natural":
            words.append(f"{score - view.natural:+.4f} to natural")
    mean, sd = predictions(view, fit)
    if np.isfinite(mean[row]):
        held = ", held out" if math.isfinite(score) else ""
        words.append(f"predicted{held} {mean[row]:.4f} ± {sd[row]:.4f}")
    if trial.result:
        words.append(f"{seconds_text(trial.result.seconds)}, {count(trial.result.tokens)} tokens")
    return " · ".join(words)


def _bars(view: View, weights: FloatArray, alt: str) -> None:
    colours = domain_colours(view.run, view.domains)
    figure = charts.mixture_bars(view.domains, weights, view.search.space.share, colours)
    st.plotly_chart(figure, key="trial.bars", config={"displayModeBar": False}, alt=f"{alt} beside the natural shares")


def _metrics(view: View, trial: Trial) -> None:
    if trial.result is None:
        st.caption("Nothing is measured yet." if trial.open else "Nothing was measured.")
        return
    parts = view.search.objective.parts(trial.result.metrics)
    names = sorted(trial.result.metrics, key=lambda name: (name not in parts, name))
    table = {
        "metric": names,
        "value": [trial.result.metrics[name] for name in names],
        "part": [parts.get(name) for name in names],
    }
    st.dataframe(
        table, hide_index=True, alt=f"Metrics of trial {trial.id}", height=300, key="trial.metrics",
        column_config={
            "metric": "Metric", "value": st.column_config.NumberColumn("Value", format="%.4f"),
            "part": st.column_config.NumberColumn("In the score", format="%+.3f", help="Its coefficient in the score."),
        },
    )  # fmt: skip
    if trial.result.repeats:
        most = sorted(trial.result.repeats.items(), key=lambda one: -one[1])[:3]
        st.caption(plain("Read most often: " + ", ".join(f"{name} {times:.2g} times" for name, times in most)))


def _note(view: View, trial: int) -> None:
    text = st.session_state.get(f"note.{view.run.search_digest}.{trial}", "")
    with session.explained():
        write_note(view.run.workspace.folder, view.run.search_digest, trial, text)
