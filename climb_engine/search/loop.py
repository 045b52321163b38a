"""The conversation that finds a mixture: ask for trials, tell what they measured, choose.

``Search`` is a fold over an append-only log (any iterable with ``append``; a plain list will do). The caller owns the
loop and may be killed anywhere: built again on the same log, the search goes on as if nothing had happened.

Every sampled trial reads in a data order of its own. Near mixtures share most of an order's luck (docs/PROXIES.md), so
a search under one order would climb towards that luck, and its predictor, which takes noise to be independent, would
believe it. What is compared rather than learned from (natural, confirmations, the user's own) shares orders, 0 and up.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np

from climb_engine.config import SearchConfig
from climb_engine.search.baselines import Spent, baselines
from climb_engine.search.methods import (
    DECIMALS,
    PRIOR_ONLY,
    Evidence,
    batch,
    first_mixtures,
    rank_candidates,
    settle,
    settle_among,
    value_of_more,
)
from climb_engine.search.objective import Objective, noise, signal_to_noise
from climb_engine.search.outcome import Choice, Outcome, StopHint, Trust, paired_gain
from climb_engine.search.predictor import Validation
from climb_engine.search.record import choice_from, choice_json, fold, result_json, reused_json
from climb_engine.search.regression import FEWEST
from climb_engine.search.reuse import REUSED, Reusable, TakenOver, check
from climb_engine.search.space import MixtureSpace
from climb_engine.search.threads import one_thread
from climb_engine.types import ClimbError, FloatArray, Mixture, Result, Trial

__all__ = ["Choice", "EventLog", "Outcome", "Search", "StopHint", "Trust"]

FINAL = 1_000_000  # the "iteration" whose random numbers the final choice draws with
DRAWS = 2000  # of the predictor's belief, for the spread of a gain
OWN_ORDERS = 10_000  # first seed of the data orders of sampled trials, beyond those that mixtures are compared under


class EventLog(Protocol):
    """Where events are kept: iterated once at the start, appended to afterwards."""

    def __iter__(self) -> Iterator[dict[str, Any]]: ...

    def append(self, event: dict[str, Any], /) -> Any:
        """Add one event at the end, lasting."""


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
        self._chosen_at: dict[bytes, int] = {}  # mixture -> trials asked when it was chosen
        self._taken_over = TakenOver()
        self._comparable: Mapping[int, Result] | None = None
        self._evidence: Evidence | None = None
        self._started = False
        for event in log:
            self._fold(event)

    # ---- what is known -------------------------------------------------------------------------------------------

    @property
    def trials(self) -> tuple[Trial, ...]:
        """All trials in the order of their ids."""
        return tuple(self._trials[key] for key in sorted(self._trials))

    @property
    def own(self) -> tuple[Trial, ...]:
        """The trials of this search: all but those that another one measured."""
        return tuple(trial for trial in self.trials if trial.origin != REUSED)

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

    def fresh(self, weights: FloatArray) -> dict[int, Trial]:
        """The measured runs of a mixture (m,) that had no part in its being picked, by seed.

        So no sampled ones, and of the chosen mixture only those since it was chosen. Where several were shortlisted
        (``search.confirm_best``) it is those since the shortlist: they have helped to choose, and flatter a little.
        """
        key = _key(weights)
        since = self._chosen_at.get(key, 0)
        return {
            trial.seed: trial
            for trial in self.own
            if trial.result
            and _key(trial.mixture.weights) == key
            and (trial.origin in ("natural", "confirm") or (trial.origin == "suggested" and trial.id >= since))
        }

    def score(self, trial: Trial) -> float:
        """A trial's score, higher is better; nan while it has none, and for a reused one without its metrics."""
        result = self._results().get(trial.id)
        return self.objective.score(result.metrics) if result else math.nan

    def measured(self) -> tuple[FloatArray, FloatArray]:
        """Weights (n, m) and scores (n,) of everything measured, here and elsewhere."""
        done = self._results()
        return self._weights(self._trials[key] for key in done), self.objective.scores(list(done.values()))

    def evidence(self) -> Evidence:
        """What is known, as the methods see it: with the predictor fitted to it.

        Raises ClimbError when too few trials are measured.
        """
        if self._evidence is None:
            done = self._results()
            if len(done) < FEWEST:
                failed = [trial.error for trial in self.trials if trial.error]
                why = f"; the first failure says: {failed[0]}" if failed else ""
                raise ClimbError(f"a predictor needs at least {FEWEST} measured trials, there are {len(done)}{why}")
            metrics, coefficients = self.objective.terms(list(done.values()))
            weights, tried = self._weights(self._trials[key] for key in done), self._weights(self.trials)
            elsewhere = np.array([self._trials[key].origin == REUSED for key in done])
            known = Evidence(self.space, self.config, weights, metrics, coefficients, tried, elsewhere)
            self._evidence = known.trusted()
        return self._evidence

    def validation(self) -> Validation | None:
        """The predictor cross-validated on everything measured; None when that is too little."""
        return self.evidence().validation()

    def trust(self, found: Validation | None) -> Trust | None:
        """How far to trust the predictor as it stands, by what ``validation`` found."""
        evidence = self.evidence()
        n = len(evidence.weights)
        return Trust(found.name, evidence.by_metric, n, found.spearman, found.coverage) if found else None

    # ---- the conversation ----------------------------------------------------------------------------------------

    def ask(self, n: int, iterations: int | None = None) -> tuple[Trial, ...]:
        """Up to ``n`` trials to train: the same ones until they are told, () when there is nothing left to do.

        Args:
            n: how many at most.
            iterations: go no further than the end of this iteration; None: to the end of the search.
        """
        limit = self.planned if iterations is None else iterations
        if not self.open:
            with one_thread():
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
            self._record({"event": "told", "trial": trial, **result_json(outcome)})
        return self._trials[trial]

    def suggest(self, mixture: Mixture) -> Trial:
        """Put the user's own mixture into the queue, before everything else that waits.

        Its seed is the first that it was not run with, so that it can be compared with the natural mixture seed by
        seed, and suggesting it again measures it again.
        """
        mixture = self.checked(mixture)
        known = self._seeds_of(mixture.weights)
        seed = next(seed for seed in range(len(known) + 1) if seed not in known)
        entries = self._entries([(mixture.weights, self.iteration, "suggested", seed)])
        self._record({"event": "suggested", "trials": entries})
        return self._trials[entries[0]["id"]]

    def reuse(self, trials: Sequence[Reusable]) -> tuple[Trial, ...]:
        """Take over trials that other searches measured, as data to learn from; those taken over before are left out.

        They count as tried, but are no measurements of this search: not its best, its noise, its natural runs or its
        confirmation. The predictor learns from them as long as that helps it to foretell what is measured here.
        Raises ClimbError for a mixture outside the space and for a result without the score's metrics.
        """
        known = {(one.source, one.trial): one for one in trials if not self.has_reused(one)}
        fresh = known.values()
        for one in fresh:
            check(one, self.space, self.objective)
        first = max(self._trials, default=-1) + 1
        for source in dict.fromkeys(one.source for one in fresh):
            mine = [one for one in fresh if one.source == source]
            entries = reused_json(max(self._trials, default=-1) + 1, mine)
            self._record({"event": "reused", "from": source, "trials": entries})
        return tuple(trial for trial in self.trials if trial.id >= first)

    def has_reused(self, trial: Reusable) -> bool:
        """Whether this trial of another search was taken over already."""
        return self._taken_over.has(trial)

    def checked(self, mixture: Mixture) -> Mixture:
        """The mixture over the search's domains in their order. ClimbError when it is not in the allowed space."""
        mixture = Mixture.from_dict(mixture.as_dict(), self.space.domains)
        if not self.space.contains(mixture.weights[None, :])[0]:
            raise ClimbError("this mixture is outside the allowed space; see the limits in the config's [search]")
        return mixture

    def propose(self, n: int) -> tuple[Choice, ...]:
        """The best untried mixtures by prediction, best first, a little apart from each other."""
        return tuple(self._foretold(row) for row in rank_candidates(self.evidence(), n, self._rng(FINAL)))

    def baselines(self) -> dict[str, Choice]:
        """What a search has to beat, with what the predictor expects of it; ``suggest`` puts one to the test."""
        drawn = [trial for trial in self.trials if trial.result and trial.iteration == 1 and trial.origin == "sampled"]
        scores = np.array([self.score(trial) for trial in drawn])
        found = baselines(self.space, self._weights(drawn), scores, self.config.candidates, self._rng(FINAL))
        return {name: self._foretold(weights) for name, weights in found.items()}

    def spent(self) -> Spent:
        """What the search cost so far: proxies, tokens, seconds, FLOPs."""
        return Spent.on(self.own)

    def stop_hint(self, trust: Trust | None = None) -> StopHint:
        """What another iteration, as large as the last, is expected to bring, with what is known of who expects it."""
        evidence, size = self.evidence(), self.config.iterations[-1]
        results = [trial.result for trial in self.trials if trial.result]
        sd, freedom = noise(list(self._repeats().values()))
        sd = sd if freedom >= 2 else evidence.predictor.noise_sd
        return StopHint(
            gain=value_of_more(evidence, size, self._rng(FINAL)),
            visible=sd / math.sqrt(max(self.config.confirm, 1)),
            trials=size,
            seconds=size * float(np.mean([result.seconds for result in results])),
            flops=size * float(np.mean([result.flops for result in results])),
            runs=max(self.config.confirm, 1),
            trust=trust,
        )

    def outcome(self) -> Outcome:
        """Sum up what has been measured so far."""
        choice, objective = self.choice, self.objective
        references = self.fresh(self.space.natural)
        runs = self.fresh(choice.mixture.weights) if choice else {}
        confirming = {seed: trial for seed, trial in runs.items() if trial.origin != "natural"}
        natural, confirmed = (_scored(runs, objective) for runs in (references, confirming))
        gain, interval = paired_gain(confirmed, natural)
        terms = [replace(objective, weights={name: 1.0}) for name in objective.weights]
        repeats = list(self._repeats().values())
        sd, freedom = noise(repeats)
        best = max((t for t in self.own if t.result), key=self.score, default=None)
        return Outcome(
            natural=tuple(natural.values()),
            chosen=choice,
            confirmed=tuple(confirmed.values()),
            best=best,
            best_score=self.score(best) if best else math.nan,
            gain=gain,
            gain_interval=interval,
            pairs=tuple((confirmed[seed], natural[seed]) for seed in confirmed if seed in natural),
            gains={
                name: paired_gain(_scored(confirming, term), _scored(references, term))
                for name, term in zip(objective.weights, terms, strict=True)
            },
            noise_sd=sd,
            noise_freedom=freedom,
            signal_to_noise=signal_to_noise([float(np.mean(scores)) for scores in repeats], sd),
        )

    # ---- asking --------------------------------------------------------------------------------------------------

    def _ask_more(self, limit: int) -> None:
        step = self.iteration + 1
        if step <= min(limit, self.planned):
            references = [(self.space.natural, 0, "natural", seed) for seed in self._reference_seeds()]
            drawn = self._sample(step, self.config.iterations[step - 1])
            first = OWN_ORDERS + len(self._trials) + len(references)
            sampled = [(row, step, "sampled", seed) for seed, row in enumerate(drawn, start=first)]
            self._record({"event": "asked", "iteration": step, "trials": self._entries(references + sampled)})
        elif step > self.planned and limit >= self.planned and self.choice is None:
            self._finish()

    def _reference_seeds(self) -> range:
        known = sum(trial.origin == "natural" for trial in self._trials.values())
        return range(known, self.config.reference_runs) if self.iteration == 0 else range(0)

    def _sample(self, step: int, n: int) -> FloatArray:
        if step == 1 or self.config.method in PRIOR_ONLY:
            return first_mixtures(self.space, n, self._weights(self.trials), self._rng(step))
        return batch(self.evidence(), n, self._rng(step))

    def _finish(self) -> None:
        """Choose; or, where several are to be confirmed, first name those and choose once they are measured."""
        shortlisted = [t for t in self.trials if t.origin == "confirm" and t.iteration == self.iteration]
        if shortlisted:
            self._choose(self._among(shortlisted), [])
            return
        best = settle(self.evidence(), self.config.confirm_best, self._rng(FINAL))
        seeds, natural = self._confirming_seeds(best), self._seeds_of(self.space.natural)
        confirming = [(row, self.iteration, "confirm", seed) for row in best for seed in seeds]
        alone = not natural or _key(self.space.natural) in map(_key, best)  # no references, or among the best itself
        lacking = [] if alone else [seed for seed in seeds if seed not in natural]
        references = [(self.space.natural, 0, "natural", seed) for seed in lacking]
        fresh = self._entries(references + confirming)
        if len(best) == 1 or not fresh:
            self._choose(best[0], fresh)
        else:
            self._record({"event": "shortlisted", "iteration": self.iteration, "trials": fresh})

    def _confirming_seeds(self, best: FloatArray) -> list[int]:
        """The first seeds that none of these mixtures (k, m) was run with; natural is run with them too, for pairs."""
        used = {seed for row in best for seed in self._seeds_of(row)}
        return [seed for seed in range(len(used) + self.config.confirm) if seed not in used][: self.config.confirm]

    def _seeds_of(self, weights: FloatArray) -> set[int]:
        """The seeds that this mixture (m,) was asked with here and did not fail."""
        key = _key(weights)
        return {trial.seed for trial in self.own if not trial.error and _key(trial.mixture.weights) == key}

    def _among(self, shortlisted: list[Trial]) -> FloatArray:
        measured = [trial for trial in shortlisted if trial.result] or shortlisted
        scores: dict[bytes, list[float]] = {}
        for trial in measured:
            scores.setdefault(_key(trial.mixture.weights), []).append(self.score(trial))
        mixtures = {_key(trial.mixture.weights): trial.mixture.weights for trial in measured}
        means = np.array([np.mean(scores[key]) for key in mixtures])
        return settle_among(self.evidence(), np.array(list(mixtures.values())), means)

    def _choose(self, weights: FloatArray, fresh: list[dict[str, Any]]) -> None:
        choice = replace(self._foretold(weights), trust=self.trust(self.validation()))
        self._record({"event": "chosen", **choice_json(choice), "trials": fresh})

    def _foretold(self, weights: FloatArray) -> Choice:
        predictor = self.evidence().predictor
        mean, sd = predictor.predict(weights[None])
        both = np.stack([weights, self.space.natural])
        draws = predictor.sample(both, DRAWS, self._rng(FINAL))
        gain = predictor.mean(both)
        return Choice(
            mixture=self._mixture(weights),
            predicted=float(mean[0]),
            sd=float(sd[0]),
            iterations=self.iteration,
            gain=float(gain[0] - gain[1]),
            gain_sd=float((draws[:, 0] - draws[:, 1]).std()),
        )

    def _weights(self, trials: Iterable[Trial]) -> FloatArray:
        return np.array([trial.mixture.weights for trial in trials]).reshape(-1, len(self.space.domains))

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
        if not self._started:
            started = {"event": "started", "domains": list(self.space.domains)}
            self._log.append(started)
            self._fold(started)
        self._log.append(event)
        self._fold(event)

    def _fold(self, event: Mapping[str, Any]) -> None:
        kind = event.get("event")
        self._started, self._evidence, self._comparable = True, None, None
        if kind == "started" and tuple(event["domains"]) != self.space.domains:
            raise ClimbError("this log belongs to a search over other domains; start a new one")
        before = len(self._trials)
        fold(self._trials, event, self.space.domains)
        if kind == "reused":
            self._taken_over.fold(event)
        elif kind == "chosen":
            self._choices.append(choice_from(event, self.space.domains))
            self._chosen_at[_key(self._choices[-1].mixture.weights)] = before

    def _results(self) -> Mapping[int, Result]:
        """What a score can be computed of, by id: reused results as if they had been measured here."""
        if self._comparable is None:
            self._comparable = self._taken_over.results(self.trials, self.objective, self.space.domains)
        return self._comparable

    def _mixture(self, weights: FloatArray) -> Mixture:
        return Mixture(self.space.domains, weights)

    def _repeats(self) -> dict[bytes, list[float]]:
        groups: dict[bytes, list[float]] = {}
        for trial in self.own:
            if trial.result:
                groups.setdefault(_key(trial.mixture.weights), []).append(self.score(trial))
        return groups


def _scored(runs: Mapping[int, Trial], objective: Objective) -> dict[int, float]:
    return {seed: objective.score(trial.result.metrics) for seed, trial in runs.items() if trial.result}


def _key(weights: FloatArray) -> bytes:
    return np.round(weights, DECIMALS).tobytes()
