"""What every page needs to know: which run is looked at, and what can be read of it, cached by address."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import streamlit as st

from app.words import plain
from climb_engine.jobs import Job, jobs
from climb_engine.pipeline import Run
from climb_engine.search.loop import Search
from climb_engine.types import ClimbError
from climb_engine.workspace import Artifact, Workspace, digest_of, runs_in, slug

LOOKED_AT = "looked at"  # the key of the run's name; the picker's own is emptied by an address without one
PAGES = Path(__file__).resolve().parents[1] / "pages"
_OVERRIDE = re.compile(r"domains\.overrides\[(\d+)\] \((\w+)\)")


def runs_folder() -> Path:
    """Where the runs are: $CLIMB_RUNS, or ``runs`` here."""
    return Path(os.environ.get("CLIMB_RUNS", "runs")).absolute()


def run_names() -> list[str]:
    """The runs there are, the last changed first; also those of which there is only a job yet.

    Folders whose name no run can have are none of ours.
    """
    folder = runs_folder()
    begun = {path.parent.name for path in folder.glob("*/jobs")}
    named = [workspace.name for workspace in runs_in(folder)]
    return [name for name in named + sorted(begun - set(named)) if _can_be_named(name)]


def _can_be_named(name: str) -> bool:
    try:
        return slug(name) == name
    except ClimbError:
        return False


def workspace() -> Workspace | None:
    """The folder of the run that is looked at."""
    name = st.session_state.get(LOOKED_AT)
    return Workspace(runs_folder() / slug(name)) if name else None


def latest_job(run: Workspace) -> Job | None:
    """The job of a run that was started last."""
    found = jobs(run)
    return found[0] if found else None


def go_to(run: str) -> None:
    """Look at another run from the next rerun on."""
    st.session_state["wanted run"] = run


def turn_to(page: str, address: Mapping[str, str] | None = None) -> NoReturn:
    """Go on with another page, with these parameters in its address beside the run's.

    Without ``query_params`` Streamlit would clear all of them, which it refuses for one that a widget is bound to, as
    the picker is to the run's; given any, it leaves that one to the picker.
    """
    st.switch_page(PAGES / f"{page}.py", query_params=dict(address or {}))


@contextlib.contextmanager
def explained() -> Iterator[None]:
    """Show what the user can fix where it happens; bugs pass."""
    try:
        yield
    except ClimbError as error:
        show_error(str(error))


def show_error(message: str, title: str | None = None) -> None:
    """An error with its next step, as plain text; of the overrides it names a decision by its number."""
    said = _OVERRIDE.sub(lambda found: f"decision {int(found[1]) + 1} ({found[2]})", message)
    st.error(plain(said), title=title)


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
