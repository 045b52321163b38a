"""Pruning: clusters by size and quality, the limits, what was selected, and the table of all."""

from __future__ import annotations

from typing import Any

import numpy as np
import streamlit as st

from app import charts, documents, session
from app.curate import charts as curatecharts
from app.curate import state
from app.curate import table as curatetable
from app.curate.draft import Draft, Edit
from app.curate.state import Considered
from app.curation import Curated
from app.words import plain, plural
from climb_engine.config import TOP_SCORE, DomainsConfig
from climb_engine.types import Ids
from climb_engine.workspace import digest_of

_READ = 3  # clusters of which a document is shown
_FOLD = 300  # characters of it
_STEP = 0.05


def prune(view: Curated) -> Considered:
    """The part of the page; what it decides on the clusters."""
    run = view.run
    draft = curatetable.take_edits(run, state.draft(run))
    _take_selection(len(view.decided.labels))
    left, right = st.columns([62, 38], gap="medium")
    with right:
        draft = draft.with_knobs(_limits(view, draft), run.config)
    state.put(run, draft)
    found = state.consider(view, draft)
    with left:
        _chart(found)
    with right:
        _alone(found)
        _selected(found)
    curatetable.table(found)
    return found


def _limits(view: Curated, draft: Draft) -> dict[str, Any]:
    """A slider for each metric, and the other limits."""
    edition, now = state.edition(view.run), view.run.config.domains
    spec = DomainsConfig.model_fields

    def value(name: str) -> Any:
        return draft.knobs.get(name, getattr(now, name))

    thresholds = dict(value("thresholds"))
    st.markdown("**Limits**", help=spec["thresholds"].description)
    for metric in view.member.metrics:
        limit = st.slider(
            f"Mean {metric} at least", 0.0, TOP_SCORE, float(thresholds.get(metric, 0.0)), _STEP, format="%.2f",
            key=f"limit.{metric}.{edition}", help="Clusters whose mean is below are pruned; 0: none.",
        )  # fmt: skip
        if limit or metric in now.thresholds:
            thresholds[metric] = limit
        else:
            thresholds.pop(metric, None)
    values: dict[str, Any] = {"thresholds": thresholds}
    with st.container(horizontal=True):
        values["min_documents"] = st.number_input(
            "Fewest documents", 1, None, int(value("min_documents")), 1, key=f"limit.documents.{edition}",
            help=spec["min_documents"].description,
        )  # fmt: skip
        values["max_spread"] = st.number_input(
            "Largest spread", 0.0, None, float(value("max_spread")), 0.1, key=f"limit.spread.{edition}", format="%g",
            help=spec["max_spread"].description,
        )  # fmt: skip
        off = view.run.config.duplicates.method == "none"
        values["max_duplicate_share"] = st.number_input(
            "Largest share of duplicates", 0.0, 1.0, float(value("max_duplicate_share")), 0.05, format="%g",
            key=f"limit.duplicates.{edition}", disabled=off,
            help="Nobody looks for near-duplicates: set duplicates.method in the run's settings."
            if off else spec["max_duplicate_share"].description,
        )  # fmt: skip
    return values


def _chart(found: Considered) -> None:
    metric = st.segmented_control(
        "Height in the chart: the mean of", found.clusters.metrics, default=found.clusters.metrics[0], key="metric",
        required=True, bind="query-params", help="Each cluster is as high as the mean score of its documents.",
    )  # fmt: skip
    column = found.clusters.metrics.index(metric or found.clusters.metrics[0])
    section = found.config.domains
    figure = curatecharts.size_quality(
        *_known(found, column), found.clusters.metrics[column],
        (section.thresholds.get(found.clusters.metrics[column]) or None, section.min_documents),
        found.flipped, picked(),
    )  # fmt: skip
    st.plotly_chart(
        figure, key="scatter", on_select="rerun", selection_mode=("points", "box", "lasso"),
        alt=f"Clusters by documents and mean {metric}, with the limits",
        config={
            "displaylogo": False, "modeBarButtonsToRemove": ["toImage", "zoom2d", "pan2d", "zoomIn2d", "zoomOut2d",
                                                             "autoScale2d", "resetScale2d"],
        },
    )  # fmt: skip
    st.caption(
        "Drag a box over clusters, or take the lasso at the top right, or click one. The dashed lines are limits; "
        "clusters below or left of one are pruned."
    )


def _known(found: Considered, column: int) -> tuple[Ids, Any, Ids, list[str]]:
    clusters, decided = found.clusters, found.decided
    k = len(clusters.sizes)
    status = np.array([2 if one.reason.startswith("override") else int(not one.kept) for one in decided.decisions[:k]])
    address = digest_of([found.view.clustering, clusters.metrics[column], status.tolist(), decided.names])
    hover = _hover(address, found, column)
    return clusters.sizes, clusters.means[:, column], status.astype(np.int64), hover


