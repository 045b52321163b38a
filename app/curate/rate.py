"""Rating: one document after the other, and what the ratings are good for so far."""

from __future__ import annotations

import math
from typing import Any

import streamlit as st

from app import session
from app.curate import scoring
from app.words import plain
from climb_engine import rating
from climb_engine.curate.head import FEW, FEWEST
from climb_engine.curate.ratings import Rating
from climb_engine.pipeline import Run
from climb_engine.rated import collected, standing
from climb_engine.types import METRICS, ClimbError
from climb_engine.workspace import digest_of

_BATCH = 20  # documents that are suggested at once
_WHOLE = 20_000  # characters of a document that are shown at most
_EVERY = 5  # ratings until it is measured again how well they teach
_VERDICTS = ("worst", "bad", "weak", "fair", "good", "best")  # of 0 to 5; the key beside each is the rating
_ENDS = {
    "quality": ("garbled, unreadable", "clean and well written"),
    "educational": ("teaches nothing", "fit for a textbook"),
    "informational": ("says nothing", "dense with facts"),
    "advertisement": ("nothing but promotion", "no promotion at all"),
}
"""What 0 and 5 stand for."""


def rate(run: Run) -> None:
    """The part of the page."""
    left, right = st.columns([64, 36], gap="medium")
    with right:
        metrics = st.pills(
            "Rate on", METRICS, selection_mode="multi", default=[METRICS[0]], key="rate.metrics",
            wrap=True,
            help="Each document is rated on all that are chosen, one after the other.",
        )  # fmt: skip
    with left, session.explained():
        _document(run, [metric for metric in METRICS if metric in metrics])
    with right, session.explained():
        _progress(run)


# ---- the document --------------------------------------------------------------------------------------------------


def _document(run: Run, metrics: list[str]) -> None:
    if not metrics:
        st.caption("Choose what to rate on.")
        return
    queue = _queue(run)
    if queue["at"] >= len(queue["documents"]) and not _refilled(run, queue):
        st.caption("There is no document left that was not rated.")
        _back(queue)
        return
    document = queue["documents"][queue["at"]]
    given = queue["given"].get(document["id"], {})
    metric = next((one for one in metrics if one not in given), metrics[-1])
    low, high = _ENDS[metric]
    st.markdown(f"**{metric.capitalize()}** of document {document['id']:,}  \n0: {low} · 5: {high}")
    with st.container(horizontal=True, key="rate.buttons", gap="xsmall"):
        for value in range(6):
            chosen = given.get(metric) == value
            st.button(
                _VERDICTS[value], help=f"{value} of 5", key=f"rate.{value}", shortcut=str(value),
                type="primary" if chosen else "secondary", on_click=_give,
                args=(run, queue, document, metric, metrics, value),
            )  # fmt: skip
        st.button("Skip", key="rate.skip", shortcut="S", icon=":material/skip_next:", on_click=_skip, args=(queue,))
        _back(queue)
    if queue["fault"]:
        session.show_error(queue["fault"])
    elif len(metrics) > 1 or given:
        st.caption(" · ".join(f"{one} {given.get(one, '-')}" for one in metrics))
    _text(document)


def _text(document: dict[str, Any]) -> None:
    cluster = "not clustered" if document["cluster"] is None else f"c{document['cluster']}"
    size = len(document["text"])
    st.caption(plain(f"{str(document['source'])[:80]} · {cluster} · {size:,} characters"))
    cut = f"\n… cut at {_WHOLE:,} characters" if size > _WHOLE else ""
    st.code(document["text"][:_WHOLE] + cut, language=None, wrap_lines=True, height=520)


def _back(queue: dict[str, Any]) -> None:
    st.button(
        "Back", key="rate.back", shortcut="B", icon=":material/undo:", disabled=not queue["steps"], on_click=_return,
        args=(queue,), help="To what was rated or skipped before; what is rated again counts instead.",
    )  # fmt: skip


