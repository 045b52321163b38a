"""The search page in every state of a search: empty, half-way, finished, failed, and large."""

import contextlib
import json
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from app.search import fitting, panels, trialtable
from app.search.estimates import estimate
from climb_engine.jobs import jobs
from climb_engine.pipeline import Run
from climb_engine.workspace import Workspace
from tests import apptest
from tests.apptest import PATIENCE, ROOT, pressed, words
from tests.searches import large

HOSTILE = "<img src=x onerror=alert(1)> **bold** :red[red] $x$"


@pytest.fixture
def tiny(runs, finished_run):
    """A copy of the finished run that may be changed, with a predictor that is fitted in no time."""
    run = Run(shutil.copytree(finished_run.workspace.folder, runs / "tiny"))
    run.configure(run.config.with_values({"search.predictor": "ridge"}))
    return run.workspace.folder


def log_of(run: Path) -> Path:
    return next(run.glob("search/*.jsonl"))


def events(run: Path) -> list[dict]:
    return [json.loads(line) for line in log_of(run).read_text().splitlines()]


def rewrite(run: Path, kept: list[dict]) -> None:
    log_of(run).write_text("".join(json.dumps(event) + "\n" for event in kept))


def cut(run: Path, trials: int) -> None:
    """Leave the search where only the first trials are told."""
    kept = []
    for event in events(run):
        if event.get("trial", -1) >= trials or event["event"] in ("chosen", "shortlisted"):
            break
        kept.append(event)
    rewrite(run, kept)


def shown(**address) -> AppTest:
    return apptest.shown("search", **address)


def trials_on(figure: dict) -> set[int]:
    """Trials on the map."""
    named = [trace for trace in figure["data"] if trace.get("customdata") is not None]
    return {int(trial) for trace in named for trial in np.ravel(decoded(trace["customdata"]))}


def decoded(values):
    if isinstance(values, dict):
        import base64

        return np.frombuffer(base64.b64decode(values["bdata"]), dtype=values["dtype"])
    return values


