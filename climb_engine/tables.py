"""From tables of mixtures and measurements to a fit: for those who have results and no run.

Two CSVs with one row per trained model, joined by an id: weights by domain, metrics by name. RegMix's and Olmix's
published tables are read as they are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from climb_engine.config import SearchConfig, nearest
from climb_engine.external import header_of, number, rows_of
from climb_engine.search.methods import Evidence, batch, first_mixtures, rank_candidates
from climb_engine.search.outcome import NORMAL_95, TRUSTED
from climb_engine.search.predictor import Validation
from climb_engine.search.space import MixtureSpace
from climb_engine.types import ClimbError, FloatArray

IDS = ("trial", "run", "run_id", "id", "index")  # columns that name a row; the first that both tables have
LABELS = ("name", "")  # columns that are neither weight nor metric
HIGHER = ("acc", "acc_norm", "accuracy")  # endings of metrics of which more is better
OFF = 0.02  # weights that miss a sum of 1 by no more were rounded
BEST = 5  # mixtures shown


@dataclass(frozen=True)
class Table:
    """Trained models: mixtures and what each measured."""

    domains: tuple[str, ...]
    weights: FloatArray  # (n, m)
    metrics: Mapping[str, FloatArray]  # name -> (n,)


@dataclass(frozen=True)
class Foretold:
    """A mixture with the score that is expected of it."""

    weights: Mapping[str, float]
    score: float
    interval: tuple[float, float]  # 95 %, of the mixture's score without measurement noise


@dataclass(frozen=True)
class Fit:
    """What a table says about mixtures. Scores are higher-is-better."""

    trials: int
    target: Mapping[str, float]  # metric -> signed part of the score
    validation: Validation | None
    noise_sd: float
    natural: Foretold
    best_measured: float
    best: tuple[Foretold, ...]
    batch: FloatArray  # (k, m) what to train next

    @property
    def warning(self) -> str:
        """In plain words, when the fit should not be believed; else empty."""
        if self.validation is None:
            return "too few different mixtures to cross-validate the predictor"
        if self.validation.spearman < TRUSTED:
            return f"the predictor ranks unseen mixtures badly (rank correlation {self.validation.spearman:.2f})"
        return ""


def read_table(ratios: Path, metrics: Path) -> Table:
    """Join two CSVs by their id. Raises ClimbError by file and line for whatever does not fit."""
    key = _key(ratios, metrics)
    weights, measured = _numbers(ratios, key), _numbers(metrics, key)
    for one, other, path in ((weights, measured, metrics), (measured, weights, ratios)):
        lost = [row for row in one if row not in other]
        if lost:
            raise ClimbError(f"{path}: there is no row for {key} {', '.join(lost[:5])}; both tables need the same rows")
    if not weights:
        raise ClimbError(f"{ratios}: there are no rows")
    domains = tuple(next(iter(weights.values())))
    rows = np.array([[row[name] for name in domains] for row in weights.values()])
    for row, total in zip(weights, rows.sum(axis=1), strict=True):
        if abs(total - 1) > OFF:
            raise ClimbError(f"{ratios}: the weights of {key} {row} sum to {total:.4g}, not to 1")
    if (rows < 0).any():
        raise ClimbError(f"{ratios}: {key} {list(weights)[int((rows < 0).any(axis=1).argmax())]} has a negative weight")
    names = tuple(next(iter(measured.values())))
    columns = {name: np.array([measured[row][name] for row in weights]) for name in names}
    return Table(domains, rows / rows.sum(axis=1, keepdims=True), columns)


def fit(table: Table, target: Mapping[str, float], config: SearchConfig, tokens: Mapping[str, float], size: int) -> Fit:
    """Fit a predictor to a table and say what it says.

    Args:
        table: the trained models.
        target: metric -> weight in the score; empty: the plain mean of all. Accuracies count positively, others
            negatively.
        config: method, predictor and limits.
        tokens: what each domain has, for the natural mixture; empty: the mean of the table's mixtures stands for it.
        size: mixtures in the next batch.
    """
    coefficients = signed(target or dict.fromkeys(table.metrics, 1.0), table.metrics)
    natural = _tokens(table, tokens)
    space = MixtureSpace.from_config(table.domains, natural, config)
    besides = {name: 0.0 for name in table.metrics if name not in coefficients and not name.endswith(HIGHER)}
    metrics = np.column_stack([table.metrics[name] for name in (*coefficients, *besides)])
    signs = np.array([*coefficients.values(), *besides.values()])
    evidence = Evidence(space, config, table.weights, metrics, signs, table.weights)
    rng = np.random.default_rng(config.seed)
    best = rank_candidates(evidence, BEST, rng)
    plain = config.method in ("random", "regmix")
    following = first_mixtures(space, size, table.weights, rng) if plain else batch(evidence, size, rng)
    return Fit(
        trials=len(table.weights),
        target=coefficients,
        validation=evidence.validation(),
        noise_sd=evidence.predictor.noise_sd,
        natural=_foretold(evidence, space.natural[None])[0],
        best_measured=float(evidence.scores.max()),
        best=_foretold(evidence, best),
        batch=following,
    )


def signed(target: Mapping[str, float], metrics: Sequence[str] | Mapping[str, Any]) -> dict[str, float]:
    """Metric -> signed part of the score, from weights above 0."""
    for name, weight in target.items():
        if name not in metrics:
            raise ClimbError(f"--target: no metric is called {name!r}{nearest(name, list(metrics))}")
        if not weight > 0:
            raise ClimbError(f"--target: the weight of {name} is {weight:g}; it must be more than 0")
    whole = sum(target.values())
    return {name: (1 if name.endswith(HIGHER) else -1) * weight / whole for name, weight in target.items()}


def _foretold(evidence: Evidence, weights: FloatArray) -> tuple[Foretold, ...]:
    means, sds = evidence.predictor.predict(weights)
    domains = evidence.space.domains
    return tuple(
        Foretold(
            dict(zip(domains, row.tolist(), strict=True)), float(mean), (mean - NORMAL_95 * sd, mean + NORMAL_95 * sd)
        )
        for row, mean, sd in zip(weights, means.tolist(), sds.tolist(), strict=True)
    )


def _tokens(table: Table, tokens: Mapping[str, float]) -> FloatArray:
    if not tokens:
        return np.asarray(table.weights.mean(axis=0))
    for name in tokens:
        if name not in table.domains:
            raise ClimbError(f"--tokens: no domain is called {name!r}{nearest(name, table.domains)}")
    lost = [name for name in table.domains if name not in tokens]
    if lost:
        raise ClimbError(f"--tokens: how many has {', '.join(lost)}?")
    return np.array([float(tokens[name]) for name in table.domains])


def _key(ratios: Path, metrics: Path) -> str:
    headers = [header_of(path) for path in (ratios, metrics)]
    for name in IDS:
        if all(name in header for header in headers):
            return name
    raise ClimbError(f"{ratios} and {metrics} need a common column that names the rows: one of {', '.join(IDS)}")


def _numbers(path: Path, key: str) -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    for line, row in rows_of(path, key, ()):
        where = f"{path}:{line}"
        if row[key] in found:
            raise ClimbError(f"{where}: {key} {row[key]} is there twice")
        found[row[key]] = {name: number(text, where, name) for name, text in row.items() if name not in (*IDS, *LABELS)}
    return found
