"""DoReMi (Xie et al. 2023, arXiv 2305.10429): a mixture out of two small models, by group DRO over domains.

A reference learns from the natural mixture. A proxy of the same start then learns from all domains alike, each with a
weight in the loss that grows where the proxy is still worse than the reference. The mean of these weights over the
steps is the mixture. No target is needed, and none is seen.

What Algorithm 1 of the paper leaves open is as in its authors' code: a domain that a batch lacks keeps the excess that
it had last (none before its first), and the weights of a batch's tokens are normalised to a mean of one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from climb_engine.search.llama import LlamaShape, ProxyStack, loss_and_gradients, target_logp
from climb_engine.search.proxy import OnStep, TrainOutcome, TrainSettings, train
from climb_engine.search.sampling import TokenBank, draw_sequences
from climb_engine.types import ClimbError, FloatArray

if TYPE_CHECKING:
    import torch

STEP_SIZE = 1.0  # the paper's eta
SMOOTHING = 1e-3  # the paper's c
MODELS = 2  # the reference and the proxy


def doremi(
    trunk: ProxyStack,
    bank: TokenBank,
    natural: FloatArray,
    steps: int,
    batch: int,
    settings: TrainSettings,
    seeds: tuple[int, int],
    on_step: OnStep | None = None,
) -> FloatArray:
    """The domains' weights at every step (steps, m), whose mean is DoReMi's mixture; 0 for those without sequences.

    Raises ClimbError when a training breaks.

    Args:
        trunk: what both models start from, a stack of one; left as it is.
        bank: the training tokens of the m domains.
        natural: what the reference reads, (m,).
        steps: of each model.
        batch: sequences of a step.
        settings: of both trainings.
        seeds: of the reference's and of the proxy's data order. Under one seed the proxy would be judged on the very
            sequences that the reference has learned.
        on_step: told the steps of the reference, then those of the proxy, counted on.
    """
    there = bank.available > 0
    natural = np.where(there, natural, 0.0)
    reference, proxy = trunk.expand(1), trunk.expand(1)
    plan = draw_sequences(natural / natural.sum(), bank.available, steps, batch, seeds[0])
    _checked(train(reference, bank, plan, settings, on_step), "reference")
    uniform = there / there.sum()
    plan = draw_sequences(uniform, bank.available, steps, batch, seeds[1])
    weighing = _Weighing(reference, uniform, plan.domain[0])
    _checked(train(proxy, bank, plan, settings, _after(steps, on_step), weighing), "proxy")
    return np.array(weighing.path)


def updated(weights: FloatArray, excess: FloatArray) -> FloatArray:
    """Weights (m,) after a step in which each domain had this excess loss (m,), in nats per token.

    ``(1 - c) normalised(weights * exp(eta * excess)) + c * uniform``. A domain of weight 0 has no part in it.
    """
    there = weights > 0
    grown = weights * np.exp(STEP_SIZE * (excess - excess.max()))
    return np.asarray((1 - SMOOTHING) * grown / grown.sum() + SMOOTHING * there / there.sum())


def flops_per_token(shape: LlamaShape, t: int) -> float:
    """Of a token that the reference reads and one that the proxy reads.

    Two trainings; the reference's forward pass over what the proxy reads; and the proxy's logits once more, since a
    step's weights depend on the losses of that step.
    """
    training = shape.flops_per_token(t)
    return MODELS * training + training / 3 + 2.0 * shape.vocab * shape.hidden


class _Weighing:
    """The proxy's backward pass: the weights follow the excess losses, then the loss follows the weights."""

    def __init__(self, reference: ProxyStack, uniform: FloatArray, domains: npt.NDArray[np.integer]) -> None:
        self.path: list[FloatArray] = []  # the weights (m,) of each step so far
        self._reference, self._domains = reference, domains
        self._weights, self._excess = uniform, np.zeros(len(uniform))

    def __call__(self, stack: ProxyStack, tokens: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
        import torch

        domains = self._domains[len(self.path)]  # (b,)
        mask = np.ones(tokens.shape[1:], dtype=bool)
        mask[:, 0] = False
        with torch.no_grad():
            known = -target_logp(self._reference, tokens[0], mask, dtype)[0]  # (1, b, t)

        def weigh(nats: torch.Tensor) -> torch.Tensor:
            excess = (nats.view_as(known) - known).clamp_min(0)[0].mean(1)  # (b,)
            self._step(excess.cpu().numpy().astype(np.float64), domains)
            of_sequence = self._weights[domains] / self._weights[domains].mean()
            spread = torch.from_numpy(of_sequence).to(nats).repeat_interleave(known.shape[2])
            return spread.view_as(nats)

        return loss_and_gradients(stack, tokens, dtype, weigh)

    def _step(self, excess: FloatArray, domains: npt.NDArray[np.integer]) -> None:
        """``excess`` (b,) is the mean of each sequence; all sequences are of one length."""
        m = len(self._weights)
        counts = np.bincount(domains, minlength=m)
        means = np.bincount(domains, excess, m) / np.maximum(counts, 1)
        self._excess = np.where(counts > 0, means, self._excess)
        self._weights = updated(self._weights, self._excess)
        self.path.append(self._weights)


def _after(steps: int, on_step: OnStep | None) -> OnStep | None:
    """Count on from the steps before."""
    if on_step is None:
        return None
    return lambda step, losses: on_step(steps + step, losses)


def _checked(outcome: TrainOutcome, model: str) -> None:
    for reason in outcome.failed.values():
        raise ClimbError(f"DoReMi's {model}: {reason}, or leave doremi out")
