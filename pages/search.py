"""The search: launch it, watch it, question it, and put a mixture of one's own into it."""

import streamlit as st

from app import earlier, session
from app.opening import folder_or_stop, whole_or_stop
from app.search import filtering, head, launch, losses, ownmixture, panels, trialtable
from app.search.beside import beside
from app.search.fitting import catch_up, coming, fitted
from app.search.notes import read_notes
from app.search.view import look
from app.words import plain

st.title("Search")
folder = folder_or_stop()
with session.explained():
    run = earlier.opened(folder)
    plan = run.plan()
    job = session.latest_job(folder)
    living = job is not None and job.alive
    search = session.read_search(run)
    if not earlier.read_only(run):
        launch.launch(run, search, plan, job)
        earlier.others(run)
    if search is None:
        whole_or_stop(run, ("domains", "tokens"))
        st.caption(
            plain(f"{folder.name} has no domains to mix yet. The button makes them; they are what a search is over.")
        )
        st.stop()
    view = look(run, search)
    fit = fitted(view, living)
    losses.live(job)
    if not view.trials:
        st.caption("No trial has been asked for yet. Launch the first iteration, or queue a mixture of your own.")
        ownmixture.own_mixture(view, fit)
        st.stop()
    head.head(view, fit)
    head.warning(view, fit)
    head.hint(view, fit)
    filtering.take_click()
    passed = filtering.filter_bar(view).of(view)
    filtering.counted(view, passed)
    notes = read_notes(folder.folder, run.search_digest)
    halves = st.grid(2, min_column_width=400, gap="medium", key="search.map")
    on_the_left = halves.cell()
    with halves.cell():
        selected = beside(view, fit, passed, notes)
    sides = st.grid(2, min_column_width=380, gap="medium", key="search.charts")
    with sides.cell():
        panels.best_so_far(view, passed)
    with sides.cell():
        panels.foretold(view, fit, passed, coming(view, living))
    with sides.cell(column_span="all"):
        panels.weights_move(view, passed)
    with sides.cell():
        panels.domain_effects(view, fit, coming(view, living))
    with sides.cell():
        losses.stored_curves(view, passed, selected)
    trialtable.table(view, fit, passed, notes)
    with on_the_left:  # last of all, since the first time the map takes a moment
        panels.the_map(view, fit, passed)
    catch_up(view, living)
