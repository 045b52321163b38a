"""What lies in the box or lasso on the map: its clusters and domains, its documents, and deciding on its clusters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import streamlit as st

from app import charts, documents, session
from app.clusters import focus, maps, reading
from app.colours import decided_colours
from app.curate import state
from app.curate.draft import Edit
from app.curate.state import Considered
from app.curation import Curated
from app.words import plural
from climb_engine.types import FloatArray, Ids
from climb_engine.workspace import digest_of

_MOSTLY = 50  # per cent of a cluster that lies inside, for a decision on the selection to be one on it
_KINDS = {
    "random": "Drawn by lot; shuffle for others.",
    "central": "Nearest to the centroids of their clusters.",
    "worst": "Lowest mean of the quality metrics.",
}


@dataclass(frozen=True, eq=False)
class Area:
    """All documents in a selection, not only those drawn."""

    rows: Ids
    inside: Ids  # (k,) documents of each cluster in it
    drawn: int
    address: str

    def share_inside(self, sizes: Ids) -> FloatArray:
        """(k,) how much of each cluster lies in it."""
        return np.asarray(self.inside / np.maximum(sizes, 1))


def area(view: Curated, place: maps.Atlas) -> Area | None:
    """The present selection, if there is one."""
    shapes = st.session_state.get("area")
    if not shapes:
        return None
    return _area(digest_of([place.address, len(place.rows), shapes]), view, place, shapes)


def panel(found: Considered, picked: Area) -> None:
    """What is in the selection, in three ways; and what to do with its clusters."""
    view = found.view
    share = len(picked.rows) / len(view.member.clusters)
    with st.container(horizontal=True, vertical_alignment="center", horizontal_alignment="distribute"):
        n, of = len(picked.rows), len(view.member.clusters)
        st.markdown(f"**{n:,} of {of:,} documents** ({share:.1%}, {picked.drawn:,} drawn)")
        st.button("Clear", key="clear", type="tertiary", icon=":material/close:", on_click=focus.clear_area)
    if not len(picked.rows):
        st.caption("There are no documents in it. Draw around some of the shading.")
        return
    look = st.segmented_control(
        "Selection", ["by cluster", "by domain", "documents"], default="by cluster", key="area.look", required=True,
        label_visibility="collapsed",
    )  # fmt: skip
    if look == "documents":
        kind, seed = reading.samples(_KINDS, "area")
        rows = documents.ordered(view.member, picked.rows, kind, seed)
        reading.paged(view, rows, "area", [picked.address, kind, seed])
    elif look == "by domain":
        _domains(view, picked)
    else:
        _clusters(view, picked)
        _decisions(found, picked)


@st.cache_resource(max_entries=4, show_spinner=False)
def _area(address: str, _view: Curated, _place: maps.Atlas, _shapes: Mapping[str, Any]) -> Area:
    flags = maps.selected(_place.points, _shapes)
    assert flags is not None  # there are shapes
    rows = np.flatnonzero(flags)
    inside = np.bincount(_view.member.clusters[rows], minlength=len(_view.member.sizes))
    return Area(rows, inside, int(flags[_place.rows].sum()), address)


def _clusters(view: Curated, picked: Area) -> None:
    order = np.argsort(-picked.inside, kind="stable")[: int((picked.inside > 0).sum())]
    labels, colours = view.decided.labels, _colours(view)
    table = {
        "": [charts.swatch(colours[labels[i]]) for i in order],
        "cluster": [f"c{i}" for i in order],
        "keywords": [", ".join(view.keywords[i][:5]) for i in order],
        "share": (100 * picked.inside[order] / len(picked.rows)).tolist(),
        "inside": (100 * picked.share_inside(view.member.sizes)[order]).tolist(),
        "domain": [view.domain_name(int(labels[i])) for i in order],
    }
    key = f"area.clusters.{picked.address}"

    def opened() -> None:
        if (row := focus.clicked_row(key)) is not None:
            focus.choose(f"c{order[row]}")

    number = st.column_config.NumberColumn
    st.dataframe(
        table, hide_index=True, alt="The clusters of the selection", key=key, on_select=opened,
        selection_mode="single-cell", height="content" if len(order) < 10 else 380,
        column_config={
            "": st.column_config.ImageColumn(width=28), "cluster": st.column_config.TextColumn("Cluster", width=52),
            "keywords": st.column_config.TextColumn("Keywords", width=140),
            "share": number("Share", format="%.1f%%", width=58, help="Of the selection's documents."),
            "inside": number("Inside", format="%.0f%%", width=58, help="How much of the cluster lies in it."),
            "domain": st.column_config.TextColumn("Domain", width=110),
        },
    )  # fmt: skip
    st.caption(f"{plural(len(order), 'cluster')}. Click one to open it; a column's head sorts.")


def _domains(view: Curated, picked: Area) -> None:
    labels, colours = view.decided.labels, _colours(view)
    counts = np.bincount(labels + 1, weights=picked.inside).astype(np.int64)  # pruned first
    whole = np.bincount(labels + 1, weights=view.member.sizes).astype(np.int64)
    order = np.argsort(-counts, kind="stable")[: int((counts > 0).sum())]
    table = {
        "": [charts.swatch(colours[i - 1]) for i in order],
        "domain": [view.domain_name(int(i) - 1) for i in order],
        "documents": counts[order].tolist(),
        "share": (100 * counts[order] / counts.sum()).tolist(),
        "inside": (100 * counts[order] / np.maximum(whole[order], 1)).tolist(),
    }
    number = st.column_config.NumberColumn
    st.dataframe(
        table, hide_index=True, alt="The selection by domain", height="content" if len(order) < 12 else 440,
        column_config={
            "": st.column_config.ImageColumn(width=28), "domain": st.column_config.TextColumn("Domain", width=150),
            "documents": number("Docs", format="localized", width=64),
            "share": number("Share", format="%.1f%%", width=62, help="Of the selection's documents."),
            "inside": number("Inside", format="%.0f%%", width=62, help="How much of the domain lies in it."),
        },
    )  # fmt: skip


def _decisions(found: Considered, picked: Area) -> None:
    """Keep, prune or move the clusters that lie mostly inside; it goes into the draft."""
    view = found.view
    least = st.slider(
        "Decide on clusters of which at least this much lies inside", 5, 100, _MOSTLY, 5, format="%d %%",
        key="area.least", help="A cluster is kept or pruned as a whole, with its documents outside the selection.",
    )  # fmt: skip
    chosen = np.flatnonzero((picked.inside > 0) & (100 * picked.share_inside(view.member.sizes) >= least))
    kept = np.array([view.decided.decisions[i].kept for i in chosen], bool)
    sizes = int(view.member.sizes[chosen].sum())
    inside = picked.inside[chosen].sum() / max(sizes, 1)
    covered = picked.inside[chosen].sum() / len(picked.rows)
    st.caption(
        f"{plural(len(chosen), 'cluster')} with {plural(sizes, 'document')}, {inside:.0%} of them inside; they are "
        f"{covered:.0%} of the selection."
        if len(chosen)
        else "No cluster lies so far inside; lower the limit, or draw around more."
    )
    with st.container(horizontal=True, vertical_alignment="center"):
        if st.button(
            f"Keep {(~kept).sum():,}", key="area.keep", icon=":material/check:", disabled=bool(kept.all()),
            help="Those of them that are pruned now.",
        ):  # fmt: skip
            _decide(found, chosen[~kept], Edit("keep"))
        if st.button(
            f"Prune {kept.sum():,}", key="area.prune", icon=":material/content_cut:", disabled=not kept.any(),
            help="Those of them that are kept now.",
        ):  # fmt: skip
            _decide(found, chosen[kept], Edit("prune"))
        with st.popover("Move", icon=":material/drive_file_move:", key="area.move", disabled=not len(chosen)):
            to = st.selectbox(
                "To domain", found.decided.names, index=None, key=f"area.to.{picked.address}", accept_new_options=True,
                placeholder="choose, or write a new name",
            )  # fmt: skip
            if st.button(f"Move {len(chosen):,}", key="area.there", disabled=not to):
                _decide(found, chosen, Edit("move", to=to))
    st.caption("Nothing is written before you apply it, with a look at what it changes, at the foot of the page.")


def _decide(found: Considered, clusters: Ids, edit: Edit) -> None:
    """Put the same edit of some clusters into the draft, if it can be."""
    if fault := state.decide(found, clusters.tolist(), edit):
        session.show_error(fault)
    else:
        st.rerun()


def _colours(view: Curated) -> tuple[str, ...]:
    return decided_colours(view.decided, view.run.config.domains.overrides)
