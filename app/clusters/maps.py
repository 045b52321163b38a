"""What a map of documents is made of: a density image of all, a sample, selection by polygon. Knows no Streamlit."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from app.charts import INK, PALETTE, PRUNED
from climb_engine.types import Ids, Vectors

Flags = npt.NDArray[np.bool_]
Box = tuple[float, float, float, float]  # left, right, bottom, top

DRAWN = 20_000
"""Documents drawn as points; the image shows all of them."""

_VIRIDIS = ("#440154", "#414487", "#2a788e", "#22a884", "#7ad151", "#fde725")
_TOLD = 10  # groups in a legend
_GROUPS = 20  # a colour each; what comes after them shares one
_STEPS = 254  # of a scale in a palette of 256, with one for what is not known
_TRIM = (2, 98)  # percentiles where a scale of colours begins and ends


@dataclass(frozen=True, eq=False)
class Atlas:
    """Where every document is."""

    points: Vectors  # (n, 2)
    rows: Ids  # the documents that are drawn
    address: str
    projected: bool  # else every document is where its cluster's centroid is
    webgl: bool = True  # whether the browser can draw many points


@dataclass(frozen=True, eq=False)
class Colouring:
    """A colour for every document: by group, or along a scale."""

    title: str
    values: npt.NDArray[Any]  # (n,) group of each document, or its number (nan: not known)
    names: tuple[str, ...] = ()  # of the groups; none: a scale
    colours: tuple[str, ...] = ()
    span: tuple[float, float] = (0.0, 1.0)  # of a scale
    address: str = ""  # of what it was made from
    legend: bool = False  # whether the map is to say which group has which colour, where no labels do

    def told(self) -> tuple[int, ...]:
        """The groups that a legend names: the first ones, or the one that has no label on the map."""
        if self.legend:
            return tuple(range(min(len(self.names), _TOLD)))
        pruned = [i for i, colour in enumerate(self.colours) if colour == PRUNED]
        return tuple(i for i in pruned if (self.values == i).any())

    def rgb(self) -> npt.NDArray[np.uint8]:
        """(n, 3) red, green and blue."""
        indices, palette = self.indices()
        return _parse(palette)[indices]

    def indices(self) -> tuple[npt.NDArray[np.uint8], tuple[str, ...]]:
        """(n,) each document's place in a palette of at most 256 colours, and the palette.

        Of a scale the last colour is for what is not known; groups that find no place share the last.
        """
        if self.names:
            colours = self.colours if len(self.colours) <= 256 else (*self.colours[:255], INK)
            return np.minimum(self.values, len(colours) - 1).astype(np.uint8), colours
        (low, high), known = self.span, np.isfinite(self.values)
        at = np.clip((np.where(known, self.values, low) - low) / ((high - low) or 1), 0, 1)
        return np.where(known, np.rint(at * _STEPS), _STEPS + 1).astype(np.uint8), (*_scale(), INK)


def by_group(title: str, codes: npt.NDArray[Any], names: Sequence[str]) -> Colouring:
    """Colour by group, the largest groups each in its own colour; codes (n,) count in ``names``."""
    order = np.argsort(-np.bincount(codes, minlength=len(names)), kind="stable")
    place = np.empty(len(names), np.int64)
    place[order] = np.minimum(np.arange(len(names)), _GROUPS)
    shown = [names[i] for i in order[:_GROUPS]] + ([f"{len(names) - _GROUPS} others"] if len(names) > _GROUPS else [])
    colours = (*PALETTE[: min(len(names), _GROUPS)], INK)
    return Colouring(title, place[codes], tuple(shown), colours[: len(shown)], legend=True)


def by_value(title: str, values: npt.NDArray[Any]) -> Colouring:
    """Colour along a scale between the percentiles that leave out what is exceptional."""
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, _TRIM) if len(known) else (0, 1)
    return Colouring(title, values, span=(float(low), float(high)))


def frame(points: Vectors) -> Box:
    """The box that holds all points (n, 2), with a margin."""
    low, high = points.min(axis=0), points.max(axis=0)
    margin = 0.06 * np.maximum(high - low, 1e-6)
    (left, bottom), (right, top) = low - margin, high + margin
    return float(left), float(right), float(bottom), float(top)


def within(points: npt.NDArray[Any], box: Box) -> npt.NDArray[np.float64]:
    """Positions (n, 2) as shares of the box, 0 to 1 across and up."""
    left, right, bottom, top = box
    return np.asarray((points - (left, bottom)) / (right - left, top - bottom))


def stepped(points: Vectors, box: Box) -> npt.NDArray[np.uint16]:
    """Positions (n, 2) in 65,536 steps across and up: half the size of float32, and a step is less than a pixel."""
    return np.rint(within(points, box) * 65_535).astype(np.uint16)


def density(points: Vectors, rgb: npt.NDArray[np.uint8], box: Box) -> str:
    """All documents as a picture (data URI): a pixel's colour is their mean, its opacity grows with their number."""
    from PIL import Image

    side = int(np.clip(1.5 * np.sqrt(len(points)), 120, 700))
    left, right, bottom, top = box
    column = np.clip((points[:, 0] - left) / (right - left) * side, 0, side - 1).astype(np.int64)
    line = np.clip((top - points[:, 1]) / (top - bottom) * side, 0, side - 1).astype(np.int64)
    pixel = line * side + column
    counts = np.bincount(pixel, minlength=side * side)
    picture = np.zeros((side * side, 4), np.uint8)
    for channel in range(3):
        sums = np.bincount(pixel, weights=rgb[:, channel], minlength=side * side)
        picture[:, channel] = sums / np.maximum(counts, 1)
    crowded = np.log1p(np.percentile(counts[counts > 0], 99))
    picture[:, 3] = np.where(counts, 70 + 150 * np.minimum(np.log1p(counts) / crowded, 1), 0)
    buffer = io.BytesIO()
    Image.fromarray(picture.reshape(side, side, 4)).save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


