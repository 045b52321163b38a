"""Two to four mixtures side by side: weights, scores, repeats."""

import streamlit as st

from app import session
from app.compare import panels, pick
from app.compare.training import train
from app.words import plain
from climb_engine.pipeline import Run

pick.title()
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
    found = pick.picker(run, search)
    if not found:
        st.caption("Choose two to four mixtures.")
        st.stop()
    times = panels.times_allowed(run)
    panels.cards(search, found, times)
    train(run, search, [picked.one for picked in found], session.latest_job(folder))
    panels.gains(search, found)
    if search.choice and search.choice.trust and search.choice.trust.warning:
        st.warning(plain(search.choice.trust.warning))
    sides = st.grid(2, min_column_width=380, gap="medium", key="sides")
    with sides.cell():
        panels.weights_chart(search, found)
    with sides.cell():
        panels.scores_chart(search, found)
    with session.explained():
        panels.repeats_part(run, search, found, times)
    panels.tables(search, found)
