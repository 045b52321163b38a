"""Scores from sequence-classification and regression models, such as FineWeb-Edu's classifier."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from climb_engine.config import TOP_SCORE
from climb_engine.types import METRICS, ClimbError, FloatArray, Vectors

CHARS_PER_TOKEN = 16
"""Text beyond ``max_tokens`` times this is not even tokenised; no usual text has so few tokens."""

_NUMBER = re.compile(r"(?:LABEL_|class_)?(-?\d+(?:\.\d+)?)", re.IGNORECASE)


class TransformersScorer:
    """One model per metric: its regression output, or the mean of its classes' numbers by probability; cut to 0 to 5.

    In bfloat16 on CUDA. Blank text is NaN.
    """

    name = "transformers"

    def __init__(self, models: Mapping[str, str], device: str, max_tokens: int, batch_size: int) -> None:
        """Load the models, metric -> folder or hub id. ``device`` is 'auto', 'cpu', 'cuda', 'cuda:N' or 'mps'.

        Raises ClimbError when a model cannot be found or loaded, or has classes that are no numbers.
        """
        self.metrics = tuple(metric for metric in METRICS if metric in models)
        place = _device(device)
        self._models = [_load(models[metric], place, max_tokens) for metric in self.metrics]
        self._batch_size = batch_size

    def score(self, documents: pa.Table, vectors: Vectors | None = None) -> Vectors:  # noqa: ARG002
        """(n, len(metrics)) float32; reads the column ``text``."""
        scores = np.full((documents.num_rows, len(self.metrics)), np.nan, dtype=np.float32)
        texts = [text or "" for text in documents["text"].to_pylist()]
        longest_first = np.argsort([-len(text) for text in texts], kind="stable")
        rows = [int(row) for row in longest_first if texts[row].strip()]
        for start in range(0, len(rows), self._batch_size):
            batch = rows[start : start + self._batch_size]
            for column, model in enumerate(self._models):
                scores[batch, column] = model([texts[row] for row in batch])
        return np.clip(scores, 0, TOP_SCORE)


@dataclass(frozen=True)
class _Model:
    name: str
    network: Any
    tokenizer: Any
    max_tokens: int
    values: Vectors | None  # (classes,) the classes' numbers; None: one regression output

    def __call__(self, texts: Sequence[str]) -> FloatArray:
        """(n,) scores before they are cut to 0 to 5."""
        import torch

        cut = [text[: self.max_tokens * CHARS_PER_TOKEN] for text in texts]
        inputs = self.tokenizer(cut, truncation=True, max_length=self.max_tokens, padding=True, return_tensors="pt")
        try:
            with torch.inference_mode():
                logits = self.network(**inputs.to(self.network.device)).logits.double().cpu()
        except torch.OutOfMemoryError as error:
            raise ClimbError(
                f"{self.name}: a batch of {len(texts)} documents does not fit into the memory of "
                f"{self.network.device}; set quality.batch_size or quality.max_tokens lower"
            ) from error
        if not torch.isfinite(logits).all():
            raise ClimbError(f"{self.name} gives no finite scores on {self.network.device}; set machine.device = 'cpu'")
        if self.values is None:
            return np.asarray(logits[:, 0].numpy())
        return np.asarray(torch.softmax(logits, dim=1).numpy() @ self.values)


def _device(device: str) -> str:
    import torch

    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ClimbError(f"machine.device = {device!r}, but torch sees no CUDA device here; set it to 'auto' or 'cpu'")
    return device


def _load(name: str, device: str, max_tokens: int) -> _Model:
    try:
        tokenizer, network = _from_cache_or_hub(name)
    except (OSError, ValueError, ImportError) as error:  # what the library raises for a bad or missing model
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise ClimbError(f"quality.transformers = {name!r} could not be loaded: {reason}") from error
    values = _values(name, network.config)
    network = network.to(device).eval()
    if device.startswith("cuda"):
        network = network.bfloat16()
    most = min(max_tokens, tokenizer.model_max_length, _positions(network.config))
    return _Model(name, network, tokenizer, most, values)


def _from_cache_or_hub(name: str) -> tuple[Any, Any]:
    """Tokenizer and network of a folder or hub id; the hub is asked only for what is not here yet."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = Path(name).expanduser()
    place = str(folder) if folder.is_dir() else name

    def load(only_here: bool) -> tuple[Any, Any]:
        return (
            AutoTokenizer.from_pretrained(place, local_files_only=only_here),
            AutoModelForSequenceClassification.from_pretrained(place, local_files_only=only_here),
        )

    try:
        return load(True)
    except (OSError, ValueError):
        if folder.is_dir():
            raise
        return load(False)


def _positions(config: Any) -> int:
    positions = getattr(config, "max_position_embeddings", None) or 1 << 30
    return int(positions) - (2 if config.model_type in ("roberta", "xlm-roberta", "camembert") else 0)


def _values(name: str, config: Any) -> Vectors | None:
    if config.num_labels == 1:
        return None
    labels = [str(config.id2label[index]) for index in range(config.num_labels)]
    numbers = [_NUMBER.fullmatch(label) for label in labels]
    if not all(numbers):
        raise ClimbError(
            f"quality.transformers = {name!r} has the classes {', '.join(labels[:6])}; its classes must be numbers "
            "from 0 to 5, or its output a single one"
        )
    return np.array([float(number.group(1)) for number in numbers if number], dtype=np.float32)
