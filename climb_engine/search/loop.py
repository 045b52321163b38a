"""The conversation that finds a mixture: ask for trials, tell what they measured, choose.

``Search`` is a fold over an append-only log (any iterable with ``append``; a plain list will do). The caller owns the
loop and may be killed anywhere: built again on the same log, the search goes on as if nothing had happened.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np

from climb_engine.config import SearchConfig
from climb_engine.search.acquisition import bayesian, top_n
from climb_engine.search.objective import Objective, noise, signal_to_noise
from climb_engine.search.predictor import Predictor, make_predictor
from climb_engine.search.space import MixtureSpace, distinct
from climb_engine.types import ClimbError, FloatArray, Mixture, Result, Trial

FINAL = 1_000_000  # the "iteration" whose random numbers the final choice draws with
_LEADERS = 8  # local candidates move around this many of the best measured mixtures
_DECIMALS = 6  # mixtures that agree to this many places are the same mixture


class EventLog(Protocol):
    """Where events are kept: iterated once at the start, appended to afterwards."""

    def __iter__(self) -> Iterator[dict[str, Any]]: ...

    def append(self, event: dict[str, Any], /) -> Any:
        """Add one event at the end, lasting."""


@dataclass(frozen=True)
class Choice:
    """The mixture that a finished search settles on, and what its predictor expected of it."""

    mixture: Mixture
    predicted: float
    sd: float
    iterations: int  # how many had been told


@dataclass(frozen=True)
class Outcome:
    """What a search has to show. Scores are higher-is-better; nan where there is nothing to compute from."""

    natural: tuple[float, ...]  # the natural mixture's scores, one per seed
    chosen: Choice | None
    confirmed: tuple[float, ...]  # the chosen mixture's scores under fresh seeds
    best: Trial | None  # the best single measurement
    best_score: float
    gain: float  # mean paired difference, chosen minus natural, over the fresh seeds
    gain_interval: tuple[float, float]  # 95 %, Student t
    noise_sd: float  # standard deviation of a score when only the seed changes
    noise_freedom: int
    signal_to_noise: float  # sd between mixtures over noise_sd


class Search:
    """One search over a space of mixtures.

    Args:
        space: which mixtures are allowed.
        objective: metrics to one score, higher is better.
        config: method, iterations and seeds.
        log: its events so far.
    """

    def __init__(self, space: MixtureSpace, objective: Objective, config: SearchConfig, log: EventLog) -> None:
        self.space = space
        self.objective = objective
        self.config = config
        self._log = log
        self._trials: dict[int, Trial] = {}
        self._choices: list[Choice] = []
        events = 0
        for event in log:
            self._fold(event)
            events += 1
        if not events:
            self._record({"event": "started", "domains": list(space.domains)})

    # ---- what is known -------------------------------------------------------------------------------------------

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials in the order of their ids."""
        return tuple(self._trials[key] for key in sorted(self._trials))

    @property
    def open(self) -> tuple[Trial, ...]:
        """Trials asked and not yet told, the user's own first."""
        waiting = [trial for trial in self.trials if trial.open]
        return tuple(sorted(waiting, key=lambda trial: (trial.origin != "suggested", trial.id)))

    @property
    def iteration(self) -> int:
        """The iteration that was asked last; 0 before the first."""
        return max((t.iteration for t in self._trials.values() if t.origin == "sampled"), default=0)

    @property
    def choice(self) -> Choice | None:
        """The final choice, once all iterations are told."""
        return self._choices[-1] if self._choices and self._choices[-1].iterations >= self.planned else None

    @property
    def planned(self) -> int:
        """How many iterations there are to be."""
        return len(self.config.iterations)

    @property
    def finished(self) -> bool:
        """Whether every iteration is told, the choice made and its confirmation measured."""
        return self.choice is not None and not self.open

    def score(self, trial: Trial) -> float:
        """A trial's score, higher is better; nan while it has none."""
        return self.objective.score(trial.result.metrics) if trial.result else math.nan

    def measured(self) -> tuple[FloatArray, FloatArray]:
        """Weights (n, m) and scores (n,) of everything measured."""
        done = [trial for trial in self.trials if trial.result]
        weights = np.array([trial.mixture.weights for trial in done]).reshape(len(done), len(self.space.domains))
        return weights, np.array([self.score(trial) for trial in done])

    # ---- the conversation ----------------------------------------------------------------------------------------

    def ask(self, n: int, iterations: int | None = None) -> tuple[Trial, ...]:
        """Up to ``n`` trials to train: the same ones until they are told, () when there is nothing left to do.

        Args:
            n: how many at most.
            iterations: go no further than the end of this iteration; None: to the end of the search.
        """
        limit = self.planned if iterations is None else iterations
        if not self.open:
            self._ask_more(limit)
        return self.open[:n]

    def tell(self, trial: int, outcome: Result | str) -> Trial:
        """Record what a trial measured, or the reason why it failed. A result without a finite score is a failure."""
        known = self._trials.get(trial)
        if known is None:
            raise ClimbError(f"there is no trial {trial}; ask first")
        if not known.open:
            raise ClimbError(f"trial {trial} was told already; a result is not overwritten")
        if isinstance(outcome, Result) and not math.isfinite(self.objective.score(outcome.metrics)):
            bad = [name for name in self.objective.metrics if not math.isfinite(outcome.metrics.get(name, math.nan))]
            outcome = f"not a finite number: {', '.join(bad)}"
        if isinstance(outcome, str):
            self._record({"event": "failed", "trial": trial, "error": outcome})
        else:
            self._record({"event": "told", "trial": trial, **_result_json(outcome)})
        return self._trials[trial]

    def suggest(self, mixture: Mixture) -> Trial:
        """Put the user's own mixture into the queue, before everything else that waits."""
        mixture = Mixture.from_dict(mixture.as_dict(), self.space.domains)
        if not self.space.contains(mixture.weights[None, :])[0]:
            raise ClimbError("this mixture is outside the allowed space; see the limits in the config's [search]")
        entries = self._entries([(mixture.weights, self.iteration, "suggested", 0)])
        self._record({"event": "suggested", "trials": entries})
        return self._trials[entries[0]["id"]]

    def propose(self, n: int) -> tuple[Choice, ...]:
        """The best untried mixtures by prediction, best first."""
        predictor = self._fitted()
        pool = self._untried(self._pool(self._rng(FINAL)))
        mean, sd = predictor.predict(pool)
        best = np.argsort(-mean, kind="stable")[:n]
        return tuple(Choice(self._mixture(pool[i]), float(mean[i]), float(sd[i]), self.iteration) for i in best)

    def outcome(self) -> Outcome:
        """Sum up what has been measured so far."""
        natural = self._scores_of(self.space.natural, "natural")
        choice = self.choice
        confirmed = self._scores_of(choice.mixture.weights, "confirm") if choice else {}
        gain, interval = _gain(confirmed, natural)
        repeats = list(self._repeats().values())
        sd, freedom = noise(repeats)
        best = max((t for t in self.trials if t.result), key=self.score, default=None)
        return Outcome(
            natural=tuple(natural.values()),
            chosen=choice,
            confirmed=tuple(confirmed.values()),
            best=best,
            best_score=self.score(best) if best else math.nan,
            gain=gain,
            gain_interval=interval,
            noise_sd=sd,
            noise_freedom=freedom,
            signal_to_noise=signal_to_noise([float(np.mean(scores)) for scores in repeats], sd),
        )

    # ---- asking --------------------------------------------------------------------------------------------------

    def _ask_more(self, limit: int) -> None:
        step = self.iteration + 1
        if step <= min(limit, self.planned):
            references = [(self.space.natural, 0, "natural", seed) for seed in self._reference_seeds()]
            sampled = [(row, step, "sampled", 0) for row in self._sample(step, self.config.iterations[step - 1])]
            self._record({"event": "asked", "iteration": step, "trials": self._entries(references + sampled)})
        elif step > self.planned and limit >= self.planned and self.choice is None:
            self._choose()

    def _reference_seeds(self) -> range:
        known = sum(trial.origin == "natural" for trial in self._trials.values())
        return range(known, self.config.reference_runs) if self.iteration == 0 else range(0)

    def _sample(self, step: int, n: int) -> FloatArray:
        rng = self._rng(step)
        if step == 1 or self.config.method == "random":
            return self._untried(self.space.sample(4 * n, rng))[:n]
        predictor = self._fitted()
        if self.config.method == "climb":
            return top_n(predictor, self._untried(self._pool(rng)), n, self.config.top or max(n * n, 128), rng)
        return bayesian(predictor, self._untried(self._pool(rng)), n, self.measured()[0], rng)

    def _pool(self, rng: np.random.Generator) -> FloatArray:
        """Candidates (c, m): the prior's, and for the Bayesian method also moves around the best measured."""
        if self.config.method != "bayesian":
            return self.space.candidates(self.config.candidates, rng)
        weights, scores = self.measured()
        leaders = weights[np.argsort(-scores, kind="stable")[:_LEADERS]]
        half = self.config.candidates // 2
        return np.concatenate([self.space.candidates(half, rng), self.space.local(leaders, half, rng)])

    def _choose(self) -> None:
        best = self._settle()
        weights = best.mixture.weights
        fresh = [(weights, self.iteration, "confirm", seed) for seed in range(1, self.config.confirm + 1)]
        chosen = {"weights": weights.tolist(), "predicted": best.predicted, "sd": best.sd}
        self._record({"event": "chosen", "iteration": self.iteration, **chosen, "trials": self._entries(fresh)})

    def _settle(self) -> Choice:
        """Choose the final mixture.

        The paper takes the best prediction; the Bayesian method discounts it by its uncertainty and lets measured
        mixtures compete, since the arg-max of a noisy prediction is mostly noise.
        """
        if self.config.method != "bayesian":
            return self.propose(1)[0]
        predictor = self._fitted()
        pool = np.concatenate([self.measured()[0], self._pool(self._rng(FINAL))])
        mean, sd = predictor.predict(pool)
        best = int(np.argmax(mean - sd))
        return Choice(self._mixture(pool[best]), float(mean[best]), float(sd[best]), self.iteration)

    def _fitted(self) -> Predictor:
        weights, scores = self.measured()
        if len(scores) < 2:
            failed = [trial.error for trial in self.trials if trial.error]
            why = f"; the first failure says: {failed[0]}" if failed else ""
            raise ClimbError(f"a predictor needs at least 2 measured trials, there are {len(scores)}{why}")
        predictor = make_predictor("lightgbm" if self.config.method == "climb" else "gp", self.config.seed)
        predictor.fit(weights, scores)
        return predictor

    def _untried(self, pool: FloatArray) -> FloatArray:
        tried = np.array([trial.mixture.weights for trial in self.trials]).reshape(-1, len(self.space.domains))
        return distinct(pool, tried, _DECIMALS)

    def _rng(self, step: int) -> np.random.Generator:
        return np.random.default_rng([self.config.seed, step])

    def _entries(self, asked: Iterable[tuple[FloatArray, int, str, int]]) -> list[dict[str, Any]]:
        first = max(self._trials, default=-1) + 1
        return [
            {"id": first + i, "iteration": iteration, "origin": origin, "seed": seed, "weights": weights.tolist()}
            for i, (weights, iteration, origin, seed) in enumerate(asked)
        ]

    # ---- the fold ------------------------------------------------------------------------------------------------

    def _record(self, event: dict[str, Any]) -> None:
        self._log.append(event)
        self._fold(event)

    def _fold(self, event: Mapping[str, Any]) -> None:
        kind = event.get("event")
        if kind == "started" and tuple(event["domains"]) != self.space.domains:
            raise ClimbError("this log belongs to a search over other domains; start a new one")
        for entry in event.get("trials", ()):
            self._trials[entry["id"]] = Trial(
                entry["id"],
                entry["iteration"],
                entry["origin"],
                self._mixture(np.array(entry["weights"])),
                entry["seed"],
            )
        if kind == "told":
            self._trials[event["trial"]] = replace(self._trials[event["trial"]], result=_result(event))
        elif kind == "failed":
            self._trials[event["trial"]] = replace(self._trials[event["trial"]], error=event["error"])
        elif kind == "chosen":
            mixture = self._mixture(np.array(event["weights"]))
            self._choices.append(Choice(mixture, event["predicted"], event["sd"], event["iteration"]))

    def _mixture(self, weights: FloatArray) -> Mixture:
        return Mixture(self.space.domains, weights)

    def _scores_of(self, weights: FloatArray, origin: str) -> dict[int, float]:
        key = _key(weights)
        same = [t for t in self.trials if t.result and t.origin == origin and _key(t.mixture.weights) == key]
        return {trial.seed: self.score(trial) for trial in same}

    def _repeats(self) -> dict[bytes, list[float]]:
        groups: dict[bytes, list[float]] = {}
        for trial in self.trials:
            if trial.result:
                groups.setdefault(_key(trial.mixture.weights), []).append(self.score(trial))
        return groups


