"""Trials of one division of a corpus into domains as data for another: what mixture they were there, and how nearly.

A mixture over domains is a distribution over documents: domain D of weight w gives each of its training tokens
w / tokens(D). Another division cuts the same documents elsewhere. Of all mixtures over its domains, the one that gives
each domain E the mass that was trained on documents of E has the least Kullback-Leibler divergence from what was
trained; where documents of the old mixture are in no new domain, from the rest of it. What is still wrong then is the
total variation distance between the two distributions over documents. It needs no documents but only token counts by
pair of domains, since within such a pair both distributions are flat.

The idea that measured mixtures outlive a change of domains is Olmix's (arXiv 2602.12237).

Letters: ``a`` old domains, ``b`` new ones, ``n`` trials or documents.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from climb_engine.search.objective import HELDOUT, Objective
from climb_engine.search.space import MixtureSpace
from climb_engine.types import ClimbError, FloatArray, Ids, Mixture, Result, Trial

ALL = f"{HELDOUT}all"
REUSED = "reused"
"""Origin of a trial that another search measured."""


@dataclass(frozen=True)
class Reusable:
    """A trial that another search measured, as a mixture over the domains of this one."""

    source: str  # address of the search that measured it
    trial: int  # its id there
    mixture: Mixture  # over the domains of this search
    seed: int
    result: Result  # with the metrics that mean the same here
    distance: float  # total variation between what was trained and what the mixture stands for, 0 to 1
    natural: bool = False  # whether it was a run of the natural mixture there


@dataclass(frozen=True, eq=False)
class Division:
    """How one division has the documents of a part; all arrays (n,), in the order of the documents."""

    domains: Ids  # -1 where a document is in none
    tokens: Ids
    heldout: npt.NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Overlap:
    """What two divisions of one corpus have in common. The last row or column stands for documents that are in none."""

    old: FloatArray  # (a, b + 1) training tokens of each old domain, by where its documents are now
    new: FloatArray  # (b, a + 1) training tokens of each new domain, by where its documents were
    documents: Ids  # (a + 1, b + 1)
    exchanged: Ids  # (a + 1, b + 1) of these, the ones that only one of both divisions holds out

    @classmethod
    def count(cls, parts: Iterable[tuple[Division, Division]], a: int, b: int) -> Overlap:
        """Count over parts: how the old and how the new division has the same documents."""
        old, new = np.zeros((a + 1, b + 1)), np.zeros((b + 1, a + 1))
        documents, exchanged = np.zeros((2, a + 1, b + 1), np.int64)
        for before, now in parts:
            pair = before.domains, now.domains  # -1 is the last row or column
            np.add.at(old, pair, np.where(before.heldout, 0, before.tokens))
            np.add.at(new, pair[::-1], np.where(now.heldout, 0, now.tokens))
            np.add.at(documents, pair, 1)
            np.add.at(exchanged, pair, before.heldout != now.heldout)
        return cls(old[:-1], new[:-1], documents, exchanged)

    def carry(self, weights: FloatArray) -> FloatArray:
        """The nearest mixtures (n, b) over the new domains to mixtures (n, a) over the old ones.

        A row is 0 where everything that was trained is in no new domain.
        """
        masses = (weights @ _shares(self.old))[:, :-1]
        total = masses.sum(axis=1, keepdims=True)
        return np.asarray(masses / np.where(total > 0, total, 1.0))

    def distance(self, weights: FloatArray, carried: FloatArray) -> FloatArray:
        """Total variation distance (n,) between mixtures (n, a) over the old domains and (n, b) over the new ones."""
        trained = weights[:, :, None] * _shares(self.old)[:, :-1]  # (n, a, b) mass on what a pair has in common
        stood_for = carried[:, None, :] * _shares(self.new)[:, :-1].T
        return np.asarray(np.maximum(1 - np.minimum(trained, stood_for).sum(axis=(1, 2)), 0.0))

    @property
    def unchanged(self) -> dict[int, int]:
        """New domain to old domain, where both have the same documents and hold out the same of them."""
        everywhere = self.documents.sum(axis=1, keepdims=True), self.documents.sum(axis=0, keepdims=True)
        same = (self.documents == everywhere[0]) & (self.documents == everywhere[1]) & (self.exchanged == 0)
        pairs = np.argwhere(same[:-1, :-1] & (self.documents[:-1, :-1] > 0))
        return {int(new): int(old) for old, new in pairs}


def _shares(tokens: FloatArray) -> FloatArray:
    """Rows of counts as parts of their sum; 0 where there are none."""
    total = tokens.sum(axis=1, keepdims=True)
    return np.asarray(tokens / np.where(total > 0, total, 1.0))


def translated(result: Result, old: Sequence[str], new: Sequence[str], unchanged: Mapping[int, int]) -> Result:
    """A result with only what means the same over the new domains: tasks, and held-out text of unchanged domains.

    Names of domains are ``old`` (a,) in the result, ``new`` (b,) in what is returned.
    """
    metrics = {name: value for name, value in result.metrics.items() if not name.startswith(HELDOUT)}
    for here, there in unchanged.items():
        if f"{HELDOUT}{old[there]}" in result.metrics:
            metrics[f"{HELDOUT}{new[here]}"] = result.metrics[f"{HELDOUT}{old[there]}"]
    return replace(result, metrics=metrics, repeats={})


class TakenOver:
    """Where the reused trials of a search come from, as its log says, and what their results would be here."""

    def __init__(self) -> None:
        self._source: dict[int, str] = {}  # by id here
        self._natural: set[int] = set()
        self._known: set[tuple[str, int]] = set()  # source and id there

    def fold(self, event: Mapping[str, Any]) -> None:
        """Note a "reused" event."""
        self._source |= {entry["id"]: event["from"] for entry in event["trials"]}
        self._natural |= {entry["id"] for entry in event["trials"] if entry["natural"]}
        self._known |= {(event["from"], entry["trial"]) for entry in event["trials"]}

    def has(self, one: Reusable) -> bool:
        """Whether a trial was taken over already."""
        return (one.source, one.trial) in self._known

    def results(self, trials: Sequence[Trial], objective: Objective, domains: Sequence[str]) -> dict[int, Result]:
        """The results that have what a score needs, by id: those that were measured here, and reused ones moved.

        Proxies of another search start from another trunk, which moves the results of all mixtures by about the same:
        by as much as the means of the natural runs here and there differ, where both were measured.
        """
        done = {trial.id: trial.result for trial in trials if trial.result}
        fit = {key: one for key, one in done.items() if key not in self._source or not lacking(one, objective, domains)}
        here = [done[trial.id] for trial in trials if trial.origin == "natural" and trial.id in done]
        for source in set(self._source.values()):
            mine = [key for key in fit if self._source.get(key) == source]
            shift = _shift([fit[key] for key in mine if key in self._natural], here)
            fit |= {key: _moved(fit[key], shift) for key in mine}
        return fit


def _shift(there: Sequence[Result], here: Sequence[Result]) -> dict[str, float]:
    """How much higher each metric is on average here than there; {} unless both were measured."""
    if not there or not here:
        return {}
    shared = set.intersection(*(set(result.metrics) for result in (*there, *here)))
    return {name: _mean(here, name) - _mean(there, name) for name in shared}


def _mean(results: Sequence[Result], metric: str) -> float:
    return float(np.mean([result.metrics[metric] for result in results]))


def _moved(result: Result, shift: Mapping[str, float]) -> Result:
    return replace(result, metrics={name: value + shift.get(name, 0.0) for name, value in result.metrics.items()})


def check(one: Reusable, space: MixtureSpace, objective: Objective) -> None:
    """Raise ClimbError when a trial cannot teach a search of this space and objective."""
    where = f"trial {one.trial} of search {one.source}"
    if one.mixture.domains != space.domains:
        raise ClimbError(f"{where} mixes other domains; carry it over to those of this search first")
    if not space.contains(one.mixture.weights[None])[0]:
        raise ClimbError(f"{where} is outside the allowed space; see the limits in the config's [search]")
    if names := lacking(one.result, objective, space.domains):
        raise ClimbError(f"{where} has no {', '.join(names)} that means the same here, and the score needs it")
    if not math.isfinite(objective.score(one.result.metrics)):
        raise ClimbError(f"{where} has a metric that is no finite number")


def lacking(result: Result, objective: Objective, domains: Sequence[str]) -> tuple[str, ...]:
    """The metrics that a translated result lacks for its score; the mean over all domains needs every one of them."""
    wanted = [name for name in objective.metrics if name != ALL]
    if ALL in objective.metrics:
        wanted += [f"{HELDOUT}{domain}" for domain in domains]
    return tuple(name for name in dict.fromkeys(wanted) if name not in result.metrics)
