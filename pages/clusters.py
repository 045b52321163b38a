"""The map of the documents, and what to keep of them."""

import streamlit as st

from app import session
from app.clusters import atlas, panel
from app.curation import curated, history
from app.words import plain
from climb_engine.pipeline import Run

st.title("Clusters")
folder = session.workspace()
if folder is None or not folder.config_path.exists():
    st.caption("There is no run to look at yet. Make one under New run.")
    st.stop()
with session.explained():
    run = Run(folder.folder)
    waiting = [stage for stage in ("corpus", "embedding", "clustering", "quality") if run.artifact(stage) is None]
    if waiting:
        st.caption(
            f"{plain(folder.name)} has no clusters yet: {', '.join(waiting)} must run. The overview's button does."
        )
        st.stop()
    view = curated(run)
    job = session.latest_job(folder)
    living = job is not None and job.alive
    place = atlas.atlas(view)
    atlas.take_selection(view)
    history(view, living)
    if not place.projected:
        atlas.missing(view, living)
    left, right = st.columns([62, 38], gap="medium")
    with left:
        colouring, hits = atlas.toolbar(view)
        atlas.draw(view, place, colouring, hits)
    with right:
        atlas.area(view, place)
        panel.panel(view, hits)
