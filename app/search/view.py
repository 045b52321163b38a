"""What the search page reads: the trials with their scores, which of them are looked at, and what was fitted to them.

What is slow is kept by what it depends on; nothing is fitted twice for the same measurements.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import streamlit as st

from app.steps import leader, verdict
from climb_engine.config import knobs
from climb_engine.pipeline import Run
from climb_engine.search.loop import Outcome, Search, StopHint
from climb_engine.search.predictor import Validation
from climb_engine.search.regression import FEWEST, Predictor
from climb_engine.types import FloatArray, Ids, Trial
from climb_engine.workspace import digest_of

REUSED = "reused"
"""Origin of trials that another search measured: to learn from, not counted as measured here."""

AT_ONCE = 8.0
"""Seconds that fitting may take without having been asked for."""

BACKGROUND = 1_000
"""Candidates behind the map."""

_DRAWS = 2_000  # of the predictor's belief, for the spread of an effect
_LONG = 300  # trials above which nothing is fitted without having been asked for

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class View:
    """A search as it stands; arrays in the order of the trials."""

    run: Run
    search: Search
    outcome: Outcome
    key: str  # changes with every event and every knob of the search
    told: str  # changes only with what is known to the predictor
    trials: tuple[Trial, ...]
    scores: FloatArray  # (n,) nan where there is none
    weights: FloatArray  # (n, m)
    leader: Trial | None  # the best measured that is not natural
    verdict: tuple[str, str, str]  # see steps.verdict

    @property
    def domains(self) -> tuple[str, ...]:
        """Their names, in their order."""
        return self.search.space.domains

    @property
    def natural(self) -> float:
        """Mean score of the natural mixture's runs; nan while there is none."""
        return float(np.mean(self.outcome.natural)) if self.outcome.natural else math.nan

    @property
    def teaching(self) -> Ids:
        """Trials that the predictor learns from, as places among the trials."""
        return np.flatnonzero(np.isfinite(self.scores)).astype(np.int64)

    def place(self, trial: int) -> int | None:
        """Where the trial with this id stands among the trials."""
        return next((i for i, one in enumerate(self.trials) if one.id == trial), None)


@dataclass(frozen=True, eq=False)
class Fitted:
    """A predictor, and what it says; of the trials that were measured when it was fitted."""

    told: str  # View.told at that time
    trials: Ids  # (n,) ids of those trials
    predictor: Predictor
    name: str
    noise_sd: float
    validation: Validation | None  # rows as ``trials``; None when there were too few
    hint: StopHint
    natural: float  # predicted
    effects: FloatArray  # (m,) change of the predicted score when a domain's weight is doubled
    effect_sds: FloatArray  # (m,)
    background: FloatArray  # (c,) predictions of ``background``


def look(run: Run, search: Search) -> View:
    """The search as it stands."""
    told = [trial.id for trial in search.trials if trial.result]
    failed = sum(trial.error is not None for trial in search.trials)
    wanted = [str(run.workspace.folder), run.search_digest, knobs(run.config.search), knobs(run.config.target)]
    state = [*wanted, len(search.trials), len(told), failed, search.choice is not None]
    return _look(digest_of(state), digest_of([*wanted, told]), run, search)


@st.cache_resource(max_entries=8, show_spinner=False)
def _look(key: str, told: str, _run: Run, _search: Search) -> View:
    trials = _search.trials
    weights = np.array([trial.mixture.weights for trial in trials]).reshape(len(trials), len(_search.space.domains))
    scores = np.array([_search.score(trial) for trial in trials], dtype=np.float64)
    outcome = _search.outcome()
    found = verdict(_search, outcome)
    return View(_run, _search, outcome, key, told, trials, scores, weights, leader(_search), found)


