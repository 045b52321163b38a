"""The settings on the overview: a draft over all sections, applied at once or thrown away."""

from streamlit.testing.v1 import AppTest

from climb_engine.pipeline import Run
from tests.apptest import pressed, shown, turned, words
from tests.test_pages import begun, corpus  # noqa: F401 - fixtures

ITERATIONS = (32, 16, 16, 16, 16, 16)


def opened(app: AppTest) -> AppTest:
    app.session_state["settings"] = True
    return app.run()


def knob(app: AppTest, section: str, name: str):
    """A knob's widget, as it is drawn at the time."""
    widgets = [*app.text_input, *app.number_input]
    return next(one for one in widgets if f".{section}." in one.key and one.key.endswith(f".{name}"))


def test_a_draft_is_kept_over_sections_and_pages_until_it_is_applied(runs, corpus):  # noqa: F811
    run = begun(runs, corpus)
    app = opened(shown())
    assert app.button(key="apply").disabled
    knob(app, "search", "iterations").set_value("6, 4").run()
    knob(app, "proxy", "layers").set_value(3).run()
    assert "search: iterations 32, 16, 16, 16, 16, 16 → 6, 4" in words(app)
    assert "proxy: layers 2 → 3" in words(app)
    knob(app, "tokens", "vocab_size").set_value(7).run()
    assert "tokens.vocab_size: must be at least 300 (got 7)" in words(app)
    assert app.button(key="apply").disabled
    knob(app, "tokens", "vocab_size").set_value(400).run()
    app = opened(turned(turned(app, "jobs"), "overview"))
    pressed(app, "apply")
    config = Run(run).config
    assert (config.search.iterations, config.proxy.layers, config.tokens.vocab_size) == ((6, 4), 3, 400)
    assert app.button(key="apply").disabled


def test_a_draft_is_thrown_away_when_asked(runs, corpus):  # noqa: F811
    run = begun(runs, corpus)
    app = opened(shown())
    knob(app, "search", "iterations").set_value("abc").run()
    assert "search: iterations: write whole numbers" in words(app)
    app = pressed(app, "discard")
    assert knob(app, "search", "iterations").value == "32, 16, 16, 16, 16, 16"
    assert "discard" not in {button.key for button in app.button}
    assert Run(run).config.search.iterations == ITERATIONS


def test_what_was_applied_once_does_not_come_back_as_a_draft(runs, corpus):  # noqa: F811
    run = Run(begun(runs, corpus))
    app = opened(shown())
    knob(app, "search", "iterations").set_value("6, 4").run()
    app = pressed(app, "apply")
    run.configure(run.config)  # as it was before, by other hands
    app.run()
    assert knob(app, "search", "iterations").value == "32, 16, 16, 16, 16, 16"
    assert app.button(key="apply").disabled


def test_an_error_names_a_decision_and_no_knob():
    def page():
        from app.session import show_error

        show_error("domains.overrides[1] (rename): no domain is called 'sea'")

    app = AppTest.from_function(page).run()
    assert app.error[0].value.replace("\\", "") == "decision 2 (rename): no domain is called 'sea'"
