"""What is known of one cluster, its documents, and the buttons that keep, prune or move it; or the list of all."""

from __future__ import annotations

import numpy as np
import streamlit as st

from app import charts, documents, session
from app.clusters import atlas
from app.curation import Curated, consider
from app.words import plain, plural
from climb_engine.types import Ids

FOLD = 400  # characters of a document that are shown at once
_WHOLE = 20_000  # characters of a document that are shown at most
_READ = 5  # documents at a time
_BINS = 20
_NEAREST = 8
_KINDS = {
    "central": "Nearest to the cluster's centroid.",
    "random": "Drawn by lot; shuffle for others.",
    "borderline": "Farthest from the centroid: what hardly belongs here.",
    "worst": "Lowest mean of the quality metrics.",
}


def panel(view: Curated, hits: Ids) -> None:
    """The chosen cluster in full, or all clusters to choose from."""
    options = [f"c{i}" for i in np.flatnonzero(view.member.sizes)]
    if st.session_state.get("cluster") not in options:
        st.session_state["cluster"] = None
    with st.container(horizontal=True, vertical_alignment="bottom", key="chooser"):
        chosen = st.selectbox(
            "Cluster", options, index=None, key="cluster", bind="query-params", placeholder="All clusters",
            on_change=_rings,
        )  # fmt: skip
        at = options.index(chosen) if chosen else -1
        for words, step, key in (("Previous", -1, "J"), ("Next", 1, "L")):
            icon = ":material/chevron_left:" if step < 0 else ":material/chevron_right:"
            other = options[max(0, at + step) % len(options)]
            st.button(
                "", key=words.lower(), icon=icon, shortcut=key, help=f"{words} cluster", on_click=choose, args=(other,)
            )
    if chosen:
        _cluster(view, int(chosen[1:]))
    else:
        _all(view)
    if len(hits):
        with st.expander(f"Found: the first {min(_READ, len(hits))} of {len(hits):,}", key="found"):
            _read(view, [int(row) for row in hits[:_READ]], "hit")


def choose(cluster: str) -> None:
    """Look at another cluster, and show it on the map."""
    st.session_state["cluster"] = cluster
    _rings()


def _rings() -> None:
    cluster = st.session_state.get("cluster")
    atlas.ring(int(cluster[1:]) if cluster else None)
    st.session_state.pop("document", None)


def _cluster(view: Curated, cluster: int) -> None:
    decision, size = view.decided.decisions[cluster], int(view.member.sizes[cluster])
    with st.container(horizontal=True, vertical_alignment="center"):
        st.image(charts.swatch(decision.domain), width=14)
        st.subheader(plain(view.domain_name(decision.domain)), anchor=False, width="content")
        st.badge("kept" if decision.kept else "pruned", color="green" if decision.kept else "gray")
    share = size / len(view.member.clusters)
    st.caption(f"{plural(size, 'document')}, {share:.1%} of the corpus. {plain(_reason(view, cluster))}")
    st.caption(plain(" · ".join(view.keywords[cluster])))
    _buttons(view, cluster)
    sort = st.segmented_control(
        "Read", ["documents", "quality", "neighbours"], default="documents", key="look", required=True,
        label_visibility="collapsed", wrap=True,
    )  # fmt: skip
    {"documents": _documents, "quality": _quality, "neighbours": _neighbours}[sort or "documents"](view, cluster)


def _reason(view: Curated, cluster: int) -> str:
    decision = view.decided.decisions[cluster]
    home = decision.automatic_domain
    machine = f"kept in {view.decided.automatic_names[home]}" if decision.automatic_kept else "pruned"
    if decision.reason.startswith("override"):
        return f"{decision.reason}; by the thresholds alone: {machine}."
    return "No threshold speaks against it." if decision.kept else f"Pruned: {decision.reason}."


