"""How a search draws its next trials and how it settles: the methods, by name.

climb
    The paper's: LightGBM on the score, draws from the best N predicted, the best predicted one at the end.
bayesian
    Gaussian processes on every metric of the score. Half of a batch by expected improvement, half by Thompson sampling,
    among candidates of the prior and around the best ones; at the end the best pessimistic prediction.
regmix
    RegMix's (2407.01492): draws from the prior; its LightGBM; the mean of the 100 best predicted candidates.
random
    Draws from the prior; the best measured one.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import numpy.typing as npt

from climb_engine.config import SearchConfig
from climb_engine.search.acquisition import expected_improvement, improving_and_thompson, spaced, top_n
from climb_engine.search.baselines import top_mean
from climb_engine.search.predictor import Validation, cross_validate, make_predictor
from climb_engine.search.regression import FEWEST, Predictor
from climb_engine.search.space import MixtureSpace, distinct
from climb_engine.types import ClimbError, FloatArray

DECIMALS = 6  # mixtures that agree to this many places are the same mixture
LEADERS = 8  # candidates move around this many of the best mixtures
PRIOR_ONLY = ("random", "regmix")  # methods that learn nothing between iterations
BELIEF_FOLDS = 5  # of the cross-validation that decides whether to learn from what another search measured
VALUED = 6000  # candidates of an estimate of what more trials are worth
DEFAULT_PREDICTOR = {"climb": "lightgbm", "bayesian": "gp", "regmix": "regmix", "random": "gp"}


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that a method decides from."""

    space: MixtureSpace
    config: SearchConfig
    weights: FloatArray  # (n, m) of everything measured
    metrics: FloatArray  # (n, q) that the scores are made of, and what was measured besides
    coefficients: FloatArray  # (q,) scores = metrics @ coefficients; 0 for what was measured besides
    tried: FloatArray  # (t, m) everything asked, measured or not
    elsewhere: npt.NDArray[np.bool_] | None = None  # (n,) what another search measured; None: nothing

    @property
    def here(self) -> npt.NDArray[np.bool_]:
        """(n,) what this search measured."""
        return np.ones(len(self.weights), bool) if self.elsewhere is None else ~self.elsewhere

    @property
    def scores(self) -> FloatArray:
        """Scores (n,), higher is better."""
        return np.asarray(self.metrics @ self.coefficients)

    @property
    def name(self) -> str:
        """The predictor's name."""
        wanted = self.config.predictor
        return DEFAULT_PREDICTOR[self.config.method] if wanted == "default" else wanted

    @property
    def by_metric(self) -> bool:
        """Whether every metric is learned by itself; the published methods learn the score."""
        several = np.count_nonzero(self.coefficients) > 1
        return bool(self.config.by_metric and self.config.method == "bayesian" and several)

    @cached_property
    def predictor(self) -> Predictor:
        """Fitted to everything measured."""
        learned, coefficients = self._learned
        return make_predictor(self.name, self.config.seed, coefficients=coefficients).fit(self.weights, learned)

    def validation(self) -> Validation | None:
        """The predictor cross-validated on what was measured here; None when that is too little."""
        return self._validation(self.config.folds) if self.config.folds >= 2 else None

    def trusted(self) -> Evidence:
        """The same without what another search measured, where that is no help in foretelling what was measured here.

        Proxies that start from another trunk rank mixtures a little otherwise. While noise here is large or trials are
        few, theirs help all the same; later they blur what is known better.
        """
        both = self._validation(BELIEF_FOLDS) if self.here.any() and not self.here.all() else None
        if both is None:
            return self
        here = self.here
        own = replace(self, weights=self.weights[here], metrics=self.metrics[here], elsewhere=None)
        alone = own._validation(BELIEF_FOLDS)
        return self if alone is None or both.log_density >= alone.log_density else own

    def untried(self, pool: FloatArray) -> FloatArray:
        """The rows of a pool (c, m) that were not asked yet, each once."""
        return distinct(pool, self.tried, DECIMALS)

    def _validation(self, folds: int) -> Validation | None:
        here, (learned, coefficients) = self.here, self._learned
        if len(np.unique(self.weights[here], axis=0)) < 2 * FEWEST:
            return None
        besides = self.weights[~here], learned[~here]
        known = self.weights[here], learned[here]
        return cross_validate(self.name, *known, folds, self.config.seed, coefficients=coefficients, besides=besides)

    @property
    def _learned(self) -> tuple[FloatArray, FloatArray | None]:
        besides = self.metrics[:, self.coefficients == 0]
        if self.by_metric:
            return self.metrics, self.coefficients
        if self.config.method != "bayesian" or not besides.shape[1]:
            return self.scores, None
        return np.column_stack([self.scores, besides]), np.r_[1.0, np.zeros(besides.shape[1])]


def first_mixtures(space: MixtureSpace, n: int, tried: FloatArray, rng: np.random.Generator) -> FloatArray:
    """``n`` untried mixtures of the prior, (n, m)."""
    return distinct(space.sample(4 * n, rng), tried, DECIMALS)[:n]


