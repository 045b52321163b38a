"""The clusters of a run for people to argue with: every decision with its numbers, and documents to judge it by."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rich.markup import escape

from climb_engine.config import Override
from climb_engine.console import say, table
from climb_engine.curation import described, history
from climb_engine.pipeline import Run
from climb_engine.stages.clustering import GIVEN
from climb_engine.types import ClimbError, FloatArray, Ids

SAMPLES = ("central", "random", "borderline", "worst")
"""Nearest to the centroid, drawn at random, farthest from the centroid, lowest mean score."""


def clusters(run: Run) -> list[dict[str, Any]]:
    """One row per cluster: the decision with its reason, the automatic one, sizes, metric means and keywords.

    Domains are what people call them, "" where pruned. A cluster that was given has its value too.

    Raises ClimbError when the run has no domains yet.
    """
    decided, found = run.needed("domains"), run.clusters.table("clusters").to_pylist()
    names, called = run.domains, run.names
    automatic = [called.called(name) for name in decided.facts["automatic_names"]]
    rows = []
    for row, of in zip(decided.table("clusters").to_pylist(), found, strict=True):
        row["domain"] = names[row["domain"]] if row["domain"] >= 0 else ""
        row["automatic_domain"] = automatic[row["automatic_domain"]] if row["automatic_domain"] >= 0 else ""
        given = {GIVEN: of[GIVEN]} if GIVEN in of else {}
        rows.append({**row, "reason": called.reason(row["reason"]), "keywords": of["keywords"], **given})
    return rows


def chosen(
    rows: Sequence[Mapping[str, Any]], sort: str, reverse: bool, kept: bool | None, domain: str | None
) -> list[Mapping[str, Any]]:
    """The rows asked for, sorted by a column (unknown values last). ClimbError for an unknown column or domain."""
    columns, domains = list(rows[0]) if rows else [], sorted({str(row["domain"]) for row in rows} - {""})
    if sort not in columns:
        raise ClimbError(f"--sort {sort}: there is no such column; there are {', '.join(columns)}")
    if domain is not None and domain not in domains:
        raise ClimbError(f"--domain {domain}: no cluster is in it; the domains are {', '.join(domains)}")
    picked = [row for row in rows if kept in (None, row["kept"]) and domain in (None, row["domain"])]
    known = [row for row in picked if _known(row[sort])]
    known.sort(key=lambda row: row[sort], reverse=reverse)
    return known + [row for row in picked if not _known(row[sort])]


def cluster(run: Run, number: int, each: int = 3) -> dict[str, Any]:
    """A cluster's row, its history, its sources and up to ``each`` documents of every kind in ``SAMPLES``, as they are.

    The history is every override that names the cluster, or one that it is a part of, and the notes on its domain.

    Raises ClimbError when there is no such cluster.
    """
    rows = clusters(run)
    if not 0 <= number < len(rows):
        raise ClimbError(f"there is no cluster {number}; they are counted from 0 to {len(rows) - 1}")
    ids, distances, scores = _members(run, number)
    picked = _samples(ids, distances, scores, number, each)
    wanted = sorted({int(i) for found in picked.values() for i in found})
    documents = _read(run, wanted)
    at = {int(i): place for place, i in enumerate(ids)}
    samples = {
        kind: [{**documents[int(i)], "distance": float(distances[at[int(i)]])} for i in found]
        for kind, found in picked.items()
    }
    decisions = [one.model_dump(exclude_defaults=True) for one in history(run, number)]
    return {**rows[number], "sources": _sources(run, ids), "history": decisions, "samples": samples}


def show_clusters(run: Run, rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Print decisions as a table or as JSON."""
    if as_json:
        say(json.dumps([_values(row) for row in rows], indent=1))
        return
    metrics = _metrics(run)
    copies = ("duplicates",) if run.config.duplicates.method != "none" else ()
    given = (GIVEN,) if any(GIVEN in row for row in rows) else ()
    columns = (
        *("cluster", *given, "kept", "domain", "documents"),
        *(*metrics, "mean distance", *copies, "keywords", "reason"),
    )
    table(
        f"Clusters of {run.workspace.name}",
        columns,
        [
            (
                row["cluster"],
                *(_cell(row[name]) for name in given),
                "yes" if row["kept"] else "no",
                _cell(row["domain"]),
                f"{row['documents']:,}",
                *(_score(row[metric]) for metric in metrics),
                f"{row['mean_distance']:.3f}",
                *(f"{row[name]:,}" for name in copies),
                _cell(" ".join(row["keywords"][:5])),
                _cell(row["reason"]),
            )
            for row in rows
        ],
        numeric=99,
    )
    say(f"{len(rows)} clusters, {sum(row['documents'] for row in rows):,} documents")


