"""What was exported before: mixtures and data sets in the run's exports folder, and the jobs that wrote them.

Knows no Streamlit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

from climb_engine.jobs import Job
from climb_engine.workspace import Workspace, read_json

SMALL = 2_000_000  # bytes of a file that is offered as a download
KINDS = {"mixed": "mixed data set", "clustered": "clustered data set"}
UNFINISHED = "unfinished data set"
State = Literal["new", "begun", "finished", "taken"]


@dataclass(frozen=True)
class Former:
    """One folder of the exports."""

    name: str
    kind: str  # "mixture", one of KINDS, UNFINISHED or "other"
    weights: Mapping[str, float]  # empty where it has none, as all documents by cluster
    content: str  # in words: hash, or documents and tokens
    written: float  # seconds since the epoch
    size: int  # bytes
    folder: Path
    files: tuple[Path, ...]  # below the folder, without those of work that is under way


def former(workspace: Workspace) -> list[Former]:
    """All exports of a run, the newest first."""
    folders = [path for path in (workspace.folder / "exports").glob("[!.]*") if path.is_dir()]
    return sorted((_former(folder) for folder in folders), key=lambda found: -found.written)


def one_of(folder: Path) -> Former:
    """One export by its folder, which need not be there yet."""
    return _former(folder)


def state_of(folder: Path, settings: Mapping[str, Any]) -> tuple[State, str]:
    """What a data set of these settings would meet in a folder, and if that is something else ("taken"), what."""
    if (folder / "manifest.json").exists():
        same = _same(_identity(folder / "manifest.json"), settings)
        return ("finished", "") if same else ("taken", f"{folder.name} is a finished data set of other settings")
    if (folder / ".partial" / "plan.json").exists():
        same = _same(_identity(folder / ".partial" / "plan.json"), settings)
        return ("begun", "") if same else ("taken", f"{folder.name} was begun with other settings")
    if folder.exists() and any(folder.iterdir()):
        return "taken", f"{folder.name} is an export of another kind"
    return "new", ""


def job_of(folder: Path, jobs: Iterable[Job]) -> Job | None:
    """The newest of some jobs, the newest first, that writes or wrote the data set in a folder."""
    return next((job for job in jobs if folder.name in _written_by(job)), None)


def may_hold_mixture(folder: Path) -> bool:
    """Whether a mixture may be written there: nothing is, or a mixture is; not a data set."""
    return not folder.exists() or (folder / "mixture.json").exists() or not any(folder.iterdir())


def _former(folder: Path) -> Former:
    files = tuple(
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.is_symlink() and not _hidden(path.relative_to(folder))
    )
    kind, weights, content = _told(folder)
    facts = [path.stat() for path in files] or ([folder.stat()] if folder.exists() else [])
    return Former(
        folder.name,
        kind,
        weights,
        content,
        max((fact.st_mtime for fact in facts), default=0.0),
        sum(path.stat().st_size for path in files),
        folder,
        files,
    )


def _same(begun: Mapping[str, Any], settings: Mapping[str, Any]) -> bool:
    return all(begun.get(key) == value for key, value in settings.items())


def _identity(path: Path) -> Mapping[str, Any]:
    """What decided a data set's bytes; a file that cannot be read says nothing."""
    try:
        found = read_json(path)
        identity = found["identity"] if path.name == "manifest.json" else found
    except (OSError, ValueError, KeyError, TypeError):
        return {}
    return identity if isinstance(identity, dict) else {}


def _written_by(job: Job) -> set[str]:
    """Names of the exports folders that a job's words name."""
    words = job.arguments
    paths = [Path(after) for word, after in pairwise(words) if word in ("--dataset", "--clustered")]
    return {path.name for path in paths if path.parent.name == "exports"} if words[0] == "export" else set()


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)


def _told(folder: Path) -> tuple[str, Mapping[str, float], str]:
    """Kind, weights and content by the folder's own words; a file that cannot be read says nothing."""
    try:
        if (folder / "mixture.json").exists():
            record = read_json(folder / "mixture.json")
            return "mixture", record["weights"], f"hash {record['hash']}" if "hash" in record else ""
        if (folder / "manifest.json").exists():
            manifest = read_json(folder / "manifest.json")
            facts = manifest["facts"]
            words = f"{facts['documents']:,} documents, {facts['tokens']:,} tokens"
            return KINDS[manifest["identity"]["kind"]], manifest["identity"].get("weights", {}), words
    except (ValueError, KeyError, TypeError, AttributeError):
        return "other", {}, "cannot be read"
    if not (folder / ".partial").exists():
        return "other", {}, ""
    weights = _identity(folder / ".partial" / "plan.json").get("weights", {})
    return UNFINISHED, weights if isinstance(weights, dict) else {}, ""
