"""The page to curate: what it previews without writing, and what it writes when asked."""

import json
import re
import shutil
import time
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from climb_engine.config import RunConfig
from climb_engine.curation import clusters_of, decided, export_overrides
from climb_engine.pipeline import Run
from tests import apptest
from tests.apptest import PATIENCE, ROOT, pressed, words
from tests.conftest import planted_documents, write_jsonl

HOSTILE = "<img src=x onerror=alert(1)> **bold** :red[red] $x$ [link](http://evil.example)"
KINDS = ("markdown", "caption", "error", "info", "success", "warning", "title", "subheader")


@pytest.fixture
def tiny(runs, finished_run):
    """A copy of the finished run that may be changed."""
    return Run(Path(shutil.copytree(finished_run.workspace.folder, runs / "tiny")))


def shown(part: str = "prune") -> AppTest:
    app = apptest.shown("curate")
    return app if part == "prune" else turned(app, part)


def turned(app: AppTest, part: str) -> AppTest:
    app.segmented_control(key="part").set_value(part).run()
    assert not app.exception
    return app


def stored(run: Run) -> str:
    return run.workspace.config_path.read_text()


def overrides(run: Run):
    return Run(run.workspace.folder).config.domains.overrides


def limit(app: AppTest, name: str):
    kinds = (*app.slider, *app.number_input)
    return next(widget for widget in kinds if widget.key.startswith(f"limit.{name}."))


def lassoed(app: AppTest, clusters) -> AppTest:
    points = [{"customdata": [int(i)]} for i in clusters]
    app.session_state["scatter"] = {"selection": {"points": points, "box": [], "lasso": []}}
    app.run()
    assert not app.exception
    return app


def written_into(app: AppTest, cells: dict) -> AppTest:
    """Cells of the table by cluster: {3: {"override": "prune"}}."""
    table = app.session_state["curate.table"]
    app.session_state[table["key"]] = {
        "edited_rows": {str(table["order"].index(cluster)): row for cluster, row in cells.items()},
        "added_rows": [],
        "deleted_rows": [],
    }
    app.run()
    assert not app.exception
    return app


def kept_clusters(run: Run) -> list[int]:
    return np.flatnonzero(decided(run).labels >= 0).tolist()


# What there is to see


@pytest.mark.usefixtures("runs")
def test_without_a_run_the_page_says_what_to_do():
    assert "There is no run to look at yet" in words(shown())


def test_a_run_without_clusters_says_what_must_run(runs, tmp_path):
    corpus = write_jsonl(tmp_path / "docs.jsonl", planted_documents(3, 1))
    Run.create(runs / "piers", RunConfig().with_values({"corpus.inputs": [str(corpus)]}))
    app = shown()
    assert "corpus, embedding, clustering, quality must run" in words(app)
    assert not app.error


def test_looking_at_every_part_shows_the_figures_and_writes_nothing(tiny):
    before = {path: path.stat().st_mtime_ns for path in tiny.workspace.folder.rglob("*")}
    app = shown()
    metrics = {metric.label: metric.value for metric in app.metric}
    kept = len(kept_clusters(tiny))
    assert (metrics["Clusters"], metrics["Kept"], metrics["Pruned"]) == ("8", str(kept), str(8 - kept))
    assert len(app.get("plotly_chart")) == 1
    app = turned(app, "merge")
    assert len(app.get("plotly_chart")) == 2
    app = turned(app, "history")
    assert "Nothing was decided by hand yet" in words(app)
    app = turned(app, "rate")
    assert app.code[0].value
    assert not app.error
    assert {path: path.stat().st_mtime_ns for path in tiny.workspace.folder.rglob("*")} == before


