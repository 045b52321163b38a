"""Train what is missing: queue the mixtures that nobody has measured, and start a job that trains the queue."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app import session
from app.compare.compared import Compared
from app.words import plain, plural
from climb_engine.console import seconds_text
from climb_engine.jobs import Job, start
from climb_engine.pipeline import Run
from climb_engine.search.loop import Search

QUEUE = ("search", "--iterations", "0")  # trains what waits, and begins no further iteration


def train(run: Run, search: Search, found: list[Compared], job: Job | None, read_only: str) -> None:
    """The button, what it will do and what it costs; nothing when all is measured."""
    missing = [one for one in found if not one.measured]
    if not missing:
        return
    able = [one for one in missing if search.space.contains(one.mixture.weights[None])[0]]
    reason = read_only or _reason(able, job)
    with st.container(horizontal=True, vertical_alignment="center", key="train-row"):
        words = f"Train {plural(len(able), 'unmeasured mixture')}" if able else "Train what is missing"
        if st.button(words, key="train", icon=":material/play_arrow:", disabled=bool(reason), type="primary"):
            with session.explained():
                for one in able:
                    if not one.queued:
                        run.suggest(one.mixture.as_dict())
                start(run.workspace, QUEUE)
                st.rerun()
        st.caption(plain(reason or _cost(search, able)))


def _reason(able: list[Compared], job: Job | None) -> str:
    """Why it cannot be done now; "" when it can."""
    if job is not None and job.alive:
        return f"{job.command} is at work; wait for it or stop it, see the job beside."
    return "" if able else "These mixtures are outside the limits of this search, see [search] in the settings."


def _cost(search: Search, able: list[Compared]) -> str:
    waiting = len(search.open) - sum(one.queued for one in able)
    seconds = [trial.result.seconds for trial in search.trials if trial.result]
    each = f", about {seconds_text(float(np.mean(seconds)))} each by the trials so far" if seconds else ""
    others = f" Also trains the {plural(waiting, 'other trial')} that wait." if waiting else ""
    which = ", ".join(one.key for one in able)
    return f"Queues {which} and trains {plural(len(able), 'proxy model')}, one seed{each}.{others}"
