"""A mixture made by hand: one weight is moved, the others make room within the limits. Knows no Streamlit."""

from __future__ import annotations

import math
from collections.abc import Mapping, Set
from dataclasses import replace

import numpy as np

from climb_engine.search.space import MixtureSpace
from climb_engine.types import ClimbError, FloatArray, Mixture


def moved(space: MixtureSpace, weights: FloatArray, domain: int, weight: float, locked: Set[int]) -> FloatArray:
    """Weights (m,) with one domain's set, as far as the limits and the locked domains let it go.

    The other domains keep their proportions to each other where they can. The same weights again where nothing can
    give way.
    """
    kept = sorted(locked - {domain})
    free = [i for i in range(len(weights)) if i != domain and i not in locked]
    rest = 1.0 - float(weights[kept].sum())
    low = max(float(space.lower[domain]), rest - float(space.upper[free].sum()))
    high = min(float(space.upper[domain]), rest - float(space.lower[free].sum()))
    if low > high:
        return weights
    wanted = weights.copy()
    wanted[domain] = min(max(weight, low), high)
    others = weights[free] if weights[free].sum() > 0 else space.natural[free]
    if len(free) and others.sum() > 0:
        wanted[free] = others * (rest - wanted[domain]) / others.sum()
    return _within(space, wanted, [*kept, domain], weights)


def from_weights(space: MixtureSpace, given: Mapping[str, float]) -> tuple[FloatArray, bool]:
    """Weights (m,) of a file, made to sum to 1, and whether the limits had to change them.

    Raises ClimbError for an unknown domain and for weights that are none.
    """
    total = sum(given.values())
    if not (math.isfinite(total) and total > 0):
        raise ClimbError("the weights of this file do not sum to more than 0; give a weight to some domain")
    wanted = Mixture.from_dict({name: weight / total for name, weight in given.items()}, space.domains).weights
    allowed = bool(space.contains(wanted[None])[0])
    return wanted if allowed else np.asarray(space.project(wanted[None])[0]), not allowed


def _within(space: MixtureSpace, wanted: FloatArray, pinned: list[int], before: FloatArray) -> FloatArray:
    lower, upper = space.lower.copy(), space.upper.copy()
    lower[pinned] = upper[pinned] = wanted[pinned]
    try:
        return np.asarray(replace(space, lower=lower, upper=upper).project(wanted[None])[0])
    except ClimbError:  # the pinned weights alone are too far from natural
        return before
