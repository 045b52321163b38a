"""The guided first visit, and what the words mean."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import streamlit as st

from app import session
from climb_engine.workspace import write_atomically


@dataclass(frozen=True)
class Stop:
    """One stop of the tour."""

    title: str
    text: str


STOPS = (
    Stop(
        "What this is for",
        "You have a large corpus and want to know **which mixture of it to pre-train a language model on**. CLIMB "
        "groups the documents into domains, trains many small proxy models on different mixtures of them, learns from "
        "their scores which mixtures are good, and goes on where it is best.",
    ),
    Stop(
        "Overview: where you are",
        "The strip shows every step with its state and time. **One button** is always the next step. It starts a job "
        "that goes on when you close the browser; the card at the left follows it and stops it. What is finished is "
        "never done twice.",
    ),
    Stop(
        "Clusters: read what you have",
        "Every document on a map. Click a point for its cluster, draw around a region to count what is in it, search "
        "by words or by meaning, and **read**: central, random, borderline and worst documents.",
    ),
    Stop(
        "Curate: argue with the machine",
        "Thresholds decide which clusters are pruned, Ward linkage which are merged. Keep, prune, move, merge, split "
        "or rename by hand, look at what it would change **before** it does, and undo it.",
    ),
    Stop(
        "Search: find the mixture",
        "Launch the iterations one by one and watch the scores. Look at **predicted against measured**: when the "
        "predictor ranks badly, do not believe its choice. Put a mixture of your own into the queue.",
    ),
    Stop(
        "Compare and Export: believe it, take it along",
        "Compare mixtures with their noise; a gain within the noise is no gain. Export the weights with their "
        "provenance, recipes for training frameworks, or a data set drawn by the mixture.",
    ),
)
WORDS = {
    "document": "one row of the corpus; its row number is its id",
    "cluster": "one k-means cell of documents that are alike",
    "domain": "clusters merged after pruning; the unit that is mixed",
    "mixture": "weights over domains, which sum to 1",
    "natural mixture": "the weights that the kept documents have by themselves",
    "proxy": "the small language model that is trained to try a mixture",
    "trunk": "the model that all proxies start from, trained once on the natural mixture",
    "trial": "one mixture, asked for, trained as a proxy, measured",
    "iteration": "one round: ask for trials, train, measure, learn",
    "predictor": "the regression from a mixture to its score",
    "target": "what good means: weighted tasks and held-out text",
    "score": "the target's value, higher is better",
    "bits per byte": "how many bits a model needs per byte of text; lower is better, so scores count it negatively",
    "noise": "how much a score changes when only the seed does",
    "repeats": "how often a domain's tokens are read within a budget",
}


def tour() -> None:
    """The stops one after the other, until they are through or skipped; then no more."""
    asked = st.session_state.get("tour")
    if asked is None and _seen():
        return
    stop = asked or 0
    with st.container(border=True, key="tour"):
        st.markdown(f"**{STOPS[stop].title}**")
        st.markdown(STOPS[stop].text)
        with st.container(horizontal=True, vertical_alignment="center"):
            last = stop == len(STOPS) - 1
            st.button("Back", key="tour.back", on_click=_to, args=(stop - 1,), disabled=not stop)
            st.button(
                "Done" if last else "Next", key="tour.next", type="primary", on_click=_to,
                args=(None if last else stop + 1,),
            )  # fmt: skip
            if not last:
                st.button("Skip", key="tour.skip", type="tertiary", on_click=_to, args=(None,))
            st.caption(f"{stop + 1} of {len(STOPS)}")


def help_corner() -> None:
    """What the words mean, and the tour once more."""
    with st.popover("Words and tour", icon=":material/help:", key="words"):
        st.button("Show the tour", key="tour.again", on_click=_to, args=(0,), icon=":material/tour:")
        st.markdown("\n".join(f"- **{word}**: {meaning}" for word, meaning in WORDS.items()))


def _to(stop: int | None) -> None:
    if stop is None:
        st.session_state.pop("tour", None)
        write_atomically(_mark(), b"")
    else:
        st.session_state["tour"] = stop


def _seen() -> bool:
    return _mark().exists()


def _mark() -> Path:
    return session.runs_folder() / ".tour-seen"
