"""A run's knobs on the overview: change, see what that would run again, apply."""

from __future__ import annotations

import streamlit as st

from app import forms, session
from app.knobs import called
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
        if section == "clustering":
            _automatic(run, wanted)
        _apply(run, wanted, search)


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


def _apply(run: Run, wanted: RunConfig, search: Search | None) -> None:
    changed = wanted != run.config
    if changed:
        st.markdown("\n".join(f"- {plain(line)}" for line in consequences(run, wanted, search)))
    if st.button("Apply", key="apply", disabled=not changed, type="primary"):
        run.configure(wanted)
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
