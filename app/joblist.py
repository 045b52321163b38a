"""The jobs page: the list, and one job in full."""

from __future__ import annotations

import time
from collections.abc import Sequence

import streamlit as st

from app import session
from app.sidebar import EVERY, STATES, job_buttons, progress_lines, state_badge
from app.words import ago, plain, when
from climb_engine.console import seconds_text
from climb_engine.jobs import Job, find
from climb_engine.workspace import Workspace

_LINES = 200  # of the log


def table(found: Sequence[Job]) -> Job:
    """The jobs as a table, newest first; returns the one that is picked."""
    rows = [
        {
            "started": when(job.started),
            "command": job.command,
            "state": STATES[job.state][0],
            "took": seconds_text((time.time() if job.alive else job.updated) - job.started),
            "last stage": job.progress[0].stage if job.progress else "",
            "error": job.error or "",
        }
        for job in found
    ]
    picked = st.dataframe(
        rows, hide_index=True, alt="Jobs of this run, newest first", key="jobs", on_select="rerun",
        selection_mode="single-row-required", selection_default={"selection": {"rows": [0]}},
        height="content" if len(rows) < 10 else 380,
        column_config={
            "started": "Started", "command": st.column_config.TextColumn("Command", width="large"), "state": "State",
            "took": "Took", "last stage": "Last stage", "error": st.column_config.TextColumn("Error", width="medium"),
        },
    )  # fmt: skip
    chosen = picked["selection"]["rows"]
    return found[chosen[0] if chosen and chosen[0] < len(found) else 0]


def details(run: Workspace, job: Job) -> None:
    """One job in full, looked at again and again while it lives."""
    st.fragment(_details, run_every=EVERY if job.alive else None)(run, job.id)


def _details(run: Workspace, job_id: str) -> None:
    with session.explained():
        job = find(run, job_id)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.subheader(f"Job {job.id}", width="content")
            state_badge(job.state)
            job_buttons(job, "details")
        st.code(job.command, language=None)
        st.caption(f"Started {when(job.started)}, last sign {ago(job.updated)}. Folder: {plain(str(job.folder))}")
        if job.error:
            session.show_error(job.error, "Failed")
        if job.alive:
            progress_lines(job)
        st.markdown("**Log**")
        log = job.log_tail(_LINES) or "(empty)"
        st.code(log, language=None, wrap_lines=True, height=360 if log.count("\n") > 15 else "content")
