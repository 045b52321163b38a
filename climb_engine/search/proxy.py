"""Proxies: p small Llamas trained and measured as one torch program.

The optimiser steps stacked tensors elementwise and each proxy's gradient is clipped by its own norm, so that a stack
trains as its members would alone.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np
import numpy.typing as npt

from climb_engine.search.llama import CHUNK, LlamaShape, ProxyStack, loss_and_gradients, target_logp
from climb_engine.search.sampling import SequencePlan, TokenBank
from climb_engine.types import ClimbError, FloatArray

if TYPE_CHECKING:
    import torch

CPU_STACK = 4  # as fast as 1 and faster than 16
REPORT_EVERY = {"cpu": 1, "cuda": 20, "mps": 20}  # reading a loss stalls a GPU


@dataclass(frozen=True)
class TrainSettings:
    """How a stack trains. ``wsd-trunk`` warms up and stays; ``decay`` falls from the first step; ``full`` does both."""

    learning_rate: float
    schedule: Literal["wsd-trunk", "decay", "full"]
    final_fraction: float = 0.1  # learning rate at the end, over the peak's
    warmup: float = 0.02  # share of the steps; "decay" has none
    weight_decay: float = 0.1  # on matrices
    gradient_clip: float = 1.0  # of each proxy's gradient norm
    betas: tuple[float, float] = (0.9, 0.95)
    dtype: Literal["auto", "float32", "bfloat16"] = "auto"  # of the matmuls; the weights stay float32

    def learning_rate_at(self, step: int, steps: int) -> float:
        """The learning rate of a step, counted from 0."""
        warming = 0 if self.schedule == "decay" else round(self.warmup * steps)
        if step < warming:
            return self.learning_rate * (step + 1) / warming
        if self.schedule == "wsd-trunk":
            return self.learning_rate
        gone = (step - warming) / max(1, steps - warming)
        return self.learning_rate * (1 - (1 - self.final_fraction) * gone)


@dataclass(frozen=True)
class TrainOutcome:
    """What happened to each proxy of a stack."""

    losses: npt.NDArray[np.float32]  # (p, steps) nats per token
    failed: Mapping[int, str]  # index of a proxy to the reason
    seconds: float


OnStep = Callable[[int, npt.NDArray[np.float32]], None]
"""Told the step and the losses (p,) of that step."""
Backward = Callable[[ProxyStack, "torch.Tensor", "torch.dtype"], "torch.Tensor"]
"""The losses (p,) of a step's tokens (p, b, t + 1), whose gradients it adds; asked once a step, in order."""


def train(
    stack: ProxyStack,
    bank: TokenBank,
    plan: SequencePlan,
    settings: TrainSettings,
    on_step: OnStep | None = None,
    backward: Backward = loss_and_gradients,
) -> TrainOutcome:
    """Train every proxy on its own sequences, in place; ``backward`` may be another loss than the mean of all tokens.

    A proxy whose loss or weights stop being finite is reported as failed and harms no other. ``on_step`` is called
    after every step on a CPU, on a GPU after every 20th and the last. An out-of-memory error of torch passes through;
    the stack is then half trained and of no more use.
    """
    import torch

    if len(plan) != len(stack):
        raise ValueError(f"a plan for {len(plan)} proxies does not fit a stack of {len(stack)}")
    began, device = time.monotonic(), stack.device
    dtype = compute_dtype(settings.dtype, device)
    starts = torch.from_numpy(bank.starts(plan)).to(device)
    steps = starts.shape[1]
    losses = torch.empty(steps, len(stack), device=device)
    optimiser = _optimiser(stack, settings)
    for step in range(steps):
        for group in optimiser.param_groups:
            group["lr"] = settings.learning_rate_at(step, steps)
        optimiser.zero_grad()
        losses[step] = backward(stack, bank.gather(starts[:, step]), dtype)
        _clip(stack, settings.gradient_clip)
        optimiser.step()
        if on_step and ((step + 1) % REPORT_EVERY[device.type] == 0 or step + 1 == steps):
            on_step(step, losses[step].cpu().numpy())
    for weight in stack.parameters.values():
        weight.requires_grad_(False).grad = None
    curves = losses.T.cpu().numpy()
    return TrainOutcome(curves, _failures(stack, curves), time.monotonic() - began)


def _optimiser(stack: ProxyStack, settings: TrainSettings) -> torch.optim.Optimizer:
    import torch

    for weight in stack.parameters.values():
        weight.requires_grad_(True)
    vectors = [w for name, w in stack.parameters.items() if name.endswith("norm")]
    matrices = [w for name, w in stack.parameters.items() if not name.endswith("norm")]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=settings.learning_rate, betas=settings.betas, fused=True)