def test_the_app_curates_without_torch(tiny):  # noqa: ARG001
    import subprocess
    import sys

    code = (
        "import sys; from streamlit.testing.v1 import AppTest\n"
        f"app = AppTest.from_file({str(ROOT / 'app/main.py')!r}, default_timeout=90).run()\n"
        f"app.switch_page({str(ROOT / 'pages/curate.py')!r}).run()\n"
        "for part in ('merge', 'rate', 'history'): app.segmented_control(key='part').set_value(part).run()\n"
        "assert not app.exception\n"
        "print(*[name for name in ('torch', 'faiss', 'transformers', 'lightgbm') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


# Prune


def test_a_slider_previews_and_writes_only_when_applied(tiny):
    before = stored(tiny)
    app = shown()
    means = clusters_of(tiny).means[kept_clusters(tiny), clusters_of(tiny).metrics.index("quality")]
    between = float(np.sort(means)[:2].mean())
    limit(app, "quality").set_value(between).run()
    assert not app.exception
    assert "Not applied yet" in words(app)
    assert re.search(r"quality threshold \S+ → \S+", words(app))
    assert "1 cluster would fare differently" in words(app)
    assert "Would run again: domains, tokens, trunk" in words(app)
    assert re.search(r"\d+ measured trials would no longer apply", words(app))
    assert stored(tiny) == before
    app = pressed(app, "curate.apply")
    assert Run(tiny.workspace.folder).config.domains.thresholds["quality"] == between
    assert "Not applied yet" not in words(app)
    assert app.button(key="again")
    assert limit(app, "quality").value == between
    pressed(app, "undo")
    assert stored(tiny) == before


def test_a_limit_that_leaves_nothing_is_told_and_cannot_be_applied(tiny):
    before = stored(tiny)
    app = shown()
    limit(app, "documents").set_value(100_000).run()
    assert "all 8 clusters are pruned" in words(app)
    assert app.button(key="curate.apply").disabled
    app = pressed(app, "curate.discard")
    assert "Not applied yet" not in words(app)
    assert limit(app, "documents").value == tiny.config.domains.min_documents
    assert stored(tiny) == before


def test_a_draft_outlives_a_look_at_another_part(tiny):
    app = shown()
    limit(app, "documents").set_value(tiny.config.domains.min_documents + 1).run()
    app = turned(turned(app, "history"), "prune")
    assert limit(app, "documents").value == tiny.config.domains.min_documents + 1
    assert "Not applied yet" in words(app)


def test_lassoed_clusters_are_pruned_in_one_write_and_undone_at_once(tiny):
    before = stored(tiny)
    two = kept_clusters(tiny)[:2]
    app = lassoed(shown(), two)
    assert "2 clusters selected" in words(app)
    reason(app).set_value("**dull**")
    app = pressed(app, "picked.prune")
    assert stored(tiny) == before
    assert f"prune c{two[0]}, because: **dull**; prune c{two[1]}, because: **dull**" in words(app)
    app = pressed(app, "curate.apply")
    assert [(one.action, one.cluster, one.why) for one in overrides(tiny)] == [("prune", i, "**dull**") for i in two]
    assert all(one.when.startswith("20") for one in overrides(tiny))
    pressed(app, "undo")
    assert stored(tiny) == before


def reason(app: AppTest):
    return next(widget for widget in app.text_input if (widget.key or "").startswith("picked.why."))


def test_a_reason_is_of_one_selection_and_of_one_decision(tiny):
    one, two = kept_clusters(tiny)[:2]
    app = lassoed(shown(), [one])
    reason(app).set_value("leaking reason").run()
    app = lassoed(app, [two])
    assert reason(app).value == ""
    app = pressed(app, "picked.prune")
    reason(app).set_value("of two").run()
    app = pressed(app, "picked.keep")
    assert reason(app).value == ""
    app = pressed(app, "picked.prune")
    pressed(app, "curate.apply")
    assert [(one.cluster, one.why) for one in overrides(tiny)] == [(two, "")]


def test_a_batch_of_decisions_is_one_short_reason_to_run_again(tiny):
    app = applied(kept_clusters(tiny)[:3])
    reasons = next(one.value for one in app.caption if "Would run again" in one.value)
    assert reasons.replace("\\", "").startswith("Would run again: domains (3 overrides more); and what follows: tokens")


def test_another_visit_undoes_what_was_written_together(tiny):
    before = Run(tiny.workspace.folder).config
    pressed(pressed(lassoed(shown(), kept_clusters(tiny)[:2]), "picked.prune"), "curate.apply")
    assert len(overrides(tiny)) == 2
    pressed(shown("history"), "history.undo")
    assert Run(tiny.workspace.folder).config == before


def test_selected_clusters_can_be_read(tiny):
    app = lassoed(shown(), kept_clusters(tiny)[:1])
    app.session_state["picked.read"] = True
    app.run()
    assert not app.exception
    assert app.code[0].value


# The table


def test_what_is_written_into_the_table_becomes_overrides(tiny):
    before = stored(tiny)
    one, two, three = kept_clusters(tiny)[:3]
    home = decided(tiny).names[0]
    app = shown()
    app = written_into(app, {one: {"override": "prune", "note": "thin"}, two: {"move to": home}, three: {"note": "ok"}})
    assert "Not applied yet" in words(app)
    assert stored(tiny) == before
    app = pressed(app, "curate.apply")
    found = {(one.action, one.cluster, one.domain, one.why) for one in overrides(tiny)}
    assert found == {
        ("prune", one, "", ""),
        ("note", one, "", "thin"),
        ("move", two, home, ""),
        ("note", three, "", "ok"),
    }
    assert "Not applied yet" not in words(app)
    app = written_into(app, {one: {"override": None, "note": ""}})
    app = pressed(app, "curate.apply")
    assert {one.cluster for one in overrides(tiny)} == {two, three}


def test_the_tables_edits_stay_when_other_clusters_are_shown_or_selected(tiny):
    one, two = kept_clusters(tiny)[:2]
    app = written_into(shown(), {one: {"override": "prune"}})
    app.segmented_control(key="show").set_value("kept").run()
    assert f"prune c{one}" in words(app)
    app = pressed(lassoed(app, [two]), "picked.prune")
    assert f"prune c{one}; prune c{two}" in words(app)
    app = written_into(app, {one: {"override": None}})
    assert f"prune c{two}" in words(app)
    assert f"prune c{one}" not in words(app)


@pytest.mark.parametrize("show", ["kept", "pruned", "overridden", "near"])
def test_the_table_shows_the_clusters_asked_for_in_the_address(tiny, show):
    labels = decided(tiny).labels
    app = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=PATIENCE).run()
    app.query_params["show"] = show
    app.switch_page(str(ROOT / "pages" / "curate.py")).run()
    assert not app.exception
    assert app.segmented_control(key="show").value == show
    table = app.session_state["curate.table"]["order"] if "curate.table" in app.session_state else []
    if show in ("kept", "pruned"):
        assert sorted(table) == np.flatnonzero((labels >= 0) == (show == "kept")).tolist()
    elif show == "overridden":
        assert "No cluster is overridden" in words(app)


