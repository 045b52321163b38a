import csv
import json

import numpy as np
import pytest

from climb_engine.config import SearchConfig
from climb_engine.tables import fit, read_table, signed
from climb_engine.types import ClimbError

DOMAINS = ("web", "code", "books")
BEST = np.array([0.5, 0.3, 0.2])
CONFIG = SearchConfig(candidates=600, folds=4)


def write(path, header, rows):
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return path


@pytest.fixture
def files(tmp_path):
    """Tables as Olmix has them, the rows in different orders."""
    weights = np.random.default_rng(0).dirichlet(np.ones(3), 30)
    losses = 1 + np.square(weights - BEST).sum(axis=1)
    ids = [f"run_{i:03d}" for i in range(30)]
    ratios = [[run, f"name {run}", *row.round(4)] for run, row in zip(ids, weights, strict=True)]
    metrics = [[run, loss, 0.5 - loss / 10] for run, loss in zip(ids, losses, strict=True)]
    return (
        write(tmp_path / "ratios.csv", ["run", "name", *DOMAINS], ratios),
        write(tmp_path / "metrics.csv", ["run", "loss", "arc_acc"], metrics[::-1]),
    )


def test_tables_are_joined_by_id_not_by_order(files):
    table = read_table(*files)
    assert table.domains == DOMAINS
    assert set(table.metrics) == {"loss", "arc_acc"}
    np.testing.assert_allclose(table.weights.sum(axis=1), 1)
    np.testing.assert_allclose(table.metrics["loss"], 1 + np.square(table.weights - BEST).sum(axis=1), atol=1e-3)


def test_a_fit_finds_the_planted_optimum_and_says_how_good_it_is(files):
    found = fit(read_table(*files), {"loss": 1.0}, CONFIG, {}, 6)
    assert found.target == {"loss": -1.0}
    assert found.validation.spearman > 0.9
    assert found.warning == ""
    assert np.abs(np.array(list(found.best[0].weights.values())) - BEST).sum() < 0.25
    low, high = found.best[0].interval
    assert low < found.best[0].score < high
    assert found.batch.shape == (6, 3)
    np.testing.assert_allclose(found.batch.sum(axis=1), 1)


def test_accuracies_count_positively_and_others_negatively():
    assert signed({"loss": 1.0, "arc_acc": 3.0}, ["loss", "arc_acc"]) == {"loss": -0.25, "arc_acc": 0.75}
    with pytest.raises(ClimbError, match="did you mean 'loss'"):
        signed({"los": 1.0}, ["loss"])
    with pytest.raises(ClimbError, match="more than 0"):
        signed({"loss": 0.0}, ["loss"])


def test_tokens_make_the_natural_mixture(files):
    table = read_table(*files)
    found = fit(table, {"loss": 1.0}, CONFIG, {"web": 2, "code": 1, "books": 1}, 1)
    assert found.natural.weights == {"web": 0.5, "code": 0.25, "books": 0.25}
    with pytest.raises(ClimbError, match="how many has books"):
        fit(table, {"loss": 1.0}, CONFIG, {"web": 2, "code": 1}, 1)


def test_a_table_of_noise_warns(files):
    table = read_table(*files)
    table.metrics["noise"] = np.random.default_rng(1).normal(size=30)
    assert "badly" in fit(table, {"noise": 1.0}, CONFIG, {}, 1).warning


@pytest.mark.parametrize(
    ("ratios", "metrics", "message"),
    [
        ([["index", "a", "b"], [1, 0.5, 0.5]], [["index", "x"], [2, 1]], "there is no row for index 1"),
        ([["index", "a", "b"], [1, 0.5, 0.4]], [["index", "x"], [1, 1]], "sum to 0.9"),
        ([["index", "a", "b"], [1, 1.5, -0.5]], [["index", "x"], [1, 1]], "index 1 has a negative weight"),
        ([["index", "a"], [1, 1], [1, 1]], [["index", "x"], [1, 1]], r"ratios.csv:3: index 1 is there twice"),
        ([["index", "a"], [1, "x"]], [["index", "x"], [1, 1]], r"ratios.csv:2: a 'x' is no finite number"),
        ([["index", "a"], [1, 1]], [["run", "x"], [1, 1]], "need a common column"),
        ([["index", "a"]], [["index", "x"]], "there are no rows"),
    ],
)
def test_tables_that_cannot_be_right_are_refused(tmp_path, ratios, metrics, message):
    one = write(tmp_path / "ratios.csv", ratios[0], ratios[1:])
    other = write(tmp_path / "metrics.csv", metrics[0], metrics[1:])
    with pytest.raises(ClimbError, match=message):
        read_table(one, other)


def test_the_command_line_fits_tables_without_a_run(files, capsys):
    from climb_engine.cli.program import app

    words = ["fit", "--ratios", files[0], "--metrics", files[1], "--target", "loss", "--batch", "3", "--json"]
    app([*map(str, words), "--set", "search.candidates=300"], standalone_mode=False)
    report = json.loads(capsys.readouterr().out)
    assert report["predictor"]["name"] == "gp"
    assert len(report["batch"]) == 3
    assert report["best"][0]["score"] > report["natural"]["score"]
