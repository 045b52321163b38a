"""How much do the budget and its allocation matter? The paper's ablations, where the optimum is known.

    python benchmarks/ablations.py [--data ../shared/data/regmix] [--seeds 10]
    python benchmarks/ablations.py --table                                       print the saved results again

Surrogates, measurements and regret are those of benchmarks/search.py: the paper trained 1B models instead, one of each.
One seed of everything runs before the next, and results are written after each, so that it can be stopped at any time;
a second call goes on.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from record import RESULTS, save
from search import CANDIDATES, Row, searched, truth

from climb_engine.compare.plan import METHODS, NATURAL_RUNS, Options
from climb_engine.config import SearchConfig
from climb_engine.types import FloatArray

FULL = 112  # 100 % of the paper's budget
DRAWS = 2000  # of the bootstrap over seeds


@dataclass(frozen=True)
class Setting:
    """A method, a number of trials, and the proportion in which iterations share them."""

    method: str
    budget: int = FULL
    split: tuple[int, ...] = ()  # the method's own
    guessed: bool = False  # the natural mixture is not run, so that its score is the predictor's guess

    @property
    def natural_runs(self) -> int:
        """How much of the budget the natural mixture gets."""
        return 0 if self.guessed else NATURAL_RUNS.get(self.method, 0)

    @property
    def iterations(self) -> tuple[int, ...]:
        """Trials per iteration."""
        splits = {self.method: self.split} if self.split else {}
        later = Options(budget=self.budget, splits=splits).iterations(self.method)[1:]
        return self.budget - self.natural_runs - sum(later), *later

    @property
    def name(self) -> str:
        """What the table calls it."""
        natural = f"{self.natural_runs} natural, " if self.natural_runs else ""
        return f"{self.method}: {natural}{', '.join(map(str, self.iterations))}"


BUDGETS = [Setting(method, budget) for budget in (56, 112, 224) for method in ("random", "regmix", "climb", "ours")]
SPLITS = {
    "climb": ((1,), (6, 1), (4, 2, 1), (2, 2, 1, 1), (2, 1, 1, 1, 1, 1)),
    "ours": ((1,), (6, 1), (4, 2, 1), (2, 1, 1, 1), (2, 1, 1, 1, 1, 1)),
}
ALLOCATIONS = [Setting(method, FULL, split) for method, splits in SPLITS.items() for split in splits]
NATURAL = [Setting("ours", budget, guessed=guessed) for budget in (24, 48) for guessed in (True, False)]
SETTINGS = {setting.name: setting for setting in BUDGETS + ALLOCATIONS + NATURAL}
REFERENCE = Setting("climb").name


def run(data: Path, family: str, target: str, setting: Setting, seed: int) -> Row:
    """One search from its first trial to its choice."""
    known = truth(data, family, target)
    knobs = {"candidates": CANDIDATES, "confirm": 0, "folds": 0, "seed": seed}
    natural = {"reference_runs": setting.natural_runs}
    method = {"method": METHODS[setting.method], "iterations": setting.iterations}
    config = SearchConfig.model_validate(knobs | natural | method)
    return Row(family, target, setting.name, seed, *searched(known, config, seed))


# What the searches say

Cases = list[tuple[str, str]]
CASES: Cases = [("networks", "pile_cc"), ("trees", "pile_cc")]


def regrets(rows: Sequence[Row], name: str, seeds: int) -> FloatArray:
    """Regrets (cases, seeds) of a setting."""
    found = {(row.family, row.target, row.seed): row.regret for row in rows if row.method == name}
    return np.array([[found[(*case, seed)] for seed in range(seeds)] for case in CASES])


def relative(regret: FloatArray, reference: FloatArray) -> tuple[float, float, float]:
    """Mean regret over the reference's, geometric mean over cases; 95 % bootstrap interval over seeds."""
    rng, n = np.random.default_rng(0), regret.shape[1]

    def ratio(a: FloatArray, b: FloatArray) -> float:
        return float(np.exp(np.mean(np.log(a.mean(axis=1) / b.mean(axis=1)))))

    picks = (rng.integers(0, n, n) for _ in range(DRAWS))
    draws = [ratio(regret[:, pick], reference[:, pick]) for pick in picks]
    low, high = np.percentile(draws, [2.5, 97.5])
    return ratio(regret, reference), float(low), float(high)


def table(rows: Sequence[Row], settings: Sequence[Setting]) -> Iterator[str]:
    """Markdown of the seeds that every setting has finished."""
    seeds = finished(rows)
    reference = regrets(rows, REFERENCE, seeds)
    cases = [f"{family}, {target}" for family, target in CASES]
    yield f"| trials per iteration | {' | '.join(cases)} | over the published loop's | foretold too much | CPU s |"
    yield f"|---|{'---:|' * (len(cases) + 3)}"
    for setting in settings:
        regret = regrets(rows, setting.name, seeds)
        errors = regret.std(axis=1, ddof=1) / np.sqrt(seeds) if seeds > 1 else np.full(len(cases), np.nan)
        cells = [f"{mean:.3f} ± {error:.3f}" for mean, error in zip(regret.mean(axis=1), errors, strict=True)]
        middle, low, high = relative(regret, reference)
        mine = [row for row in rows if row.method == setting.name and row.seed < seeds]
        hope, seconds = (np.array(values) for values in zip(*((row.hope, row.seconds) for row in mine), strict=True))
        hopes = f"{hope.mean():+.3f} ± {hope.std(ddof=1) / np.sqrt(len(hope)):.3f}"
        ratio = f"{middle:.2f} [{low:.2f}, {high:.2f}]"
        yield f"| {setting.name} | {' | '.join(cells)} | {ratio} | {hopes} | {seconds.mean():.1f} |"


def finished(rows: Sequence[Row]) -> int:
    """Seeds, from the first on, for which all settings and cases are there."""
    there = {(row.family, row.target, row.method, row.seed) for row in rows}
    seed = 0
    while all((*case, name, seed) in there for case in CASES for name in SETTINGS):
        seed += 1
    return seed


def show(rows: Sequence[Row]) -> None:
    print(f"{finished(rows)} seeds, regret in nats ± standard error")
    for settings in (BUDGETS, ALLOCATIONS, NATURAL):
        print("\n".join(table(rows, settings)), flush=True)
        print()


def main() -> None:
    root = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=root.parent.parent / "shared/data/regmix", help="RegMix's tables")
    parser.add_argument("--seeds", type=int, default=10, help="searches per setting")
    parser.add_argument("--table", action="store_true", help="print the saved results")
    options = parser.parse_args()
    path = RESULTS / "ablations.json"
    rows = [Row(**row) for row in json.loads(path.read_text())["rows"]] if path.exists() else []
    for seed in () if options.table else range(finished(rows), options.seeds):
        rows = [row for row in rows if row.seed < seed]
        rows += [run(options.data, *case, setting, seed) for setting in SETTINGS.values() for case in CASES]
        save("ablations", {"candidates": CANDIDATES, "rows": [asdict(row) for row in rows]})
        print(f"seed {seed} done", flush=True)
    show(rows)


if __name__ == "__main__":
    main()
