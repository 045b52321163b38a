"""A mixture to take along: files for training frameworks, and data sets drawn by it."""

import streamlit as st

from app import session
from app.export import dataset, panels, pick
from app.words import plain
from climb_engine.pipeline import Run

WHAT = ["weights and recipes", "mixed data set", "clustered data set"]

st.title("Export")
folder = session.workspace()
if folder is None or not folder.config_path.exists():
    st.caption("There is no run to look at yet. Make one under New run.")
    st.stop()
with session.explained():
    run = Run(folder.folder)
    search = session.read_search(run)
    if search is None:
        st.caption(f"{plain(folder.name)} has no domains to mix yet, or none for its settings. See the overview.")
        st.stop()
    job = session.latest_job(folder)
    if not search.trials:
        st.caption("The search has no mixture yet; the overview's button begins it. All kept documents can be written.")
        dataset.clustered(run, search, job)
        panels.history(run, search)
        st.stop()
    picked = pick.picker(run, search)
    pick.summary(search, picked)
    what = st.segmented_control("What to export", WHAT, default=WHAT[0], required=True, key="what", bind="query-params")
    if what == WHAT[1]:
        dataset.mixed(run, search, picked, job)
    elif what == WHAT[2]:
        dataset.clustered(run, search, job)
    else:
        panels.formats(run, picked)
    panels.history(run, search)
