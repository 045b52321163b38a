"""The table of all clusters: what was decided automatically, and beside it what is decided by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import streamlit as st

from app import charts
from app.colours import decided_colours
from app.curate import state
from app.curate.draft import DECIDING, Draft, Edit, decided_by_hand, notes
from app.curate.state import Considered
from app.words import plain
from climb_engine.config import DomainsConfig
from climb_engine.curate.domains import Clusters
from climb_engine.pipeline import Run
from climb_engine.types import Ids
from climb_engine.workspace import digest_of

SHOWS = ("all", "kept", "pruned", "overridden", "near")
_NEAR = 0.1  # of the standard deviation of the clusters' means
_FIELDS = {"override": "override", "move to": "to", "note": "note"}


def take_edits(run: Run, draft: Draft) -> Draft:
    """The draft with what was written into the table that was shown last."""
    shown = st.session_state.get("curate.table")
    if not shown or shown["run"] != run.workspace.name or shown["key"] not in st.session_state:
        return draft
    rows = st.session_state[shown["key"]].get("edited_rows", {})
    edits = dict(shown["edits"])
    for row, cells in rows.items():
        cluster = shown["order"][int(row)]
        edits[cluster] = edited(edits.get(cluster, Edit()), cells)
    return replace(draft, edits=edits).tidied(run.config)


def edited(edit: Edit, cells: Mapping[str, Any]) -> Edit:
    """An edit with what was written into its row: an emptied cell is "", one left alone is not in ``cells``."""
    values = {_FIELDS[name]: str(value).strip() if value is not None else "" for name, value in cells.items()}
    found = replace(edit, **values)
    if values.get("to") and "override" not in values:
        found = replace(found, override="move")
    return replace(found, to=None) if found.override != "move" else found


def table(found: Considered) -> None:
    """The editor; what is written into it is taken at the next look."""
    with st.container(horizontal=True, vertical_alignment="bottom", horizontal_alignment="distribute"):
        show = st.segmented_control(
            "Clusters", SHOWS, default="all", key="show", required=True, bind="query-params",
            help="near: a mean just above or below its limit, where a decision could as easily be the other.",
        )  # fmt: skip
        st.caption("Choose in the column Override, or empty it for the automatic decision. A column's head sorts.")
    order = rows(found, show or "all")
    if not len(order):
        st.caption(f"No cluster is {'near a limit' if show == 'near' else show}.")
        st.session_state.pop("curate.table", None)
        return
    key = f"table.{digest_of([state.edition(found.run), order.tolist()])}"
    if key not in st.session_state:  # a new editor begins with what is in the draft
        st.session_state["curate.table"] = {
            "run": found.run.workspace.name, "key": key, "order": order.tolist(), "edits": dict(found.draft.edits),
        }  # fmt: skip
    shown = st.session_state["curate.table"]
    _editor(found, order, shown["edits"], key)


def rows(found: Considered, show: str) -> Ids:
    """The clusters to show, the largest first; as they are decided on now, not by the draft."""
    clusters, now = found.clusters, found.view.decided
    order = np.argsort(-clusters.sizes, kind="stable")
    if show in ("kept", "pruned"):
        order = order[(now.labels[order] >= 0) == (show == "kept")]
    elif show == "overridden":
        hand = [one.reason.startswith("override") for one in now.decisions]
        order = order[np.array(hand)[order]]
    elif show == "near":
        order = order[near(clusters, found.run.config.domains)[order]]
    return np.asarray(order, np.int64)


def near(clusters: Clusters, section: DomainsConfig) -> Any:
    """(k,) whether a cluster is so close to a limit that a little more or less would decide otherwise."""
    close = np.zeros(len(clusters.sizes), bool)
    for metric, limit in section.thresholds.items():
        if metric in clusters.metrics:
            means = clusters.means[:, clusters.metrics.index(metric)]
            with np.errstate(invalid="ignore"):
                close |= np.abs(means - limit) <= max(_NEAR * float(np.nanstd(means)), 0.02)
    close |= np.abs(clusters.sizes - section.min_documents) <= max(1, section.min_documents // 10)
    return close & (clusters.sizes > 0)


def _editor(found: Considered, order: Ids, edits: Mapping[int, Edit], key: str) -> None:
    import pandas as pd

    clusters, now = found.clusters, found.view.decided
    colours = decided_colours(now, found.run.config.domains.overrides)
    frame = pd.DataFrame(
        {
            "": [charts.swatch(colours[now.decisions[i].domain]) for i in order],
            "cluster": [f"c{i}" for i in order],
            "documents": clusters.sizes[order],
            "keywords": [", ".join(clusters.keywords[i][:6]) for i in order],
            "automatic": [_automatic(found, i) for i in order],
            **_by_hand(found, order, edits),
            **{metric: clusters.means[order, column] for column, metric in enumerate(clusters.metrics)},
        }
    )
    there = found.view.decided.names
    written = {str(name) for name in frame["move to"] if name} - set(there)
    fixed = st.column_config
    st.data_editor(
        frame, hide_index=True, key=key, num_rows="fixed", height=430, placeholder="",
        alt="All clusters, to be decided on by hand",
        disabled=[name for name in frame.columns if name not in _FIELDS],
        column_config={
            "": fixed.ImageColumn(width=30), "cluster": fixed.TextColumn("Cluster", width=62, pinned=True),
            "documents": fixed.NumberColumn("Documents", format="localized", width=85),
            **{metric: fixed.NumberColumn(metric.capitalize(), format="%.2f", width=95) for metric in clusters.metrics},
            "automatic": fixed.TextColumn("Automatic", help="By the limits alone.", width=160),
            "override": fixed.SelectboxColumn("Override", options=DECIDING, width=85, help="Wins over the limits."),
            "move to": fixed.SelectboxColumn("Move to", options=[*there, *sorted(written)], width=130),
            "note": fixed.TextColumn("Note", width=110, max_chars=500, help="For the record; changes nothing."),
            "keywords": fixed.TextColumn("Keywords", width=170),
        },
    )  # fmt: skip
    _counted(found, order)


def _by_hand(found: Considered, order: Ids, edits: Mapping[int, Edit]) -> dict[str, list[str | None]]:
    """The three columns that can be written to: what is in the config, and over it what is in the draft."""
    overrides = found.run.config.domains.overrides
    hand, noted = decided_by_hand(overrides), notes(overrides)
    columns: dict[str, list[str | None]] = {name: [] for name in _FIELDS}
    for cluster in order.tolist():
        one, edit = hand.get(cluster), edits.get(cluster, Edit())
        action: str | None = one.action if one else None
        to = one.domain if one else None
        if edit.override is not None:
            action, to = edit.override or None, edit.to
        columns["override"].append(action)
        columns["move to"].append(to or None)
        columns["note"].append((noted.get(cluster, "") if edit.note is None else edit.note) or None)
    return columns


def _automatic(found: Considered, cluster: int) -> str:
    one = found.view.decided.decisions[cluster]
    if one.automatic_kept:
        return found.view.decided.automatic_names[one.automatic_domain]
    return f"pruned: {one.reason}" if not one.kept and not one.reason.startswith("override") else "pruned"


def _counted(found: Considered, order: Sequence[int] | Ids) -> None:
    written = len(found.draft.edits)
    drafted = f" {written:,} of them are changed in the draft below." if written else ""
    st.caption(plain(f"{len(order):,} of {len(found.clusters.sizes):,} clusters.{drafted}"))
