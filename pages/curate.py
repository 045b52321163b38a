"""Which clusters to keep, which domains to make of them, what good text is, and everything that was decided by hand."""

import streamlit as st

from app import session
from app.curate import box, history, merge, prune, rate, state
from app.curation import curated
from app.opening import folder_or_stop, whole_or_stop
from app.words import plain
from climb_engine.pipeline import Run

NEEDED = ("corpus", "embedding", "clustering", "quality")
PARTS = ("prune", "merge", "rate", "history")

st.title("Curate")
folder = folder_or_stop()
with session.explained():
    run = Run(folder.folder)
    whole_or_stop(run, NEEDED)
    waiting = [stage for stage in NEEDED if run.artifact(stage) is None]
    if "embedding" in waiting or "clustering" in waiting:
        st.caption(
            f"{plain(folder.name)} has no clusters yet: {', '.join(waiting)} must run. The overview's button does."
        )
        st.stop()
    job = session.latest_job(folder)
    living = job is not None and job.alive
    top = st.container()
    part = st.segmented_control(
        "Part", PARTS, default="prune", key="part", required=True, bind="query-params", label_visibility="collapsed"
    )
    if waiting:
        with top:
            box.unscored(run, living)
        if part in ("prune", "merge"):
            st.stop()
    if part == "rate":
        rate.rate(run)
    elif part == "history":
        history.history(run)
    if not waiting:
        view = curated(run)
        if part == "prune":
            found = prune.prune(view)
        elif part == "merge":
            found = merge.merge(view)
        else:
            found = state.consider(view, state.draft(run))
        with top:
            box.head(found)
            box.written(found, living)
        with st.bottom:
            box.drafted(found)
