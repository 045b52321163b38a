"""Figures of mixtures side by side: arrays in, ``go.Figure`` out. Knows no Streamlit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from app.charts import INK, label
from app.compare.sums import by_difference, log_ratio
from climb_engine.types import FloatArray

if TYPE_CHECKING:
    import plotly.graph_objects as go

COLOURS = ("#4f7fcf", "#d98c1f", "#56b3a0", "#9a3f6b")
"""Of the four places a mixture can be compared in; far apart for normal, red-blind and green-blind eyes."""

MOST = 40  # domains that are drawn
_FAINT = "rgba(138, 145, 158, 0.18)"
_BAR = 9  # pixels
_RATIOS = {-6: "1/64", -5: "1/32", -4: "1/16", -3: "1/8", -2: "1/4", -1: "1/2", 0: "1", 1: "2", 2: "4", 3: "8", 4: "16"}


@dataclass(frozen=True)
class Measured:
    """One mixture's line in a panel of scores: its runs, or what is predicted of it."""

    name: str
    colour: str
    scores: Sequence[float]  # of the runs; empty: not measured
    mean: float  # of the runs, or predicted; nan: neither
    sd: float  # over the runs, or of the prediction; nan: not known

    @property
    def text(self) -> str:
        """The numbers in words."""
        if not math.isfinite(self.mean):
            return "not measured"
        error = f" ± {self.sd:.4f}" if math.isfinite(self.sd) else ""
        if not self.scores:
            return f"{self.mean:.4f}{error} predicted"
        return f"{self.mean:.4f}{error} ({len(self.scores)} run{'s' * (len(self.scores) > 1)})"


@dataclass(frozen=True)
class GainLine:
    """One line in a panel of gains: positive is better."""

    name: str
    colour: str
    mean: float  # nan: not known
    interval: tuple[float, float]  # 95 %; nan: not known
    scale: float = 1.0  # what numbers are multiplied with: 100 for accuracies
    digits: int = 4

    @property
    def beyond(self) -> bool:
        """Whether the interval does not hold 0."""
        return self.interval[0] > 0 or self.interval[1] < 0

    @property
    def ends(self) -> list[float]:
        """All that is drawn of it, scaled."""
        return [self.scale * value for value in (self.interval[0], self.mean, self.interval[1]) if math.isfinite(value)]

    @property
    def text(self) -> str:
        """The numbers in words."""
        if not math.isfinite(self.mean):
            return "not known"
        mean, low, high = (f"{self.scale * value:+.{self.digits}f}" for value in (self.mean, *self.interval))
        return f"{mean} [{low}, {high}]" if math.isfinite(self.interval[0]) else f"{mean} (no interval)"