def _key(weights: FloatArray) -> bytes:
    return np.round(weights, _DECIMALS).tobytes()


def _gain(chosen: Mapping[int, float], natural: Mapping[int, float]) -> tuple[float, tuple[float, float]]:
    pairs = [chosen[seed] - natural[seed] for seed in chosen if seed in natural]
    return (math.nan, (math.nan, math.nan)) if not pairs else mean_interval(pairs)


def mean_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, tuple[float, float]]:
    """Mean and its Student-t interval; the interval is nan for fewer than two values."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, (math.nan, math.nan)
    from scipy.stats import t

    half = float(t.ppf((1 + level) / 2, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values)))
    return mean, (mean - half, mean + half)


def _result_json(result: Result) -> dict[str, Any]:
    return {
        "metrics": dict(result.metrics),
        "tokens": result.tokens,
        "seconds": result.seconds,
        "flops": result.flops,
        "repeats": dict(result.repeats),
        "curve": [list(point) for point in result.curve],
    }


def _result(event: Mapping[str, Any]) -> Result:
    curve: Iterable[Sequence[float]] = event.get("curve", ())
    return Result(
        metrics=event["metrics"],
        tokens=event["tokens"],
        seconds=event["seconds"],
        flops=event["flops"],
        repeats=event.get("repeats", {}),
        curve=tuple((int(step), float(loss)) for step, loss in curve),
    )
