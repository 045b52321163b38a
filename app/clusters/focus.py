"""What the page is about at the moment: a cluster, a document, an area of the map; and the page's address for it."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from app.clusters import maps
from app.components import everypoint
from app.curation import Curated
from climb_engine.workspace import digest_of

SIDES = ("cluster", "selection", "found")
"""What the panel beside the map can show."""

_OF_A_RUN = ("area", "document", "ringed", "cluster.told", "side")


def begin(run: str) -> None:
    """Forget what another run's page was about."""
    if st.session_state.get("focus.run", run) != run:
        for key in _OF_A_RUN:
            st.session_state.pop(key, None)
    st.session_state["focus.run"] = run


def choose(cluster: str) -> None:
    """Look at a cluster, and show it on the map."""
    st.session_state["cluster"] = cluster
    chosen()


def chosen() -> None:
    """The cluster was not chosen on the map: show there where it is."""
    cluster = st.session_state.get("cluster")
    st.session_state["ringed"] = int(cluster[1:]) if cluster else None
    st.session_state["side"] = "cluster"
    st.session_state.pop("document", None)


def clear_area() -> None:
    """Forget what was selected on the map."""
    st.session_state.pop("area", None)
    st.session_state["side"] = "cluster"


def take_selection(view: Curated) -> None:
    """Turn a new click on the map into the cluster, and a new box or lasso into the area, before widgets are drawn.

    A changed figure clears the chart's own selection, so an empty one says nothing.
    """
    told = st.session_state.get(everypoint.KEY) or {}
    selection = told.get("selection") or (st.session_state.get("map") or {}).get("selection") or {}
    shapes = {kind: list(selection.get(kind) or ()) for kind in ("box", "lasso")}
    row = maps.picked(selection)
    mark = digest_of([shapes, row, selection.get("at")])
    if (row is None and not any(shapes.values())) or mark == st.session_state.get("taken"):
        return
    st.session_state["taken"] = mark
    if row is None:
        st.session_state["area"] = shapes
        st.session_state["side"] = "selection"
    elif row < len(view.member.clusters):
        st.session_state.pop("ringed", None)
        st.session_state["document"] = row
        st.session_state["cluster"] = f"c{view.member.clusters[row]}"
        st.session_state["side"] = "cluster"


def from_address(options: Sequence[str]) -> None:
    """Take the cluster from the page's address where that was changed: by a link, or by the browser's Back.

    Streamlit's own binding would put the label with the keywords there.
    """
    address, told = st.query_params.get("cluster"), st.session_state.get("cluster.told")
    if address != told and (address or "cluster" in st.session_state):
        st.session_state["cluster"] = address
    elif "cluster" not in st.session_state:  # back from another page
        st.session_state["cluster"] = told
    if st.session_state["cluster"] not in options:
        st.session_state["cluster"] = None


def to_address() -> None:
    """Put the cluster into the page's address."""
    cluster = st.session_state.get("cluster")
    if cluster:
        st.query_params["cluster"] = cluster
    else:
        st.query_params.pop("cluster", None)
    st.session_state["cluster.told"] = cluster


def clicked_row(table: str) -> int | None:
    """The row of a table of which a cell was clicked."""
    cells = st.session_state[table]["selection"]["cells"]
    return int(cells[0][0]) if cells else None
