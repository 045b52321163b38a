"""A run's knobs on the overview: change, see what that would run again, apply."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import streamlit as st

from app import forms, session
from app.knobs import called, differences
from app.overview.reasons import reasons
from app.steps import blamed
from app.words import plain, plural
from climb_engine.config import RunConfig
from climb_engine.curate.clustering import resolved
from climb_engine.curation import foreseen
from climb_engine.jobs import Job, start
from climb_engine.pipeline import Run
from climb_engine.search.loop import Search
from climb_engine.types import ClimbError
from climb_engine.workspace import digest_of

_MOST = 3  # blamed knobs that are shown


def settings(run: Run, search: Search | None) -> None:
    """An expander with the knobs of every section, and what is changed in any of them but not applied yet."""
    panel = st.expander("Settings", icon=":material/tune:", on_change="rerun", key="settings")
    if not panel.open:
        return
    with panel:
        edited, faults = _edited(run)
        wanted = None
        try:
            if not faults:
                wanted = run.config.with_values(edited, "settings")
        except ClimbError as error:
            faults = [str(error)]
        if wanted and wanted.clustering != run.config.clustering:
            _automatic(run, wanted)
        _apply(run, wanted, faults, search)


def _edited(run: Run) -> tuple[dict[str, Any], list[str]]:
    """Every knob as it stands in its widget, and what cannot be read.

    All sections are drawn at once, so that going from one to another loses nothing.
    """
    sections = list(RunConfig.model_fields)
    edited: dict[str, Any] = {}
    faults: list[str] = []
    for section, tab in zip(sections, st.tabs(sections, default="domains", key="section"), strict=True):
        values = getattr(run.config, section)
        edition = digest_of(values.model_dump(mode="json"))
        with tab:
            st.caption((type(values).__doc__ or "").splitlines()[0])
            try:
                made = forms.widgets(values, f"{run.workspace.name}.{section}.{edition}.{_draft(run)}", keep=True)
                edited |= {f"{section}.{name}": value for name, value in made.items()}
            except ClimbError as error:
                faults.append(f"{section}: {error}")
    return edited, faults


def _draft(run: Run) -> int:
    """The number of the draft; another one begins with the run's own settings."""
    return int(st.session_state.get(f"draft {run.workspace.name}", 0))


def mend(run: Run, search: Search | None, job: Job | None) -> bool:
    """Where the last job failed for a setting: that setting, and going on with it changed. False where it did not."""
    knobs = blamed(job)[:_MOST]
    if not knobs or job is None:
        return False
    with st.container(border=True, key="mend", gap="small"):
        what = " or ".join(f"{called(name)} ({section}.{name})" for section, name in knobs)
        st.markdown(plain(f"{job.command} stopped and would stop again: it wants another {what}."))
        session.show_error(job.error or "")
        with session.explained():
            values = {}
            for section, name in knobs:
                key = f"mend.{job.id}.{section}"
                values[f"{section}.{name}"] = forms.widgets(getattr(run.config, section), key, only=(name,))[name]
            _go_on(run, run.config.with_values(values, "settings"), search, job)
    return True


def _go_on(run: Run, wanted: RunConfig, search: Search | None, job: Job) -> None:
    changed = wanted != run.config
    if changed:
        _automatic(run, wanted)
        st.markdown("\n".join(f"- {plain(line)}" for line in consequences(run, wanted, search)))
    with st.container(horizontal=True):
        if st.button("Apply and go on", key="mend.apply", disabled=not changed, type="primary"):
            run.configure(wanted)
            start(run.workspace, job.arguments)
            st.rerun()
        if st.button("Try again as it is", key="mend.again", help="For what was mended elsewhere, such as a file."):
            start(run.workspace, job.arguments)
            st.rerun()


def _automatic(run: Run, wanted: RunConfig) -> None:
    """What a number of clusters that is left open comes to."""
    corpus = run.with_config(wanted).artifact("corpus")
    if corpus and not wanted.clustering.n_clusters and not wanted.clustering.given:
        number = resolved(wanted.clustering, corpus.facts["documents"]).n_clusters
        st.caption(f"0 comes to {plural(number, 'cluster')} for these {corpus.facts['documents']:,} documents.")


def _apply(run: Run, wanted: RunConfig | None, faults: Sequence[str], search: Search | None) -> None:
    """What is not applied yet, section by section; wanted: None where something is at fault."""
    changed = wanted is not None and wanted != run.config
    for fault in faults:
        session.show_error(fault, title="Nothing can be applied before this is mended")
    if wanted and changed:
        st.markdown(f"**Not applied yet**\n{_unapplied(run.config, wanted)}\n\n**What that does**")
        st.markdown("\n".join(f"- {plain(line)}" for line in consequences(run, wanted, search)))
    with st.container(horizontal=True):
        if st.button("Apply", key="apply", disabled=not changed, type="primary") and wanted:
            run.configure(wanted)
            _begin_anew(run)
        if (changed or faults) and st.button("Discard", key="discard", help="Back to the run's settings."):
            _begin_anew(run)


def _unapplied(before: RunConfig, wanted: RunConfig) -> str:
    lines = {section: differences(before, wanted, (section,)) for section in RunConfig.model_fields}
    return "\n".join(f"- {section}: {plain(', '.join(changes))}" for section, changes in lines.items() if changes)


def _begin_anew(run: Run) -> None:
    st.session_state[f"draft {run.workspace.name}"] = _draft(run) + 1
    st.rerun()


def consequences(run: Run, wanted: RunConfig, search: Search | None) -> list[str]:
    """What would run again, and what becomes of the trials."""
    try:
        then, lines = foreseen(run, wanted), []
    except ClimbError as error:  # may be so already, and be what is mended here step by step
        then, lines = run.with_config(wanted), [f"as it is, it would stop: {error}"]
    before, plan = {stage.stage: stage.state for stage in run.plan()}, then.plan()
    again = reasons(then, [now for now in plan if before.get(now.stage) == "done" and not now.optional])
    lines += [f"runs again: {'; '.join(again)}"] if again else []
    if search and search.trials and then.search_digest != run.search_digest:
        lines.append(_of_search(then, search, any(" may change" in stage.why for stage in plan)))
    return lines or ["nothing that is done runs again"]


def _of_search(then: Run, search: Search, perhaps: bool) -> str:
    if then.workspace.log(then.search_digest).path.exists():
        words = "goes on with the trials it had under these settings"
    else:
        words = "starts anew"
    words = f"if that changes what comes out, the search {words}" if perhaps else f"the search {words}"
    return f"{words}; its {len(search.trials)} trials stay on record for the former settings"
