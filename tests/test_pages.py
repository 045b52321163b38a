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
from climb_engine.jobs import Job, jobs
from climb_engine.pipeline import Run
from climb_engine.types import ClimbError
from climb_engine.workspace import Workspace

ROOT = Path(__file__).parents[1]
PATIENCE = 90  # seconds
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
def runs(tmp_path, monkeypatch):
    """An empty runs folder for the app."""
    folder = tmp_path / "runs"
    folder.mkdir()
    monkeypatch.setenv("CLIMB_RUNS", str(folder))
    return folder


@pytest.fixture
def tiny(runs, finished):
    """A copy of the finished run that may be changed."""
    return Path(shutil.copytree(finished, runs / "tiny"))


def cut_log(run: Path, keep) -> None:
    """Leave the search at an earlier point: the events up to the first that ``keep`` does not want."""
    path = next(run.glob("search/*.jsonl"))
    lines = path.read_text().splitlines(keepends=True)
    end = next((i for i, line in enumerate(lines) if not keep(json.loads(line))), len(lines))
    path.write_text("".join(lines[:end]))


def shown(page: str = "overview") -> AppTest:
    app = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=PATIENCE).run()
    assert not app.exception
    return app if page == "overview" else turned(app, page)


def turned(app: AppTest, page: str) -> AppTest:
    app.switch_page(str(ROOT / "pages" / f"{page}.py")).run()
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    """Everything that is written on a page, without the backslashes that keep it plain."""
    kinds = ("title", "subheader", "markdown", "caption", "error", "warning", "info", "success", "code")
    found = [element for kind in kinds for element in getattr(app, kind)]
    texts = [text for element in found for text in (getattr(element.proto, "title", ""), element.value)]
    return re.sub(r"\\(?=[\W_])", "", "\n".join(texts))


def pressed(app: AppTest, key: str) -> AppTest:
    app.button(key=key).click().run()
    assert not app.exception
    return app


def ended(run: Path) -> Job:
    deadline = time.monotonic() + PATIENCE
    while (job := jobs(Workspace(run))[0]).alive:
        assert time.monotonic() < deadline, job.log_tail()
        time.sleep(0.05)
    return job


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


@pytest.mark.usefixtures("runs")
def test_other_inputs_want_to_be_looked_at_again(corpus):
    app = shown("new")
    app.text_area(key="new.inputs").set_value(str(corpus)).run()
    app = pressed(app, "look")
    assert not app.button(key="make").disabled
    app.number_input(key="new.corpus.min_chars").set_value(5).run()
    assert app.button(key="make").disabled


@pytest.mark.parametrize(
    ("name", "inputs", "message"),
    [
        ("mine", "/no/such/file.jsonl", "/no/such/file.jsonl"),
        ("../mine", None, "cannot be a name"),
        ("", None, "cannot be a name"),
    ],
)
def test_a_new_run_that_cannot_be_says_why(runs, corpus, name, inputs, message):
    app = shown("new")
    app.text_input(key="new.name").set_value(name)
    app.text_area(key="new.inputs").set_value(inputs or str(corpus)).run()
    app = pressed(app, "look")
    if inputs is None:
        app = pressed(app, "make")
    assert message in words(app)
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
    assert app.button(key="card.resume").label == "Resume"
    app = turned(app, "jobs")
    assert app.dataframe[0].value["state"].tolist() == ["failed"]
    assert "climb run piers" in words(app)
    assert "no column" in words(app) or "body" in words(app)


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
    assert app.button(key="next").label == "Export the mixture"


@pytest.mark.network
def test_the_search_is_steered_iteration_by_iteration(tiny):
    next(tiny.glob("search/*.jsonl")).unlink()
    app = shown()
    assert app.button(key="next").label == "Run iteration 1 of 2"
    assert "4 proxy models, and the natural mixture 3 times" in words(app)
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
    pressed(app, "next")
    assert (tiny / "exports" / "mixture" / "mixture.json").exists()
    assert "Exported" in words(app)


