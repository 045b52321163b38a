"""Many small Llamas as one: every parameter has a leading axis p, and no proxy sees another.

A linear is a batched matmul over the axis, and attention folds it into the batch. The architecture is that of
``transformers``' LlamaForCausalLM.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from climb_engine.config import ProxyConfig
from climb_engine.types import ClimbError

if TYPE_CHECKING:
    import torch

    Tensors = dict[str, torch.Tensor]
    Weigh = Callable[[torch.Tensor], torch.Tensor]
    """Nats of every token (p, n) to its weight in the loss (p, n), of mean 1."""

LAYER = ("attention_norm", "qkv", "attention_out", "mlp_norm", "gate_up", "down")
MATRICES = ("qkv", "attention_out", "gate_up", "down")
CHUNK = {"cpu": (2**19, 32), "cuda": (2**28, 2048), "mps": (2**26, 512)}
"""Logits held at once (so that a CPU keeps them in its cache), and the fewest tokens a chunk may have."""
SMALLEST = float(np.finfo(np.float32).tiny)


@dataclass(frozen=True)
class LlamaShape:
    """The architecture of a proxy: Llama's, without biases."""

    vocab: int
    layers: int
    hidden: int
    ffn: int
    heads: int
    kv_heads: int
    rope_theta: float = 10_000.0
    tie_embeddings: bool = True
    norm_eps: float = 1e-5

    @classmethod
    def from_config(cls, config: ProxyConfig, vocab: int) -> LlamaShape:
        """The shape that the knobs ask for."""
        return cls(vocab, **config.shape, rope_theta=config.rope_theta, tie_embeddings=config.tie_embeddings)

    @property
    def head_size(self) -> int:
        """Width of one attention head."""
        return self.hidden // self.heads

    @property
    def tensors(self) -> dict[str, tuple[int, ...]]:
        """Shape of every parameter of one proxy; matrices are (out, in)."""
        h, f, n = self.hidden, self.ffn, self.layers
        shapes: dict[str, tuple[int, ...]] = {
            "embedding": (self.vocab, h),
            "attention_norm": (n, h),
            "qkv": (n, (self.heads + 2 * self.kv_heads) * self.head_size, h),
            "attention_out": (n, h, h),
            "mlp_norm": (n, h),
            "gate_up": (n, 2 * f, h),
            "down": (n, h, f),
            "norm": (h,),
        }
        return shapes if self.tie_embeddings else {**shapes, "head": (self.vocab, h)}

    @property
    def parameters(self) -> int:
        """Parameters of one proxy; a tied embedding counts once."""
        return sum(math.prod(shape) for shape in self.tensors.values())

    def flops_per_token(self, t: int) -> float:
        """Forward and backward: 6 per weight of a matmul (the output embedding is one), and causal attention."""
        head = self.vocab * self.hidden
        layers = sum(math.prod(self.tensors[name]) for name in MATRICES)
        return 6.0 * (layers + head + self.layers * self.hidden * t)


@dataclass(frozen=True)
class ProxyStack:
    """p proxies of one shape. Parameters are float32 and have a leading axis p; ``train`` changes them in place."""

    shape: LlamaShape
    parameters: Tensors

    def __len__(self) -> int:
        """Number of proxies, p."""
        return len(self.parameters["embedding"])

    @property
    def device(self) -> torch.device:
        """Where the parameters are."""
        return self.parameters["embedding"].device

    @property
    def head(self) -> torch.Tensor:
        """The output embedding (p, v, hidden)."""
        return self.parameters["embedding" if self.shape.tie_embeddings else "head"]

    @classmethod
    def init(cls, shape: LlamaShape, p: int, seed: int) -> ProxyStack:
        """Equal proxies: norms one, matrices normal (0.02; into the residual stream 0.02 / sqrt(2 layers))."""
        import torch

        source = torch.Generator().manual_seed(seed)
        parameters = {}
        for name, size in shape.tensors.items():
            if name.endswith("norm"):
                parameters[name] = torch.ones(1, *size)
                continue
            spread = 0.02 / math.sqrt(2 * shape.layers) if name in ("attention_out", "down") else 0.02
            parameters[name] = torch.randn(1, *size, generator=source) * spread
        return cls(shape, parameters).expand(p)

    def select(self, indices: Sequence[int]) -> ProxyStack:
        """A copy of some of the proxies."""
        return ProxyStack(self.shape, {name: w[list(indices)].clone() for name, w in self.parameters.items()})

    def expand(self, p: int) -> ProxyStack:
        """A stack of p copies of this stack of one."""
        if len(self) != 1:
            raise ValueError(f"only a stack of 1 expands, this one has {len(self)}")
        return self.select([0] * p)

    def to(self, device: torch.device) -> ProxyStack:
        """The same stack on another device."""
        return ProxyStack(self.shape, {name: w.to(device) for name, w in self.parameters.items()})

    def state(self) -> Tensors:
        """Parameters for safetensors, on the CPU."""
        return {name: w.detach().cpu().contiguous() for name, w in self.parameters.items()}

    @classmethod
    def load(cls, shape: LlamaShape, state: Tensors) -> ProxyStack:
        """A stack from what ``state`` gave. Raises ClimbError when it is of another shape."""
        found = {name: tuple(w.shape[1:]) for name, w in state.items()}
        wrong = sorted(n for n in found.keys() | shape.tensors.keys() if found.get(n) != shape.tensors.get(n))
        if wrong:
            raise ClimbError(
                f"the saved weights do not fit the proxy's shape ({', '.join(wrong)}); "
                "train the trunk again, or restore the proxy's layers, widths and vocabulary"
            )
        return cls(shape, {name: state[name] for name in shape.tensors})


