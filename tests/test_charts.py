"""Figures from plain arrays: what they show, in which order, and that nothing in them is markup."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from app import charts
from app.clusters import maps

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


def test_a_domains_colour_is_by_its_name_in_whatever_order_domains_come():
    names = [f"domain-{i}" for i in range(20)]
    colours = charts.domain_colours(names)
    assert charts.domain_colours(reversed(names)) == colours
    assert set(colours.values()) == set(charts.PALETTE)
    assert charts.PRUNED not in charts.PALETTE


def test_later_names_take_no_colour_away_and_share_one_only_when_all_are_taken():
    names = [f"domain-{i}" for i in range(18)]
    colours = charts.domain_colours(names)
    for later in (["zoo"], ["zoo", "ark"], ["zoo", "ark", "bay"]):
        now = charts.domain_colours(names, later)
        assert colours.items() <= now.items()
        colours = now
    assert len(set(colours.values())) == 20
    assert len(charts.domain_colours([f"domain-{i}" for i in range(50)])) == 50


def test_most_domains_keep_their_colour_when_another_is_merged_away():
    names = [f"domain-{i}" for i in range(14)]
    colours, now = charts.domain_colours(names), charts.domain_colours(names[1:])
    assert sum(colours[name] == colour for name, colour in now.items()) >= 11


def test_the_heaviest_domain_is_on_top_in_its_own_colour():
    figure = charts.mixture_bars(DOMAINS, WEIGHTS, NATURAL, charts.PALETTE)
    bars, ticks, numbers = figure.data
    assert list(bars.x) == [0.1, 0.15, 0.25, 0.5]  # plotly draws from below
    assert list(ticks.x) == [0.4, 0.4, 0.0, 0.2]
    assert list(bars.marker.color) == [charts.PALETTE[i] for i in (0, 2, 3, 1)]
    assert list(figure.layout.yaxis.ticktext)[-1] == "sport"
    assert list(numbers.text) == ["10.0%", "15.0%", "25.0%", "50.0%"]


def test_a_domain_without_natural_share_has_no_ratio():
    hover = charts.mixture_bars(DOMAINS, WEIGHTS, NATURAL, charts.PALETTE).data[0].hovertext
    assert "nan" in hover[2]
    assert "2.50 x" in hover[3]


def test_names_from_documents_are_never_markup_nor_templates():
    figure = charts.mixture_bars(DOMAINS, WEIGHTS, NATURAL, charts.PALETTE)
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


def test_a_swatch_is_a_picture_of_its_colour():
    assert "59a28a" in charts.swatch("#59a28a")
    assert charts.swatch("#59a28a").startswith("data:image/svg+xml")
    assert "#" not in charts.swatch("#59a28a")


# The map


def square(n=2000):
    return np.random.default_rng(0).uniform(0, 10, (n, 2)).astype(np.float32)


def test_a_polygon_holds_what_the_even_odd_rule_says():
    points = square()
    x, y = points.T
    assert np.array_equal(maps.inside(points, [2, 8, 8, 2], [1, 1, 5, 5]), (x >= 2) & (x < 8) & (y >= 1) & (y < 5))
    triangle = maps.inside(points, [0, 10, 0], [0, 0, 10])
    assert np.array_equal(triangle, x + y < 10)
    star = (
        [5 + 4 * np.cos(a) for a in 4 * np.pi / 5 * np.arange(5)],
        [5 + 4 * np.sin(a) for a in 4 * np.pi / 5 * np.arange(5)],
    )
    assert not maps.inside(np.array([[5, 5]], np.float32), *star)[0]  # the middle of a star is wound twice
    assert maps.inside(np.array([[8, 5]], np.float32), *star)[0]
    assert not maps.inside(points, [3, 3], [1, 9]).any()


def test_a_selection_is_all_that_lies_in_any_of_its_shapes():
    points = square()
    box = {"x": [6, 4], "y": [4, 6]}
    lasso = {"x": [0, 1, 1, 0], "y": [0, 0, 1, 1]}
    found = maps.selected(points, {"box": [box], "lasso": [lasso]})
    x, y = points.T
    assert np.array_equal(found, ((x >= 4) & (x < 6) & (y >= 4) & (y < 6)) | ((x < 1) & (y < 1)))
    assert maps.selected(points, {"points": [{"customdata": 3}]}) is None
    assert maps.picked({"points": [{"customdata": 3}]}) == 3
    assert maps.picked({"points": [{"customdata": 3}], "lasso": [lasso]}) is None
    assert maps.picked({"points": [{"x": 1}]}) is None


def test_the_density_image_shows_all_documents_where_they_are_and_in_their_colours():
    points = np.array([[0, 0]] * 50 + [[10, 10]], np.float32)
    rgb = np.array([[255, 0, 0]] * 50 + [[0, 0, 255]], np.uint8)
    encoded = maps.density(points, rgb, (-0.5, 10.5, -0.5, 10.5)).removeprefix("data:image/png;base64,")
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(encoded))))
    side = len(picture)
    below, above = picture[side // 2 :, : side // 2], picture[: side // 2, side // 2 :]
    assert below.reshape(-1, 4).max(axis=0)[[0, 2]].tolist() == [255, 0]
    assert above.reshape(-1, 4).max(axis=0)[[0, 2]].tolist() == [0, 255]
    assert below[..., 3].max() > above[..., 3].max() > 0
    assert (picture[..., 3] > 0).sum() == 2


def test_groups_beyond_the_colours_share_one_and_unknown_numbers_are_grey():
    coloured = maps.by_group("source", np.arange(500) % 30, [f"s{i}" for i in range(30)])
    assert coloured.names[-1] == "10 others"
    assert len(coloured.names) == len(coloured.colours) == 21
    scale = maps.by_value("quality", np.array([0.0, 5.0, np.nan]))
    assert scale.rgb()[2].tolist() == [int(charts.INK[i : i + 2], 16) for i in (1, 3, 5)]
    assert len({tuple(colour) for colour in scale.rgb().tolist()}) == 3


def test_labels_do_not_cover_each_other_and_the_largest_come_first():
    at = np.array([[5, 5]] * 8, np.float32)
    shifts = maps.spread(at, np.arange(8), ["name"] * 8, (0, 10, 0, 10), 500, 500)
    shown = sorted(shifts[shifts != maps.HIDDEN].tolist())
    assert shown == [-32, -16, 0, 16, 32]
    assert shifts[7] == 0
    assert (shifts[:3] == maps.HIDDEN).all()


def test_the_map_has_no_axes_and_its_names_are_no_markup():
    rows = np.arange(3, dtype=np.int32)
    groups = [(DOMAINS[2], charts.PRUNED, square(3), rows)]
    figure = charts.document_map(groups, (0, 10, 0, 10), "data:,", [(DOMAINS[2], 1.0, 1.0, 0)], [("found", square(2))])
    assert not figure.layout.xaxis.visible
    assert "&lt;b&gt;" in figure.data[0].name
    assert "spam <b>" not in figure.layout.annotations[0].text
    assert figure.data[0].customdata.tolist() == [0, 1, 2]
    assert figure.layout.images[0].sizex == 10
    assert not figure.layout.showlegend
    told = charts.document_map(groups, (0, 10, 0, 10), legend=[DOMAINS[2]])
    assert told.layout.showlegend
    assert told.data[0].showlegend