def batch(evidence: Evidence, n: int, rng: np.random.Generator) -> FloatArray:
    """The next ``n`` mixtures to train, (n, m), of a method that learns from trials."""
    config, predictor = evidence.config, evidence.predictor
    if config.method == "climb":
        pool = evidence.untried(evidence.space.candidates(config.candidates, rng))
        return top_n(predictor, pool, n, config.top or max(n * n, 128), rng)
    pool, values = explore(evidence, _improvement(evidence), rng)
    return improving_and_thompson(predictor, pool, values, n, rng)


def settle(evidence: Evidence, n: int, rng: np.random.Generator) -> FloatArray:
    """The ``n`` mixtures to choose between at the end, best first, (n, m); none that has become forbidden since."""
    method, allowed = evidence.config.method, evidence.space.contains(evidence.weights)
    if method == "random":
        mine = evidence.here & allowed
        if not mine.any():
            raise ClimbError("no measured mixture is within the limits any more; relax them, or add an iteration")
        return _first(evidence.weights[mine], evidence.scores[mine], n)
    if method == "regmix":
        pool, values = _valued(evidence, rng)
        return np.concatenate([top_mean(pool, values)[None], _first(pool, values, n)])[:n]
    if method == "climb":
        return _first(*_valued(evidence, rng), n)
    pessimistic = _pessimistic(evidence.predictor)
    pool, values = explore(evidence, pessimistic, rng)
    measured = evidence.weights[allowed]
    pool = np.concatenate([measured, pool])
    return _first(pool, np.concatenate([pessimistic(measured), values]), n)


def settle_among(evidence: Evidence, shortlist: FloatArray, means: FloatArray) -> FloatArray:
    """The best (m,) of a shortlist (k, m) that was measured anew with these mean scores (k,).

    Gaussian processes weigh a mixture's own measurements against its neighbours'; of the others we ask no more than
    the measurements.
    """
    values = _pessimistic(evidence.predictor)(shortlist) if evidence.config.method == "bayesian" else means
    return np.asarray(shortlist[int(np.argmax(values))])


def rank_candidates(evidence: Evidence, n: int, rng: np.random.Generator) -> FloatArray:
    """The ``n`` untried mixtures with the best prediction, a little apart from each other, best first; (n, m)."""
    if evidence.config.method == "bayesian":
        return _first(*explore(evidence, evidence.predictor.mean, rng), n)
    return _first(*_valued(evidence, rng), n)


def value_of_more(evidence: Evidence, n: int, rng: np.random.Generator) -> float:
    """Expected amount by which the best of the next ``n`` mixtures exceeds the best so far, in truth.

    Over the predictor's joint draws, each one possible truth; the best so far is the best prediction of a measured
    mixture. What the trials teach about yet other mixtures is not counted.
    """
    predictor = evidence.predictor
    pool, values = explore(evidence, _improvement(evidence), rng, VALUED)
    trained = improving_and_thompson(predictor, pool, values, n, rng)
    best = predictor.sample(trained, VALUED, rng).max(axis=1)
    return float(np.maximum(best - predictor.mean(evidence.weights).max(), 0.0).mean())


def explore(
    evidence: Evidence, value: Callable[[FloatArray], FloatArray], rng: np.random.Generator, candidates: int = 0
) -> tuple[FloatArray, FloatArray]:
    """Untried candidates (c, m) and their values (c,): of the prior, around the best measured, around the best so far.

    In twenty dimensions draws from a prior alone miss what a few moves from a good mixture find.
    """
    space, third = evidence.space, (candidates or evidence.config.candidates) // 3
    leaders = _first(evidence.weights, evidence.predictor.mean(evidence.weights), LEADERS)
    pool = evidence.untried(np.concatenate([space.candidates(third, rng), space.local(leaders, third, rng)]))
    values = value(pool)
    near = space.local(_first(pool, values, LEADERS), third, rng)
    near = distinct(near, np.concatenate([evidence.tried, pool]), DECIMALS)
    return np.concatenate([pool, near]), np.concatenate([values, value(near)])


def _valued(evidence: Evidence, rng: np.random.Generator) -> tuple[FloatArray, FloatArray]:
    """Untried candidates of the prior (c, m) and their predictions (c,)."""
    pool = evidence.untried(evidence.space.candidates(evidence.config.candidates, rng))
    return pool, evidence.predictor.mean(pool)


def _first(weights: FloatArray, values: FloatArray, n: int) -> FloatArray:
    """The ``n`` rows of the highest values, a little apart from each other; best first."""
    return weights[spaced(weights, np.argsort(-values, kind="stable"), n)]


def _improvement(evidence: Evidence) -> Callable[[FloatArray], FloatArray]:
    """Expected improvement on the best prediction of a measured mixture; the best measurement is partly luck."""
    incumbent = float(evidence.predictor.mean(evidence.weights).max())
    return lambda pool: expected_improvement(*evidence.predictor.predict(pool), incumbent)


def _pessimistic(predictor: Predictor) -> Callable[[FloatArray], FloatArray]:
    """Mean minus sd: the arg-max of a noisy prediction alone is mostly noise."""

    def value(pool: FloatArray) -> FloatArray:
        mean, sd = predictor.predict(pool)
        return np.asarray(mean - sd)

    return value