@st.cache_resource(max_entries=16, show_spinner=False)
def _hover(address: str, _found: Considered, _column: int) -> list[str]:  # noqa: ARG001
    clusters, metric = _found.clusters, _found.clusters.metrics[_column]
    lines = []
    for i, one in enumerate(_found.decided.decisions[: len(clusters.sizes)]):
        parts = (
            f"c{i}: {', '.join(clusters.keywords[i][:5])}",
            f"{clusters.sizes[i]:,} documents, mean {metric} {clusters.means[i, _column]:.2f}",
            one.reason if not one.kept else _found.decided.names[one.domain],
        )
        lines.append("<br>".join(charts.label(part, 90) for part in parts))
    return lines


def _alone(found: Considered) -> None:
    """What each limit prunes by itself."""
    clusters, section = found.clusters.first, found.config.domains
    said = []
    for metric, limit in section.thresholds.items():
        if metric in clusters.metrics:
            low = clusters.means[:, clusters.metrics.index(metric)] < limit
            said.append(f"{metric} {int(low.sum()):,}")
    said.append(f"size {int(((clusters.sizes < section.min_documents) & (clusters.sizes > 0)).sum()):,}")
    labels = found.decided.labels[: len(found.clusters.sizes)]
    gone = int(found.clusters.sizes[: len(labels)][labels < 0].sum())
    share = gone / max(int(found.clusters.sizes.sum()), 1)
    what = f"{plural(int((labels < 0).sum()), 'cluster')} with {plural(gone, 'document')} ({share:.1%})"
    st.caption(plain(f"Pruned in all: {what}. By each limit alone: {', '.join(said)}."))


# ---- what was selected ---------------------------------------------------------------------------------------------


def picked() -> Ids:
    """The clusters that were selected on the chart."""
    return np.array(st.session_state.get("curate.picked", ()), np.int64)


def _take_selection(k: int) -> None:
    """A new selection on the chart; a changed figure clears the chart's own, so an empty one says nothing."""
    points = ((st.session_state.get("scatter") or {}).get("selection") or {}).get("points") or ()
    clusters = sorted({number for point in points if (number := _number(point.get("customdata"))) is not None})
    mark = digest_of(clusters)
    if clusters and mark != st.session_state.get("curate.mark"):
        st.session_state["curate.mark"] = mark
        st.session_state["curate.picked"] = [i for i in clusters if 0 <= i < k]
    st.session_state["curate.picked"] = [i for i in st.session_state.get("curate.picked", ()) if i < k]


def _number(told: Any) -> int | None:
    told = told[0] if isinstance(told, list) and told else told
    return int(told) if isinstance(told, int | float) else None


def _selected(found: Considered) -> None:
    chosen = picked()
    if not len(chosen):
        return
    n, sizes = len(chosen), found.clusters.sizes
    own = digest_of([state.edition(found.run), chosen.tolist()])  # of these clusters and of this decision alone
    with st.container(border=True, key="picked", gap="xsmall"):
        share = int(sizes[chosen].sum()) / max(int(sizes.sum()), 1)
        what = f"{plural(n, 'cluster')} selected, {plural(int(sizes[chosen].sum()), 'document')} ({share:.1%})"
        with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
            st.markdown(f"**{what}**")
            if st.button("Clear", key="picked.clear", type="tertiary"):
                st.session_state["curate.picked"] = []
                st.rerun()
        why = st.text_input(
            "Reason", key=f"picked.why.{own}", placeholder="why (for the record)", label_visibility="collapsed"
        )
        with st.container(horizontal=True):
            if st.button(f"Keep {n:,}", key="picked.keep", icon=":material/check:", shortcut="K"):
                _decide(found, Edit("keep", why=why or ""))
            if st.button(f"Prune {n:,}", key="picked.prune", icon=":material/content_cut:", shortcut="P"):
                _decide(found, Edit("prune", why=why or ""))
            with st.popover("Move", icon=":material/drive_file_move:", key="picked.move"):
                to = st.selectbox(
                    "To domain", found.decided.names, index=None, key=f"picked.to.{own}", accept_new_options=True,
                    placeholder="choose, or write a new name",
                )  # fmt: skip
                if st.button(f"Move {n:,}", key="picked.there", disabled=not to):
                    _decide(found, Edit("move", to=to, why=why or ""))
        with st.expander(f"Read {'it' if n == 1 else 'some'}", key="picked.read", on_change="rerun") as reader:
            if reader.open:
                _read(found, chosen)


def _decide(found: Considered, edit: Edit) -> None:
    """Put the selected clusters into the draft, if it can be."""
    if fault := state.decide(found, picked().tolist(), edit):
        session.show_error(fault)
    else:
        st.rerun()


def _read(found: Considered, chosen: Ids) -> None:
    view = found.view
    for cluster in chosen[:_READ].tolist():
        st.caption(plain(f"c{cluster}: {', '.join(found.clusters.keywords[cluster][:8])}"))
        rows = documents.samples(view.member, cluster, "central", 1, 0)
        with session.explained():
            for document in documents.texts(view.corpus, tuple(rows)):
                cut = "…" if len(document.text) > _FOLD else ""
                st.code(document.text[:_FOLD] + cut, language=None, wrap_lines=True)
    if len(chosen) > _READ:
        st.caption(f"The most central document of each of the first {_READ}.")
