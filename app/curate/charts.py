"""Figures of clusters and of their merging into domains: arrays in, ``go.Figure`` out. Knows no Streamlit."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from app.charts import ACCENT, INK, PALETTE, PRUNED, label
from app.curate.dendrogram import Tree
from climb_engine.types import FloatArray, Ids

if TYPE_CHECKING:
    import plotly.graph_objects as go

STATUS = ("kept", "pruned", "by hand")
LOOKS = (("circle", PALETTE[4]), ("x", PRUNED), ("diamond", "#e0533d"))
"""Symbol and colour of each status: neither alone has to be told apart."""

_FAINT = "rgba(138, 145, 158, 0.18)"
_ROW = 17  # pixels per leaf
_SMALLEST = 0.02  # of the largest distance, so that a tree's lowest merges can be seen


def size_quality(
    sizes: Ids,
    values: FloatArray,
    status: Ids,
    hover: Sequence[str],
    metric: str,
    limits: tuple[float | None, float | None],
    changed: Ids,
    picked: Ids,
) -> go.Figure:
    """Clusters (k,) by documents, on a log scale, and by their mean of a metric; empty and unscored ones are left out.

    ``status`` (k,) indexes STATUS; ``hover`` (k,) is escaped already; ``limits`` are the smallest mean and the fewest
    documents that are kept (None: no limit); ``changed`` and ``picked`` clusters are ringed.
    """
    import plotly.graph_objects as go

    figure, shown = go.Figure(), np.flatnonzero((sizes > 0) & np.isfinite(values))
    for code, (name, (symbol, colour)) in enumerate(zip(STATUS, LOOKS, strict=True)):
        mine = shown[status[shown] == code]
        figure.add_scatter(
            x=sizes[mine], y=values[mine], mode="markers", name=f"{name} ({len(mine):,})", customdata=mine,
            hovertext=[hover[i] for i in mine], hoverinfo="text",
            marker={"symbol": symbol, "size": 8, "color": colour, "opacity": 0.85, "line": {"width": 0}},
            selected={"marker": {"opacity": 1}}, unselected={"marker": {"opacity": 0.45}},
        )  # fmt: skip
    rings = (("would flip", changed, 15, "#e0a03d"), ("selected", picked, 19, ACCENT))
    for name, clusters, size, colour in rings:
        mine = np.intersect1d(clusters, shown)
        if len(mine):
            figure.add_scatter(
                x=sizes[mine], y=values[mine], mode="markers", name=f"{name} ({len(mine):,})", hoverinfo="skip",
                marker={"symbol": "circle-open", "size": size, "color": colour, "line": {"width": 2}},
            )  # fmt: skip
    _layout(figure, 470)
    _limits(figure, limits)
    figure.update_xaxes(type="log", title="documents", dtick=1, minor={"ticks": "outside", "dtick": "D1"})
    low, high = (float(values[shown].min()), float(values[shown].max())) if len(shown) else (0.0, 5.0)
    low = min(low, limits[0]) if limits[0] else low
    pad = 0.06 * max(high - low, 0.1)
    figure.update_yaxes(title=label(f"mean {metric}"), range=[low - pad, max(high, limits[0] or high) + pad])
    figure.update_layout(dragmode="select", margin_t=40, legend={"x": 0, "xanchor": "left"})
    figure.update_layout(modebar={"bgcolor": "rgba(0,0,0,0)", "color": INK, "activecolor": ACCENT})
    return figure


def dendrogram(
    tree: Tree, cut: tuple[float, float], names: Sequence[str], automatic: int, colours: Sequence[str]
) -> go.Figure:
    """A merge tree lying on its side, its branches in the colours of their domains, with the line where it is cut.

    ``cut`` are the distances of the last merge made and of the first not made (inf: none); ``names`` are the domains'
    and ``automatic`` how many the cut makes, before any override; ``colours`` (m + 1,) end with that of -1, pruned.
    """
    import plotly.graph_objects as go

    figure = go.Figure()
    top = tree.height or 1.0
    for domain in sorted(set(tree.domains.tolist())):
        lines = [i for i in range(len(tree.x)) if tree.domains[i] == domain]
        colour = INK if domain == tree.ABOVE else colours[domain]
        name = "above the cut" if domain == tree.ABOVE else names[domain] if domain >= 0 else "pruned by hand"
        figure.add_scatter(
            x=_joined(tree.x, lines), y=_joined(tree.y, lines), mode="lines", name=label(name), hoverinfo="skip",
            line={"color": colour, "width": 1.2 if domain == tree.ABOVE else 2}, showlegend=False,
        )  # fmt: skip
    figure.add_scatter(
        x=np.zeros(len(tree.leaves)), y=tree.places, mode="markers", hoverinfo="text", showlegend=False,
        hovertext=[leaf.hover(names) for leaf in tree.leaves],
        marker={"size": 9, "symbol": "square", "color": [colours[leaf.domain] for leaf in tree.leaves]},
    )  # fmt: skip
    _layout(figure, _ROW * len(tree.leaves) + 90)
    low, high = cut
    at = (low + (high if np.isfinite(high) else 1.1 * max(low, top))) / 2
    by_hand = f", {len(names)} by the decisions by hand" if len(names) != automatic else ""
    figure.add_vline(
        x=at, line={"color": ACCENT, "width": 2, "dash": "dash"}, annotation_position="top",
        annotation_text=f"{automatic} domains at {at:.2f}{by_hand}", annotation_font={"color": ACCENT},
    )  # fmt: skip
    figure.update_layout(margin={"t": 30, "l": 8, "r": 8, "b": 8})
    texts = [label(leaf.title, 46) for leaf in tree.leaves]
    figure.update_yaxes(tickvals=tree.places, ticktext=texts, showgrid=False, tickfont={"size": 11})
    figure.update_yaxes(range=[tree.places[0] - 8, tree.places[-1] + 8] if len(tree.places) else [0, 1])
    figure.update_xaxes(title="Ward distance", range=[-_SMALLEST * top, max(1.03 * top, 1.05 * at)])
    return figure


def cut_curves(
    domains: Ids, distance: FloatArray, silhouette: FloatArray, within: FloatArray, between: FloatArray, chosen: int
) -> go.Figure:
    """What each number of domains (n,) is like, in three panels, with a line at the number that is chosen."""
    from plotly.subplots import make_subplots

    titles = ("Ward distance of the last merge", "silhouette", "within, between domains (dashed)")
    figure = make_subplots(rows=3, cols=1, shared_xaxes=True, vertical_spacing=0.09, subplot_titles=titles)
    lines = (
        (1, "Ward distance", distance, PALETTE[0], "solid"),
        (2, "silhouette", silhouette, PALETTE[4], "solid"),
        (3, "within", within, PALETTE[3], "solid"),
        (3, "between", between, PALETTE[12], "dash"),
    )
    for row, name, values, colour, dash in lines:
        figure.add_scatter(
            x=domains, y=values, row=row, col=1, name=name, mode="lines+markers", showlegend=False,
            line={"color": colour, "dash": dash}, marker={"size": 4},
            hovertemplate=f"%{{x}} domains: {name} %{{y:.3f}}<extra></extra>",
        )  # fmt: skip
    _layout(figure, 470)
    if len(domains) and domains[0] <= chosen <= domains[-1]:
        figure.add_vline(x=chosen, line={"color": ACCENT, "width": 1.5, "dash": "dash"})
    figure.update_annotations(font_size=12, xanchor="left", x=0)
    figure.update_yaxes(nticks=4)
    figure.update_xaxes(title="domains", row=3, col=1)
    figure.update_layout(margin_t=30)
    return figure


def _limits(figure: go.Figure, limits: tuple[float | None, float | None]) -> None:
    line = {"color": ACCENT, "width": 1.5, "dash": "dash"}
    font = {"color": ACCENT, "size": 12}
    if limits[0] is not None:
        figure.add_hline(
            y=limits[0], line=line, annotation_text=f"{limits[0]:g}", annotation_position="top right",
            annotation_font=font,
        )  # fmt: skip
    if limits[1] is not None:
        figure.add_vline(x=limits[1], line={**line, "dash": "dot"})
        figure.add_annotation(
            x=np.log10(limits[1]), y=1, yref="paper", text=f"{limits[1]:g} documents", showarrow=False, font=font,
            xanchor="left", yanchor="top", xshift=4,
        )  # fmt: skip


def _joined(lines: Sequence[FloatArray], wanted: Sequence[int]) -> FloatArray:
    """Some lines one after the other, with gaps between."""
    return np.concatenate([np.append(lines[i], np.nan) for i in wanted]) if wanted else np.empty(0)


def _layout(figure: go.Figure, height: int) -> None:
    figure.update_layout(
        height=height, margin={"l": 8, "r": 20, "t": 26, "b": 8}, hovermode="closest", dragmode=False,
        legend={"orientation": "h", "x": 1, "xanchor": "right", "y": 1, "yanchor": "bottom"},
        paper_bgcolor="rgba(0,0,0,0)", plot_bgcolor="rgba(0,0,0,0)",
    )  # fmt: skip
    figure.update_xaxes(gridcolor=_FAINT, zeroline=False, automargin=True, fixedrange=True)
    figure.update_yaxes(gridcolor=_FAINT, zeroline=False, automargin=True, fixedrange=True)
