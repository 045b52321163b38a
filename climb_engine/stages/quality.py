"""Scores of every document, by the scorers of the config."""

from __future__ import annotations

from typing import Any

import numpy as np

from climb_engine.config import RunConfig, knobs
from climb_engine.stages.corpus import rows_of
from climb_engine.stages.work import Work
from climb_engine.types import METRICS

_SCORER_KNOBS: dict[str, tuple[str, ...]] = {
    "fasttext": ("fasttext",),
    "transformers": ("transformers", "max_tokens"),
    "annotator": (
        *("annotator_model", "annotator_documents", "annotator_seed", "annotator_chars"),
        "annotator_answer_tokens",
    ),
}
_HEAD = 2
"""Version of the head that learned scorers teach: whoever uses none of them need not score again for a better one."""


def quality_knobs(config: RunConfig) -> dict[str, Any]:
    """The knobs of ``quality`` that the scores depend on: of the scorers in use, and not how or from where."""
    from climb_engine.curate.quality import LEARNED

    values, used = knobs(config.quality), config.quality.scorers
    chosen = [name for scorer in used for name in _SCORER_KNOBS.get(scorer, ())]
    learned = {"head": _HEAD} if set(LEARNED) & set(used) else {}
    return {name: values[name] for name in ("scorers", "columns", *chosen)} | learned


def quality_needs(config: RunConfig) -> tuple[str, ...]:
    """Scorers that learn need the embeddings; the others do without, so that another embedder reruns none of them."""
    from climb_engine.curate.quality import LEARNED

    return ("embedding",) if set(LEARNED) & set(config.quality.scorers) else ()


def quality(work: Work) -> dict[str, Any]:
    """Score every document: ``part-*.parquet``, a column per metric, 0 to 5, and what each of several scorers said."""
    from climb_engine.curate.head import HeadScorer
    from climb_engine.curate.quality import load_scorers, score_documents

    rows = rows_of(work.needs["corpus"], work.needs.get("embedding"))
    scorers = load_scorers(work.config.quality, work.config.machine.device, rows, work.report)
    embedded = work.needs.get("embedding")
    for part in work.remaining_parts(".parquet"):
        vectors = np.asarray(embedded.array(part), np.float32) if embedded else None
        work.out.put_table(part, score_documents(work.needs["corpus"].table(part), scorers, vectors))
    metrics = [name for name in work.out.table(0).column_names if name in METRICS]
    learned = {scorer.name: dict(scorer.facts) for scorer in scorers if isinstance(scorer, HeadScorer)}
    return {"metrics": metrics} | ({"learned": learned} if learned else {})
