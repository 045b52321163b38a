"""The map of all documents: where they are, how they are coloured, what is searched, and what was selected on it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import streamlit as st

from app import charts, documents, session
from app.clusters import drawing, finding, maps, peek
from app.clusters.finding import Hits
from app.clusters.maps import Atlas
from app.colours import decided_colours
from app.components import everypoint
from app.curation import Curated
from app.overview.panels import best_mixture
from app.words import count, plain, plural
from climb_engine.console import seconds_text
from climb_engine.curate.projection import principal_plane, stratified_rows
from climb_engine.jobs import start
from climb_engine.types import FloatArray
from climb_engine.workspace import digest_of

EVERY = 2_000_000
"""Documents up to which each can be drawn as a point: ten megabytes to send, and what a browser's memory takes."""


def atlas(view: Curated) -> Atlas:
    """The projection; while there is none, the principal plane of the centroids."""
    made = view.run.artifact("projection")
    if made is None:
        return _by_centroid(view.clustering, view.member)
    return _projected(str(made.folder), view.member)


@st.cache_resource(max_entries=4, show_spinner=False)
def _by_centroid(clustering: str, _member: documents.Membership) -> Atlas:
    plane = principal_plane(documents.centroids(clustering))
    order = np.lexsort((_member.distances, _member.clusters))
    _, first = np.unique(_member.clusters[order], return_index=True)
    return Atlas(plane[_member.clusters], np.sort(order[first]).astype(np.int64), clustering, False)


@st.cache_resource(max_entries=4, show_spinner="Reading the map")
def _projected(projection: str, _member: documents.Membership) -> Atlas:
    rows = stratified_rows(_member.clusters, maps.DRAWN, seed=0, least=20)
    return Atlas(documents.positions(projection), rows, projection, True)


def toolbar(view: Curated) -> tuple[maps.Colouring, Hits]:
    """Colour by, and search: the colouring, and the documents that were found."""
    mixture = _weights(view)
    choices = ["domain", "cluster", "source", *view.member.metrics, "length", "status"]
    choices += ["weight"] if mixture is not None else []
    with st.container(horizontal=True, vertical_alignment="top", key="tools", gap="small"):
        colour = st.selectbox("Colour by", choices, key="colour", bind="query-params", width=150)
        _mode(view)
        how = st.segmented_control(
            "Search", ["text", "meaning"], default="text", key="by", required=True, bind="query-params", width=150,
            help="Text: documents that contain the words. Meaning: documents whose vectors are nearest.",
        )  # fmt: skip
        words = st.text_input(
            "Search for", key="find", bind="query-params", max_chars=200, placeholder="words", icon=":material/search:",
        )  # fmt: skip
    return _colouring(view, colour or "domain", mixture), finding.search(view, how or "text", (words or "").strip())


def draw(view: Curated, place: Atlas, colouring: maps.Colouring, hits: Hits) -> None:
    """The map in the mode that was chosen, and what is to be seen on it."""
    if everypoint.without_webgl():
        st.info("WebGL is off in this browser: showing the density image.", icon=":material/visibility_off:")
        place = drawing.without_webgl(place)
    n, drawn = len(place.points), len(place.rows)
    if place.webgl and place.projected and _every(n):
        drawing.draw_every(view, place, colouring, hits.rows)
        peek.tip(view, place, colouring)
        shown = f"{plural(n, 'document')}, each a point ({_size(4 * n)} of positions, {_size(n)} of colours)"
        hands = "Drag to move, the wheel zooms; the lasso is at the top right, or drag with Shift."
    else:
        drawing.draw_sample(view, place, colouring, hits.rows)
        peek.tip(view, place, colouring, f".st-key-{drawing.SAMPLED}")
        what = (
            f"{drawn:,} of {n:,} documents are drawn as points" if place.projected else f"{drawn:,} clusters are drawn"
        )
        shown = f"{what}; the shading and every count are of all"
        hands = "Lasso and box are at the top right of the map; the wheel zooms."
    st.caption(
        f"{shown}. Rest on a point to read it, click it for its cluster. {hands}",
        help="Neighbours on the map are alike. Distances between far groups say little, and the axes mean nothing.",
    )


