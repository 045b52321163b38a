"""Ratings in a run: what to rate next, taking ratings over, how well they teach, and what an annotator would cost.

What is collected here changes no score: these are made from a snapshot, which only ``rescoring`` takes.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from climb_engine.browse import plain
from climb_engine.console import say, table
from climb_engine.curate.annotator import Answers, Estimate
from climb_engine.curate.head import FEWEST, Fit, fits, suggest
from climb_engine.curate.ratings import (
    COLUMNS,
    DIGEST,
    Followed,
    Rating,
    add_ratings,
    digest_text,
    follow,
    read_ratings,
)
from climb_engine.pipeline import Run
from climb_engine.rated import Standing, collected, ratings_file, set_apart, standing, without_ratings
from climb_engine.stages.corpus import rows_of
from climb_engine.types import METRICS, ClimbError, Ids, Report, silent

if TYPE_CHECKING:
    from climb_engine.curate.quality import Rows
    from climb_engine.workspace import Artifact

_SHEET = (COLUMNS[0], DIGEST, *COLUMNS[1:], "text")
_FORMULA = ("=", "+", "-", "@")


@dataclass(frozen=True)
class Taken:
    """What became of ratings that were handed over."""

    path: Path  # of the file that has them now
    ratings: int
    moved: int  # documents that have another number in the corpus now
    lost: int  # documents that are not in it; their ratings are kept, and set aside


@dataclass(frozen=True)
class Progress:
    """The ratings of a run, and what can be learned from them."""

    path: Path
    documents: int  # rated ones that are in the corpus
    moved: int
    lost: int
    standing: Standing
    metrics: Mapping[str, Fit]  # of those that were rated


def suggestions(run: Run, n: int = 20, seed: int = 0, without: Collection[int] = ()) -> list[dict[str, Any]]:
    """``n`` documents worth rating next, best first: id, digest, source, text, cluster (None: not clustered yet).

    None of them was rated, on any metric, or is in ``without``. The embeddings are read where they are, and only those
    of a sample. Raises ClimbError when the run has no embeddings yet.
    """
    given, run = collected(run), without_ratings(run)
    rows = _documents(run)
    known = {row.id for row in _follow(given, rows).rows} | set(without)
    rated = np.array(sorted(known), dtype=np.int64)
    ids = suggest(rows.vectors, rows.count, rated, n, seed)
    sizes = run.needed("corpus").facts["part_documents"]
    documents = _read(run.needed("corpus"), sizes, ids, ["id", "source", "text", "digest"])
    clustering = run.artifact("clustering")
    clusters = _read(clustering, sizes, ids, ["cluster"]) if clustering else [{"cluster": None}] * len(ids)
    return [document | cluster for document, cluster in zip(documents, clusters, strict=True)]


def rate(run: Run, rows: Iterable[Rating]) -> Taken:
    """Add ratings to the run's file; those without a digest get that of the document with their number.

    No score changes by that. Raises ClimbError, with nothing added, for a document that is not there.
    """
    known, documents = list(rows), _documents(run)
    beyond = [row.id for row in known if row.digest is None and row.id >= documents.count]
    if beyond:
        raise ClimbError(f"there is no document {beyond[0]}; they are counted from 0 to {documents.count - 1}")
    bare = np.unique(np.array([row.id for row in known if row.digest is None], dtype=np.int64))
    digests = dict(zip(bare.tolist(), documents.digests(bare).tolist(), strict=True))
    known = [row if row.digest is not None else replace(row, digest=digests[row.id]) for row in known]
    followed = _follow(known, documents)
    path = ratings_file(run)
    set_apart(run)
    add_ratings(path, (*followed.rows, *followed.lost))
    return Taken(path, len(known), **followed.facts)


def take(run: Run, path: Path) -> Taken:
    """Add the ratings of a sheet that was filled in, passing over lines without one.

    Raises ClimbError that names the line, with nothing added.
    """
    if not path.is_file():
        raise ClimbError(f"there is no file {path}; 'climb rate {run.workspace.name} suggest --out FILE' writes one")
    if path.resolve() == ratings_file(run).resolve():
        raise ClimbError(f"{path} is the run's own file of ratings; what is in it counts already")
    rows = read_ratings(path, _documents(run).count, blanks=True)
    if not rows:
        raise ClimbError(f"{path}: no line has a rating yet; write a number from 0 to 5 into the column rating")
    return rate(run, rows)


def write_sheet(path: Path, documents: Sequence[Mapping[str, Any]], metrics: Sequence[str] = METRICS) -> None:
    """Write a CSV to be filled in: a line for each suggested document and metric, with the start of its text.

    ClimbError when the file exists: somebody's ratings may be in it.
    """
    try:
        with path.open("x", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_SHEET)
            for document in documents:
                digest, text = digest_text(document["digest"]), plain(document["text"])
                text = f"'{text}" if text.startswith(_FORMULA) else text  # a spreadsheet would calculate it
                writer.writerows((document["id"], digest, metric, "", text) for metric in metrics)
    except FileExistsError as error:
        raise ClimbError(f"{path} exists already; take its ratings over first, or choose another name") from error
    except OSError as error:
        raise ClimbError(f"{path}: cannot be written ({error.strerror}); choose another place") from error


def progress(run: Run) -> Progress:
    """How many ratings there are of each metric and how well they are learned, by cross-validation.

    Raises ClimbError for a broken file, and when the run has no embeddings yet.
    """
    rows = _documents(run)
    given = collected(run)
    followed = _follow(given, rows)
    ratings = followed.ratings
    learned = fits(rows.vectors(ratings.ids), ratings.values)
    stands = standing(run, given)
    return Progress(ratings_file(run), len(ratings.ids), **followed.facts, standing=stands, metrics=learned)


# --- the annotator --------------------------------------------------------------------------------------------------


def estimate(run: Run) -> Estimate:
    """What asking the annotator would cost, without what it answered already.

    Raises ClimbError when the endpoint is not configured, and when the run has no corpus yet.
    """
    from climb_engine.curate import annotator

    return annotator.estimate(_drawn(run)[1], run.config.quality)


def annotate(run: Run, report: Report = silent) -> Answers:
    """Ask the annotator for all that it has not answered yet; the quality stage then finds every answer there.

    Raises ClimbError as ``estimate`` does, above the budget, and when the endpoint does not answer; what came is kept.
    """
    from climb_engine.curate import annotator

    ids, texts = _drawn(run)
    return annotator.annotate(ids, texts, run.config.quality, report)


def _drawn(run: Run) -> tuple[Ids, list[str]]:
    from climb_engine.curate import annotator

    section = run.config.quality
    knobs = ("annotator_url", "annotator_model", "annotator_answers")
    if missing := [f"quality.{knob}" for knob in knobs if not getattr(section, knob)]:
        raise ClimbError(f"the annotator needs {', '.join(missing)}; set that in {run.workspace.config_path}")
    rows = rows_of(run.needed("corpus"), None)
    ids = annotator.draw(rows.count, section)
    return ids, rows.texts(ids)


# --- what is on disk ------------------------------------------------------------------------------------------------


def _documents(run: Run) -> Rows:
    run = without_ratings(run)
    return rows_of(run.needed("corpus"), run.needed("embedding"))


def _follow(given: Sequence[Rating], rows: Rows) -> Followed:
    return follow(given, rows.count, rows.digests, rows.digest_parts)


def _read(found: Artifact, sizes: Sequence[int], ids: Ids, columns: Sequence[str]) -> list[dict[str, Any]]:
    """Rows of an artifact by document, in the order of ``ids``."""
    ends = np.cumsum(sizes)
    parts = np.searchsorted(ends, ids, side="right")
    rows: dict[int, dict[str, Any]] = {}
    for part in np.unique(parts).tolist():
        mine = ids[parts == part]
        places = pa.array(mine - (ends[part] - sizes[part]))
        rows |= zip(mine.tolist(), found.table(part, columns).take(places).to_pylist(), strict=True)
    return [rows[document] for document in ids.tolist()]


# --- for the terminal -----------------------------------------------------------------------------------------------


def show_suggestions(documents: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Print documents, each folded to a line or so, or as JSON with their whole text."""
    if as_json:
        say(json.dumps([{**document, DIGEST: digest_text(document["digest"])} for document in documents], indent=1))
        return
    for document in documents:
        say(headed(document))