@pytest.mark.network
def test_a_changed_knob_says_what_it_would_run_again_and_is_applied_when_asked(tiny):
    app = shown()
    app.session_state["settings"] = True  # opened
    app.run()
    edition = next(widget.key for widget in app.number_input if widget.key.endswith(".n_domains"))
    app.number_input(key=edition).set_value(2).run()
    assert "runs again: domains (domains.n_domains: 3 -> 2); and what follows: tokens, trunk" in words(app)
    assert "the search starts anew; its 12 trials stay on record" in words(app)
    assert Run(tiny).config.domains.n_domains == 3
    pressed(app, "apply")
    assert Run(tiny).config.domains.n_domains == 2
    assert app.button(key="next").label == "Go on with the stages, from domains"
    assert "domains (domains.n_domains: 3 -> 2)" in words(app)


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


# The clusters


@pytest.fixture(scope="session")
def clustered(tmp_path_factory, corpus):
    """A run as far as its domains, with the map of its documents; not to be changed."""
    config = RunConfig().with_values({"corpus.inputs": [str(corpus)], **SMALL})
    run = Run.create(tmp_path_factory.mktemp("clustered") / "tiny", config)
    run.run("domains")
    run.run("projection")
    return run.workspace.folder


@pytest.fixture
def mapped(runs, clustered):
    """A copy that may be changed."""
    return Path(shutil.copytree(clustered, runs / "tiny"))


def selection(points=(), box=(), lasso=()):
    """What the browser tells of a click (the document), a box or a lasso."""
    found = [{"customdata": document} for document in points]
    return {"selection": {"points": found, "point_indices": [], "box": list(box), "lasso": list(lasso)}}


def the_map(app: AppTest) -> dict:
    return json.loads(app.get("plotly_chart")[0].proto.spec)


def cluster_of(run: Path, document: int) -> int:
    return Run(run).needed("clustering").table(0)["cluster"][document].as_py()


def test_a_run_without_clusters_says_what_must_run(runs, corpus):
    begun(runs, corpus)
    app = shown("clusters")
    assert "corpus, embedding, clustering, quality must run" in words(app)
    assert not app.error


@pytest.mark.network
def test_without_a_projection_the_clusters_stand_at_their_centroids_and_a_button_makes_the_map(mapped):
    shutil.rmtree(next(mapped.glob("artifacts/projection-*")))
    app = shown("clusters")
    assert "map of single documents is not made yet" in words(app)
    assert "6 clusters are drawn" in words(app)
    app.session_state["map"] = selection(points=[5])
    app.run()
    assert app.selectbox(key="cluster").value == f"c{cluster_of(mapped, 5)}"
    pressed(app, "project")
    assert ended(mapped).state == "done"
    app.run()
    assert "61 of 61 documents are drawn" in words(app)
    assert "project" not in {button.key for button in app.button}
    assert not list(mapped.glob("artifacts/tokens-*"))


@pytest.mark.network
def test_a_click_on_the_map_shows_the_document_and_its_cluster(mapped):
    app = shown("clusters")
    assert "Choose a cluster" in words(app)
    before = the_map(app)
    app.session_state["map"] = selection(points=[7])
    app.run()
    assert app.selectbox(key="cluster").value == f"c{cluster_of(mapped, 7)}"
    assert "Clicked" in words(app)
    assert app.code[0].value == documents()[7]["text"][:400] + "…" * (len(documents()[7]["text"]) > 400)
    assert the_map(app) == before  # else the browser would lose its zoom
    app.session_state["map"] = selection()  # what a chart says when its figure has changed
    app.run()
    assert app.selectbox(key="cluster").value == f"c{cluster_of(mapped, 7)}"


