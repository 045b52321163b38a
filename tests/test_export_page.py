"""What leaves a run through the app: every format, data sets as jobs, what was exported before, and no way out."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from app.export.files import FORMATS, text_of
from app.export.former import former, job_of, may_hold_mixture, state_of
from climb_engine.config import RunConfig
from climb_engine.export.dataset import MixedOptions
from climb_engine.export.mixture import content_hash, read_weights
from climb_engine.export.recipes import RECIPES
from climb_engine.jobs import jobs
from climb_engine.pipeline import Run
from climb_engine.types import ClimbError, Mixture
from climb_engine.workspace import Workspace
from tests.apptest import cut_log, ended, living_job, pressed, shown, turned, words
from tests.test_pages import HOSTILE

WEIGHTS = {"law & order": 0.1 + 0.2, "cooking": 1 / 3, "nothing": 0.0, "stars ★": 1 - (0.1 + 0.2) - 1 / 3}
MIXTURE = Mixture(tuple(WEIGHTS), np.array(list(WEIGHTS.values())))
RECORD = {"weights": WEIGHTS, "natural_weights": WEIGHTS, "provenance": {}}


# Files


def test_every_file_of_every_recipe_can_be_previewed_and_has_something_to_paste():
    assert {form.file for form in FORMATS if form.framework} == {r.file for some in RECIPES.values() for r in some}
    for form in FORMATS:
        text = text_of(form, RECORD, MIXTURE, None, {}, 4.0)
        assert repr(1 / 3) in text or form.file.startswith("huggingface")
        assert form.file.removesuffix(".py") in form.use
        if form.use_language == "python":
            compile(form.use, form.file, "exec")


def test_what_is_exported_is_read_back_to_the_last_digit_in_every_plain_format():
    for form in FORMATS[:3]:
        assert read_weights(text_of(form, RECORD, MIXTURE, None, {}, 4.0)) == WEIGHTS
    assert read_weights(json.dumps(WEIGHTS)) == WEIGHTS


@pytest.mark.parametrize("text", ["", "[1, 2]", "weights: {a: many}", "{", "just words", "weights: []"])
def test_a_file_that_holds_no_weights_is_told(text):
    with pytest.raises(ClimbError):
        read_weights(text)


def test_the_hash_is_the_same_after_a_round_trip_and_another_for_other_weights_or_data():
    provenance = {"run": "tiny", "trials": 12, "addresses": {"tokens": "0123456789ab", "search": "ba9876543210"}}
    before = content_hash(WEIGHTS, provenance)
    read = json.loads(json.dumps({"weights": WEIGHTS, "provenance": provenance}))
    assert content_hash(read["weights"], read["provenance"]) == before
    assert content_hash({**WEIGHTS, "cooking": np.nextafter(1 / 3, 1)}, provenance) != before
    assert content_hash(WEIGHTS, {**provenance, "run": "renamed", "trials": 13}) == before
    assert content_hash(WEIGHTS, {**provenance, "addresses": {"search": "other"}}) != before


def test_former_exports_are_listed_with_what_they_are_and_broken_ones_do_no_harm(tmp_path):
    exports = tmp_path / "exports"
    for name in ("good", "data", "begun", "broken", ".hidden"):
        (exports / name).mkdir(parents=True)
    (exports / "good" / "mixture.json").write_text(json.dumps({"hash": "abc", "weights": WEIGHTS}))
    facts = {"documents": 12, "tokens": 3456}
    manifest = {"identity": {"kind": "clustered"}, "facts": facts}
    (exports / "data" / "manifest.json").write_text(json.dumps(manifest))
    (exports / "begun" / ".partial").mkdir()
    (exports / "begun" / ".partial" / "plan.json").write_text(json.dumps({"tokens": 5}))
    (exports / "broken" / "mixture.json").write_text("{")
    found = {one.name: one for one in former(Workspace(tmp_path))}
    assert {name: one.kind for name, one in found.items()} == {
        "good": "mixture", "data": "clustered data set", "begun": "unfinished data set", "broken": "other",
    }  # fmt: skip
    assert found["good"].content == "hash abc"
    assert found["good"].weights == WEIGHTS
    assert found["data"].content == "12 documents, 3,456 tokens"
    assert found["begun"].files == ()


def test_a_folder_takes_a_data_set_only_when_it_is_new_or_was_begun_alike(tmp_path):
    assert state_of(tmp_path / "new", {"tokens": 5}) == ("new", "")
    begun = tmp_path / "begun" / ".partial"
    begun.mkdir(parents=True)
    (begun / "plan.json").write_text(json.dumps({"tokens": 5, "seed": 0}))
    assert state_of(tmp_path / "begun", {"tokens": 5}) == ("begun", "")
    assert state_of(tmp_path / "begun", {"tokens": 6}) == ("taken", "begun was begun with other settings")
    manifest = tmp_path / "begun" / "manifest.json"
    manifest.write_text(json.dumps({"identity": {"tokens": 5, "seed": 0}}))
    assert state_of(tmp_path / "begun", {"tokens": 5}) == ("finished", "")
    assert state_of(tmp_path / "begun", {"tokens": 6})[0] == "taken"
    manifest.write_text("{")
    assert state_of(tmp_path / "begun", {"tokens": 5}) == ("taken", "begun is a finished data set of other settings")
    assert not may_hold_mixture(tmp_path / "begun")
    (tmp_path / "mixture").mkdir()
    (tmp_path / "mixture" / "mixture.json").write_text("{}")
    assert may_hold_mixture(tmp_path / "mixture")
    assert state_of(tmp_path / "mixture", {"tokens": 5}) == ("taken", "mixture is an export of another kind")


def test_a_data_set_is_traced_to_the_newest_job_that_writes_it(tmp_path):
    for number, words_ in enumerate((["export", "--tokens", "5", "--dataset", "/x/exports/mine"], ["search"])):
        folder = tmp_path / "jobs" / f"2026010{number}-000000-000000"
        folder.mkdir(parents=True)
        (folder / "spec.json").write_text(json.dumps({"arguments": words_, "started": 0}))
    known = jobs(Workspace(tmp_path))
    assert job_of(tmp_path / "exports" / "mine", known).arguments[0] == "export"
    assert job_of(tmp_path / "exports" / "other", known) is None


# The page


def opened(**asked):
    app = shown()
    for name, value in asked.items():
        app.query_params[name] = value
    return turned(app, "export")


def interrupted(event):
    """A report that stops the work when the first shard would be written."""
    if event.unit == "shards":
        raise KeyboardInterrupt


def past_job(run, arguments, state, error=None):
    """A job that has left its last word."""
    job = run / "jobs" / "20260101-000000-000000"
    job.mkdir(parents=True)
    (job / "spec.json").write_text(json.dumps({"arguments": arguments, "started": 0}))
    (job / "log.txt").write_text("dataset: 0/4 parts read\n")
    (job / "events.jsonl").write_text(json.dumps({"time": 1, "state": state, "error": error}) + "\n")


def preview(app):
    return next(code.value for code in app.code if len(code.value) > 20)


def export_of(run, name="mixture"):
    return json.loads((run / "exports" / name / "mixture.json").read_text())


@pytest.mark.usefixtures("runs")
def test_without_a_run_there_is_nothing_to_export():
    assert "no run to look at" in words(turned(shown(), "export"))


def test_without_domains_the_page_says_so(runs, corpus_file):
    Run.create(runs / "new", RunConfig().with_values({"corpus.inputs": [str(corpus_file)]}))
    app = turned(shown(), "export")
    assert "new has no domains to mix yet" in words(app)
    assert not app.error


@pytest.mark.network
def test_every_format_is_shown_as_it_would_be_written(mine):
    run = Run(mine)
    written = run.export(None, "all", ["all"])
    app = opened()
    for form in FORMATS:
        app.pills(key="format").set_value(form.title).run()
        assert not app.exception
        assert preview(app).strip() == (written / form.file).read_text().strip()
        assert form.use in [code.value for code in app.code]
        assert app.download_button(key="download").label == f"Download {form.file}"
    record = json.loads((written / "mixture.json").read_text())
    assert record["hash"] in [code.value for code in app.code]
    assert record["hash"] == content_hash(record["weights"], record["provenance"])


@pytest.mark.network
def test_the_exported_weights_are_those_of_the_trial_in_the_address_exactly(mine):
    trial = Run(mine).open_search().trials[5]
    app = opened(mix="trial-5")
    assert app.selectbox(key="mix").value == "trial-5"
    assert json.loads(preview(app))["weights"] == trial.mixture.as_dict()
    app.multiselect(key="frameworks.").set_value(["megatron", "olmo"])
    pressed(app, "write-it")
    record = export_of(mine, "trial-5")
    assert record["weights"] == trial.mixture.as_dict()
    assert record["score"]["trial"] == 5
    folder = mine / "exports" / "trial-5"
    ratios = [source["target_ratio"] for source in yaml.safe_load((folder / "olmo_core.yaml").read_text())["sources"]]
    assert ratios == [weight for weight in trial.mixture.as_dict().values() if weight]
    assert {path.name for path in folder.iterdir()} == {
        *("mixture.json", "mixture.yaml", "mixture.csv", "megatron.txt", "nemo.json", "olmo_core.yaml"),
    }
    app = opened(mix="chosen")
    table = next(frame.value for frame in app.dataframe if "kind" in frame.value)
    assert dict(zip(table["name"], table["mixture"], strict=True))["trial-5"] == "trial-5"


@pytest.mark.network
def test_the_recipe_that_is_looked_at_is_written_unless_it_is_taken_out(mine):
    app = opened(format="OLMo-core")
    pressed(app, "write-it")
    assert f"Written to {mine / 'exports' / 'mixture'}: mixture.csv" in words(app)
    assert "Next: paste a recipe into the training script" in words(app)
    assert (mine / "exports" / "mixture" / "olmo_core.yaml").exists()
    app.multiselect(key="frameworks.olmo").set_value([])
    pressed(app, "write-it")
    assert not (mine / "exports" / "mixture" / "olmo_core.yaml").exists()


@pytest.mark.network
def test_an_unknown_mixture_in_the_address_is_told_and_the_chosen_one_shown(mine):
    app = opened(mix="trial-99")
    assert "no mixture called trial-99" in words(app)
    assert json.loads(preview(app))["weights"] == Run(mine).open_search().choice.mixture.as_dict()


@pytest.mark.network
@pytest.mark.parametrize("name", ["../../away", "/tmp/away", "", ".hidden", "a/b", HOSTILE])
def test_no_name_leaves_the_folder_of_exports(mine, name):
    before = sorted(mine.parents[1].rglob("*"))
    app = opened()
    next(field for field in app.text_input if field.label == "Name of the export").set_value(name)
    pressed(app, "write-it")
    assert "cannot be a name" in words(app)
    app.segmented_control(key="what").set_value("mixed data set").run()
    next(field for field in app.text_input if field.label == "Name of the export").set_value(name).run()
    assert "cannot be a name" in words(app)
    assert "mixed.start" not in {button.key for button in app.button}
    assert sorted(mine.parents[1].rglob("*")) == before


@pytest.mark.network
def test_a_path_template_that_cannot_be_is_told_where_it_is_typed(mine):  # noqa: ARG001
    app = opened(format="Megatron-LM")
    app.text_input(key="paths").set_value("/data/{index}/{domain}").run()
    assert "/data/0/" in preview(app)
    app.text_input(key="paths").set_value("/data/{nothing}").run()
    assert "use {domain} and {index}" in words(app)
    app.text_input(key="paths").set_value("/my data/{domain}").run()
    assert "white space" in words(app)
    assert not app.exception


@pytest.mark.network
def test_a_mixed_data_set_is_written_by_a_job_and_listed_with_its_downloads(mine):
    app = opened(what="mixed data set")
    app.text_input(key="mixed.tokens").set_value("3000").run()
    next(field for field in app.text_input if field.label == "Name of the export").set_value("mine").run()
    pressed(app, "mixed.start")
    job = ended(mine)
    assert job.state == "done", job.log_tail()
    rows = pq.read_table(mine / "exports" / "mine" / "data").to_pylist()
    assert sum(row["token_count"] for row in rows) == pytest.approx(3000, abs=400)
    app = opened(what="mixed data set")
    table = next(frame.value for frame in app.dataframe if "kind" in frame.value)
    assert table["kind"].tolist() == ["mixed data set", "mixture"]
    assert table["mixture"].tolist() == ["chosen", "chosen"]
    assert {"README.md", "manifest.json"} <= {button.label.replace("\\", "") for button in app.download_button}
    app.text_input(key="mixed.tokens").set_value("3000").run()
    next(field for field in app.text_input if field.label == "Name of the export").set_value("mine").run()
    text = words(app)
    assert not app.error
    assert "mine is finished" in text
    assert f"{len(rows):,} documents, {sum(row['token_count'] for row in rows):,} tokens, 4 files" in text
    assert str(mine / "exports" / "mine") in text
    assert job.log_tail() in text
    assert "mixed.start" not in {button.key for button in app.button}
    app.number_input(key="mixed.seed").set_value(1).run()
    assert "mine is a finished data set of other settings; give this one another name" in words(app)
    assert app.button(key="mixed.start").disabled
    assert not app.error


@pytest.mark.network
@pytest.mark.parametrize("state", ["stopped", "failed"])
def test_a_data_set_that_was_not_finished_says_what_to_do_and_goes_on(mine, state):
    run = Run(mine)
    with pytest.raises(KeyboardInterrupt):
        run.export_dataset(MixedOptions(3000), run.workspace.export_folder("half"), report=interrupted)
    spec = ["export", "--tokens", "3000", "--dataset", str(run.workspace.export_folder("half"))]
    past_job(mine, spec, state, "the disk is full" if state == "failed" else None)
    app = opened()
    text = words(app)
    assert f"half is not finished: it {'was ' * (state == 'stopped')}{state}" in text
    assert ("the disk is full" in text) == (state == "failed")
    assert "Resume goes on with it" in text
    table = next(frame.value for frame in app.dataframe if "kind" in frame.value)
    assert (table["name"][0], table["state"][0]) == ("half", state)
    pressed(app, "former.data.resume")
    assert ended(mine).state == "done"
    assert "half is finished" in words(opened())


@pytest.mark.network
def test_too_many_tokens_are_refused_before_a_job_with_the_domains_that_are_short(mine):
    run = Run(mine)
    tokens, weights = run.space().tokens, run.open_search().choice.mixture.weights
    some = weights > 0
    most = int((2 * tokens[some] / weights[some]).min())
    short = run.domains[int(np.flatnonzero(some)[np.argmin(tokens[some] / weights[some])])]
    app = opened(what="mixed data set")
    app.number_input(key="mixed.repeats").set_value(2.0)
    app.text_input(key="mixed.tokens").set_value(str(most + 10)).run()
    assert f"at most {most:,} tokens" in words(app)
    assert f"{short} (2.0 times)" in words(app)
    assert "mixed.start" not in {button.key for button in app.button}
    app.text_input(key="mixed.tokens").set_value(str(most)).run()
    assert app.button(key="mixed.start")
    app.selectbox(key="mixed.as").select("text")
    app.selectbox(key="mixed.layout").select("climbmix").run()
    assert "holds tokens" in words(app)
    assert not app.exception


@pytest.mark.network
def test_all_documents_are_written_by_domain_even_before_the_first_trial(mine):
    next(mine.glob("search/*.jsonl")).unlink()
    shutil.rmtree(mine / "exports")
    app = opened()
    assert "The search has no mixture yet" in words(app)
    assert "None yet." in words(app)
    app.selectbox(key="clustered.by").select("domain").run()
    pressed(app, "clustered.start")
    assert ended(mine).state == "done"
    folder = mine / "exports" / "by-domain"
    rows = [row for path in folder.glob("*/*.parquet") for row in pq.read_table(path, columns=["id"]).to_pylist()]
    assert len(rows) == Run(mine).needed("domains").facts["kept_documents"]


@pytest.mark.network
def test_half_way_the_best_trial_so_far_is_offered_and_said_to_flatter(mine):
    cut_log(mine, lambda event: event.get("iteration", 1) < 2)
    search = Run(mine).open_search()
    best = max((trial for trial in search.trials if trial.origin == "sampled"), key=search.score)
    app = opened()
    assert app.selectbox(key="mix").value == f"trial-{best.id}"
    assert "The search has not chosen yet" in words(app)
    assert "one run, so its noise is not known" in words(app)
    assert f"trial-{best.id} against natural: no seed in common" in words(app)
    assert f"none of them has a seed in common with trial-{best.id}. Give it runs of the same seeds" in words(app)


@pytest.mark.network
def test_the_gain_of_the_chosen_mixture_can_be_computed_again_from_what_is_shown(mine):
    search = Run(mine).open_search()
    outcome = search.outcome()
    natural = {trial.seed: search.score(trial) for trial in search.trials if trial.origin == "natural"}
    paired = float(np.mean([natural[seed] for seed in (0, 1)]))
    text = words(opened())
    assert f"Over the same 2 seeds: chosen {np.mean(outcome.confirmed):.4f}, natural {paired:.4f}" in text
    assert f"difference {outcome.gain:+.4f}" in text
    assert f"Natural has 3 runs, with a mean of {np.mean(outcome.natural):.4f}; 2 of them have a seed in common" in text


@pytest.mark.network
def test_a_job_that_failed_leaves_what_it_began_and_is_said(mine):
    (mine / "exports" / "begun" / ".partial").mkdir(parents=True)
    past_job(mine, ["export", "--tokens", "5"], "failed", f"disk full {HOSTILE}")
    app = opened(what="mixed data set")
    assert f"disk full {HOSTILE}" in words(app)
    table = next(frame.value for frame in app.dataframe if "kind" in frame.value)
    assert "unfinished data set" in table["kind"].tolist()
    assert not app.button(key="mixed.start").disabled


@pytest.mark.network
def test_while_a_job_lives_no_data_set_is_started_but_files_can_be_had(mine):
    with living_job(mine, ["search"]):
        app = opened(what="mixed data set")
        assert app.button(key="mixed.start").disabled
        assert "climb search tiny is at work" in words(app)
        app.segmented_control(key="what").set_value("weights and recipes").run()
        pressed(app, "write-it")
    assert export_of(mine)["weights"] == Run(mine).open_search().choice.mixture.as_dict()