def test_text_of_documents_and_names_is_never_markup(tiny):
    config = Run(tiny.workspace.folder).config
    entries = [{"action": "prune", "cluster": kept_clusters(tiny)[0], "why": HOSTILE, "who": HOSTILE}]
    tiny.configure(config.with_values({"domains.overrides": entries}))
    app = shown()
    app = written_into(app, {kept_clusters(tiny)[1]: {"note": HOSTILE}})
    for part in ("prune", "merge", "history", "rate"):
        app = turned(app, part)
        for kind in KINDS:
            for element in getattr(app, kind):
                assert not re.search(r"(?<!\\)<img|(?<!\\)\*\*bold|(?<!\\):red\[", element.value)
        assert not any("<img" in json.dumps(chart.proto.spec) for chart in app.get("plotly_chart"))
        assert not app.get("html")


# Merge


def test_the_number_of_domains_is_previewed_and_applied(tiny):
    app = shown("merge")
    number = next(widget for widget in app.number_input if widget.key.startswith("merge.n."))
    number.set_value(2).run()
    assert "2 domains" in words(app)
    assert tiny.config.domains.n_domains == 4
    pressed(app, "curate.apply")
    assert Run(tiny.workspace.folder).config.domains.n_domains == 2


def test_domains_are_merged_split_and_renamed_in_one_draft(tiny):
    before = stored(tiny)
    one, two, three, *_ = decided(tiny).names
    app = shown("merge")
    app.selectbox(key="merge.one").select(one).run()
    app.selectbox(key="merge.into").select(two).run()
    app = pressed(app, "merge.add")
    app.selectbox(key="rename.name").select(three).run()
    app.text_input(key="rename.to").set_value("ocean").run()
    app = pressed(app, "rename.add")
    app.selectbox(key="split.what").select(two).run()
    app = pressed(app, "split.add")
    assert stored(tiny) == before
    pressed(app, "curate.apply")
    assert [subject.action for subject in overrides(tiny)] == ["merge", "rename", "split"]
    assert "ocean" in decided(Run(tiny.workspace.folder)).names


