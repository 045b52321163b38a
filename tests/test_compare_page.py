"""Mixtures side by side: the sums, what counts as measured, the figures, and the page in every state of a run."""

import contextlib
import json
import math
import re
import time

import numpy as np
import pytest

from app.compare import charts
from app.compare import sums as comparesums
from app.compare.charts import Measured
from app.compare.compared import compared, differences, names, spread, task_title, tasks, trial_names
from climb_engine.config import RunConfig
from climb_engine.jobs import working
from climb_engine.pipeline import Run
from climb_engine.search.loop import Search
from climb_engine.search.reuse import Reusable
from climb_engine.types import ClimbError, Mixture, Result
from climb_engine.workspace import Workspace
from tests.test_charts import EYES, seen
from tests.test_pages import HOSTILE, cut_log, ended, pressed, shown, turned, words

SHARE = np.array([0.5, 0.25, 0.25])


# Sums


def test_equal_weights_have_as_many_effective_domains_as_there_are_and_one_alone_has_one():
    assert comparesums.effective_domains(np.full(5, 0.2)) == pytest.approx(5)
    assert comparesums.effective_domains(np.array([1.0, 0.0])) == pytest.approx(1)


def test_repeats_are_tokens_drawn_over_tokens_there_are():
    weights, tokens = np.array([0.5, 0.5, 0.0, 0.0]), np.array([10.0, 100.0, 5.0, 0.0])
    assert comparesums.repeats(weights, tokens, 100).tolist() == [5, 0.5, 0, 0]
    assert comparesums.repeats(np.array([1.0]), np.array([0.0]), 1)[0] == math.inf
    assert comparesums.most_tokens(weights, tokens, 4) == 80
    read = comparesums.repeats(weights, tokens, 100)
    assert comparesums.too_often(("a", "b", "c", "d"), read, 4) == [("a", 5.0)]
    assert comparesums.too_often(("a", "b", "c", "d"), comparesums.repeats(weights, tokens, 80), 4) == []


def test_the_domains_that_differ_most_come_first_then_the_heaviest():
    table = np.array([[0.1, 0.3, 0.2, 0.4], [0.1, 0.2, 0.5, 0.2]])
    assert comparesums.by_difference(table).tolist() == [2, 3, 1, 0]


@pytest.mark.parametrize(("text", "tokens"), [("500000", 500_000), (" 10M ", 10_000_000), ("2.5b", 2_500_000_000)])
def test_tokens_are_typed_as_people_write_them(text, tokens):
    assert comparesums.typed_tokens(text) == tokens


@pytest.mark.parametrize("text", ["", None, "-5M", "0", "nan", "inf", "ten"])
def test_what_is_no_number_of_tokens_is_said(text):
    with pytest.raises(ClimbError, match="number of tokens"):
        comparesums.typed_tokens(text)


# Figures


@pytest.mark.parametrize("eye", EYES)
def test_the_four_colours_can_be_told_apart(eye):
    points = seen(charts.COLOURS, eye)
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    np.fill_diagonal(distances, np.inf)
    assert distances.min() > 0.12


def test_bars_are_grouped_with_the_largest_difference_on_top_and_ticks_at_the_natural_shares():
    table = np.array([[0.5, 0.4, 0.1], SHARE])
    domains = ("law", "sport", "<b>spam</b>")
    figure = charts.weight_bars(domains, table, SHARE, ["mine", "natural"], charts.COLOURS[:2])
    mine, natural, ticks = figure.data
    assert list(figure.layout.yaxis.ticktext) == ["sport", "&lt;b&gt;spam&lt;/b&gt;", "law"]
    assert figure.layout.yaxis.range[0] > figure.layout.yaxis.range[1]  # the first row on top
    assert list(mine.x) == [0.4, 0.1, 0.5]
    assert list(natural.x) == list(ticks.x) == [0.25, 0.25, 0.5]
    assert "mine: 40.00%, natural 25.00% (1.60 x)" in mine.hovertext[0]