def _clip(stack: ProxyStack, limit: float) -> None:
    """Scale each proxy's gradient to a norm of at most ``limit``."""
    import torch

    gradients = [w.grad for w in stack.parameters.values() if w.grad is not None]
    norms = torch.stack([torch.linalg.vector_norm(g.flatten(1), dim=1) for g in gradients])
    scale = (limit / (torch.linalg.vector_norm(norms, dim=0) + 1e-6)).clamp_max(1.0)
    for gradient in gradients:
        gradient.mul_(scale.view(-1, *[1] * (gradient.dim() - 1)))


def _failures(stack: ProxyStack, losses: npt.NDArray[np.float32]) -> dict[int, str]:
    import torch

    failed = {}
    sound = torch.stack([w.flatten(1).isfinite().all(1) for w in stack.parameters.values()]).all(0).tolist()
    for proxy, curve in enumerate(losses):
        bad = np.flatnonzero(~np.isfinite(curve))
        if len(bad):
            failed[proxy] = f"the training loss was {curve[bad[0]]} at step {bad[0]}; lower the learning rate"
        elif not sound[proxy]:
            failed[proxy] = "a weight was not finite after the last step; lower the learning rate"
    return failed


# Evaluation


def sequence_nats(
    stack: ProxyStack, tokens: npt.NDArray[np.integer], dtype: str = "float32", rows: int = 16
) -> tuple[FloatArray, int]:
    """Total nats (p,) of held-out sequences (s, t + 1), and how many tokens they were predicted over."""
    total = np.zeros(len(stack))
    mask = np.ones((min(rows, len(tokens)), tokens.shape[1]), dtype=bool)
    mask[:, 0] = False
    batches = (tokens[i : i + rows] for i in range(0, len(tokens), rows))
    for batch in batches:
        total -= loglikelihoods(stack, [(batch, mask[: len(batch)])], dtype)[0].sum(1)
    return total, tokens.shape[0] * (tokens.shape[1] - 1)


def loglikelihoods(
    stack: ProxyStack,
    batches: Iterable[tuple[npt.NDArray[np.integer], npt.NDArray[np.bool_]]],
    dtype: str = "float32",
) -> tuple[FloatArray, npt.NDArray[np.bool_]]:
    """For each proxy and row: log-likelihood (nats) of its target tokens, and whether each is the likeliest, (p, rows).

    A batch is tokens (rows, t), padded at the end by any id, and a mask (rows, t) of the targets; the first token has
    nothing before it and cannot be one. A likelihood that is not finite stays so.
    """
    import torch

    sums, greedy = [], []
    compute = compute_dtype(dtype, stack.device)
    with torch.no_grad():
        for tokens, mask in batches:
            ids = torch.from_numpy(np.array(tokens, np.int64)).to(stack.device)
            logp, top = target_logp(stack, ids, mask, compute)
            sums.append(logp.double().sum(-1).cpu().numpy())
            greedy.append(top.all(-1).cpu().numpy())
    empty = np.zeros((len(stack), 0))
    return np.concatenate([empty, *sums], axis=1), np.concatenate([empty.astype(bool), *greedy], axis=1)


# The machine


def choose_device(name: str) -> torch.device:
    """The device of machine.device: auto, cpu, cuda, cuda:N or mps. Raises ClimbError when it is not there."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    device = torch.device(name)
    there = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    if (device.index or 0) >= there[device.type]:
        raise ClimbError(f"there is no {name} on this machine; choose machine.device auto or cpu")
    return device


def compute_dtype(name: str, device: torch.device) -> torch.dtype:
    """The dtype of the matmuls; auto is bfloat16 where the hardware multiplies it, else float32."""
    import torch

    if name == "auto":
        native = device.type == "cuda" or (
            device.type == "cpu" and bool(torch.cpu.get_capabilities().get("avx512_bf16"))
        )
        return torch.bfloat16 if native else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]


def choose_stack(shape: LlamaShape, device: torch.device, tokens_per_step: int, wanted: int) -> int:
    """How many of ``wanted`` proxies to train as one program; ``tokens_per_step`` is per proxy, batch by length.

    A CPU is busy with one proxy, so that few serve it best. Otherwise as many as are estimated to fit in memory.
    """
    weights = 22 * shape.parameters  # float32 weight, gradient and two moments; bfloat16 copy and its gradient; slack
    kept = 2 * shape.layers * (12 * shape.hidden + 6 * shape.ffn) + 20 * shape.hidden  # bytes per token for backward
    fit = (0.8 * _free_memory(device) - 8 * CHUNK[device.type][0]) // (weights + kept * tokens_per_step)
    return max(1, min(wanted, int(fit), CPU_STACK if device.type == "cpu" else wanted))


def _free_memory(device: torch.device) -> float:
    import torch

    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return 0.5 * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
