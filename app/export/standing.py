"""How a data set stands: finished, at work, or stopped half-way; with the log of the job that writes it."""

from __future__ import annotations

import streamlit as st

from app import session
from app.export.former import KINDS, UNFINISHED, Former, job_of
from app.sidebar import EVERY, STATES, job_buttons, progress_lines
from app.words import plain, plural, when
from climb_engine.jobs import Job, find, jobs
from climb_engine.workspace import Workspace

_LINES = 200  # of the log


def state_words(one: Former, job: Job | None) -> str:
    """One word or two for a table."""
    if job is not None and job.alive:
        return "at work"
    if one.kind == UNFINISHED:
        return STATES[job.state][0] if job and job.state != "done" else "not finished"
    return "finished" if one.kind != "other" else ""


def standing(workspace: Workspace, one: Former, key: str, resume: bool = True) -> None:
    """The data set in full: where it stands, its next step and its log. Nothing for other exports.

    resume: with the button that goes on with it, where there is none elsewhere.
    """
    job = job_of(one.folder, jobs(workspace))
    if job is not None and job.alive:
        st.fragment(_at_work, run_every=EVERY)(workspace, one.name, job.id, key)
    elif job is not None and not one.folder.exists():
        if job.error:
            st.warning(plain(f"{job.error}\nThe button below tries again."), title=plain(f"{one.name} {job.state}"))
        _log(job, key)
    elif one.kind == UNFINISHED:
        _half_way(workspace, one, job, key, resume)
        _log(job, key)
    elif one.kind in KINDS.values():
        _finished(one)
        _log(job, key)


def size_text(size: float) -> str:
    """Bytes as people say them."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:,.3g} GB"


def _finished(one: Former) -> None:
    what = f"{one.content}, {plural(len(one.files), 'file')}, {size_text(one.size)}"
    told = f"{one.kind[:1].upper()}{one.kind[1:]}: {what}; written {when(one.written)}."
    st.success(
        plain(f"{told}\nIn {one.folder}"), title=plain(f"{one.name} is finished"), icon=":material/check_circle:"
    )
    st.code(f'datasets.load_dataset("{one.folder}", split="train")', language="python")


def _half_way(workspace: Workspace, one: Former, job: Job | None, key: str, resume: bool) -> None:
    ended = "was interrupted" if job is None or job.state in ("interrupted", "done") else STATES[job.state][0]
    ended = f"was {ended}" if ended == "stopped" else ended
    why = f"{job.error}\n" if job and job.error else ""
    if job is None:
        then = (
            "It was begun elsewhere, such as in a terminal: give the same settings and the same name to go on with it."
        )
    elif resume:
        then = "Resume goes on with it. Or remove its folder to begin anew."
    else:
        then = "The button below goes on with it."
    st.warning(
        plain(f"{why}{plural(len(one.files), 'file')} so far, {size_text(one.size)}, kept in {one.folder}. {then}"),
        title=plain(f"{one.name} is not finished: it {ended}"),
    )
    latest = session.latest_job(workspace)
    if resume and job:
        if latest is not None and latest.alive:
            st.caption(plain(f"{latest.command} is at work; it can be resumed after that."))
        else:
            job_buttons(job, f"{key}.data")


def _at_work(workspace: Workspace, name: str, job_id: str, key: str) -> None:
    job = find(workspace, job_id)
    if not job.alive:
        st.rerun(scope="app")
    with st.container(border=True, key=f"{key}.at-work"):
        st.markdown(f":material/progress_activity: **{plain(name)} is being written**")
        progress_lines(job)
        job_buttons(job, f"{key}.data")
        st.caption("Log of its job")
        st.code(job.log_tail(_LINES) or "(nothing yet)", language=None, wrap_lines=True)


def _log(job: Job | None, key: str) -> None:
    if job is None:
        return
    with st.expander("Log of its job", icon=":material/article:", key=f"{key}.log"):
        st.caption(plain(f"{job.command}; started {when(job.started)}, ended {when(job.updated)}"))
        log = job.log_tail(_LINES) or "(empty)"
        st.code(log, language=None, wrap_lines=True, height=360 if log.count("\n") > 15 else "content")
