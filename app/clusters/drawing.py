"""The two ways to draw the map: an image of all documents with a sample as points, or every document as a point."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import streamlit as st

from app import charts
from app.clusters import maps
from app.colours import decided_colours
from app.components.everypoint import Stock, every_point, probe
from app.curation import Curated
from climb_engine.curate.projection import medians
from climb_engine.types import FloatArray, Ids, Vectors
from climb_engine.workspace import digest_of

HEIGHT = 600  # pixels
SAMPLED = "sampled"  # what Plotly's map is in
_NARROW = 480  # pixels: labels keep clear of each other on a map at least so wide
_RINGED = 400  # documents of a search or a cluster
_SHAPES = 2_000  # points of a map without WebGL
_NAME = 34  # characters of a domain's name
_OPTIONS = {"displayModeBar": True, "scrollZoom": True, "modeBarButtonsToRemove": ["autoScale2d", "toImage"]}


def draw_sample(view: Curated, place: maps.Atlas, colouring: maps.Colouring, hits: Ids) -> None:
    """Plotly's figure. It changes as seldom as can be, since with it the chart loses its zoom and its selection."""
    ringed, dark = st.session_state.get("ringed"), st.context.theme.type == "dark"
    marked = [hits[:_RINGED].tolist(), ringed]
    key = digest_of([dark, place.address, place.webgl, colouring.address, decisions(view), *marked])
    with st.container(gap=None, key=SAMPLED):
        if place.webgl:
            probe()
        st.plotly_chart(
            _figure(key, view, place, colouring, hits), key="map", on_select="rerun",
            selection_mode=("points", "box", "lasso"), config=_OPTIONS, alt=_alt(colouring),
        )  # fmt: skip


