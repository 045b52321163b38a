"""Figures of a search: arrays in, ``go.Figure`` out. Knows no Streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from app.charts import ACCENT, INK, label
from climb_engine.types import FloatArray, Ids

if TYPE_CHECKING:
    import plotly.graph_objects as go

SYMBOLS = ("circle", "square", "diamond", "triangle-up", "pentagon", "triangle-down", "hexagon2", "triangle-left",
           "octagon", "triangle-right")  # fmt: skip
"""Of the iterations 1, 2, … on the map."""

ORIGINS = {"suggested": "star-diamond", "confirm": "hexagram", "reused": "cross"}
"""Symbols of trials that no iteration drew."""

FAILED = "x-thin-open"

RING = "#e0533d"
MOST = 60  # curves drawn at once
SMOOTH = 9  # points of a training curve that are averaged into one, fewer at its ends
_CROWD = 200  # trials on a map; more are drawn smaller
_FAINT = "rgba(138, 145, 158, 0.18)"
_ROW = 24  # pixels per domain
_HALF = 0.275  # of a bar, where 1 is the way to the next
_INTERVAL = 1.2815515655446004  # sd on either side of an 80 % interval


@dataclass(frozen=True, eq=False)
class Points:
    """Trials of the map that look alike."""

    name: str
    symbol: str
    filled: bool
    positions: FloatArray  # (n, 2)
    scores: FloatArray  # (n,) measured or predicted; nan: grey
    trials: Ids  # (n,)
    hover: Sequence[str]  # (n,) already escaped


def symbol_of(iteration: int, origin: str) -> str:
    """The symbol of a trial on the map."""
    return ORIGINS.get(origin) or SYMBOLS[(max(iteration, 1) - 1) % len(SYMBOLS)]


def landscape(
    groups: Sequence[Points],
    background: FloatArray,
    predicted: FloatArray | None,
    natural: tuple[float, float],
    ringed: Sequence[tuple[str, tuple[float, float]]] = (),
    height: int = 560,
    dark: bool = False,
) -> go.Figure:
    """The map of mixtures: candidates (c, 2) faint and coloured by prediction (c,), trials, natural, and rings."""
    import plotly.graph_objects as go

    low, high = _span(groups)
    figure = go.Figure()
    figure.add_scatter(
        x=background[:, 0], y=background[:, 1], mode="markers", hoverinfo="skip", name="candidates", showlegend=False,
        marker={"size": 5, "opacity": 0.22, "color": INK if predicted is None else predicted, "line": {"width": 0}}
        | ({} if predicted is None else {"cmin": low, "cmax": high, "colorscale": "Viridis"}),
        selected={"marker": {"opacity": 0.22}}, unselected={"marker": {"opacity": 0.22}},
    )  # fmt: skip
    size = 10 if sum(len(group.trials) for group in groups) <= _CROWD else 7
    for group in groups:
        figure.add_trace(_trace(group, low, high, dark, size))
    paper = "#0e1117" if dark else "#ffffff"
    figure.add_scatter(
        x=[natural[0]], y=[natural[1]], mode="markers+text", text=["natural"], name="natural",
        textposition="top center",
        marker={"symbol": "star", "size": 17, "color": INK, "line": {"width": 1.5, "color": paper}}, showlegend=False,
        hovertext="the natural mixture", hoverinfo="text", textfont={"color": "#e8eaee" if dark else "#1f2430"},
        selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}},
    )  # fmt: skip
    for name, at in ringed:
        colour = ACCENT if name.startswith("trial") else RING
        figure.add_scatter(
            x=[at[0]], y=[at[1]], mode="markers+text", text=[label(name)], hoverinfo="skip",
            textposition="top center" if name.startswith("trial") else "bottom center",
            marker={"symbol": "circle-open", "size": 23, "color": colour, "line": {"width": 2.5, "color": colour}},
            textfont={"color": colour}, name=label(name), showlegend=False,
            selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 1}},
        )  # fmt: skip
    _scale(figure, low, high)
    _layout(figure, height)
    figure.update_layout(
        margin={"l": 0, "r": 62, "t": 30, "b": 60}, dragmode="pan", uirevision="map",
        legend={"orientation": "h", "x": 0, "xanchor": "left", "y": -0.02, "yanchor": "top", "itemsizing": "constant"},
        modebar={"bgcolor": "rgba(0,0,0,0)", "color": INK, "activecolor": ACCENT},
    )  # fmt: skip
    figure.update_xaxes(visible=False, fixedrange=False)
    figure.update_yaxes(visible=False, fixedrange=False)
    return figure


def against_measured(
    predicted: FloatArray, sds: FloatArray, measured: FloatArray, trials: Ids, iterations: Ids
) -> go.Figure:
    """Held-out predictions (n,) with 80 % intervals against measured scores (n,), and the line where both agree."""
    import plotly.graph_objects as go

    figure = go.Figure()
    span = _padded(np.concatenate([predicted, measured]))
    figure.add_scatter(
        x=span,
        y=span,
        mode="lines",
        hoverinfo="skip",
        name="perfect",
        line={"color": INK, "width": 1.2, "dash": "dash"},
    )
    figure.add_scatter(
        x=measured, y=predicted, mode="markers", name="trial", customdata=np.column_stack([trials, iterations]),
        marker={"size": 8, "color": iterations, "colorscale": "Viridis", "line": {"width": 0.5, "color": INK}},
        error_y={"type": "data", "array": _INTERVAL * sds, "color": INK, "thickness": 1, "width": 0},
        hovertemplate="trial %{customdata[0]}, iteration %{customdata[1]}<br>measured %{x:.4f}<br>"
        "predicted %{y:.4f} ± %{error_y.array:.4f}<extra></extra>", showlegend=False,
    )  # fmt: skip
    _layout(figure, 330)
    figure.update_layout(showlegend=False)
    figure.update_xaxes(title="measured", range=span, tickformat=".4~f", nticks=5)
    figure.update_yaxes(title="predicted, held out", tickformat=".4~f", nticks=6)
    return figure


def effects(domains: Sequence[str], changes: FloatArray, sds: FloatArray, colours: Sequence[str]) -> go.Figure:
    """Change (m,) of the predicted score when a domain is doubled, with its sd (m,); the largest on top."""
    import plotly.graph_objects as go

    order = np.argsort(np.abs(changes), kind="stable")
    rows = np.arange(len(order))
    names = [label(domains[i]) for i in order]
    figure = go.Figure()
    figure.add_bar(
        x=changes[order], y=rows, orientation="h", hoverinfo="text", showlegend=False,
        hovertext=[f"{label(domains[i])} doubled<br>{changes[i]:+.4f} ± {sds[i]:.4f}" for i in order],
        marker={"color": [colours[i] for i in order]},
        error_x={"type": "data", "array": sds[order], "color": INK, "thickness": 1.5, "width": 3},
    )  # fmt: skip
    figure.add_vline(x=0, line={"color": INK, "width": 1})
    _layout(figure, _ROW * len(order) + 60)
    figure.update_yaxes(tickvals=rows, ticktext=names, showgrid=False, range=[-0.6, len(order) - 0.4])
    figure.update_xaxes(title="change of the score when doubled", tickformat="+.3~f", nticks=6)
    return figure


def weights_by_step(
    domains: Sequence[str], steps: Sequence[str], table: FloatArray, colours: Sequence[str]
) -> go.Figure:
    """Mixtures (k, m) as stacked bars side by side, one for each step, the domains in their order and colours."""
    import plotly.graph_objects as go

    at = np.arange(len(steps))
    bars = [
        go.Bar(
            x=at, y=table[:, domain], name=label(name), marker={"color": colours[domain], "line": {"width": 0}},
            hovertext=[f"{label(name)}<br>{label(s)}: {w:.1%}" for s, w in zip(steps, table[:, domain], strict=True)],
            hoverinfo="text", text=[f"{w:.0%}" if w >= 0.06 else "" for w in table[:, domain]], textposition="inside",
            insidetextanchor="middle", textangle=0, textfont={"size": 10},
        )
        for domain, name in enumerate(domains)
    ]  # fmt: skip
    figure = go.Figure([*bars, _joined(table)])
    _layout(figure, max(360, 19 * len(domains) + 60))
    figure.update_layout(
        barmode="stack", bargap=0.45,
        legend={"orientation": "v", "x": 1.01, "xanchor": "left", "y": 1, "yanchor": "top", "traceorder": "reversed"},
    )  # fmt: skip
    figure.update_xaxes(tickvals=at, ticktext=[label(step) for step in steps], showgrid=False)
    figure.update_yaxes(title="weight", tickformat=".0%", range=[0, 1.0], nticks=6)
    return figure


def curves(
    lines: Sequence[tuple[int, npt.NDArray[Any], FloatArray]], scores: FloatArray, selected: int | None = None
) -> go.Figure:
    """Training losses: (trial, steps, losses), coloured by the trials' scores (n,) where they are known.

    The selected trial is drawn thick; of more than ``MOST`` the first are drawn.
    """
    import plotly.graph_objects as go

    shown = list(zip(lines[:MOST], scores[:MOST], strict=True))
    known = scores[np.isfinite(scores)]
    low, high = (float(known.min()), float(known.max())) if len(known) else (0.0, 1.0)
    traces = []
    for (trial, steps, losses), score in sorted(shown, key=lambda one: one[0][0] == selected):
        chosen = trial == selected
        colour = RING if chosen else _viridis((score - low) / ((high - low) or 1)) if np.isfinite(score) else ACCENT
        line = {"width": 3 if chosen else 1.2, "color": colour}
        hover = f"trial {trial}<br>step %{{x}}: %{{y:.3f}} nats<extra></extra>"
        traces.append(
            go.Scatter(
                x=steps, y=losses, mode="lines", name=f"trial {trial}", showlegend=False, line=line,
                hovertemplate=hover, opacity=1 if chosen else 0.7,
            )
        )  # fmt: skip
    figure = go.Figure(traces)
    if len(known):
        _scale(figure, low, high)
    _layout(figure, 330)
    figure.update_layout(margin_r=62)
    figure.update_xaxes(title="step", nticks=6, showgrid=False)
    figure.update_yaxes(title="training loss, nats per token", tickformat=".2~f", nticks=6)
    return figure


def smoothed(losses: FloatArray) -> FloatArray:
    """Each loss (n,) as the mean of the ``SMOOTH`` around it, fewer at the ends."""
    at, sums = np.arange(len(losses)), np.concatenate([[0.0], np.cumsum(losses)])
    first, end = np.maximum(at - SMOOTH // 2, 0), np.minimum(at + SMOOTH // 2 + 1, len(losses))
    return np.asarray((sums[end] - sums[first]) / (end - first))


def _trace(group: Points, low: float, high: float, dark: bool, size: int) -> Any:
    import plotly.graph_objects as go

    known = bool(np.isfinite(group.scores).all()) and len(group.scores) > 0
    edge = "rgba(232, 234, 238, 0.75)" if dark else "rgba(31, 36, 48, 0.65)"
    marker: dict[str, Any] = {
        "symbol": group.symbol if group.filled or group.symbol == FAILED else f"{group.symbol}-open",
        "size": 7 if group.symbol == ORIGINS["reused"] else size,
        "color": group.scores if known else INK,
        "line": {"width": 0.8, "color": edge} if group.filled else {"width": 2},
    }
    marker |= {"cmin": low, "cmax": high, "colorscale": "Viridis"} if known else {}
    return go.Scatter(
        x=group.positions[:, 0], y=group.positions[:, 1], mode="markers", name=label(group.name), marker=marker,
        customdata=group.trials, hovertext=list(group.hover), hoverinfo="text",
        selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 0.55}},
    )  # fmt: skip


def _span(groups: Sequence[Points]) -> tuple[float, float]:
    """Where the scale of scores begins and ends: without the worst few, which would take all the colours."""
    measured = [group.scores for group in groups if group.filled]
    scores = np.concatenate(measured) if measured else np.empty(0)
    scores = scores[np.isfinite(scores)]
    if not len(scores):
        return 0.0, 1.0
    return float(np.percentile(scores, 5)), float(scores.max())


def _scale(figure: go.Figure, low: float, high: float) -> None:
    bar = {"title": {"text": "score", "side": "top"}, "thickness": 9, "len": 0.6, "y": 0.5, "x": 1.01, "nticks": 5}
    bar |= {"xanchor": "left", "xpad": 2, "tickfont": {"size": 10}, "tickformat": ".3~f"}
    figure.add_scatter(
        x=[None], y=[None], mode="markers", showlegend=False, hoverinfo="skip", name="scale",
        marker={"color": [low], "cmin": low, "cmax": high, "colorscale": "Viridis", "showscale": True, "colorbar": bar},
    )  # fmt: skip


def _joined(table: FloatArray) -> Any:
    """Thin lines from the top of a domain's part of one bar to the next one's, to follow it by."""
    import plotly.graph_objects as go

    tops = table.cumsum(axis=1)
    xs: list[float | None] = []
    ys: list[float | None] = []
    for i in range(len(tops) - 1):
        for here, there in zip(tops[i], tops[i + 1], strict=True):
            xs += [i + _HALF, i + 1 - _HALF, None]
            ys += [float(here), float(there), None]
    line = {"color": _FAINT, "width": 1}
    return go.Scatter(x=xs, y=ys, mode="lines", line=line, hoverinfo="skip", showlegend=False, name="joins")


def _viridis(part: float) -> str:
    from plotly.colors import sample_colorscale

    return str(sample_colorscale("Viridis", [min(1.0, max(0.0, part))])[0])


def _padded(values: FloatArray) -> list[float]:
    low, high = float(values.min()), float(values.max())
    room = 0.06 * (high - low) or 1e-3
    return [low - room, high + room]


def _layout(figure: go.Figure, height: int) -> None:
    figure.update_layout(
        height=height, margin={"l": 8, "r": 12, "t": 12, "b": 8}, bargap=0.35, hovermode="closest", dragmode=False,
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
    )  # fmt: skip
    figure.update_xaxes(gridcolor=_FAINT, zeroline=False, automargin=True, fixedrange=True)
    figure.update_yaxes(gridcolor=_FAINT, zeroline=False, automargin=True, fixedrange=True)