def inside(points: Vectors, xs: Sequence[float], ys: Sequence[float]) -> Flags:
    """Which points (n, 2) lie in a polygon, by the even-odd rule.

    Each edge is tried only on the points at its height, so the cost hardly grows with the number of edges.
    """
    found = np.zeros(len(points), dtype=bool)
    near = np.flatnonzero(_between(points[:, 0], xs) & _between(points[:, 1], ys))
    near = near[np.argsort(points[near, 1], kind="stable")]
    x, y = points[near].T.astype(float)
    odd = np.zeros(len(near), dtype=bool)
    for x0, y0, x1, y1 in zip(xs, ys, np.roll(xs, -1), np.roll(ys, -1), strict=True):
        low, high = np.searchsorted(y, (min(y0, y1), max(y0, y1)))
        here = slice(int(low), int(high))
        if high > low:
            odd[here] ^= x[here] < x0 + (y[here] - y0) * ((x1 - x0) / (y1 - y0))
    found[near] = odd
    return found


def polygons(selection: Mapping[str, Any]) -> list[tuple[list[float], list[float]]]:
    """The boxes and lassos of a chart's selection as corners across and up."""
    shapes = [(list(shape["x"]), list(shape["y"])) for shape in selection.get("lasso") or ()]
    for shape in selection.get("box") or ():
        (x0, x1), (y0, y1) = shape["x"], shape["y"]
        shapes.append(([x0, x1, x1, x0], [y0, y0, y1, y1]))
    return shapes


def selected(points: Vectors, selection: Mapping[str, Any]) -> Flags | None:
    """Which of all points (n, 2) lie in the boxes and lassos of a chart's selection; None when it has none."""
    shapes = polygons(selection)
    if not shapes:
        return None
    found: Flags = np.any([inside(points, xs, ys) for xs, ys in shapes], axis=0)
    return found


def picked(selection: Mapping[str, Any]) -> int | None:
    """The document that was clicked; None when points were picked by box or lasso, or not at all."""
    points = selection.get("points") or ()
    if not points or selection.get("lasso") or selection.get("box"):
        return None
    data = points[-1].get("customdata")
    return None if data is None else int(data)


def spread(at: Vectors, sizes: npt.NDArray[Any], names: Sequence[str], box: Box, width: int, height: int) -> Ids:
    """How far up (pixels) each label goes so that none covers another, largest first; a large number: no room."""
    left, right, bottom, top = box
    x = (at[:, 0] - left) / (right - left) * width
    y = (at[:, 1] - bottom) / (top - bottom) * height
    shifts = np.full(len(at), HIDDEN, dtype=np.int64)
    placed: list[tuple[float, float, float]] = []
    for i in np.argsort(-sizes, kind="stable"):
        half = 3.6 * len(names[i]) + 6
        for shift in (0, 16, -16, 32, -32):
            if all(abs(x[i] - px) > half + other or abs(y[i] + shift - py) > 15 for px, py, other in placed):
                placed.append((x[i], y[i] + shift, half))
                shifts[i] = shift
                break
    return shifts


HIDDEN = 10_000
"""The shift of a label that finds no room."""


def _parse(colours: Sequence[str]) -> npt.NDArray[np.uint8]:
    return np.array([[int(colour[i : i + 2], 16) for i in (1, 3, 5)] for colour in colours], np.uint8)


def _scale() -> list[str]:
    stops, at = _parse(_VIRIDIS), np.linspace(0, len(_VIRIDIS) - 1, _STEPS + 1)
    mixed = np.column_stack([np.interp(at, np.arange(len(stops)), stops[:, i]) for i in range(3)])
    return ["#" + bytes(one).hex() for one in mixed.astype(np.uint8)]


def _between(values: npt.NDArray[Any], ends: Sequence[float]) -> Flags:
    return np.asarray((values >= min(ends)) & (values <= max(ends)))