def test_a_pending_merge_is_told_alike_by_the_figures_and_the_chart(tiny):
    one, two, *rest = decided(tiny).names
    app = shown("merge")
    app.selectbox(key="merge.one").select(one).run()
    app.selectbox(key="merge.into").select(two).run()
    app = pressed(app, "merge.add")
    domains = next(metric for metric in app.metric if metric.label == "Domains")
    m = len(rest) + 2
    assert (domains.value, domains.delta) == (str(m - 1), f"{m} without the draft")
    assert f"{m} domains at" in app.get("plotly_chart")[0].proto.spec
    assert f", {m - 1} by the decisions by hand" in app.get("plotly_chart")[0].proto.spec


def test_after_a_prune_by_hand_the_tree_says_how_many_the_limits_keep_and_how_many_are_kept(tiny):
    kept = kept_clusters(tiny)
    app = turned(applied(kept[:1]), "merge")
    assert next(metric.value for metric in app.metric if metric.label == "Kept") == str(len(kept) - 1)
    assert f"{len(kept)} clusters kept by the limits" in words(app)
    assert f"{len(kept) - 1} are kept once the decisions by hand are in" in words(app)


def test_a_name_that_cannot_be_is_refused_and_not_drafted(tiny):
    app = shown("merge")
    first = decided(tiny).names[0]
    app.selectbox(key="rename.name").select(first).run()
    app.text_input(key="rename.to").set_value("My Boats!").run()
    app = pressed(app, "rename.add")
    assert f"rename {first} as My Boats!: " in words(app)
    assert "domains.overrides" not in words(app)
    assert "try 'my-boats'" in words(app)
    assert "Not applied yet" not in words(app)


# Rate


def test_a_rating_is_saved_at_once_and_the_next_document_comes(tiny):
    path = tiny.workspace.folder / "ratings.csv"
    app = shown("rate")
    first = app.code[0].value
    app = pressed(app, "rate.4")
    line = path.read_text().splitlines()[1].split(",")
    assert line[1:3] == ["quality", "4"]
    assert app.code[0].value != first
    app = pressed(app, "rate.back")
    assert app.code[0].value == first
    app = pressed(app, "rate.2")
    assert len(path.read_text().splitlines()) == 3  # the later one counts
    app = pressed(app, "rate.skip")
    assert "18 more until it can be learned" not in words(app)
    assert "19 more until it can be learned" in words(app)
    assert app.button(key="rate.use").disabled


def test_a_document_is_rated_on_all_chosen_metrics_before_the_next_comes(tiny):
    app = shown("rate")
    app.pills(key="rate.metrics").set_value(["quality", "educational"]).run()
    first = app.code[0].value
    app = pressed(app, "rate.5")
    assert app.code[0].value == first
    app = pressed(app, "rate.1")
    assert app.code[0].value != first
    rows = [line.split(",")[1:3] for line in (tiny.workspace.folder / "ratings.csv").read_text().splitlines()[1:]]
    assert rows == [["quality", "5"], ["educational", "1"]]


