"""Scores from fastText classifiers whose labels are numbers, such as NVIDIA's nemotron-climb-fasttext-classifiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from climb_engine.config import TOP_SCORE
from climb_engine.types import METRICS, ClimbError, FloatArray, Vectors

INSTALL = "pip install 'climb-studio[fasttext]'"

_LABEL = "__label__"
_SPACED = str.maketrans({mark: f" {mark} " for mark in ".!?,'/()"} | {"\n": "<newline>"})


class FastTextScorer:
    """One supervised model per metric: the mean of the labels' numbers, weighted by probability, cut to 0 to 5.

    The classifiers' authors take the likeliest label; the mean keeps apart what lies between two. Blank text is NaN.
    """

    name = "fasttext"

    def __init__(self, models: Mapping[str, Path]) -> None:
        """Load the model files, metric -> path. ClimbError when fastText is missing, or a file is no such model."""
        self.metrics = tuple(metric for metric in METRICS if metric in models)
        self._models = [_load(models[metric]) for metric in self.metrics]

    def score(self, documents: pa.Table, vectors: Vectors | None = None) -> Vectors:  # noqa: ARG002
        """(n, len(metrics)) float32; reads the column ``text``."""
        scores = np.full((documents.num_rows, len(self.metrics)), np.nan, dtype=np.float32)
        texts = [normalised(text or "") for text in documents["text"].to_pylist()]
        rows = [row for row, text in enumerate(texts) if text]
        if rows:
            said = [texts[row] for row in rows]
            scores[rows] = np.column_stack([_expected(model, said) for model in self._models])
        return scores


def normalised(text: str) -> str:
    """Text as the released classifiers were trained on it: one line, lower case, ``<newline>``, spaced punctuation."""
    return " ".join(text.translate(_SPACED).lower().split()) if text.strip() else ""


def _expected(model: Any, texts: Sequence[str]) -> FloatArray:
    labels, chances = model.predict(list(texts), k=-1)
    means = [
        np.average([float(label.removeprefix(_LABEL)) for label in row], weights=weights)
        for row, weights in zip(labels, chances, strict=True)
    ]
    return np.clip(np.array(means, dtype=np.float64), 0, TOP_SCORE)


def _load(path: Path) -> Any:
    try:
        import fasttext
    except ImportError as error:
        raise ClimbError(f"the fasttext scorer needs fastText, which is not installed: {INSTALL}") from error
    try:
        model = fasttext.load_model(str(path))
        labels = model.get_labels()
    except (ValueError, RuntimeError) as error:  # no fastText file, or word vectors without labels
        raise ClimbError(f"quality.fasttext: {path} is no supervised fastText model ({error})") from error
    strange = [label for label in labels if not _is_number(label.removeprefix(_LABEL))]
    if strange:
        raise ClimbError(
            f"quality.fasttext: {path} has labels that are no numbers ({', '.join(strange[:5])}); "
            "give a model with labels such as __label__0 to __label__5"
        )
    return model


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False
