"""Proof on larger models in the app: comparisons read back, said in words, seen while under way, and started."""

import json
import time

import numpy as np
import pytest
from typer.testing import CliRunner

from app.compare import proofstart, proofwords
from app.compare.proofs import arguments, proofs, read, wanted_targets
from climb_engine import compare as engine
from climb_engine.cli.program import app as command_line
from climb_engine.compare.plan import COMPARED, Options
from climb_engine.compare.table import as_json, markdown
from climb_engine.pipeline import Run
from climb_engine.types import ClimbError
from climb_engine.workspace import Workspace
from tests.apptest import living_job, pressed, shown, turned, words
from tests.test_compare import planted
from tests.test_pages import HOSTILE

PLAN = {"tokens": "abc", "iterations": {"regmix": [8], "ours": [4, 4]}, "target_model": {"tokens": 1_000_000}}
OURS = ["compare", "--methods", "natural,regmix,ours", "--budget", "8", "--replicates", "3"]
WORSE = {  # like test_compare's, but ours is surely worse on sciq
    "natural": [((2.0, 0.5), (3.0, 0.3)), ((2.2, 0.52), (3.2, 0.32)), ((2.4, 0.54), (3.4, 0.34))],
    "ours": [((1.5, 0.6), (3.2, 0.3)), ((1.7, 0.62), (3.41, 0.32)), ((1.9, 0.64), (3.59, 0.34))],
}


def kept(run, comparison=None, digest="abc", told=3):
    """A comparison's folder below a run: with results where it has any, and a log for each search."""
    folder = run / "compare" / digest
    (folder / "searches").mkdir(parents=True)
    (folder / "plan.json").write_text(json.dumps(PLAN))
    for method in ("regmix", "ours"):
        lines = [json.dumps({"event": "told", "trial": number}) + "\n" for number in range(told)]
        (folder / "searches" / f"{method}-0.jsonl").write_text("".join(lines) + '{"event": "to')
    if comparison:
        (folder / "results.json").write_text(json.dumps(as_json(comparison)))
        (folder / "table.md").write_text(markdown(comparison))
        targets = [json.dumps({"event": "told"}) + "\n" for one in comparison.measured if one.result]
        (folder / "targets.jsonl").write_text("".join(targets))
    return folder


# Reading


def test_results_are_read_back_as_the_comparison_that_was_written(tmp_path):
    comparison = planted()
    folder = kept(tmp_path, comparison)
    found = read(folder / "results.json")
    assert as_json(found) == as_json(comparison)
    assert markdown(found) == markdown(comparison)


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"run": "x"}'])
def test_results_that_cannot_be_read_are_told_with_the_way_out(tmp_path, text):
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ClimbError, match="give the same 'climb compare' again"):
        read(tmp_path / "results.json")


def test_how_far_a_comparison_is_can_be_read_from_its_logs_and_a_torn_line_does_not_count(tmp_path):
    kept(tmp_path)
    (tmp_path / "compare" / "broken").mkdir()
    (tmp_path / "compare" / "broken" / "plan.json").write_text("{")
    (proof,) = proofs(Workspace(tmp_path))
    assert [(one.method, one.replicate, one.told, one.of) for one in proof.searches()] == [
        ("ours", 0, 3, 8),
        ("regmix", 0, 3, 8),
    ]
    assert (proof.targets(), proof.budget) == (0, 8)
    (tmp_path / "compare" / "abc" / "searches" / "doremi-0.jsonl").write_text('{"event":"started"}\n')
    assert (proof.searches()[0].method, proof.searches()[0].told, proof.searches()[0].of) == ("doremi", 0, 8)
    (tmp_path / "compare" / "abc" / "searches" / "doremi-0.jsonl").write_text('{"event":"found"}\n')
    assert proof.searches()[0].told == 8
    assert wanted_targets(OURS) == 9
    assert wanted_targets([*OURS[:2], "regmix,ours", *OURS[3:], "--seeds", "2"]) == 18  # natural is always among them


