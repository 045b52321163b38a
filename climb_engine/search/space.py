"""Which mixtures are allowed: the one place where a constraint on the weights is written.

A mixture is allowed when every weight lies between its bounds, the weights sum to 1 and, where asked for, the mixture
stays close to the natural one. Every mixture that leaves a ``MixtureSpace`` satisfies all of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Self

import numpy as np
import numpy.typing as npt

from climb_engine.config import SearchConfig, nearest
from climb_engine.types import ClimbError, FloatArray

SMALLEST = 2e-4  # a drawn weight below this becomes 0: too few of a proxy's tokens to show an effect (official code)
STRENGTHS = np.geomspace(0.1, 5.0, 15)  # of the first mixtures (official code)
OVERSAMPLING = 100  # draws per first mixture (official code)
ROUNDS = 8  # candidates are drawn anew this often; what is still missing then is projected
ROUNDING = 1e-9  # bounds that miss a sum of 1 by no more than this missed it by rounding
EXACT = 1e-12  # tolerance within which a drawn mixture counts as allowed


@dataclass(frozen=True, eq=False)
class MixtureSpace:
    """The allowed mixtures over ``m`` domains. Arrays are read-only; ``from_config`` builds it from the knobs."""

    domains: tuple[str, ...]
    share: FloatArray  # (m,) natural share of the tokens, sums to 1
    tokens: FloatArray  # (m,) tokens that there are
    prior: FloatArray  # (m,) centre of the first mixtures, sums to 1
    lower: FloatArray  # (m,) lowest weights
    upper: FloatArray  # (m,) highest weights
    max_divergence: float = 0.0  # largest KL(mixture || share) in nats; 0: no limit
    natural: FloatArray = field(init=False)  # (m,) the allowed mixture of least KL divergence from ``share``

    def __post_init__(self) -> None:
        for name in ("share", "tokens", "prior", "lower", "upper"):
            self._freeze(name, _per_domain(name, getattr(self, name), len(self.domains)))
        for name in ("share", "prior"):
            if abs(getattr(self, name).sum() - 1) > ROUNDING:
                raise ClimbError(f"{name} must sum to 1, it sums to {getattr(self, name).sum():.6g}")
        _check_bounds(self.domains, self.lower, self.upper, [""] * len(self.domains), [""] * len(self.domains))
        if (self.upper[self.share == 0] > 0).any():
            raise ClimbError("a domain without tokens cannot weigh anything; its upper bound must be 0")
        self._freeze("lower", self.lower / max(1.0, self.lower.sum()))  # what ROUNDING let through
        self._freeze("upper", self.upper * max(1.0, 1.0 / self.upper.sum()))
        self._freeze("natural", _scaled_into(self.share, self.lower, self.upper))
        least = float(self.divergence(self.natural[None])[0])
        if self.max_divergence and least > self.max_divergence:
            raise ClimbError(
                f"search.max_divergence: no mixture within the bounds is closer to natural than {least:.4g} nats, "
                f"{self.max_divergence:g} were asked for; raise max_divergence, or relax {self._far_from_natural()}"
            )

    @classmethod
    def from_config(cls, domains: tuple[str, ...], tokens: FloatArray, config: SearchConfig) -> Self:
        """The space of the search knobs over ``domains`` that hold ``tokens`` (m,) each.

        Raises ClimbError for unknown domains and for constraints that cannot all hold, naming those that collide.
        """
        tokens = _per_domain("tokens", tokens, len(domains))
        if not tokens.sum() > 0:
            raise ClimbError("there are no tokens to mix in any domain; keep more clusters, or add documents")
        for knob in ("prior", "min_weight", "max_weight"):
            _check_names(f"search.{knob}", getattr(config, knob), domains, limit=knob != "prior")
        share = tokens / tokens.sum()
        lower, floors = _lower_bounds(domains, config)
        upper, caps = _upper_bounds(domains, tokens, config)
        _check_bounds(domains, lower, upper, floors, caps)
        return cls(domains, share, tokens, _prior(domains, share, config), lower, upper, config.max_divergence)

    @property
    def uniform(self) -> FloatArray:
        """The allowed mixture next to equal weights, (m,)."""
        equal = np.full((1, len(self.domains)), 1 / len(self.domains))
        return np.asarray(self.project(equal)[0])

    def divergence(self, weights: FloatArray) -> FloatArray:
        """KL(weights || natural share) of each row of (n, m), in nats; (n,)."""
        with np.errstate(divide="ignore", invalid="ignore"):
            terms = np.where(weights > 0, weights * np.log(weights / self.share), 0.0)
        return np.asarray(np.maximum(terms.sum(axis=1), 0.0))

    def contains(self, weights: FloatArray, tolerance: float = 1e-9) -> npt.NDArray[np.bool_]:
        """Which rows of (n, m) are allowed mixtures; (n,)."""
        within = ((weights >= self.lower - tolerance) & (weights <= self.upper + tolerance)).all(axis=1)
        within &= np.abs(weights.sum(axis=1) - 1) <= tolerance
        if self.max_divergence:
            within[within] = self.divergence(weights[within]) <= self.max_divergence + tolerance
        return np.asarray(within)

    def project(self, weights: FloatArray) -> FloatArray:
        """The allowed mixture next to each row of (n, m), which may hold any finite numbers.

        Nearest in Euclidean distance under the bounds; one that is then too far from natural moves straight towards
        it until it is allowed.
        """
        points = np.asarray(weights, dtype=np.float64)
        if not np.isfinite(points).all():
            raise ClimbError("weights must be finite numbers")
        return self._pulled(self._settled(_capped_simplex(points, self.lower, self.upper)))

    def sample(self, n: int, rng: np.random.Generator) -> FloatArray:
        """First mixtures, (n, m): the official code's scheme under all constraints, distinct where the space allows.

        Draws Dirichlet(prior x strength), the strength one of 15 between 0.1 and 5; drops small weights; rejects what
        is not allowed; picks ``n`` at random of 100 x n draws. A lower bound is given first, the draw shares the rest.
        """

        def draw(count: int) -> FloatArray:
            return self._dirichlet(self.prior * rng.choice(STRENGTHS, (count, 1)), rng)

        pool = self._allowed(draw, n, n * OVERSAMPLING, 1, rng)
        return pool[rng.choice(len(pool), n, replace=False)]

    def candidates(self, n: int, rng: np.random.Generator) -> FloatArray:
        """Mixtures to rank by prediction, (n, m): the official code's Dirichlet(share), under all constraints."""

        def draw(count: int) -> FloatArray:
            return self._dirichlet(np.broadcast_to(self.share, (count, len(self.share))), rng)

        return self._allowed(draw, n, n, ROUNDS, rng)[:n]

    def local(self, centres: FloatArray, n: int, rng: np.random.Generator, scale: float = 0.1) -> FloatArray:
        """Allowed mixtures around the rows of ``centres`` (c, m), each row as often as another; (n, m).

        One half is drawn from a Dirichlet around its centre whose standard deviation is at most ``scale`` / 2; the
        other half moves up to ``scale`` (or all there is) from one domain to another.
        """
        rows = centres[rng.permutation(np.arange(n) % len(centres))]
        half = n // 2
        moved = np.vstack([_jittered(rows[:half], scale, rng), _transferred(rows[half:], scale, rng)])
        return self.project(self._tidied(moved))

    def _freeze(self, name: str, values: FloatArray) -> None:
        values.setflags(write=False)
        object.__setattr__(self, name, values)

    def _far_from_natural(self) -> str:
        moved = np.argsort(-np.abs(self.natural - self.share))[:3]
        return ", ".join(f"the bounds of {self.domains[i]}" for i in moved if self.natural[i] != self.share[i])

    def _settled(self, weights: FloatArray) -> FloatArray:
        """Weights that bounds and rounding left next to a sum of 1, made to sum to 1; no crumbs next to 0."""
        weights[(weights < EXACT / len(self.domains)) & (self.lower == 0)] = 0.0
        rows = np.arange(len(weights))
        room = np.minimum(weights - self.lower, self.upper - weights)
        roomiest = room.argmax(axis=1)
        weights[rows, roomiest] += np.clip(1 - weights.sum(axis=1), -room.max(axis=1), room.max(axis=1))
        return weights

    def _pulled(self, weights: FloatArray) -> FloatArray:
        if not self.max_divergence:
            return weights
        far = self.divergence(weights) > self.max_divergence
        direction = weights[far] - self.natural
        inside, outside = np.zeros((far.sum(), 1)), np.ones((far.sum(), 1))
        for _ in range(50):
            middle = (inside + outside) / 2
            allowed = self.divergence(self.natural + middle * direction)[:, None] <= self.max_divergence
            inside, outside = np.where(allowed, middle, inside), np.where(allowed, outside, middle)
        weights[far] = self._settled(np.clip(self.natural + inside * direction, self.lower, self.upper))
        return weights

    def _dirichlet(self, concentration: FloatArray, rng: np.random.Generator) -> FloatArray:
        free = 1 - float(self.lower.sum())
        return np.asarray(self.lower + free * _dirichlet(concentration, rng))

    def _tidied(self, weights: FloatArray) -> FloatArray:
        smallest = min(SMALLEST, 0.5 / len(self.domains))
        weights = np.where((weights < smallest) & (self.lower == 0), 0.0, weights)
        return np.asarray(weights / weights.sum(axis=1, keepdims=True))

    def _allowed(
        self, draw: Callable[[int], FloatArray], n: int, batch: int, rounds: int, rng: np.random.Generator
    ) -> FloatArray:
        """At least ``n`` allowed mixtures: by rejection, then by projection, then (a tiny space) by repetition.

        Projections of wild draws meet in few corners of a tight space, so that pairs of them are mixed.
        """
        kept = np.empty((0, len(self.domains)))
        for _ in range(rounds):
            drawn = self._tidied(draw(batch))
            allowed = self.contains(drawn, EXACT)
            kept = np.vstack([kept, distinct(drawn[allowed], kept)])
            if len(kept) >= n:
                return kept
        corners = np.vstack([self.project(drawn[~allowed][: 2 * n]), self.natural])
        part = rng.random((len(corners), 1))
        spare = np.clip(part * corners + (1 - part) * rng.permutation(corners), self.lower, self.upper)
        kept = np.vstack([kept, distinct(spare, kept)[: n - len(kept)]])
        return np.vstack([kept, np.resize(kept, (n - len(kept), kept.shape[1]))])


