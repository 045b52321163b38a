"""Where the search's mixtures stand on their map, iteration after iteration, kept as it grows."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import streamlit as st

from app.search.view import View, background
from climb_engine.search.landscape import next_map, placed, principal_map
from climb_engine.search.methods import DECIMALS
from climb_engine.search.space import distinct
from climb_engine.search.threads import one_thread
from climb_engine.types import FloatArray, Trial
from climb_engine.workspace import digest_of

METHODS = {
    "t-SNE": "Neighbours stay neighbours; distances between far groups say little.",
    "PCA": "The plane in which the first iteration varies most; distances are true, so far as a plane shows them.",
}


@dataclass(frozen=True, eq=False)
class Landscape:
    """Positions on the map."""

    trials: FloatArray  # (n, 2)
    background: FloatArray  # (c, 2)
    natural: FloatArray  # (2,)
    chosen: FloatArray | None  # (2,)


def landscape(view: View, method: str) -> Landscape:
    """The map as the log stands."""
    return _landscape(digest_of([view.key, method]), view, method)


def batches(trials: Sequence[Trial], weights: FloatArray, natural: FloatArray) -> list[FloatArray]:
    """What each iteration added to the map: distinct mixtures (k, m), the natural one first of all.

    The user's own and those taken over come with the next iteration; until then they are placed, not fitted, so that
    queueing a mixture moves nothing.
    """
    last = max((trial.iteration for trial in trials if trial.origin == "sampled"), default=0)
    steps = np.array([trial.iteration + (trial.origin != "sampled") for trial in trials], dtype=np.int64)
    seen, found = natural[None], [natural[None]]
    for step in range(1, max(last, 1) + 1):
        new = distinct(weights[steps == step], seen, DECIMALS) if (steps == step).any() else seen[:0]
        seen = np.concatenate([seen, new])
        found[-1:] = [np.concatenate([found[-1], new])] if step == 1 else [found[-1], new]
    return [batch for batch in found if len(batch)]


@st.cache_resource(max_entries=8, show_spinner="Drawing the map of mixtures")
def _landscape(key: str, _view: View, method: str) -> Landscape:  # noqa: ARG001
    space, choice = _view.search.space, _view.outcome.chosen
    steps = batches(_view.trials, _view.weights, space.natural)
    rows = [_view.weights, background(_view), space.natural[None]]
    wanted = np.concatenate([*rows, choice.mixture.weights[None]] if choice else rows)
    if method == "PCA":
        found = principal_map(wanted, steps[0] if len(steps[0]) > 2 else np.concatenate([steps[0], background(_view)]))
    else:
        fitted = np.concatenate(steps)
        with one_thread():
            found = placed(wanted, fitted, _grown(_mark(fitted), steps))
    n, c = len(_view.trials), len(rows[1])
    return Landscape(found[:n], found[n : n + c], found[n + c], found[-1] if choice else None)


@st.cache_resource(max_entries=64, show_spinner=False)
def _grown(mark: str, _steps: list[FloatArray]) -> FloatArray:  # noqa: ARG001
    """Positions of all steps' mixtures, grown from those of the steps before."""
    former = _steps[:-1]
    before = _grown(_mark(np.concatenate(former)), former) if former else np.empty((0, 2))
    return next_map(np.concatenate(_steps), before)


def _mark(weights: FloatArray) -> str:
    return hashlib.sha256(np.round(weights, DECIMALS).tobytes()).hexdigest()
