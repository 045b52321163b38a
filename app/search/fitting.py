"""The predictor of the search page: fitted when it is time, and what it says of the trials.

Nothing is fitted twice for the same measurements; what is slow is kept by what it depends on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from app import session
from app.search.ranking import Ranking, ranking
from app.search.view import Flags, View, background
from climb_engine.config import knobs
from climb_engine.search.loop import StopHint
from climb_engine.search.methods import DECIMALS
from climb_engine.search.outcome import Trust
from climb_engine.search.predictor import Validation
from climb_engine.search.regression import FEWEST, Predictor
from climb_engine.search.reuse import REUSED
from climb_engine.search.threads import one_thread
from climb_engine.types import FloatArray, Ids
from climb_engine.workspace import digest_of

AT_ONCE = 10.0
"""Seconds that fitting may take without having been asked for; until it is done the page is there without it."""

_COSTS = {
    "ridge": (0.01, 0.0),
    "loglinear": (0.07, 4e-4),
    "extratrees": (0.15, 8e-4),
    "lightgbm": (0.1, 0.008),
    "regmix": (0.1, 0.008),
    "auto": (2.0, 0.025),
}
"""Seconds of one fit, and more for every trial; of Gaussian processes see fitting_seconds."""

_DRAWS = 2_000  # of the predictor's belief, for the spread of an effect
_KEPT = 8  # searches whose last fit is kept


@dataclass(frozen=True, eq=False)
class Fitted:
    """A predictor, and what it says; of the trials that were measured when it was fitted."""

    told: str  # View.told at that time
    trials: Ids  # (n,) ids of those that it learned from
    held: Ids  # (v,) ids of those that it foretold without having seen them
    predictor: Predictor
    name: str
    noise_sd: float
    validation: Validation | None  # rows as ``held``; None when there were too few
    trust: Trust | None
    hint: StopHint | None  # None where the search is finished
    natural: float  # predicted
    effects: FloatArray  # (m,) change of the predicted score when a domain's weight is doubled
    effect_sds: FloatArray  # (m,)
    background: FloatArray  # (c,) predictions of ``background``


def fitted(view: View, living: bool) -> Fitted | None:
    """What was last fitted; fitted anew where that is asked for. None while there is nothing to learn from.

    What may be fitted unasked is left to ``catch_up`` at the end of the page, so that the page is there first. While a
    job lives, what is there is kept until somebody asks: every trial that is told would fit again.
    """
    last, current = _last(view)
    if len(view.teaching) < FEWEST or current:
        return last
    if coming(view, living):
        st.caption(
            f":material/model_training: Fitting the predictor to {len(view.teaching):,} trials, about "
            f"{max(1.0, fitting_seconds(view)):.0f} s; what it says of them comes then."
        )
        return last
    seconds = fitting_seconds(view)
    return (_fit_now(view, seconds) or last) if _asked(view, last, seconds) else last


def coming(view: View, living: bool) -> bool:
    """Whether ``catch_up`` is going to fit."""
    last, current = _last(view)
    if len(view.teaching) < FEWEST or current or (living and last) or _too_large(view):
        return False
    return fitting_seconds(view) <= AT_ONCE


def catch_up(view: View, living: bool) -> None:
    """Fit what ``fitted`` left for later, and draw the page anew."""
    if coming(view, living) and _fit_now(view, fitting_seconds(view)):
        st.rerun()


def fitting_seconds(view: View) -> float:
    """About how long it takes to fit the predictor and to cross-validate it, as measured on two slow cores."""
    evidence, n = view.search.evidence(), len(view.teaching)
    folds = evidence.config.folds if evidence.config.folds > 1 else 0
    parts = np.count_nonzero(evidence.coefficients) if evidence.by_metric else 1
    once = min(0.03 + 4e-6 * n**2, 0.3) + 1e-9 * n**3  # of Gaussian processes: a part of many trials settles a kernel
    if evidence.name != "gp":
        first, more = _COSTS[evidence.name]
        once = first + more * n
    return parts * once * (1 + 0.9 * folds) + 0.5


def fit(view: View) -> Fitted:
    """Fit and cross-validate, on all that is measured."""
    search, space = view.search, view.search.space
    evidence = search.evidence()
    predictor, validation = evidence.predictor, evidence.validation()
    trust = search.trust(validation)
    known = [view.trials[i] for i in view.teaching]
    own = [trial.id for trial in known if trial.origin != REUSED]
    effects, sds = doubled(predictor, space.natural, np.random.default_rng(0))
    return Fitted(
        told=view.told,
        trials=np.array([one.id for one in known] if evidence.elsewhere is not None else own, dtype=np.int64),
        held=np.array(own if validation else [], dtype=np.int64),
        predictor=predictor,
        name=evidence.name,
        noise_sd=predictor.noise_sd,
        validation=validation,
        trust=trust,
        hint=None if search.finished else search.stop_hint(trust),
        natural=float(predictor.mean(space.natural[None])[0]),
        effects=effects,
        effect_sds=sds,
        background=predictor.mean(background(view)),
    )


def doubled(predictor: Predictor, natural: FloatArray, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Change (m,) of the predicted score when each domain's weight in ``natural`` (m,) is doubled, and its sd (m,)."""
    moved = natural + np.diag(natural)
    mixtures = np.vstack([natural, moved / moved.sum(axis=1, keepdims=True)])
    mean, draws = predictor.mean(mixtures), predictor.sample(mixtures, _DRAWS, rng)
    return mean[1:] - mean[0], (draws[:, 1:] - draws[:, :1]).std(axis=0)