def test_ratios_go_left_and_right_of_natural_and_nothing_is_drawn_at_the_edge_as_0():
    table = np.array([[0.75, 0.0, 0.25]])
    figure = charts.weight_bars(("a", "b", "c"), table, SHARE, ["mine"], ["#000"], ratio=True)
    (bars,) = figure.data
    by_domain = dict(zip(figure.layout.yaxis.ticktext, zip(bars.x, bars.text, strict=True), strict=True))
    assert by_domain["a"] == (pytest.approx(math.log2(1.5)), "")
    assert by_domain["c"] == (0, "")
    assert by_domain["b"][1] == "0"
    assert figure.layout.xaxis.range[0] < by_domain["b"][0] < 0
    assert "1 x" in figure.layout.xaxis.ticktext


def test_one_run_has_no_error_bar_and_a_prediction_is_hollow():
    lines = [
        Measured("thrice", "#111", (1.0, 2.0, 3.0), *spread((1.0, 2.0, 3.0))),
        Measured("once", "#222", (2.0,), *spread((2.0,))),
        Measured("foretold", "#333", (), 1.5, 0.25),
        Measured("unknown", "#444", (), math.nan, math.nan),
    ]
    figure = charts.score_panels([("Score", lines), ("task", lines)])
    runs, thrice, once, foretold = figure.data[:4]
    assert list(runs.x) == [1, 2, 3]
    assert thrice.error_x.array[0] == pytest.approx(1.0)
    assert once.error_x.array is None
    assert (foretold.marker.symbol, foretold.error_x.array[0]) == ("circle-open", 0.25)
    assert len(figure.data) == 8
    told = [annotation.text for annotation in figure.layout.annotations]
    assert "2.0000 ± 1.0000 (3 runs)" in told
    assert "2.0000 (1 run)" in told
    assert "1.5000 ± 0.2500 predicted" in told
    assert "not measured" in told


# What is compared


def one(search, key, read=None):
    return compared(key, search, search.baselines, read or (lambda _: {}))


@pytest.mark.network
def test_every_mixture_there_is_can_be_chosen_the_best_trials_first(finished_run):
    search = finished_run.open_search()
    found = names(search, ["mixture"])
    assert found[:4] == ["chosen", "natural", "uniform", "random"]
    assert "regmix" not in found  # too few trials for its regression
    assert "export-mixture" in found
    scores = [search.score(search.trials[int(name.removeprefix("trial-"))]) for name in trial_names(search)]
    assert scores == sorted(scores, reverse=True)
    weights = search.choice.mixture.as_dict()
    for key in found:
        assert one(search, key, lambda _: weights).mixture.weights.sum() == pytest.approx(1)


@pytest.mark.network
def test_the_chosen_mixture_is_compared_by_its_fresh_seeds_as_the_search_itself_does(finished_run):
    search = finished_run.open_search()
    outcome = search.outcome()
    pair = [one(search, "chosen"), one(search, "natural")]
    assert tuple(pair[0].scores(search.objective).values()) == outcome.confirmed
    assert tuple(pair[1].scores(search.objective).values()) == outcome.natural
    (found,) = differences(pair, search.objective)
    assert (found.mean, found.interval, found.pairs) == (outcome.gain, outcome.gain_interval, 2)
    low, high = outcome.gain_interval
    assert found.verdict == "within the noise" if low <= 0 <= high else "is better, beyond the noise" in found.verdict


@pytest.mark.network
def test_a_mixture_measured_once_says_so_and_one_pair_tells_nothing_of_the_noise(finished_run):
    search = finished_run.open_search()
    single = next(trial for trial in search.trials if trial.origin == "sampled" and trial.iteration == 1)
    trial = one(search, f"trial-{single.id}")
    assert len(trial.runs) == 1
    (found,) = differences([trial, one(search, "natural")], search.objective)
    assert found.pairs == 1
    assert found.verdict == "one pair says nothing about the noise"
    assert not one(search, "uniform").measured
    assert "flatters" in one(search, "random").note or len(one(search, "random").runs) > 1


@pytest.mark.network
def test_weights_of_a_file_must_fit_the_domains_of_the_run(finished_run):
    search = finished_run.open_search()
    with pytest.raises(ClimbError, match="no domain is called elsewhere"):
        one(search, "file", lambda _: {"elsewhere": 1.0})
    with pytest.raises(ClimbError, match="no mixture called 'trial-999'"):
        one(search, "trial-999")
    mine = one(search, "file", lambda _: {finished_run.domains[0]: 1.0})
    assert mine.mixture.weights[0] == 1


