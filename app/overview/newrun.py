"""A new run: the demo, or a corpus of one's own, whose first documents are shown before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from app import forms, session
from climb_engine.config import CorpusConfig, RunConfig
from climb_engine.jobs import start
from climb_engine.pipeline import Run
from climb_engine.types import ClimbError
from climb_engine.workspace import Workspace, digest_of, slug

FIRST = 20  # documents that are shown
_SHOWN = 400  # characters of each
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
                _overview()


def corpus_card() -> None:
    """Offer a corpus of one's own."""
    with st.container(border=True, key="corpus-card"):
        st.subheader("Your own corpus")
        name = st.text_input("Name of the run", "corpus", key="new.name", max_chars=64)
        inputs = st.text_area(
            "Inputs, one per line", key="new.inputs", height=90, placeholder="/data/web/*.jsonl.zst\nhf:owner/name",
            help="Files, folders or globs on this machine, or hf:owner/name for a Hugging Face dataset.",
        )  # fmt: skip
        with session.explained():
            _preview_and_create(name, inputs)


def _preview_and_create(name: str, inputs: str) -> None:
    given = {"corpus.inputs": [_absolute(line.strip()) for line in inputs.splitlines() if line.strip()]}
    with st.expander("How the inputs are read"):
        read = forms.widgets(CorpusConfig(), "new.corpus", skip=("inputs", "part_documents", "part_chars"))
    with st.expander("Clusters, domains and embedding model (all knobs can be changed later)"):
        for section, knob in _SHAPE:
            made = forms.widgets(getattr(RunConfig(), section), f"new.{section}", only=(knob,))
            given[f"{section}.{knob}"] = made[knob]
    values: dict[str, Any] = given | {f"corpus.{knob}": value for knob, value in read.items()}
    config = RunConfig().with_values(values, "new run")
    mark = digest_of(config.corpus.model_dump(mode="json"))
    if st.button(
        "Show the first documents", key="look", icon=":material/visibility:", disabled=not config.corpus.inputs
    ):
        st.session_state["seen"] = (mark, first_documents(config.corpus))
    seen, shown = st.session_state.get("seen", ("", None))
    if shown is not None and seen == mark:
        documents, rejected = shown
        st.dataframe(documents, hide_index=True, alt="The first documents", key="first")
        if rejected:
            st.caption("Rejected among them:")
            st.dataframe(rejected, hide_index=True, alt="The first rejected documents", key="first rejected")
    if st.button("Make the run", type="primary", key="make", disabled=seen != mark, help="Nothing is computed yet."):
        Run.create(session.runs_folder() / slug(name.strip()), config)
        session.go_to(name.strip())
        _overview()


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


def _free(name: str) -> str:
    """``name``, or ``name-2`` and so on when there is one that has come further than its corpus."""
    taken = set(session.run_names())
    return next(one for one in (name, *(f"{name}-{i}" for i in range(2, 1000))) if one not in taken)


def _absolute(source: str) -> str:
    return source if source.startswith("hf:") else str(Path(source).expanduser().absolute())


def _overview() -> None:
    st.switch_page(Path(__file__).resolve().parents[2] / "pages" / "overview.py")