def predictions(view: View, fit: Fitted | None) -> tuple[FloatArray, FloatArray]:
    """(n,) what is predicted of each trial and its sd: held out where it was measured; nan where nothing is known."""
    mean, sd = np.full(len(view.trials), np.nan), np.full(len(view.trials), np.nan)
    if fit is None or not len(view.trials):
        return mean, sd
    return _predictions(digest_of([view.key, fit.told]), view, fit)


@st.cache_resource(max_entries=8, show_spinner=False)
def _predictions(key: str, _view: View, _fit: Fitted) -> tuple[FloatArray, FloatArray]:  # noqa: ARG001
    with one_thread():
        mean, sd = _fit.predictor.predict(_view.weights)
    places = {trial.id: i for i, trial in enumerate(_view.trials)}
    known = [places[int(trial)] for trial in _fit.trials if trial in places]
    mean[known] = sd[known] = np.nan  # what was learned from says nothing of how well it is foretold
    if _fit.validation:
        rows = [row for row, trial in enumerate(_fit.held) if trial in places]
        held = [places[int(_fit.held[row])] for row in rows]
        mean[held], sd[held] = _fit.validation.predictions[rows], _fit.validation.sds[rows]
    return mean, sd


def ranked(view: View, fit: Fitted | None, passed: Flags | None = None) -> Ranking | None:
    """How well the trials that pass were foretold, those that were held out; None where there are none."""
    held = np.isin([trial.id for trial in view.trials], fit.held) if fit else np.zeros(len(view.trials), dtype=bool)
    held &= np.isfinite(view.scores) & (True if passed is None else passed)
    if fit is None or not held.any():
        return None
    return _ranked(digest_of([view.key, fit.told, np.packbits(held).tolist()]), view, fit, held)


@st.cache_resource(max_entries=32, show_spinner=False)
def _ranked(key: str, _view: View, _fit: Fitted, _held: Flags) -> Ranking:  # noqa: ARG001
    mean, sd = predictions(_view, _fit)
    outcome, rows = _view.outcome, np.flatnonzero(_held)
    noise = outcome.noise_sd if outcome.noise_freedom >= 2 else _fit.noise_sd
    mixtures = np.unique(np.round(_view.weights[rows], DECIMALS), axis=0, return_inverse=True)[1].ravel()
    return ranking(mean[rows], sd[rows], _view.scores[rows], mixtures.astype(np.int64), noise)


def _last(view: View) -> tuple[Fitted | None, bool]:
    """What was fitted last under these knobs, and whether it knows all that is measured."""
    found = _fits().get(_place(view))
    last = found[1] if found and found[0] == _wanted(view) else None
    return last, last is not None and last.told == view.told


def _fit_now(view: View, seconds: float) -> Fitted | None:
    """None, and the reason on the page, where the memory does not suffice; it is then not tried again unasked."""
    kept = _fits()
    words = f"Fitting the predictor to {len(view.teaching):,} trials, about {max(1.0, seconds):.0f} s"
    try:
        with st.spinner(words), one_thread():
            found = fit(view)
            kept[_place(view)] = (_wanted(view), found)
    except MemoryError:
        _failures().add((view.told, _wanted(view)))
        session.show_error(
            f"The memory does not suffice to fit the predictor to {len(view.teaching):,} trials and to see what "
            f"{view.search.config.iterations[-1]:,} more are worth. Plan smaller iterations (search.iterations) or "
            "another predictor (search.predictor); nothing that is measured is lost."
        )
        return None
    while len(kept) > _KEPT:
        kept.pop(next(iter(kept)))
    return found


def _place(view: View) -> tuple[str, str]:
    return str(view.run.workspace.folder), view.run.search_digest


def _wanted(view: View) -> str:
    return digest_of([knobs(view.run.config.search), knobs(view.run.config.target)])


@st.cache_resource(show_spinner=False)
def _fits() -> dict[tuple[str, str], tuple[str, Fitted]]:
    """The last fit of every search: (its knobs, the fit)."""
    return {}


@st.cache_resource(show_spinner=False)
def _failures() -> set[tuple[str, str]]:
    """What was too large to fit: (what was told, the knobs)."""
    return set()


def _too_large(view: View) -> bool:
    return (view.told, _wanted(view)) in _failures()


def _asked(view: View, last: Fitted | None, seconds: float) -> bool:
    n = len(view.teaching)
    with st.container(horizontal=True, vertical_alignment="center", key="fit-row"):
        words = f"Fit the predictor (about {seconds:,.0f} s)" if seconds >= 1 else "Fit the predictor"
        pressed: Any = st.button(words, key="fit", icon=":material/model_training:")
        if last:
            st.caption(f"What is predicted below was learned from {len(last.trials):,} of the {n:,} measured trials.")
        else:
            st.caption(f"To predict scores, learn from the {n:,} measured trials and check it on held-out ones.")
    return bool(pressed)
