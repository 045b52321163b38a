"""Two to four mixtures side by side: weights, scores, repeats; and whether what was found holds for larger models."""

import streamlit as st

from app import earlier, session
from app.compare import gainspanel, panels, pick, proofpanel
from app.compare.training import train
from app.opening import folder_or_stop, search_or_stop
from app.words import plain

VIEWS = ("side by side", "proof on larger models")

pick.title()
folder = folder_or_stop()
if st.query_params.get("view") == "proof":
    st.session_state["view"] = VIEWS[1]  # the short way to write it into an address
with session.explained():
    view = st.segmented_control(
        "View", VIEWS, default=VIEWS[0], key="view", required=True, bind="query-params", label_visibility="collapsed"
    )
    run = earlier.opened(folder)
    job, read_only = session.latest_job(folder), earlier.read_only(run)
    if view == VIEWS[1]:
        proofpanel.proof(run, session.read_search(run), job, read_only)
        st.stop()
    search = search_or_stop(run)
    found = pick.picker(run, search)
    if not found:
        st.caption("Choose two to four mixtures.")
        st.stop()
    times = panels.times_allowed(run)
    panels.cards(search, found, times)
    train(run, search, [picked.one for picked in found], job, read_only)
    gainspanel.gains(search, found)
    if search.choice and search.choice.trust and search.choice.trust.warning:
        st.warning(plain(search.choice.trust.warning))
    proofpanel.teaser(run)
    sides = st.grid(2, min_column_width=380, gap="medium", key="sides")
    with sides.cell():
        panels.weights_chart(search, found)
    with sides.cell():
        panels.scores_chart(search, found)
    with session.explained():
        panels.repeats_part(run, search, found, times)
    panels.tables(run, search, found)
