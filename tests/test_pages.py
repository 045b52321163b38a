"""Every page in every state of a run: with real runs, real jobs, and a real browser where there is one."""

import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from climb_engine.config import RunConfig
from climb_engine.jobs import jobs
from climb_engine.pipeline import Run
from climb_engine.types import ClimbError
from climb_engine.workspace import Log, Workspace
from tests.apptest import PATIENCE, ROOT, cut_log, ended, living_job, pressed, shown, turned, words

HOSTILE = "<img src=x onerror=alert(1)> **bold** :red[red] $x$ [link](http://evil.example)"

TOPICS = {
    "sea": "ship harbour wave sailor tide anchor captain island storm net fish rope",
    "kitchen": "flour butter oven recipe sugar bake onion salt pepper soup pan dinner",
    "space": "planet orbit star galaxy telescope comet gravity moon rocket crater nebula sun",
}
SMALL = {
    "corpus.source_column": "source",
    "clustering.n_clusters": 6,
    "domains.n_domains": 3,
    "domains.thresholds": {},
    "tokens.vocab_size": 300,
    "tokens.heldout_tokens": 256,
    "target.tasks": {},
    "target.heldout": {"all": 1.0},
    "proxy.layers": 1,
    "proxy.hidden": 16,
    "proxy.ffn": 32,
    "proxy.heads": 2,
    "proxy.kv_heads": 1,
    "proxy.sequence_length": 32,
    "proxy.batch_size": 4,
    "proxy.trunk_tokens": 512,
    "proxy.tokens": 512,
    "search.iterations": [4, 3],
    "search.reference_runs": 3,
    "search.confirm": 2,
    "search.candidates": 200,
    "machine.device": "cpu",
    "machine.threads": 1,
}


def documents() -> list[dict]:
    """60 documents on three subjects, one twice, one empty, and twice one that would like to be markup."""
    draw = random.Random(0)
    rows = []
    for i in range(60):
        source, words = list(TOPICS.items())[i % 3]
        seen = [" and the ".join(draw.sample(words.split(), 3)) for _ in range(8)]
        rows.append({"source": source, "text": ". ".join(f"They saw the {three} there" for three in seen) + "."})
    hostile = {"source": HOSTILE, "text": f"{HOSTILE} {seen}"}
    return [*rows, rows[0], {"source": "sea", "text": ""}, hostile, hostile]


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    path = tmp_path_factory.mktemp("corpus") / "documents.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in documents()))
    return path


@pytest.fixture(scope="session")
def finished(tmp_path_factory, corpus):
    """A run from documents to an exported mixture; not to be changed."""
    config = RunConfig().with_values({"corpus.inputs": [str(corpus)], **SMALL})
    run = Run.create(tmp_path_factory.mktemp("finished") / "tiny", config)
    run.search()
    run.export()
    return run.workspace.folder


@pytest.fixture
def tiny(runs, finished):
    """A copy of the finished run that may be changed."""
    return Path(shutil.copytree(finished, runs / "tiny"))


# Without a run


@pytest.mark.parametrize("page", ["overview", "clusters", "jobs", "new"])
@pytest.mark.usefixtures("runs")
def test_without_a_run_every_page_says_what_to_do(page):
    app = shown(page)
    assert "run" in words(app)
    assert not app.error
    if page in ("overview", "new"):
        assert {"demo", "look", "make"} <= {button.key for button in app.button}


def test_the_first_visit_is_guided_until_it_is_skipped_and_can_be_had_again(runs):
    app = shown()
    assert any("What this is for" in one.value for one in app.markdown)
    app.button(key="tour.next").click().run()
    assert any("Overview: where you are" in one.value for one in app.markdown)
    app.button(key="tour.skip").click().run()
    assert not app.exception
    for visit in (app, shown()):
        assert not any("where you are" in one.value for one in visit.markdown)
    again = shown()
    again.button(key="tour.again").click().run()
    assert any("What this is for" in one.value for one in again.markdown)
    assert (runs / ".tour-seen").exists()


