"""Mixtures side by side: the sums, what counts as measured, the figures, and the page in every state of a run."""

import json
import math
import re
from dataclasses import replace

import numpy as np
import pytest

from app.compare import charts
from app.compare import sums as comparesums
from app.compare.charts import Measured
from app.compare.compared import Compared, compared, names, spread, task_title, tasks, trial_names, without_regmix
from app.compare.gains import differences, other_gains, part_gains, score_gain, sum_of, verdict
from climb_engine.config import RunConfig
from climb_engine.pipeline import Run
from climb_engine.search.loop import Search
from climb_engine.search.objective import Objective
from climb_engine.search.reuse import Reusable
from climb_engine.types import ClimbError, Mixture, Result, Trial
from tests.apptest import cut_log, ended, living_job, pressed, shown, turned, words
from tests.test_charts import EYES, seen
from tests.test_pages import HOSTILE

SHARE = np.array([0.5, 0.25, 0.25])


# Sums


def test_equal_weights_have_as_many_effective_domains_as_there_are_and_one_alone_has_one():
    assert comparesums.effective_domains(np.full(5, 0.2)) == pytest.approx(5)
    assert comparesums.effective_domains(np.array([1.0, 0.0])) == pytest.approx(1)


def test_repeats_are_tokens_drawn_over_tokens_there_are():
    weights, tokens = np.array([0.5, 0.5, 0.0, 0.0]), np.array([10.0, 100.0, 5.0, 0.0])
    assert comparesums.times_read(weights, tokens, 100).tolist() == [5, 0.5, 0, 0]
    assert comparesums.times_read(np.array([1.0]), np.array([0.0]), 1)[0] == math.inf
    assert comparesums.most_tokens(weights, tokens, 4) == 80
    read = comparesums.times_read(weights, tokens, 100)
    assert comparesums.too_often(("a", "b", "c", "d"), read, 4) == [("a", 5.0)]
    assert comparesums.too_often(("a", "b", "c", "d"), comparesums.times_read(weights, tokens, 80), 4) == []


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
    assert "needs 45 measured trials of the first iteration, there are 6" in without_regmix(search)
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
def test_a_sampled_run_has_an_order_of_its_own_and_a_fresh_one_takes_its_place(finished_run):
    former = finished_run.open_search()
    search = Search(former.space, former.objective, former.config, list(finished_run.log()))
    single = next(trial for trial in search.trials if trial.origin == "sampled" and trial.iteration == 1)
    trial = one(search, f"trial-{single.id}")
    assert (len(trial.runs), trial.fresh) == (1, 0)
    (found,) = differences([trial, one(search, "natural")], search.objective)
    assert found.verdict == "no seed in common"
    again = search.suggest(single.mixture)
    assert one(search, trial.key).queued == 1
    search.tell(again.id, replace(single.result, metrics=search.trials[0].result.metrics))
    trial = one(search, trial.key)
    assert (list(trial.runs), trial.fresh) == ([0], 1)
    assert "the run it was chosen for does not count" in trial.note
    (found,) = differences([trial, one(search, "natural")], search.objective)
    assert (found.pairs, found.mean) == (1, 0)
    assert found.verdict == "one pair says nothing about the noise"


@pytest.mark.network
def test_a_mixture_measured_once_says_so(finished_run):
    search = finished_run.open_search()
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


# Gains


def measured(key, seeds, weights=(0.5, 0.5), **metrics):
    """A mixture with runs: each metric's values by run; heldout_x stands for heldout/x, t_bpb for t/bpb."""
    mixture = Mixture(("x", "y"), np.array(weights))
    rows = [{name.replace("_", "/", 1): values[run] for name, values in metrics.items()} for run in range(len(seeds))]
    runs = {
        seed: Trial(seed, 1, "sampled", mixture, seed, Result(row, 10, 1.0, 1.0))
        for seed, row in zip(seeds, rows, strict=True)
    }
    return Compared(key, mixture, runs)


TARGET = Objective({"easy/bpb": 1.0, "hard/bpb": 1.0})
NATURAL = measured(
    "natural", (0, 1, 2, 3),
    easy_bpb=(9.0, 2.0, 2.01, 1.99), hard_bpb=(9.0, 3.0, 3.0, 3.0), heldout_x=(1.0,) * 4, hard_acc=(0.25,) * 4,
)  # fmt: skip
MINE = measured(
    "mine", (1, 2, 3),
    easy_bpb=(1.8, 1.80, 1.80), hard_bpb=(3.01, 2.99, 3.06), heldout_x=(1.5, 1.51, 1.49), hard_acc=(0.35, 0.351, 0.35),
)  # fmt: skip


def test_a_gain_counts_the_pairs_alone_so_that_its_numbers_add_up():
    gain = score_gain(MINE, NATURAL, TARGET)
    assert gain.pairs == 3  # not natural's fourth run, which is an outlier
    assert gain.levels == pytest.approx((-2.41, -2.5))
    assert gain.mean == pytest.approx(gain.levels[0] - gain.levels[1])
    assert "Over the same 3 seeds: mine -2.4100, natural -2.5000, difference +0.0900" in sum_of(gain)


def test_a_gain_is_positive_where_it_is_better_whatever_the_metric():
    parts = {gain.metric: gain for gain in part_gains(MINE, NATURAL, TARGET)}
    others = {gain.metric: gain for gain in other_gains(MINE, NATURAL, TARGET)}
    assert parts["easy/bpb"].mean == pytest.approx(0.2)
    assert parts["easy/bpb"].levels == pytest.approx((1.8, 2.0))
    assert others["hard/acc"].mean == pytest.approx(0.1, abs=0.001)
    assert others["heldout/x"].mean == pytest.approx(-0.5)
    assert set(others) == {"hard/acc", "heldout/x"}
    assert parts["easy/bpb"].beyond and not parts["hard/bpb"].beyond


