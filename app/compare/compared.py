"""What is compared: which mixtures there are to choose from, and what was measured of each.

A mixture's name in the address is ``chosen``, ``natural``, ``uniform``, ``random`` (best of the first iteration's
draws), ``regmix``, ``trial-12``, ``export-NAME`` or ``file``. Knows no Streamlit.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from climb_engine.search.baselines import FEWEST
from climb_engine.search.loop import Search
from climb_engine.search.methods import DECIMALS
from climb_engine.search.objective import HELDOUT, Objective
from climb_engine.search.outcome import Choice
from climb_engine.search.reuse import REUSED
from climb_engine.types import ClimbError, Mixture, Trial

FILE = "file"
BASELINES = {"random": "best of random", "regmix": "regmix"}  # name here -> name in Search.baselines()
Baselines = Callable[[], Mapping[str, Choice]]
Reader = Callable[[str], Mapping[str, float]]  # "export-NAME" or "file" -> its weights


@dataclass(frozen=True, eq=False)
class Compared:
    """One of the mixtures side by side."""

    key: str
    mixture: Mixture
    runs: Mapping[int, Trial]  # seed -> trial that measured it
    note: str = ""  # what to know about its runs
    fresh: int = 0  # how many of the runs had no part in its being picked, and share seeds with natural's
    queued: int = 0  # runs that wait
    error: str | None = None  # why its last run has no result

    @property
    def measured(self) -> bool:
        """Whether there is any score."""
        return bool(self.runs)

    def scores(self, objective: Objective) -> dict[int, float]:
        """Seed to score by this objective, higher is better."""
        return {seed: objective.score(trial.result.metrics) for seed, trial in self.runs.items() if trial.result}


def names(search: Search, exports: Sequence[str] = (), file: bool = False) -> list[str]:
    """All that can be chosen: the special ones, exports, then the trials, the best measured first."""
    drawn = _drawn(search)
    found = ["chosen"] if search.choice else []
    found += ["natural", "uniform"]
    found += ["random"] if drawn else []
    found += ["regmix"] if drawn >= FEWEST else []
    found += [FILE] if file else []
    return [*found, *(f"export-{name}" for name in exports), *trial_names(search)]


def without_regmix(search: Search) -> str:
    """Why RegMix's mixture cannot be chosen; "" when it can."""
    drawn = _drawn(search)
    if drawn >= FEWEST:
        return ""
    return (
        f"needs {FEWEST} measured trials of the first iteration, there are {drawn}; with fewer its regression is a "
        "constant, and its mixture the mean of random draws"
    )


def trial_names(search: Search) -> list[str]:
    """The trials, the best measured first, those without a score last."""
    scores = {trial.id: search.score(trial) for trial in search.trials}
    ranked = sorted(scores, key=lambda trial: (-scores[trial] if math.isfinite(scores[trial]) else math.inf, trial))
    return [f"trial-{trial}" for trial in ranked]


def trial_of(key: str) -> int | None:
    """The trial that a name means, None for any other."""
    word, _, number = key.partition("-")
    return int(number) if word == "trial" and number.isdecimal() else None


def compared(key: str, search: Search, baselines: Baselines, read: Reader) -> Compared:
    """A mixture by its name, with what was measured of it.

    Raises ClimbError when there is none of this name, or when a file's weights do not fit the run's domains.
    """
    mixture = _mixture(key, search, baselines, read)
    alike = _trials_of(mixture, search)
    same = [trial for trial in alike if trial.origin != REUSED]
    told = [trial for trial in same if trial.result]
    fresh = search.fresh(mixture.weights)
    runs = fresh or {trial.seed: trial for trial in reversed(told)}
    failed = [trial.error for trial in same if trial.error]
    return Compared(
        key,
        mixture,
        dict(sorted(runs.items())),
        _note(key, search, len(runs), len(fresh), len(told), len(alike) > len(same)),
        len(fresh),
        sum(trial.open for trial in same),
        failed[-1] if failed else None,
    )


def tasks(objective: Objective) -> dict[str, Objective]:
    """What the score is made of, each as an objective of its own; none when it is one thing only."""
    return {name: Objective({name: 1.0}) for name in objective.weights} if len(objective.weights) > 1 else {}


def task_title(metric: str) -> str:
    """A metric in words: arc_easy/bpb is arc_easy, minus bits per byte."""
    if metric.startswith(HELDOUT):
        return f"held out: {metric.removeprefix(HELDOUT)}, minus bits per byte"
    name, _, kind = metric.rpartition("/")
    words = {"bpb": "minus bits per byte", "acc": "accuracy", "acc_norm": "accuracy by length"}
    return f"{name}, {words.get(kind, kind)}"


def spread(scores: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation; nan where there are too few."""
    values = np.asarray(scores, dtype=np.float64)
    mean = float(values.mean()) if len(values) else math.nan
    return mean, float(values.std(ddof=1)) if len(values) > 1 else math.nan


def _drawn(search: Search) -> int:
    """How many trials RegMix could learn from: draws from the prior."""
    return sum(bool(trial.result) and trial.iteration == 1 and trial.origin == "sampled" for trial in search.trials)


def _trials_of(mixture: Mixture, search: Search) -> list[Trial]:
    """The trials of what is the same mixture to the search."""
    trials = search.trials
    table = np.array([trial.mixture.weights for trial in trials]).reshape(-1, len(mixture.weights))
    alike = (np.round(table, DECIMALS) == np.round(mixture.weights, DECIMALS)).all(axis=1)
    return [trials[index] for index in np.flatnonzero(alike)]


def _mixture(key: str, search: Search, baselines: Baselines, read: Reader) -> Mixture:
    domains = search.space.domains
    trial = trial_of(key)
    if key == "chosen" and search.choice:
        return search.choice.mixture
    if key in ("natural", "uniform"):
        return Mixture(domains, search.space.natural if key == "natural" else search.space.uniform)
    if key in BASELINES:
        return baselines()[BASELINES[key]].mixture
    if key == FILE or key.startswith("export-"):
        return Mixture.from_dict(read(key), domains)
    known = {other.id: other.mixture for other in search.trials}
    if trial in known:
        return known[trial]
    raise ClimbError(f"there is no mixture called {key!r} in this run; choose one from the list")


def _note(key: str, search: Search, runs: int, fresh: int, told: int, elsewhere: bool) -> str:
    if 0 < fresh < told:
        return "fresh seeds; the run it was chosen for does not count"
    if not runs and elsewhere:
        return "a search over other domains measured one like it, which does not count here"
    if runs == 1 and key in ("random", *trial_names(search)[:1]):
        return "the best of many single runs flatters itself"
    if key == "natural":
        return "the reference runs" if runs > 1 else ""
    return "fresh seeds" if fresh else ""