def _give(
    run: Run, queue: dict[str, Any], document: dict[str, Any], metric: str, metrics: list[str], value: int
) -> None:
    """Save a rating, and go on to the next metric or document."""
    queue["fault"] = ""
    try:
        rating.rate(run, [Rating(document["id"], metric, value, document["digest"])])
    except (ClimbError, OSError) as error:
        queue["fault"] = f"The rating was not saved: {error}"
        return
    given = queue["given"].setdefault(document["id"], {})
    given[metric] = value
    queue["steps"].append((queue["at"], metric))
    if all(one in given for one in metrics):
        queue["at"] += 1


def _skip(queue: dict[str, Any]) -> None:
    queue["steps"].append((queue["at"], ""))
    queue["at"] += 1


def _return(queue: dict[str, Any]) -> None:
    """One step back: what was given then is asked for again. It stays in the file until another is given."""
    at, metric = queue["steps"].pop()
    queue["at"] = at
    queue["given"].get(queue["documents"][at]["id"], {}).pop(metric, None)


def _queue(run: Run) -> dict[str, Any]:
    """The documents suggested in this session, where we are among them, and what was given."""
    mark = digest_of([run.workspace.name, run.needed("embedding").digest])
    kept: dict[str, Any] | None = st.session_state.get("rate.queue")
    if kept is None or kept["mark"] != mark:
        kept = {"mark": mark, "documents": [], "at": 0, "given": {}, "steps": [], "fault": ""}
        st.session_state["rate.queue"] = kept
    return kept


def _refilled(run: Run, queue: dict[str, Any]) -> bool:
    """Ask for further documents, none of which was suggested before. False when there are none."""
    seen = {document["id"] for document in queue["documents"]}
    with st.spinner("Choosing documents that teach the most", show_time=True):
        queue["documents"] += rating.suggestions(run, _BATCH, without=seen)
    return bool(queue["at"] < len(queue["documents"]))


# ---- what the ratings are good for ---------------------------------------------------------------------------------


def _progress(run: Run) -> None:
    stands = standing(run, collected(run))
    counts = stands.given
    if not stands.total:
        st.caption(
            f"No ratings yet. From {FEWEST} ratings of a metric on, every document can be scored by what they teach; "
            f"{2 * FEW} make it good. No score changes before you say so."
        )
        return
    found = _measured(run, digest_of([run.needed("embedding").digest, *(n // _EVERY for n in counts.values())]))
    table = {
        "metric": list(counts),
        "ratings": list(counts.values()),
        "spearman": [_of(found, metric, "spearman") for metric in counts],
        "error": [_of(found, metric, "mae") for metric in counts],
        "mean": [_of(found, metric, "mae_of_mean") for metric in counts],
    }
    st.dataframe(
        table, hide_index=True, alt="Ratings by metric and how well they teach", height="content", key="rate.table",
        column_config={
            "metric": "Metric", "ratings": st.column_config.NumberColumn("Ratings", width=65),
            "spearman": st.column_config.NumberColumn(
                "Spearman", format="%.2f", help="Rank correlation of held-out ratings with their scores."
            ),
            "error": st.column_config.NumberColumn("Error", format="%.2f", help="Mean error of held-out ratings."),
            "mean": st.column_config.NumberColumn("of mean", format="%.2f", help="Error of always guessing the mean."),
        },
    )  # fmt: skip
    for metric, n in counts.items():
        warning = found.metrics[metric].warning if metric in found.metrics else ""
        if n < FEWEST:
            warning = f"{FEWEST - n} more until it can be learned"
        if warning:
            st.warning(plain(f"{metric}: {warning}"), icon=":material/warning:")
    aside = rating.aside(found.moved, found.lost)
    st.caption(plain(f"Saved at once in {found.path}{aside}. Cross-validated anew every {_EVERY} ratings."))
    scoring.scoring(run, stands)


def _of(found: rating.Progress, metric: str, name: str) -> float | None:
    value = getattr(found.metrics[metric], name) if metric in found.metrics else None
    return value if value is not None and math.isfinite(value) else None


@st.cache_data(max_entries=8, show_spinner="Measuring how well the ratings teach")
def _measured(_run: Run, address: str) -> rating.Progress:  # noqa: ARG001
    return rating.progress(_run)
