import csv
import json

import numpy as np
import pytest

from climb_engine.config import SearchConfig
from climb_engine.external import read_results, write_trials
from climb_engine.search.loop import Search
from climb_engine.search.objective import Objective
from climb_engine.search.space import MixtureSpace
from climb_engine.types import ClimbError, Result

METRICS = ("piqa/bpb", "arc_easy/bpb")


@pytest.fixture
def search():
    config = SearchConfig(iterations=(4, 2), reference_runs=1, candidates=200, confirm=0, folds=0)
    space = MixtureSpace.from_config(("web", "code, raw", "seed"), np.array([3.0, 2.0, 1.0]), config)
    found = Search(space, Objective({name: 1.0 for name in METRICS}), config, [])
    found.ask(1)
    return found


def results(tmp_path, text):
    path = tmp_path / "results.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_trials_are_written_whole_as_json_and_as_one_table(search, tmp_path):
    files = write_trials(tmp_path / "out", search.open, METRICS)
    assert {path.name for path in files} == {"trials.csv", *(f"trial-{i}.json" for i in range(5))}
    for trial in search.open:
        read = json.loads((tmp_path / f"out/trial-{trial.id}.json").read_text())
        assert read["weights"] == trial.mixture.as_dict()
        assert (read["trial"], read["seed"], read["metrics"]) == (trial.id, trial.seed, list(METRICS))
    with (tmp_path / "out/trials.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == [trial.id for trial in search.open]
    assert float(rows[2]["weight/code, raw"]) == search.open[2].mixture.weights[1]


def test_results_come_back_by_id_in_any_order_with_costs_and_whatever_else_was_measured(search, tmp_path):
    text = "piqa/bpb,trial,arc_easy/bpb,seconds,extra,error\n1.5,3,2.5,60,7,\n,0,,,,diverged\n1.0,1,2.0,,,\n"
    found = read_results(results(tmp_path, text), search.trials, METRICS)
    assert found == {
        3: Result({"piqa/bpb": 1.5, "arc_easy/bpb": 2.5, "extra": 7.0}, 0, 60.0, 0.0),
        0: "diverged",
        1: Result({"piqa/bpb": 1.0, "arc_easy/bpb": 2.0}, 0, 0.0, 0.0),
    }


def test_the_table_of_what_was_asked_comes_back_with_the_metrics_added(search, tmp_path):
    write_trials(tmp_path / "out", search.open, METRICS)
    head, *rows = (tmp_path / "out/trials.csv").read_text().splitlines()
    text = "\n".join([f"{head},{','.join(METRICS)}", *(f"{row},1.5,2.5" for row in rows)])
    found = read_results(results(tmp_path, text), search.trials, METRICS)
    assert set(found) == {trial.id for trial in search.open}
    assert all(dict(result.metrics) == dict(zip(METRICS, (1.5, 2.5), strict=True)) for result in found.values())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("trial,piqa/bpb\n0,1\n", r"results.csv:1: there is no column arc_easy/bpb"),
        ("id,piqa/bpb,arc_easy/bpb\n0,1,2\n", r":1: there is no column trial"),
        ("trial,piqa/bpb,arc_easy/bpb,piqa/bpb\n0,1,2,3\n", r":1: the column piqa/bpb is there twice"),
        ("trial,piqa/bpb,arc_easy/bpb\n0,1,2\n1,1,2\n0,1,2\n", r":4: trial 0 was on line 2 already"),
        ("trial,piqa/bpb,arc_easy/bpb\n0,1,2\n9,1,2\n", r":3: there is no trial '9'; 5 were asked, 0 to 4"),
        ("trial,piqa/bpb,arc_easy/bpb\none,1,2\n", r":2: there is no trial 'one'"),
        ("trial,piqa/bpb,arc_easy/bpb\n0,1,2\n1,,2\n", r":3: piqa/bpb is empty"),
        ("trial,piqa/bpb,arc_easy/bpb\n0,1,n/a\n", r":2: arc_easy/bpb 'n/a' is no finite number"),
        ("trial,piqa/bpb,arc_easy/bpb\n0,1,nan\n", r":2: arc_easy/bpb 'nan' is no finite number"),
        ("trial,piqa/bpb,arc_easy/bpb\n0,1\n", r":2: 2 cells under 3 columns"),
        ("", r":1: there is no column trial"),
    ],
)
def test_what_cannot_be_right_is_refused_by_its_line(search, tmp_path, text, message):
    with pytest.raises(ClimbError, match=message):
        read_results(results(tmp_path, text), search.trials, METRICS)


def test_a_file_given_twice_tells_nothing_new_but_another_result_is_refused(search, tmp_path):
    path = results(tmp_path, "trial,piqa/bpb,arc_easy/bpb\n2,1.25,2\n")
    for trial, outcome in read_results(path, search.trials, METRICS).items():
        search.tell(trial, outcome)
    assert read_results(path, search.trials, METRICS) == {}
    path.write_text("trial,piqa/bpb,arc_easy/bpb\n2,1.5,2\n")
    with pytest.raises(ClimbError, match=r":2: trial 2 was told already, and otherwise"):
        read_results(path, search.trials, METRICS)


def test_a_file_that_is_no_text_is_refused(search, tmp_path):
    path = tmp_path / "results.csv"
    path.write_bytes(b"\xff\xfe\x00trial")
    with pytest.raises(ClimbError, match="cannot be read"):
        read_results(path, search.trials, METRICS)