def distinct(weights: FloatArray, seen: FloatArray | None = None, decimals: int = 4) -> FloatArray:
    """The rows of (n, m) that differ from each other and from ``seen`` (s, m) when rounded; in order, unrounded."""
    before = np.empty((0, weights.shape[1])) if seen is None else seen
    rounded = np.rint(np.vstack([before, weights]) * 10**decimals).astype(np.int64)
    keys = np.ascontiguousarray(rounded).view([("", np.int64)] * rounded.shape[1]).ravel()
    _, first = np.unique(keys, return_index=True)
    new = np.sort(first[first >= len(before)]) - len(before)
    return weights[new]


def _dirichlet(concentration: FloatArray, rng: np.random.Generator) -> FloatArray:
    """One draw per row of concentrations (n, m) >= 0; in logs, since gammas of tiny concentrations underflow."""
    with np.errstate(divide="ignore"):
        boost = np.log(1 - rng.random(concentration.shape)) / concentration
    logs = np.log(rng.standard_gamma(concentration + 1)) + boost
    gammas = np.exp(logs - logs.max(axis=1, keepdims=True))
    return np.asarray(gammas / gammas.sum(axis=1, keepdims=True))


def _jittered(centres: FloatArray, scale: float, rng: np.random.Generator) -> FloatArray:
    spread = scale * rng.uniform(0.1, 1.0, (len(centres), 1))
    return _dirichlet(centres / spread**2, rng)