def rated(app: AppTest, times: int) -> AppTest:
    for i in range(times):
        app = pressed(app, f"rate.{2 + i % 3}")
    return app


def test_ratings_change_nothing_until_they_are_asked_to_and_then_show_first_what(tiny):
    before = stored(tiny)
    app = rated(shown("rate"), 21)
    assert stored(tiny) == before
    assert "The scores are not made from your ratings" in words(app)
    app = pressed(app, "rate.use")
    assert stored(tiny) == before
    assert "Would run again: quality, domains" in words(app)
    app = pressed(app, "rate.cancel")
    assert "rate.confirm" not in {button.key for button in app.button}
    app = pressed(pressed(app, "rate.use"), "rate.confirm")
    assert Run(tiny.workspace.folder).config.quality.scorers == ("heuristics", "ratings")
    assert "The scores will be, once quality has run, from all 21 ratings" in words(app)
    assert app.button(key="again")
    app = turned(app, "prune")
    assert "**quality** must run" in words(app)
    pressed(app, "undo")
    assert stored(tiny) == before


def test_ratings_given_since_are_told_and_used_when_the_scores_are_refreshed(tiny):
    app = pressed(pressed(rated(shown("rate"), 21), "rate.use"), "rate.confirm")
    Run(tiny.workspace.folder).run("quality")
    used = stored(tiny)
    app = pressed(app, "rate.0")
    assert stored(tiny) == used
    assert "The scores are from 21 of 22 ratings; 1 new or changed since" in words(app)
    app = pressed(pressed(app, "rate.use"), "rate.confirm")
    assert "from all 22 ratings" in words(app)
    app = pressed(pressed(app, "rate.unuse"), "rate.confirm")
    assert Run(tiny.workspace.folder).config == tiny.config
    assert app.metric


# History


def applied(clusters) -> AppTest:
    return pressed(pressed(lassoed(shown(), clusters), "picked.prune"), "curate.apply")


def test_one_override_is_removed_and_all_are_cleared(tiny):
    before = stored(tiny)
    first, second = kept_clusters(tiny)[:2]
    app = turned(applied([first, second]), "history")
    table = next(frame for frame in app.dataframe if "why" in frame.value)
    assert table.value["what"].tolist() == [f"prune c{second}", f"prune c{first}"]
    made = datetime.strptime(overrides(tiny)[0].when, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC).timestamp()
    assert set(table.value["when"]) == {time.strftime("%Y-%m-%d %H:%M", time.localtime(made))}
    app.session_state[table.proto.id.split("-", 2)[2]] = {"selection": {"rows": [1], "columns": [], "cells": []}}
    app.run()
    assert f"#1: prune c{first}" in words(app)
    app = pressed(app, "history.remove")
    assert [one.cluster for one in overrides(tiny)] == [second]
    app = pressed(app, "history.clear-all")
    assert not overrides(tiny)
    assert stored(tiny) == before


def test_a_file_of_overrides_is_imported_and_a_bad_one_refused_with_nothing_changed(tiny, tmp_path):
    cluster = kept_clusters(tiny)[0]
    applied([cluster])
    path = tmp_path / "mine.toml"
    export_overrides(Run(tiny.workspace.folder), path)
    tiny.configure(tiny.config)
    before = stored(tiny)
    app = shown("history")
    app.file_uploader[0].set_value(("bad.toml", b'[[override]]\naction = "prune"\ncluster = 99\n', "text/plain")).run()
    app = pressed(app, "history.import")
    assert "bad.toml: override 1 (prune 99)" in words(app)
    assert stored(tiny) == before
    app = shown("history")
    app.file_uploader[0].set_value(("mine.toml", path.read_bytes(), "text/plain")).run()
    pressed(app, "history.import")
    assert [one.cluster for one in overrides(tiny)] == [cluster]
