"""How well predictions order trials: all, and the best half, which is what one chooses from. Knows no Streamlit."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from app.words import plural
from climb_engine.search.outcome import TRUSTED
from climb_engine.search.predictor import NORMAL_80, rank_correlation
from climb_engine.types import FloatArray, Ids

FEWEST = 6  # trials of which a rank correlation says anything
_DRAWS = 100  # of what the scores may be without noise


@dataclass(frozen=True)
class Order:
    """How well predictions order some measured trials; nan where there are too few to say, or the noise is unknown."""

    trials: int
    spearman: float
    ceiling: float  # of predictions without any error: what the noise of single runs allows

    @property
    def limited(self) -> bool:
        """Whether the noise alone keeps the order from being foretold."""
        return self.ceiling < TRUSTED


@dataclass(frozen=True)
class Ranking:
    """Both orders, and how many scores fell where they were foretold to."""

    whole: Order
    best: Order  # of the half with the best measured scores
    coverage: float  # part of the scores inside their 80 % intervals

    @property
    def text(self) -> str:
        """In a sentence."""
        inside = f"{self.coverage:.0%} of them inside the 80 % interval"
        if not math.isfinite(self.whole.spearman):
            return f"{plural(self.whole.trials, 'trial')}, too few for a rank correlation; {inside}"
        parts = [f"{self.whole.spearman:.2f} over all {self.whole.trials:,} trials{_allowed(self.whole)}"]
        if math.isfinite(self.best.spearman):
            parts.append(f"{self.best.spearman:.2f} over their best {self.best.trials:,}{_allowed(self.best)}")
        return f"rank correlation {', '.join(parts)}; {inside}"


def ranking(predicted: FloatArray, sds: FloatArray, scores: FloatArray, mixtures: Ids, noise_sd: float) -> Ranking:
    """How predictions (n,) with sds (n,) did by measured scores (n,), n from 1.

    ``mixtures`` (n,) are equal where trials ran the same mixture; ``noise_sd`` is that of one run, nan if unknown.
    """
    best = np.argsort(-scores, kind="stable")[: -(-len(scores) // 2)]
    truths = _believable(scores, mixtures, noise_sd)
    inside = np.abs(predicted - scores) <= NORMAL_80 * sds
    whole = _order(predicted, scores, truths)
    return Ranking(whole, _order(predicted[best], scores[best], truths[:, best]), float(inside.mean()))


def doubt(found: Ranking) -> str:
    """In plain words, when the order among the best half should not be believed; else empty."""
    whole, best = found.whole, found.best
    if not best.spearman < TRUSTED:
        return ""
    known = f"rank correlation {best.spearman:.2f} among the best {best.trials}, {whole.spearman:.2f} among all"
    if best.limited:
        return (
            f"the predictor tells good mixtures from bad ones, but not the good ones from each other ({known}). "
            "Nothing could: single runs of these differ by little more than their noise, so that even a perfect "
            f"prediction would reach only about {best.ceiling:.1f} there. To choose among them, believe neither a "
            "predicted nor a single measured score, but means over several seeds (search.confirm_best)"
        )
    allowed = f"; the noise of a run would allow about {best.ceiling:.1f}" if math.isfinite(best.ceiling) else ""
    return (
        f"the predictor is not to be trusted among the best mixtures ({known}{allowed}). Believe the region that it "
        "found, not its first place in it; another iteration trains more mixtures there, and search.confirm_best "
        "trains several of the best with fresh seeds before one is chosen"
    )


def _allowed(order: Order) -> str:
    return f" (noise allows about {order.ceiling:.1f})" if math.isfinite(order.ceiling) else ""


def _order(predicted: FloatArray, scores: FloatArray, truths: FloatArray) -> Order:
    if len(scores) < FEWEST:
        return Order(len(scores), np.nan, np.nan)
    ceilings = [rank_correlation(truth, scores) for truth in truths]
    return Order(len(scores), rank_correlation(predicted, scores), float(np.mean(ceilings)) if ceilings else np.nan)


def _believable(scores: FloatArray, mixtures: Ids, noise_sd: float) -> FloatArray:
    """Draws (k, n) of the scores without noise, given the measured ones; none where the noise is unknown.

    That mixtures score like the measured ones is all that is known beforehand. Those are spread by noise as well, so
    the ceiling is a little too high where noise is most of their spread.
    """
    if not np.isfinite(noise_sd):
        return np.empty((0, len(scores)))
    _, which, runs = np.unique(mixtures, return_inverse=True, return_counts=True)
    means = np.bincount(which, scores) / runs
    sds = np.maximum(noise_sd / np.sqrt(runs), 1e-9 * (float(np.ptp(means)) or 1.0))
    chances = np.exp(-0.5 * ((means[:, None] - means) / sds[:, None]) ** 2).cumsum(axis=1)  # (mixtures, values)
    points = np.random.default_rng(0).random((len(means), _DRAWS)) * chances[:, -1:]
    values = [means[np.searchsorted(row, at)] for row, at in zip(chances, points, strict=True)]
    return np.asarray(np.array(values).T[:, which])
