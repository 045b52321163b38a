"""What happened to a run lately, by people and by the machine, newest first. Knows no Streamlit."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from app.words import when
from climb_engine.config import Override
from climb_engine.console import seconds_text
from climb_engine.jobs import Job
from climb_engine.workspace import Workspace

_FINISHED_STAGES = 8  # the latest kinds of artifacts that are looked at


@dataclass(frozen=True)
class Happening:
    """One thing that happened."""

    moment: float  # seconds since the epoch
    human: bool
    words: str


def happenings(run: Workspace, jobs: Sequence[Job], overrides: Sequence[Override], most: int = 8) -> list[Happening]:
    """The latest of what is on record: jobs, finished stages, decisions, exports."""
    found = [*_of_jobs(jobs[:most]), *_of_stages(run), *_of_people(overrides), *_of_exports(run)]
    return sorted(found, key=lambda one: -one.moment)[:most]


def subject(override: Override) -> str:
    """What an override is about, and what it does to it: 'prune c17', 'rename sea as ocean'."""
    what = override.domain if override.cluster is None else f"c{override.cluster}"
    if override.action == "rename":
        return f"rename {what} as {override.to}"
    if override.action == "merge":
        return f"merge {what} into {override.to}"
    to = {"move": f" to {override.domain}", "split": f" into {override.parts}"}.get(override.action, "")
    return f"{override.action} {what}{to}"


def _of_jobs(jobs: Sequence[Job]) -> Iterator[Happening]:
    for job in jobs:
        yield Happening(job.started, True, f"Started: {job.command}")
        if not job.alive:
            took = seconds_text(job.updated - job.started)
            yield Happening(job.updated, False, f"{job.state.capitalize()} after {took}: {job.command}")


def _of_stages(run: Workspace) -> Iterator[Happening]:
    manifests = sorted(run.folder.glob("artifacts/[!.]*/manifest.json"), key=lambda path: -path.stat().st_mtime)
    for path in manifests[:_FINISHED_STAGES]:
        stage = path.parent.name.rpartition("-")[0]
        yield Happening(path.stat().st_mtime, False, f"Finished the stage {stage}")


def _of_people(overrides: Sequence[Override]) -> Iterator[Happening]:
    for override in overrides:
        moment = _moment(override.when)
        if moment is not None:
            who = f" by {override.who}" if override.who else ""
            why = f", because {override.why}" if override.why else ""
            yield Happening(moment, True, f"Decided{who}: {subject(override)}{why}")


def _of_exports(run: Workspace) -> Iterator[Happening]:
    for path in run.folder.glob("exports/*/mixture.json"):
        yield Happening(path.stat().st_mtime, False, f"Exported to exports/{path.parent.name}")


def at(text: str) -> str:
    """When an override was made, in local time; as it was written where that is in a form of its own."""
    moment = _moment(text)
    return text if moment is None else when(moment)


def _moment(text: str) -> float | None:
    try:
        moment = datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        return None  # written by hand in a form of its own
    return min(moment, time.time())
