"""Short notes on trials, beside the run: ``notes.json``, by the search's address and the trial's id."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from climb_engine.types import ClimbError
from climb_engine.workspace import read_json, write_atomically

LONGEST = 280  # characters of a note


def read_notes(run: Path, search: str) -> dict[int, str]:
    """Trial to note, of one search. ClimbError when the file is not what was written."""
    found = _all(run).get(search, {})
    return {int(trial): str(note) for trial, note in found.items() if str(trial).isdecimal()}


def write_note(run: Path, search: str, trial: int, note: str) -> None:
    """Keep a note on a trial; an empty one is removed."""
    kept = {name: dict(notes) for name, notes in _all(run).items()}
    mine = kept.setdefault(search, {})
    mine.pop(str(trial), None)
    if note.strip():
        mine[str(trial)] = note.strip()[:LONGEST]
    text = json.dumps({name: notes for name, notes in kept.items() if notes}, indent=1, ensure_ascii=False)
    write_atomically(run / "notes.json", text.encode())


def _all(run: Path) -> Mapping[str, Mapping[str, str]]:
    path = run / "notes.json"
    try:
        found = read_json(path)
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise ClimbError(f"{path}: not valid JSON ({error}); mend it or move it away") from error
    if not isinstance(found, dict) or not all(isinstance(notes, dict) for notes in found.values()):
        raise ClimbError(f"{path}: not notes on trials; move it away")
    return found
