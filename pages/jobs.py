"""Everything that was started on this run."""

import streamlit as st

from app import session
from app.joblist import details, table
from app.words import plain
from climb_engine.jobs import jobs

st.title("Jobs")
folder = session.workspace()
if folder is None:
    st.caption("There is no run yet. Make one under New run.")
    st.stop()
with session.explained():
    found = jobs(folder)
    if not found:
        st.caption(f"Nothing has been started from here on {plain(folder.name)} yet. The overview's button does.")
        st.stop()
    details(folder, table(found))
