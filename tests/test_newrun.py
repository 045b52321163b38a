"""A new run in the app: what is missing before it can be made, what good means, and where its making leads."""

import shutil

import pytest

from app.overview.target import COMMON, MEASURES
from app.session import run_names
from climb_engine.pipeline import Run
from climb_engine.search.tasks import TASKS
from tests.apptest import PATIENCE, ROOT, go_back, pressed, settled, shown, words
from tests.test_pages import CHROMIUM, begun, corpus, server  # noqa: F401 - fixtures


@pytest.mark.usefixtures("runs")
def test_a_run_that_cannot_be_made_yet_says_what_is_missing(corpus):  # noqa: F811
    app = shown("new")
    assert "First name the inputs" in words(app)
    app.text_area(key="new.inputs").set_value(str(corpus)).run()
    assert 'First press "Show the first documents"' in words(app)
    assert 'First press "Show the first documents"' in app.button(key="make").help.replace("\\", "")
    app = pressed(app, "look")
    assert not app.button(key="make").disabled
    assert "First name" not in words(app)
    assert "First press" not in words(app)
    app.number_input(key="new.corpus.min_chars").set_value(5).run()
    assert app.button(key="make").disabled
    assert "have changed: press" in words(app)
    app = pressed(app, "look")
    app.pills(key="new.target").set_value("tasks of my choice").run()
    app.multiselect(key="new.target.tasks").set_value([]).run()
    assert app.button(key="make").disabled
    assert "choose at least one task, or held-out text" in words(app)


def test_what_good_means_is_chosen_with_a_new_run(runs, corpus):  # noqa: F811
    app = shown("new")
    app.text_input(key="new.name").set_value("stem")
    app.text_area(key="new.inputs").set_value(str(corpus)).run()
    assert "arc_easy (school science, easier), piqa (everyday physics), hellaswag (how a scene goes on)." in words(app)
    app.pills(key="new.target").set_value("STEM").run()
    assert "do best at just this: mmlu_stem (mathematics, science, computing)." in words(app)
    pressed(pressed(app, "look"), "make")
    target = Run(runs / "stem").config.target
    assert (target.tasks, target.heldout) == ({"mmlu_stem": 1.0}, {})


def test_what_good_means_is_put_together_of_tasks_and_held_out_text(runs, corpus):  # noqa: F811
    app = shown("new")
    app.text_area(key="new.inputs").set_value(str(corpus)).run()
    app.pills(key="new.target").set_value("tasks of my choice").run()
    app.multiselect(key="new.target.tasks").set_value(["boolq"]).run()
    app.toggle(key="new.target.heldout").set_value(True).run()
    pressed(pressed(app, "look"), "make")
    target = Run(runs / "corpus").config.target
    assert (target.tasks, target.heldout) == ({"boolq": 1.0}, {"all": 1.0})


def test_every_known_task_says_what_it_measures_and_common_targets_are_made_of_them():
    assert set(MEASURES) == set(TASKS)
    assert all(set(tasks) <= set(TASKS) and (tasks or heldout) for tasks, heldout in COMMON.values())


def test_folders_that_no_run_can_be_called_are_none_of_ours(runs, corpus):  # noqa: F811
    begun(runs, corpus)
    shutil.copytree(runs / "piers", runs / "mini six ü")
    assert shown(run="mini six ü").title[0].value == "piers"
    assert run_names() == ["piers"]


def test_pages_are_turned_in_one_way_only():
    """The bare call clears the address, which Streamlit refuses while the picker is bound to a part of it."""
    files = [path for room in ("app", "pages") for path in (ROOT / room).rglob("*.py")]
    assert [path for path in files if "switch_page(" in path.read_text()] == [ROOT / "app" / "session.py"]


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_in_a_browser_a_second_run_is_made_and_its_overview_shown(runs, corpus, server):  # noqa: F811
    playwright = pytest.importorskip("playwright.sync_api")
    address, log = server
    begun(runs, corpus)
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(f"{address}/?run=piers")
        page.get_by_role("link", name="New run").click()
        fill(page, corpus)
        page.locator("button:not([disabled])", has_text="Make the run").first.click()
        page.get_by_role("heading", name="quays").wait_for()
        settled(page)
        assert page.url == f"{address}/?run=quays"
        go_back(page, "/new")
        page.get_by_role("heading", name="New run").wait_for()
        assert page.get_by_test_id("stException").count() == 0
        browser.close()
    assert "Traceback" not in log.read_text()


def fill(page, inputs) -> None:
    """Everything that a new run asks for; what was opened on the way stays open."""
    page.get_by_text("Clusters, domains and embedding model").click()
    opened = page.locator("details[open]")
    opened.wait_for()
    name = page.get_by_role("textbox", name="Name of the run")
    fault = page.get_by_text("there is a run called piers already").first
    name.fill("piers")
    fault.wait_for()
    name.fill("quays")
    fault.wait_for(state="detached")
    field = page.get_by_role("textbox", name="Inputs, one per line")
    field.fill(str(inputs))
    field.press("Control+Enter")
    page.locator("button:not([disabled])", has_text="Show the first documents").first.click()
    page.get_by_test_id("stDataFrame").first.wait_for()
    settled(page)
    assert opened.count() == 1