@pytest.mark.parametrize(
    "options",
    [
        Options(),
        Options(methods=("ours",), budget=48, replicates=5, seeds=2, target_size="10m", target_tokens=20_000_000),
        Options(tasks=("piqa", "own"), files={"own": "/data/own.jsonl"}, items=7, splits={"climb": (6, 1)}),
        Options(knobs={"proxy.layers": 4, "proxy.learning_rate": 1e-3, "proxy.start": "a b"}, tasks=(), scratch=True),
    ],
)
def test_the_command_that_is_shown_asks_for_just_these_options(options, monkeypatch):
    asked = []

    def caught(_run, options, _report):
        asked.append(options)
        raise ClimbError("that is all")

    monkeypatch.setattr(engine, "compare", caught)
    monkeypatch.setattr("climb_engine.cli.compare.open_run", lambda *_: None)
    command, *rest = arguments(options)
    CliRunner().invoke(command_line, [command, "demo", *rest])
    assert asked == [options]


# Words


def test_the_verdict_on_larger_models_names_the_task_that_got_worse():
    comparison = planted(WORSE)
    found = proofwords.verdict(comparison, "ours", "natural", "bpb")
    text = "\n".join(found.lines)
    assert found.kind == "good"
    assert found.headline == "ours saves 0.1500 bits per byte against natural: beyond the noise; but worse: sciq"
    assert "Worse beyond the noise: sciq by 0.2000" in text
    assert "Accuracy on the same items: +5.0 points" in text
    back = proofwords.verdict(comparison, "natural", "ours", "bpb")
    assert (back.kind, back.headline) == ("bad", "natural loses 0.1500 bits per byte against ours: beyond the noise")


def test_with_few_replicates_nothing_is_said_of_the_noise():
    comparison = planted(WORSE, replicates=2)
    found = proofwords.verdict(comparison, "ours", "natural", "bpb")
    assert found.kind == "unclear"
    assert "the noise is not known from 2 replicates" in found.headline
    assert "beyond" not in "\n".join(found.lines)
    lines = proofwords.task_lines(comparison, "ours", "natural", "bpb")
    assert not any(line.beyond for line in lines)


def test_every_group_of_tasks_has_a_panel_with_all_methods_but_the_reference():
    panels = dict(proofwords.group_lines(planted(), "natural", "bpb"))
    assert list(panels) == ["all tasks together", "calibrated tasks (piqa)", "other tasks (sciq)"]
    assert all([line.name for line in lines] == ["regmix", "ours"] for lines in panels.values())
    comparison = planted()
    gain = comparison.gains("ours", "natural", "bpb")
    line = panels["all tasks together"][1]
    assert (line.mean, line.interval) == (gain.mean, (gain.low, gain.high))


# The page


def opened():
    app = shown()
    app.query_params["view"] = "proof on larger models"
    return turned(app, "compare")


@pytest.mark.network
def test_a_finished_comparison_is_shown_with_figures_costs_and_downloads(mine):
    kept(mine, planted(WORSE))
    app = opened()
    text = words(app)
    assert "In each of 3 replicates every method finds a mixture with 48 proxies" in text
    assert "ours saves 0.1500 bits per byte against natural" in text
    assert "other domains or tokens than those of the run's settings now" in text
    assert "Not finished" not in text
    assert len(app.get("plotly_chart")) == 2
    assert all(chart.proto.alt for chart in app.get("plotly_chart"))
    assert all(frame.proto.alt for frame in app.dataframe)
    assert {"results.json", "table.md"} <= {button.label for button in app.download_button}
    costs = next(frame.value for frame in app.dataframe if "proxies" in frame.value)
    assert costs["method"].tolist() == ["natural", "ours"]
    app.segmented_control(key="proof.kind").set_value("accuracy").run()
    assert not app.exception
    assert "ours wins 5.0 points of accuracy against natural" in words(app)


