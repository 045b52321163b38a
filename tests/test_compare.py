"""Comparing methods on a real small run: equal budgets, unseen items, kills; and the statistics on planted numbers."""

import json
import math
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest

from climb_engine import cli
from climb_engine.compare import Comparison, Options, compare
from climb_engine.compare.figure import figure
from climb_engine.compare.outcome import ALL, CALIBRATED, OTHER, Estimate, Found, Measured, Model
from climb_engine.compare.plan import NATURAL_RUNS, Plan, check_disjoint, report_items, target_config
from climb_engine.compare.search import open_searches
from climb_engine.compare.table import as_json, gain_table, markdown, task_table, verdicts
from climb_engine.pipeline import Run
from climb_engine.search.baselines import Spent
from climb_engine.search.tasks import Item
from climb_engine.training import Heldout, calibration_items
from climb_engine.types import ClimbError, Mixture, Result
from tests.conftest import write_jsonl

needs_embedder = pytest.mark.network  # the run's static embedder comes out of a registry package
TINY = Options(
    budget=8,
    replicates=2,
    target_size="custom",
    target_tokens=1000,
    knobs={"proxy.trunk_tokens": 1000},
    tasks=(),
    splits={"ours": (1, 1), "climb": (3, 1)},
)


def copied(run, folder):
    shutil.copytree(run.workspace.folder, folder / "runs" / "tiny")
    copy = Run(folder / "runs" / "tiny")
    copy.configure(copy.config.with_values({"search.folds": 0}))  # cross-validation takes most of the time
    return copy


class Watch:
    """A report that counts events, and raises at one of them as Ctrl-C or a job's stop would.

    Steps within a training are left out: how many are told depends on the clock.
    """

    def __init__(self, stop_at=0):
        self.events, self.stop_at = [], stop_at

    def __call__(self, event):
        if event.unit == "steps" and event.done < event.total:
            return
        self.events.append(event)
        if len(self.events) == self.stop_at:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def compared(finished_run, tmp_path_factory):
    """A run, its comparison, and the events on the way; not to be changed."""
    run, watch = copied(finished_run, tmp_path_factory.mktemp("compared")), Watch()
    return run, compare(run, TINY, watch), watch.events


def numbers(comparison):
    """A comparison without what tells the time."""

    def timeless(value):
        if isinstance(value, dict):
            return {key: timeless(inner) for key, inner in value.items() if "seconds" not in key}
        return [timeless(inner) for inner in value] if isinstance(value, list) else value

    return timeless(json.loads(json.dumps(as_json(comparison))))


# A real comparison


@needs_embedder
def test_every_search_gets_the_same_budget_and_natural_and_uniform_none(compared):
    run, comparison, _ = compared
    assert comparison.complete
    trained = {"natural": 0, "uniform": 0, "doremi": 2}
    for found in comparison.found:
        assert found.spent.proxies == trained.get(found.method, 8)
    costs = {round(found.spent.flops) for found in comparison.found if found.spent.proxies == 8}
    assert len(costs) == 1 and costs != {0}
    (cost,) = costs
    doremi = [found.spent for found in comparison.found if found.method == "doremi"]
    assert [spent.flops for spent in doremi] == pytest.approx([cost] * 2, rel=0.02)
    assert all(spent.tokens > 0 and spent.seconds > 0 for spent in doremi)
    for (method, _), search in open_searches(Plan.of(run, TINY)).items():
        assert len(search.trials) == 8
        of_natural = [trial for trial in search.trials if trial.origin == "natural"]
        assert len(of_natural) == (method == "ours")
        assert {trial.origin for trial in search.trials} <= {"natural", "sampled"}


@needs_embedder
def test_no_mixture_is_outside_the_space(compared):
    run, comparison, _ = compared
    space = run.space()
    weights = [found.mixture.weights for found in comparison.found]
    for search in open_searches(Plan.of(run, TINY)).values():
        weights += [trial.mixture.weights for trial in search.trials]
    assert space.contains(np.array(weights)).all()