# ---- which trials are looked at --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Filter:
    """The one filter of all charts and the table."""

    iterations: tuple[int, ...] = ()  # none: all
    origins: tuple[str, ...] = ()  # none: all
    measured: bool = False
    top: int = 0  # only the best so many measured; 0: all

    def of(self, view: View) -> Flags:
        """Which trials (n,) pass."""
        trials, known = view.trials, np.isfinite(view.scores)
        passed = np.array([not self.iterations or trial.iteration in self.iterations for trial in trials], dtype=bool)
        passed &= np.array([not self.origins or trial.origin in self.origins for trial in trials], dtype=bool)
        passed &= known | (not self.measured and not self.top)
        if self.top and passed.sum() > self.top:
            order = np.argsort(np.where(passed, -view.scores, np.inf), kind="stable")
            passed[order[self.top :]] = False
        return passed


# ---- what is fitted --------------------------------------------------------------------------------------------------


def fitted(view: View, living: bool) -> Fitted | None:
    """What was last fitted; fitted anew where that is quick or asked for. None while there is nothing to learn from.

    While a job lives, what is there is kept until somebody asks: every trial that is told would fit again.
    """
    n = len(view.teaching)
    if n < FEWEST:
        return None
    kept = _fits()
    place = (str(view.run.workspace.folder), view.run.search_digest)
    wanted = digest_of([knobs(view.run.config.search), knobs(view.run.config.target)])
    found = kept.get(place)
    last = found[1] if found and found[0] == wanted else None
    if last and last.told == view.told:
        return last
    seconds = fitting_seconds(view)
    quick = n <= _LONG and seconds <= AT_ONCE and not (living and last)
    if quick or _asked(view, last, seconds):
        with st.spinner(f"Fitting the predictor to {n:,} trials, about {max(1.0, seconds):.0f} s"):
            last = fit(view)
        kept[place] = (wanted, last)
        while len(kept) > 8:
            kept.pop(next(iter(kept)))
    return last


def fitting_seconds(view: View) -> float:
    """About how long it takes to fit the predictor and to cross-validate it, as measured on two slow cores."""
    evidence, n = view.search.evidence(), len(view.teaching)
    folds = evidence.config.folds if evidence.config.folds > 1 else 0
    if evidence.name == "auto":
        return 0.2 * n * (1 + folds / 5)
    if evidence.name != "gp":
        return 0.25 + 0.003 * n * (1 + folds)
    parts = len(evidence.coefficients) if evidence.by_metric else 1
    return parts * min(0.06 + 6e-5 * n * n, 1.8) * (1 + 0.9 * folds)


def fit(view: View) -> Fitted:
    """Fit and cross-validate, on all that is measured."""
    evidence, space = view.search.evidence(), view.search.space
    predictor = evidence.predictor
    effects, sds = doubled(predictor, space.natural, np.random.default_rng(0))
    return Fitted(
        told=view.told,
        trials=np.array([view.trials[i].id for i in view.teaching], dtype=np.int64),
        predictor=predictor,
        name=evidence.name,
        noise_sd=predictor.noise_sd,
        validation=evidence.validation(),
        hint=view.search.stop_hint(),
        natural=float(predictor.mean(space.natural[None])[0]),
        effects=effects,
        effect_sds=sds,
        background=predictor.mean(background(view)),
    )


def background(view: View) -> FloatArray:
    """Candidates (c, m) behind the map, the same for the same limits."""
    space = view.search.space
    limits = [space.share.tolist(), space.lower.tolist(), space.upper.tolist(), space.max_divergence]
    return _background(digest_of(limits), view)


@st.cache_resource(max_entries=8, show_spinner=False)
def _background(key: str, _view: View) -> FloatArray:  # noqa: ARG001
    return _view.search.space.candidates(BACKGROUND, np.random.default_rng(0))


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
    mean, sd = _fit.predictor.predict(_view.weights)
    rows = {int(trial): row for row, trial in enumerate(_fit.trials)}
    for i, trial in enumerate(_view.trials):
        if trial.id in rows:
            found = _fit.validation
            mean[i] = found.predictions[rows[trial.id]] if found else np.nan
            sd[i] = found.sds[rows[trial.id]] if found else np.nan
    return mean, sd


@st.cache_resource(show_spinner=False)
def _fits() -> dict[tuple[str, str], tuple[str, Fitted]]:
    """The last fit of every search: (its knobs, the fit)."""
    return {}


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
