"""The nouns of CLIMB, and the one error a user can fix.

Letters used for shapes everywhere: ``n`` documents, ``k`` clusters, ``d`` dimensions of an embedding, ``m`` domains,
``p`` proxies trained together, ``b`` sequences in a batch, ``t`` tokens in a sequence, ``v`` tokens in the vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]
Vectors = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

METRICS = ("quality", "educational", "informational", "advertisement")
"""The paper's four quality dimensions, each 0 to 5 and higher is better (advertisement: 5 = no promotion at all)."""


class ClimbError(Exception):
    """Something the user can fix. The message says where, what, and what to do next."""


def finite(value: float) -> float | None:
    """A number that JSON has: None for nan and infinities."""
    return float(value) if math.isfinite(value) else None


@dataclass(frozen=True)
class Rejection:
    """A document that did not become part of the corpus, and why."""

    reason: str  # a short slug that can be counted: "empty", "not-utf8", "duplicate", ...
    where: str  # file and row, for example "docs.jsonl:17"
    sample: str = ""  # the first characters, to recognise it by


@dataclass(frozen=True)
class Decision:
    """What becomes of one cluster. The automatic verdict stays beside the one that an override made of it."""

    cluster: int
    kept: bool
    domain: int  # index of its domain, -1 when pruned
    reason: str
    automatic_kept: bool
    automatic_domain: int


@dataclass(frozen=True, eq=False)
class Mixture:
    """Weights over domains: non-negative, finite, summing to 1."""

    domains: tuple[str, ...]
    weights: FloatArray  # (m,)

    def __post_init__(self) -> None:
        weights = np.asarray(self.weights, dtype=np.float64)
        if weights.shape != (len(self.domains),):
            raise ClimbError(f"a mixture of {len(self.domains)} domains needs as many weights, not {weights.shape}")
        if not np.isfinite(weights).all() or (weights < 0).any():
            bad = [n for n, w in zip(self.domains, weights, strict=True) if not (math.isfinite(w) and w >= 0)]
            raise ClimbError(f"weights must be finite and at least 0; see {', '.join(bad)}")
        if abs(weights.sum() - 1) > 1e-6:
            raise ClimbError(f"weights must sum to 1, these sum to {weights.sum():.6g}; divide them by their sum")
        weights = weights.copy()
        weights.setflags(write=False)
        object.__setattr__(self, "weights", weights)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Mixture):
            return NotImplemented
        return self.domains == other.domains and np.array_equal(self.weights, other.weights)

    def __hash__(self) -> int:
        return hash((self.domains, self.weights.tobytes()))

    def as_dict(self) -> dict[str, float]:
        """Domain name to weight, in domain order."""
        return {n: float(w) for n, w in zip(self.domains, self.weights, strict=True)}

    @classmethod
    def from_dict(cls, weights: Mapping[str, float], domains: tuple[str, ...]) -> Mixture:
        """Order named weights by ``domains``; a domain left out weighs 0, an unknown one is refused."""
        unknown = sorted(set(weights) - set(domains))
        if unknown:
            raise ClimbError(f"no domain is called {', '.join(unknown)}; there are {', '.join(domains)}")
        try:
            values = np.array([float(weights.get(name, 0.0)) for name in domains])
        except (TypeError, ValueError) as error:
            raise ClimbError(f"every weight must be a number: {error}") from error
        return cls(domains, values)


@dataclass(frozen=True)
class Result:
    """What one trained proxy measured. Every metric is kept, so that a score can be computed anew without training."""

    metrics: Mapping[str, float]
    tokens: int  # trained on, the trunk not counted
    seconds: float
    flops: float
    repeats: Mapping[str, float] = field(default_factory=dict)  # domain -> times its tokens were read
    curve: tuple[tuple[int, float], ...] = ()  # (step, training loss in nats per token)


@dataclass(frozen=True)
class Trial:
    """One mixture: asked, trained as a proxy, told."""

    id: int
    iteration: int  # from 1; 0 for references and for the user's own before the first iteration
    origin: str  # "natural", "sampled", "suggested", "confirm"; "reused": measured by a search over other domains
    mixture: Mixture
    seed: int  # of the proxy's data order
    result: Result | None = None
    error: str | None = None

    @property
    def open(self) -> bool:
        """Asked and neither told nor failed."""
        return self.result is None and self.error is None


@dataclass(frozen=True)
class Event:
    """One step of progress on long work, for bars, logs and the app."""

    stage: str
    done: float
    total: float | None  # None: not known
    unit: str
    facts: Mapping[str, Any] = field(default_factory=dict)


Report = Callable[[Event], None]
"""Where progress goes. A report must be cheap and must not raise."""


def silent(event: Event) -> None:
    """The report of those who do not watch."""
