"""Which predictor ranks mixtures best? Measured on RegMix's published tables of trained models.

Each predictor learns the loss of 1M-parameter models from a random part of the 512 training mixtures, and ranks the
unseen test mixtures at 1M, 60M and 1B parameters. Run from the repository root:

    python benchmarks/predictors.py [--data ../shared/data/regmix] [--draws 10]

``--by-metric`` adds Gaussian processes and laws that learn each of the losses of the mean by itself (slow).

Writes ``benchmarks/results/predictors.json`` and prints Markdown tables of Spearman's rank correlation.
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pyarrow.csv
from record import save

from climb_engine.search.predictor import NORMAL_80, Predictor, make_predictor, rank_correlation
from climb_engine.types import FloatArray, Ids

PREDICTORS = ("lightgbm", "regmix", "ridge", "loglinear", "extratrees", "gp")
TARGETS = ("pile_cc", "github", "wikipedia_en", "mean")  # columns of loss, and the mean over all of them
BY_METRIC = " by metric"  # suffix of a predictor that learns the columns of the mean, not the mean
SCALES = ("1m", "60m", "1B")


@dataclass(frozen=True)
class Table:
    """Measured models: mixtures (n, m), and for each target the negated loss (n,)."""

    weights: FloatArray
    scores: dict[str, FloatArray]


@dataclass(frozen=True)
class Row:
    """One predictor on one test table, over the draws of its training trials."""

    predictor: str
    target: str
    scale: str
    trials: int
    draws: int
    spearman: float
    spearman_sd: float  # over draws
    coverage: float  # of the 80 % interval
    fit_seconds: float  # median


def load(folder: Path, split: str, scale: str) -> Table:
    mixtures = pyarrow.csv.read_csv(folder / f"{split}_mixture_{scale}.csv")
    losses = pyarrow.csv.read_csv(folder / f"{split}_pile_loss_{scale}.csv")
    if mixtures["index"] != losses["index"]:
        raise SystemExit(f"{folder}: the rows of the {split} tables at {scale} are not the same models")
    weights = np.column_stack([mixtures[name].to_numpy() for name in mixtures.column_names[1:]]).astype(float)
    scores = {
        name.removeprefix("metric/the_pile_").removesuffix("_val_loss"): -losses[name].to_numpy()
        for name in losses.column_names[1:]
    }
    scores["mean"] = np.mean(list(scores.values()), axis=0)
    return Table(weights / weights.sum(axis=1, keepdims=True), scores)


def measure(train: Table, tests: dict[str, Table], sizes: list[int], draws: int, names: list[str]) -> Iterator[Row]:
    for size in sizes:
        parts = [np.random.default_rng([draw, size]).choice(len(train.weights), size, False) for draw in range(draws)]
        for target, name in pairs(names):
            fits = [fit_and_judge(name, seed, train, part, tests, target) for seed, part in enumerate(parts)]
            for scale in tests:
                spearman, coverage, seconds = np.array([judged[scale] for judged in fits]).T
                spread, median = float(spearman.std()), float(np.median(seconds))
                means = float(spearman.mean()), spread, float(coverage.mean())
                yield Row(name, target, scale, size, draws, *means, median)


def pairs(names: list[str]) -> list[tuple[str, str]]:
    return [(t, n) for t, n in itertools.product(TARGETS, names) if t == "mean" or not n.endswith(BY_METRIC)]


def fitted(name: str, seed: int, train: Table, part: Ids, target: str) -> Predictor:
    if not name.endswith(BY_METRIC):
        return make_predictor(name, seed).fit(train.weights[part], train.scores[target][part])
    columns = np.column_stack([values[part] for column, values in train.scores.items() if column != "mean"])
    equal = np.full(columns.shape[1], 1 / columns.shape[1])
    return make_predictor(name.removesuffix(BY_METRIC), seed, coefficients=equal).fit(train.weights[part], columns)


def fit_and_judge(
    name: str, seed: int, train: Table, part: Ids, tests: dict[str, Table], target: str
) -> dict[str, tuple[float, float, float]]:
    """Spearman, coverage of the 80 % interval and seconds of the fit, by test table."""
    start = time.perf_counter()
    predictor = fitted(name, seed, train, part, target)
    seconds = time.perf_counter() - start
    judged = {}
    for scale, test in tests.items():
        (mean, sd), truth = predictor.predict(test.weights), test.scores[target]
        inside = np.abs(mean - truth) <= NORMAL_80 * np.hypot(sd, predictor.noise_sd)
        judged[scale] = (rank_correlation(mean, truth), float(inside.mean()), seconds)
    return judged


def tables(rows: list[Row]) -> Iterator[str]:
    """Markdown: for each scale and target, predictors by trials; then their cost."""
    sizes = sorted({row.trials for row in rows})
    found = {(row.scale, row.target, row.predictor, row.trials): row for row in rows}
    names = list(dict.fromkeys(row.predictor for row in rows))
    head = " | ".join(f"{size} trials" for size in sizes) + " |\n" + "|---" * (len(sizes) + 2) + "|"
    for scale in SCALES:
        yield f"\nSpearman at {scale}, mean ± sd of {rows[0].draws} draws\n\n| target | predictor | {head}"
        for target, name in pairs(names):
            cells = [found[scale, target, name, size] for size in sizes]
            shown = " | ".join(f"{row.spearman:.3f} ± {row.spearman_sd:.3f}" for row in cells)
            yield f"| {target} | {name} | {shown} |"
    yield f"\nSeconds of a fit, and coverage of the 80 % interval at 1m\n\n| target | predictor | {head}"
    for target, name in pairs(names):
        cells = [found["1m", target, name, size] for size in sizes]
        shown = " | ".join(f"{row.fit_seconds:.2f} s, {row.coverage:.2f}" for row in cells)
        yield f"| {target} | {name} | {shown} |"


def main() -> None:
    root = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=root.parent.parent / "shared/data/regmix", help="RegMix's tables")
    parser.add_argument("--draws", type=int, default=10, help="random training parts per size")
    parser.add_argument("--sizes", type=int, nargs="+", default=[32, 64, 112, 256], help="training trials")
    parser.add_argument("--predictors", nargs="+", default=list(PREDICTORS), help="those to compare")
    parser.add_argument("--out", default="predictors", help="name of the file in benchmarks/results")
    parser.add_argument("--by-metric", action="store_true", help="add predictors that learn each loss by itself")
    options = parser.parse_args()
    names = options.predictors + ["gp" + BY_METRIC, "loglinear" + BY_METRIC] * options.by_metric

    tests = {scale: load(options.data, "test", scale) for scale in SCALES}
    train = load(options.data, "train", "1m")
    rows = list(measure(train, tests, options.sizes, options.draws, names))
    save(options.out, {"rows": [asdict(row) for row in rows]})
    print("\n".join(tables(rows)))


if __name__ == "__main__":
    main()
