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
MOST = 20  # runs of a mixture that can be asked for at once
_HELP = (
    "Runs of the same seed read in the same order, so that mixtures are compared pair by pair. What a search sampled "
    "was run once, in an order of its own: to compare it, it needs runs under the seeds of the others. More pairs "
    "narrow the interval."
)


def train(run: Run, search: Search, found: list[Compared], job: Job | None, read_only: str) -> None:
    """How often each mixture is to be run, and the button that trains what is missing of that, with its cost."""
    if read_only and all(one.measured for one in found):
        return
    usual = min((one.fresh for one in found if one.fresh), default=1)
    with st.container(horizontal=True, vertical_alignment="bottom", key="train-row"):
        runs = int(st.number_input("Runs of each", 1, MOST, min(usual, MOST), key="train-runs", width=140, help=_HELP))
        able = [one for one in found if search.space.contains(one.mixture.weights[None])[0]]
        wanted = {one.key: lacking(one, runs) for one in able if lacking(one, runs)}
        outside = len(able) < len(found) and not wanted and any(not one.measured for one in found)
        reason = read_only or _reason(wanted, outside, runs, job)
        words = f"Train {plural(sum(wanted.values()), 'proxy model')}" if wanted else "Train what is missing"
        if st.button(words, key="train", icon=":material/play_arrow:", disabled=bool(reason), type="primary"):
            with session.explained():
                for one in able:
                    for _ in range(lacking(one, runs) - one.queued):
                        run.suggest(one.mixture.as_dict())
                start(run.workspace, QUEUE)
                st.rerun()
        st.caption(plain(reason or _cost(search, found, wanted)))


def lacking(one: Compared, runs: int) -> int:
    """How many runs of a mixture are still to be trained, those that wait among them."""
    return max(runs - one.fresh, 0)


def _reason(wanted: dict[str, int], outside: bool, runs: int, job: Job | None) -> str:
    """Why it cannot be done now; "" when it can."""
    if outside:
        return "What is not measured is outside the limits of this search, see [search] in the settings."
    if not wanted:
        return f"Each of them has {plural(runs, 'run')} to be compared by."
    if job is not None and job.alive:
        return f"{job.command} is at work; wait for it or stop it, see the job beside."
    return ""


def _cost(search: Search, found: list[Compared], wanted: dict[str, int]) -> str:
    waiting = len(search.open) - sum(one.queued for one in found if one.key in wanted)
    seconds = [trial.result.seconds for trial in search.trials if trial.result]
    each = f", about {seconds_text(float(np.mean(seconds)))} each by the trials so far" if seconds else ""
    others = f" Also trains the {plural(waiting, 'other trial')} that wait." if waiting else ""
    which = ", ".join(f"{key} ({count})" if count > 1 else key for key, count in wanted.items())
    return f"Queues {which} and trains {plural(sum(wanted.values()), 'proxy model')}{each}.{others}"
