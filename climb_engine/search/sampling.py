"""What the proxies read, and in which order: tokens by domain, drawn by mixture with common random numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from climb_engine.types import ClimbError, FloatArray, Ids

if TYPE_CHECKING:
    import torch

GOLDEN = (math.sqrt(5) - 1) / 2
LARGEST_INT16 = 2**15 - 1


@dataclass(frozen=True)
class TokenBank:
    """The training tokens of all domains, one after another, on the device where proxies read them.

    Sequence i of domain d is the window of t + 1 tokens at ``offsets[d] + i * t``: t inputs and their t targets.
    """

    tokens: torch.Tensor  # (sum of lengths,) int16 where the ids allow, else int32
    offsets: Ids  # (m,) where each domain begins
    available: Ids  # (m,) sequences of each domain
    sequence_length: int  # t

    @classmethod
    def build(cls, domains: Sequence[npt.NDArray[np.integer]], sequence_length: int) -> TokenBank:
        """Lay the token ids of each domain end to end. A domain shorter than t + 1 tokens has no sequence."""
        import torch

        lengths = np.array([len(tokens) for tokens in domains], dtype=np.int64)
        small = all(len(tokens) == 0 or int(tokens.max()) <= LARGEST_INT16 for tokens in domains)
        flat = np.empty(int(lengths.sum()), dtype=np.int16 if small else np.int32)
        offsets = np.cumsum(lengths) - lengths
        for tokens, start in zip(domains, offsets, strict=True):
            flat[start : start + len(tokens)] = tokens
        available = np.maximum(lengths - 1, 0) // sequence_length
        return cls(torch.from_numpy(flat), offsets.astype(np.int64), available, sequence_length)

    def to(self, device: torch.device) -> TokenBank:
        """The same tokens on another device."""
        return replace(self, tokens=self.tokens.to(device))

    def starts(self, plan: SequencePlan) -> Ids:
        """Where each planned sequence begins in ``tokens``, shape (p, steps, b)."""
        starts: Ids = self.offsets[plan.domain] + plan.index * self.sequence_length
        return starts

    def gather(self, starts: torch.Tensor) -> torch.Tensor:
        """The sequences (..., t + 1), int64, that begin at ``starts`` (...), int64 on the bank's device."""
        import torch

        window = torch.arange(self.sequence_length + 1, device=starts.device)
        return self.tokens[starts.unsqueeze(-1) + window].long()


@dataclass(frozen=True)
class SequencePlan:
    """The sequences of every proxy and step."""

    domain: npt.NDArray[np.int16]  # (p, steps, b)
    index: Ids  # (p, steps, b) sequence within its domain
    repeats: FloatArray  # (p, m) times each domain is read: its draws over its sequences

    def __len__(self) -> int:
        """Number of proxies."""
        return len(self.domain)

    def select(self, proxies: Sequence[int]) -> SequencePlan:
        """The plan of some of the proxies."""
        chosen = list(proxies)
        return SequencePlan(self.domain[chosen], self.index[chosen], self.repeats[chosen])


def draw_sequences(
    weights: FloatArray, available: Ids, steps: int, batch: int, seeds: Sequence[int] | int
) -> SequencePlan:
    """Draw ``batch`` sequences for each of ``steps`` steps, by mixture.

    ``weights`` (p, m) are mixtures, ``available`` (m,) the sequences of each domain, ``seeds`` one for all or one for
    each proxy. Proxies of equal seed share every random number, and what a proxy reads depends on its own weights and
    seed alone. A domain's draws are its share of steps * batch to within one sequence, its share of every batch to
    within one, and its j-th draw is the same sequence whatever the mixture: a larger weight reads a superset. When a
    domain runs out, it is read again in a new order.

    Raises ClimbError for a weight on a domain without sequences.
    """
    weights = np.atleast_2d(np.asarray(weights, dtype=np.float64))
    seeds = [seeds] * len(weights) if isinstance(seeds, int) else list(seeds)
    _check(weights, available, seeds)
    slots = {seed: _slots(steps, batch, seed) for seed in set(seeds)}
    domain = np.stack([_domains(w, slots[s]) for w, s in zip(weights, seeds, strict=True)])
    counts = np.stack([np.bincount(d, minlength=len(available)) for d in domain])
    index = np.empty(domain.shape, dtype=np.int64)
    for seed in set(seeds):
        mine = np.flatnonzero(np.array(seeds) == seed)
        for d in np.flatnonzero(counts[mine].any(axis=0)):
            order = _order(int(available[d]), int(counts[mine, d].max()), seed, int(d))
            for proxy in mine:
                index[proxy, domain[proxy] == d] = order[: counts[proxy, d]]
    shape = (len(weights), steps, batch)
    repeats = counts / np.maximum(available, 1)
    return SequencePlan(domain.reshape(shape), index.reshape(shape), repeats)


def _check(weights: FloatArray, available: Ids, seeds: Sequence[int]) -> None:
    if weights.shape[1] != len(available) or len(seeds) != len(weights):
        raise ValueError(f"{weights.shape} weights, {len(available)} domains and {len(seeds)} seeds do not fit")
    empty = np.flatnonzero((weights > 0).any(axis=0) & (np.asarray(available) < 1))
    if len(empty):
        raise ClimbError(
            f"domain {', '.join(map(str, empty))} has a weight but not one whole training sequence; give it weight 0, "
            "merge it with another domain, or shorten proxy.sequence_length"
        )


def _slots(steps: int, batch: int, seed: int) -> FloatArray:
    """Points in [0, 1) that pick the domains, (steps * batch,): systematic over the run and within every batch.

    A batch is a comb of spacing 1 / batch, and the combs of all steps interleave to one of spacing 1 / (steps * batch).
    Combs are dealt to the steps along a golden-ratio sequence, so that a domain rarer than one sequence per batch comes
    evenly over the whole run rather than in one stretch of it.
    """
    shift, start = np.random.default_rng(seed).random(2)
    comb = np.argsort(np.argsort((start + GOLDEN * np.arange(steps)) % 1, kind="stable"), kind="stable")
    points = (comb[:, None] + shift) / (steps * batch) + np.arange(batch) / batch
    below_one: FloatArray = np.minimum(points, np.nextafter(1, 0)).reshape(-1)
    return below_one


def _domains(weights: FloatArray, points: FloatArray) -> npt.NDArray[np.int16]:
    """The domain whose stretch of the unit interval holds each point; a weight of 0 has none."""
    edges = np.cumsum(weights)
    return np.searchsorted(edges / edges[-1], points, side="right").astype(np.int16)


def _order(available: int, draws: int, seed: int, domain: int) -> Ids:
    """The first draws of a domain: one permutation of its sequences after another. More draws only append."""
    epochs = -(-draws // available)
    rows = np.tile(np.arange(available, dtype=np.int64), (epochs, 1))
    return np.random.default_rng([seed, domain]).permuted(rows, axis=1).reshape(-1)[:draws]