def test_a_new_run_shows_its_documents_before_anything_starts(runs, corpus):
    app = shown("new")
    assert app.button(key="make").disabled
    app.text_input(key="new.name").set_value("mine")
    app.text_area(key="new.inputs").set_value(str(corpus)).run()
    app.text_input(key="new.corpus.source_column").set_value("source").run()
    app = pressed(app, "look")
    first = app.dataframe[0].value
    assert len(first) == 20
    assert set(first["source"]) == set(TOPICS)
    assert not (runs / "mine").exists()
    app = pressed(app, "make")
    config = Run(runs / "mine").config
    assert config.corpus.inputs == (str(corpus),)
    assert config.corpus.source_column == "source"
    assert config.corpus.max_documents == 0
    assert app.title[0].value == "mine"
    assert app.button(key="next").label == "Run the stages"


def test_a_name_that_is_taken_or_cannot_be_is_told_before_anything_is_sent(runs, corpus):
    begun(runs, corpus)
    app = shown("new")
    app.text_area(key="new.inputs").set_value(str(corpus)).run()
    app = pressed(app, "look")
    assert not app.button(key="make").disabled
    for name, fault in (("piers", "there is a run called piers already"), ("a/b", "cannot be a name"), ("", "cannot")):
        app.text_input(key="new.name").set_value(name).run()
        assert fault in words(app)
        assert app.button(key="make").disabled
    app.text_input(key="new.name").set_value("quays").run()
    assert not app.button(key="make").disabled


@pytest.mark.usefixtures("runs")
def test_a_new_run_says_how_many_clusters_and_domains_it_comes_to(corpus):
    app = shown("new")
    app.text_area(key="new.inputs").set_value(str(corpus)).run()
    app = pressed(app, "look")
    assert "hold 61 documents, which come to 10 clusters, merged into at most 10 domains" in words(app)
    app.number_input(key="new.clustering.n_clusters").set_value(30).run()
    assert "come to 30 clusters, merged into at most 20 domains" in words(app)
    app.number_input(key="new.clustering.n_clusters").set_value(500).run()
    assert "There are only 61 documents, too few for 500 clusters" in words(app)


@pytest.mark.usefixtures("runs")
def test_other_inputs_want_to_be_looked_at_again(corpus):
    app = shown("new")
    app.text_area(key="new.inputs").set_value(str(corpus)).run()
    app = pressed(app, "look")
    assert not app.button(key="make").disabled
    app.number_input(key="new.corpus.min_chars").set_value(5).run()
    assert app.button(key="make").disabled


def test_inputs_that_are_not_there_are_told_and_nothing_is_made(runs):
    app = shown("new")
    app.text_area(key="new.inputs").set_value("/no/such/file.jsonl").run()
    app = pressed(app, "look")
    assert "/no/such/file.jsonl" in words(app)
    assert app.button(key="make").disabled
    assert not list(runs.parent.rglob("config.toml"))


# A run that has not begun, and one that fails


def begun(runs: Path, corpus: Path, **knobs) -> Path:
    run = Run.create(runs / "piers", RunConfig().with_values({"corpus.inputs": [str(corpus)], **knobs}))
    return run.workspace.folder


def test_a_job_that_failed_is_shown_with_its_next_step(runs, corpus):
    run = begun(runs, corpus, **{"corpus.text_column": "body"})
    app = pressed(shown(), "next")
    assert ended(run).state == "failed"
    app.run()
    assert "body" in app.error[0].value.replace("\\", "")
    assert "card.resume" not in {button.key for button in app.button}  # it would fail again: the setting comes first
    assert app.button(key="mend.apply").label == "Apply and go on"
    app = turned(app, "jobs")
    assert app.dataframe[0].value["state"].tolist() == ["failed"]
    assert "climb run piers" in words(app)
    assert "no column" in words(app) or "body" in words(app)


