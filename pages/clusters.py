"""The map of the documents, and what to keep of them."""

import streamlit as st

from app import session
from app.clusters import area, atlas, focus, panel
from app.curate import box, state
from app.curation import curated
from app.opening import folder_or_stop, whole_or_stop
from app.words import plain
from climb_engine.pipeline import Run

NEEDED = ("corpus", "embedding", "clustering", "quality")

st.title("Clusters")
folder = folder_or_stop()
with session.explained():
    run = Run(folder.folder)
    whole_or_stop(run, NEEDED)
    waiting = [stage for stage in NEEDED if run.artifact(stage) is None]
    if waiting:
        st.caption(
            f"{plain(folder.name)} has no clusters yet: {', '.join(waiting)} must run. The overview's button does."
        )
        st.stop()
    view = curated(run)
    job = session.latest_job(folder)
    living = job is not None and job.alive
    place = atlas.atlas(view)
    focus.begin(folder.name)
    focus.take_selection(view)
    found = state.consider(view, state.draft(run))
    box.written(found, living)
    if not place.projected:
        atlas.missing(view, living)
    sides = st.grid(2, min_column_width=380, gap="medium", key="sides")
    with sides.cell():
        colouring, hits = atlas.toolbar(view)
        atlas.draw(view, place, colouring, hits)
    with sides.cell():
        panel.panel(found, area.area(view, place), hits)
    with st.bottom:
        box.drafted(found)
