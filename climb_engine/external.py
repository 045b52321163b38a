"""Trials trained elsewhere: what is written out for them, and what is read back. By trial id, never by order."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from climb_engine.types import ClimbError, Result, Trial
from climb_engine.workspace import write_atomically

ID = "trial"
COSTS = ("tokens", "seconds", "flops")  # optional columns of results: what the training cost
ERROR = "error"  # optional column: why a trial has no result
_ASKED, _WEIGHT = ("iteration", "origin", "seed"), "weight/"  # columns of what is asked: no metrics when they come back


def write_trials(folder: Path, trials: Sequence[Trial], metrics: Sequence[str]) -> list[Path]:
    """Write ``trials.csv`` and a ``trial-N.json`` for each trial; returns the files.

    metrics: names of what is to be measured; the header of the results that ``read_results`` wants.
    """
    written = []
    for trial in trials:
        path = folder / f"trial-{trial.id}.json"
        text = json.dumps({**_facts(trial), "weights": trial.mixture.as_dict(), "metrics": list(metrics)}, indent=1)
        write_atomically(path, (text + "\n").encode())
        written.append(path)
    write_atomically(folder / "trials.csv", _csv(trials).encode())
    return [folder / "trials.csv", *written]


def read_results(path: Path, trials: Sequence[Trial], metrics: Sequence[str]) -> dict[int, Result | str]:
    """Results by trial id, or the reason of a failure; what was told before and says the same is left out.

    The file is a CSV with the columns ``trial``, every one of ``metrics`` and whatever else was measured, and where
    known ``tokens``, ``seconds``, ``flops`` and ``error``. Raises ClimbError that names the line of the first fault.
    """
    known = {trial.id: trial for trial in trials}
    found: dict[int, Result | str] = {}
    lines: dict[int, int] = {}
    for line, row in rows_of(path, ID, metrics):
        where = f"{path}:{line}"
        trial = _trial(row[ID], known, where)
        if trial.id in lines:
            raise ClimbError(f"{where}: trial {trial.id} was on line {lines[trial.id]} already; keep one of them")
        lines[trial.id] = line
        outcome = row[ERROR] if row.get(ERROR) else _result(row, metrics, where)
        if trial.open:
            found[trial.id] = outcome
        elif not _same(trial, outcome):
            raise ClimbError(f"{where}: trial {trial.id} was told already, and otherwise; a result is not overwritten")
    return found


def header_of(path: Path) -> list[str]:
    """The names of a CSV's columns."""
    header: list[str] = next(_reader(path), [])
    return header


def rows_of(path: Path, key: str, columns: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Rows of a CSV with their line numbers. Raises ClimbError for a file or header that cannot be right."""
    reader = _reader(path)
    header: list[str] = next(reader, [])
    missing = [name for name in (key, *columns) if name not in header]
    if missing:
        raise ClimbError(f"{path}:1: there is no column {', '.join(missing)}; there are {', '.join(header) or 'none'}")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise ClimbError(f"{path}:1: the column {', '.join(twice)} is there twice")
    for cells in reader:
        if not any(cells):
            continue
        if len(cells) != len(header):
            raise ClimbError(f"{path}:{reader.line_num}: {len(cells)} cells under {len(header)} columns")
        yield reader.line_num, dict(zip(header, (cell.strip() for cell in cells), strict=True))


def _reader(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ClimbError(f"{path}: cannot be read as UTF-8 text: {error}") from error
    return csv.reader(io.StringIO(text, newline=""))


def number(text: str, where: str, column: str) -> float:
    """A finite number; ClimbError with its place otherwise."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        shown = f"{text!r} is no finite number" if text else "is empty"
        raise ClimbError(f"{where}: {column} {shown}")
    return value


def _facts(trial: Trial) -> dict[str, Any]:
    return {ID: trial.id, **{name: getattr(trial, name) for name in _ASKED}}


def _csv(trials: Sequence[Trial]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    domains = trials[0].mixture.domains if trials else ()
    writer.writerow([ID, *_ASKED, *(f"{_WEIGHT}{name}" for name in domains)])
    writer.writerows([*_facts(trial).values(), *map(repr, trial.mixture.weights.tolist())] for trial in trials)
    return text.getvalue()


def _trial(text: str, known: Mapping[int, Trial], where: str) -> Trial:
    if not text.isdecimal() or int(text) not in known:
        asked = f"{len(known)} were asked, 0 to {max(known)}" if known else "none was asked yet"
        raise ClimbError(f"{where}: there is no trial {text!r}; {asked}")
    return known[int(text)]


def _result(row: Mapping[str, str], metrics: Sequence[str], where: str) -> Result:
    measured = {
        name: number(text, where, name)
        for name, text in row.items()
        if name not in (ID, ERROR, *COSTS, *_ASKED) and not name.startswith(_WEIGHT) and (text or name in metrics)
    }
    tokens, seconds, flops = (number(row.get(name) or "0", where, name) for name in COSTS)
    return Result(measured, int(tokens), seconds, flops)


def _same(trial: Trial, outcome: Result | str) -> bool:
    if isinstance(outcome, str) or trial.result is None:
        return outcome == trial.error
    return dict(outcome.metrics) == dict(trial.result.metrics)