def _transferred(centres: FloatArray, scale: float, rng: np.random.Generator) -> FloatArray:
    rows, m = np.arange(len(centres)), centres.shape[1]
    giver = (centres.cumsum(axis=1) > rng.random((len(centres), 1)) * centres.sum(axis=1, keepdims=True)).argmax(axis=1)
    taker = (giver + rng.integers(1, max(m, 2), len(centres))) % m
    amount = np.minimum(centres[rows, giver], scale * rng.random(len(centres)))
    moved = centres.copy()
    moved[rows, giver] -= amount
    moved[rows, taker] += amount
    return moved


def _capped_simplex(points: FloatArray, lower: FloatArray, upper: FloatArray) -> FloatArray:
    """Euclidean projection of each row of (n, m) onto {lower <= w <= upper, sum 1}: w = clip(point - shift).

    The sum is piecewise linear and falling in the shift, with a kink where a weight leaves its upper bound and one
    where it reaches its lower bound; sorting the kinks gives the piece on which the sum is 1.
    """
    kinks = np.hstack([points - upper, points - lower])  # (n, 2m)
    slopes = np.repeat([-1.0, 1.0], points.shape[1])
    order = kinks.argsort(axis=1, kind="stable")
    kinks = np.take_along_axis(kinks, order, axis=1)
    slope = slopes[order].cumsum(axis=1)  # of the sum, to the right of each kink
    falls = np.hstack([np.zeros((len(points), 1)), (slope[:, :-1] * np.diff(kinks, axis=1)).cumsum(axis=1)])
    totals = upper.sum() + falls  # at each kink
    piece = np.maximum((totals >= 1).sum(axis=1) - 1, 0)
    rows = np.arange(len(points))
    rate = np.minimum(slope[rows, piece], 0.0)
    over = np.divide(totals[rows, piece] - 1, -rate, out=np.zeros(len(points)), where=rate < 0)
    return np.asarray(np.clip(points - (kinks[rows, piece] + over)[:, None], lower, upper))