@needs_embedder
def test_a_mixture_that_two_searches_draw_is_trained_once_and_charged_to_both(compared):
    run, _, events = compared
    searches = open_searches(Plan.of(run, TINY))
    for replicate in range(2):
        random, regmix = (searches[method, replicate] for method in ("random", "regmix"))
        assert [trial.mixture for trial in random.trials] == [trial.mixture for trial in regmix.trials]
        assert random.spent() == regmix.spent()
    assert searches["random", 0].trials[0].mixture != searches["random", 1].trials[0].mixture
    stacks = [event for event in events if event.stage == "compare-proxies" and event.done == event.total]
    assert sum(len(event.facts["trials"]) for event in stacks) == 2 * 3 * 8  # not 2 * 4 * 8
    assert events[-1].stage == "compare" and events[-1].done == events[-1].total == 2 * 7


@needs_embedder
def test_targets_of_a_replicate_read_in_one_order_and_differ_between_replicates(compared):
    _, comparison, _ = compared
    seeds = {
        one.replicate: {other.seed for other in comparison.measured if other.replicate == one.replicate}
        for one in comparison.measured
    }
    assert all(len(found) == 1 for found in seeds.values())
    assert seeds[0] != seeds[1]
    natural = [one.result.metrics["own/bpb"] for one in comparison.measured if one.method == "natural"]
    assert natural[0] != natural[1]


@needs_embedder
def test_report_items_are_apart_from_calibration_items(compared):
    run, comparison, _ = compared
    plan = Plan.of(run, TINY)
    calibrated, reported = ({(item.task, item.id) for item in items} for items in (plan.calibrated, plan.reported))
    assert calibrated == {(item.task, item.id) for item in calibration_items(run.config)}
    assert len(calibrated) == len(reported) == 2 and not calibrated & reported
    assert comparison.items == {"own": 2}


@needs_embedder
@pytest.mark.parametrize("part", [0.02, 0.4, 0.75, 0.97])
def test_a_comparison_stopped_anywhere_goes_on_to_the_same_numbers(compared, finished_run, tmp_path, part):
    _, undisturbed, events = compared
    run = copied(finished_run, tmp_path)
    watch = Watch(stop_at=1 + int(part * len(events)))
    with pytest.raises(KeyboardInterrupt):
        compare(run, TINY, watch)
    before = len(watch.events)
    again = Watch()
    assert numbers(compare(run, TINY, again)) == numbers(undisturbed)
    assert before + len(again.events) < 1.5 * len(events)  # it went on rather than began anew


@needs_embedder
def test_a_finished_comparison_trains_nothing_and_more_replicates_go_on_with_it(compared, tmp_path):
    run, comparison, _ = compared
    run, watch = copied(run, tmp_path), Watch()
    assert numbers(compare(run, TINY, watch)) == numbers(comparison)
    assert not watch.events
    fewer = compare(run, replace(TINY, methods=("ours",), replicates=1), watch)
    assert not watch.events
    assert {one.method for one in fewer.measured} == {"natural", "ours"}
    more = compare(run, replace(TINY, methods=("random",), replicates=3, seeds=2), watch)
    old = [one for one in comparison.measured if one.method == "random"]
    assert [one for one in more.measured if one.method == "random" and one.seed in (1, 1001)] == old
    assert len(more.measured) == 2 * 3 * 2


@needs_embedder
def test_what_is_written_is_what_is_returned(compared):
    run, comparison, _ = compared
    folder = run.workspace.folder / "compare" / comparison.digest
    assert json.loads((folder / "results.json").read_text()) == json.loads(json.dumps(as_json(comparison)))
    assert (folder / "table.md").read_text() == markdown(comparison)
    assert (folder / "gains.svg").read_text().startswith("<svg")
    assert {path.stem for path in (folder / "searches").glob("*.jsonl")} == {
        f"{method}-{replicate}" for method in ("random", "regmix", "doremi", "climb", "ours") for replicate in (0, 1)
    }


