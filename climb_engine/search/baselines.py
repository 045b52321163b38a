"""What a found mixture has to beat, and what the beating cost.

The methods "random" and "regmix" are searches of their own (see ``methods``). Here is what the trials of any search say
about the mixtures that such a search would have chosen, and about those that need no search.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from climb_engine.search.predictor import make_predictor
from climb_engine.search.space import MixtureSpace
from climb_engine.types import FloatArray, Trial

AVERAGED = 100  # RegMix's answer is the mean of this many of the best predicted candidates
FEWEST = 45  # trials below which RegMix's regression is a constant


@dataclass(frozen=True)
class Spent:
    """What trials cost."""

    proxies: int
    tokens: int
    seconds: float
    flops: float

    @classmethod
    def on(cls, trials: Iterable[Trial]) -> Spent:
        """The sum over the trials that were measured."""
        results = [trial.result for trial in trials if trial.result]
        return cls(
            proxies=len(results),
            tokens=sum(result.tokens for result in results),
            seconds=sum(result.seconds for result in results),
            flops=sum(result.flops for result in results),
        )


def baselines(
    space: MixtureSpace, drawn: FloatArray, scores: FloatArray, candidates: int, rng: np.random.Generator
) -> Mapping[str, FloatArray]:
    """Name to weights (m,): natural, uniform (the paper's "Random"), best of random, RegMix.

    Args:
        space: which mixtures are allowed.
        drawn: mixtures (n, m) that were drawn from the prior and measured; the last two are made of them.
        scores: their scores (n,).
        candidates: mixtures that RegMix ranks.
        rng: for the candidates.
    """
    found = {"natural": space.natural, "uniform": space.uniform}
    if len(scores):
        found["best of random"] = drawn[int(np.argmax(scores))]
    if len(scores) >= FEWEST:
        pool = space.candidates(candidates, rng)
        found["regmix"] = top_mean(pool, make_predictor("regmix").fit(drawn, scores).mean(pool))
    return found


def top_mean(pool: FloatArray, values: FloatArray) -> FloatArray:
    """The mean (m,) of the best of a pool (c, m) by their values (c,), RegMix's answer (2407.01492)."""
    return np.asarray(pool[np.argsort(-values, kind="stable")[:AVERAGED]].mean(axis=0))