def weight_bars(
    domains: Sequence[str],
    table: FloatArray,
    share: FloatArray,
    names: Sequence[str],
    colours: Sequence[str],
    ratio: bool = False,
) -> go.Figure:
    """Mixtures (k, m) as groups of bars, the domains that differ most on top, with ticks at the natural shares (m,).

    ``ratio``: bars of weight over natural share on a log scale, from natural to the left and right.
    """
    import plotly.graph_objects as go

    order = by_difference(table)[:MOST]
    shown = log_ratio(table, share) if ratio else table
    floor = _floor(shown) if ratio else 0.0
    rows = np.arange(len(order))
    figure = go.Figure()
    for name, colour, weights, values in zip(names, colours, table, shown, strict=True):
        figure.add_bar(
            x=np.maximum(values[order], floor), y=rows, orientation="h", name=label(name), marker={"color": colour},
            hovertext=[_weight_text(name, domains[d], weights[d], share[d]) for d in order], hoverinfo="text",
            text=["0" if ratio and weights[d] == 0 else "" for d in order], textposition="outside", textangle=0,
            textfont={"size": 9, "color": INK}, constraintext="none", cliponaxis=False,
        )  # fmt: skip
    pixels = _BAR * len(table) + 12
    if not ratio:
        figure.add_scatter(
            x=share[order], y=rows, mode="markers", name="natural share", hoverinfo="skip",
            marker={"symbol": "line-ns", "size": pixels / 1.7, "line": {"width": 2, "color": INK}},
        )  # fmt: skip
    _layout(figure, pixels * len(order) + 100)
    figure.update_layout(barmode="group", bargap=0.25, margin_t=62)
    figure.update_layout(legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom"})
    figure.update_yaxes(
        tickvals=rows, ticktext=[label(domains[d]) for d in order], showgrid=False, range=[len(order) - 0.4, -0.6]
    )
    if ratio:
        _ratio_axis(figure, floor, shown)
    else:
        figure.update_xaxes(tickformat=".0%", nticks=6, rangemode="tozero")
    return figure


def score_panels(panels: Sequence[tuple[str, Sequence[Measured]]]) -> go.Figure:
    """A panel per (title, lines), each with its own scale: runs faint, mean filled, prediction hollow, one sd."""
    from plotly.subplots import make_subplots

    heights = [26 * len(lines) + 12 for _, lines in panels]
    total = sum(heights) + 62 * len(panels)
    figure = make_subplots(
        rows=len(panels), cols=1, row_heights=heights, vertical_spacing=min(62 / total, 0.9 / max(1, len(panels) - 1)),
        subplot_titles=[label(title, 60) for title, _ in panels],
    )  # fmt: skip
    figure.update_annotations(x=0, xanchor="left", font={"size": 12, "color": INK})
    _layout(figure, total)
    for number, (_, lines) in enumerate(panels, 1):
        for row, line in enumerate(lines):
            _score_line(figure, number, row, line)
        figure.update_yaxes(
            row=number, col=1, tickvals=list(range(len(lines))), ticktext=[label(line.name, 18) for line in lines],
            showgrid=False, range=[len(lines) - 0.4, -0.6],
        )  # fmt: skip
        figure.update_xaxes(row=number, col=1, tickformat=".4~f", nticks=4)
    figure.update_layout(margin={"l": 8, "r": 150, "t": 30, "b": 8}, showlegend=False)
    return figure


def gain_panels(panels: Sequence[tuple[str, Sequence[GainLine]]]) -> go.Figure:
    """A panel per (title, lines), all on one scale: mean gains with their 95 % intervals about a line at 0.

    Filled: beyond the noise, better to the right, worse to the left. Hollow: within it, or without an interval.
    """
    from plotly.subplots import make_subplots

    heights = [26 * len(lines) + 8 for _, lines in panels]
    total = sum(heights) + 34 * len(panels) + 30
    figure = make_subplots(
        rows=len(panels), cols=1, row_heights=heights, shared_xaxes=True,
        vertical_spacing=min(34 / total, 0.9 / max(1, len(panels) - 1)),
        subplot_titles=[label(title, 60) for title, _ in panels],
    )  # fmt: skip
    figure.update_annotations(x=0, xanchor="left", font={"size": 12, "color": INK})
    _layout(figure, total)
    ends = [0.0, *(end for _, lines in panels for line in lines for end in line.ends)]
    margin = 0.06 * (max(ends) - min(ends)) or 1.0
    for number, (_, lines) in enumerate(panels, 1):
        for row, line in enumerate(lines):
            _gain_line(figure, number, row, line)
        figure.update_yaxes(
            row=number, col=1, tickvals=list(range(len(lines))), ticktext=[label(line.name, 30) for line in lines],
            showgrid=False, range=[len(lines) - 0.4, -0.6],
        )  # fmt: skip
    figure.update_xaxes(
        range=[min(ends) - margin, max(ends) + margin], tickformat="+.4~f", nticks=6, zeroline=True, zerolinecolor=INK,
        zerolinewidth=2,
    )  # fmt: skip
    figure.update_layout(margin={"l": 8, "r": 180, "t": 30, "b": 8}, showlegend=False)
    return figure


def swatch(colour: str) -> str:
    """A colour as a small picture (SVG)."""
    return f"<svg xmlns='http://www.w3.org/2000/svg' width='14' height='14'><rect width='14' height='14' rx='3' fill='{colour}'/></svg>"  # noqa: E501


def _score_line(figure: go.Figure, panel: int, row: int, line: Measured) -> None:
    place = {"row": panel, "col": 1}
    axis = "" if panel == 1 else str(panel)
    figure.add_annotation(
        text=line.text, x=1.02, xref=f"x{axis} domain", xanchor="left", y=row, yref=f"y{axis}", showarrow=False,
        font={"size": 11, "color": INK},
    )  # fmt: skip
    if len(line.scores) > 1:
        figure.add_scatter(
            x=list(line.scores), y=[row] * len(line.scores), mode="markers", hoverinfo="text", **place,
            hovertext=[f"{label(line.name)}, one run: {score:.4f}" for score in line.scores],
            marker={"size": 7, "color": line.colour, "opacity": 0.4},
        )  # fmt: skip
    if math.isfinite(line.mean):
        error = {"type": "data", "array": [line.sd], "thickness": 2, "width": 4, "color": line.colour}
        figure.add_scatter(
            x=[line.mean], y=[row], mode="markers", hoverinfo="text", hovertext=f"{label(line.name)}: {line.text}",
            marker={"size": 10, "color": line.colour, "symbol": "circle" if line.scores else "circle-open"},
            error_x=error if math.isfinite(line.sd) else None, **place,
        )  # fmt: skip


def _gain_line(figure: go.Figure, panel: int, row: int, line: GainLine) -> None:
    axis = "" if panel == 1 else str(panel)
    figure.add_annotation(
        text=line.text, x=1.02, xref=f"x{axis} domain", xanchor="left", y=row, yref=f"y{axis}", showarrow=False,
        font={"size": 11, "color": INK},
    )  # fmt: skip
    if not math.isfinite(line.mean):
        return
    place = {"row": panel, "col": 1}
    if math.isfinite(line.interval[0]):
        figure.add_scatter(
            x=[line.scale * end for end in line.interval], y=[row, row], mode="lines", hoverinfo="skip", **place,
            line={"width": 2.5, "color": line.colour},
        )  # fmt: skip
    figure.add_scatter(
        x=[line.scale * line.mean], y=[row], mode="markers", hoverinfo="text", **place,
        hovertext=f"{label(line.name)}: {line.text}",
        marker={
            "size": 11, "symbol": "circle" if line.beyond else "circle-open", "color": line.colour,
            "line": {"width": 2, "color": line.colour},
        },
    )  # fmt: skip


def _weight_text(name: str, domain: str, weight: float, share: float) -> str:
    ratio = f" ({weight / share:.2f} x)" if share > 0 else ""
    return f"{label(domain)}<br>{label(name)}: {weight:.2%}, natural {share:.2%}{ratio}"


def _floor(ratios: FloatArray) -> float:
    """Where a weight of nothing is drawn: a step below the lowest ratio, at 1/64 the latest."""
    known = ratios[np.isfinite(ratios)]
    return max(-6.0, math.floor(float(known.min(initial=0.0))) - 1.0) if len(known) else -1.0


def _ratio_axis(figure: go.Figure, floor: float, ratios: FloatArray) -> None:
    top = max(1.0, float(ratios[np.isfinite(ratios)].max(initial=0.0)) + 0.3)
    ticks = [tick for tick in _RATIOS if floor < tick <= top and (top - floor <= 5 or tick % 2 == 0)]
    figure.update_xaxes(
        tickvals=ticks, ticktext=[f"{_RATIOS[tick]} x" for tick in ticks], range=[floor - 0.5, top], zeroline=True,
        zerolinecolor=INK, zerolinewidth=2, title="weight / natural share", tickangle=0,
    )  # fmt: skip


def _layout(figure: go.Figure, height: int) -> None:
    figure.update_layout(
        height=height, margin={"l": 8, "r": 16, "t": 34, "b": 8}, hovermode="closest", dragmode=False,
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
    )  # fmt: skip
    figure.update_xaxes(gridcolor=_FAINT, zeroline=False, automargin=True, fixedrange=True)
    figure.update_yaxes(gridcolor=_FAINT, zeroline=False, automargin=True, fixedrange=True)