@pytest.mark.network
def test_what_a_search_over_other_domains_measured_is_no_measurement_here(finished_run):
    former = finished_run.open_search()
    search = Search(former.space, former.objective, former.config, list(finished_run.log()))
    weights = Mixture(former.space.domains, former.space.uniform)
    search.reuse([Reusable("elsewhere", 0, weights, 0, former.trials[0].result, 0.01)])
    uniform = one(search, "uniform")
    assert not uniform.measured
    assert "does not count here" in uniform.note


@pytest.mark.network
def test_tasks_are_scored_each_by_itself_and_add_up_to_the_score(finished_run):
    search = finished_run.open_search()
    result = search.trials[0].result
    assert isinstance(result, Result)
    parts = [task.score(result.metrics) for task in tasks(search.objective).values()]
    assert len(parts) == 2
    assert np.mean(parts) == pytest.approx(search.score(search.trials[0]))
    assert task_title("heldout/all") == "held out: all, minus bits per byte"
    assert task_title("own/bpb") == "own, minus bits per byte"


# The page


@contextlib.contextmanager
def living_job(run, arguments):
    """A job whose worker is this process: it holds the lock."""
    folder = run / "jobs" / "20260101-000000-000000"
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(json.dumps({"arguments": arguments, "started": time.time()}))
    with working(Workspace(run), folder.name):
        yield


@pytest.fixture
def runs(tmp_path, monkeypatch):
    monkeypatch.setenv("CLIMB_RUNS", str(tmp_path / "runs"))
    (tmp_path / "runs").mkdir(exist_ok=True)
    return tmp_path / "runs"


@pytest.fixture
def mine(own_run, runs):  # noqa: ARG001
    return own_run.workspace.folder


def opened(**asked):
    app = shown()
    for name, value in asked.items():
        app.query_params[name] = value
    return turned(app, "compare")


def bars(app):
    return json.loads(app.get("plotly_chart")[0].proto.spec)


@pytest.mark.usefixtures("runs")
def test_without_a_run_there_is_nothing_to_compare():
    assert "no run to look at" in words(turned(shown(), "compare"))


def test_without_domains_the_page_says_what_must_run(runs, corpus_file):
    Run.create(runs / "new", RunConfig().with_values({"corpus.inputs": [str(corpus_file)]}))
    app = turned(shown(), "compare")
    assert "new has no domains to mix yet" in words(app)
    assert not app.error


@pytest.mark.network
def test_the_found_mixture_stands_beside_the_natural_one_from_the_start(mine):
    app = turned(shown(), "compare")
    assert (app.selectbox(key="a").value, app.selectbox(key="b").value) == ("chosen", "natural")
    text = words(app)
    assert "mean of 2 runs ± sd over seeds; fresh seeds; the run it was chosen for does not count" in text
    assert "mean of 3 runs ± sd over seeds; the reference runs" in text
    assert "of 4 effective domains" in text
    assert "train" not in {button.key for button in app.button}
    outcome = Run(mine).open_search().outcome()
    gains = app.dataframe[0].value
    assert gains["mean"].tolist() == [pytest.approx(outcome.gain)]
    assert gains["pairs"].tolist() == [2]


@pytest.mark.network
def test_the_address_picks_the_mixtures_and_names_what_is_not_there(mine):  # noqa: ARG001
    app = opened(a="natural", b="trial-4", c="trial-999", d="<b>")
    assert [app.selectbox(key=slot).value for slot in "abcd"] == ["natural", "trial-4", None, None]
    assert "no mixture called trial-999, <b>" in words(app)
    assert "one run, so no error bar" in words(app)
    assert [trace["name"] for trace in bars(app)["data"]] == ["natural", "trial-4", "natural share"]
    app.toggle(key="ratio").set_value(True).run()
    assert not app.exception
    assert "1 x" in bars(app)["layout"]["xaxis"]["ticktext"]


