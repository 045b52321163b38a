"""Documents to scores on the paper's four dimensions, 0 to 5, higher is better (advertisement: 5 = no promotion).

A ``Scorer`` is anything that gives them. This module loads those that the config names and combines what they say; each
but the simplest (``ColumnScorer``) has a module of its name. docs/QUALITY.md says where the numbers come from.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa

from climb_engine.config import TOP_SCORE, QualityConfig, nearest
from climb_engine.curate.heuristics import HeuristicsScorer
from climb_engine.curate.ratings import Digests
from climb_engine.types import METRICS, ClimbError, FloatArray, Ids, Report, Vectors, silent

LEARNED = ("ratings", "annotator")
"""The scorers that learn from rated documents, and score by their embeddings."""


class Scorer(Protocol):
    """Gives documents scores on some of the dimensions. A document's score does not depend on those beside it."""

    @property
    def name(self) -> str:
        """Its name in ``quality.scorers``."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The dimensions that it scores, in the order of its columns."""

    def score(self, documents: pa.Table, vectors: Vectors | None = None) -> Vectors:
        """(n, len(metrics)) float32 in 0 to 5, NaN where it cannot say.

        ``vectors`` (n, d) are the documents' embeddings, which only the ``LEARNED`` scorers need.
        """
        ...


@dataclass(frozen=True)
class Rows:
    """The whole corpus by document id, for scorers that learn from a few of its documents. Ids come sorted."""

    count: int
    texts: Callable[[Ids], list[str]]
    vectors: Callable[[Ids], Vectors]  # (len(ids), d)
    digests: Callable[[Ids], Digests] = lambda ids: np.zeros(len(ids), np.uint64)
    digest_parts: Callable[[], Iterable[Digests]] = tuple  # all of them, part by part


def load_scorers(
    config: QualityConfig, device: str = "auto", rows: Rows | None = None, report: Report = silent
) -> tuple[Scorer, ...]:
    """The scorers that the config names, in its order; ``LEARNED`` ones are taught from ``rows`` here.

    Raises ClimbError for what a scorer lacks: a known metric, a model, a library, enough ratings, an answer.
    """
    make: dict[str, Callable[[], Scorer]] = {
        "heuristics": HeuristicsScorer,
        "column": lambda: ColumnScorer(config.columns),
        "fasttext": lambda: _fasttext(config),
        "transformers": lambda: _transformers(config, device),
        "ratings": lambda: _rated(config, _whole(rows)),
        "annotator": lambda: _annotated(config, _whole(rows), report),
    }
    return tuple(make[name]() for name in config.scorers)


def score_documents(documents: pa.Table, scorers: Sequence[Scorer], vectors: Vectors | None = None) -> pa.Table:
    """One float32 column per metric that any scorer gives, in the order of METRICS; NaN where none can say.

    Of two scorers that give a metric the later one counts, document by document, where it is not NaN. What each of
    several said is kept beside it, in columns such as ``heuristics.quality``.
    """
    columns: dict[str, Vectors] = {}
    said: dict[str, Vectors] = {}
    for scorer in scorers:
        scores = scorer.score(documents, vectors)
        assert scores.shape == (documents.num_rows, len(scorer.metrics)), scorer.name
        for metric, values in zip(scorer.metrics, scores.T, strict=True):
            said[f"{scorer.name}.{metric}"] = values
            columns[metric] = np.where(np.isnan(values), columns.get(metric, values), values)
    combined = {metric: columns[metric] for metric in METRICS if metric in columns}
    table = combined | said if len(scorers) > 1 else combined
    return pa.table({name: pa.array(values, pa.float32()) for name, values in table.items()})