def without_webgl(place: maps.Atlas) -> maps.Atlas:
    """The same map with so few points that a browser can draw them as shapes."""
    return replace(place, rows=place.rows[:: 1 + len(place.rows) // _SHAPES], webgl=False)


def draw_every(view: Curated, place: maps.Atlas, colouring: maps.Colouring, hits: Ids) -> None:
    """Our own component: positions and colours go to the browser once each, the rest with every change."""
    box = _box(place.address, place)
    colours, palette = _colours(colouring.address, colouring)
    marked = [row for _, rows in _marked(view, place, hits) for row in rows.tolist()]
    clicked = st.session_state.get("document")
    shapes = maps.polygons(st.session_state.get("area") or {})
    every_point(
        _positions(place.address, place, box),
        colours,
        {
            "box": box,
            "height": HEIGHT,
            "alt": _alt(colouring),
            "title": colouring.title,
            "palette": palette,
            "names": colouring.names[: len(palette)],
            "scale": None if colouring.names else colouring.span,
            "legend": [(colouring.names[i], colouring.colours[i]) for i in _legend(colouring.address, colouring)],
            "labels": _every_label(digest_of([place.address, decisions(view)]), view, place, box),
            "marked": marked + ([] if clicked is None else [clicked]),
            "shapes": [maps.within(np.column_stack([xs, ys]), box).tolist() for xs, ys in shapes],
        },
    )


def _alt(colouring: maps.Colouring) -> str:
    return f"Map of the documents, coloured by {colouring.title}"


def decisions(view: Curated) -> str:
    """The address of what is decided on the clusters, names included."""
    decided = [(one.kept, one.reason) for one in view.decided.decisions]
    colours = decided_colours(view.decided, view.run.config.domains.overrides)
    return digest_of([view.clustering, list(view.decided.names), view.decided.labels.tolist(), decided, colours])


@st.cache_resource(max_entries=8, show_spinner=False)
def _box(address: str, _place: maps.Atlas) -> maps.Box:  # noqa: ARG001
    return maps.frame(_place.points)


@st.cache_resource(max_entries=2, show_spinner=False)
def _positions(address: str, _place: maps.Atlas, _box: maps.Box) -> Stock:
    return Stock(digest_of(["positions", address]), maps.stepped(_place.points, _box).tobytes())


@st.cache_resource(max_entries=8, show_spinner=False)
def _colours(address: str, _colouring: maps.Colouring) -> tuple[Stock, tuple[str, ...]]:
    indices, palette = _colouring.indices()
    return Stock(digest_of(["colours", address]), indices.tobytes()), palette


@st.cache_resource(max_entries=8, show_spinner=False)
def _legend(address: str, _colouring: maps.Colouring) -> tuple[int, ...]:  # noqa: ARG001
    return _colouring.told()


@st.cache_resource(max_entries=8, show_spinner="Drawing the map")
def _figure(key: str, _view: Curated, _place: maps.Atlas, _colouring: maps.Colouring, _hits: Ids) -> Any:  # noqa: ARG001
    box = _box(_place.address, _place)
    image = _image(digest_of([_place.address, _colouring.address]), _place, _colouring, box) if _place.projected else ""
    scale = None if _colouring.names else (_colouring.title, *_colouring.span)
    labels = _labels(digest_of([_place.address, decisions(_view)]), _view, _place, box)
    marked = [(name, _place.points[rows]) for name, rows in _marked(_view, _place, _hits)]
    figure = charts.document_map(
        _groups(_place, _colouring), box, image, labels, marked, scale, _size(_place), HEIGHT,
        st.context.theme.type == "dark", {_colouring.names[i] for i in _colouring.told()},
    )  # fmt: skip
    return figure if _place.webgl else _as_shapes(figure)


def _as_shapes(figure: Any) -> Any:
    import plotly.graph_objects as go

    return go.Figure(
        [go.Scatter({**trace.to_plotly_json(), "type": "scatter"}) for trace in figure.data], figure.layout
    )


@st.cache_resource(max_entries=8, show_spinner=False)
def _image(key: str, _place: maps.Atlas, _colouring: maps.Colouring, _box: maps.Box) -> str:  # noqa: ARG001
    return maps.density(_place.points, _colouring.rgb(), _box)


def _size(place: maps.Atlas) -> float:
    """Pixels across a point: the more there are, the smaller."""
    if not place.projected:
        return 9
    return 6 if len(place.rows) < 2_000 else 4.5 if len(place.rows) < 8_000 else 3


def _groups(place: maps.Atlas, colouring: maps.Colouring) -> list[tuple[str, str | FloatArray, Vectors, Ids]]:
    values = colouring.values[place.rows]
    rows32 = place.rows.astype(np.int32)
    if not colouring.names:
        return [(colouring.title, values.astype(np.float32), place.points[place.rows], rows32)]
    groups: list[tuple[str, str | FloatArray, Vectors, Ids]] = []
    for group, (name, colour) in enumerate(zip(colouring.names, colouring.colours, strict=True)):
        mine = values == group
        if mine.any():
            groups.append((name, colour, place.points[place.rows[mine]], rows32[mine]))
    return groups


@st.cache_resource(max_entries=8, show_spinner=False)
def _domains(key: str, _view: Curated, _place: maps.Atlas) -> tuple[Vectors, Ids]:  # noqa: ARG001
    """Where each domain's middle is (m, 2), and its documents (m,)."""
    names, labels = _view.decided.names, _view.decided.labels[_view.member.clusters]
    return medians(_place.points, labels, len(names)), np.bincount(labels[labels >= 0], minlength=len(names))


def _labels(key: str, view: Curated, place: maps.Atlas, box: maps.Box) -> list[tuple[str, float, float, int]]:
    names = view.decided.names
    at, sizes = _domains(key, view, place)
    shifts = maps.spread(at, sizes, names, box, _NARROW, HEIGHT)
    found = zip(names, at.tolist(), shifts.tolist(), strict=True)
    return [(name, x, y, shift) for name, (x, y), shift in found if shift != maps.HIDDEN]


@st.cache_resource(max_entries=8, show_spinner=False)
def _every_label(
    key: str, _view: Curated, _place: maps.Atlas, _box: maps.Box
) -> list[tuple[str, float, float, int]]:  # fmt: skip
    """Domains, then clusters by their first keywords, the largest of each first."""
    member = _view.member
    middles = medians(_place.points, member.clusters, len(member.sizes))
    words = [", ".join(one[:2]) or f"c{i}" for i, one in enumerate(_view.keywords)]
    found = []
    for level, names, (at, sizes) in (
        (0, _view.decided.names, _domains(key, _view, _place)),
        (1, words, (middles, member.sizes)),
    ):
        places = np.round(maps.within(at, _box), 4).tolist()
        order = np.argsort(-sizes, kind="stable")
        found += [(_cut(names[i]), *places[i], level) for i in order if sizes[i]]
    return found


def _cut(name: str) -> str:
    return name if len(name) <= _NAME else name[: _NAME - 1] + "…"


def _marked(view: Curated, place: maps.Atlas, hits: Ids) -> Sequence[tuple[str, Ids]]:
    """Documents that are ringed: what was found, and the cluster that was not chosen on the map."""
    marked = [("found", hits[:_RINGED])] if len(hits) else []
    ringed = st.session_state.get("ringed")
    if ringed is not None:
        rows = np.flatnonzero(view.member.clusters == ringed)[:_RINGED]
        marked.append(("cluster", rows if place.projected else rows[:1]))
    return marked
