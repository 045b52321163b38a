"""A mixture to take along: files for training frameworks, and data sets drawn by it."""

import streamlit as st

from app import earlier, session
from app.export import dataset, panels, pick
from app.opening import folder_or_stop, search_or_stop

WHAT = ["weights and recipes", "mixed data set", "clustered data set"]

st.title("Export")
folder = folder_or_stop()
with session.explained():
    run = earlier.opened(folder)
    search = search_or_stop(run)
    job, read_only = session.latest_job(folder), earlier.read_only(run)
    if not search.trials:
        st.caption("The search has no mixture yet; the overview's button begins it. All kept documents can be written.")
        told = dataset.clustered(run, search, job, read_only)
        panels.history(run, search, told)
        st.stop()
    picked = pick.picker(run, search)
    pick.summary(run, search, picked)
    what = st.segmented_control("What to export", WHAT, default=WHAT[0], required=True, key="what", bind="query-params")
    told = None
    if what == WHAT[1]:
        told = dataset.mixed(run, search, picked, job, read_only)
    elif what == WHAT[2]:
        told = dataset.clustered(run, search, job, read_only)
    else:
        panels.formats(run, picked)
    panels.history(run, search, told)
