"""A new run: the demo, or a corpus of one's own, whose first documents are shown before anything starts."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import streamlit as st

from app import forms, session
from app.overview.target import target
from app.words import plain, plural
from climb_engine.config import CorpusConfig, RunConfig
from climb_engine.curate.clustering import DOCUMENTS_EACH, MOST, resolved
from climb_engine.jobs import start
from climb_engine.pipeline import Run
from climb_engine.types import ClimbError
from climb_engine.workspace import Workspace, digest_of, slug

FIRST = 20  # documents that are shown
PATIENCE = 3.0  # seconds of reading on to count them
_AT_ONCE = 1000  # documents counted at once
_SHOWN = 400  # characters of each
_UNSEEN = ("", None, None)
_SHAPE = (("clustering", "n_clusters"), ("domains", "n_domains"), ("embedding", "model"))


def demo_card() -> None:
    """Offer the demo."""
    with st.container(border=True, key="demo-card"):
        st.subheader("The demo")
        st.markdown(
            "About 20,000 real documents from public packages, clustered, pruned and mixed with a small search. "
            "About ten minutes on two cores; needs the package registry once."
        )
        if st.button("Load the demo", type="primary", icon=":material/play_arrow:", key="demo"):
            with session.explained():
                name = _free("demo")
                start(Workspace(session.runs_folder() / name), ("demo",))
                session.go_to(name)
                session.turn_to("overview")


def corpus_card() -> None:
    """Offer a corpus of one's own."""
    with st.container(border=True, key="corpus-card"):
        st.subheader("Your own corpus")
        name = st.text_input(
            "Name of the run", _free("corpus"), key="new.name", max_chars=64, live=True,
            help="Its folder's name: letters a to z and A to Z, digits, '.', '_' and '-', a letter or digit first.",
        )  # fmt: skip
        fault, place = name_fault(name), st.empty()  # a place of its own, so that nothing below is made anew
        if fault:
            place.markdown(f":red[{plain(fault)}]")
        inputs = st.text_area(
            "Inputs, one per line", key="new.inputs", height=90, placeholder="/data/web/*.jsonl.zst\nhf:owner/name",
            help="Files, folders or globs on this machine, or hf:owner/name for a Hugging Face dataset.",
        )  # fmt: skip
        with session.explained():
            config = _asked(inputs)
            mark = digest_of(config.corpus.model_dump(mode="json"))
            _look(config, mark)
            _make(name, config, fault or _missing(config, mark))


def name_fault(name: str) -> str:
    """Why a run cannot have this name, "" where it can."""
    try:
        given = slug(name.strip())
    except ClimbError as error:
        return str(error)
    return f"there is a run called {given} already; choose another name" if _taken(given) else ""


def _asked(inputs: str) -> RunConfig:
    given: dict[str, Any] = {"corpus.inputs": [_absolute(line.strip()) for line in inputs.splitlines() if line.strip()]}
    with st.container():  # what comes and goes in here closes no expander below
        given |= target()
    with st.expander("How the inputs are read", key="new.reading"):
        read = forms.widgets(CorpusConfig(), "new.corpus", skip=("inputs", "part_documents", "part_chars"))
    with st.expander("Clusters, domains and embedding model (all knobs can be changed later)", key="new.shape"):
        for section, knob in _SHAPE:
            made = forms.widgets(getattr(RunConfig(), section), f"new.{section}", only=(knob,))
            given[f"{section}.{knob}"] = made[knob]
    return RunConfig().with_values(given | {f"corpus.{knob}": value for knob, value in read.items()}, "new run")


def _look(config: RunConfig, mark: str) -> None:
    """The first documents, once they are asked for, for as long as they are read in the same way."""
    asked = st.button(
        "Show the first documents", key="look", icon=":material/visibility:", disabled=not config.corpus.inputs
    )
    with st.container():  # what comes and goes in here moves nothing below
        if asked:
            with session.explained(), st.spinner("Reading the first documents, and on to see how many there are"):
                st.session_state["seen"] = (mark, first_documents(config.corpus), counted(config.corpus))
        seen, shown, number = st.session_state.get("seen", _UNSEEN)
        if shown is None or seen != mark:
            return
        documents, rejected = shown
        st.dataframe(documents, hide_index=True, alt="The first documents", key="first")
        if rejected:
            st.caption("Rejected among them:")
            st.dataframe(rejected, hide_index=True, alt="The first rejected documents", key="first rejected")
        _comes_to(config, number)


