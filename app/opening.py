"""How a page on a run begins: the run and its search, or what is missing and the end of the page."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app import session
from app.words import plain
from climb_engine.pipeline import Run
from climb_engine.search.loop import Search
from climb_engine.workspace import Workspace


def folder_or_stop() -> Workspace:
    """The run that is looked at; without one the page says so and ends."""
    folder = session.workspace()
    if folder is None or not folder.config_path.exists():
        st.caption("There is no run to look at yet. Make one under New run.")
        st.stop()
    return folder


def whole_or_stop(run: Run, stages: Sequence[str]) -> None:
    """Where files of stages that the page reads are gone or not whole, the page says so and ends."""
    told = [f"{stage} is damaged: {damage}" for stage in stages if (damage := run.damage(stage))]
    if told:
        name = run.workspace.name
        session.show_error(f"{'; '.join(told)}. The overview's button makes it again, as 'climb run {name}' does.")
        st.stop()


def search_or_stop(run: Run) -> Search:
    """The run's search; without domains to mix the page says so and ends."""
    whole_or_stop(run, ("domains", "tokens"))
    search = session.read_search(run)
    if search is None:
        st.caption(
            f"{plain(run.workspace.name)} has no domains to mix yet, or none for its settings. See the overview."
        )
        st.stop()
    return search
