"""Do trials of other domains help a search over new ones? Regret with and without 30 reused trials.

The 17 domains of RegMix's published table play the clusters; the truth is a surrogate fitted to the table (search.py).
An old search over 10 domains merged of them at random leaves 80 trials. Then one domain is split and two others are
merged, and a new search begins: with nothing, or with the first 30 of the old trials that can be carried over. Proxies
from another trunk rank mixtures a little otherwise, so that reused results may have an error of their own, as a part of
their spread; the noise of measurements is that of search.py, or a tenth of it.

    python benchmarks/reuse.py [--data ../shared/data/regmix] [--seeds 10]

Writes ``benchmarks/results/reuse.json`` and prints a Markdown table.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from record import save
from search import Truth, measure, truth

from climb_engine.config import SearchConfig
from climb_engine.search.loop import Search
from climb_engine.search.methods import settle
from climb_engine.search.objective import Objective
from climb_engine.search.reuse import Overlap, Reusable
from climb_engine.search.space import MixtureSpace
from climb_engine.types import FloatArray, Mixture

DOMAINS, REUSED, TOLERANCE, SIZE, CANDIDATES = 10, 30, 0.05, 16, 6000
NOISES, ERRORS = (1.0, 0.1), (0.0, 0.25, 0.5)


@dataclass(frozen=True)
class Row:
    """The regret of the best choice after each iteration of one search."""

    noise: float  # of a measurement, 1 being that of search.py
    error: float | None  # of what is reused, as a part of its spread; None: nothing is reused
    seed: int
    reused: int
    offered: int  # of the 80 old trials
    regrets: tuple[float, ...]


def divisions(k: int, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Which of k clusters each domain has, (DOMAINS, k): at random; and then with one domain split, two merged."""
    owner = rng.permutation(np.concatenate([np.arange(DOMAINS), rng.integers(0, DOMAINS, k - DOMAINS)]))
    large = rng.permutation(np.flatnonzero(np.bincount(owner, minlength=DOMAINS) > 1))[0]
    into, gone = rng.permutation(np.delete(np.arange(DOMAINS), large))[:2]
    changed = np.where(owner == gone, into, owner)
    changed[np.flatnonzero(owner == large)[0]] = gone
    return tuple((np.arange(DOMAINS)[:, None] == one).astype(float) for one in (owner, changed))


def over(known: Truth, members: FloatArray) -> Truth:
    """The truth as a search over merged domains sees it."""
    tokens = members * known.space.tokens
    inside = tokens / tokens.sum(axis=1, keepdims=True)
    names = tuple(f"domain {i}" for i in range(len(members)))
    space = MixtureSpace.from_config(names, tokens.sum(axis=1), SearchConfig())
    return replace(known, space=space, model=lambda weights: known.model(weights @ inside))


def optimum(known: Truth) -> float:
    """Best score of a search without noise: draws, then moves around the best in ever smaller steps."""
    rng = np.random.default_rng(0)
    pool = np.concatenate([known.space.candidates(10_000, rng), known.space.sample(200, rng)])
    for scale in (0.5, 0.2, 0.1, 0.05, 0.2, 0.1, 0.05, 0.02, 0.01, 0.005):
        leaders = pool[np.argsort(-known.score(pool))[:50]]
        pool = np.concatenate([leaders, known.space.local(leaders, 4000, rng, scale)])
    return float(known.score(pool).max())


def drive(known: Truth, seed: int, iterations: int, reused: list[Reusable]) -> tuple[Search, tuple[float, ...]]:
    """A search, and the regret of what it would choose after each iteration."""
    config = SearchConfig(iterations=(SIZE,) * iterations, candidates=CANDIDATES, reference_runs=0, seed=seed)
    search = Search(known.space, Objective({f"{name}/bpb": 1.0 for name in known.losses}), config, [])
    search.reuse(reused)
    regrets = []
    for step in range(1, iterations + 1):
        for trial in search.ask(SIZE, step):
            search.tell(trial.id, measure(known, trial, seed))
        choice = settle(search.evidence(), 1, np.random.default_rng(seed))
        regrets.append(known.best - float(known.score(choice)[0]))
    return search, tuple(regrets)


def run(data: Path, noise: float, seed: int) -> list[Row]:
    known = truth(data, "networks", "pile_cc")
    known = replace(known, misses=noise * known.misses)
    before, after = divisions(len(known.space.domains), np.random.default_rng(seed))
    old, new = over(known, before), over(known, after)
    new = replace(new, best=optimum(new))
    tokens = np.einsum("ak,bk,k->ab", before, after, known.space.tokens)
    overlap = Overlap(np.pad(tokens, ((0, 0), (0, 1))), np.pad(tokens.T, ((0, 0), (0, 1))), tokens, tokens)
    trials = drive(old, 1000 + seed, 5, [])[0].trials
    weights = np.array([trial.mixture.weights for trial in trials])
    carried = new.space.project(overlap.carry(weights))
    distances = overlap.distance(weights, carried)
    reusable = [
        Reusable("old", t.id, Mixture(new.space.domains, w), t.seed, t.result, float(d))
        for t, w, d in zip(trials, carried, distances, strict=True)
        if t.result and d <= TOLERANCE
    ]
    taken = reusable[:REUSED]
    sets = {None: [], **{error: list(erroneous(taken, error, seed)) for error in ERRORS}}
    return [Row(noise, e, seed, len(some), len(reusable), drive(new, seed, 4, some)[1]) for e, some in sets.items()]


def erroneous(taken: list[Reusable], error: float, seed: int) -> Iterator[Reusable]:
    """What is reused, with an error of this part of its spread."""
    spread = np.std([one.result.metrics["pile_cc/bpb"] for one in taken])
    for one, miss in zip(taken, np.random.default_rng(seed).normal(0, error * spread, len(taken)), strict=True):
        metrics = {name: value + miss for name, value in one.result.metrics.items()}
        yield replace(one, result=replace(one.result, metrics=metrics))


def main() -> None:
    root = Path(__file__).resolve().parent
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--data", type=Path, default=root.parent.parent / "shared/data/regmix", help="RegMix's tables")
    parser.add_argument("--seeds", type=int, default=10, help="pairs of divisions")
    options = parser.parse_args()
    rows = [row for noise in NOISES for seed in range(options.seeds) for row in run(options.data, noise, seed)]
    save("reuse", {"size": SIZE, "tolerance": TOLERANCE, "rows": [asdict(row) for row in rows]})
    print(
        f"| noise | error of what is reused | {' | '.join(f'{SIZE * i} trials' for i in range(1, 5))} |\n{'|---' * 6}|"
    )
    for noise in NOISES:
        for error in (None, *ERRORS):
            regrets = np.array([row.regrets for row in rows if (row.noise, row.error) == (noise, error)])
            errors = regrets.std(axis=0, ddof=1) / np.sqrt(len(regrets))
            cells = " | ".join(f"{m:.3f} ± {e:.3f}" for m, e in zip(regrets.mean(axis=0), errors, strict=True))
            print(f"| {noise:g} | {'nothing reused' if error is None else f'{error:g}'} | {cells} |")


if __name__ == "__main__":
    main()
