"""What can be said of a mixture by arithmetic alone: arrays in, numbers out. Knows no Streamlit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from climb_engine.cli.arguments import token_count
from climb_engine.types import ClimbError, FloatArray, Ids


def typed_tokens(text: str | None) -> int:
    """A number of tokens as people type it: 500000, 10M, 2.5B. Raises ClimbError for anything else, and below 1."""
    tokens = token_count(text.strip()) if text and text.strip() else 0
    if tokens < 1:
        raise ClimbError("write a number of tokens as 500000, 10M or 2.5B, at least 1")
    return tokens


def effective_domains(weights: FloatArray) -> float:
    """exp(entropy) of weights (m,): m for equal weights, 1 when all is one domain."""
    some = weights[weights > 0]
    return float(np.exp(-(some * np.log(some)).sum()))


def times_read(weights: FloatArray, tokens: FloatArray, budget: float) -> FloatArray:
    """How often each domain is read (m,) when ``budget`` tokens are drawn by weights (m,) from ``tokens`` (m,)."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(weights > 0, weights * budget / tokens, 0.0))


def most_tokens(weights: FloatArray, tokens: FloatArray, times: float) -> float:
    """The largest budget that reads no domain more than ``times`` times."""
    some = weights > 0
    return float((times * tokens[some] / weights[some]).min(initial=math.inf))


def too_often(domains: Sequence[str], read: FloatArray, times: float) -> list[tuple[str, float]]:
    """(domain, how often it is read) of those that ``read`` (m,) has above ``times``, the most repeated first."""
    over = np.flatnonzero(read > times * (1 + 1e-9))
    return [(domains[d], float(read[d])) for d in over[np.argsort(-read[over], kind="stable")]]


def by_difference(table: FloatArray) -> Ids:
    """The domains (m,) of mixtures (k, m), first where the weights are farthest apart, then the heaviest."""
    return np.lexsort((-table.max(axis=0), -np.ptp(table, axis=0)))


def log_ratio(weights: FloatArray, share: FloatArray) -> FloatArray:
    """log2 of weights (k, m) over natural shares (m,): 0 is natural, 1 twice it, -inf nothing; nan without a share."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.where(share > 0, np.log2(weights / share), math.nan))