@needs_embedder
def test_the_command_prints_json_and_says_what_to_do_about_a_run_without_trunk(compared, tmp_path, capsys):
    run = copied(compared[0], tmp_path)
    words = ["--budget", 8, "--replicates", 2, "--target-size", "custom", "--target-tokens", "1K", "--tasks", ""]
    words = [*words, "--set", "proxy.trunk_tokens=1000", "--split", "ours=1,1", "--split", "climb=3,1"]

    def climb(*more):
        with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as left:
            patch.setattr(sys, "argv", [str(word) for word in ("climb", "--runs", tmp_path / "runs", *more)])
            cli.main()
        return left.value.code, *capsys.readouterr()

    code, out, _ = climb("compare", "tiny", *words, "--json")
    assert code == 0 and json.loads(out)["digest"] == compared[1].digest
    shown = climb("compare", "tiny", *words)[1]
    assert "unknown with fewer than 3 replicates" in shown and "table.md" in shown
    run.configure(run.config.with_values({"proxy.trunk_tokens": 3000}))
    code, _, err = climb("compare", "tiny", *words)
    assert code == 3 and "trunk is not there yet; 'climb run tiny' makes it" in err
    assert climb("compare", "tiny", "--methods", "our")[2].endswith("did you mean 'ours'?\n")
    assert "climb=4,2,1" in climb("compare", "tiny", "--split", "climb=a")[2]


@needs_embedder
def test_text_that_no_source_holds_can_be_the_target(own_run, tmp_path):
    lines = [{"context": f"Chapter {i}.", "continuation": f"The whale number {i} rose."} for i in range(12)]
    values = {"target.tasks": {"whales": 1.0}, "target.heldout": {}, "target.items": 4}
    values["target.files"] = {"whales": str(write_jsonl(tmp_path / "whales.jsonl", lines))}
    own_run.configure(own_run.config.with_values(values))
    options = replace(TINY, methods=("random",), replicates=1, scratch=True, knobs={})
    comparison = compare(own_run, options)
    assert comparison.items == {"whales": 6}
    assert comparison.target.trunk_tokens == 0
    natural = next(one for one in comparison.measured if one.method == "natural")
    assert natural.score == -natural.result.metrics["whales/bpb"]


@needs_embedder
def test_a_doremi_that_is_stopped_begins_again_and_one_that_is_found_does_not(compared, finished_run, tmp_path):
    run, only = copied(finished_run, tmp_path), replace(TINY, methods=("doremi",))

    def stop_at(unit):
        def report(event):
            if event.unit == unit:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            compare(run, only, report)

    stop_at("mixtures of DoReMi")
    folder = run.workspace.folder / "compare" / compared[1].digest
    first = (folder / "searches" / "doremi-0.jsonl").read_text()
    assert [json.loads(line)["event"] for line in first.splitlines()] == ["started", "found"]
    stop_at("steps")
    events = [json.loads(line)["event"] for line in (folder / "searches" / "doremi-1.jsonl").read_text().splitlines()]
    assert events == ["started"]
    watch = Watch()
    again = compare(run, only, watch)
    assert [event.done for event in watch.events if event.unit == "mixtures of DoReMi"] == [2]
    assert (folder / "searches" / "doremi-0.jsonl").read_text() == first
    undisturbed = {(one.method, one.replicate): one.mixture for one in compared[1].found}
    assert {undisturbed[one.method, one.replicate] == one.mixture for one in again.found} == {True}
    assert undisturbed["doremi", 0] != undisturbed["doremi", 1]  # each replicate has orders of its own


@needs_embedder
def test_the_limits_of_the_space_hold_for_doremi(finished_run, tmp_path):
    run = copied(finished_run, tmp_path)
    run.configure(run.config.with_values({"search.max_ratio": 1.02}))
    comparison = compare(run, replace(TINY, methods=("doremi",), replicates=1))
    log = run.workspace.folder / "compare" / comparison.digest / "searches" / "doremi-0.jsonl"
    wanted = json.loads(log.read_text().splitlines()[-1])["weights"]
    weights = next(one.mixture.weights for one in comparison.found if one.method == "doremi")
    assert sum(wanted) == pytest.approx(1)
    assert run.space().contains(np.array([wanted, weights])).tolist() == [False, True]