def numbers(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def ended(run: Path) -> str:
    deadline = time.monotonic() + PATIENCE
    while (job := jobs(Workspace(run))[0]).alive:
        assert time.monotonic() < deadline, job.log_tail()
        time.sleep(0.05)
    return job.state


# Nothing yet


@pytest.mark.usefixtures("runs")
def test_without_a_run_the_page_says_what_to_do():
    assert "New run" in words(shown())


def test_before_the_stages_the_page_offers_them(runs, tiny_config):
    Run.create(runs / "new", tiny_config)
    app = shown()
    assert app.button(key="launch.go").label == "Run the stages"
    assert "no domains to mix yet" in words(app)
    assert not app.get("plotly_chart")


def test_before_the_first_trial_one_can_launch_it_or_queue_ones_own(tiny):
    log_of(tiny).unlink()
    app = shown()
    assert app.button(key="launch.go").label == "Run iteration 1 of 2"
    assert re.search(r"Costs: 9 proxy models, \S+ FLOPs, about .* \(by the speed of the trunk\)", words(app))
    assert "No trial has been asked for yet" in words(app)
    app.session_state["beside"] = "My own mixture"
    app.run()
    pressed(app, "own.queue")
    assert [event["event"] for event in events(tiny)] == ["started", "suggested"]
    assert numbers(app)["Measured"] == "0"
    assert set(app.dataframe(key="trials").value["state"]) == {"open"}


# Half-way


def test_half_way_it_says_how_far_it_is_and_what_comes_next(tiny):
    cut(tiny, 7)
    app = shown()
    found = numbers(app)
    assert found["Iteration"] == "1 of 2"
    assert found["Measured"] == "7"
    assert "2 open" in app.metric[1].delta
    assert app.button(key="launch.go").label == "Finish iteration 1"
    assert "Costs: 2 proxy models" in words(app)
    assert "by 7 trials so far" in words(app)
    assert "Another iteration: 4 more trials" in words(app)
    names = [trace.get("name") for trace in json.loads(app.get("plotly_chart")[0].proto.spec)["data"]]
    assert {"iteration 1", "iteration 1, open", "natural", "best so far"} <= set(names)


def test_launching_trains_what_is_open_and_no_more(tiny):
    cut(tiny, 7)
    pressed(shown(), "launch.go")
    assert ended(tiny) == "done"
    app = shown()
    assert numbers(app)["Measured"] == "9"
    assert app.button(key="launch.go").label == "Run iteration 2 of 2"


def before(run: Path, iteration: int) -> None:
    """Leave the search where an iteration is not asked yet."""
    known = events(run)
    rewrite(run, known[: next(i for i, event in enumerate(known) if event.get("iteration") == iteration)])


def test_what_the_next_step_costs_is_what_its_sentence_says(tiny):
    before(tiny, 2)
    said = words(shown())
    assert "Trains 4 mixtures of iteration 2. Then chooses the mixture and confirms it with 2 fresh seeds." in said
    assert "Costs: 6 proxy models" in said
    assert "All that is left" not in said
    run = Run(tiny)
    run.suggest(dict.fromkeys(run.domains, 1 / len(run.domains)))
    said = words(shown())
    assert "Trains 1 mixture of your own and 4 mixtures of iteration 2. Then" in said
    assert "Costs: 7 proxy models" in said


def test_before_the_last_step_it_is_said_what_is_left_as_well(tiny):
    cut(tiny, 7)
    assert re.search(r"Costs: 2 proxy models, [^)]+\)\. All that is left: 8 proxy models, about", words(shown()))


def test_what_waits_after_the_choice_is_trained_without_choosing_again(tiny):
    run = Run(tiny)
    run.suggest(dict.fromkeys(run.domains, 1 / len(run.domains)))
    app = shown()
    assert app.button(key="launch.go").label == "Train what is queued"
    assert "Trains 1 mixture of your own. Costs: 1 proxy model," in words(app)


def test_a_mixture_costs_in_the_launch_line_what_it_costs_by_the_hint(tiny):
    cut(tiny, 9)
    run = Run(tiny)
    search = run.open_search()
    hint, said = search.stop_hint(), estimate(run, run.config, search.own, 4)
    assert (hint.trials, hint.flops, hint.seconds) == (4, pytest.approx(said.flops), pytest.approx(said.seconds))


def test_how_the_predictor_was_when_it_chose_is_told_beside_how_it_is_now(tiny):
    trust = Run(tiny).open_search().choice.trust
    trials = len(Run(tiny).open_search().trials)
    assert trust.trials < trials
    then = f"When it chose, over {trust.trials}: {trust.spearman:.2f}, with {trust.coverage:.0%} inside"
    assert f"Now, over {trials} trials. {then}" in words(shown())


def test_a_failed_trial_is_told_as_plain_text(tiny):
    changed = [
        {"event": "failed", "trial": 5, "error": HOSTILE} if event.get("trial") == 5 else event
        for event in events(tiny)
    ]
    rewrite(tiny, changed)
    app = shown(trial="5")
    assert "1 failed" in app.metric[1].delta
    assert HOSTILE in words(app)
    for kind in ("markdown", "caption", "error", "info", "success", "warning"):
        for element in getattr(app, kind):
            assert not re.search(r"(?<!\\)<img|(?<!\\)\*\*bold|(?<!\\):red\[", element.value)


def test_with_two_measured_trials_nothing_is_predicted(tiny):
    cut(tiny, 2)
    app = shown()
    assert numbers(app)["Rank correlation"] == "n/a"
    assert "fit" not in {button.key for button in app.button}
    assert "A fitted predictor would tell" in words(app)


# Finished


def test_a_finished_search_shows_its_verdict_every_chart_and_every_trial(tiny):
    app = shown()
    found = words(app)
    assert "95 % interval" in found
    assert app.button(key="launch.go").disabled
    assert "the choice is confirmed" in found
    assert len(app.get("plotly_chart")) == 7
    assert all(chart.proto.alt for chart in app.get("plotly_chart"))
    for title in ("Best so far", "Predicted against measured", "How the weights move", "What each domain does"):
        assert title in found
    table = app.dataframe[0].value
    assert len(table) == len(Run(tiny).open_search().trials)
    assert table["score"].is_monotonic_decreasing
    assert {"own/bpb", "seconds", "repeats", "note", "predicted"} <= set(table)


def test_a_predictor_that_ranks_badly_is_called_so_in_red(tiny):
    rng = np.random.default_rng(1)
    noisy = []
    for event in events(tiny):
        if event["event"] in ("chosen", "shortlisted"):
            break
        if event["event"] == "told":
            event["metrics"] = {name: float(rng.normal()) for name in event["metrics"]}
        noisy.append(event)
    rewrite(tiny, noisy)
    app = shown()
    assert "The predictor ranks unseen mixtures badly" in app.error[0].value.replace("\\", "")
    assert "cannot be told" in words(app)  # by whom it would have to be told
    assert not re.search("stop here|worth it", words(app))


def test_the_order_is_told_over_all_trials_and_over_the_best_half_through_the_filter(tiny):
    app = shown()
    trials = Run(tiny).open_search().trials
    assert re.search(rf"rank correlation \S+ over all {len(trials)} trials", words(app))
    assert "best half" in app.metric[5].delta
    app = shown(iteration="1")
    assert re.search(r"rank correlation \S+ over all 6 trials", words(app))


def test_numbers_of_trials_add_up(tiny):
    trials = Run(tiny).open_search().trials
    app = shown()
    found = re.search(r"(\d+) trials: (\d+) of the search, (\d+) natural, (\d+) confirmations\.", words(app))
    whole, *kinds = map(int, found.groups())
    assert whole == sum(kinds) == len(trials) == len(app.dataframe[0].value)
    assert f"{kinds[0]} points: measured trials of the search" in words(app)
    assert f"{kinds[0] + kinds[2]} points, and a star for {kinds[1]} natural runs" in words(app)
    app = shown(origin="natural")
    assert f"{kinds[1]} trials: {kinds[1]} natural. The filter hides {whole - kinds[1]} trials" in words(app)


def test_a_loss_curve_says_what_it_is(tiny):
    run = Run(tiny)
    said = words(shown())
    assert "from the trunk on" in said
    assert f"one batch of {run.config.proxy.batch_size * run.config.proxy.sequence_length:,} tokens" in said
    assert re.search(r"the median curve (falls|rises) by \d\.\d\d nats", said)


def test_one_filter_is_for_the_charts_and_the_table_and_is_in_the_address(tiny):  # noqa: ARG001
    app = shown(iteration="2", origin="sampled")
    table = app.dataframe[0].value
    assert set(table["iteration"]) == {2}
    assert set(table["origin"]) == {"sampled"}
    on_map = json.loads(app.get("plotly_chart")[0].proto.spec)
    assert trials_on(on_map) == set(table["trial"])
    app.selectbox(key="top").select("5").run()
    assert len(app.dataframe[0].value) == 4
    app.pills(key="iteration").set_value([])
    app.pills(key="origin").set_value([]).run()
    table = app.dataframe[0].value
    assert len(table) == 5
    on_map = json.loads(app.get("plotly_chart")[0].proto.spec)
    assert trials_on(on_map) == set(table["trial"][table["origin"] != "natural"])


@pytest.mark.parametrize(("asked", "found"), [("4", "4"), ("999", None), ("<b>", None)])
def test_the_address_picks_the_trial_and_a_strange_one_does_no_harm(tiny, asked, found):  # noqa: ARG001
    app = shown(trial=asked)
    assert app.selectbox(key="trial").value == found
    if found:
        assert re.search(r"iteration 1 · sampled · seed 1\d{4}", words(app))
        names = [trace.get("name") for trace in json.loads(app.get("plotly_chart")[0].proto.spec)["data"]]
        assert "trial 4" in names


def test_a_click_on_a_chart_or_a_row_picks_the_trial(tiny):  # noqa: ARG001
    app = shown()
    app.session_state["landscape"] = {"selection": {"points": [{"customdata": 6}]}}
    app.run()
    assert app.selectbox(key="trial").value == "6"
    app.selectbox(key="trial").select("4").run()
    assert app.selectbox(key="trial").value == "4"  # what the chart still has selected is not a new click
    app.session_state["foretold"] = {"selection": {"points": [{"customdata": [8, 1]}]}}
    app.run()
    assert app.selectbox(key="trial").value == "8"
    pressed(app, "trial.Next")
    assert app.selectbox(key="trial").value == "9"
    app.segmented_control(key="trial.look").set_value("metrics").run()
    assert not app.exception


def test_a_note_on_a_trial_is_kept_beside_the_run_and_shown_in_the_table(tiny):
    app = shown(trial="4")
    note = next(widget for widget in app.text_input if widget.key.startswith("note."))
    note.set_value(HOSTILE).run()
    assert not app.exception
    digest = Run(tiny).search_digest
    assert json.loads((tiny / "notes.json").read_text()) == {digest: {"4": HOSTILE}}
    table = app.dataframe[0].value
    assert table.set_index("trial")["note"][4] == HOSTILE


def test_the_plane_is_the_other_way_to_draw_the_map(tiny):  # noqa: ARG001
    app = shown()
    before = app.get("plotly_chart")[0].proto.spec
    app.segmented_control(key="layout").set_value("PCA").run()
    assert not app.exception
    assert app.get("plotly_chart")[0].proto.spec != before


def test_taken_over_trials_teach_but_are_not_counted_as_measured_here(tiny):
    if not hasattr(Run(tiny).open_search(), "reuse"):
        pytest.skip("this search takes over no trials")
    before = numbers(shown())["Measured"]
    search = Run(tiny).open_search()
    result = next(trial.result for trial in search.trials if trial.result)
    from climb_engine.search.reuse import Reusable
    from climb_engine.types import Mixture

    mixture = Mixture(search.space.domains, search.space.uniform)
    search.reuse([Reusable("other", 3, mixture, 0, result, 0.1)])
    app = shown()
    assert numbers(app)["Measured"] == before
    assert "1 taken over" in app.metric[1].delta
    assert "taken over" in set(app.dataframe[0].value["state"])


# What is launched


def opened(app: AppTest, section: str) -> AppTest:
    app.session_state["launched"] = True
    app.run()
    app.segmented_control(key="launch.section").set_value(section).run()
    assert not app.exception
    return app


def knob(app: AppTest, kind: str, name: str):
    return next(widget for widget in getattr(app, kind) if str(widget.key).endswith(f".{name}"))


def test_a_finished_search_goes_on_with_a_further_iteration(tiny):
    app = opened(shown(), "search")
    knob(app, "number_input", "trials").set_value(3).run()
    assert "the plan is then 6 + 4 + 3 trials" in words(app)
    pressed(app, "launch.apply")
    assert Run(tiny).config.search.iterations == (6, 4, 3)
    assert app.button(key="launch.go").label == "Run iteration 3 of 3"


def test_other_proxies_are_said_to_begin_a_new_search_and_what_it_costs(tiny):
    app = opened(shown(), "proxies")
    knob(app, "number_input", "tokens").set_value(4000).run()
    found = words(app)
    assert "the search starts anew" in found
    assert re.search(r"the first iteration then costs 9 proxy models, \S+ FLOPs", found)
    assert Run(tiny).config.proxy.tokens == 2000


def test_other_weights_of_the_target_are_said_to_need_no_training(tiny):
    app = opened(shown(), "target")
    knob(app, "text_area", "heldout").set_value("all = 3.0").run()
    assert "nothing is trained again" in words(app)
    assert "starts anew" not in words(app)
    before = app.dataframe[0].value["score"].tolist()
    pressed(app, "launch.apply")
    assert app.dataframe[0].value["score"].tolist() != before
    assert len(events(tiny)) > 0


def test_limits_that_cannot_hold_are_told(tiny):  # noqa: ARG001
    app = opened(shown(), "limits")
    knob(app, "text_area", "min_weight").set_value("nowhere = 0.5").run()
    pressed(app, "launch.apply")
    assert "no domain is called 'nowhere'" in words(app)


# My own mixture


def mixer(app: AppTest) -> AppTest:
    app.session_state["beside"] = "My own mixture"
    app.run()
    assert not app.exception
    return app


def test_sliders_keep_the_sum_and_what_they_say_is_what_is_queued(tiny):
    app = mixer(shown())
    app.slider[0].set_value(60.0).run()
    assert not app.exception
    values = [slider.value for slider in app.slider]
    assert sum(values) == pytest.approx(100, abs=1e-6)
    assert values[0] == pytest.approx(60)
    assert "Predicted score" in numbers(app)
    pressed(app, "own.queue")
    trial = Run(tiny).open_search().trials[-1]
    assert (trial.origin, trial.open) == ("suggested", True)
    assert np.allclose(100 * trial.mixture.weights, values)
    assert "your own, open" in [t.get("name") for t in json.loads(app.get("plotly_chart")[0].proto.spec)["data"]]


def test_sliders_are_as_they_were_after_a_look_at_a_trial(tiny):  # noqa: ARG001
    app = mixer(shown())
    app.checkbox[1].check().run()
    app.slider[0].set_value(app.slider[0].value + 10).run()
    before = [slider.value for slider in app.slider]
    app.session_state["landscape"] = {"selection": {"points": [{"customdata": 6}]}}
    app.run()
    assert app.segmented_control(key="beside").value == "Trial"
    assert app.selectbox(key="trial").value == "6"
    mixer(app)
    assert [slider.value for slider in app.slider] == before
    assert app.checkbox[1].value


def test_a_locked_domain_stays_when_another_moves(tiny):  # noqa: ARG001
    app = mixer(shown())
    before = app.slider[1].value
    app.checkbox[1].check().run()
    app.slider[0].set_value(app.slider[0].value + 10).run()
    assert app.slider[1].value == pytest.approx(before)
    assert app.slider[2].value < before + 100
    assert sum(slider.value for slider in app.slider) == pytest.approx(100)


def test_one_starts_from_a_trial_from_the_panel_or_from_the_list(tiny):
    trials = Run(tiny).open_search().trials
    app = pressed(shown(trial="5"), "own.from")
    assert np.allclose([slider.value for slider in app.slider], 100 * trials[5].mixture.weights, atol=1e-6)
    assert "Started from trial 5" in words(app)
    assert app.segmented_control(key="beside").value == "My own mixture"
    app.selectbox(key="own.source").select("uniform").run()
    assert [slider.value for slider in app.slider] == pytest.approx([100 / len(app.slider)] * len(app.slider))


@pytest.mark.parametrize(
    ("content", "said"),
    [("{domain}: 3", "Read mine.json"), ('{"nowhere": 1}', "no domain is called nowhere"), ("[1]", "no weights")],
)
def test_one_starts_from_a_file_and_a_wrong_one_is_told(tiny, content, said):
    domain = Run(tiny).domains[0]
    app = mixer(shown())
    app.get("file_uploader")[0].upload("mine.json", content.format(domain=domain).encode(), "application/json") if (
        "{domain}" in content
    ) else app.get("file_uploader")[0].upload("mine.json", content.encode(), "application/json")
    app.run()
    assert not app.exception
    assert said in words(app)


def test_while_a_search_is_at_work_a_mixture_waits_for_it(tiny):
    app = mixer(shown())
    run = Run(tiny)
    with run.workspace.log(run.search_digest).writing():
        pressed(app, "own.queue")
    assert "It waits; the search at work takes it" in words(app)
    assert len(list(run.workspace.waiting_folder(run.search_digest).iterdir())) == 1


# Large


def test_with_a_thousand_trials_nothing_is_fitted_unasked_and_then_only_once(runs, monkeypatch):
    large(runs / "large", 1000, 24, "ridge")
    monkeypatch.setattr(fitting, "AT_ONCE", 0.0)
    fits = []
    fit = fitting.fit
    monkeypatch.setattr(fitting, "fit", lambda view: fits.append(1) or fit(view))
    app = shown(layout="PCA")
    assert len(app.dataframe[0].value) == 1000
    assert not fits
    assert "learn from the 1,000 measured trials" in words(app)
    pressed(app, "fit")
    assert fits == [1]
    assert numbers(app)["Rank correlation"] != "n/a"
    app.selectbox(key="top").select("20").run()
    app.run()
    assert not app.exception
    assert fits == [1]
    assert len(app.dataframe[0].value) == 20


def test_what_takes_a_moment_to_fit_comes_after_the_page(runs, monkeypatch):
    large(runs / "large", 40, 6, "ridge")
    drawn = []
    monkeypatch.setattr(fitting, "fit", lambda view, fit=fitting.fit: drawn.append("fit") or fit(view))
    monkeypatch.setattr(trialtable, "table", lambda *_: drawn.append("table"))
    monkeypatch.setattr(panels, "the_map", lambda *_: drawn.append("map"))
    app = shown(layout="PCA")
    assert drawn == ["table", "map", "fit", "table", "map"]
    assert numbers(app)["Rank correlation"] != "n/a"
    assert "comes then" not in words(app)


def test_while_the_predictor_is_fitted_its_charts_are_said_to_come_and_not_to_lack_trials(runs, monkeypatch):
    large(runs / "large", 40, 6, "ridge")
    monkeypatch.setattr(fitting, "_fit_now", lambda *_: None)  # as the page is before the fit is there
    app = shown(layout="PCA")
    assert "Fitting the predictor to 40 trials" in words(app)
    assert "A fitted predictor would tell" not in words(app)
    assert "Nothing is held out yet" not in words(app)


def test_the_page_fits_on_one_thread(runs, monkeypatch):
    large(runs / "large", 40, 6, "ridge")
    seen = []

    @contextlib.contextmanager
    def held_back():
        seen.append("one thread")
        yield
        seen.append("all threads")

    monkeypatch.setattr(fitting, "one_thread", held_back)
    monkeypatch.setattr(fitting, "fit", lambda view, fit=fitting.fit: seen.append("fit") or fit(view))
    shown(layout="PCA")
    assert seen[:3] == ["one thread", "fit", "all threads"]


def test_where_the_memory_does_not_suffice_the_page_says_so_and_does_not_try_again(tiny, monkeypatch):
    tried = []

    def too_large(_):
        tried.append(1)
        raise MemoryError

    monkeypatch.setattr(fitting, "fit", too_large)
    cut(tiny, 9)
    app = shown()
    assert "The memory does not suffice" in words(app)
    assert "search.iterations" in words(app)
    app.run()
    assert not app.exception
    assert tried == [1]
    assert app.button(key="fit")


VISITED = """
import sys
from streamlit.testing.v1 import AppTest
app = AppTest.from_file(sys.argv[1], default_timeout=90).run()
app.switch_page(sys.argv[2]).run()
assert not app.exception, app.exception
assert len(app.get("plotly_chart")) == 7
print(*[name for name in ("torch", "faiss", "transformers", "lightgbm", "umap") if name in sys.modules])
"""


def test_the_page_loads_no_torch(tiny):  # noqa: ARG001
    pages = [str(ROOT / "app" / "main.py"), str(ROOT / "pages" / "search.py")]
    done = subprocess.run([sys.executable, "-c", VISITED, *pages], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
