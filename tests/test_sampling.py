"""What the proxies read: sequences by mixture, the same random numbers for all."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from climb_engine.search.sampling import SequencePlan, TokenBank, _domains, draw_sequences
from climb_engine.types import ClimbError

torch = pytest.importorskip("torch")

mixtures = st.integers(1, 6).flatmap(
    lambda m: st.lists(st.lists(st.integers(0, 20), min_size=m, max_size=m).filter(any), min_size=1, max_size=4)
)


@settings(max_examples=60, deadline=None)
@given(mixtures, st.integers(1, 40), st.integers(1, 12), st.integers(0, 2**31), st.data())
def test_every_domain_gets_its_share_of_the_run_and_of_every_batch_to_within_one(raw, steps, batch, seed, data):
    weights = np.array(raw, dtype=float)
    weights /= weights.sum(1, keepdims=True)
    available = np.array(data.draw(st.lists(st.integers(1, 50), min_size=len(raw[0]), max_size=len(raw[0]))))
    plan = draw_sequences(weights, available, steps, batch, seed)
    assert plan.domain.shape == plan.index.shape == (len(raw), steps, batch)
    drawn = plan.domain[..., None] == np.arange(len(available))
    assert (np.abs(drawn.sum((1, 2)) - weights * steps * batch) <= 1 + 1e-6).all()
    assert (np.abs(drawn.sum(2) - weights[:, None] * batch) <= 1 + 1e-6).all()
    assert not (drawn.sum((1, 2)) * (weights == 0)).any()
    assert ((plan.index >= 0) & (plan.index < available[plan.domain])).all()
    np.testing.assert_allclose(plan.repeats, drawn.sum((1, 2)) / available)
    for proxy, domain in np.ndindex(drawn.shape[0], drawn.shape[3]):  # all of an epoch before any of the next
        times = np.bincount(plan.index[proxy][drawn[proxy, ..., domain]], minlength=available[domain])
        assert times.max() - times.min() <= 1


@settings(max_examples=30, deadline=None)
@given(mixtures, st.lists(st.integers(0, 2), min_size=4, max_size=4))
def test_what_a_proxy_reads_does_not_depend_on_the_others(raw, seeds):
    weights = np.array(raw, dtype=float) / np.sum(raw, axis=1, keepdims=True)
    available = np.arange(1, len(raw[0]) + 1) * 3
    together = draw_sequences(weights, available, 7, 5, seeds[: len(raw)])
    for proxy, seed in enumerate(seeds[: len(raw)]):
        alone = draw_sequences(weights[proxy], available, 7, 5, seed)
        np.testing.assert_array_equal(alone.domain[0], together.domain[proxy])
        np.testing.assert_array_equal(alone.index[0], together.index[proxy])


def test_a_point_on_an_edge_never_falls_to_a_domain_of_weight_zero():
    assert _domains(np.array([0.0, 0.5, 0.0, 0.5, 0.0]), np.array([0.0, 0.5, 0.999])).tolist() == [1, 3, 3]


def test_a_larger_weight_reads_a_superset():
    plan = draw_sequences(np.array([[0.2, 0.8], [0.5, 0.5]]), np.array([200, 200]), 20, 8, 3)
    less, more = (set(plan.index[p][plan.domain[p] == 0]) for p in (0, 1))
    assert len(less) == 32 and len(more) == 80 and less < more


def test_seeds_change_what_is_read_and_equal_seeds_share_it():
    plan = draw_sequences(np.full((3, 2), 0.5), np.array([500, 500]), 10, 4, [1, 2, 1])
    assert (plan.index[0] == plan.index[2]).all() and (plan.index[0] != plan.index[1]).any()


def test_a_rare_domain_comes_evenly_over_the_run():
    plan = draw_sequences(np.array([0.96, 0.02, 0.02]), np.full(3, 1000), 400, 4, 0)
    for domain in (1, 2):
        steps = np.flatnonzero((plan.domain[0] == domain).any(1))
        assert len(steps) == 32 and np.diff([0, *steps, 400]).max() <= 3 * 400 / 32


def test_a_domain_that_runs_out_is_read_again_in_a_new_order_and_says_so():
    bank = TokenBank.build([np.arange(41), np.arange(9)], 8)
    assert bank.available.tolist() == [5, 1]
    plan = draw_sequences(np.array([[0.9, 0.1]]), bank.available, 10, 5, 0)
    epochs = plan.index[0][plan.domain[0] == 0].reshape(9, 5)
    assert (np.sort(epochs) == np.arange(5)).all() and len({tuple(epoch) for epoch in epochs}) > 1
    assert plan.repeats[0].tolist() == [9.0, 5.0]


def test_a_weight_on_a_domain_without_sequences_is_refused():
    bank = TokenBank.build([np.arange(100), np.arange(8)], 8)
    assert draw_sequences(np.array([1.0, 0.0]), bank.available, 2, 2, 0).repeats[0, 1] == 0
    with pytest.raises(ClimbError, match="domain 1 has a weight"):
        draw_sequences(np.array([[1.0, 0.0], [0.9, 0.1]]), bank.available, 2, 2, 0)


@pytest.mark.parametrize("largest", [32_767, 32_768, 100_000])
def test_a_batch_holds_the_tokens_of_its_windows(largest):
    texts = [np.arange(50), np.arange(largest - 60, largest + 1)]
    bank = TokenBank.build(texts, 8)
    plan = SequencePlan(np.array([[[0, 1]]], dtype=np.int16), np.array([[[2, 6]]]), np.zeros((1, 2)))
    batch = bank.gather(torch.from_numpy(bank.starts(plan))[:, 0])
    assert batch.dtype == torch.int64
    np.testing.assert_array_equal(batch[0], [texts[0][16:25], texts[1][48:57]])
