"""Quality scores: the contract of every scorer, how several combine, what the columns refuse."""

import numpy as np
import pyarrow as pa
import pytest

from climb_engine.config import QualityConfig
from climb_engine.curate.fasttext import FastTextScorer
from climb_engine.curate.head import train_head
from climb_engine.curate.heuristics import HeuristicsScorer
from climb_engine.curate.quality import ColumnScorer, Rows, fingerprint, load_scorers, score_documents
from climb_engine.curate.ratings import Rating, add_ratings
from climb_engine.curate.transformers import TransformersScorer
from climb_engine.types import METRICS, ClimbError
from tests.models import fasttext_model, tiny_bert
from tests.texts import CODE, DIALOGUE, LESSON, POEM, TEXTS, table_of

DIMENSIONS = 8


def vectors_of(documents):
    """A vector for each text: its letters, counted; unit rows."""
    letters = [[(text or "").count(letter) for letter in "etaoinsh"] for text in documents["text"].to_pylist()]
    rows = np.array(letters, dtype=np.float32).reshape(-1, DIMENSIONS) + 0.1
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def head(name):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(60, DIMENSIONS)).astype(np.float32)
    values = np.full((60, len(METRICS)), np.nan, np.float32)
    values[:, [0, 3]] = np.clip(vectors[:, [0, 1]] * 2 + 2.5, 0, 5)
    return train_head(name, vectors, values)


@pytest.fixture(scope="module")
def scorers(tmp_path_factory):
    """One of each kind, made as a user would have it."""
    folder = tmp_path_factory.mktemp("models")
    labelled = [("read and learn the theory", 5), ("buy cheap watches now", 0)] * 30
    fast = fasttext_model(folder / "quality.bin", labelled)
    regression, classes = tiny_bert(folder / "regression", 1), tiny_bert(folder / "classes", 6)
    return {
        "heuristics": HeuristicsScorer(),
        "column": ColumnScorer({"advertisement": "stars", "quality": "rating"}),
        "fasttext": FastTextScorer({"advertisement": fast, "quality": fast}),
        "transformers": TransformersScorer({"educational": str(regression), "quality": str(classes)}, "cpu", 64, 4),
        "ratings": head("ratings"),
        "annotator": head("annotator"),
    }


NAMES = ("heuristics", "column", "fasttext", "transformers", "ratings", "annotator")
TOLERANCE = {"transformers": 1e-4}  # padding changes the order of a network's sums; all others are exact


@pytest.mark.parametrize("name", NAMES)
class TestEveryScorer:
    """The contract of Scorer."""

    @staticmethod
    def score(scorer, documents):
        return scorer.score(documents, vectors_of(documents))

    @staticmethod
    def same(name, left, right):
        np.testing.assert_allclose(left, right, rtol=0, atol=TOLERANCE.get(name, 0))

    def test_it_goes_by_the_name_it_has_in_the_config(self, name, scorers):
        assert scorers[name].name == name

    def test_it_gives_one_float32_per_document_and_metric(self, name, scorers):
        scores = self.score(scorers[name], table_of(TEXTS))
        assert scores.shape == (len(TEXTS), len(scorers[name].metrics))
        assert scores.dtype == np.float32

    def test_its_metrics_are_known_and_different(self, name, scorers):
        metrics = scorers[name].metrics
        assert len(set(metrics)) == len(metrics) > 0
        assert set(metrics) <= set(METRICS)

    def test_scores_run_from_0_to_5_or_are_nan(self, name, scorers):
        scores = self.score(scorers[name], table_of(TEXTS))
        said = scores[~np.isnan(scores)]
        assert said.size
        assert said.min() >= 0
        assert said.max() <= 5

    def test_a_document_scores_alone_as_it_does_in_a_batch(self, name, scorers):
        documents = table_of(TEXTS)
        alone = [self.score(scorers[name], documents.slice(i, 1))[0] for i in range(len(TEXTS))]
        self.same(name, np.array(alone), self.score(scorers[name], documents))

    def test_the_order_of_documents_does_not_matter(self, name, scorers):
        documents, order = table_of(TEXTS), np.random.default_rng(0).permutation(len(TEXTS))
        shuffled = self.score(scorers[name], documents.take(pa.array(order)))
        self.same(name, shuffled, self.score(scorers[name], documents)[order])

    def test_an_empty_part_gives_no_rows(self, name, scorers):
        scores = self.score(scorers[name], table_of(TEXTS).slice(0, 0))
        assert scores.shape == (0, len(scorers[name].metrics))

    def test_a_table_in_chunks_scores_as_one_piece(self, name, scorers):
        documents = table_of(TEXTS)
        pieces = pa.concat_tables([documents.slice(0, 5), documents.slice(5)])
        self.same(name, self.score(scorers[name], pieces), self.score(scorers[name], documents))