@needs_embedder
def test_doremi_joins_a_comparison_that_was_made_without_it(compared):
    run, _, _ = compared
    without = replace(TINY, methods=("natural", "random", "ours"))
    assert Plan.of(run, without).digest == Plan.of(run, TINY).digest
    assert set(Plan.of(run, TINY).identity["iterations"]) == {"random", "regmix", "climb", "ours"}


# What is compared


@needs_embedder
def test_the_mixture_that_the_run_has_chosen_is_put_to_the_proof_without_a_search(finished_run, tmp_path):
    run = copied(finished_run, tmp_path)
    choice = run.open_search().choice
    comparison = compare(run, replace(TINY, methods=("chosen",)))
    assert comparison.methods == ("natural", "chosen")
    assert {one.mixture.weights.tobytes() for one in comparison.found if one.method == "chosen"} == {
        choice.mixture.weights.tobytes()
    }
    assert all(one.spent == run.open_search().spent() for one in comparison.found if one.method == "chosen")
    assert len({one.seed for one in comparison.measured if one.method == "chosen"}) == TINY.replicates
    assert any("the noise of the targets alone" in warning for warning in comparison.warnings)
    assert not list((run.workspace.folder / "compare" / comparison.digest).glob("searches/*"))
    next(run.workspace.folder.glob("search/*.jsonl")).unlink()
    with pytest.raises(ClimbError, match="has chosen no mixture yet; run 'climb search tiny', or leave chosen out"):
        compare(run, replace(TINY, methods=("chosen",)))


def item(task, number, text="What is it?"):
    return Item(task, str(number), (text, text), (f" {number}", " no"), 0)


def test_the_rule_against_contamination_sees_ids_and_texts():
    check_disjoint([item("a", 1)], [item("a", 2)])
    for again in (
        item("a", 1, "Other words"),
        item("b", 1),
        replace(item("b", 7), continuations=(" no", " 1"), gold=1),
    ):
        with pytest.raises(AssertionError, match="calibrated on and reported on"):
            check_disjoint([item("a", 1)], [again])


def test_a_report_item_with_the_text_of_a_calibration_item_is_dropped(tiny_config, tmp_path):
    calibrated = calibration_items(tiny_config)
    same = [
        {"context": one.contexts[0], "choices": [c.strip() for c in one.continuations], "gold": one.gold}
        for one in calibrated
    ]
    other = [{"context": f"The number {i} is", "choices": ["odd", "even"], "gold": i % 2} for i in range(5)]
    file = write_jsonl(tmp_path / "copy.jsonl", [*other, *same, other[0]])
    options = replace(TINY, tasks=("copy",), files={"copy": str(file)})
    reported, dropped = report_items(tiny_config, options, calibrated)
    assert dropped == len(same) + 1
    assert sorted(one.task for one in reported) == ["copy"] * 5 + ["own"] * 2
    assert len(report_items(tiny_config, replace(options, items=1), calibrated)[0]) == 2


def test_budgets_are_spread_as_the_paper_does():
    paper = Options(budget=112)
    assert paper.iterations("climb") == (64, 32, 16)
    assert paper.iterations("ours") == (31, 16, 16, 16, 16, 16)  # and one of the natural mixture
    assert paper.iterations("regmix") == paper.iterations("random") == (112,)
    for budget in range(8, 200):
        options = Options(budget=budget)
        for method in options.searched:
            assert sum(options.iterations(method)) + NATURAL_RUNS.get(method, 0) == budget
    assert Options(budget=60, splits={"climb": (6, 1)}).iterations("climb") == (51, 9)


def test_options_that_cannot_be_are_refused_with_the_way_out():
    for wrong, message in (
        ({"methods": ("doge",)}, "no method 'doge'"),
        ({"budget": 4}, "give at least 8"),
        ({"target_size": "2m"}, "no target size"),
        ({"knobs": {"tokens.vocab_size": 900}}, r"only knobs of the target model"),
        ({"splits": {"climb": (4, 0)}}, "at least 1"),
        ({"replicates": 0}, "replicates must be at least 1"),
    ):
        with pytest.raises(ClimbError, match=message):
            Options(**wrong)
    assert Options(methods=("ours", "climb")).methods == ("natural", "climb", "ours")


