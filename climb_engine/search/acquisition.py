"""Which candidates an iteration trains: functions of a fitted predictor and a pool of mixtures."""

from __future__ import annotations

import numpy as np

from climb_engine.search.predictor import Predictor
from climb_engine.types import FloatArray


def top_n(predictor: Predictor, pool: FloatArray, n: int, top: int, rng: np.random.Generator) -> FloatArray:
    """``n`` at random from the ``top`` best predicted of a pool (c, m), as in the paper (arXiv 2504.13161, section 3.2)."""
    mean, _ = predictor.predict(pool)
    best = np.argsort(-mean, kind="stable")[:top]
    drawn: FloatArray = pool[rng.choice(best, size=min(n, len(best)), replace=False)]
    return drawn


def expected_improvement(mean: FloatArray, sd: FloatArray, best: float) -> FloatArray:
    """Expected amount by which each candidate exceeds ``best`` (Jones et al. 1998); (c,)."""
    from scipy.stats import norm

    spread = np.maximum(sd, 1e-12)
    z = (mean - best) / spread
    improvement: FloatArray = spread * (z * norm.cdf(z) + norm.pdf(z))
    return improvement


def bayesian(predictor: Predictor, pool: FloatArray, n: int, tried: FloatArray, rng: np.random.Generator) -> FloatArray:
    """Half of ``n`` by expected improvement, half by Thompson sampling, no candidate twice.

    pool (c, m), tried (n, m): what was measured; the best posterior mean among them is what is to be exceeded, since
    the best measurement is partly luck.
    """
    mean, sd = predictor.predict(pool)
    incumbent = float(predictor.predict(tried)[0].max())
    ranked = np.argsort(-expected_improvement(mean, sd, incumbent), kind="stable")
    picked = list(dict.fromkeys(_spread(pool, ranked, n - n // 2)))
    promising = ranked[: min(len(ranked), 2000)]
    for draw in predictor.sample(pool[promising], 4 * n, rng):
        if len(picked) >= n:
            break
        best = int(promising[np.argmax(draw)])
        if best not in picked:
            picked.append(best)
    picked += [int(i) for i in ranked if int(i) not in picked][: n - len(picked)]
    return pool[picked]


def _spread(pool: FloatArray, ranked: np.ndarray, n: int) -> list[int]:
    """The first ``n`` of the ranking that keep a distance from each other: a batch of near twins teaches little."""
    chosen: list[int] = []
    for i in ranked[: 50 * n]:
        if all(np.abs(pool[i] - pool[j]).sum() > 0.05 for j in chosen):  # 5 points of weight moved, in total 0.05
            chosen.append(int(i))
        if len(chosen) == n:
            break
    return chosen