def _missing(config: RunConfig, mark: str) -> str:
    """What is to be done before the run can be made, "" where it can."""
    seen, _, _ = st.session_state.get("seen", _UNSEEN)
    if not config.corpus.inputs:
        return "First name the inputs, and look at their first documents."
    if not config.target.tasks and not config.target.heldout:
        return "First choose at least one task, or held-out text: without either, no mixture is better than another."
    if seen == mark:
        return ""
    if seen:
        return 'The inputs, or how they are read, have changed: press "Show the first documents" again.'
    return 'First press "Show the first documents", to see that they are read as they should be.'


def _make(name: str, config: RunConfig, reason: str) -> None:
    told = reason or "Writes the run's settings and opens its overview. Nothing is computed yet."
    pressed = st.button("Make the run", type="primary", key="make", disabled=bool(reason), help=plain(told))
    if reason:
        st.caption(plain(reason))
    if pressed:
        Run.create(session.runs_folder() / slug(name.strip()), config)
        session.go_to(name.strip())
        session.turn_to("overview")


def first_documents(config: CorpusConfig, n: int = FIRST) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """The first documents (source, characters, text) as they would be read, and what was rejected on the way."""
    from climb_engine.curate.corpus import corpus_parts

    few = config.model_copy(update={"max_documents": n, "part_documents": n})
    table, state = next(iter(corpus_parts(few)))
    rejected = [
        {"reason": one.reason, "where": one.where, "sample": one.sample}
        for some in state.examples.values()
        for one in some
    ]
    if not table.num_rows:
        raise ClimbError("no document was accepted; check the inputs and the text column")
    documents = [
        {"source": row["source"], "characters": len(row["text"]), "text": row["text"][:_SHOWN]}
        for row in table.select(["source", "text"]).to_pylist()
    ]
    return documents, rejected


@dataclass(frozen=True)
class Counted:
    """How many documents there are, as far as was read."""

    documents: int
    all: bool  # whether there are no more


def counted(config: CorpusConfig, seconds: float = PATIENCE) -> Counted:
    """Read on for some seconds, or until there are enough documents for as many clusters as are ever made unasked."""
    from climb_engine.curate.corpus import corpus_parts

    until, documents = time.monotonic() + seconds, 0
    for table, state in corpus_parts(config.model_copy(update={"part_documents": _AT_ONCE})):
        documents += table.num_rows
        if state.finished:
            return Counted(documents, True)
        if documents >= MOST * DOCUMENTS_EACH or time.monotonic() > until:
            break
    return Counted(documents, False)


def _comes_to(config: RunConfig, number: Counted) -> None:
    """How many documents, clusters and domains the settings come to."""
    section, at_least = config.clustering, "" if number.all else "at least "
    clusters = resolved(section, number.documents).n_clusters
    unsure = at_least if not section.n_clusters and clusters < MOST else ""
    said = f"{at_least}{plural(number.documents, 'document')}"
    if section.given:
        st.caption(plain(f"These inputs hold {said}. The clusters are the values of the column {section.given}."))
        return
    if number.all and clusters > number.documents:
        st.warning(
            f"There are only {plural(number.documents, 'document')}, too few for {clusters:,} clusters. Set the number "
            "of clusters to 0 for a number that fits."
        )
        return
    made = f"These inputs hold {said}, which come to {unsure}{plural(clusters, 'cluster')}"
    wanted = config.domains.n_domains
    then = f", merged into at most {plural(min(wanted, clusters), 'domain')}." if wanted else ", merged by distance."
    st.caption(made + then)


def _free(name: str) -> str:
    """``name``, or ``name-2`` and so on when there is one that has come further than its corpus."""
    return next(one for one in (name, *(f"{name}-{i}" for i in range(2, 1000))) if not _taken(one))


def _taken(name: str) -> bool:
    return name in session.run_names()


def _absolute(source: str) -> str:
    return source if source.startswith("hf:") else str(Path(source).expanduser().absolute())
