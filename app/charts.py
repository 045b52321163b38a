"""Figures: arrays in, ``go.Figure`` out. Knows no Streamlit; the page's theme gives fonts and backgrounds."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING
from zlib import crc32

import numpy as np

from climb_engine.types import FloatArray, Ids, Vectors

if TYPE_CHECKING:
    import plotly.graph_objects as go

PALETTE = (
    *("#5a74b7", "#d2bf47", "#95c0fa", "#b95728", "#59a28a", "#904963", "#679fc9", "#7fcfc2", "#678368", "#c79f36"),
    *("#6cb87d", "#62879e", "#c27b08", "#a14129", "#445cb1", "#939cfc", "#056e8b", "#87d38e", "#5a8bda", "#7bb4be"),
)
"""20 muted colours, chosen far apart for normal, red-blind and green-blind eyes at once; neighbours are far apart."""

PRUNED = "#9aa0aa"
ACCENT = "#4f7fcf"
INK = "#8a919e"  # lines and ticks that must show on light and on dark
_FAINT = "rgba(138, 145, 158, 0.18)"
_ROW = 26  # pixels per bar


def domain_colours(automatic: Iterable[str], later: Iterable[str] = ()) -> dict[str, str]:
    """A colour for every name, the same in whatever order the automatic ones come, and none twice while there are more.

    A name wishes for a colour by its letters. Of the automatic names the first in the alphabet has its wish; those that
    are left, and then the later ones in their order, get the next colour of those that the fewest have.
    """
    first = sorted(set(automatic))
    wishes = {_wish(name): name for name in reversed(first)}
    found = {name: PALETTE[wish] for wish, name in wishes.items()}
    for name in [*first, *later]:
        if name not in found:
            found[name] = _rarest(name, Counter(found.values()))
    return found


def label(name: str, width: int = 28) -> str:
    """A name as it may stand in a figure: nothing in it is markup, and it is cut to ``width`` characters."""
    return html.escape(name if len(name) <= width else name[: width - 1] + "…")


def mixture_bars(domains: Sequence[str], weights: FloatArray, natural: FloatArray, colours: Sequence[str]) -> go.Figure:
    """Horizontal bars of a mixture (m,), heaviest on top, with a tick at each domain's natural share (m,).

    ``colours`` are the domains', in their order.
    """
    import plotly.graph_objects as go

    order = np.argsort(weights, kind="stable")
    names = [label(domains[i]) for i in order]
    rows = np.arange(len(order))
    ratio = np.divide(weights, natural, out=np.full(len(weights), np.nan), where=np.asarray(natural) > 0)
    shares = [f"{weights[i]:.1%}, natural {natural[i]:.1%} ({ratio[i]:.2f} x)" for i in order]
    hover = [f"{name}<br>{share}" for name, share in zip(names, shares, strict=True)]
    figure = go.Figure()
    figure.add_bar(
        x=weights[order], y=rows, orientation="h", name="weight", hovertext=hover, hoverinfo="text",
        marker={"color": [colours[i] for i in order]}, showlegend=False,
    )  # fmt: skip
    figure.add_scatter(
        x=natural[order], y=rows, mode="markers", name="natural share", hoverinfo="skip",
        marker={"symbol": "line-ns", "size": 15, "line": {"width": 2.5, "color": INK}},
    )  # fmt: skip
    widest = float(max(weights.max(initial=0), natural.max(initial=0))) or 1.0
    figure.add_scatter(
        x=np.full(len(order), 1.14 * widest), y=rows, mode="text", text=[f"{weights[i]:.1%}" for i in order],
        textposition="middle left", hoverinfo="skip", showlegend=False,
    )  # fmt: skip
    _plain(figure, _ROW * len(order) + 60)
    figure.update_yaxes(tickvals=rows, ticktext=names, showgrid=False, range=[-0.6, len(order) - 0.4])
    figure.update_xaxes(tickformat=".0%", range=[0, 1.15 * widest], nticks=6)
    return figure


def scores(groups: Sequence[tuple[str, Sequence[float], str]]) -> go.Figure:
    """Every measured score as a point, the mean of each group as a line: groups of (name, scores, colour)."""
    import plotly.graph_objects as go

    figure = go.Figure()
    shown = [group for group in groups if len(group[1])]
    for row, (name, values, colour) in enumerate(reversed(shown)):
        mean = float(np.mean(values))
        figure.add_scatter(
            x=list(values), y=[row] * len(values), mode="markers", showlegend=False, hoverinfo="text",
            hovertext=[f"{label(name)} {value:.4f}" for value in values],
            marker={"size": 11, "color": colour, "opacity": 0.75},
        )  # fmt: skip
        figure.add_shape(type="line", x0=mean, x1=mean, y0=row - 0.3, y1=row + 0.3, line={"color": INK, "width": 2})
    _plain(figure, 44 * len(shown) + 50)
    names = [label(name) for name, _, _ in reversed(shown)]
    rows = list(range(len(shown)))
    figure.update_yaxes(tickvals=rows, ticktext=names, showgrid=False, range=[-0.6, len(shown) - 0.4])
    figure.update_xaxes(tickformat=".4~f", nticks=6)
    return figure


def best_so_far(
    measured: FloatArray, iterations: Sequence[int], trials: Sequence[int], natural: float, noise_sd: float
) -> go.Figure:
    """Scores (n,) of the searched trials in order, the best so far, and natural's mean with its noise band.

    ``iterations`` and ``trials`` say which iteration each belongs to and its id; nan hides natural or the band.
    """
    import plotly.graph_objects as go

    at = np.arange(1, len(measured) + 1)
    figure = go.Figure()
    if np.isfinite(natural):
        _natural(figure, natural, noise_sd, len(measured))
    best = np.maximum.accumulate(measured) if len(measured) else measured
    figure.add_scatter(
        x=at, y=best, mode="lines", name="best so far", hoverinfo="skip",
        line={"color": ACCENT, "width": 2.5, "shape": "hv"},
    )  # fmt: skip
    figure.add_scatter(
        x=at, y=measured, mode="markers", name="trial", marker={"size": 7, "color": ACCENT, "opacity": 0.55},
        customdata=np.column_stack([trials, iterations]) if len(measured) else None,
        hovertemplate="trial %{customdata[0]}, iteration %{customdata[1]}<br>%{y:.4f}<extra></extra>",
    )  # fmt: skip
    _plain(figure, 300)
    figure.update_layout(margin_t=58, legend_y=1.1)
    for step, first in _starts(iterations):
        if first:
            figure.add_vline(x=first + 0.5, line={"color": INK, "width": 1, "dash": "dot"})
        figure.add_annotation(
            x=first + 0.5, y=1, yref="paper", text=f"iteration {step}", showarrow=False,
            xanchor="left", yanchor="bottom", font={"color": INK, "size": 11},
        )  # fmt: skip
    figure.update_xaxes(title="measured trials", showgrid=False, range=[0.4, len(measured) + 0.6], tickformat="d")
    figure.update_yaxes(tickformat=".4~f", nticks=6)
    return figure


def document_map(
    groups: Sequence[tuple[str, str | FloatArray, Vectors, Ids]],
    box: tuple[float, float, float, float],
    image: str = "",
    labels: Sequence[tuple[str, float, float, int]] = (),
    marked: Sequence[tuple[str, Vectors]] = (),
    scale: tuple[str, float, float] | None = None,
    size: float = 4,
    height: int = 640,
    dark: bool = False,
    legend: Collection[str] = (),
) -> go.Figure:
    """A map without axes: points in groups of (name, colour or values, positions (n, 2), documents (n,)).

    ``image`` (data URI) lies below and fills ``box``; ``labels`` are (name, x, y, pixels up); ``marked`` positions
    are ringed; ``scale`` (title, low, high) is that of values; ``dark`` is the page's background; ``legend`` names
    the groups that are told by their colour. Nothing is shown on hovering, which the page answers to.
    """
    import plotly.graph_objects as go

    left, right, bottom, top = box
    ink, paper = ("#e8eaee", "rgba(14, 17, 23, 0.68)") if dark else ("#1f2430", "rgba(255, 255, 255, 0.74)")
    figure = go.Figure()
    for number, (name, colour, points, documents) in enumerate(groups):
        marker: dict[str, object] = {"color": colour, "size": size, "opacity": 0.7, "line": {"width": 0}}
        if scale and not isinstance(colour, str):
            bar = {"title": {"text": label(scale[0]), "side": "top"}, "thickness": 8, "len": 0.35, "y": 0.2, "x": 1.0}
            marker |= {"cmin": scale[1], "cmax": scale[2], "colorscale": "Viridis", "showscale": not number}
            marker |= {"colorbar": bar | {"xanchor": "right", "xpad": 2, "tickfont": {"size": 10}}}
        figure.add_scattergl(
            x=points[:, 0], y=points[:, 1], mode="markers", name=label(name, 40), customdata=documents,
            marker=marker, hoverinfo="none", showlegend=name in legend,
            selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 0.25}},
        )  # fmt: skip
    for name, points in marked:
        ring = {"color": "rgba(0,0,0,0)", "size": size + 5, "line": {"color": "#e0533d", "width": 1.6}}
        figure.add_scattergl(
            x=points[:, 0],
            y=points[:, 1],
            mode="markers",
            name=label(name, 40),
            marker=ring,
            hoverinfo="skip",
            showlegend=False,
        )
    _plain(figure, height)
    if image:
        figure.add_layout_image(
            source=image, xref="x", yref="y", x=left, y=top, sizex=right - left, sizey=top - bottom,
            sizing="stretch", layer="below",
        )  # fmt: skip
    for name, x, y, up in labels:
        figure.add_annotation(
            x=x, y=y, yshift=up, text=f"<b>{label(name, 34)}</b>", showarrow=False, bgcolor=paper,
            xanchor=_side((x - left) / (right - left)),
            font={"size": 12, "color": ink}, borderpad=1,
        )  # fmt: skip
    figure.update_layout(showlegend=bool(legend), margin={"l": 0, "r": 0, "t": 0, "b": 0}, dragmode=None)
    figure.update_layout(
        legend={"x": 0, "y": 0, "xanchor": "left", "yanchor": "bottom", "orientation": "v", "itemsizing": "constant",
                "itemclick": False, "itemdoubleclick": False, "bgcolor": paper, "font": {"size": 11, "color": ink}},
    )  # fmt: skip
    figure.update_layout(modebar={"bgcolor": "rgba(0,0,0,0)", "color": INK, "activecolor": ACCENT})
    figure.update_xaxes(visible=False, range=[left, right], fixedrange=False)
    figure.update_yaxes(visible=False, range=[bottom, top], fixedrange=False)
    return figure


def _side(across: float) -> str:
    """Where a label at this share of the width is held, so that it stays on the map."""
    return "left" if across < 0.12 else "right" if across > 0.88 else "center"


def swatch(colour: str) -> str:
    """A colour as a small picture, for tables."""
    square = f"<svg xmlns='http://www.w3.org/2000/svg' width='14' height='14'><rect width='14' height='14' rx='3' fill='{colour}'/></svg>"  # noqa: E501
    return "data:image/svg+xml;utf8," + square.replace("#", "%23")


def _wish(name: str) -> int:
    return crc32(name.encode()) % len(PALETTE)


def _rarest(name: str, used: Counter[str]) -> str:
    """Of the colours that the fewest have, the next to the one that this name wishes for."""
    turned = (*PALETTE[_wish(name) :], *PALETTE[: _wish(name)])
    return min(turned, key=lambda colour: used[colour])


def _natural(figure: go.Figure, natural: float, noise_sd: float, n: int) -> None:
    if np.isfinite(noise_sd):
        figure.add_hrect(natural - noise_sd, natural + noise_sd, fillcolor=_FAINT, line_width=0, layer="below")
    figure.add_scatter(
        x=[0.4, n + 0.6], y=[natural, natural], mode="lines", name="natural", hoverinfo="skip",
        line={"color": INK, "width": 1.5, "dash": "dash"},
    )  # fmt: skip


def _starts(iterations: Sequence[int]) -> list[tuple[int, int]]:
    """(iteration, index of its first trial), in order."""
    return [(step, i) for i, step in enumerate(iterations) if i == 0 or iterations[i - 1] != step]


def _plain(figure: go.Figure, height: int) -> None:
    figure.update_layout(
        height=height, margin={"l": 8, "r": 40, "t": 26, "b": 8}, bargap=0.35, hovermode="closest",
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom"},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)", dragmode=False,
    )  # fmt: skip
    figure.update_xaxes(gridcolor=_FAINT, zeroline=False, automargin=True, fixedrange=True)
    figure.update_yaxes(gridcolor=_FAINT, zeroline=False, automargin=True, fixedrange=True)
