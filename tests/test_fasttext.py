"""The fastText scorer: what goes in, what the labels' numbers become, what it refuses."""

import sys

import numpy as np
import pytest

from climb_engine.curate.fasttext import FastTextScorer, normalised
from climb_engine.types import ClimbError
from tests.models import fasttext_model
from tests.texts import table_of

TAUGHT = [("the theory explains the method", 5), ("the story goes on", 3), ("buy cheap watches now", -1)] * 20


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return fasttext_model(tmp_path_factory.mktemp("fasttext") / "quality.bin", TAUGHT)


def test_text_goes_in_as_the_released_classifiers_were_trained():
    assert normalised("It's (A/B)  test.\nNext, LINE!") == "it ' s ( a / b ) test . <newline>next , line !"
    assert normalised(" \n\t ") == ""


def test_a_score_is_the_labels_numbers_weighted_by_their_probabilities(model):
    import fasttext

    text = "the theory goes on to explain watches"
    labels, chances = fasttext.load_model(str(model)).predict([text], k=-1)
    expected = sum(int(la.removeprefix("__label__")) * p for la, p in zip(labels[0], chances[0], strict=True))
    score = FastTextScorer({"quality": model}).score(table_of([text]))[0, 0]
    assert score == pytest.approx(expected / chances[0].sum(), abs=1e-5)
    assert 0 < score < 5


def test_what_it_was_taught_it_tells_apart_and_a_label_below_0_counts_as_0(model):
    texts = ["The theory EXPLAINS the method.", "Buy cheap watches, now!", "  ", None]
    scores = FastTextScorer({"quality": model}).score(table_of(texts))[:, 0]
    assert scores[0] > 4
    assert 0 <= scores[1] < 0.5
    assert np.isnan(scores[2:]).all()


def test_each_metric_has_its_model(model, tmp_path):
    other = fasttext_model(tmp_path / "other.bin", [(text, 5 - max(label, 0)) for text, label in TAUGHT])
    scorer = FastTextScorer({"advertisement": other, "quality": model})
    assert scorer.metrics == ("quality", "advertisement")
    quality, advertisement = scorer.score(table_of(["buy cheap watches now"]))[0]
    assert quality < 1 < 4 < advertisement


def test_labels_that_are_no_numbers_are_refused_with_their_names(tmp_path):
    model = fasttext_model(tmp_path / "hq.bin", [("good text", "hq"), ("bad text", "cc")] * 10)
    with pytest.raises(ClimbError, match=r"no numbers \(__label__.*__label__0 to __label__5"):
        FastTextScorer({"quality": model})


def test_a_file_of_another_kind_is_refused(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"not fastText at all")
    with pytest.raises(ClimbError, match="no supervised fastText model"):
        FastTextScorer({"quality": tmp_path / "model.bin"})


def test_without_the_library_the_message_says_how_to_install_it(model, monkeypatch):
    monkeypatch.setitem(sys.modules, "fasttext", None)  # what an import finds when there is none
    with pytest.raises(ClimbError, match=r"pip install 'climb-studio\[fasttext\]'"):
        FastTextScorer({"quality": model})
