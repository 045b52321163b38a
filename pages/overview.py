"""Where the run stands, what was found, and the next step."""

import streamlit as st

from app import earlier, guide, session
from app.curation import foreseen
from app.export.former import former
from app.overview import newrun, panels
from app.overview.exports import after, exported
from app.settings import mend, settings
from app.steps import next_step
from app.words import plain
from climb_engine.jobs import jobs
from climb_engine.pipeline import Run

folder = session.workspace()
if folder is None:
    st.title("CLIMB Studio")
    guide.tour()
    st.markdown(
        "From a corpus to the mixture of its domains to pre-train on. There is no run yet: begin with one of these."
    )
    left, right = st.columns(2, gap="medium")
    with left:
        newrun.demo_card()
    with right:
        newrun.corpus_card()
    st.stop()

st.title(plain(folder.name))
guide.tour()
job = session.latest_job(folder)
if not folder.config_path.exists():
    st.caption("The run's settings appear when its corpus has been built. The job beside shows how far that is.")
    st.stop()

with session.explained():
    run = Run(folder.folder)
    plan = foreseen(run).plan()
    search = session.read_search(run)
    exports = former(folder)
    earlier.pointer(run, "search")
    if not mend(run, search, job):
        step = next_step(plan, search, run.config.search)
        panels.next_step(run, after(run, search, exports, step), job)
    exported(search, exports)
    panels.strip(run, plan, search, job)
    panels.numbers(run)
    weights, title = panels.best_mixture(search, search.outcome()) if search else (None, "")
    if search and search.trials:
        panels.found(run, search)
    panels.domains(run, weights, title)
    panels.recent(run, jobs(folder))
    settings(run, search)