# The forward pass


def hidden_states(stack: ProxyStack, ids: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """The normed residual stream that the head reads, (p, b * t, hidden) in ``dtype``. ``ids`` (p, b, t), int64."""
    import torch
    from torch.nn import functional as F

    shape, (p, b, t) = stack.shape, ids.shape
    embedding = stack.parameters["embedding"].view(p * shape.vocab, shape.hidden)
    rows = ids + shape.vocab * torch.arange(p, device=ids.device)[:, None, None]
    x = F.embedding(rows, embedding).view(p, b * t, shape.hidden).to(dtype)
    stacked = [stack.parameters[name].to(dtype).unbind(1) for name in LAYER]
    rope = _rope(shape, t, ids.device, torch.float32 if ids.device.type == "cpu" else dtype)
    for attention_norm, qkv, attention_out, mlp_norm, gate_up, down in zip(*stacked, strict=True):
        mixed = _attend(shape, _linear(_norm(x, attention_norm, shape.norm_eps), qkv), t, rope)
        x = x + _linear(mixed, attention_out)
        normed = _norm(x, mlp_norm, shape.norm_eps)
        gate, up = (_linear(normed, half) for half in gate_up.chunk(2, 1))
        x = x + _linear(F.silu(gate) * up, down)
    return _norm(x, stack.parameters["norm"].to(dtype), shape.norm_eps)


def _linear(x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """(p, n, in) by (p, out, in) to (p, n, out)."""
    import torch

    return torch.bmm(x, weight.transpose(1, 2))


def _norm(x: torch.Tensor, weight: torch.Tensor, eps: float) -> torch.Tensor:
    from torch.nn import functional as F

    return F.rms_norm(x, x.shape[-1:], None, eps) * weight.unsqueeze(1)


def _rope(shape: LlamaShape, t: int, device: torch.device, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Cosine and signed sine of the rotary angles of all queries and keys, (t, (heads + kv_heads) * head)."""
    import torch

    steps = torch.arange(0, shape.head_size, 2, device=device, dtype=torch.float32) / shape.head_size
    angles = torch.arange(t, device=device, dtype=torch.float32)[:, None] / shape.rope_theta**steps
    cos, sin, times = angles.cos(), angles.sin(), shape.heads + shape.kv_heads
    return torch.cat((cos, cos), 1).repeat(1, times).to(dtype), torch.cat((-sin, sin), 1).repeat(1, times).to(dtype)


def _attend(shape: LlamaShape, qkv: torch.Tensor, t: int, rope: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
    """Causal attention over each sequence; (p, b * t, ...) in and out.

    It runs in the dtype of ``rope``: on a CPU the bfloat16 backward of torch's attention is slower than float32's.
    """
    import torch
    from torch.nn import functional as F

    p, n, _ = qkv.shape
    h, k, d = shape.heads, shape.kv_heads, shape.head_size
    cos, sin = rope
    rotary, value = torch.split(qkv.view(p * n // t, t, -1).to(cos.dtype), [(h + k) * d, k * d], -1)
    swapped = torch.unflatten(rotary, -1, (h + k, d)).roll(d // 2, -1).flatten(-2)
    rotary = torch.addcmul(rotary * cos, swapped, sin)
    query, key = torch.split(torch.unflatten(rotary, -1, (h + k, d)).transpose(1, 2), [h, k], 1)
    value = torch.unflatten(value, -1, (k, d)).transpose(1, 2)
    if h > k:
        key, value = (x[:, :, None].expand(-1, -1, h // k, -1, -1).flatten(1, 2) for x in (key, value))
    out = F.scaled_dot_product_attention(query, key, value, is_causal=True)
    return out.transpose(1, 2).reshape(p, n, h * d).to(qkv.dtype)


def cross_entropy(
    hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor, weights: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Mean nats per token (p,) and its gradients with respect to ``hidden`` (p, n, h) and ``head`` (p, v, h).

    Loss and gradients of one chunk of proxies and tokens are computed together, so that p * n * v logits are never
    held. ``targets`` is (p, n), int64; the head's gradient is float32. ``weights`` (p, n), of mean 1, make it a
    weighted mean.
    """
    import torch

    p, n, _ = hidden.shape
    weight = head.to(hidden.dtype)
    nats = torch.empty(p, n, device=hidden.device)
    d_hidden, d_head = torch.empty_like(hidden), torch.zeros_like(head)
    for rows, columns in _chunks(p, n, head.shape[1], hidden.device):
        x, w, y = hidden[rows, columns], weight[rows], targets[rows, columns]
        error = torch.softmax(_linear(x, w), -1)
        gold = torch.arange(y.numel(), device=y.device) * head.shape[1] + y.reshape(-1)
        likelihood = error.view(-1)[gold]
        nats[rows, columns] = -likelihood.view(y.shape).float().clamp_min(SMALLEST).log()
        error.view(-1).index_copy_(0, gold, likelihood - 1)
        if weights is not None:
            nats[rows, columns] *= weights[rows, columns]
            error *= weights[rows, columns, None].to(error.dtype)
        d_hidden[rows, columns] = torch.bmm(error, w)
        d_head[rows] += torch.bmm(error.transpose(1, 2), x)
    return nats.mean(1), d_hidden.div_(n), d_head.div_(n)


def _chunks(p: int, n: int, vocab: int, device: torch.device) -> Iterator[tuple[slice, slice]]:
    """Blocks of proxies and tokens. How the tokens fall into blocks does not depend on p."""
    logits, fewest = CHUNK[device.type]
    tokens = max(1, min(n, max(fewest, logits // vocab)))
    proxies = max(1, logits // (tokens * vocab))
    for i in range(0, p, proxies):
        for j in range(0, n, tokens):
            yield slice(i, i + proxies), slice(j, j + tokens)


def loss_and_gradients(
    stack: ProxyStack, tokens: torch.Tensor, dtype: torch.dtype, weigh: Weigh | None = None
) -> torch.Tensor:
    """Mean nats per token of each proxy (p,); their gradients are added to ``.grad`` of the parameters.

    ``tokens`` (p, b, t + 1). The parameters must require gradients. ``weigh`` makes it a weighted mean; what it is
    asked with costs the logits once more.
    """
    import torch

    hidden = hidden_states(stack, tokens[..., :-1], dtype)
    targets = tokens[..., 1:].reshape(len(stack), -1)
    with torch.no_grad():
        weights = weigh(-_logp(hidden, stack.head, targets)[0]) if weigh else None
        losses, d_hidden, d_head = cross_entropy(hidden, stack.head, targets, weights)
        stack.head.grad = d_head if stack.head.grad is None else stack.head.grad + d_head
    hidden.backward(d_hidden)  # type: ignore[no-untyped-call]
    return losses


def target_logp(
    stack: ProxyStack, ids: torch.Tensor, mask: npt.NDArray[np.bool_], dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability where the mask holds, else 0; whether it is the highest, else True; both (p, rows, t - 1).

    ``ids`` (rows, t) int64 on the stack's device, ``mask`` (rows, t); the same rows for every proxy. Matmuls are in
    ``dtype``, the softmax in float32.
    """
    import torch

    if mask[:, 0].any():
        raise ValueError("the first token of a row cannot be a target")
    p = len(stack)
    places = torch.from_numpy(np.flatnonzero(mask[:, 1:])).to(ids.device)
    hidden = hidden_states(stack, ids[:, :-1].expand(p, -1, -1), dtype)[:, places]
    targets = ids[:, 1:].reshape(-1)[places].expand(p, -1)
    logp = torch.zeros(p, ids[:, 1:].numel(), device=ids.device)
    top = torch.ones_like(logp, dtype=torch.bool)
    logp[:, places], top[:, places] = _logp(hidden, stack.head, targets)
    return logp.view(p, len(ids), -1), top.view(p, len(ids), -1)


def _logp(hidden: torch.Tensor, head: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each target and whether it is the highest, both (p, n); the softmax is in float32."""
    import torch

    p, n, _ = hidden.shape
    weight = head.to(hidden.dtype)
    logp = torch.empty(p, n, device=hidden.device)
    top = torch.empty(p, n, device=hidden.device, dtype=torch.bool)
    for rows, columns in _chunks(p, n, weight.shape[1], hidden.device):
        logits = _linear(hidden[rows, columns], weight[rows]).float()
        chosen = logits.gather(2, targets[rows, columns, None]).squeeze(2)
        logp[rows, columns] = chosen - logits.logsumexp(-1)
        top[rows, columns] = chosen >= logits.amax(-1)
    return logp, top
