import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from climb_engine.config import TokensConfig
from climb_engine.curate.tokens import (
    end_of_text,
    heldout_fractions,
    load_tokenizer,
    tokenize_part,
    train_bpe,
    uniform,
)
from climb_engine.types import ClimbError

TEXTS = ["the harbour lay still", "a judge heard the appeal", "naïve café — 漢字 🙂", "def f(x):\n\treturn x"] * 20


@pytest.fixture(scope="module")
def tokenizer():
    return train_bpe(TEXTS, 400)


def part(tokenizer, domains, fractions=(0.0, 0.0), ids=None, seed=0):
    ids = np.arange(len(TEXTS)) if ids is None else ids
    return tokenize_part(TEXTS, ids, np.asarray(domains, np.int32), fractions, tokenizer, seed)


def test_every_text_comes_back_from_its_tokens(tokenizer):
    made = part(tokenizer, np.arange(len(TEXTS)) % 2)
    for document, start, length in zip(made.documents, made.starts, made.lengths, strict=True):
        row = made.tokens[start : start + length].tolist()
        assert row[-1] == end_of_text(tokenizer)
        assert tokenizer.decode(row[:-1]) == TEXTS[document]


def test_tokens_are_ordered_by_domain_and_the_pruned_are_not_there(tokenizer):
    owner = np.arange(len(TEXTS)) % 3 - 1  # -1, 0, 1
    made = part(tokenizer, owner)
    assert (np.diff(made.domains) >= 0).all()
    assert set(made.documents) == set(np.flatnonzero(owner >= 0))
    assert made.lengths.sum() == len(made.tokens)
    assert made.bytes.tolist() == [len(TEXTS[i].encode()) for i in made.documents]


def test_a_part_without_kept_documents_is_empty(tokenizer):
    made = part(tokenizer, np.full(len(TEXTS), -1))
    assert len(made.tokens) == len(made.documents) == len(made.starts) == 0


def test_what_is_held_out_depends_on_the_document_and_not_on_its_part(tokenizer):
    whole = part(tokenizer, np.zeros(len(TEXTS)), (0.3,))
    held = set(whole.documents[whole.heldout])
    assert 5 < len(held) < 50
    half = tokenize_part(TEXTS[40:], np.arange(40, 80), np.zeros(40, np.int32), (0.3,), tokenizer, 0)
    assert set(half.documents[half.heldout]) == {i for i in held if i >= 40}
    other = part(tokenizer, np.zeros(len(TEXTS)), (0.3,), seed=1)
    assert set(other.documents[other.heldout]) != held


def test_the_tokenizer_is_the_same_every_time():
    assert train_bpe(TEXTS, 400).to_str() == train_bpe(iter(TEXTS), 400).to_str()


def test_no_more_than_a_tenth_is_held_out():
    config = TokensConfig(heldout_tokens=1000)
    assert heldout_fractions([100, 4_000_000], config) == [0.1, 0.001]


@given(st.integers(0, 2**40), st.integers(0, 2**31))
def test_lots_are_in_the_unit_interval_and_do_not_depend_on_their_neighbours(first, seed):
    ids = np.arange(first, first + 5)
    lots = uniform(ids, seed)
    assert ((lots >= 0) & (lots < 1)).all()
    assert uniform(ids[3:4], seed)[0] == lots[3]


def test_lots_are_uniform():
    lots = uniform(np.arange(100_000), 7)
    counts, _ = np.histogram(lots, bins=20, range=(0, 1))
    assert np.abs(counts - 5000).max() < 400
    assert abs(np.corrcoef(lots, uniform(np.arange(100_000), 8))[0, 1]) < 0.02


def test_a_tokenizer_that_is_not_there_or_has_no_end_is_refused(tmp_path, tokenizer):
    with pytest.raises(ClimbError, match=r"tokens\.tokenizer: .*nowhere.*could not be loaded.*'bpe'"):
        load_tokenizer(str(tmp_path / "nowhere" / "tokenizer.json"))
    from tokenizers import Tokenizer, models

    with pytest.raises(ClimbError, match="no end-of-text token"):
        end_of_text(Tokenizer(models.BPE()))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    assert load_tokenizer(str(tmp_path)).to_str() == tokenizer.to_str()