def test_the_target_takes_the_place_of_the_proxies_with_a_trunk_in_proportion(tiny_config):
    target = target_config(tiny_config, Options(target_tokens=20_000)).proxy
    assert (target.layers, target.hidden, target.tokens, target.trunk_tokens) == (5, 128, 20_000, 40_000)
    assert target.sequence_length == tiny_config.proxy.sequence_length
    own = target_config(tiny_config, Options(scratch=True, knobs={"proxy.layers": 3})).proxy
    assert (own.layers, own.hidden, own.trunk_tokens) == (3, 128, 0)
    started = target_config(tiny_config, Options(knobs={"proxy.start": "owner/model"})).proxy
    assert started.start == "owner/model"


def test_the_halves_of_held_out_text_share_no_row_and_count_their_bytes():
    domain = np.array([0] * 5 + [1] * 2 + [2])
    mask = np.ones((8, 5), dtype=bool)
    mask[:, 0] = mask[4, 3:] = False
    held = Heldout(np.arange(40).reshape(8, 5), mask, domain, np.array([36.0, 16.0, 8.0]))
    first, second = held.halves()
    assert first.domain.tolist() == [0, 0, 0, 1, 2] and second.domain.tolist() == [0, 0, 1]
    assert not set(first.tokens.ravel()) & set(second.tokens.ravel())
    assert first.bytes.tolist() == [24, 8, 8] and second.bytes.tolist() == [12, 8, 0]
    bits = second.bits_per_byte(np.log(2) * np.array([[6.0, 6.0, 4.0]]))
    assert bits[0, :2].tolist() == pytest.approx([1.0, 0.5]) and math.isnan(bits[0, 2])


# What can be said, on planted numbers

MODEL = Model(1000, 2000, 0, 1.0, 1e6)
LEVELS = {  # method -> by replicate: (bits per byte, accuracy) of piqa, then of sciq
    "natural": [((1.0, 0.50), (2.0, 0.30)), ((1.2, 0.52), (2.2, 0.32)), ((1.4, 0.54), (2.4, 0.34))],
    "regmix": [((0.9, 0.51), (2.0, 0.30)), ((1.2, 0.52), (2.0, 0.32)), ((1.5, 0.50), (2.4, 0.34))],
    "ours": [((0.8, 0.60), (2.0, 0.30)), ((1.0, 0.62), (1.98, 0.32)), ((1.2, 0.64), (2.42, 0.34))],
}


def planted(levels=LEVELS, replicates=3):
    mixture = Mixture(("x", "y"), np.array([0.25, 0.75]))
    measured, found = [], []
    for method, rows in levels.items():
        for replicate, (piqa, sciq) in enumerate(rows[:replicates]):
            metrics = {"piqa/bpb": piqa[0], "piqa/acc": 0.0, "piqa/acc_norm": piqa[1], "heldout/x": 3.0}
            metrics |= {"sciq/bpb": sciq[0], "sciq/acc": sciq[1], "sciq/acc_norm": 0.0}
            result = Result(metrics, tokens=10, seconds=2.0, flops=1e9)
            measured.append(Measured(method, replicate, replicate, -piqa[0], result))
            found.append(Found(method, replicate, mixture, Spent(8, 80, 4.0, 8e9), 0.1 * replicate, 0.1, 0.9))
    options = Options(methods=tuple(levels), replicates=replicates)
    items = {"piqa": 5, "sciq": 7}
    return Comparison("demo", "abc", options, ("piqa",), items, MODEL, MODEL, tuple(found), tuple(measured))