def _buttons(view: Curated, cluster: int) -> None:
    decision, name = view.decided.decisions[cluster], f"c{cluster}"
    why = st.text_input("Why", key="why", placeholder="why (for the record)", label_visibility="collapsed")
    with st.container(horizontal=True, key="decide"):
        keep = st.button(
            "Keep", key="keep", icon=":material/check:", shortcut="K", disabled=decision.kept, help=f"Keep {name}."
        )
        prune = st.button(
            "Prune", key="prune", icon=":material/content_cut:", shortcut="P", disabled=not decision.kept,
            help=f"Leave {name} out of every domain.",
        )  # fmt: skip
        with st.popover("Move", icon=":material/drive_file_move:", key="move"):
            known = st.selectbox("To domain", view.decided.names, index=None, key="to")
            domain = st.text_input("or a new one", key="new-domain", placeholder="lower-case-name") or known
            move = st.button(f"Move {name}", key="move-there", disabled=not domain)
    action = "keep" if keep else "prune" if prune else "move" if move else ""
    if action:
        with session.explained():
            consider(view, action, cluster, (domain or "") if move else "", why or "")
            st.rerun()


def _documents(view: Curated, cluster: int) -> None:
    clicked = st.session_state.get("document")
    if clicked is not None and clicked < len(view.member.clusters) and view.member.clusters[clicked] == cluster:
        st.caption("**Clicked**")
        _read(view, [clicked], "clicked")
    with st.container(horizontal=True, vertical_alignment="center"):
        kind = st.segmented_control("Samples", list(_KINDS), default="central", key="kind", required=True,
                                    label_visibility="collapsed", wrap=True)  # fmt: skip
        if kind == "random" and st.button("Shuffle", key="shuffle", type="tertiary", icon=":material/shuffle:"):
            st.session_state["draw"] = st.session_state.get("draw", 0) + 1
    kind = kind or "central"
    st.caption(_KINDS[kind])
    _read(view, documents.samples(view.member, cluster, kind, _READ, st.session_state.get("draw", 0)), kind)


def _read(view: Curated, rows: list[int] | tuple[int, ...], kind: str) -> None:
    """Documents as plain text, never as markup: the first characters, and the rest folded."""
    for document in documents.texts(view.corpus, tuple(rows)):
        facts = [f"document {document.row:,}", document.source[:80], f"{len(document.text):,} characters"]
        known = view.member.scores[document.row][np.isfinite(view.member.scores[document.row])]
        facts += [f"mean score {known.mean():.1f}"] if len(known) else []
        st.caption(plain(" · ".join(facts)))
        st.code(document.text[:FOLD] + ("…" if len(document.text) > FOLD else ""), language=None, wrap_lines=True)
        if len(document.text) > FOLD:
            rest = st.expander("The whole document", key=f"{kind}.{document.row}", on_change="rerun")
            if rest.open:
                cut = f"\n… cut at {_WHOLE:,} characters" if len(document.text) > _WHOLE else ""
                rest.code(document.text[:_WHOLE] + cut, language=None, wrap_lines=True, height=400)


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
    _table(view, np.array(order, np.int64), f"neighbours.{cluster}", {"cosine": [float(cosines[i]) for i in order]})


def _all(view: Curated) -> None:
    st.caption("Choose a cluster here or on the map. A column's head sorts.")
    order = np.argsort(-view.member.sizes, kind="stable")
    order = order[view.member.sizes[order] > 0]
    means = view.member.means()
    extra = {metric: means[order, column].tolist() for column, metric in enumerate(view.member.metrics)}
    _table(view, order, "all", extra, 520)


def _table(view: Curated, order: Ids, key: str, extra: dict[str, list[float]], height: int = 320) -> None:
    owner = view.decided.labels
    table = {
        "": [charts.swatch(int(owner[i])) for i in order],
        "cluster": [f"c{i}" for i in order],
        "documents": [int(view.member.sizes[i]) for i in order],
        "keywords": [", ".join(view.keywords[i][:5]) for i in order],
        **extra,
        "domain": [view.domain_name(int(owner[i])) for i in order],
    }

    def chosen() -> None:
        rows = st.session_state[key]["selection"]["rows"]
        if rows:
            choose(f"c{order[rows[0]]}")

    st.dataframe(
        table, hide_index=True, alt="Clusters", key=key, on_select=chosen, selection_mode="single-row", height=height,
        column_config={
            "": st.column_config.ImageColumn(width=30), "cluster": st.column_config.TextColumn("Cluster", width=60),
            "documents": st.column_config.NumberColumn("Documents", format="localized", width=80),
            "keywords": st.column_config.TextColumn("Keywords", width="medium"), "domain": "Domain",
            **{name: st.column_config.NumberColumn(name.capitalize(), format="%.2f", width=70) for name in extra},
        },
    )  # fmt: skip
