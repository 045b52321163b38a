"""A ridge head on the embeddings that exist already: ratings of a few documents to scores of all.

``train_head`` teaches it, ``fits`` says how well it learns, ``suggest`` which documents to rate next.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from climb_engine.config import TOP_SCORE
from climb_engine.types import METRICS, ClimbError, FloatArray, Ids, Vectors

FEWEST, FEW = 20, 50
"""Below the first number of ratings a metric cannot be learned; below the second the head comes with a warning."""

FOLDS = 5
PENALTIES = tuple(np.logspace(-3, 2, 11).tolist())
"""Of the ridge; leave-one-out error chooses among them. Vectors are unit rows, so one grid serves all embedders."""

STRETCH = 3.0
"""Scores are drawn apart by at most this factor, lest the noise of a head that hardly learned becomes scores."""

_SAMPLE = 20_000  # documents that suggestions are looked for among
_CELLS = 4  # per suggestion
_NOISE = 0.1  # of a rating, against a prior variance of 1 per direction: how soon a direction counts as known


@dataclass(frozen=True)
class Fit:
    """How well a metric was learned, by cross-validation in ``FOLDS`` parts; None: too few ratings to learn from.

    Rare ratings weigh more in the two errors, as they do in the head, so that finding the few bad documents counts.
    """

    ratings: int
    spearman: float | None = None  # of held-out ratings with their scores; None also when either is constant
    mae: float | None = None  # mean absolute error of held-out ratings
    mae_of_mean: float | None = None  # the same when the mean of the other ratings is always guessed
    penalty: float | None = None  # of the ridge trained on all ratings
    stretch: float | None = None  # its predictions are drawn apart by this factor
    warning: str = ""


class HeadScorer:
    """A linear head per metric on embeddings, cut to 0 to 5."""

    def __init__(self, name: str, metrics: tuple[str, ...], weights: FloatArray, facts: Mapping[str, Any]) -> None:
        """``weights`` (d + 1, len(metrics)), the intercept last; ``facts`` say how it was taught, for the manifest."""
        self.name = name
        self.metrics = metrics
        self.facts = facts
        self._weights = weights

    def score(self, documents: pa.Table, vectors: Vectors | None = None) -> Vectors:  # noqa: ARG002
        """(n, len(metrics)) float32; reads only ``vectors`` (n, d)."""
        assert vectors is not None, f"{self.name} scores by the embeddings"
        scores = _applied(np.asarray(vectors, dtype=np.float64), self._weights)
        return np.asarray(scores, dtype=np.float32)


def train_head(name: str, vectors: Vectors, values: Vectors, facts: Mapping[str, Any] | None = None) -> HeadScorer:
    """Teach a head from rated documents: their embeddings (n, d) and ratings (n, len(METRICS)), NaN where not rated.

    A metric with fewer than ``FEWEST`` ratings is not scored; the facts name it. ClimbError when that leaves none.
    """
    rated = {metric: _rated(vectors, values, metric) for metric in METRICS}
    counts = {metric: len(ratings) for metric, (_, ratings) in rated.items() if len(ratings)}
    metrics = tuple(metric for metric, n in counts.items() if n >= FEWEST)
    if not counts:
        raise ClimbError(f"the {name} scorer has no ratings yet; rate at least {FEWEST} documents")
    if not metrics:
        there = ", ".join(f"{n} ratings of {metric}" for metric, n in counts.items())
        raise ClimbError(
            f"the {name} scorer has {there}, too few to learn from; it needs {FEWEST} of a metric, better {FEW * 2}"
        )
    weights = np.column_stack([_taught(*rated[metric]).weights for metric in metrics])
    said = {metric: asdict(_judged(*rated[metric])) for metric in metrics}
    few = {metric: n for metric, n in counts.items() if n < FEWEST}
    return HeadScorer(name, metrics, weights, {"metrics": said, **({"left_out": few} if few else {}), **(facts or {})})


def fits(vectors: Vectors, values: Vectors) -> dict[str, Fit]:
    """How well each rated metric is learned from these documents, shapes as for ``train_head``; refuses nothing."""
    rated = {metric: _rated(vectors, values, metric) for metric in METRICS}
    return {metric: _judged(*known) for metric, known in rated.items() if len(known[1])}


def _rated(vectors: Vectors, values: Vectors, metric: str) -> tuple[FloatArray, FloatArray]:
    """The documents that were rated on this metric, and their ratings."""
    column = values[:, METRICS.index(metric)]
    known = ~np.isnan(column)
    return np.asarray(vectors, np.float64)[known], column[known].astype(np.float64)


# --- the head of one metric -----------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Taught:
    weights: FloatArray  # (d + 1,), the intercept last
    penalty: float
    stretch: float


def _taught(vectors: FloatArray, ratings: FloatArray) -> _Taught:
    """A ridge whose scores spread as the ratings do. docs/QUALITY.md has the measurements behind both steps.

    Alone, a ridge on few and uneven ratings draws everything towards their mean, and thresholds on the scale of the
    ratings find nothing. So rare ratings weigh more, and its predictions are moved and stretched to have the mean and
    the standard deviation of the ratings, where they were predicted without themselves.
    """
    from sklearn.linear_model import RidgeCV

    shares = _shares(ratings)
    ridge = RidgeCV(PENALTIES).fit(vectors, ratings, sample_weight=shares)
    again = RidgeCV([ridge.alpha_], scoring="neg_mean_squared_error", store_cv_results=True)
    guesses = again.fit(vectors, ratings, sample_weight=shares).cv_results_.reshape(len(ratings), -1)[:, 0]
    stretch = _stretch(guesses, ratings, shares)
    mean, centre = np.average(ratings, weights=shares), np.average(guesses, weights=shares)
    weights = np.append(stretch * ridge.coef_, mean + stretch * (ridge.intercept_ - centre))
    return _Taught(weights, float(ridge.alpha_), stretch)


def _shares(ratings: FloatArray) -> FloatArray:
    """Weights of mean 1: a rating weighs 1 / sqrt(how many are rated about the same).

    Halfway between what the sample happens to hold and every rating counting the same (Yang et al. 2021, *Delving into
    deep imbalanced regression*, SQINV).
    """
    levels = np.rint(ratings).astype(np.int64)
    rarity = 1 / np.sqrt(np.bincount(levels)[levels])
    shares: FloatArray = rarity / rarity.mean()
    return shares


def _stretch(guesses: FloatArray, ratings: FloatArray, shares: FloatArray) -> float:
    """The ratings' standard deviation over the guesses', from 1 to ``STRETCH``.

    It is 1 when the two correlate by less than a standard error of no correlation: noise is not drawn apart.
    """
    covariance = np.cov(guesses, ratings, aweights=shares, ddof=0)
    spread, wanted = np.sqrt(np.diag(covariance))
    if covariance[0, 1] <= max(spread * wanted / np.sqrt(len(ratings)), 1e-12):
        return 1.0
    return float(np.clip(wanted / spread, 1, STRETCH))


def _applied(vectors: FloatArray, weights: FloatArray) -> FloatArray:
    scores: FloatArray = np.clip(vectors @ weights[:-1] + weights[-1], 0, TOP_SCORE)
    return scores


# --- how well it learned --------------------------------------------------------------------------------------------


def _judged(vectors: FloatArray, ratings: FloatArray) -> Fit:
    n = len(ratings)
    if n < FEWEST:
        return Fit(n, warning=f"only {n} of the {FEWEST} ratings that it takes to learn from")
    taught, shares = _taught(vectors, ratings), _shares(ratings)
    guesses, means = _held_out(vectors, ratings)
    mae = float(np.average(np.abs(guesses - ratings), weights=shares))
    of_mean = float(np.average(np.abs(means - ratings), weights=shares))
    figures = (_spearman(guesses, ratings), round(mae, 4), round(of_mean, 4), taught.penalty, round(taught.stretch, 4))
    return Fit(n, *figures, warning=_warning(n, mae, of_mean))


def _warning(n: int, mae: float, of_mean: float) -> str:
    if n < FEW:
        return f"only {n} ratings; the figures are rough, rate {FEW} or more"
    return "no better than always guessing the mean; rate more, and look at the scores" if mae > of_mean else ""


def _held_out(vectors: FloatArray, ratings: FloatArray) -> tuple[FloatArray, FloatArray]:
    """For each rated document, the score and the mean rating by the folds that do not hold it."""
    fold = np.random.default_rng(0).permutation(len(ratings)) % FOLDS
    guesses, means = np.empty_like(ratings), np.empty_like(ratings)
    for held in range(FOLDS):
        test = fold == held
        guesses[test] = _applied(vectors[test], _taught(vectors[~test], ratings[~test]).weights)
        means[test] = np.average(ratings[~test], weights=_shares(ratings[~test]))
    return guesses, means


def _spearman(guesses: FloatArray, ratings: FloatArray) -> float | None:
    from scipy.stats import spearmanr

    if np.ptp(guesses) == 0 or np.ptp(ratings) == 0:
        return None
    return round(float(spearmanr(guesses, ratings).statistic), 4)


# --- what to rate next ----------------------------------------------------------------------------------------------


def suggest(read: Callable[[Ids], Vectors], count: int, rated: Ids, n: int, seed: int = 0) -> Ids:
    """The ``n`` documents (row numbers, best first) worth rating next, none of them rated: uncertain and typical.

    ``read`` gives the vectors (rows, d) of sorted row numbers below ``count``; it is asked for a sample and for what
    is rated. Candidates are the documents at the centres of k-means cells of the sample. One after the other, that is
    taken which lowers a ridge's predictive variance the most, summed over the cells by their size, and it counts as
    rated from then on, so that no two say the same (Cohn, Ghahramani and Jordan 1996, *Active learning with
    statistical models*).
    """
    rated = np.unique(rated)
    drawn = np.random.default_rng(seed).choice(count, min(count, _SAMPLE + len(rated)), replace=False)
    sample = np.setdiff1d(drawn, rated)
    if len(sample) <= n:
        return sample
    rows = np.asarray(read(sample), dtype=np.float64)
    known = np.asarray(read(rated), dtype=np.float64)
    typical, sizes = _cells(rows, min(len(rows), _CELLS * n), seed)
    picked = _greedy(rows[typical], sizes, known, min(n, len(typical)))
    return np.asarray(sample[typical[picked]], dtype=np.int64)


def _cells(rows: FloatArray, k: int, seed: int) -> tuple[Ids, FloatArray]:
    """The row nearest to each k-means centre, and the cell's share of the rows; empty cells are left out."""
    from sklearn.cluster import MiniBatchKMeans

    model = MiniBatchKMeans(k, random_state=seed, n_init=1, batch_size=4096).fit(rows)
    away = np.linalg.norm(rows - model.cluster_centers_[model.labels_], axis=1)
    order = np.lexsort((away, model.labels_))
    cells, first, counts = np.unique(model.labels_[order], return_index=True, return_counts=True)
    assert len(cells) <= k
    return order[first], counts / len(rows)


def _greedy(candidates: FloatArray, sizes: FloatArray, known: FloatArray, n: int) -> list[int]:
    """Candidates by what they tell of all cells; the covariance of the predictions is updated after each."""
    posterior = np.linalg.inv(known.T @ known / _NOISE + np.eye(candidates.shape[1]))
    covariance = candidates @ posterior @ candidates.T
    picked: list[int] = []
    for _ in range(n):
        gain = sizes @ covariance**2 / (_NOISE + np.diag(covariance))
        gain[picked] = -np.inf
        best = int(gain.argmax())
        picked.append(best)
        column = covariance[:, best]
        covariance = covariance - np.outer(column, column) / (_NOISE + column[best])
    return picked