def test_gains_are_paired_by_replicate_and_positive_is_better():
    comparison = planted()
    gain = comparison.gains("ours", "natural", "bpb")
    each = np.array([(0.2 + 0.0) / 2, (0.2 + 0.22) / 2, (0.2 - 0.02) / 2])
    half = 4.302652729911275 * each.std(ddof=1) / math.sqrt(3)  # Student t, 2 degrees of freedom, 97.5 %
    assert gain.mean == pytest.approx(each.mean())
    assert (gain.low, gain.high) == pytest.approx((each.mean() - half, each.mean() + half))
    assert comparison.gains("ours", "natural", "bpb", CALIBRATED).mean == pytest.approx(0.2)
    assert comparison.gains("ours", "natural", "bpb", OTHER).mean == pytest.approx(0.2 / 3)
    assert comparison.gains("ours", "natural", "acc", ALL).mean == pytest.approx(0.05)
    assert comparison.gains("ours", "regmix", "bpb", CALIBRATED).mean == pytest.approx(0.2)
    assert comparison.score_gain("ours").mean == pytest.approx(0.2)
    assert comparison.foretold("ours").mean == pytest.approx(0.1)


def test_accuracies_are_those_of_the_paper_and_several_seeds_count_once():
    comparison = planted()
    assert comparison.of_task("natural", "piqa", "acc").tolist() == [0.50, 0.52, 0.54]  # per byte
    assert comparison.of_task("natural", "sciq", "acc").tolist() == [0.30, 0.32, 0.34]  # plain
    twice = replace(comparison, measured=(*comparison.measured, replace(comparison.measured[0], seed=9)))
    assert twice.gains("ours", "natural", "bpb") == comparison.gains("ours", "natural", "bpb")


def test_what_is_within_the_noise_is_said_loudly():
    said = "\n".join(verdicts(planted()))
    assert "natural, bits per byte, mean of all tasks: **WITHIN THE NOISE**: regmix" in said
    assert "natural, accuracy, mean of all tasks: **WITHIN THE NOISE**: regmix" in said
    assert "better: ours (+5.0 [" in said
    assert "sd 0.2000 bits per byte and 2.0 % of accuracy" in said
    few = "\n".join(verdicts(planted(replicates=2)))
    assert "better" not in few and "unknown with fewer than 3 replicates: regmix" in few


def test_verdicts_follow_the_interval():
    assert Estimate.of(np.array([0.1, 0.11, 0.12])).verdict == "better"
    assert Estimate.of(np.array([-0.1, -0.11, math.nan, -0.12])).verdict == "worse"
    assert Estimate.of(np.array([-0.1, 0.11, 0.1])).verdict == "within the noise"
    assert Estimate.of(np.array([0.1, 0.1])).verdict == "unknown with fewer than 3 replicates"


def test_the_tables_hold_the_planted_numbers():
    comparison = planted()
    heads, rows = task_table(comparison, "acc")
    assert heads == ["method", "piqa", "sciq", "mean, all tasks", "mean, calibrated tasks", "mean, other tasks"]
    assert [row[0] for row in rows] == ["natural", "regmix", "ours"]
    assert rows[2][1].startswith("62.0 ± 5.0") and rows[0][3].startswith("42.0")
    heads, rows = gain_table(comparison)
    ours = dict(zip(heads, rows[2], strict=True))
    assert ours["bits per byte over natural, calibrated tasks"].startswith("+0.2000")
    assert rows[0][1] == ""  # natural against itself
    text = markdown(comparison)
    assert all(
        len(line.split("|")) == len(block.splitlines()[0].split("|"))
        for block in text.split("\n\n")
        if block.startswith("|")
        for line in block.splitlines()
    )
    assert "Unfinished" not in text
    assert "**Unfinished**: 8 of 9" in markdown(replace(comparison, measured=comparison.measured[1:]))


def test_a_target_that_failed_is_named_and_the_others_count():
    comparison = planted()
    broken = replace(comparison.measured[0], result=None, error="the training loss was nan")
    comparison = replace(comparison, measured=(broken, *comparison.measured[1:]))
    assert "**Failed**: target of natural, seed 0: the training loss was nan" in markdown(comparison)
    assert comparison.gains("ours", "natural", "bpb").n == 2


def test_the_figure_shows_every_method_but_natural():
    drawn = figure(planted())
    assert drawn.count("<circle") == 2 and ">ours<" in drawn and ">natural<" not in drawn
