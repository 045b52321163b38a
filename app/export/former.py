"""What was exported before: mixtures and data sets in the run's exports folder. Knows no Streamlit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from climb_engine.types import ClimbError
from climb_engine.workspace import Workspace, read_json

SMALL = 2_000_000  # bytes of a file that is offered as a download
KINDS = {"mixed": "mixed data set", "clustered": "clustered data set"}


@dataclass(frozen=True)
class Former:
    """One folder of the exports."""

    name: str
    kind: str  # "mixture", "mixed data set", "clustered data set", "unfinished data set" or "other"
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


def state_of(folder: Path, settings: Mapping[str, Any]) -> str:
    """What a data set of these settings would meet in a folder: "new" or "begun" (it goes on).

    Raises ClimbError when there is something else, or the finished data set itself.
    """
    if (folder / "manifest.json").exists():
        raise ClimbError(f"{folder.name} is a finished data set; give the new one another name")
    plan = folder / ".partial" / "plan.json"
    if plan.exists():
        begun = read_json(plan)
        if all(begun.get(key) == value for key, value in settings.items()):
            return "begun"
        raise ClimbError(f"{folder.name} was begun with other settings; give this one another name")
    if folder.exists() and any(folder.iterdir()):
        raise ClimbError(f"{folder.name} is an export of another kind; give the data set another name")
    return "new"


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
    facts = [path.stat() for path in files] or [folder.stat()]
    return Former(
        folder.name,
        kind,
        weights,
        content,
        max(fact.st_mtime for fact in facts),
        sum(path.stat().st_size for path in files),
        folder,
        files,
    )


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
    return "unfinished data set" if (folder / ".partial").exists() else "other", {}, ""
