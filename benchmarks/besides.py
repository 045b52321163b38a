"""Does the predictor gain from what proxies measure besides the score? On the trials of real comparisons.

    python benchmarks/besides.py RUN/compare/ADDRESS ...

A comparison's searches have trained hundreds of proxies on one target, each in a data order of its own. The first
trials of each search that begins with draws from the prior teach; the trials of all other searches of that target are
foretold, noise included. Learned from is the score's metrics alone, or these and the held-out loss of every domain.
Comparisons of one run count as one target.

Writes ``benchmarks/results/besides.json`` and prints a Markdown table.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import numpy as np
import numpy.typing as npt
from record import save

from climb_engine.compare.plan import METHODS
from climb_engine.config import SearchConfig
from climb_engine.pipeline import Run
from climb_engine.search.loop import Search
from climb_engine.search.predictor import NORMAL_80, make_predictor, rank_correlation
from climb_engine.types import FloatArray
from climb_engine.workspace import Log

SIZES = (12, 24, 32)  # trials that teach
CROWDED = "ours"  # the method whose trials lie where it matters, around the best


@dataclass(frozen=True)
class Pool:
    """All proxies that were trained for one target."""

    weights: FloatArray  # (n, m)
    metrics: FloatArray  # (n, q) of the score, then held-out losses
    coefficients: FloatArray  # (q,) of the score; 0 for held-out losses
    search: npt.NDArray[np.str_]  # (n,) comparison, method and replicate
    ours: npt.NDArray[np.bool_]  # (n,)

    @property
    def scores(self) -> FloatArray:
        """Scores (n,), higher is better."""
        return np.asarray(self.metrics @ self.coefficients)


@dataclass(frozen=True)
class Row:
    """How well the others are foretold by the first trials of one search."""

    target: str
    search: str
    trials: int
    besides: bool
    spearman: float
    spearman_ours: float
    rmse: float
    coverage: float
    log_density: float


def pool(run: Run, comparisons: list[Path]) -> Pool:
    """The trials of some comparisons of a run; a proxy that several searches asked for counts once."""
    trials, names = [], []
    known = set()
    for folder in comparisons:
        for path in sorted((folder / "searches").glob("*.jsonl")):
            if path.stem.rpartition("-")[0] not in METHODS or any(one["event"] == "found" for one in Log(path)):
                continue
            for trial in Search(run.space(), run.objective(), SearchConfig(), list(Log(path))).trials:
                result = trial.result
                key = (trial.mixture.weights.tobytes(), tuple(result.metrics.values()) if result else ())
                if result and key not in known:
                    known.add(key)
                    trials.append(trial)
                    names.append(f"{folder.name}/{path.stem}")
    metrics, coefficients = run.objective().terms([trial.result for trial in trials if trial.result])
    ours = np.array([f"/{CROWDED}-" in name for name in names])
    return Pool(np.array([trial.mixture.weights for trial in trials]), metrics, coefficients, np.array(names), ours)


def measure(target: str, found: Pool, search: str, size: int) -> Iterator[Row]:
    """Learn from the first trials of a search with and without what was measured besides; foretell the others'."""
    mine = found.search == search
    teach, unseen = np.flatnonzero(mine)[:size], ~mine
    ours = found.ours[unseen]
    for besides in (False, True):
        used = slice(None) if besides else found.coefficients != 0
        predictor = make_predictor("gp", coefficients=found.coefficients[used])
        predictor.fit(found.weights[teach], found.metrics[teach][:, used])
        mean, latent = predictor.predict(found.weights[unseen])
        truth, sd = found.scores[unseen], np.hypot(latent, predictor.noise_sd)
        far = (truth - mean) / sd
        yield Row(
            target,
            search,
            size,
            besides,
            rank_correlation(mean, truth),
            rank_correlation(mean[ours], truth[ours]),
            float(np.sqrt(np.square(truth - mean).mean())),
            float((np.abs(far) < NORMAL_80).mean()),
            float((-0.5 * (np.square(far) + np.log(2 * np.pi * sd**2))).mean()),
        )


def table(rows: list[Row]) -> Iterator[str]:
    """Markdown: means over searches, without and with; and in how many searches all others are ranked better with."""
    measures = [field.name for field in fields(Row)[4:]]
    yield f"| target | trials | {' | '.join(name.replace('_', ' ') for name in measures)} | ranked better |"
    yield f"|---|---:|{'---:|' * (len(measures) + 1)}"
    for target, size in dict.fromkeys((row.target, row.trials) for row in rows):
        here = [row for row in rows if (row.target, row.trials) == (target, size)]
        without, having = ([row for row in here if row.besides is used] for used in (False, True))
        cells = [
            " → ".join(f"{np.mean([getattr(row, name) for row in side]):.3f}" for side in (without, having))
            for name in measures
        ]
        better = sum(b.spearman > a.spearman for a, b in zip(without, having, strict=True))
        yield f"| {target} | {size} | {' | '.join(cells)} | {better} of {len(having)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("comparisons", nargs="+", type=Path, help="folders of comparisons, RUN/compare/ADDRESS")
    options = parser.parse_args()
    runs: dict[Path, list[Path]] = {}
    for folder in options.comparisons:
        runs.setdefault(folder.parent.parent, []).append(folder)
    rows: list[Row] = []
    for path, folders in runs.items():
        found = pool(Run(path), folders)
        drawn = [name for name in dict.fromkeys(found.search) if name.split("/")[1].startswith(("random-", "climb-"))]
        for size in SIZES:
            rows += [row for name in drawn for row in measure(path.name, found, name, size)]
    save("besides", {"rows": [asdict(row) for row in rows]})
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
