"""Figures of a search, and what feeds them: from plain arrays, and nothing in them is markup."""

import json

import numpy as np
import pytest

from app.charts import PALETTE
from app.search import charts
from app.search.charts import FAILED, Points, symbol_of
from app.search.livecurves import training
from app.search.mixing import from_weights, moved
from app.search.notes import read_notes, write_note
from climb_engine.config import SearchConfig
from climb_engine.search.space import MixtureSpace
from climb_engine.types import ClimbError

DOMAINS = ("law", "sport", "spam <b>x</b> %{y}", "code")
TOKENS = np.array([40.0, 20.0, 30.0, 10.0])


def space(**knobs):
    return MixtureSpace.from_config(DOMAINS, TOKENS, SearchConfig(**knobs))


def points(name, symbol, filled, scores):
    n = len(scores)
    return Points(name, symbol, filled, np.zeros((n, 2)), np.array(scores), np.arange(n), ["hover"] * n)


# The map


def test_iterations_and_origins_have_symbols_of_their_own():
    symbols = {symbol_of(i, "sampled") for i in range(1, 11)}
    symbols |= {symbol_of(1, origin) for origin in ("suggested", "reused", "confirm")}
    assert len(symbols) == 13


def test_the_map_fills_what_is_measured_and_leaves_hollow_what_is_open():
    groups = [
        points("iteration 1", "circle", True, [0.1, 0.5]),
        points("iteration 1, open", "circle", False, [0.3]),
        points("failed", FAILED, False, [np.nan]),
    ]
    figure = charts.landscape(groups, np.zeros((3, 2)), np.zeros(3), (0, 0), [("chosen", (0, 0))])
    traces = {trace.name: trace for trace in figure.data}
    assert traces["iteration 1"].marker.symbol == "circle"
    assert traces["iteration 1, open"].marker.symbol == "circle-open"
    assert traces["failed"].marker.symbol == "x-thin-open"
    assert traces["chosen"].marker.symbol == "circle-open"
    assert traces["natural"].marker.symbol == "star"
    assert traces["iteration 1"].marker.cmax == traces["candidates"].marker.cmax == 0.5
    assert list(traces["iteration 1"].customdata) == [0, 1]


def test_a_map_without_a_score_has_no_colours_but_is_drawn():
    figure = charts.landscape([points("a", "circle", False, [np.nan])], np.zeros((3, 2)), None, (0, 0))
    assert figure.data[1].marker.color == charts.INK


def test_predictions_lie_on_the_line_where_they_are_right():
    scores = np.array([1.0, 2.0, 3.0])
    figure = charts.against_measured(scores, np.full(3, 0.5), scores, np.arange(3), np.ones(3, np.int64))
    line, dots = figure.data
    assert list(line.x) == list(line.y)
    assert list(dots.x) == list(dots.y)
    assert dots.error_y.array[0] == pytest.approx(0.64, abs=0.01)  # half an 80 % interval


def test_the_largest_effect_is_on_top_whatever_its_sign():
    figure = charts.effects(DOMAINS, np.array([0.1, -0.5, 0.0, 0.2]), np.full(4, 0.01), PALETTE)
    assert list(figure.layout.yaxis.ticktext)[-1] == "sport"
    assert "<b>" not in json.dumps(figure.to_plotly_json(), default=str)


def test_each_step_has_a_bar_that_adds_up_to_one():
    table = np.array([[0.4, 0.2, 0.3, 0.1], [0.1, 0.6, 0.1, 0.2]])
    figure = charts.weights_by_step(DOMAINS, ["natural", "iteration <i>1</i>"], table, PALETTE)
    assert np.allclose(sum(np.array(trace.y) for trace in figure.data if trace.type == "bar"), 1)
    assert "<i>" not in json.dumps(figure.to_plotly_json(), default=str)


def test_the_selected_curve_is_drawn_last_and_thick():
    lines = [(trial, np.arange(3), np.ones(3)) for trial in range(5)]
    figure = charts.curves(lines, np.array([1.0, 2.0, np.nan, 4.0, 5.0]), selected=1)
    drawn = [trace for trace in figure.data if trace.mode == "lines"]
    assert drawn[-1].name == "trial 1"
    assert drawn[-1].line.width > drawn[0].line.width


