"""Scoring a run by its ratings: what that would change, beginning with it, bringing it up to date, and ending it.

What it would change is decided on scores that are worked out from those that are there, so nothing has to be made.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from climb_engine import curation
from climb_engine.clusters import from_tables, tallies
from climb_engine.config import RunConfig
from climb_engine.curate.domains import decide
from climb_engine.curate.head import FEWEST
from climb_engine.curate.quality import Scorer, load_scorers, score_documents
from climb_engine.curate.ratings import as_csv
from climb_engine.curation import Preview
from climb_engine.pipeline import Run
from climb_engine.rated import collected, keep_snapshot, own_file, ratings_file, standing
from climb_engine.stages.corpus import rows_of
from climb_engine.stages.graph import BY_NAME
from climb_engine.types import METRICS, ClimbError, Vectors
from climb_engine.workspace import Artifact, write_atomically


def use(run: Run) -> Path:
    """Score by the ratings as they are now, from a snapshot of them, until ``use`` is called again.

    The config is changed and nothing is made. Raises ClimbError when there are too few ratings.
    """
    content, own = _enough(run), own_file(run)
    path = keep_snapshot(run, content)
    if own:
        write_atomically(ratings_file(run), content)  # which has them too from now on
    run.configure(_with(run.config, path))
    return path


def unuse(run: Run) -> None:
    """Score without the ratings again; they are kept. Raises ClimbError when there is no other scorer."""
    run.configure(_without(run))


def preview_use(run: Run) -> Preview | None:
    """What ``use`` would change; None where the scores or domains of now are still to be made. Writes nothing."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "ratings.csv"
        path.write_bytes(_enough(run))
        return _preview(run, _with(run.config, path))


def preview_unuse(run: Run) -> Preview | None:
    """What ``unuse`` would change, as ``preview_use`` does."""
    return _preview(run, _without(run))


def _enough(run: Run) -> bytes:
    given = collected(run)
    found = standing(run, given)
    if not found.enough:
        there = ", ".join(f"{n} of {metric}" for metric, n in found.given.items()) or "none"
        raise ClimbError(
            f"there are too few ratings to score by ({there}); it takes {FEWEST} of one metric: "
            f"climb rate {run.workspace.name}"
        )
    return as_csv(given)


def _with(config: RunConfig, path: Path) -> RunConfig:
    scorers = config.quality.scorers
    more = () if "ratings" in scorers else ("ratings",)
    return config.with_values({"quality.ratings": str(path), "quality.scorers": [*scorers, *more]}, "ratings")


def _without(run: Run) -> RunConfig:
    others = [name for name in run.config.quality.scorers if name != "ratings"]
    if not others:
        raise ClimbError("the ratings are the only scorer; name another one in quality.scorers first")
    values: dict[str, Any] = {"quality.scorers": others}
    if not own_file(run):
        values["quality.ratings"] = ""
    return run.config.with_values(values, "ratings")


# --- what it would change -------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Said:
    """A scorer by what it said: columns of the scores that are there."""

    name: str
    metrics: tuple[str, ...]
    columns: tuple[str, ...]

    def score(self, documents: pa.Table, vectors: Vectors | None = None) -> Vectors:  # noqa: ARG002
        """(n, len(metrics)) float32; ``documents`` are the scores."""
        return np.column_stack([documents[name].to_numpy() for name in self.columns]).astype(np.float32)


@dataclass(frozen=True)
class _Rescored(Artifact):
    """The scores as these scorers would make them of those that are there."""

    scorers: tuple[Scorer, ...]
    embedded: Artifact

    @property
    def facts(self) -> Mapping[str, Any]:
        scored = {metric for scorer in self.scorers for metric in scorer.metrics}
        return {"metrics": [metric for metric in METRICS if metric in scored]}

    def table(self, name: str | int, columns: Sequence[str] | None = None) -> pa.Table:
        found = score_documents(super().table(name), self.scorers, np.asarray(self.embedded.array(name), np.float32))
        return found.select(columns) if columns else found


def _preview(run: Run, config: RunConfig) -> Preview | None:
    then = run.with_config(config)
    if then.artifact("quality"):
        return curation.preview(run, config) if run.artifact("quality") else None
    now, reached = curation.reached(run), curation.reached(then)
    needs = BY_NAME["domains"].needs_of(now.config)
    scorers = _scorers(run, config) if all(now.artifact(stage) for stage in needs) else None
    if scorers is None:
        return None
    known = {stage: now.needed(stage) for stage in needs}
    rescored = known | {"quality": _Rescored(known["quality"].folder, scorers, run.needed("embedding"))}
    tables = tallies(rescored, lambda _: None)
    try:
        made = decide(from_tables(tables, rescored), reached.config.domains)
    except ClimbError as error:
        raise ClimbError(f"with these scores, {error}") from error
    clusters = tables["clusters"]
    return curation.compared(run, then, (curation.as_made(run), clusters), (made, clusters))


def _scorers(run: Run, config: RunConfig) -> tuple[Scorer, ...] | None:
    """The config's scorers, only the head taught anew; None when the scores that are there do not tell them apart."""
    scores, section = run.needed("quality"), run.config.quality
    there, alone = scores.table(0).column_names, len(section.scorers) == 1
    found: list[Scorer] = []
    for name in config.quality.scorers:
        if name == "ratings":
            rows = rows_of(run.needed("corpus"), run.needed("embedding"))
            found += load_scorers(config.quality.model_copy(update={"scorers": ("ratings",)}), rows=rows)
            continue
        columns = {metric: metric if alone else f"{name}.{metric}" for metric in METRICS}
        metrics = tuple(metric for metric in METRICS if columns[metric] in there)
        if name not in section.scorers or not metrics:
            return None
        found.append(_Said(name, metrics, tuple(columns[metric] for metric in metrics)))
    return tuple(found)
