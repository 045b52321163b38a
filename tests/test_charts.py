"""Figures from plain arrays: what they show, in which order, and that nothing in them is markup."""

import numpy as np
import pytest

from app import charts

DOMAINS = ("law", "sport", "spam <b>x</b> %{y}", "code")
WEIGHTS = np.array([0.1, 0.5, 0.15, 0.25])
NATURAL = np.array([0.4, 0.2, 0.4, 0.0])

# Linear sRGB to linear sRGB as a red-blind and a green-blind eye sees it (Machado, Oliveira & Fernandes 2009).
EYES = {
    "normal": np.eye(3),
    "red-blind": np.array([[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.0520]]),
    "green-blind": np.array([[0.3673, 0.8606, -0.2280], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]]),
}
TO_CONES = np.array([[0.4122, 0.5363, 0.0514], [0.2119, 0.6807, 0.1074], [0.0883, 0.2817, 0.6300]])  # Oklab
TO_LAB = np.array([[0.2105, 0.7936, -0.0041], [1.9780, -2.4286, 0.4506], [0.0259, 0.7828, -0.8087]])


def seen(colours, eye):
    """(n, 3) Oklab coordinates of hexadecimal colours as this eye sees them."""
    srgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in colours])
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    return np.cbrt(np.clip(linear @ EYES[eye].T, 0, 1) @ TO_CONES.T) @ TO_LAB.T


@pytest.mark.parametrize("eye", EYES)
def test_every_two_domains_can_be_told_apart(eye):
    points = seen([*charts.PALETTE, charts.PRUNED], eye)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert len(charts.PALETTE) == 20
    assert distances[:20, :20].min() > 0.06
    assert distances.min() > 0.02  # pruned grey is told by its lack of colour, and by its name


def test_a_domain_has_one_colour_and_pruned_is_grey():
    assert charts.domain_colour(3) == charts.domain_colour(3) == charts.PALETTE[3]
    assert charts.domain_colour(23) == charts.PALETTE[3]
    assert charts.domain_colour(-1) == charts.PRUNED not in charts.PALETTE


def test_the_heaviest_domain_is_on_top_in_its_own_colour():
    figure = charts.mixture_bars(DOMAINS, WEIGHTS, NATURAL)
    bars, ticks, numbers = figure.data
    assert list(bars.x) == [0.1, 0.15, 0.25, 0.5]  # plotly draws from below
    assert list(ticks.x) == [0.4, 0.4, 0.0, 0.2]
    assert list(bars.marker.color) == [charts.domain_colour(i) for i in (0, 2, 3, 1)]
    assert list(figure.layout.yaxis.ticktext)[-1] == "sport"
    assert list(numbers.text) == ["10.0%", "15.0%", "25.0%", "50.0%"]


def test_a_domain_without_natural_share_has_no_ratio():
    hover = charts.mixture_bars(DOMAINS, WEIGHTS, NATURAL).data[0].hovertext
    assert "nan" in hover[2]
    assert "2.50 x" in hover[3]


def test_names_from_documents_are_never_markup_nor_templates():
    figure = charts.mixture_bars(DOMAINS, WEIGHTS, NATURAL)
    assert "<b>" not in figure.to_json().encode().decode("unicode_escape")
    figure = charts.scores([(DOMAINS[2], [1.0], charts.ACCENT)])
    assert figure.data[0].hovertemplate is None
    assert "&lt;b&gt;" in figure.data[0].hovertext[0]


def test_long_names_are_cut():
    assert len(charts.label("x" * 100)) == 28
    assert charts.label("short") == "short"


def test_groups_without_scores_are_left_out():
    figure = charts.scores([("chosen", [], charts.ACCENT), ("natural", [-3.1, -3.0], charts.INK)])
    assert [list(trace.x) for trace in figure.data] == [[-3.1, -3.0]]
    assert figure.layout.shapes[0].x0 == pytest.approx(-3.05)


def test_the_curve_never_falls_and_marks_where_iterations_begin():
    measured = np.array([0.2, 0.5, 0.3, 0.9])
    figure = charts.best_so_far(measured, [1, 1, 2, 2], [4, 5, 6, 7], 0.4, 0.1)
    by_name = {trace.name: trace for trace in figure.data}
    assert list(by_name["best so far"].y) == [0.2, 0.5, 0.5, 0.9]
    assert [note.text for note in figure.layout.annotations] == ["iteration 1", "iteration 2"]
    assert by_name["trial"].customdata.tolist() == [[4, 1], [5, 1], [6, 2], [7, 2]]
    assert list(by_name["natural"].y) == [0.4, 0.4]


def test_the_curve_stands_without_natural_noise_or_trials():
    figure = charts.best_so_far(np.array([0.2]), [1], [0], float("nan"), float("nan"))
    assert "natural" not in [trace.name for trace in figure.data]
    assert not figure.layout.shapes
    charts.best_so_far(np.array([]), [], [], 0.4, float("nan"))


def test_a_swatch_is_the_domain_colour():
    assert charts.domain_colour(4).removeprefix("#") in charts.swatch(4)
    assert charts.swatch(4).startswith("data:image/svg+xml")
    assert "#" not in charts.swatch(4)