# A mixture by hand


def test_the_others_make_room_in_proportion_and_the_sum_stays_one():
    found = moved(space(), space().natural, 1, 0.6, set())
    assert found[1] == pytest.approx(0.6)
    assert found.sum() == pytest.approx(1)
    assert np.allclose(found[[0, 2, 3]] / found[[0, 2, 3]].sum(), TOKENS[[0, 2, 3]] / 80)


def test_no_move_leaves_the_limits_or_touches_a_locked_domain():
    rng = np.random.default_rng(0)
    limited = space(max_weight={"law": 0.5}, min_weight={"code": 0.05}, max_divergence=0.8)
    weights = limited.natural
    for _ in range(300):
        domain, locked = int(rng.integers(4)), set(rng.choice(4, rng.integers(0, 4), replace=False).tolist())
        after = moved(limited, weights, domain, float(rng.random()), locked)
        assert limited.contains(after[None])[0]
        for other in locked - {domain}:
            assert after[other] == pytest.approx(weights[other], abs=1e-9)
        weights = after


def test_where_all_others_are_locked_nothing_moves():
    natural = space().natural
    assert np.allclose(moved(space(), natural, 0, 0.9, {1, 2, 3}), natural)


def test_what_weighs_nothing_can_be_raised_again():
    found = moved(space(), np.array([1.0, 0, 0, 0]), 0, 0.4, set())
    assert np.allclose(found, [0.4, 0.2, 0.3, 0.1])


def test_weights_of_a_file_are_divided_by_their_sum_and_brought_within_the_limits():
    found, changed = from_weights(space(), {"law": 4, "code": 4})
    assert not changed
    assert np.allclose(found, [0.5, 0, 0, 0.5])
    found, changed = from_weights(space(max_weight={"law": 0.3}), {"law": 1})
    assert changed
    assert found[0] == pytest.approx(0.3)
    for wrong in ({"none": 1.0}, {}, {"law": float("nan")}, {"law": -1.0, "code": 2.0}):
        with pytest.raises(ClimbError):
            from_weights(space(), wrong)


# Notes and live curves


def test_notes_are_kept_by_search_and_trial_and_an_empty_one_is_gone(tmp_path):
    write_note(tmp_path, "aa", 3, " **odd** ")
    write_note(tmp_path, "bb", 3, "other")
    assert read_notes(tmp_path, "aa") == {3: "**odd**"}
    write_note(tmp_path, "aa", 3, " ")
    assert read_notes(tmp_path, "aa") == {}
    assert read_notes(tmp_path, "bb") == {3: "other"}


@pytest.mark.parametrize("content", ["{", "[]", '{"aa": 3}'])
def test_broken_notes_are_told_and_not_overwritten(tmp_path, content):
    (tmp_path / "notes.json").write_text(content)
    with pytest.raises(ClimbError, match=r"notes\.json"):
        write_note(tmp_path, "aa", 3, "x")
    assert (tmp_path / "notes.json").read_text() == content


def told(trials, done, losses):
    return {
        "stage": "proxies",
        "done": done,
        "total": 9,
        "unit": "steps",
        "facts": {"trials": trials, "losses": losses},
    }


def test_the_last_stack_in_training_is_read_and_a_torn_line_is_left_out(tmp_path):
    events = [told([1], 8, [5.0]), told([2, 3], 1, [4.0, 5.0]), {"stage": "search"}, told([2, 3], 5, [3.0, None])]
    text = "".join(json.dumps(event) + "\n" for event in events)
    (tmp_path / "events.jsonl").write_text(text + '{"stage":"proxies","do')
    found = training(tmp_path)
    assert found.trials == (2, 3)
    assert list(found.steps) == [1, 5]
    assert found.losses[0].tolist() == [4.0, 5.0]
    assert np.isnan(found.losses[1, 1])


def test_before_any_proxy_there_is_no_curve(tmp_path):
    assert training(tmp_path) is None
    (tmp_path / "events.jsonl").write_text('{"state": "running"}\n')
    assert training(tmp_path) is None
