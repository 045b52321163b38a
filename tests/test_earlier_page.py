"""A search under other settings in the app: pointed to, looked at, and gone back to."""

import pytest

from climb_engine import curation
from climb_engine.config import Override
from climb_engine.pipeline import Run
from tests.apptest import PATIENCE, go_back, pressed, settled, shown, turned, words
from tests.test_pages import CHROMIUM, corpus, finished, server, tiny  # noqa: F401 - fixtures


@pytest.fixture
def pruned(tiny):  # noqa: F811
    """The finished run with a cluster pruned since, its domains made anew and nothing searched over them."""
    run = Run(tiny)
    cluster = next(one.cluster for one in curation.decided(run).decisions if one.kept)
    curation.add(run, Override(action="prune", cluster=cluster))
    run.run("tokens")
    return run


@pytest.mark.usefixtures("tiny")
@pytest.mark.parametrize("page", ["overview", "search", "compare", "export"])
def test_nothing_is_said_of_earlier_searches_where_there_are_none(page):
    assert "settings have changed" not in words(shown(page))


@pytest.mark.usefixtures("pruned")
@pytest.mark.parametrize("page", ["overview", "search", "compare", "export"])
def test_a_search_that_went_out_of_view_is_pointed_to(page):
    app = shown(page)
    assert "The settings have changed since the last search" in words(app)
    assert "Since then: prune c" in words(app)


def test_an_earlier_search_is_looked_at_from_page_to_page_and_left_again(pruned):
    digest = next(iter(pruned.workspace.search_configs()))
    log = pruned.workspace.log(digest).path.read_bytes()
    app = pressed(shown("search"), f"earlier.look.{digest}")
    assert "to be read only" in words(app)
    assert [one.disabled for one in app.button if one.key == "launch.go"] in ([], [True])
    assert any(chart.proto.id for chart in app.get("plotly_chart"))
    assert "to be read only" in words(turned(app, "compare"))
    assert "to be read only" in words(turned(app, "export"))
    app = pressed(turned(app, "search"), "earlier.leave")
    assert "to be read only" not in words(app)
    assert pruned.workspace.log(digest).path.read_bytes() == log


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.usefixtures("pruned")
def test_in_a_browser_an_earlier_search_is_looked_at_from_the_overview(server):  # noqa: F811
    playwright = pytest.importorskip("playwright.sync_api")
    address, log = server
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(f"{address}/?run=tiny")
        page.get_by_role("button", name="Look at it").click()
        page.get_by_text("An earlier search, to be read only.").wait_for()
        settled(page)
        assert page.url == f"{address}/search?run=tiny"
        go_back(page, "/")
        page.get_by_role("heading", name="tiny").wait_for()
        assert page.get_by_test_id("stException").count() == 0
        browser.close()
    assert "Traceback" not in log.read_text()


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
@pytest.mark.usefixtures("tiny")
def test_in_a_browser_an_address_without_a_run_shows_the_one_that_was_looked_at(server):  # noqa: F811
    playwright = pytest.importorskip("playwright.sync_api")
    address, log = server
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        page.goto(f"{address}/?run=tiny")
        page.get_by_role("heading", name="tiny").wait_for()
        settled(page)
        page.evaluate("history.pushState({}, '', '/export'); dispatchEvent(new PopStateEvent('popstate'))")
        page.get_by_text("Exports so far").wait_for()
        page.keyboard.press("r")  # runs the script again
        settled(page)
        assert page.url == f"{address}/export"  # another address, pushed, would keep Back from going on
        page.get_by_role("link", name="Overview").click()
        page.get_by_role("heading", name="tiny").wait_for()
        assert page.get_by_test_id("stException").count() == 0
        browser.close()
    assert "Traceback" not in log.read_text()


def test_the_settings_of_an_earlier_search_are_taken_back(pruned):
    digest = next(iter(pruned.workspace.search_configs()))
    app = pressed(shown("search"), f"earlier.back.{digest}")
    assert "settings have changed" not in words(app)
    assert Run(pruned.workspace.folder).search_digest == digest
    assert Run(pruned.workspace.folder).config.domains.overrides == ()


def test_a_new_search_has_the_earlier_one_in_a_list(pruned):
    digest = next(iter(pruned.workspace.search_configs()))
    pruned.configure(pruned.config.with_values({"search.iterations": [2], "search.confirm": 0}))
    pruned.search(1)
    app = shown("search")
    assert "settings have changed" not in words(app)
    assert app.button(key=f"earlier.look.{digest}").label == "Look at it"