def _scaled_into(share: FloatArray, lower: FloatArray, upper: FloatArray) -> FloatArray:
    """The mixture of least KL(w || share) within the bounds: the share times a factor, clipped, summing to 1."""
    if ((lower <= share) & (share <= upper)).all():
        return share.copy()
    low, high = 0.0, 1.0
    while np.clip(high * share, lower, upper).sum() < 1 - ROUNDING and high < 1e300:
        high *= 2
    for _ in range(200):
        middle = (low + high) / 2
        low, high = (middle, high) if np.clip(middle * share, lower, upper).sum() < 1 else (low, middle)
    return np.asarray(_capped_simplex(np.clip(high * share, lower, upper)[None], lower, upper)[0])


def _per_domain(name: str, values: FloatArray, m: int) -> FloatArray:
    array = np.array(values, dtype=np.float64)
    if array.shape != (m,) or not np.isfinite(array).all() or (array < 0).any():
        raise ClimbError(f"{name} must be {m} finite numbers of at least 0, one per domain")
    return array


def _check_names(knob: str, given: Mapping[str, float], domains: tuple[str, ...], limit: bool) -> None:
    for name in given:
        if name not in domains:
            raise ClimbError(f"{knob}: no domain is called {name!r}{nearest(name, domains)}")
        if limit and not 0 <= given[name] <= 1:
            raise ClimbError(f"{knob}: {name} is {given[name]:g}; a weight lies between 0 and 1")


def _prior(domains: tuple[str, ...], share: FloatArray, config: SearchConfig) -> FloatArray:
    if not config.prior:
        tempered = np.where(share > 0, share**config.prior_exponent, 0.0)
        return np.asarray(tempered / tempered.sum())
    centre = _given(config.prior, domains, 0.0) * (share > 0)
    if not np.isfinite(centre).all() or (centre < 0).any() or centre.sum() <= 0:
        raise ClimbError("search.prior: weights must be at least 0, and above 0 for some domain that has tokens")
    return np.asarray(centre / centre.sum())


def _given(weights: Mapping[str, float], domains: tuple[str, ...], default: float) -> FloatArray:
    return np.array([float(weights.get(name, default)) for name in domains])


def _lower_bounds(domains: tuple[str, ...], config: SearchConfig) -> tuple[FloatArray, list[str]]:
    return _given(config.min_weight, domains, 0.0), ["min_weight" for _ in domains]


def _upper_bounds(domains: tuple[str, ...], tokens: FloatArray, config: SearchConfig) -> tuple[FloatArray, list[str]]:
    """The tightest cap on each domain, and the knob that it comes from."""
    if config.max_repeats and not config.token_budget:
        raise ClimbError("search.max_repeats needs search.token_budget: the tokens that the mixture will be read for")
    caps = {
        "max_weight": _given(config.max_weight, domains, 1.0),
        f"max_ratio {config.max_ratio:g} x its share": config.max_ratio * tokens / tokens.sum(),
    }
    if config.max_repeats:
        reason = f"max_repeats {config.max_repeats:g} x {{:.3g}} tokens of a token_budget of {config.token_budget:.3g}"
        caps[reason] = config.max_repeats * tokens / config.token_budget
    table = np.array(list(caps.values()))  # (caps, m)
    binding = table.argmin(axis=0)
    reasons = [list(caps)[cap].format(count) for cap, count in zip(binding, tokens, strict=True)]
    return np.minimum(table.min(axis=0), 1.0), reasons


def _check_bounds(
    domains: tuple[str, ...], lower: FloatArray, upper: FloatArray, floors: list[str], caps: list[str]
) -> None:
    def shown(values: FloatArray, reasons: list[str], which: npt.NDArray[np.bool_]) -> str:
        rows = zip(domains, values, reasons, which, strict=True)
        return " + ".join(f"{n} {v:.4g}{f' ({r})' if r else ''}" for n, v, r, named in rows if named)

    for name, low, high, floor, cap in zip(domains, lower, upper, floors, caps, strict=True):
        if low > high:
            raise ClimbError(
                f"search: {name} must weigh at least {low:.4g} ({floor or 'lower'}) and at most {high:.4g} "
                f"({cap or 'upper'}); lower the one, or raise the other"
            )
    if lower.sum() > 1 + ROUNDING:
        raise ClimbError(
            f"search.min_weight: lower bounds sum to {lower.sum():.4g}, more than 1: "
            f"{shown(lower, [''] * len(domains), lower > 0)}; lower some of them"
        )
    if upper.sum() < 1 - ROUNDING:
        raise ClimbError(
            f"search: upper bounds sum to {upper.sum():.4g}, less than 1: {shown(upper, caps, upper < 1)}; "
            "raise some of them"
        )
