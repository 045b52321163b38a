"""What is known of one cluster, its documents, and the buttons that keep, prune or move it; or the list of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import streamlit as st

from app import charts, documents, session
from app.clusters import area, finding, focus, reading
from app.clusters.area import Area
from app.clusters.finding import Hits
from app.colours import decided_colours
from app.curate import state
from app.curate.draft import Edit
from app.curate.state import Considered
from app.curation import Curated
from app.words import plain, plural
from climb_engine.curation import PRUNED
from climb_engine.types import Ids

_BINS = 20
_NEAREST = 8
_KINDS = {
    "central": "Nearest to the cluster's centroid.",
    "random": "Drawn by lot; shuffle for others.",
    "borderline": "Farthest from the centroid: what hardly belongs here.",
    "worst": "Lowest mean of the quality metrics.",
}


def panel(found: Considered, picked: Area | None, hits: Hits) -> None:
    """The chosen cluster or all of them, what was selected on the map, or what was found; whatever came last."""
    sides = {"cluster": "Clusters"}
    sides |= {"selection": f"Selection · {len(picked.rows):,}"} if picked else {}
    sides |= {"found": f"Found · {len(hits.rows):,}"} if len(hits.rows) else {}
    if st.session_state.get("side") not in sides:
        st.session_state["side"] = "cluster"
    side = st.session_state["side"]
    options = [f"c{i}" for i in np.flatnonzero(found.view.member.sizes)]
    focus.from_address(options)
    focus.to_address()
    if len(sides) > 1:
        side = st.segmented_control(
            "Beside the map", list(sides), format_func=lambda one: sides[one], key="side", required=True,
            label_visibility="collapsed", wrap=True,
        )  # fmt: skip
    if side == "selection" and picked:
        area.panel(found, picked)
    elif side == "found":
        finding.read(found.view, hits)
    else:
        _clusters(found, options)


def _clusters(found: Considered, options: list[str]) -> None:
    view = found.view
    with st.container(horizontal=True, vertical_alignment="bottom", key="chooser", gap="xsmall"):
        chosen = st.selectbox(
            "Cluster", options, index=None, key="cluster", placeholder="All clusters", on_change=focus.chosen,
            format_func=lambda one: _title(view, int(one[1:])), filter_mode="contains",
        )  # fmt: skip
        at = options.index(chosen) if chosen else -1
        for words, step, key in (("Previous", -1, "J"), ("Next", 1, "L")):
            icon = ":material/chevron_left:" if step < 0 else ":material/chevron_right:"
            other = options[max(0, at + step) % len(options)]
            st.button(
                "", key=words.lower(), icon=icon, shortcut=key, help=f"{words} cluster", on_click=focus.choose,
                args=(other,),
            )  # fmt: skip
    if chosen:
        _cluster(found, int(chosen[1:]))
    else:
        _all(view)


def _title(view: Curated, cluster: int) -> str:
    """What the list of clusters can be filtered by."""
    return f"c{cluster} · {', '.join(view.keywords[cluster][:3])}" if view.keywords[cluster] else f"c{cluster}"


def _cluster(found: Considered, cluster: int) -> None:
    view = found.view
    decision, size = view.decided.decisions[cluster], int(view.member.sizes[cluster])
    with st.container(horizontal=True, vertical_alignment="center", gap="xsmall"):
        st.image(charts.swatch(_colours(view)[decision.domain]), width=14)
        home = view.domain_name(decision.domain) if decision.kept else f"c{cluster}"
        st.subheader(plain(home), anchor=False, width="content")
        st.badge("kept" if decision.kept else "pruned", color="green" if decision.kept else "gray")
        if (drafted := _drafted(found, cluster)) is not None:
            st.badge(plain(drafted), icon=":material/edit:", color="orange", help="In the draft, not applied yet.")
    share = size / len(view.member.clusters)
    st.caption(f"{plural(size, 'document')}, {share:.1%} of the corpus. {plain(_reason(view, cluster))}")
    st.caption(plain(" · ".join(view.keywords[cluster])))
    _buttons(found, cluster)
    look = st.segmented_control(
        "Read", ["documents", "quality", "neighbours"], default="documents", key="look", required=True,
        label_visibility="collapsed", wrap=True,
    )  # fmt: skip
    {"documents": _documents, "quality": _quality, "neighbours": _neighbours}[look or "documents"](view, cluster)


def _reason(view: Curated, cluster: int) -> str:
    decision = view.decided.decisions[cluster]
    home = decision.automatic_domain
    machine = f"kept in {view.decided.automatic_names[home]}" if decision.automatic_kept else "pruned"
    if decision.reason.startswith("override"):
        return f"{decision.reason}; by the thresholds alone: {machine}."
    return "No threshold speaks against it." if decision.kept else f"Pruned: {decision.reason}."


def _drafted(found: Considered, cluster: int) -> str | None:
    """What the draft makes of a cluster, where that is not what is so."""
    names = [one.domain_name(one.decided.decisions[cluster].domain) for one in (found.view, found)]
    return None if names[0] == names[1] else f"would be {names[1]}" if names[1] == PRUNED else f"would be in {names[1]}"


def _buttons(found: Considered, cluster: int) -> None:
    """Keep, prune or move it; that goes into the draft, with a reason of its own."""
    decision, name = found.decided.decisions[cluster], f"c{cluster}"
    own = f"{state.edition(found.run)}.{cluster}"  # of this cluster and of this decision alone
    with st.container(horizontal=True, key="decide", gap="xsmall", vertical_alignment="center"):
        keep = st.button(
            "Keep", key="keep", icon=":material/check:", shortcut="K", disabled=decision.kept, help=f"Keep {name}."
        )
        prune = st.button(
            "Prune", key="prune", icon=":material/content_cut:", shortcut="P", disabled=not decision.kept,
            help=f"Leave {name} out of every domain.",
        )  # fmt: skip
        with st.popover("Move", icon=":material/drive_file_move:", key="move"):
            known = st.selectbox("To domain", found.decided.names, index=None, key=f"to.{own}")
            domain = st.text_input("or a new one", key=f"new-domain.{own}", placeholder="lower-case-name") or known
            move = st.button(f"Move {name}", key="move-there", disabled=not domain)
        why = st.text_input("Why", key=f"why.{own}", placeholder="why (for the record)", label_visibility="collapsed")
    if keep or prune:
        _decide(found, cluster, Edit("keep" if keep else "prune", why=why or ""))
    elif move:
        _decide(found, cluster, Edit("move", to=domain, why=why or ""))


def _decide(found: Considered, cluster: int, edit: Edit) -> None:
    """Put it into the draft, if it can be; what is so already takes what was in the draft out of it."""
    now = found.view.decided.decisions[cluster]
    if edit.override == ("keep" if now.kept else "prune") and cluster in found.draft.edits:
        edit = Edit()
    if fault := state.decide(found, [cluster], edit):
        session.show_error(fault)
    else:
        st.rerun()


def _documents(view: Curated, cluster: int) -> None:
    clicked = st.session_state.get("document")
    if clicked is not None and clicked < len(view.member.clusters) and view.member.clusters[clicked] == cluster:
        st.caption("**Clicked**")
        reading.one(view, clicked, "clicked")
    kind, seed = reading.samples(_KINDS, "cluster")
    rows = documents.ordered(view.member, np.flatnonzero(view.member.clusters == cluster), kind, seed)
    reading.paged(view, rows, "cluster", [view.clustering, cluster, kind, seed], home=False)


def _quality(view: Curated, cluster: int) -> None:
    mine = view.member.clusters == cluster
    here, means = view.member.scores[mine], view.member.means()
    thresholds = view.run.config.domains.thresholds
    rows = []
    for column, metric in enumerate(view.member.metrics):
        values = here[:, column]
        counts = np.histogram(values[np.isfinite(values)], _BINS, (0, 5))[0]
        rows.append(
            {
                "metric": metric,
                "mean": float(means[cluster, column]),
                "corpus": float(np.nanmean(view.member.scores[:, column])),
                "threshold": thresholds.get(metric),
                "documents": counts.tolist(),
            }
        )
    st.dataframe(
        rows, hide_index=True, alt="Quality of this cluster", height="content",
        column_config={
            "metric": "Metric", "mean": st.column_config.NumberColumn("Mean", format="%.2f"),
            "corpus": st.column_config.NumberColumn("Corpus", format="%.2f", help="Mean over all documents."),
            "threshold": st.column_config.NumberColumn("Limit", format="%.2f", help="Clusters below are pruned."),
            "documents": st.column_config.BarChartColumn("0 to 5", help="How the documents' scores lie.", y_min=0),
        },
    )  # fmt: skip


def _neighbours(view: Curated, cluster: int) -> None:
    centroids = documents.centroids(view.clustering)
    lengths = np.maximum(np.linalg.norm(centroids, axis=1), 1e-12)
    cosines = centroids @ centroids[cluster] / (lengths * lengths[cluster])
    order = [i for i in np.argsort(-cosines, kind="stable") if i != cluster and view.member.sizes[i]][:_NEAREST]
    found = np.array(order, np.int64)
    _table(view, found, f"neighbours.{cluster}", {"cosine": cosines[found].tolist(), **_described(view, found)})


def _all(view: Curated) -> None:
    st.caption("Choose a cluster here or on the map. A column's head sorts.")
    order = np.argsort(-view.member.sizes, kind="stable")
    order = order[view.member.sizes[order] > 0]
    means = view.member.means()
    extra = {metric: means[order, column].tolist() for column, metric in enumerate(view.member.metrics)}
    sizes = {"documents": view.member.sizes[order].tolist()}
    _table(view, order, "all", {**sizes, **_described(view, order), **extra}, 520)


def _described(view: Curated, order: Ids) -> dict[str, list[str]]:
    return {
        "keywords": [", ".join(view.keywords[i][:5]) for i in order],
        "domain": [view.domain_name(int(view.decided.labels[i])) for i in order],
    }


def _table(view: Curated, order: Ids, key: str, columns: Mapping[str, Sequence[Any]], height: int = 320) -> None:
    """Clusters to be opened by a click; of other columns than those named here the numbers are of two decimals."""
    owner, colours = view.decided.labels, _colours(view)
    table = {
        "": [charts.swatch(colours[owner[i]]) for i in order],
        "cluster": [f"c{i}" for i in order],
        **columns,
    }

    def opened() -> None:
        if (row := focus.clicked_row(key)) is not None:
            focus.choose(f"c{order[row]}")

    st.dataframe(
        table, hide_index=True, alt="Clusters", key=key, on_select=opened,
        selection_mode="single-cell", height=height,
        column_config={
            **{name: st.column_config.NumberColumn(name.capitalize(), format="%.2f", width=70) for name in columns},
            "": st.column_config.ImageColumn(width=28), "cluster": st.column_config.TextColumn("Cluster", width=52),
            "documents": st.column_config.NumberColumn("Documents", format="localized", width=76),
            "keywords": st.column_config.TextColumn("Keywords", width=165),
            "domain": st.column_config.TextColumn("Domain", width=135),
        },
    )  # fmt: skip


def _colours(view: Curated) -> tuple[str, ...]:
    return decided_colours(view.decided, view.run.config.domains.overrides)
