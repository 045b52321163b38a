"""DoReMi: the update of its weights by hand, what it costs, and planted domains of which one can still be learned."""

import math

import numpy as np
import pytest

from climb_engine.search.doremi import _Weighing, doremi, flops_per_token, updated
from climb_engine.search.llama import LlamaShape, ProxyStack, target_logp
from climb_engine.search.proxy import TrainSettings, train
from climb_engine.search.sampling import TokenBank, draw_sequences
from climb_engine.types import ClimbError

torch = pytest.importorskip("torch")

TINY = LlamaShape(vocab=61, layers=2, hidden=32, ffn=48, heads=4, kv_heads=2)
DECAY = TrainSettings(3e-3, "decay", dtype="float32")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def language(length, seed, vocab=61, sure=0.9):
    """Of every token, one successor has most of the probability."""
    rng = np.random.default_rng(seed)
    follows, text = rng.permutation(vocab), rng.integers(0, vocab, length)
    for i in np.flatnonzero(rng.random(length - 1) < sure):
        text[i + 1] = follows[text[i]]
    return text


def noise(length, seed, vocab=61):
    return np.random.default_rng(seed).integers(0, vocab, length)


# The update


def test_a_step_of_the_weights_is_what_one_computes_by_hand():
    found = updated(np.array([0.5, 0.25, 0.25]), np.array([0.0, math.log(2), math.log(4)]))
    # 0.5 x 1, 0.25 x 2, 0.25 x 4 are 0.5, 0.5, 1: a quarter, a quarter, a half, and a thousandth of equal weights
    np.testing.assert_allclose(found, 0.999 * np.array([0.25, 0.25, 0.5]) + 0.001 / 3, rtol=1e-12)


def test_a_weight_of_nothing_stays_and_all_sum_to_one_however_large_the_excess():
    found = updated(np.array([0.5, 0.0, 0.5]), np.array([2000.0, 0.0, 0.0]))
    np.testing.assert_allclose(found, [0.9995, 0.0, 0.0005], rtol=1e-12)
    np.testing.assert_allclose(updated(found, np.array([0.0, 0.0, 20.0])).sum(), 1)


def test_the_excess_of_a_batch_is_clipped_by_token_and_averaged_by_domain_and_a_missing_domain_keeps_its_last():
    uniform = np.full(3, 1 / 3)
    reference, proxy = (ProxyStack.init(TINY, 1, seed) for seed in (1, 2))
    for weight in proxy.parameters.values():
        weight.requires_grad_()
    domains = np.array([[0, 1, 0], [2, 2, 2]])
    weighing = _Weighing(reference, uniform, domains)
    expected, excess = uniform, np.zeros(3)
    for step, of_sequence in enumerate(domains):
        tokens = torch.from_numpy(noise(3 * 9, step)).view(1, 3, 9)
        mask = np.arange(9)[None].repeat(3, 0) > 0
        with torch.no_grad():
            mine, theirs = (target_logp(stack, tokens[0], mask, torch.float32)[0][0] for stack in (proxy, reference))
        clipped = np.maximum((theirs - mine).numpy(), 0)
        for domain in set(of_sequence):
            excess[domain] = clipped[of_sequence == domain].mean()
        expected = updated(expected, excess)
        loss = weighing(proxy, tokens, torch.float32)
        np.testing.assert_allclose(weighing.path[-1], expected, rtol=1e-5)
        shares = expected[of_sequence] / expected[of_sequence].sum()
        assert loss.item() == pytest.approx(-(shares * mine.numpy().mean(1)).sum(), rel=1e-5)
    assert excess[0] > 0 and excess[0] != excess[1]  # kept over the second batch, which had neither


# What it finds


def test_it_moves_weight_to_what_can_still_be_learned_and_away_from_noise_and_from_what_is_known():
    known, learnable, random = language(20_000, 1, 20), 20 + language(20_000, 2, 20), 40 + noise(20_000, 3, 20)
    shuffled = np.random.default_rng(4).permutation(learnable)  # so that the trunk knows its words and not its grammar
    old = TokenBank.build([known, shuffled, random], 32)
    trunk = ProxyStack.init(TINY, 1, 0)
    equal = draw_sequences(np.full(3, 1 / 3), old.available, 120, 8, 0)
    train(trunk, old, equal, TrainSettings(1e-2, "wsd-trunk", dtype="float32"))
    bank = TokenBank.build([known, learnable, random, noise(5, 4)], 32)
    before = {name: weight.clone() for name, weight in trunk.parameters.items()}
    told = []
    natural = np.array([0.3, 0.3, 0.3, 0.1])
    path = doremi(trunk, bank, natural, 60, 8, TrainSettings(1e-2, "decay", dtype="float32"), (5, 6),
                  lambda step, _: told.append(step))  # fmt: skip
    assert path.shape == (60, 4) and np.abs(path.sum(1) - 1).max() < 1e-9
    assert path[0, :3] == pytest.approx(1 / 3, abs=0.05)
    assert path.mean(0)[1] > 0.7 > 3 * path.mean(0)[[0, 2]].max()
    assert not path[:, 3].any()  # a domain without one whole sequence
    assert told == list(range(120))
    assert all(torch.equal(weight, before[name]) for name, weight in trunk.parameters.items())


def test_it_is_the_same_again_and_another_under_other_seeds():
    bank, trunk = TokenBank.build([language(4000, 1), noise(4000, 2)], 16), ProxyStack.init(TINY, 1, 0)
    paths = [doremi(trunk, bank, np.array([0.5, 0.5]), 6, 4, DECAY, seeds) for seeds in ((0, 1), (0, 1), (2, 3))]
    assert np.array_equal(paths[0], paths[1]) and not np.array_equal(paths[0], paths[2])


def test_a_training_that_breaks_is_told_with_the_way_out():
    bank, trunk = TokenBank.build([language(4000, 1), noise(4000, 2)], 16), ProxyStack.init(TINY, 1, 0)
    broken = TrainSettings(float("inf"), "decay", dtype="float32")
    with pytest.raises(ClimbError, match=r"DoReMi's reference: .*lower the learning rate, or leave doremi out"):
        doremi(trunk, bank, np.array([0.5, 0.5]), 2, 4, broken, (0, 1))


# What it costs


def test_a_pair_of_tokens_costs_two_trainings_a_forward_pass_and_the_logits_again():
    training = TINY.flops_per_token(32)
    assert flops_per_token(TINY, 32) == pytest.approx(2 * training + training / 3 + 2 * 61 * 32)