def fingerprint(config: QualityConfig) -> dict[str, str]:
    """What the address needs to know of the scorers' files: small ones by content, models by size and time.

    A model that is no path is a hub id, known by its name. Raises ClimbError when a file is missing.
    """
    found: dict[str, str] = {}
    if "fasttext" in config.scorers:
        found |= {f"fasttext.{metric}": _stamp(_file(path, "fasttext")) for metric, path in config.fasttext.items()}
    if "transformers" in config.scorers:
        folders = {metric: Path(place).expanduser() for metric, place in config.transformers.items()}
        found |= {f"transformers.{metric}": _stamp(path) for metric, path in folders.items() if path.is_dir()}
    if "ratings" in config.scorers:
        found["ratings"] = _content(_file(config.ratings, "ratings"))
    if "annotator" in config.scorers and config.annotator_rubric:
        found["annotator_rubric"] = _content(_file(config.annotator_rubric, "annotator_rubric"))
    return found


def _fasttext(config: QualityConfig) -> Scorer:
    from climb_engine.curate.fasttext import FastTextScorer

    return FastTextScorer({metric: _file(path, "fasttext") for metric, path in config.fasttext.items()})


def _transformers(config: QualityConfig, device: str) -> Scorer:
    from climb_engine.curate.transformers import TransformersScorer

    return TransformersScorer(config.transformers, device, config.max_tokens, config.batch_size)


def _rated(config: QualityConfig, rows: Rows) -> Scorer:
    from climb_engine.curate.head import train_head
    from climb_engine.curate.ratings import follow, read_ratings

    given = read_ratings(_file(config.ratings, "ratings"), rows.count)
    followed = follow(given, rows.count, rows.digests, rows.digest_parts)
    ratings = followed.ratings
    return train_head("ratings", rows.vectors(ratings.ids), ratings.values, followed.facts)


def _annotated(config: QualityConfig, rows: Rows, report: Report) -> Scorer:
    from climb_engine.curate.annotator import annotate, draw
    from climb_engine.curate.head import train_head

    ids = draw(rows.count, config)
    answers = annotate(ids, rows.texts(ids), config, report)
    return train_head("annotator", rows.vectors(answers.ratings.ids), answers.ratings.values, answers.facts)


def _whole(rows: Rows | None) -> Rows:
    assert rows is not None, "a learned scorer needs the corpus to learn from"
    return rows


def _file(given: str, knob: str) -> Path:
    path = Path(given).expanduser()
    if not path.is_file():
        raise ClimbError(f"quality.{knob}: there is no file {given}; check the path")
    return path


def _content(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _stamp(path: Path) -> str:
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    return " ".join(f"{file.name}:{file.stat().st_size}:{file.stat().st_mtime_ns}" for file in files)


class ColumnScorer:
    """Numbers that came with the data: metric -> column of the corpus."""

    name = "column"

    def __init__(self, columns: Mapping[str, str]) -> None:
        unknown = [metric for metric in columns if metric not in METRICS]
        if unknown:
            raise ClimbError(f"quality.columns: no metric is called {unknown[0]!r}{nearest(unknown[0], METRICS)}")
        self.columns = dict(columns)
        self.metrics = tuple(metric for metric in METRICS if metric in columns)

    def score(self, documents: pa.Table, vectors: Vectors | None = None) -> Vectors:  # noqa: ARG002
        """(n, len(metrics)) float32; a null is NaN. ClimbError when a column is missing, no number or out of range."""
        columns = [_numbers(documents, metric, self.columns[metric]) for metric in self.metrics]
        return np.column_stack(columns).astype(np.float32)


def _numbers(documents: pa.Table, metric: str, name: str) -> FloatArray:
    where = f"quality.columns.{metric}"
    if name not in documents.column_names:
        there = ", ".join(documents.column_names)
        raise ClimbError(
            f"{where}: the corpus has no column {name!r}; add it to corpus.keep_columns (there are {there})"
        )
    column = documents[name]
    kind = column.type
    if not any(
        test(kind) for test in (pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_null)
    ):
        raise ClimbError(f"{where}: column {name!r} holds {kind}, not numbers; name a column of numbers from 0 to 5")
    values: FloatArray = column.cast(pa.float64()).to_numpy().astype(np.float64)
    said = values[~np.isnan(values)]
    if said.size and (said.min() < 0 or said.max() > TOP_SCORE):
        raise ClimbError(
            f"{where}: column {name!r} runs from {said.min():g} to {said.max():g}; rescale it to 0 to 5 (5 is best)"
        )
    return values
