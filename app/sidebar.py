"""What is beside every page: which run, and what works on it just now."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import streamlit as st
from streamlit.errors import StreamlitAPIException

from app import guide, session
from app.steps import blamed
from app.words import ago, count, plain
from climb_engine.console import seconds_text
from climb_engine.jobs import GRACE, Job, Progress
from climb_engine.workspace import Workspace

EVERY = 2.0  # seconds between looks at a living job
_EMPTIED = "picker emptied at"  # the key of the page at which one went back to an address without a run
_SILENT = 90.0  # seconds without a sign that are worth a word
STATES: dict[str, tuple[str, str, Any]] = {
    "waiting": ("starting", ":material/hourglass_top:", "blue"),
    "queued": ("queued", ":material/hourglass_top:", "blue"),
    "running": ("running", ":material/progress_activity:", "blue"),
    "done": ("done", ":material/check_circle:", "green"),
    "failed": ("failed", ":material/error:", "red"),
    "stopped": ("stopped", ":material/stop_circle:", "orange"),
    "interrupted": ("interrupted", ":material/power_off:", "orange"),
}


def sidebar(page: str) -> None:
    """Draw the run picker and the job card beside the page at this path."""
    with st.sidebar:
        _picker(page)
        run = session.workspace()
        job = session.latest_job(run) if run else None
        if run and job:
            living = job.alive
            st.fragment(_card, run_every=EVERY if living else None)(run, _mark(run, job))
        guide.help_corner()


def state_badge(state: str) -> None:
    """A job's state as a badge."""
    words, icon, colour = STATES[state]
    st.badge(words, icon=icon, color=colour)


def job_buttons(job: Job, key: str) -> None:
    """Stop a living job, resume one that did not come to its end."""
    if job.alive:
        text = "Stopping …" if job.stopping else "Stop"
        why = f"Ends at the next sign of progress, at the latest after {2 * GRACE:.0f} s. What is finished is kept."
        if st.button(text, key=f"{key}.stop", icon=":material/stop:", disabled=job.stopping, help=why):
            with session.explained():
                job.stop()
                st.rerun()
    elif (
        job.state != "done"
        and not blamed(job)
        and st.button(
            "Resume",
            key=f"{key}.resume",
            icon=":material/play_arrow:",
            help=f"{job.command}: what is finished is kept.",
        )
    ):
        with session.explained():
            job.resume()
            st.rerun()


def progress_lines(job: Job) -> None:
    """How far a living job is: the stage at work, and behind it the search's trials; or what it waits for."""
    if job.state == "queued":
        others = f", and {len(job.ahead) - 1:,} more" if len(job.ahead) > 1 else ""
        st.caption(plain(f"Waits its turn behind {job.ahead[0]}{others}."))
    shown = [one for one in job.progress if one.unit != "stage"]
    search = [one for one in shown[1:] if one.stage == "search"]
    for one in shown[:1] + search:
        st.progress(_share(one), text=_words(one))


def _picker(page: str) -> None:
    names = session.run_names()
    address = st.session_state.get("run") or st.query_params.get("run")
    told = st.session_state.pop("wanted run", None) or address
    asked = told or st.session_state.get(session.LOOKED_AT)
    run = asked if asked in names else names[0] if names else None
    if run and (told or st.session_state.get(_EMPTIED) != page):  # else the address stays, or Back would end here
        st.session_state["run"] = run
        if "run" not in st.query_params:
            with contextlib.suppress(StreamlitAPIException):  # where the picker is bound already, it writes the address
                st.query_params["run"] = run
    elif not run:
        st.session_state.pop("run", None)
    if asked and asked not in names:
        st.warning(f"There is no run called {plain(asked[:64])} here (any more).")
    st.caption("Run", help=f"Runs in {plain(str(session.runs_folder()))}")
    if run:  # without a default, since one that is chosen by default is not written into the address
        picked = st.selectbox(
            "Run", names, index=None, key="run", bind="query-params", required=True, label_visibility="collapsed",
            placeholder=run,  # an address without a run, to which one has gone back, empties the picker
        )  # fmt: skip
        st.session_state[_EMPTIED] = None if picked else page
        run = picked or run
    else:  # with a key of its own: a bound one could not be set when the first run is made
        st.selectbox("Run", [], key="no run", placeholder="No run yet", disabled=True, label_visibility="collapsed")
    st.session_state[session.LOOKED_AT] = run


def _card(run: Workspace, mark: tuple[object, ...]) -> None:
    job = session.latest_job(run)
    if job is None or _mark(run, job) != mark:
        st.rerun(scope="app")  # the page shows what has changed, and stops looking when the job has ended
    with st.container(border=True, key="job-card"):
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f"**Job** {job.arguments[0]}")
            state_badge(job.state)
        if job.alive:
            progress_lines(job)
            st.caption(f"Last sign {ago(job.updated)}, started {ago(job.started)}")
            if job.state != "queued" and time.time() - job.updated > _SILENT:
                st.caption(":orange[No sign for a while; long steps such as k-means give none.]")
        else:
            st.caption(f"Ended {ago(job.updated)} after {seconds_text(job.updated - job.started)}")
        if job.error:
            session.show_error(job.error)
        job_buttons(job, "card")


def _mark(run: Workspace, job: Job) -> tuple[object, ...]:
    """What, when it changes, makes the whole page worth drawing again."""
    made = {path.name for path in run.folder.glob("artifacts/[!.]*")}
    told = sum(path.stat().st_size for path in run.folder.glob("search/*.jsonl"))
    return job.id, job.state, job.stopping, frozenset(made), told, run.config_path.exists()


def _share(progress: Progress) -> float:
    return min(1.0, progress.done / progress.total) if progress.total else 0.0


def _words(progress: Progress) -> str:
    total = "" if progress.total is None else f" of {count(progress.total)}"
    eta = "" if progress.eta is None else f" · about {seconds_text(progress.eta)} left"
    loss = f" · loss {progress.facts['loss']:.3f}" if "loss" in progress.facts else ""
    speed = f" · {count(progress.facts['tokens_per_s'])} tokens/s" if "tokens_per_s" in progress.facts else ""
    note = f" · {progress.facts['note']}" if "note" in progress.facts else ""
    return plain(f"{progress.stage}: {count(progress.done)}{total} {progress.unit}{note}{loss}{speed}{eta}")
