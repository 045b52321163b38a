"""What every page needs to know: which run is looked at, and what can be read of it, cached by address."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import streamlit as st

from app.words import plain
from climb_engine.jobs import Job, jobs
from climb_engine.pipeline import Run
from climb_engine.search.loop import Search
from climb_engine.types import ClimbError
from climb_engine.workspace import Artifact, Workspace, digest_of, runs_in, slug


def runs_folder() -> Path:
    """Where the runs are: $CLIMB_RUNS, or ``runs`` here."""
    return Path(os.environ.get("CLIMB_RUNS", "runs")).absolute()


def run_names() -> list[str]:
    """The runs there are, the last changed first; also those of which there is only a job yet."""
    folder = runs_folder()
    begun = {path.parent.name for path in folder.glob("*/jobs")}
    named = [workspace.name for workspace in runs_in(folder)]
    return named + sorted(begun - set(named))


def workspace() -> Workspace | None:
    """The folder of the run that is looked at."""
    name = st.session_state.get("run")
    return Workspace(runs_folder() / slug(name)) if name else None


def latest_job(run: Workspace) -> Job | None:
    """The job of a run that was started last."""
    found = jobs(run)
    return found[0] if found else None


def go_to(run: str) -> None:
    """Look at another run from the next rerun on."""
    st.session_state["wanted run"] = run


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Show what the user can fix where it happens; bugs pass."""
    try:
        yield
    except ClimbError as error:
        show_error(str(error))


def show_error(message: str, title: str | None = None) -> None:
    """An error with its next step, as plain text."""
    st.error(plain(message), title=title)


def read_search(run: Run) -> Search | None:
    """The search as its log has it, without writing to it; None while the domains are not there."""
    if run.artifact("domains") is None or run.artifact("tokens") is None:
        return None
    path = run.workspace.log(run.search_digest).path
    facts = path.stat() if path.exists() else None
    wanted = digest_of(run.config.model_dump(mode="json"))
    return _search(run, str(path), wanted, (facts.st_size, facts.st_mtime_ns) if facts else (0, 0))


@st.cache_resource(max_entries=8, show_spinner=False)
def _search(_run: Run, path: str, wanted: str, size: tuple[int, int]) -> Search:  # noqa: ARG001
    events = list(_run.log()) if size[0] else []
    return Search(_run.space(), _run.objective(), _run.config.search, events)


@st.cache_resource(max_entries=64, show_spinner=False)
def rows(folder: str, name: str) -> list[dict[str, Any]]:
    """A small table of an artifact, by its folder: artifacts never change."""
    found: list[dict[str, Any]] = Artifact(Path(folder)).table(name).to_pylist()
    return found
