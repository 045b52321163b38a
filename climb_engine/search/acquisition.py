"""Which candidates an iteration trains: functions of a fitted predictor and a pool of mixtures."""

from __future__ import annotations

import numpy as np

from climb_engine.search.regression import Predictor
from climb_engine.types import FloatArray, Ids

APART = 0.05  # L1 distance kept between mixtures of a batch (of at most 2): near twins teach little
PROMISING = 1000  # candidates that a Thompson draw chooses from


def top_n(predictor: Predictor, pool: FloatArray, n: int, top: int, rng: np.random.Generator) -> FloatArray:
    """``n`` at random from the ``top`` best predicted of a pool (c, m), as in the paper (2504.13161, section 3.2)."""
    best = np.argsort(-predictor.mean(pool), kind="stable")[:top]
    drawn: FloatArray = pool[rng.choice(best, size=min(n, len(best)), replace=False)]
    return drawn


def expected_improvement(mean: FloatArray, sd: FloatArray, best: float) -> FloatArray:
    """Expected amount by which each candidate exceeds ``best`` (Jones et al. 1998); (c,)."""
    from scipy.special import ndtr

    spread = np.maximum(sd, 1e-12)
    z = (mean - best) / spread
    density = np.exp(-0.5 * z**2) / np.sqrt(2 * np.pi)
    return np.asarray(spread * np.maximum(z * ndtr(z) + density, 0.0))


def improving_and_thompson(
    predictor: Predictor, pool: FloatArray, improvement: FloatArray, n: int, rng: np.random.Generator
) -> FloatArray:
    """Half of ``n`` by expected improvement (c,) over a pool (c, m), half by Thompson sampling; none twice.

    Each Thompson draw is one possible truth, and takes the mixture that would be best in it.
    """
    ranked = np.argsort(-improvement, kind="stable")
    picked = spaced(pool, ranked, n - n // 2)
    promising = ranked[:PROMISING]
    draws = predictor.sample(pool[promising], 4 * n, rng)
    bests = [int(i) for i in promising[np.argmax(draws, axis=1)]]
    picked = list(dict.fromkeys([*picked, *bests, *(int(i) for i in ranked[: 2 * n])]))
    return pool[picked[:n]]


def spaced(pool: FloatArray, ranked: Ids, n: int) -> list[int]:
    """The first ``n`` of a ranking of the pool (c, m) that keep ``APART``; where too few can, the first of the rest."""
    near = np.zeros(len(ranked), dtype=bool)
    chosen: list[int] = []
    while len(chosen) < n and not near.all():
        chosen.append(int(ranked[near.argmin()]))
        near |= np.abs(pool[ranked] - pool[chosen[-1]]).sum(axis=1) <= APART
    return list(dict.fromkeys([*chosen, *(int(i) for i in ranked[:n])]))[:n]