@pytest.mark.network
def test_a_lasso_counts_every_document_not_only_those_drawn(mapped, monkeypatch):  # noqa: ARG001
    monkeypatch.setattr("app.clusters.maps.DRAWN", 20)
    app = shown("clusters")
    assert "20 of 61 documents are drawn" in words(app)
    around = {"x": [-1e3, 1e3, 1e3, -1e3], "y": [-1e3, -1e3, 1e3, 1e3]}
    app.session_state["map"] = selection(points=[1, 2], lasso=[around])
    app.run()
    assert "61 of 61 documents" in words(app)
    assert "(20 drawn)" in words(app)
    breakdown = app.dataframe[0].value
    assert breakdown["documents"].sum() == 61
    app.session_state["map"] = selection(box=[{"x": [900, 901], "y": [900, 901]}])
    app.run()
    assert "0 of 61 documents" in words(app)
    assert "no documents in it" in words(app)
    pressed(app, "clear")
    assert "of 61 documents** (" not in words(app)


@pytest.mark.network
def test_the_address_picks_the_cluster_and_a_strange_one_does_no_harm(mapped):  # noqa: ARG001
    for wanted, found in (("c2", "c2"), ("c99", None), ("<b>", None)):
        app = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=PATIENCE).run()
        app.query_params["cluster"] = wanted
        app = turned(app, "clusters")
        assert app.selectbox(key="cluster").value == found


@pytest.mark.network
@pytest.mark.parametrize("colour", ["cluster", "source", "quality", "length", "status"])
def test_the_map_is_coloured_by_what_is_chosen(mapped, colour):  # noqa: ARG001
    app = shown("clusters")
    before = the_map(app)
    app.selectbox(key="colour").select(colour).run()
    assert not app.exception
    assert the_map(app)["layout"]["images"][0]["source"] != before["layout"]["images"][0]["source"]


@pytest.mark.network
def test_words_are_found_in_any_case_and_meanings_by_their_neighbours(mapped):  # noqa: ARG001
    app = shown("clusters")
    app.text_input(key="find").set_value("HARBOUR").run()
    holding = [i for i, row in enumerate(documents()[:60]) if "harbour" in row["text"]]
    assert f"{len(holding)} documents of 61 contain it" in words(app)
    assert [trace["name"] for trace in the_map(app)["data"]][-1] == "found"
    app.text_input(key="find").set_value("(.*[").run()
    assert "0 documents of 61" in words(app)
    app.segmented_control(key="by").set_value("meaning")
    app.text_input(key="find").set_value("telescope and comet").run()
    assert not app.exception
    assert app.code[-1].value.count("saw the")  # what is found can be read
    assert any(word in app.code[-1].value for word in TOPICS["space"].split())


@pytest.mark.network
def test_documents_are_read_as_they_are_never_as_markup(mapped):
    at = next(i for i, text in enumerate(Run(mapped).needed("corpus").table(0)["text"].to_pylist()) if HOSTILE in text)
    app = shown("clusters")
    app.session_state["map"] = selection(points=[at])
    app.run()
    assert app.code[0].value.startswith(HOSTILE)
    for look in ("central", "random", "borderline", "worst"):
        app.segmented_control(key="kind").set_value(look).run()
        assert not app.exception
    app.selectbox(key="colour").select("source").run()
    assert "<img" not in json.dumps(the_map(app))
    for kind in ("markdown", "caption", "error", "info", "success", "warning", "title", "subheader"):
        for element in getattr(app, kind):
            assert not re.search(r"(?<!\\)<img|(?<!\\)\*\*bold|(?<!\\):red\[", element.value)
    assert not app.get("html")


@pytest.mark.network
def test_a_cluster_is_pruned_with_a_reason_shown_as_pending_and_taken_back(mapped):
    app = shown("clusters")
    app.selectbox(key="cluster").select("c1").run()
    assert app.button(key="keep").disabled
    app.text_input(key="why").set_value("**boats** are dull")
    app = pressed(app, "prune")
    (override,) = Run(mapped).config.domains.overrides
    assert (override.action, override.cluster, override.why) == ("prune", 1, "**boats** are dull")
    assert override.when.startswith("20")
    found = words(app)
    assert "1 override. The last: prune c1 because: **boats** are dull" in found
    assert re.search(r"Changes c1 \(\d+ documents\): \S+ → pruned", found)
    assert "Would run again: domains (domains.overrides" in found
    assert "override: pruned (was kept); by the thresholds alone: kept in" in found
    assert app.button(key="prune").disabled
    assert app.button(key="again")
    app = pressed(app, "undo")
    assert not Run(mapped).config.domains.overrides
    assert Run(mapped).artifact("domains")
    assert "override" not in words(app)