def test_a_job_that_failed_for_a_setting_leads_to_it_and_goes_on_with_it_changed(runs, corpus):
    run = begun(runs, corpus, **{"clustering.n_clusters": 1000, "embedding.max_tokens": 64})
    app = pressed(shown(), "next")
    assert ended(run).state == "failed"
    app.run()
    assert "wants another number of clusters (clustering.n_clusters)" in words(app)
    assert app.button(key="mend.apply").disabled
    assert "next" not in {button.key for button in app.button}
    box = next(widget for widget in app.number_input if widget.key.startswith("mend."))
    box.set_value(0).run()
    assert "0 comes to 10 clusters for these 61 documents" in words(app)
    config = Run(run).config.with_values({"clustering.n_clusters": 0})
    app = pressed(app, "mend.apply")
    assert Run(run).config == config
    jobs(Workspace(run))[0].stop()
    ended(run)
    app.run()
    assert "mend.apply" not in {button.key for button in app.button}
    assert len(jobs(Workspace(run))) == 2


def test_a_setting_that_was_changed_elsewhere_is_not_asked_for_again(runs, corpus):
    run = begun(runs, corpus, **{"clustering.n_clusters": 1000})
    job = run / "jobs" / "20260101-000000-000000"
    job.mkdir(parents=True)
    (job / "spec.json").write_text(json.dumps({"arguments": ["run"], "started": time.time()}))
    told = {"time": time.time() + 1, "state": "failed", "error": "clustering.n_clusters = 1000, but"}
    (job / "events.jsonl").write_text(json.dumps(told) + "\n")
    assert "mend.apply" in {button.key for button in shown().button}
    os.utime(run / "config.toml", (time.time() + 5, time.time() + 5))
    app = shown()
    assert "mend.apply" not in {button.key for button in app.button}
    assert app.button(key="next").label == "Run the stages"


def test_inputs_that_are_gone_are_told(runs, corpus, tmp_path):
    begun(runs, Path(shutil.copy(corpus, tmp_path / "gone.jsonl")))
    (tmp_path / "gone.jsonl").unlink()
    assert "gone.jsonl" in words(shown())


def test_a_broken_config_is_told(runs, corpus):
    run = begun(runs, corpus)
    (run / "config.toml").write_text("[clustering]\nn_cluster = 5\n")
    assert "did you mean 'n_clusters'" in words(shown())


def test_a_demo_whose_corpus_is_not_built_yet_is_there_with_its_job(runs):
    job = runs / "demo" / "jobs" / "20260101-000000-000000"
    job.mkdir(parents=True)
    (job / "spec.json").write_text(json.dumps({"arguments": ["demo"], "started": time.time()}))
    told = {"time": time.time(), "stage": "demo corpus", "done": 5, "total": 9, "unit": "documents", "facts": {}}
    (job / "events.jsonl").write_text(json.dumps(told) + "\n")
    app = shown()
    assert app.title[0].value == "demo"
    assert "when its corpus has been built" in words(app)
    assert "interrupted" in words(app)  # nobody holds its lock
    assert app.button(key="card.resume")


def test_a_run_that_is_deleted_under_the_page_is_told(runs, corpus):
    run = begun(runs, corpus)
    app = shown()
    shutil.rmtree(run)
    app.run()
    assert not app.exception
    assert "There is no run called piers" in words(app)


def test_an_unknown_run_in_the_address_is_told_and_the_last_one_shown(runs, corpus):
    begun(runs, corpus)
    app = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=PATIENCE)
    app.query_params["run"] = "../../etc"
    app.run()
    assert not app.exception
    assert "There is no run called ../../etc" in words(app)
    assert app.title[0].value == "piers"


def test_the_address_picks_the_run(runs, corpus):
    begun(runs, corpus)
    Run.create(runs / "quays", RunConfig().with_values({"corpus.inputs": [str(corpus)]}))
    for name in ("piers", "quays"):
        app = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=PATIENCE)
        app.query_params["run"] = name
        assert app.run().title[0].value == name