def test_the_verdict_says_what_got_worse_in_the_headline_and_by_how_much():
    objective = TARGET
    parts, others = part_gains(MINE, NATURAL, objective), other_gains(MINE, NATURAL, objective)
    found = verdict(score_gain(MINE, NATURAL, objective), parts, others)
    text = "\n".join(found.lines)
    assert found.kind == "good"
    assert found.headline.startswith("mine is better than natural by 0.0900, beyond the noise; but worse on hard")
    assert "Worse: hard by 0.0200 bits per byte (within the noise)" in text
    assert "Better: easy by 0.2000 bits per byte (beyond the noise)" in text
    assert "held-out text of 1 of 1 domains got worse, most of all x (by 0.5000 bits per byte)" in text
    assert "better are hard/acc by 10.0 points of accuracy" in text


def test_the_other_way_round_is_as_much_worse():
    found = verdict(score_gain(NATURAL, MINE, TARGET), part_gains(NATURAL, MINE, TARGET), [])
    assert (found.kind, found.headline) == ("bad", "natural is worse than mine by 0.0900, beyond the noise")


def test_without_a_common_seed_nothing_is_said_of_the_difference():
    alone = measured("alone", (7,), easy_bpb=(1.0,), hard_bpb=(1.0,))
    found = verdict(score_gain(alone, NATURAL, TARGET), part_gains(alone, NATURAL, TARGET), [])
    assert (found.kind, found.lines) == ("unclear", ())
    assert "no seed in common" in found.headline


def test_gains_stand_about_a_line_at_0_filled_where_they_are_beyond_the_noise():
    lines = [
        charts.GainLine("<b>sure</b>", "#111", 0.02, (0.01, 0.03), 100, 1),
        charts.GainLine("maybe", "#222", 0.01, (-0.01, 0.03)),
        charts.GainLine("once", "#333", -0.01, (math.nan, math.nan)),
        charts.GainLine("none", "#444", math.nan, (math.nan, math.nan)),
    ]
    figure = charts.gain_panels([("tasks", lines)])
    points = [trace for trace in figure.data if trace.mode == "markers"]
    assert [point.marker.symbol for point in points] == ["circle", "circle-open", "circle-open"]
    told = [annotation.text for annotation in figure.layout.annotations]
    assert {"+2.0 [+1.0, +3.0]", "-0.0100 (no interval)", "not known"} < set(told)
    assert figure.layout.xaxis.range[0] < -0.01 and figure.layout.xaxis.range[1] > 3
    assert "&lt;b&gt;sure&lt;/b&gt;" in figure.layout.yaxis.ticktext


# The page


def opened(**asked):
    app = shown()
    for name, value in asked.items():
        app.query_params[name] = value
    return turned(app, "compare")


def bars(app):
    return next(
        found for chart in app.get("plotly_chart") for found in [json.loads(chart.proto.spec)]
        if any(trace.get("type") == "bar" for trace in found["data"])
    )  # fmt: skip


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
    assert "mean of 2 runs ± sd over seeds; fresh seeds" in text
    assert "mean of 3 runs ± sd over seeds; the reference runs" in text
    assert "of 4 effective domains" in text
    assert app.button(key="train").disabled
    assert "Each of them has 2 runs to be compared by" in text
    search = Run(mine).open_search()
    outcome = search.outcome()
    assert f"difference {outcome.gain:+.4f}, 95 % {outcome.gain_interval[0]:+.4f}" in text
    assert "Over the same 2 seeds" in text
    gains = next(frame.value for frame in app.dataframe if "better" in frame.value)
    assert gains["metric"].tolist()[:3] == ["score", "own/bpb", "heldout/all"]
    assert gains["better"][0] == pytest.approx(outcome.gain)
    assert gains["one"][0] - gains["other"][0] == pytest.approx(outcome.gain)
    assert len(gains) == 3 + 2 + 4  # the score, its parts, accuracies, and every domain


@pytest.mark.network
def test_regmix_is_shown_with_the_reason_why_it_cannot_be_chosen(mine):  # noqa: ARG001
    app = opened(a="chosen", b="regmix")
    text = words(app)
    assert "is not in the lists: it needs 45 measured trials" in text
    assert ":gray-badge[:material/block: regmix]" in text
    assert "no mixture called" not in text


@pytest.mark.network
def test_several_mixtures_are_compared_with_the_one_that_is_picked(mine):  # noqa: ARG001
    app = opened(a="chosen", b="natural", c="trial-4")
    assert app.segmented_control(key="against").value == "natural"
    assert "trial-4 against natural: no seed in common" in words(app)
    assert "Queues trial-4 (2) and trains 2 proxy models" in words(app)
    differences = next(frame.value for frame in app.dataframe if "difference" in frame.value)
    assert len(differences) == 3
    app.segmented_control(key="against").set_value("chosen").run()
    assert not app.exception
    assert "trial-4 against chosen: no seed in common" in words(app)


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
    assert "Queues uniform (3) and trains 3 proxy models" in words(app)  # as often as natural was run
    app.number_input(key="train-runs").set_value(1).run()
    assert "Queues uniform and trains 1 proxy model." in words(app) or "1 proxy model, about" in words(app)
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
    assert app.button(key="train").disabled
    assert "Each of them has 1 run to be compared by" in words(app)
    app.number_input(key="train-runs").set_value(4).run()
    assert "Queues uniform (3), natural and trains 4 proxy models" in words(app)


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
    assert len(app.get("plotly_chart")) == 3
    assert all(chart.proto.alt for chart in app.get("plotly_chart"))
    assert all(frame.proto.alt for frame in app.dataframe)