@pytest.mark.network
def test_a_cluster_is_moved_to_a_new_domain_and_the_stages_run_again(mapped):
    app = shown("clusters")
    app.selectbox(key="cluster").select("c1").run()
    app.text_input(key="new-domain").set_value("boats").run()
    app = pressed(app, "move-there")
    assert app.subheader[0].value == "boats"
    assert "→ boats" in words(app)
    pressed(app, "again")
    assert ended(mapped).state == "done"
    app.run()
    assert "boats" in Run(mapped).domains
    assert "Changes" not in words(app)
    assert "1 override" in words(app)  # stays to be undone


@pytest.mark.network
def test_an_override_that_cannot_be_is_refused_and_changes_nothing(mapped):
    app = shown("clusters")
    app.selectbox(key="cluster").select("c1").run()
    app.text_input(key="new-domain").set_value("My Boats!").run()
    app = pressed(app, "move-there")
    assert "try 'my-boats'" in words(app)
    assert not Run(mapped).config.domains.overrides


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


@pytest.mark.browser
@pytest.mark.network
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_in_a_browser_documents_are_clicked_lassoed_read_pruned_and_the_prune_undone(mapped, server):
    playwright = pytest.importorskip("playwright.sync_api")
    address, log = server
    faults: list[str] = []
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page(viewport={"width": 1440, "height": 1000})
        page.set_default_timeout(PATIENCE * 1000)
        page.on("pageerror", lambda error: faults.append(f"page error: {error}"))
        page.on("request", lambda request: faults.append(request.url) if leaves(request.url, address) else None)
        page.on("dialog", lambda dialog: faults.append(f"dialog: {dialog.message}"))
        page.goto(f"{address}/clusters?run=tiny")
        x, y = page.locator(".nsewdrag").first.evaluate(POINT)
        page.mouse.move(x - 8, y - 8)
        page.mouse.move(x, y, steps=4)
        page.locator(".hoverlayer .hovertext").wait_for()
        page.wait_for_timeout(1500)  # a click in the first moments of a hover is taken for a part of the movement
        page.mouse.click(x, y, delay=80)
        page.get_by_text("Clicked").wait_for()
        assert re.search(r"cluster=c\d", page.url)
        assert page.locator("img[src='x']").count() == 0
        page.locator("[data-attr=dragmode][data-val=lasso]").first.click()
        plot = page.locator(".nsewdrag").first.bounding_box()
        corners = [(3, 3), (plot["width"] - 3, 3), (plot["width"] - 3, plot["height"] - 3), (3, plot["height"] - 3)]
        page.mouse.move(plot["x"] + 3, plot["y"] + 3)
        page.mouse.down()
        for dx, dy in [*corners[1:], (4, 8)]:
            page.mouse.move(plot["x"] + dx, plot["y"] + dy, steps=6)
        page.mouse.up()
        page.get_by_text("61 of 61 documents", exact=True).wait_for()
        page.get_by_role("button", name="Prune").click()
        page.get_by_text("1 override. The last: prune").wait_for()
        assert len(Run(mapped).config.domains.overrides) == 1
        page.get_by_role("button", name="Undo").click()
        page.get_by_text("1 override. The last: prune").wait_for(state="detached")
        assert not Run(mapped).config.domains.overrides
        browser.close()
    assert not faults
    assert "Traceback" not in log.read_text()


POINT = """async plot => {
    const figure = plot.closest('.js-plotly-plot'), trace = figure._fullData[0], layout = figure._fullLayout
    const box = plot.getBoundingClientRect()
    return [box.x + layout.xaxis.l2p(trace.x[0]), box.y + layout.yaxis.l2p(trace.y[0])]
}"""
"""Where a document is on the screen, from the figure that the browser drew."""


def leaves(url: str, address: str) -> bool:
    return not url.startswith((address, address.replace("http", "ws", 1), "data:", "blob:"))