# A run half-way, and one that is finished


@pytest.mark.network
def test_a_run_whose_stages_are_half_done_goes_on_with_them(tiny):
    for kind in ("domains", "tokens", "trunk"):
        shutil.rmtree(next(tiny.glob(f"artifacts/{kind}-*")))
    app = shown()
    assert app.button(key="next").label == "Go on with the stages, from domains"
    assert {metric.label for metric in app.metric} == {"Documents", "Rejected"}
    pressed(app, "next")
    assert ended(tiny).state == "done"
    app.run()
    assert {metric.label: metric.value for metric in app.metric}["Documents"] == "61"
    assert app.button(key="next").label == "Prove it on larger models"  # the mixture was exported before


@pytest.mark.network
def test_a_stage_at_work_is_not_called_to_do(tiny):
    shutil.rmtree(next(tiny.glob("artifacts/trunk-*")))
    with living_job(tiny, ["run"]):
        event = {"stage": "trunk", "done": 1, "total": 10, "unit": "steps", "facts": {}, "time": time.time()}
        Log(tiny / "jobs" / "20260101-000000-000000" / "events.jsonl").append(event)
        captions = [caption.value for caption in shown().caption]
    assert "at work" in captions
    assert "to do" not in captions


@pytest.mark.network
def test_a_damaged_stage_is_shown_as_such_and_made_again_by_the_button(tiny):
    part = next(tiny.glob("artifacts/tokens-*/part-00000.npy"))
    part.write_bytes(part.read_bytes()[:-1])
    app = shown()
    assert "damaged: part-00000.npy is not whole" in words(app)
    assert app.button(key="next").label == "Go on with the stages, from tokens"
    for page in ("search", "compare", "export"):
        assert "tokens is damaged: part-00000.npy is not whole" in words(turned(app, page))
    pressed(turned(app, "overview"), "next")
    assert ended(tiny).state == "done"
    assert "damaged" not in words(shown())


@pytest.mark.network
def test_the_search_is_steered_iteration_by_iteration(tiny):
    next(tiny.glob("search/*.jsonl")).unlink()
    shutil.rmtree(tiny / "exports")
    app = shown()
    assert app.button(key="next").label == "Run iteration 1 of 2"
    assert "Trains 4 mixtures of iteration 1 and the natural mixture 3 times as the reference." in words(app)
    pressed(app, "next")
    assert ended(tiny).state == "done"
    app.run()
    assert app.button(key="next").label == "Run iteration 2 of 2"
    assert "Best so far" in words(app)
    pressed(app, "next")
    assert ended(tiny).state == "done"
    app.run()
    assert app.button(key="next").label == "Export the mixture"


@pytest.mark.network
def test_while_only_the_natural_mixture_is_measured_it_is_not_compared_with_itself(tiny):
    cut_log(tiny, lambda event: event.get("trial", 0) < 3)
    app = shown()
    assert "7 trials asked. 3 runs of the natural mixture measured." in words(app)
    assert "Best so far" not in words(app)
    assert not app.get("plotly_chart")


@pytest.mark.network
def test_an_interrupted_iteration_is_finished_and_no_further_one_begun(tiny):
    cut_log(tiny, lambda event: event.get("trial", 0) < 5)  # of the natural three and the four of iteration 1
    app = shown()
    assert app.button(key="next").label == "Finish iteration 1"
    pressed(app, "next")
    assert ended(tiny).state == "done"
    assert app.run().button(key="next").label == "Run iteration 2 of 2"


@pytest.mark.network
def test_looking_writes_nothing(tiny):
    next(tiny.glob("search/*.jsonl")).unlink()
    before = sorted(path for path in tiny.rglob("*"))
    turned(shown(), "jobs")
    assert sorted(path for path in tiny.rglob("*")) == before