def test_every_scorer_of_the_config_keeps_the_contract():
    from typing import get_args

    assert set(NAMES) == set(get_args(get_args(QualityConfig.model_fields["scorers"].annotation)[0]))


def test_the_config_names_the_scorers_in_order(tmp_path):
    rows = Rows(60, lambda ids: ["x"] * len(ids), lambda ids: np.eye(60, DIMENSIONS, dtype=np.float32)[ids])
    add_ratings(tmp_path / "mine.csv", [Rating(i, "quality", i % 6) for i in range(40)])
    config = QualityConfig(
        scorers=("ratings", "heuristics", "column"), columns={"quality": "rating"}, ratings=str(tmp_path / "mine.csv")
    )
    assert [scorer.name for scorer in load_scorers(config, rows=rows)] == ["ratings", "heuristics", "column"]


def test_what_each_of_several_scorers_said_is_kept_beside_the_combination():
    documents = table_of([LESSON, POEM, CODE, DIALOGUE])
    table = score_documents(documents, [HeuristicsScorer(), ColumnScorer({"quality": "rating"})])
    own = [f"heuristics.{metric}" for metric in METRICS]
    assert table.column_names == [*METRICS, *own, "column.quality"]
    assert table["column.quality"].to_numpy()[:3].tolist() == table["quality"].to_numpy()[:3].tolist() == [0, 1, 2]
    assert table["heuristics.quality"].to_numpy()[3] == table["quality"].to_numpy()[3]


def test_ratings_of_documents_beyond_the_corpus_are_refused(tmp_path):
    add_ratings(tmp_path / "mine.csv", [Rating(i, "quality", i % 6) for i in range(40)])
    config = QualityConfig(scorers=("ratings",), ratings=str(tmp_path / "mine.csv"))
    rows = Rows(30, list, lambda ids: np.zeros((len(ids), 4), np.float32))
    with pytest.raises(ClimbError, match=r"mine.csv:32: document 30 is rated, but the corpus ends at 29"):
        load_scorers(config, rows=rows)


def test_the_fingerprint_follows_the_files_of_the_scorers_in_use_and_no_others(tmp_path):
    model, folder, mine = tmp_path / "a.bin", tmp_path / "bert", tmp_path / "mine.csv"
    folder.mkdir()
    for path in (model, folder / "weights", mine):
        path.write_bytes(b"one")
    places = {"fasttext": {"quality": str(model)}, "ratings": str(mine)}
    places["transformers"] = {"quality": str(folder), "educational": "an-owner/a-model"}
    config = QualityConfig(scorers=("fasttext", "transformers", "ratings"), **places)
    before = fingerprint(config)
    assert sorted(before) == ["fasttext.quality", "ratings", "transformers.quality"]
    mine.touch()
    assert fingerprint(config) == before
    for path in (model, folder / "weights", mine):
        path.write_bytes(b"another")
    after = fingerprint(config)
    assert not [name for name in before if before[name] == after[name]]
    assert fingerprint(QualityConfig(**places)) == {}