def headed(document: Mapping[str, Any], most: int = 300) -> str:
    """A suggested document for the terminal: number, source and cluster, and the start of its text."""
    cluster = "not clustered" if document["cluster"] is None else f"cluster {document['cluster']}"
    return f"[{document['id']}, {plain(document['source'], 60)}, {cluster}] {plain(document['text'], most)}"


def show_progress(run: Run, found: Progress, as_json: bool) -> None:
    """Print how far the ratings are, or as JSON."""
    if as_json:
        say(json.dumps({**asdict(found), "path": str(found.path)}, indent=1))
        return
    columns = ("metric", "ratings", "Spearman", "error", "of the mean", "stretch", "")
    rows = [
        (metric, fit.ratings, *map(_figure, (fit.spearman, fit.mae, fit.mae_of_mean, fit.stretch)), fit.warning)
        for metric, fit in found.metrics.items()
    ]
    table(f"Ratings of {run.workspace.name}, cross-validated", columns, rows)
    say(f"{found.documents} documents rated, in {found.path}{aside(found.moved, found.lost)}")
    say(told(run, found.standing))


def told(run: Run, found: Standing) -> str:
    """What the scores are made from, and the command that changes it."""
    command = f"'climb rate {run.workspace.name} use'"
    if not found.in_use:
        less = f"; it takes {FEWEST} of one metric" if not found.enough else ""
        return f"the scores are not made from them: {command} shows what that would change, and asks{less}"
    if not found.behind:
        return f"the scores are from all {found.used} ratings"
    return f"the scores are from {found.used} of {found.total} ratings ({found.behind} new or changed): {command}"


def aside(moved: int, lost: int) -> str:
    """What to say of rated documents that are not where they were; nothing when all are."""
    said = [f"{moved} have another number now"] * (moved > 0)
    said += [f"{lost} are not in the corpus and set aside"] * (lost > 0)
    return f" ({', '.join(said)})" if said else ""


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"
