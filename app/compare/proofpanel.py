"""Proof on larger models: the run's comparisons of methods (``climb compare``), and starting one."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from pathlib import Path

import streamlit as st

from app import session
from app.compare import proofwords
from app.compare.proofresults import results
from app.compare.proofs import Proof, arguments, proofs, read, wanted_targets
from app.compare.proofstart import begin, go_on
from app.sidebar import EVERY, progress_lines
from app.words import ago, plain, plural
from climb_engine.compare import Comparison
from climb_engine.jobs import Job, find
from climb_engine.pipeline import Run
from climb_engine.search.loop import Search
from climb_engine.types import ClimbError
from climb_engine.workspace import Workspace

_WHY = (
    "Proxies are small: does the mixture that they found make a better *larger* model? Larger models are trained on "
    "the run's chosen mixture and on the natural one, and answer items that no search has seen. Other methods can be "
    "put beside it: each finds mixtures of its own with the same number of proxies, several times over."
)


def proof(run: Run, search: Search | None, job: Job | None, read_only: str) -> None:
    """The section: what was compared, how it stands, and a new one."""
    st.caption(_WHY)
    found, ours = proofs(run.workspace), job if job and job.arguments[0] == "compare" else None
    at_work = _written_by(ours, found) if ours and ours.alive else None
    if ours and ours.alive:
        with st.container(border=True, key="under-way"):
            st.fragment(_under_way, run_every=EVERY)(run.workspace, ours.id, at_work.digest if at_work else "")
    if found:
        picked = _picker(found)
        with session.explained():
            last = ours if picked is found[0] else None
            _one(run, picked, last, picked is at_work, read_only or _busy(job))
    elif not ours or not ours.alive:
        st.caption("No comparison on larger models has been made of this run yet.")
    with session.explained():
        begin(run, search, _readable(found), read_only or _busy(job), expanded=not found)


def teaser(run: Run) -> None:
    """A line that points here from the mixtures."""
    found = proofs(run.workspace)
    done = [one for one in found if one.results.exists() and one.targets()]
    told = f" {plural(len(done), 'comparison')} of this run can be read." if done else ""
    st.caption(
        f":material/science: These are scores of proxies, which are small. Whether it holds for larger models is under "
        f"**proof on larger models**, above.{told}"
    )


def _busy(job: Job | None) -> str:
    if job is None or not job.alive:
        return ""
    return f"climb {job.arguments[0]} {job.run} is at work; wait for it or stop it, see the job beside."


def _written_by(job: Job, found: Sequence[Proof]) -> Proof | None:
    """The comparison that a living job works on, once it has begun to write."""
    return next((one for one in found if one.updated >= job.started), None)


def _picker(found: tuple[Proof, ...]) -> Proof:
    by_digest = {one.digest: one for one in found}
    if st.session_state.get("comparison") not in by_digest:
        st.session_state.pop("comparison", None)
    if len(found) == 1:
        return found[0]
    digest = st.selectbox(
        "Comparison", list(by_digest), key="comparison", bind="query-params", width=520,
        format_func=lambda digest: by_digest[digest].title, help="The one that was written to last comes first.",
    )  # fmt: skip
    return by_digest[digest]


def _one(run: Run, picked: Proof, job: Job | None, at_work: bool, reason: str) -> None:
    if at_work and not picked.results.exists():
        return
    st.subheader(f"Comparison {picked.digest}")
    if picked.plan.get("tokens") != run.address("tokens"):
        st.caption("It was made with other domains or tokens than those of the run's settings now.")
    comparison = _read(picked) if picked.results.exists() else None
    if comparison:
        st.caption(plain(proofwords.plan_words(comparison)))
    if not at_work and (comparison is None or not comparison.complete):
        _stopped(run, picked, comparison, job, reason)
    for warning in comparison.warnings if comparison else ():
        st.caption(plain(f"{warning[:1].upper()}{warning[1:]}."))
    if comparison and comparison.measured:
        results(comparison)
    _downloads(picked)


def _under_way(workspace: Workspace, job_id: str, known: str) -> None:
    """How far the living job is, read from its comparison's logs again and again.

    known: the address of the comparison, "" before it has begun to write.
    """
    job = find(workspace, job_id)
    picked = _written_by(job, proofs(workspace))
    if not job.alive or (picked and picked.digest != known):
        st.rerun(scope="app")
    st.markdown(":material/progress_activity: **A comparison is under way**")
    st.code(job.command, language="bash", wrap_lines=True)
    if picked:
        _progress(picked, wanted_targets(job.arguments))
    elif job.state == "queued":
        progress_lines(job)
    else:
        st.caption("It reads the tasks' items first.")


def _progress(picked: Proof, targets: int | None) -> None:
    """The searches and the targets, n of N."""
    searches = picked.searches()
    if searches:
        told, of = sum(one.told for one in searches), sum(one.of for one in searches)
        many = f"{len(searches):,} searches" if len(searches) > 1 else "1 search"
        st.progress(min(1.0, told / of), text=f"{many}: {told:,} of {of:,} trials")
        with st.expander("Each search", key="each-search"):
            st.dataframe(
                {
                    "method": [one.method for one in searches],
                    "replicate": [one.replicate for one in searches],
                    "told": [one.told for one in searches],
                    "of": [one.of for one in searches],
                },
                hide_index=True, alt="Trials told of each search", key="searches", height="content",
                column_config={"method": "Method", "replicate": "Replicate", "told": "Trials told", "of": "of"},
            )  # fmt: skip
            if any(one.method == "doremi" for one in searches):
                st.caption("DoReMi trains two long models instead: it has spent all of its budget, or nothing yet.")
    done = picked.targets()
    if targets:
        st.progress(min(1.0, done / targets), text=f"Targets: {done:,} of {targets:,} larger models")
    elif done:
        st.caption(f"Targets: {done:,} larger models so far")


def _stopped(run: Run, picked: Proof, comparison: Comparison | None, job: Job | None, reason: str) -> None:
    """It is not finished and no job of the app works on it."""
    with st.container(border=True, key="unfinished"):
        if job and job.error:
            session.show_error(job.error, "It failed")
        st.markdown(
            f":material/stop_circle: **Not finished.** Last written to {ago(picked.updated)}. What is trained is kept, "
            "and the same options go on with it. It may be at work in a terminal."
        )
        options = comparison.options if comparison else None
        targets = len(options.methods) * options.replicates * options.seeds if options else None
        _progress(picked, targets)
        words = arguments(options) if options else job.arguments if job else None
        if words:
            go_on(run.workspace, words, reason)
        else:
            st.caption("Give the same options below to go on.")


@st.cache_resource(max_entries=8, show_spinner="Reading the comparison")
def _comparison(path: str, mark: tuple[int, int]) -> Comparison:  # noqa: ARG001
    return read(Path(path))


def _read(picked: Proof) -> Comparison:
    facts = picked.results.stat()
    return _comparison(str(picked.results), (facts.st_size, facts.st_mtime_ns))


def _readable(found: Sequence[Proof]) -> list[Comparison]:
    """Those with results; what cannot be read has been told where it is shown."""
    whole: list[Comparison] = []
    for one in found:
        with contextlib.suppress(ClimbError, OSError):
            whole.append(_read(one))
    return whole


def _downloads(picked: Proof) -> None:
    with st.container(horizontal=True, gap="xsmall", vertical_alignment="center", key="proof-downloads"):
        for name in ("results.json", "table.md", "gains.svg"):
            path = picked.folder / name
            if path.exists():
                st.download_button(
                    name, path.read_bytes(), f"{picked.digest}-{name}", on_click="ignore", key=f"proof.{name}",
                    icon=":material/download:",
                )  # fmt: skip
        st.caption(plain(str(picked.folder)), width="content")
