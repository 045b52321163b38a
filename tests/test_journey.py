"""The whole way of a user in a real browser: from files to an exported mixture, by way of every page."""

import json

import pytest

from climb_engine.pipeline import Run
from tests.apptest import PATIENCE, settled
from tests.test_pages import CHROMIUM, SMALL, corpus, leaves, server  # noqa: F401 - fixtures

JOB = 180_000  # milliseconds that a job may take on a busy machine

pytestmark = [
    pytest.mark.browser,
    pytest.mark.network,
    pytest.mark.timeout(900),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine"),
]


@pytest.fixture
def page(server):  # noqa: F811
    """A page of the app on an empty runs folder; whatever goes wrong in it fails the test at its end."""
    playwright = pytest.importorskip("playwright.sync_api")
    address, log = server
    faults: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 1000}, base_url=address)
        page.set_default_timeout(PATIENCE * 1000)
        page.on("pageerror", lambda error: faults.append(f"page error: {error}"))
        page.on("request", lambda request: faults.append(request.url) if leaves(request.url, address) else None)
        page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
        yield page
        browser.close()
    assert not faults
    assert "Traceback" not in (said := log.read_text()), said[said.index("Traceback") :][:4000]


def press(page, name, then=None):
    """Press a button when it can be pressed, and wait for what it leads to."""
    button(page, name).click()
    if then is not None:
        then.wait_for(timeout=JOB)


def button(page, name):
    return page.locator("button:not([disabled])", has_text=name).first


def test_from_files_to_an_exported_mixture_by_way_of_every_page(page, runs, corpus):  # noqa: F811
    make_a_run(page, corpus)
    run = Run(runs / "trip")
    run.configure(run.config.with_values({**SMALL, "search.iterations": [4, 3, 2]}))  # as an editor of config.toml does
    page.goto("/?run=trip")
    press(page, "Run the stages", button(page, "Run iteration 1 of 3"))
    look_and_prune(page, Run(runs / "trip"))
    search_with_a_mixture_of_ones_own(page)
    search = Run(runs / "trip").open_search()
    assert search.finished
    assert [trial.origin for trial in search.trials].count("suggested") == 1
    assert all(trial.result for trial in search.trials)
    page.goto("/compare?run=trip&a=chosen&b=natural")
    page.get_by_role("heading", name="Repeats").wait_for()
    page.goto("/export?run=trip&mix=chosen")
    press(page, "Write to exports", page.get_by_text("Written to"))
    written = json.loads((runs / "trip/exports/mixture/mixture.json").read_text())
    assert written["weights"] == search.choice.mixture.as_dict()
    assert [one["action"] for one in written["provenance"]["overrides"]] == ["prune"]


def make_a_run(page, corpus):  # noqa: F811
    page.goto("/")
    press(page, "Skip")
    page.get_by_text("What this is for").wait_for(state="detached")
    settled(page)
    page.get_by_role("textbox", name="Name of the run").fill("trip")
    page.get_by_role("textbox", name="Inputs, one per line").fill(str(corpus))
    page.get_by_role("textbox", name="Inputs, one per line").press("Control+Enter")
    button(page, "Show the first documents").click()
    page.get_by_test_id("stDataFrame").first.wait_for()
    button(page, "Make the run").click()
    page.get_by_role("heading", name="trip").wait_for()


def look_and_prune(page, run):
    page.goto("/clusters?run=trip")
    press(page, "Make the map", page.get_by_text("documents are drawn as points"))
    smallest = min((row for row in run.clusters.table("clusters").to_pylist()), key=lambda row: row["documents"])
    page.goto(f"/clusters?run=trip&cluster=c{smallest['cluster']}")
    page.get_by_text("Nearest to the cluster's centroid.").wait_for()
    page.get_by_placeholder("why (for the record)").fill("too small to keep")
    page.get_by_placeholder("why (for the record)").press("Enter")
    press(page, "Prune", page.get_by_text("Not applied yet"))
    press(page, "Apply", page.get_by_text("because: too small to keep"))
    button(page, "Run again").click()
    button(page, "Run again").wait_for(state="detached", timeout=JOB)
    page.goto("/?run=trip")
    button(page, "Run iteration 1 of 3").wait_for(timeout=JOB)


def search_with_a_mixture_of_ones_own(page):
    page.goto("/search?run=trip")
    press(page, "Run iteration 1 of 3", button(page, "Run iteration 2 of 3"))
    press(page, "Run iteration 2 of 3", button(page, "Run iteration 3 of 3"))
    page.get_by_text("My own mixture").click()
    button(page, "Queue it").click()
    page.get_by_text("Queued as trial").wait_for()
    page.reload()
    button(page, "Run iteration 3 of 3").click()
    page.get_by_text("The search is finished").first.wait_for(timeout=JOB)