def show_cluster(run: Run, found: Mapping[str, Any], as_json: bool) -> None:
    """Print a cluster with its samples, each folded to a line or so, or as JSON."""
    if as_json:
        say(json.dumps(_values(found), indent=1))
        return
    fate = f"kept, in domain {plain(found['domain'])}" if found["kept"] else "pruned"
    say(f"Cluster {found['cluster']} of {run.workspace.name}: {fate} ({plain(found['reason'])})")
    if (found["kept"], found["domain"]) != (found["automatic_kept"], found["automatic_domain"]):
        machine = f"kept, in {plain(found['automatic_domain'])}" if found["automatic_kept"] else "pruned"
        say(f"  decided by hand; by itself it would be {machine}")
    if GIVEN in found:
        say(f"  given as    {plain(found[GIVEN]) or '(no value)'}")
    say(f"  keywords    {plain(' '.join(found['keywords']))}")
    size = f"{found['documents']:,} documents, {found['characters']:,} characters"
    say(f"  size        {size}, mean distance {found['mean_distance']:.3f}")
    say("  scores      " + ", ".join(f"{metric} {_score(found[metric])}" for metric in _metrics(run)))
    for one in found["history"]:
        word = "note" if one["action"] == "note" else "override"
        say(f"  {word:<11} {signed(Override.model_validate(one))}")
    say("  sources     " + ", ".join(f"{plain(name, 60)} {share:.0%}" for name, share in found["sources"].items()))
    for kind, documents in found["samples"].items():
        say(f"\n{kind}")
        for document in documents:
            where = f"[{document['id']}, {plain(document['source'], 60)}, distance {document['distance']:.3f}]"
            say(f"  {where} {plain(document['text'])}")


def plain(text: str, most: int = 300) -> str:
    """One line of at most ``most`` characters that does nothing to a terminal.

    Control, format (direction overrides among them) and private characters become spaces; white space is folded.
    """
    start = text[: 20 * most]  # what is shown comes from here, however long the document
    line = one_line(start).strip()
    return line if len(line) <= most and len(start) == len(text) else line[: most - 1].rstrip() + "…"


def one_line(text: str) -> str:
    """Text with a space for white space, and for characters that are not to be seen or change how others are."""
    tame = "".join(" " if unicodedata.category(c)[0] == "C" else c for c in text)
    return re.sub(r"\s+", " ", tame)


def signed(override: Override) -> str:
    """An override in words with who decided it, when and why, fit for a terminal."""
    who = f" by {plain(override.who, 60)}" if override.who else ""
    when = f" on {plain(override.when, 30)}" if override.when else ""
    why = f": {plain(override.why)}" if override.why else ""
    return f"{plain(described(override))}{who}{when}{why}"


def _cell(text: str) -> str:
    """The same for a table, whose cells are rich's markup."""
    return escape(plain(text))


def _metrics(run: Run) -> list[str]:
    columns = run.needed("domains").table("clusters").column_names
    return [metric for metric in run.needed("quality").facts["metrics"] if metric in columns]


def _members(run: Run, number: int) -> tuple[Ids, FloatArray, FloatArray]:
    """Ids, distances and mean scores (NaN: none) of a cluster's documents, each (n,)."""
    first, found = 0, []
    metrics = _metrics(run)
    for part, size in enumerate(run.needed("corpus").facts["part_documents"]):
        rows = run.clusters.table(part, ["cluster", "distance"])
        mine = np.flatnonzero(rows["cluster"].to_numpy() == number)
        scores = run.needed("quality").table(part, metrics).take(mine)
        values = np.array([column.to_numpy() for column in scores.columns], np.float64).reshape(len(metrics), len(mine))
        told = np.isfinite(values)
        means = np.where(told, values, 0).sum(0) / np.where(told.any(0), told.sum(0), np.nan)
        found.append((mine + first, rows["distance"].to_numpy()[mine].astype(np.float64), means))
        first += size
    ids, distances, means = (np.concatenate(columns) for columns in zip(*found, strict=True))
    return ids, distances, means


def _samples(ids: Ids, distances: FloatArray, scores: FloatArray, seed: int, each: int) -> dict[str, Ids]:
    by_distance = np.argsort(distances, kind="stable")
    told = np.flatnonzero(np.isfinite(scores))
    drawn = np.random.default_rng(seed).permutation(len(ids))
    picks = (by_distance, drawn, by_distance[::-1], told[np.argsort(scores[told], kind="stable")])
    return {kind: ids[pick[:each]] for kind, pick in zip(SAMPLES, picks, strict=True)}


def _read(run: Run, ids: Sequence[int]) -> dict[int, dict[str, Any]]:
    corpus = run.needed("corpus")
    firsts = np.cumsum([0, *corpus.facts["part_documents"]])
    parts = np.searchsorted(firsts, ids, side="right") - 1
    found: dict[int, dict[str, Any]] = {}
    for part in np.unique(parts):
        mine = [i for i, of in zip(ids, parts, strict=True) if of == part]
        rows = corpus.table(int(part), ["id", "source", "text"]).take(np.array(mine) - firsts[part])
        found |= {row["id"]: row for row in rows.to_pylist()}
    return found


def _sources(run: Run, ids: Ids, most: int = 5) -> dict[str, float]:
    """The commonest sources of these documents and their shares."""
    corpus, first = run.needed("corpus"), 0
    counts: dict[str, int] = {}
    for part, size in enumerate(corpus.facts["part_documents"]):
        mine = ids[(ids >= first) & (ids < first + size)] - first
        if len(mine):
            for pair in corpus.table(part, ["source"])["source"].take(mine).value_counts().to_pylist():
                counts[pair["values"]] = counts.get(pair["values"], 0) + pair["counts"]
        first += size
    ranked = sorted(counts.items(), key=lambda pair: (-pair[1], pair[0]))
    return {name: count / len(ids) for name, count in ranked[:most]}


def _known(value: Any) -> bool:
    return value is not None and not (isinstance(value, float) and math.isnan(value))


def _score(value: float | None) -> str:
    return f"{value:.2f}" if value is not None and math.isfinite(value) else "-"


def _values(row: Mapping[str, Any]) -> dict[str, Any]:
    """As JSON has it: null for what is not known."""
    return {key: value if _known(value) else None for key, value in row.items()}