@pytest.mark.network
def test_a_finished_run_shows_what_was_found_and_is_exported(tiny):
    shutil.rmtree(tiny / "exports")
    app = shown()
    found = words(app)
    assert "Chosen mixture" in found
    assert "95 % interval" in found
    assert "noise" in found
    assert len(app.get("plotly_chart")) == 3
    rejected, table, lately = (frame.value for frame in app.dataframe)
    assert "Finished the stage trunk" in list(lately["what"])
    assert sorted(rejected["reason"]) == ["duplicate", "duplicate", "empty"]
    assert table["weight"].sum() == pytest.approx(100)
    assert table["natural"].sum() == pytest.approx(100)
    app = pressed(app, "next")
    assert (tiny / "exports" / "mixture" / "mixture.json").exists()
    assert re.search(r"Mixture in exports/mixture, \d{4}-\d\d-\d\d \d\d:\d\d, hash", words(app))
    assert app.button(key="next").label == "Prove it on larger models"
    assert "The chosen mixture was exported on" in words(app)
    app = pressed(app, "next")
    assert app.title[0].value == "Compare"
    assert app.segmented_control(key="view").value == "proof on larger models"


@pytest.mark.network
def test_an_export_of_other_weights_than_the_chosen_ones_is_told_and_exported_anew(tiny):
    path = tiny / "exports" / "mixture" / "mixture.json"
    record = json.loads(path.read_text())
    first, second, *_ = record["weights"]
    record["weights"] |= {first: record["weights"][second] + 0.01, second: record["weights"][first] - 0.01}
    path.write_text(json.dumps(record))
    app = shown()
    assert "other weights than the mixture that is chosen now" in words(app)
    assert app.button(key="next").label == "Export the mixture"
    app = pressed(app, "next")
    assert "other weights" not in words(app)


@pytest.mark.network
def test_a_changed_knob_says_what_it_would_run_again_and_is_applied_when_asked(tiny):
    app = shown()
    app.session_state["settings"] = True  # opened
    app.run()
    edition = next(widget.key for widget in app.number_input if widget.key.endswith(".n_domains"))
    app.number_input(key=edition).set_value(2).run()
    assert "runs again: domains (number of domains 3 → 2); and what follows: tokens, trunk" in words(app)
    assert "the search starts anew; its 12 trials stay on record" in words(app)
    assert Run(tiny).config.domains.n_domains == 3
    pressed(app, "apply")
    assert Run(tiny).config.domains.n_domains == 2
    assert app.button(key="next").label == "Go on with the stages, from domains"
    assert "Would run again: domains (number of domains 3 → 2)" in words(app)


@pytest.mark.network
def test_text_of_documents_and_names_is_never_markup(tiny):
    job = tiny / "jobs" / "20260101-000000-000000"
    job.mkdir(parents=True)
    (job / "spec.json").write_text(json.dumps({"arguments": ["run"], "started": 0}))
    (job / "events.jsonl").write_text(json.dumps({"time": 1, "state": "failed", "error": HOSTILE}) + "\n")
    app = shown()
    assert HOSTILE in app.error[0].value.replace("\\", "")
    assert any(HOSTILE in sample for sample in app.dataframe[0].value["sample"])
    for kind in ("markdown", "caption", "error", "info", "success", "warning", "title", "subheader"):
        for element in getattr(app, kind):
            assert not re.search(r"(?<!\\)<img|(?<!\\)\*\*bold|(?<!\\):red\[", element.value)
    assert not app.get("html")


@pytest.mark.network
def test_jobs_are_listed_with_their_logs(tiny):
    shutil.rmtree(tiny / "exports")
    pressed(shown(), "next")  # an export is no job
    assert not jobs(Workspace(tiny))
    shutil.rmtree(next(tiny.glob("artifacts/trunk-*")))
    app = pressed(shown(), "next")
    assert ended(tiny).state == "done"
    app = turned(app, "jobs")
    assert app.dataframe[0].value["command"].tolist() == ["climb run tiny"]
    assert "trunk is done" in words(app)