def missing(view: Curated, living: bool) -> None:
    """While there is no projection: what is shown instead, and the job that makes it."""
    n = len(view.member.clusters)
    fitted = min(n, view.run.config.projection.documents)
    seconds = 20 + 0.0008 * fitted + 0.00025 * (n - fitted)
    with st.container(border=True, horizontal=True, vertical_alignment="center", key="no-projection"):
        damage = view.run.damage("projection")
        what = f"damaged: {damage}" if damage else "not made yet"
        st.markdown(
            f"**The map of single documents is {plain(what)}.** Until then every cluster stands where its centroid is; "
            "all else works."
        )
        about = f"{view.run.config.projection.method.upper()} of {n:,} documents, about {seconds_text(seconds)}."
        if st.button("Make the map", key="project", icon=":material/map:", disabled=living, help=about):
            with session.explained():
                start(view.run.workspace, ("run", "--until", "projection"))
                st.rerun()


def _weights(view: Curated) -> FloatArray | None:
    """The weight over natural share (m,) of each domain in the chosen or best mixture."""
    search = session.read_search(view.run)
    weights = best_mixture(search, search.outcome())[0] if search and search.trials else None
    if search is None or weights is None:
        return None
    share = np.asarray(search.space.share)
    return np.asarray(np.divide(weights, share, out=np.ones(len(share)), where=share > 0))


def _mode(view: Curated) -> None:
    n = len(view.member.clusters)
    if view.run.artifact("projection") is None:
        return
    about = "Sample: shading of all documents with some of them as points. Every: each document is a point."
    if n > EVERY:
        about = f"Each of {count(n)} documents as a point would be too much for a browser; up to {count(EVERY)} can be drawn. The shading shows them all."  # noqa: E501
    st.segmented_control(
        "Points", ["sample", "every"], default="sample", key="points", required=True, bind="query-params", width=140,
        disabled=n > EVERY, help=about, on_change=everypoint.ask_again,
    )  # fmt: skip


def _size(bytes_: int) -> str:
    return f"{bytes_ / 1e6:.1f} MB" if bytes_ >= 1e6 else f"{max(1, bytes_ // 1000)} kB"


def _every(n: int) -> bool:
    return st.session_state.get("points") == "every" and n <= EVERY


def _colouring(view: Curated, colour: str, mixture: FloatArray | None) -> maps.Colouring:
    weights = mixture.tolist() if mixture is not None and colour == "weight" else None
    quality = str(view.run.needed("quality").folder)
    address = digest_of([colour, view.corpus, quality, drawing.decisions(view), weights])
    return _coloured(address, view, colour, mixture)


@st.cache_resource(max_entries=8, show_spinner=False)
def _coloured(address: str, _view: Curated, _colour: str, _mixture: FloatArray | None) -> maps.Colouring:
    return replace(_colours(_view, _colour, _mixture), address=address)


def _colours(view: Curated, colour: str, mixture: FloatArray | None) -> maps.Colouring:
    clusters, member = view.member.clusters, view.member
    domains = view.decided.labels[clusters]
    if colour == "cluster":
        return maps.Colouring(
            colour, clusters % len(charts.PALETTE), tuple(f"clusters c{i}, …" for i in range(len(charts.PALETTE))),
            charts.PALETTE,
        )  # fmt: skip
    if colour == "source":
        return maps.by_group(colour, *documents.sources(view.corpus))
    if colour in member.metrics:
        return maps.by_value(colour, member.scores[:, member.metrics.index(colour)])
    if colour == "length":
        return maps.by_value("bytes, log10", np.log10(np.maximum(1, documents.lengths(view.corpus))))
    if colour == "status":
        decided = np.array([_status(one.kept, one.reason) for one in view.decided.decisions])
        return maps.Colouring(
            colour,
            decided[clusters],
            ("kept", "pruned", "overridden"),
            (charts.PALETTE[4], charts.PRUNED, "#e0533d"),
            legend=True,
        )
    if colour == "weight" and mixture is not None:
        ratio = np.append(np.log2(np.maximum(mixture, 2.0**-6)), np.nan)[domains]  # -1, pruned, is the last
        return maps.by_value("weight / natural, log2", ratio)
    names = (*view.decided.names, "pruned")
    colours = decided_colours(view.decided, view.run.config.domains.overrides)
    return maps.Colouring("domain", np.where(domains < 0, len(names) - 1, domains), names, colours)


def _status(kept: bool, reason: str) -> int:
    return 2 if reason.startswith("override") else int(not kept)