@pytest.mark.network
def test_an_unfinished_comparison_says_how_far_it_is_and_goes_on_with_the_same_options(mine, monkeypatch):
    whole = planted(WORSE)
    part = type(whole)(**{**vars(whole), "measured": whole.measured[:4]})
    kept(mine, part)
    started = []
    monkeypatch.setattr(proofstart, "start", lambda run, said: started.append((run.name, tuple(said))))
    app = opened()
    assert "Not finished" in words(app)
    progress = [bar.proto.text for bar in app.get("progress")]
    assert progress == ["2 searches: 6 of 16 trials", "Targets: 4 of 6 larger models"]
    pressed(app, "proof.go-on")
    assert started == [("tiny", arguments(whole.options))]


@pytest.mark.network
def test_while_a_comparison_is_at_work_its_logs_are_counted(mine):
    with living_job(mine, OURS):
        time.sleep(0.01)
        kept(mine)
        app = opened()
        assert "A comparison is under way" in words(app)
        progress = [bar.proto.text for bar in app.get("progress")]
        assert "2 searches: 6 of 16 trials" in progress
        assert "Targets: 0 of 9 larger models" in progress
        assert app.button(key="proof.new").disabled
        assert "climb compare tiny is at work" in words(app)


@pytest.mark.network
def test_results_that_are_broken_are_told_and_another_can_be_started(mine):
    (kept(mine) / "results.json").write_text(json.dumps({"run": HOSTILE}))
    app = opened()
    assert "cannot be read" in words(app)
    assert len(app.error) == 1
    assert not app.button(key="proof.new").disabled


@pytest.mark.network
@pytest.mark.usefixtures("mine")
def test_a_comparison_is_started_with_what_was_typed_and_its_time_is_estimated(monkeypatch):
    started = []
    monkeypatch.setattr(proofstart, "start", lambda run, said: started.append((run.name, tuple(said))))
    app = opened()
    assert "No comparison on larger models has been made" in words(app)
    assert app.multiselect(key="proof.methods").value == ["chosen"]  # the first question: is what was found better?
    assert "6 targets (" in words(app)
    assert "proxy models" not in words(app).partition("Trains ")[2].partition("targets")[0]
    app.multiselect(key="proof.methods").set_value(list(COMPARED[1:])).run()
    assert "Trains 432 proxy models (" in words(app)  # random and RegMix draw the same mixtures
    assert "6 models of DoReMi (" in words(app)
    app.selectbox(key="proof.size").select("custom")
    app.text_input(key="proof.tokens").set_value("2k")
    app.multiselect(key="proof.methods").set_value(["climb", "ours"]).run()
    text = words(app)
    wanted = Options(methods=("climb", "ours"), budget=48, target_size="custom", target_tokens=2000)
    assert f"climb compare tiny {' '.join(arguments(wanted)[1:])}" in text
    assert "Trains 288 proxy models (" in text  # 3 x 48 x 2
    assert "models of DoReMi" not in text
    assert ", 9 targets (" in text
    assert "about" in text and "by what was trained before" in text
    pressed(app, "proof.new")
    assert started == [("tiny", arguments(wanted))]
    app.text_input(key="proof.tokens").set_value("many").run()
    assert "write a number of tokens" in words(app)


@pytest.mark.network
def test_the_cost_of_larger_models_is_learned_from_those_of_before(mine):
    run = Run(mine)
    options = Options(methods=("ours",), budget=8, replicates=1, target_size="custom", target_tokens=2000)
    models = proofstart.trained([planted()])
    assert {trial.result.seconds / trial.result.flops for trial in models} == {2.0 / 1e9}
    assert len(models) == len(planted().measured)
    before = proofstart.cost(run, options, run.open_search().trials, [])
    assert proofstart.cost(run, options, run.open_search().trials, models) != before
    assert np.isfinite(models[0].mixture.weights).all()