@pytest.mark.network
def test_a_job_is_stopped_and_resumed_from_the_sidebar(tiny):
    config = Run(tiny).config.with_values({"proxy.trunk_tokens": 3_000_000})
    Run(tiny).configure(config)
    app = pressed(shown(), "next")
    assert app.button(key="next").disabled
    pressed(app, "card.stop")
    assert ended(tiny).state == "stopped"
    app.run()
    pressed(app, "card.resume")
    assert [job.state for job in jobs(Workspace(tiny))] == ["running", "stopped"]
    with pytest.raises(ClimbError):
        jobs(Workspace(tiny))[1].resume()
    jobs(Workspace(tiny))[0].stop()
    ended(tiny)


def test_the_words_say_what_they_mean():
    from app.words import count, plain

    assert [count(n) for n in (0, 9999, 12_345, 999_999, 1_234_567, 1.2e9)] == [
        *("0", "9,999", "12.3 k", "1 M", "1.23 M", "1.2 B")
    ]
    assert plain("a_b*c\n<d>") == "a\\_b\\*c  \n\\<d\\>"


# In a real browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


@pytest.fixture
def server(runs, tmp_path):
    """The app as ``climb ui`` starts it: (address, its log)."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "climb_engine.cli", "--runs", str(runs), "ui", "--headless", "--port"]
    log = tmp_path / "server.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*command, str(port)], cwd=tmp_path, stdout=file, stderr=file, start_new_session=True
        )
    address = f"http://127.0.0.1:{port}"
    deadline = time.monotonic() + PATIENCE
    while not healthy(address):
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.1)
    yield address, log
    os.killpg(process.pid, signal.SIGTERM)
    process.wait()


def healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1) as answer:
            return answer.status == 200
    except OSError:
        return False


@pytest.mark.browser
@pytest.mark.network
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_in_a_browser_the_pages_load_and_no_request_leaves_the_machine(tiny, server):  # noqa: ARG001
    playwright = pytest.importorskip("playwright.sync_api")
    address, log = server
    faults: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(PATIENCE * 1000)
        page.on("pageerror", lambda error: faults.append(f"page error: {error}"))
        page.on("request", lambda request: faults.append(request.url) if leaves(request.url, address) else None)
        page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
        page.goto(f"{address}/?run=tiny")
        for text in ("Chosen mixture", "Score against natural", "Best so far", "Domains"):
            page.get_by_role("heading", name=text).wait_for()
        page.locator(".js-plotly-plot .xtick").first.wait_for()
        assert page.locator("img[src='x']").count() == 0
        page.get_by_role("link", name="Jobs").click()
        page.get_by_role("heading", name="Jobs").wait_for()
        assert "run=tiny" in page.url
        page.get_by_role("link", name="New run").click()
        page.get_by_role("button", name="Load the demo").wait_for()
        browser.close()
    assert not faults
    assert "Traceback" not in log.read_text()


@pytest.mark.browser
@pytest.mark.network
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_in_a_browser_a_job_is_watched_to_its_end_through_a_reload_and_from_two_tabs(tiny, server):
    playwright = pytest.importorskip("playwright.sync_api")
    address, log = server
    next(tiny.glob("search/*.jsonl")).unlink()
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page, other = browser.new_page(), browser.new_page()
        for tab in (page, other):
            tab.set_default_timeout(PATIENCE * 1000)
            tab.goto(f"{address}/?run=tiny")
            tab.get_by_role("button", name="Run iteration 1 of 2").wait_for()
        page.get_by_role("button", name="Run iteration 1 of 2").click()
        other.get_by_role("button", name="Run iteration 1 of 2").click()
        page.reload()
        page.get_by_role("button", name="Run iteration 2 of 2").wait_for()  # nobody touches the page meanwhile
        browser.close()
    assert len(jobs(Workspace(tiny))) == 1
    assert ended(tiny).state == "done"
    assert "Traceback" not in log.read_text()


def leaves(url: str, address: str) -> bool:
    return not url.startswith((address, address.replace("http", "ws", 1), "data:", "blob:"))