@pytest.mark.parametrize("scorer", ["fasttext", "ratings"])
def test_a_missing_file_is_named_with_its_knob(scorer):
    given = {"fasttext": {"quality": "/none.bin"}} if scorer == "fasttext" else {"ratings": "/none.csv"}
    with pytest.raises(ClimbError, match=rf"quality\.{scorer}: there is no file /none"):
        load_scorers(QualityConfig(scorers=(scorer,), **given), rows=Rows(1, list, np.asarray))


@pytest.mark.parametrize(
    ("knobs", "message"),
    [
        ({"scorers": ["fasttext"]}, "needs fasttext: metric = model file"),
        ({"scorers": ["ratings"]}, "needs ratings"),
        ({"scorers": ["annotator"], "annotator_url": "http://x"}, "needs annotator_model"),
        ({"transformers": {"educatonal": "x"}}, "'educatonal'; did you mean 'educational'"),
        ({"annotator_url": "file:///etc/passwd"}, "must begin with http"),
    ],
)
def test_a_scorer_without_what_it_needs_is_no_config(knobs, message):
    with pytest.raises(ValueError, match=message):
        QualityConfig(**knobs)


def test_the_table_has_the_given_metrics_in_the_papers_order_as_float32():
    table = score_documents(table_of(TEXTS), [ColumnScorer({"advertisement": "stars", "quality": "rating"})])
    assert table.column_names == ["quality", "advertisement"]
    assert set(table.schema.types) == {pa.float32()}


def test_a_later_scorer_wins_only_where_it_can_say():
    documents = table_of([LESSON, POEM, CODE, DIALOGUE])
    heuristics, columns = HeuristicsScorer(), ColumnScorer({"quality": "rating"})
    both = score_documents(documents, [heuristics, columns])
    first = heuristics.score(documents)[:, METRICS.index("quality")]
    assert both["quality"].to_numpy()[:3].tolist() == [0.0, 1.0, 2.0]
    assert both["quality"].to_numpy()[3] == first[3]  # its rating is null
    reverse = score_documents(documents, [columns, heuristics])
    np.testing.assert_array_equal(reverse["quality"].to_numpy(), first)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"text": ["a"], "rank": [1.0]}), r"no column 'stars'.*corpus\.keep_columns.*text, rank"),
        (pa.table({"text": ["a"], "stars": ["five"]}), "holds string, not numbers"),
        (pa.table({"text": ["a"], "stars": [True]}), "holds bool, not numbers"),
        (pa.table({"text": ["a", "b"], "stars": [-1.0, 80.0]}), "runs from -1 to 80; rescale it to 0 to 5"),
        (pa.table({"text": ["a"], "stars": [float("inf")]}), "rescale"),
    ],
)
def test_a_column_that_cannot_be_a_score_is_refused_with_the_remedy(table, message):
    with pytest.raises(ClimbError, match=message):
        ColumnScorer({"quality": "stars"}).score(table)


def test_nulls_and_nans_of_a_column_are_scores_that_cannot_be_said():
    table = pa.table({"text": ["a", "b", "c"], "stars": [5.0, None, float("nan")]})
    np.testing.assert_array_equal(ColumnScorer({"quality": "stars"}).score(table)[:, 0], [5, np.nan, np.nan])
    nothing = pa.table({"text": ["a"], "stars": pa.nulls(1)})
    assert np.isnan(ColumnScorer({"quality": "stars"}).score(nothing)).all()


def test_decimals_are_numbers():
    table = pa.table({"text": ["a"], "stars": pa.array([4], pa.decimal128(5, 2))})
    assert ColumnScorer({"quality": "stars"}).score(table)[0, 0] == 4


def test_a_column_for_an_unknown_metric_is_refused_with_the_nearest():
    with pytest.raises(ClimbError, match="'qualty'; did you mean 'quality'"):
        ColumnScorer({"qualty": "stars"})
