"""Which method finds the best mixture with the same number of trials? Regret on surrogates of published results.

RegMix published 512 + 256 mixtures of 17 domains with the losses of the 1M-parameter model trained on each. Two models
of different families, fitted to the 512, stand in for training: a smooth one (small neural networks on the square roots
of the weights) and a rough one (boosted trees, the kin of the paper's own predictor). Each is a known truth, so that a
search's choice has a regret: the truth's optimum minus the truth at the choice, in nats of loss. A measurement is the
truth plus what both models together miss of one of the 256 other mixtures, drawn at random: all losses of one mixture
together, noise and misfit both, so rather too much noise than too little.

    python benchmarks/search.py [--data ../shared/data/regmix] [--seeds 20] [--quick]

Writes ``benchmarks/results/search.json`` and prints a Markdown table.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
from predictors import Table, load
from record import save

from climb_engine.config import SearchConfig
from climb_engine.search.loop import Search
from climb_engine.search.objective import Objective
from climb_engine.search.space import MixtureSpace
from climb_engine.types import FloatArray, Result, Trial

TARGETS = {"pile_cc": ("pile_cc",), "mean of four": ("pile_cc", "github", "wikipedia_en", "arxiv")}
METHODS: dict[str, dict[str, object]] = {
    "climb (64, 32, 16)": {"method": "climb", "iterations": (64, 32, 16)},
    "regmix (112)": {"method": "regmix", "iterations": (112,)},
    "random (112)": {"method": "random", "iterations": (112,)},
    "bayesian (32, 5 x 16)": {"method": "bayesian", "iterations": (32, 16, 16, 16, 16, 16)},
    "bayesian (32, 40, 40)": {"method": "bayesian", "iterations": (32, 40, 40)},
}
FAMILIES = ("networks", "trees")
CANDIDATES = 20_000  # per iteration, of every method
Model = Callable[[FloatArray], FloatArray]


@dataclass(frozen=True)
class Truth:
    """A surrogate: mixtures (n, m) to losses (n, q); and what it is searched in."""

    space: MixtureSpace
    losses: tuple[str, ...]
    model: Model
    misses: FloatArray  # (r, q) to draw noise from
    best: float  # score of the optimum

    def score(self, weights: FloatArray) -> FloatArray:
        """Mean negated loss (n,)."""
        return np.asarray(-self.model(weights).mean(axis=1))


@dataclass(frozen=True)
class Row:
    """One search."""

    family: str
    target: str
    method: str
    seed: int
    regret: float
    hope: float  # by how much the foretold gain over the natural mixture is above the true one, nats
    seconds: float


def networks(table: Table, losses: tuple[str, ...]) -> Model:
    """Five small networks on square roots of the weights, all losses at once; their mean."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPRegressor

    inputs, outputs = np.sqrt(table.weights), -np.column_stack([table.scores[name] for name in losses])
    centre, scale = inputs.mean(axis=0), inputs.std(axis=0).mean()
    mean, sd = outputs.mean(axis=0), outputs.std(axis=0)
    fits = []
    for seed in range(5):
        network = MLPRegressor(
            hidden_layer_sizes=(48,), activation="tanh", solver="lbfgs", alpha=0.1, max_iter=400, random_state=seed
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            fits.append(network.fit((inputs - centre) / scale, ((outputs - mean) / sd).squeeze()))

    def model(weights: FloatArray) -> FloatArray:
        scaled = (np.sqrt(weights) - centre) / scale
        members = [network.predict(scaled).reshape(len(weights), -1) for network in fits]
        return np.asarray(mean + sd * np.mean(members, axis=0))

    return model


def trees(table: Table, losses: tuple[str, ...]) -> Model:
    """Boosted trees for each loss."""
    import lightgbm

    settings = {"learning_rate": 0.03, "max_depth": 4, "min_data_in_leaf": 5, "num_threads": 1, "verbosity": -1}
    boosters = [
        lightgbm.train(settings, lightgbm.Dataset(table.weights, -table.scores[name]), num_boost_round=500)
        for name in losses
    ]
    return lambda weights: np.column_stack([booster.predict(weights) for booster in boosters])


@cache
def truth(data: Path, family: str, target: str) -> Truth:
    """Fit the surrogate and find its optimum."""
    losses = TARGETS[target]
    train, test = load(data, "train", "1m"), load(data, "test", "1m")
    models = {"networks": networks(train, losses), "trees": trees(train, losses)}
    measured = -np.column_stack([test.scores[name] for name in losses])
    misses = measured - np.mean([model(test.weights) for model in models.values()], axis=0)
    share = train.weights.mean(axis=0)
    domains = tuple(f"domain {i}" for i in range(len(share)))
    space = MixtureSpace.from_config(domains, share, SearchConfig())
    found = Truth(space, losses, models[family], misses - misses.mean(axis=0), 0.0)
    return Truth(space, losses, models[family], found.misses, optimum(found))


def optimum(found: Truth) -> float:
    """Best score of a large search: draws, then moves around the best in ever smaller steps."""
    rng = np.random.default_rng(0)
    pool = np.concatenate([found.space.candidates(50_000, rng), found.space.sample(50_000, rng)])
    for scale in (*(0.5, 0.2, 0.1, 0.05) * 3, 0.02, 0.01, 0.005):
        leaders = pool[np.argsort(-found.score(pool))[:200]]
        pool = np.concatenate([leaders, found.space.local(leaders, 20_000, rng, scale)])
    return float(found.score(pool).max())


def run(data: Path, case: tuple[str, str, str, int]) -> Row:
    """One search from its first trial to its choice."""
    family, target, method, seed = case
    known = truth(data, family, target)
    knobs = {"candidates": CANDIDATES, "reference_runs": 0, "confirm": 0, "folds": 0, "seed": seed}
    config = SearchConfig.model_validate({**knobs, **METHODS[method]})
    return Row(family, target, method, seed, *searched(known, config, seed))


def searched(known: Truth, config: SearchConfig, seed: int) -> tuple[float, float, float]:
    """The regret of a whole search, by how much its foretold gain is too large, and what it took in CPU-seconds."""
    search = Search(known.space, Objective({f"{name}/bpb": 1.0 for name in known.losses}), config, [])
    start = time.process_time()
    while trials := search.ask(1_000):
        for trial in trials:
            search.tell(trial.id, measure(known, trial, seed))
    choice = search.choice
    assert choice is not None
    chosen, natural = known.score(np.array([choice.mixture.weights, known.space.natural]))
    return float(known.best - chosen), float(choice.gain - (chosen - natural)), time.process_time() - start


def measure(known: Truth, trial: Trial, seed: int) -> Result:
    miss = known.misses[np.random.default_rng([seed, trial.id]).integers(len(known.misses))]
    losses = known.model(trial.mixture.weights[None])[0] + miss
    return Result({f"{n}/bpb": float(v) for n, v in zip(known.losses, losses, strict=True)}, 1, 1.0, 1.0)


def table(rows: list[Row]) -> Iterator[str]:
    """Markdown: mean regret with its standard error, relative to climb, and seconds."""
    yield "| surrogate | target | method | mean regret | relative to climb | searches better than climb's | CPU s |"
    yield "|---|---|---|---|---|---|---|"
    for family, target in dict.fromkeys((row.family, row.target) for row in rows):
        cells = {m: [r for r in rows if (r.family, r.target, r.method) == (family, target, m)] for m in METHODS}
        official = np.array([row.regret for row in cells["climb (64, 32, 16)"]])
        for method, found in cells.items():
            regret = np.array([row.regret for row in found])
            if not found:
                continue
            error = regret.std(ddof=1) / np.sqrt(len(regret)) if len(regret) > 1 else np.nan
            relative, better = regret.mean() / official.mean(), int((regret < official).sum())
            seconds = np.mean([row.seconds for row in found])
            yield (
                f"| {family} | {target} | {method} | {regret.mean():.4f} ± {error:.4f} | {relative:.2f} "
                f"| {better} of {len(regret)} | {seconds:.0f} |"
            )


def main() -> None:
    root = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=root.parent.parent / "shared/data/regmix", help="RegMix's tables")
    parser.add_argument("--seeds", type=int, default=20, help="searches per method")
    parser.add_argument("--quick", action="store_true", help="three seeds")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--name", default="search", help="of the file in benchmarks/results")
    options = parser.parse_args()
    seeds = range(3 if options.quick else options.seeds)

    cases = [(f, t, m, s) for f in FAMILIES for t in TARGETS for s in seeds for m in METHODS]
    with ProcessPoolExecutor(options.jobs) as pool:
        rows = list(pool.map(partial(run, options.data), cases))
    save(options.name, {"candidates": CANDIDATES, "rows": [asdict(row) for row in rows]})
    print("\n".join(table(rows)))


if __name__ == "__main__":
    main()
