"""What the search page reads: the trials with their scores, and which of them are looked at."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import streamlit as st

from app.steps import leader, verdict
from climb_engine.config import knobs
from climb_engine.pipeline import Run
from climb_engine.search.loop import Outcome, Search
from climb_engine.types import FloatArray, Ids, Trial
from climb_engine.workspace import digest_of

BACKGROUND = 1_000
"""Candidates behind the map."""

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


def background(view: View) -> FloatArray:
    """Candidates (c, m) behind the map, the same for the same limits."""
    space = view.search.space
    limits = [space.share.tolist(), space.lower.tolist(), space.upper.tolist(), space.max_divergence]
    return _background(digest_of(limits), view)


@st.cache_resource(max_entries=8, show_spinner=False)
def _background(key: str, _view: View) -> FloatArray:  # noqa: ARG001
    return _view.search.space.candidates(BACKGROUND, np.random.default_rng(0))


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
