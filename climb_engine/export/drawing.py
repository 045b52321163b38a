"""Which documents a data set is made of, and in which order: arrays in, arrays out.

``documents`` are rows of the kept documents in the order of the tokens' parts; a draw is an array of such rows, in
which a row may come more than once.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from climb_engine.types import ClimbError, FloatArray, Ids, Mixture


@dataclass(frozen=True)
class Documents:
    """What there is to draw from. Memory: 13 bytes per kept document."""

    lengths: npt.NDArray[np.int32]  # (n,) tokens, the end-of-text token counted
    domains: npt.NDArray[np.int32]  # (n,)
    heldout: npt.NDArray[np.bool_]  # (n,) never drawn into a mixed data set
    firsts: Ids  # (parts + 1,) the row where each part begins


@dataclass(frozen=True)
class Shard:
    """One file of a data set: the rows from ``first`` to before ``last`` of its order."""

    file: str
    first: int
    last: int


def draw(documents: Documents, mixture: Mixture, budget: int, max_repeats: float, seed: int) -> Ids:
    """Rows of about ``budget`` tokens, in order; each domain's tokens fit its weight to half a document.

    A domain is drawn without replacement until it runs out, then again, so no document comes a second time before
    all of its domain came once. The domains are spread evenly, so every stretch of the data set has the mixture.
    Raises ClimbError, before anything else, when a domain would be read more than ``max_repeats`` times.
    """
    available = tokens_by_domain(documents, len(mixture.domains))
    _check(mixture, available, budget, max_repeats)
    rows, places = [], []
    for domain, weight in enumerate(mixture.weights):
        random = np.random.default_rng([seed, domain])
        mine = np.flatnonzero((documents.domains == domain) & ~documents.heldout)
        drawn = _draw_domain(mine, documents.lengths[mine], float(weight) * budget, random)
        rows.append(drawn)
        places.append(_places(documents.lengths[drawn], random))
    order = np.concatenate(rows)
    if not len(order):
        raise ClimbError(f"--tokens {budget}: that is less than a document; ask for more")
    drawn = order[np.argsort(np.concatenate(places), kind="stable")]
    return drawn


def tokens_by_domain(documents: Documents, m: int) -> FloatArray:
    """Tokens there are to draw from, shape (m,)."""
    free = ~documents.heldout
    return np.bincount(documents.domains[free], weights=documents.lengths[free], minlength=m).astype(np.float64)


def cut(lengths: npt.NDArray[np.int32], shard_tokens: int) -> list[tuple[int, int]]:
    """Cut an order into shards of about equal size, at most about ``shard_tokens``; (first, last) of each.

    lengths (r,): tokens of the documents in order.
    """
    ends = np.cumsum(lengths, dtype=np.int64)
    count = max(1, math.ceil(ends[-1] / shard_tokens - 0.05))  # a draw is a little over or under its budget
    inner = np.searchsorted(ends, ends[-1] * np.arange(1, count) / count)
    bounds = np.unique(np.concatenate([[0], inner, [len(lengths)]]))
    return [(int(a), int(b)) for a, b in pairwise(bounds)]


def grouped(
    groups: npt.NDArray[np.int32], lengths: npt.NDArray[np.int32], shard_tokens: int
) -> tuple[Ids, list[tuple[int, int, int, int]]]:
    """All documents ordered by group, and each group's shards as (group, number, first, last).

    groups, lengths (n,).
    """
    order = np.argsort(groups, kind="stable")
    found, starts = np.unique(groups[order], return_index=True)
    shards = []
    for group, first, last in zip(found.tolist(), starts.tolist(), [*starts[1:].tolist(), len(order)], strict=True):
        for number, (a, b) in enumerate(cut(lengths[order[first:last]], shard_tokens)):
            shards.append((group, number, first + a, first + b))
    return order, shards


def _draw_domain(rows: Ids, lengths: npt.NDArray[np.int32], target: float, random: np.random.Generator) -> Ids:
    """Whole passes over a domain, each in an order of its own, and of the last one what fits best."""
    if not len(rows) or target <= 0:
        return rows[:0]
    passes, rest = divmod(target, float(lengths.sum(dtype=np.int64)))
    drawn = [rows[random.permutation(len(rows))] for _ in range(int(passes))]
    last = random.permutation(len(rows))
    ends = np.concatenate([[0], np.cumsum(lengths[last], dtype=np.int64)])
    drawn.append(rows[last[: int(np.argmin(np.abs(ends - rest)))]])
    return np.concatenate(drawn)


def _places(lengths: npt.NDArray[np.int32], random: np.random.Generator) -> FloatArray:
    """Where in [0, 1) each document of a domain goes: somewhere in the stretch that its tokens take up."""
    ends = np.cumsum(lengths, dtype=np.float64)
    places: FloatArray = (ends - lengths * (1 - random.random(len(lengths)))) / ends[-1:]
    return places


def _check(mixture: Mixture, available: FloatArray, budget: int, max_repeats: float) -> None:
    wanted = mixture.weights * budget
    short = np.flatnonzero(wanted > max_repeats * available * (1 + 1e-9))
    if not len(short):
        return
    with np.errstate(divide="ignore"):
        most = int(np.min(max_repeats * available[short] / mixture.weights[short]))
        times = wanted[short] / available[short]
    named = ", ".join(f"{mixture.domains[d]} ({t:.1f} times)" for d, t in zip(short, times, strict=True))
    raise ClimbError(
        f"--tokens {budget:,} would read more than {max_repeats:g} times: {named}; "
        f"ask for at most {most:,} tokens, raise --max-repeats, or cap these domains in the search (search.max_repeats)"
    )
