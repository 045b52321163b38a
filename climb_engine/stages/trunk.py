"""What every proxy starts from."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np

from climb_engine.config import RunConfig, knobs
from climb_engine.stages.work import Work

_TRAINING_KNOBS = (
    *("sequence_length", "batch_size", "trunk_tokens", "trunk_learning_rate"),
    *("warmup", "weight_decay", "gradient_clip", "seed"),
)


def trunk_knobs(config: RunConfig) -> dict[str, Any]:
    """The knobs of ``proxy`` that the trunk depends on; the others concern the decay that follows it.

    A size counts by the shape that it stands for, and a checkpoint to start from brings its own.
    """
    proxy, values = config.proxy, knobs(config.proxy)
    rope = {name: values[name] for name in ("rope_theta", "tie_embeddings")}
    model: dict[str, Any] = {"start": proxy.start} if proxy.start else proxy.shape | rope
    return model | {name: values[name] for name in _TRAINING_KNOBS}


def trunk(work: Work) -> dict[str, Any]:
    """Train what every proxy starts from: ``trunk.safetensors``. Not resumed within: it starts anew when stopped."""
    from safetensors.torch import save

    from climb_engine.training import train_trunk

    stack, losses = train_trunk(work.config, work.needs["tokens"], work.report)
    work.out.put_bytes("trunk.safetensors", save(stack.state()))
    tail = losses[-max(1, len(losses) // 20) :]
    return {
        "shape": asdict(stack.shape),
        "parameters": stack.shape.parameters,
        "steps": len(losses),
        "loss": float(np.mean(tail)) if tail else None,
    }
