"""Ratings of a few documents to scores of all: a ridge head on the embeddings that exist already.

The ratings are people's (a CSV) or an annotator's. ``suggest`` says which documents to rate next.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from climb_engine.config import TOP_SCORE, nearest
from climb_engine.types import METRICS, ClimbError, FloatArray, Ids, Vectors

FEWEST, FEW = 20, 50
"""Below the first number of ratings a metric cannot be learned; below the second the head comes with a warning."""

FOLDS = 5
PENALTIES = tuple(np.logspace(-3, 2, 11).tolist())
"""Of the ridge; leave-one-out error chooses among them. Vectors are unit rows, so one grid serves all embedders."""

COLUMNS = ("id", "metric", "rating")

_SAMPLE = 20_000  # documents that suggestions are looked for among
_CELLS = 4  # per suggestion
_NOISE = 0.1  # of a rating, against a prior variance of 1 per direction: how soon a direction counts as known


@dataclass(frozen=True, eq=False)
class Ratings:
    """What is known of some documents."""

    ids: Ids  # (n,) sorted, distinct
    values: Vectors  # (n, len(METRICS)) float32, 0 to 5, NaN where not rated


@dataclass(frozen=True)
class Fit:
    """How well a metric was learned, by cross-validation in ``FOLDS`` parts."""

    ratings: int
    spearman: float | None  # of held-out ratings with their predictions; None when either is constant
    mae: float  # mean absolute error of held-out ratings
    mae_of_mean: float  # the same when the mean rating is always guessed
    penalty: float  # of the ridge trained on all ratings
    warning: str


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
        scores: FloatArray = np.asarray(vectors, dtype=np.float64) @ self._weights[:-1] + self._weights[-1]
        return np.asarray(np.clip(scores, 0, TOP_SCORE), dtype=np.float32)


def read_ratings(path: Path) -> Ratings:
    """Read a CSV with the columns id, metric and rating; of two ratings for one thing the later counts.

    Raises ClimbError that names the line.
    """
    rated: dict[int, dict[str, float]] = {}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            if missing := sorted(set(COLUMNS) - set(rows.fieldnames or ())):
                raise ClimbError(f"{path}: has no column {', '.join(missing)}; a line is id,metric,rating")
            for row in rows:
                document, metric, rating = _parsed(row, f"{path}:{rows.line_num}")
                rated.setdefault(document, {})[metric] = rating
    except UnicodeDecodeError as error:
        raise ClimbError(f"{path}: is not UTF-8 ({error}); save it as CSV in UTF-8") from error
    return as_ratings(rated)


def add_ratings(path: Path, rows: Iterable[tuple[int, str, float]]) -> None:
    """Append (document id, metric, rating) to a CSV, which is made when it is not there."""
    torn = path.exists() and path.stat().st_size > 0 and not path.read_bytes().endswith(b"\n")
    fresh = not path.exists() or path.stat().st_size == 0
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a", encoding="utf-8", newline="") as file:
        if torn:
            file.write("\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerows([COLUMNS] * fresh)
        writer.writerows(rows)


def as_ratings(rated: Mapping[int, Mapping[str, float]]) -> Ratings:
    """Document id -> metric -> rating, as arrays."""
    ids = np.array(sorted(rated), dtype=np.int64)
    values = np.full((len(ids), len(METRICS)), np.nan, dtype=np.float32)
    for row, document in enumerate(ids.tolist()):
        for metric, rating in rated[document].items():
            values[row, METRICS.index(metric)] = rating
    return Ratings(ids, values)


def _parsed(row: Mapping[str, str | None], where: str) -> tuple[int, str, float]:
    metric = (row["metric"] or "").strip()
    if metric not in METRICS:
        raise ClimbError(f"{where}: no metric is called {metric!r}{nearest(metric, METRICS)}")
    try:
        document, rating = int(row["id"] or ""), float(row["rating"] or "")
    except ValueError as error:
        raise ClimbError(f"{where}: id must be a whole number and rating a number ({error})") from error
    if document < 0 or not 0 <= rating <= TOP_SCORE:
        raise ClimbError(f"{where}: document {document}, rating {rating:g}; ids begin at 0, ratings run from 0 to 5")
    return document, metric, rating


def train_head(name: str, vectors: Vectors, values: Vectors, facts: Mapping[str, Any] | None = None) -> HeadScorer:
    """Teach a head from rated documents: their embeddings (n, d) and ratings (n, len(METRICS)), NaN where not rated.

    A metric that nobody rated is not scored. Raises ClimbError when one has too few ratings, or there are none.
    """
    known = ~np.isnan(values)
    metrics = tuple(metric for column, metric in enumerate(METRICS) if known[:, column].any())
    if not metrics:
        raise ClimbError(f"the {name} scorer has no ratings yet; rate at least {FEWEST} documents")
    weights, fits = [], {}
    for metric in metrics:
        column = METRICS.index(metric)
        rows = known[:, column]
        learned, fits[metric] = _fit(name, metric, np.asarray(vectors, np.float64)[rows], values[rows, column])
        weights.append(learned)
    said = {metric: asdict(fit) for metric, fit in fits.items()}
    return HeadScorer(name, metrics, np.column_stack(weights), {"metrics": said, **(facts or {})})


def _fit(name: str, metric: str, vectors: FloatArray, ratings: Vectors) -> tuple[FloatArray, Fit]:
    n = len(ratings)
    if n < FEWEST:
        raise ClimbError(
            f"the {name} scorer has {n} ratings of {metric}, too few to learn from; it needs {FEWEST}, better {FEW * 2}"
        )
    target = ratings.astype(np.float64)
    model = _ridge().fit(vectors, target)
    guesses, means = _held_out(vectors, target)
    few = f"only {n} ratings; the figures are rough, rate {FEW} or more" if n < FEW else ""
    mae, of_mean = float(np.abs(guesses - target).mean()), float(np.abs(means - target).mean())
    fit = Fit(n, _spearman(guesses, target), round(mae, 4), round(of_mean, 4), float(model.alpha_), few)
    return np.append(model.coef_, model.intercept_), fit


def _ridge() -> Any:
    from sklearn.linear_model import RidgeCV

    return RidgeCV(PENALTIES)


def _held_out(vectors: FloatArray, target: FloatArray) -> tuple[FloatArray, FloatArray]:
    """For each rated document, the prediction and the mean rating of the folds that do not hold it."""
    fold = np.random.default_rng(0).permutation(len(target)) % FOLDS
    guesses, means = np.empty_like(target), np.empty_like(target)
    for held in range(FOLDS):
        test = fold == held
        guesses[test] = _ridge().fit(vectors[~test], target[~test]).predict(vectors[test])
        means[test] = target[~test].mean()
    return np.clip(guesses, 0, TOP_SCORE), means


def _spearman(guesses: FloatArray, target: FloatArray) -> float | None:
    from scipy.stats import spearmanr

    if np.ptp(guesses) == 0 or np.ptp(target) == 0:
        return None
    return round(float(spearmanr(guesses, target).statistic), 4)


# --- what to rate next ----------------------------------------------------------------------------------------------


def suggest(vectors: npt.NDArray[np.floating[Any]], rated: Ids, n: int, seed: int = 0) -> Ids:
    """The ``n`` documents (row numbers, best first) worth rating next, none of them rated: uncertain and typical.

    ``vectors`` (documents, d) may be a memory map. Candidates are the documents at the centres of k-means cells of a
    sample. One after the other, that is taken which lowers a ridge's predictive variance the most, summed over the
    cells by their size, and it counts as rated from then on, so that no two say the same (Cohn, Ghahramani and Jordan
    1996, *Active learning with statistical models*).
    """
    free = np.setdiff1d(np.arange(len(vectors)), rated)
    if len(free) <= n:
        return free
    sample = np.random.default_rng(seed).permutation(free)[:_SAMPLE]
    sample.sort()
    rows = np.asarray(vectors[sample], dtype=np.float64)
    known = np.asarray(vectors[np.sort(rated)], dtype=np.float64)
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
