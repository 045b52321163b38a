"""Merging: the tree of the kept clusters and where it is cut, and merges, splits and names by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import streamlit as st

from app.colours import decided_colours
from app.curate import charts, state
from app.curate.dendrogram import LEAVES, short_tree
from app.curate.draft import Draft
from app.curate.state import Considered
from app.curation import Curated
from app.words import plain, plural
from climb_engine.config import DomainsConfig, Override
from climb_engine.curate.merging import MOST_DOMAINS, Cut
from climb_engine.types import ClimbError


def merge(view: Curated) -> Considered:
    """The part of the page; what it decides on the clusters."""
    run, draft = view.run, state.draft(view.run)
    left, right = st.columns([62, 38], gap="medium")
    with right:
        draft = draft.with_knobs(_number(view, draft), run.config)
    state.put(run, draft)
    found = state.consider(view, draft)
    with left:
        _tree(found)
    with right:
        _cuts(found)
    st.subheader("By hand", anchor=False)
    columns = st.grid(3, min_column_width=260, gap="small", key="merge.forms")
    for form in (_merge, _split, _rename):
        with columns.cell(), st.container(border=True, height="stretch"):
            form(found)
    return found


def _number(view: Curated, draft: Draft) -> dict[str, Any]:
    edition, section = state.edition(view.run), view.run.config.domains
    spec = DomainsConfig.model_fields
    wanted = int(draft.knobs.get("n_domains", section.n_domains))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        n = st.number_input(
            "Number of domains", 0, None, wanted, 1, key=f"merge.n.{edition}", help=spec["n_domains"].description
        )
        distance = st.number_input(
            "or merge up to distance", 0.01, None, float(draft.knobs.get("merge_distance", section.merge_distance)),
            0.05, format="%g", key=f"merge.distance.{edition}", disabled=n > 0, help=spec["merge_distance"].description,
        )  # fmt: skip
    return {"n_domains": n, "merge_distance": distance}


def _cuts(found: Considered) -> None:
    cuts, chosen = state.merges(found), len(found.decided.automatic_names)
    if not cuts:
        st.caption("There are too few kept clusters to merge.")
        return
    best = max((cut for cut in cuts if np.isfinite(cut.silhouette)), key=lambda cut: cut.silhouette, default=None)
    said = f"The silhouette is highest at {best.domains} domains ({best.silhouette:.2f})." if best else ""
    st.caption(f"Of the centroids of the kept clusters, each counting once. {said}")
    columns = {name: np.array([getattr(cut, name) for cut in cuts]) for name in Cut.__dataclass_fields__}
    figure = charts.cut_curves(**columns, chosen=chosen)
    st.plotly_chart(
        figure, key="cuts", config={"displayModeBar": False},
        alt="Ward distance, silhouette and spread for each number of domains, with the chosen number",
    )  # fmt: skip
    with st.expander("As a table", key="cuts.table"):
        st.dataframe(
            columns, hide_index=True, alt="Numbers of domains compared", height=260,
            column_config={
                "domains": "Domains",
                "distance": st.column_config.NumberColumn(
                    "Distance", format="%.3f", help="Of the last merge made for it. A large step up is a good cut."
                ),
                "silhouette": st.column_config.NumberColumn("Silhouette", format="%.3f", help="Highest is best."),
                "within": st.column_config.NumberColumn(
                    "Within", format="%.3f", help="Mean squared distance of a cluster to its domain's mean."
                ),
                "between": st.column_config.NumberColumn(
                    "Between", format="%.3f", help="Mean squared distance of the domains' means to the mean of all."
                ),
            },
        )  # fmt: skip
        st.caption(f"Up to {MOST_DOMAINS} domains.")


def _tree(found: Considered) -> None:
    decided = found.decided
    if len(decided.leaves) < 2:
        st.caption("There is but one kept cluster, and so no tree.")
        return
    words = found.clusters.keywords
    tree = short_tree(decided.linkage, decided.leaves, decided.labels, found.clusters.sizes, words, decided.cut[0])
    colours = decided_colours(decided, found.config.domains.overrides)
    figure = charts.dendrogram(tree, decided.cut, decided.names, len(decided.automatic_names), colours)
    kept, decisions = len(decided.leaves), int((decided.labels >= 0).sum())
    differs = f" Of all clusters {decisions:,} are kept once the decisions by hand are in."
    st.markdown(
        f"**{plural(kept, 'cluster')} kept by the limits, merged by Ward's method.**{differs * (decisions != kept)}",
        help="Read from left to right: clusters that join early are alike. Joins left of the dashed line were made, in "
        "the colour of their domain; those right of it were not. Overrides come after the cut.",
    )
    st.plotly_chart(
        figure, key="tree", config={"displayModeBar": False},
        alt=f"Merge tree of the kept clusters, cut into {len(decided.automatic_names)} domains",
    )  # fmt: skip
    if len(decided.leaves) > LEAVES:
        st.caption(f"The last {LEAVES} branches are drawn; most stand for several clusters.")


# ---- by hand -------------------------------------------------------------------------------------------------------


def _merge(found: Considered) -> None:
    st.markdown("**Merge two domains**")
    one = st.selectbox("Merge", found.decided.names, index=None, key="merge.one", placeholder="a domain")
    others = [name for name in found.decided.names if name != one]
    into = st.selectbox("into", others, index=None, key="merge.into", placeholder="another")
    if st.button("Merge", key="merge.add", disabled=not (one and into), icon=":material/merge:"):
        _add(found, {"action": "merge", "domain": one, "to": into}, ("merge.one", "merge.into"))


def _split(found: Considered) -> None:
    st.markdown("**Split a domain or a cluster**")
    clusters = [f"c{i}" for i in np.flatnonzero(found.clusters.sizes > 1)]
    what = st.selectbox(
        "Split", [*found.decided.names, *clusters], index=None, key="split.what", placeholder="a domain, or a cluster",
        help="A domain is split between its clusters, at once. A cluster is split by k-means when the run goes on.",
    )  # fmt: skip
    parts = st.number_input("into", 2, 1000, 2, 1, key="split.parts", format="%d")
    if st.button("Split", key="split.add", disabled=not what, icon=":material/call_split:"):
        assert what is not None
        subject = {"domain": what} if what in found.decided.names else {"cluster": int(what[1:])}
        _add(found, {"action": "split", "parts": parts, **subject}, ("split.what",))


def _rename(found: Considered) -> None:
    st.markdown("**Rename a domain**")
    name = st.selectbox("Rename", found.decided.names, index=None, key="rename.name", placeholder="a domain")
    to = st.text_input("to", key="rename.to", placeholder="lower-case-name", max_chars=64)
    if st.button("Rename", key="rename.add", disabled=not (name and to), icon=":material/edit:"):
        _add(found, {"action": "rename", "domain": name, "to": to}, ("rename.name", "rename.to"))


def _add(found: Considered, values: dict[str, Any], widgets: tuple[str, ...]) -> None:
    """Put an override into the draft if it can be; else say why, and leave the draft."""
    try:
        override = Override.parse(values, values["action"])
    except ClimbError as error:
        st.error(plain(str(error)))
        return
    draft = replace(found.draft, overrides=(*found.draft.overrides, override))
    fault = state.consider(found.view, draft).fault
    if fault and not found.fault:
        st.error(plain(fault))
        return
    state.put(found.run, draft)
    for key in widgets:
        st.session_state.pop(key, None)
    st.rerun()
