"""The transformers scorer: regression and classes with a planted output, batches, refusals."""

import numpy as np
import pytest

from climb_engine.curate.transformers import TransformersScorer
from climb_engine.types import ClimbError
from tests.models import tiny_bert
from tests.texts import LESSON, NOTICE, table_of


def scorer_of(folder, metric="educational", batch_size=4, max_tokens=64):
    return TransformersScorer({metric: str(folder)}, "cpu", max_tokens, batch_size)


@pytest.mark.parametrize(("output", "score"), [(3.25, 3.25), (-2.0, 0.0), (7.5, 5.0)])
def test_a_regression_output_is_the_score_cut_to_0_to_5(tmp_path, output, score):
    scores = scorer_of(tiny_bert(tmp_path, 1, bias=[output])).score(table_of([LESSON, "now"]))
    np.testing.assert_allclose(scores, score, atol=1e-6)


def test_classes_become_the_mean_of_their_numbers_by_probability(tmp_path):
    chances = [0.1, 0.0, 0.2, 0.0, 0.3, 0.4]
    model = tiny_bert(tmp_path, 6, bias=np.log(np.maximum(chances, 1e-12)))
    np.testing.assert_allclose(scorer_of(model).score(table_of([LESSON])), 0.4 + 1.2 + 2.0, atol=1e-4)


def test_classes_count_by_their_names_not_their_places(tmp_path):
    model = tiny_bert(tmp_path, 3, bias=np.log([0.5, 0.25, 0.25]), labels=["5", "-1", "2"])
    np.testing.assert_allclose(scorer_of(model).score(table_of([LESSON])), 2.5 - 0.25 + 0.5, atol=1e-4)


def test_classes_that_are_no_numbers_are_refused_with_their_names(tmp_path):
    model = tiny_bert(tmp_path, 3, labels=["High", "Medium", "Low"])
    with pytest.raises(ClimbError, match="has the classes High, Medium, Low"):
        scorer_of(model)


def test_the_size_of_a_batch_changes_no_score(tmp_path):
    model = tiny_bert(tmp_path, 6)
    documents = table_of([LESSON, "", NOTICE, "light energy", "buy", LESSON * 50])
    one, all_ = scorer_of(model, batch_size=1).score(documents), scorer_of(model, batch_size=64).score(documents)
    np.testing.assert_allclose(one, all_, atol=1e-5)
    assert np.isnan(one[:, 0]).tolist() == [False, True, False, False, False, False]
    assert np.unique(one[~np.isnan(one)].round(5)).size > 1


def test_a_document_is_cut_to_what_the_model_can_read(tmp_path):
    model = tiny_bert(tmp_path, 6)
    long, longer = " ".join(["light"] * 500), " ".join(["light"] * 500 + ["buy"])
    scores = scorer_of(model, max_tokens=512).score(table_of([long, longer]))  # it has 64 positions
    assert scores[0, 0] == pytest.approx(scores[1, 0], abs=1e-6)


def test_a_model_that_is_not_there_is_named(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(ClimbError, match=r"quality.transformers = '.*empty' could not be loaded"):
        scorer_of(tmp_path / "empty")
    with pytest.raises(ClimbError, match="could not be loaded"):
        scorer_of("not a model/at all/anywhere")


def test_a_broken_model_says_so_rather_than_scoring_nothing(tmp_path):
    model = tiny_bert(tmp_path, 1, bias=[float("nan")])
    with pytest.raises(ClimbError, match="no finite scores"):
        scorer_of(model).score(table_of([LESSON]))


@pytest.mark.gpu
def test_half_precision_on_cuda_is_close_to_the_cpu(tmp_path):
    import torch

    if not torch.cuda.is_available():
        pytest.skip("no CUDA device here")
    model, documents = str(tiny_bert(tmp_path, 6)), table_of([LESSON, NOTICE, "light"])
    cpu, cuda = (TransformersScorer({"quality": model}, device, 64, 4).score(documents) for device in ("cpu", "cuda"))
    np.testing.assert_allclose(cpu, cuda, atol=0.05)
