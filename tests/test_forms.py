"""Widgets made from knobs: every section can be drawn, and gives back what it was given."""

import json

import pytest
from streamlit.testing.v1 import AppTest

from app.forms import as_text, from_text, kind_of
from climb_engine.config import DomainsConfig, RunConfig, SearchConfig
from climb_engine.types import ClimbError

SECTIONS = tuple(RunConfig.model_fields)


def form(section: str, values: str) -> None:
    """The script of a page that is nothing but one section's form."""
    import json

    import streamlit as st

    from app.forms import widgets
    from app.session import explained
    from climb_engine.config import RunConfig

    with explained():
        config = RunConfig.parse(json.loads(values))
        edited = widgets(getattr(config, section), "form")
        changed = config.with_values({f"{section}.{name}": value for name, value in edited.items()})
        st.session_state["config"] = changed.model_dump_json()


def drawn(section: str, config: RunConfig) -> AppTest:
    app = AppTest.from_function(form, args=(section, config.model_dump_json()), default_timeout=60).run()
    assert not app.exception
    return app


def read(app: AppTest) -> RunConfig:
    return RunConfig.parse(json.loads(app.session_state["config"]))


UNUSUAL = RunConfig.parse(
    {
        "corpus": {"inputs": ["/data/a b.jsonl", "hf:x/y"], "keep_columns": ["score"]},
        "quality": {"scorers": ["heuristics", "column"], "columns": {"quality": 'the "score" column'}},
        "domains": {
            "thresholds": {},
            "merge_distance": 0.001,
            "overrides": [
                {"action": "prune", "cluster": 3, "why": "spam"},
                {"action": "rename", "domain": "a.b", "to": "c"},
            ],
        },
        "target": {"tasks": {"piqa": 0.25}, "heldout": {"law & order": 2.0}},
        "proxy": {"learning_rate": 3e-7},
        "search": {"iterations": [5, 4, 3, 2], "min_weight": {"law & order": 0.01}},
    }
)


@pytest.mark.parametrize("section", SECTIONS)
@pytest.mark.parametrize("config", [RunConfig(), UNUSUAL], ids=["defaults", "unusual"])
def test_an_untouched_form_gives_back_what_it_was_given(section, config):
    app = drawn(section, config)
    assert not app.error
    assert read(app) == config


def test_every_knob_has_a_widget_with_its_help():
    app = drawn("search", RunConfig())
    kinds = ("number_input", "text_input", "text_area", "selectbox", "toggle", "multiselect")
    shown = {widget.key.removeprefix("form."): widget.help for kind in kinds for widget in getattr(app, kind)}
    assert shown == {name: spec.description for name, spec in SearchConfig.model_fields.items()}


def test_edits_arrive():
    app = drawn("search", RunConfig())
    app.selectbox(key="form.method").select("bayesian")
    app.text_input(key="form.iterations").set_value("8, 4")
    app.text_area(key="form.max_weight").set_value('"law & order" = 0.5')
    app.number_input(key="form.max_ratio").set_value(2.5).run()
    search = read(app).search
    assert (search.method, search.iterations, search.max_ratio) == ("bayesian", (8, 4), 2.5)
    assert search.max_weight == {"law & order": 0.5}


def test_overrides_are_rows():
    app = drawn("domains", RunConfig())
    app.session_state["form.overrides"] = {"edited_rows": {}, "added_rows": [{"action": "keep", "cluster": 2}],
                                           "deleted_rows": []}  # fmt: skip
    app.run()
    assert [(row.action, row.cluster) for row in read(app).domains.overrides] == [("keep", 2)]


def test_what_cannot_be_read_names_the_knob():
    app = drawn("search", RunConfig())
    app.text_input(key="form.iterations").set_value("8, many").run()
    assert "iterations: write whole numbers" in app.error[0].value.replace("\\", "")


def test_what_the_knob_refuses_is_told_by_the_knob():
    app = drawn("proxy", RunConfig())
    app.number_input(key="form.hidden").set_value(65).run()
    assert "hidden must be heads times an even number" in app.error[0].value.replace("\\", "")


@pytest.mark.parametrize(
    ("section", "widget", "knob", "value", "reason"),
    [
        ("search", "number_input", "max_ratio", 0.5, "must be more than 1"),
        ("search", "number_input", "candidates", 10**12, "must be at most 10,000,000"),
        ("search", "text_input", "iterations", "6000000000000, 4", "takes at most 10,000 trials"),
        ("search", "text_input", "iterations", "", "needs at least 1 entry"),
        ("search", "text_area", "prior", 'a = "b"', "must be a number"),
        ("clustering", "number_input", "keywords", 51, "must be at most 50"),
        ("proxy", "number_input", "warmup", 1.0, "must be less than 1"),
        ("corpus", "text_input", "text_column", "", "must not be empty"),
        ("quality", "multiselect", "scorers", [], "needs at least 1 entry"),
    ],
)
def test_what_is_wrong_with_a_value_is_said_below_its_widget(section, widget, knob, value, reason):
    app = drawn(section, RunConfig())
    assert not [one for one in app.markdown if "red" in one.value]
    getattr(app, widget)(key=f"form.{knob}").set_value(value).run()
    assert reason in "".join(one.value for one in app.markdown).replace("\\", "")
    assert reason in app.error[0].value.replace("\\", "")


def test_what_cannot_be_read_takes_no_other_widget_away():
    app = drawn("search", RunConfig())
    before = [widget.key for widget in app.main if getattr(widget, "key", None)]
    app.text_input(key="form.iterations").set_value("abc").run()
    said = app.error[0].value.replace("\\", "")
    assert "iterations: write whole numbers with commas between, such as 64, 32, 16" in said
    assert "invalid literal" not in said
    assert [widget.key for widget in app.main if getattr(widget, "key", None)] == before
    assert {"form.max_weight", "form.prior"} <= {widget.key for widget in app.text_area}


@pytest.mark.parametrize("section", SECTIONS)
def test_every_knob_of_every_section_has_a_kind(section):
    for spec in type(getattr(RunConfig(), section)).model_fields.values():
        assert kind_of(spec.annotation) in {
            *("flag", "choice", "choices", "integer", "number", "text", "lines", "integers", "table", "rows")
        }


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("lines", ["a b", "c"]),
        ("integers", [64, 32]),
        ("table", {"a": 1.5, 'quo"te': 2.0, "ünï.dot": 1.0}),
        ("table", {"path": 'C:\\x "y"\n'}),
        ("table", {}),
    ],
)
def test_text_fields_read_back_what_they_show(kind, value):
    assert from_text(kind, as_text(kind, value), "knob") == value


def test_broken_tables_are_refused():
    with pytest.raises(ClimbError, match=r"thresholds: write lines of name .*; line 2 is none: quality : 3$"):
        from_text("table", "educational = 1\nquality : 3", "thresholds")


def test_the_thresholds_are_shown_one_a_line():
    assert as_text("table", DomainsConfig().thresholds).splitlines()[0] == "quality = 1.0"
