"""A run's knobs on the overview: change, see what that would run again, apply."""

from __future__ import annotations

import streamlit as st

from app import forms, session
from app.overview.panels import rerun_reasons
from app.words import plain
from climb_engine.config import RunConfig
from climb_engine.pipeline import Run
from climb_engine.search.loop import Search
from climb_engine.workspace import digest_of


def settings(run: Run, search: Search | None) -> None:
    """An expander with the knobs of one section at a time."""
    panel = st.expander("Settings", icon=":material/tune:", on_change="rerun", key="settings")
    if not panel.open:
        return
    with panel, session.explained():
        sections = list(RunConfig.model_fields)
        section = st.segmented_control("Section", sections, default="domains", key="section", required=True)
        values = getattr(run.config, section)
        st.caption((type(values).__doc__ or "").splitlines()[0])
        edition = digest_of(values.model_dump(mode="json"))
        edited = forms.widgets(values, f"{run.workspace.name}.{section}.{edition}")
        wanted = run.config.with_values({f"{section}.{name}": value for name, value in edited.items()}, "settings")
        _apply(run, wanted, search)


def _apply(run: Run, wanted: RunConfig, search: Search | None) -> None:
    changed = wanted != run.config
    if changed:
        st.markdown("\n".join(f"- {plain(line)}" for line in consequences(run, wanted, search)))
    if st.button("Apply", key="apply", disabled=not changed, type="primary"):
        run.configure(wanted)
        st.rerun()


def consequences(run: Run, wanted: RunConfig, search: Search | None) -> list[str]:
    """What would run again, and what becomes of the trials."""
    then = Run(run.workspace.folder)
    then.config = wanted
    before = {stage.stage: stage.state for stage in run.plan()}
    again = rerun_reasons([now for now in then.plan() if before[now.stage] == "done" and not now.optional])
    lines = [f"runs again: {'; '.join(again)}"] if again else []
    if search and search.trials and then.search_digest != run.search_digest:
        known = then.workspace.log(then.search_digest).path.exists()
        words = "goes on with the trials it had under these settings" if known else "starts anew"
        lines.append(f"the search {words}; its {len(search.trials)} trials stay on record for the former settings")
    return lines or ["nothing that is done runs again"]