@pytest.mark.network
def test_repeats_are_warned_of_for_the_tokens_that_are_stated(mine):
    search = Run(mine).open_search()
    rare = int(np.argmin(search.space.tokens))
    total = int(search.space.tokens.sum())
    app = opened(a="natural", b="uniform")
    assert "reads more than" not in words(app)
    app.text_input(key="budget").set_value(str(5 * total)).run()
    assert "natural reads more than 4 times" in words(app)
    assert f"{search.space.domains[rare]} {1.25 * total / search.space.tokens[rare]:.1f} x" in words(app)
    table = next(frame.value for frame in app.dataframe if "natural x" in frame.value)
    assert table["natural x"].tolist() == pytest.approx([5] * 4)
    app.text_input(key="budget").set_value("plenty").run()
    assert "plenty: write a number of tokens" in words(app)
    assert not app.exception


@pytest.mark.network
def test_an_unmeasured_mixture_is_predicted_queued_and_trained_without_beginning_an_iteration(mine):
    cut_log(mine, lambda event: event.get("iteration", 1) < 2)
    before = len(Run(mine).open_search().trials)
    app = opened(a="uniform", b="natural")
    assert "Predicted ± sd of the prediction; not measured yet" in words(app)
    assert "Queues uniform and trains 1 proxy model, one seed" in words(app)
    app = pressed(app, "train")
    job = ended(mine)
    assert (job.state, job.command) == ("done", "climb search tiny --iterations 0")
    search = Run(mine).open_search()
    assert search.iteration == 1
    assert len(search.trials) == before + 1
    assert search.trials[-1].origin == "suggested"
    assert search.trials[-1].mixture.weights.tolist() == search.space.uniform.tolist()
    app.run()
    assert "one run, so no error bar" in words(app)
    assert "train" not in {button.key for button in app.button}


@pytest.mark.network
def test_before_the_first_trial_natural_and_uniform_are_compared_without_a_prediction(mine):
    next(mine.glob("search/*.jsonl")).unlink()
    app = turned(shown(), "compare")
    assert (app.selectbox(key="a").value, app.selectbox(key="b").value) == ("uniform", "natural")
    assert "Too few trials to predict it; not measured yet" in words(app)
    assert not app.error


@pytest.mark.network
def test_a_failed_trial_says_why_and_can_be_trained_again(mine):
    run = Run(mine)
    trial = run.suggest({run.domains[0]: 0.5, run.domains[1]: 0.5})
    with run.workspace.log(run.search_digest).writing():
        run.open_search().tell(trial.id, f"out of memory {HOSTILE}")
    app = opened(a=f"trial-{trial.id}", b="natural")
    assert f"its last run failed: out of memory {HOSTILE}" in words(app)
    assert not app.button(key="train").disabled
    for element in app.caption:
        assert not re.search(r"(?<!\\)<img|(?<!\\)\*\*bold|(?<!\\):red\[", element.value)


@pytest.mark.network
def test_nothing_is_started_while_a_job_lives_and_the_page_says_so(mine):
    with living_job(mine, ["search"]):
        app = opened(a="uniform", b="natural")
        assert app.button(key="train").disabled
        assert "climb search tiny is at work; wait for it or stop it" in words(app)
    assert not opened(a="uniform", b="natural").button(key="train").disabled


@pytest.mark.network
def test_a_file_is_compared_by_its_weights_and_one_that_is_none_is_told(mine):
    domains = Run(mine).domains
    app = turned(shown(), "compare")
    good = json.dumps({"weights": {domains[0]: 0.75, domains[1]: 0.25}}).encode()
    app.file_uploader(key="compare.file").upload("mine.json", good, "application/json").run()
    app.selectbox(key="c").select("file").run()
    assert not app.exception
    table = next(frame.value for frame in app.dataframe if "file %" in frame.value)
    assert sorted(table["file %"].tolist()) == [0, 0, 25, 75]
    app.file_uploader(key="compare.file").upload("mine.json", b"\xff\xfe", "application/json").run()
    assert "not UTF-8" in words(app)


@pytest.mark.network
def test_every_chart_and_table_has_a_text_for_those_who_do_not_see_it(mine):  # noqa: ARG001
    app = opened(a="chosen", b="natural")
    assert len(app.get("plotly_chart")) == 2
    assert all(chart.proto.alt for chart in app.get("plotly_chart"))
    assert all(frame.proto.alt for frame in app.dataframe)
