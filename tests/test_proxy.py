"""The proxies: a stack is p faithful, independent Llamas."""

import json
import tomllib
from typing import get_args

import numpy as np
import pytest

from climb_engine.config import PROXY_SIZES, ProxyConfig, RunConfig
from climb_engine.search.checkpoint import from_hf, save_hf
from climb_engine.search.llama import LlamaShape, ProxyStack, cross_entropy, hidden_states, loss_and_gradients
from climb_engine.search.proxy import (
    TrainSettings,
    _clip,
    choose_device,
    choose_stack,
    compute_dtype,
    loglikelihoods,
    sequence_nats,
    train,
)
from climb_engine.search.sampling import TokenBank, draw_sequences
from climb_engine.types import ClimbError

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TINY = LlamaShape(vocab=61, layers=2, hidden=32, ffn=48, heads=4, kv_heads=2)
DECAY = TrainSettings(learning_rate=3e-3, schedule="decay", dtype="float32")


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def reference(seed, **changes):
    """A random LlamaForCausalLM, with norms that are not all one."""
    values = {
        "vocab_size": 53, "hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 2, "num_attention_heads": 4,
        "num_key_value_heads": 2, "initializer_range": 0.2, "rms_norm_eps": 1e-5, "tie_word_embeddings": True,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0},
    }  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**values, **changes}))
        for name, weight in model.named_parameters():
            if "norm" in name:
                torch.nn.init.uniform_(weight, 0.5, 1.5)
    return model.eval()


def rope(theta):
    return {"rope_parameters": {"rope_type": "default", "rope_theta": theta}}


ARCHITECTURES = {
    "grouped": {},
    "multi-head": {"num_key_value_heads": 4},
    "one key head": {"num_key_value_heads": 1, "num_hidden_layers": 3},
    "untied": {"tie_word_embeddings": False},
    "theta 500,000": {**rope(500_000.0), "tie_word_embeddings": False},
    "theta 100, eps 1e-6": {**rope(100.0), "rms_norm_eps": 1e-6, "intermediate_size": 64},
}
architectures = pytest.mark.parametrize("changes", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())


def some_tokens(*size, vocab=53, seed=0):
    return torch.from_numpy(np.random.default_rng(seed).integers(0, vocab, size))


def logits_of(stack, ids):
    hidden = hidden_states(stack, ids, torch.float32)
    return (hidden @ stack.head.mT).view(*ids.shape, -1)


def random_stack(p, shape=TINY):
    """Proxies that differ from one another."""
    stacks = [ProxyStack.init(shape, 1, seed) for seed in range(p)]
    return ProxyStack(shape, {n: torch.cat([s.parameters[n] for s in stacks]) for n in shape.tensors})


def bigrams(domains=3, length=6_000, vocab=61, seed=0):
    """Domains with a planted language each: of every token, one successor has half of the probability."""
    rng = np.random.default_rng(seed)
    texts = []
    for _ in range(domains):
        follows = rng.permutation(vocab)
        text = rng.integers(0, vocab, length)
        for i in np.flatnonzero(rng.random(length - 1) < 0.5):
            text[i + 1] = follows[text[i]]
        texts.append(text)
    return texts


def planned(p, steps=12, batch=4, t=16, seeds=0, domains=3):
    bank = TokenBank.build(bigrams(domains), t)
    weights = np.random.default_rng(5).dirichlet(np.ones(domains), p)
    return bank, draw_sequences(weights, bank.available, steps, batch, seeds)


# What transformers computes


@architectures
def test_a_stack_of_one_gives_the_logits_of_transformers(changes):
    model, ids = reference(1, **changes), some_tokens(1, 3, 17)
    with torch.no_grad():
        expected = model(ids[0]).logits
        found = logits_of(from_hf(model), ids)[0]
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


@architectures
def test_a_stack_of_one_gives_the_loss_and_the_gradients_of_transformers(changes):
    model, tokens = reference(2, **changes), some_tokens(1, 3, 18)
    logits = model(tokens[0, :, :-1]).logits
    expected = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[0, :, 1:].flatten())
    expected.backward()
    stack = from_hf(model)
    for weight in stack.parameters.values():
        weight.requires_grad_()
    losses = loss_and_gradients(stack, tokens, torch.float32)
    torch.testing.assert_close(losses[0], expected.detach(), rtol=1e-5, atol=0)
    for weight in model.parameters():  # a gradient is read in the layout of its weight
        weight.data = weight.grad
    gradients = from_hf(model).parameters
    for name, weight in stack.parameters.items():
        torch.testing.assert_close(weight.grad, gradients[name], rtol=1e-4, atol=1e-6, msg=lambda m, n=name: f"{n} {m}")


@pytest.mark.parametrize("weights", [None, torch.arange(210.0).view(3, 70) / 104.5])
def test_chunks_do_not_change_the_cross_entropy(monkeypatch, weights):
    hidden, head, targets = torch.randn(3, 70, 8), torch.randn(3, 53, 8), some_tokens(3, 70)
    whole = cross_entropy(hidden, head, targets, weights)
    monkeypatch.setattr("climb_engine.search.llama.CHUNK", {"cpu": (53 * 16, 4)})
    for a, b in zip(whole, cross_entropy(hidden, head, targets, weights), strict=True):
        torch.testing.assert_close(a, b)


def test_weighted_tokens_weigh_in_the_loss_and_in_the_gradients_by_the_losses_that_they_have_now():
    stack, tokens = random_stack(2), some_tokens(2, 3, 10, vocab=61)
    for weight in stack.parameters.values():
        weight.requires_grad_()
    logp = logits_of(stack, tokens[..., :-1]).log_softmax(-1)
    nats = -logp.gather(3, tokens[..., 1:, None]).view(2, 27)
    weights = nats.detach() / nats.detach().mean(1, keepdim=True)
    expected = (weights * nats).mean(1)
    expected.sum().backward()
    gradients = {name: weight.grad.clone() for name, weight in stack.parameters.items()}
    for weight in stack.parameters.values():
        weight.grad = None
    seen = []

    def weigh(found):
        seen.append(found)
        return found / found.mean(1, keepdim=True)

    losses = loss_and_gradients(stack, tokens, torch.float32, weigh)
    torch.testing.assert_close(seen[0], nats.detach())
    torch.testing.assert_close(losses, expected.detach())
    for name, weight in stack.parameters.items():
        torch.testing.assert_close(weight.grad, gradients[name], rtol=1e-3, atol=1e-6)


def test_the_cross_entropy_of_a_token_that_is_all_but_impossible_is_finite():
    losses, d_hidden, _ = cross_entropy(torch.tensor([[[200.0]]]), torch.tensor([[[1.0], [-1.0]]]), torch.tensor([[1]]))
    assert losses.isfinite().all() and losses.item() > 80
    torch.testing.assert_close(d_hidden, torch.tensor([[[2.0]]]))


@pytest.mark.parametrize("tied", [True, False])
def test_a_saved_proxy_loads_and_generates_in_transformers_and_comes_back_the_same(tmp_path, tied):
    from tokenizers import Tokenizer, models

    shape = LlamaShape(53, 2, 24, 40, 4, 2, rope_theta=5_000.0, tie_embeddings=tied, norm_eps=1e-6)
    stack = random_stack(3, shape)
    tokenizer = tmp_path / "tokenizer.json"
    words = {"<|endoftext|>": 0, **{f"w{i}": i for i in range(1, 53)}}
    Tokenizer(models.WordLevel(words, unk_token="<|endoftext|>")).save(str(tokenizer))
    save_hf(stack, 1, tmp_path / "proxy", tokenizer, "<|endoftext|>", sequence_length=64)

    model = transformers.AutoModelForCausalLM.from_pretrained(tmp_path / "proxy")
    assert type(model) is transformers.LlamaForCausalLM
    assert transformers.AutoTokenizer.from_pretrained(tmp_path / "proxy")("w3")["input_ids"] == [3]
    ids = some_tokens(1, 2, 9)
    with torch.no_grad():
        torch.testing.assert_close(model(ids[0]).logits, logits_of(stack.select([1]), ids)[0], rtol=1e-4, atol=1e-6)
    written = model.generate(ids[0, :1], max_new_tokens=3, do_sample=False, eos_token_id=None)
    assert written[0, 9] == logits_of(stack.select([1]), ids[:, :1])[0, 0, -1].argmax()
    assert model.config.eos_token_id == 0 and model.config.max_position_embeddings == 64

    back = from_hf(str(tmp_path / "proxy"))
    assert back.shape == shape
    for name, weight in back.parameters.items():
        assert torch.equal(weight[0], stack.parameters[name][1]), name


def test_a_model_that_is_no_plain_llama_is_refused_by_name(tmp_path):
    with pytest.raises(ClimbError, match="mlp_bias is True"):
        from_hf(reference(0, mlp_bias=True))
    scaled = {"rope_type": "linear", "factor": 2.0, "rope_theta": 1e4}
    with pytest.raises(ClimbError, match="rope_type is 'linear'"):
        from_hf(reference(0, rope_parameters=scaled))
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "no-such-model"}))
    with pytest.raises(ClimbError, match="could not load"):
        from_hf(tmp_path)


# Independence


def test_all_proxies_start_equal_whatever_their_number():
    three, one = ProxyStack.init(TINY, 3, 7), ProxyStack.init(TINY, 1, 7)
    for name, weight in three.parameters.items():
        assert all(torch.equal(w, one.parameters[name][0]) for w in weight)
    assert not torch.equal(ProxyStack.init(TINY, 1, 8).head, one.head)


def test_the_state_loads_into_the_same_shape_and_no_other():
    stack = ProxyStack.init(TINY, 2, 0)
    back = ProxyStack.load(TINY, stack.state())
    assert all(torch.equal(w, stack.parameters[n]) for n, w in back.parameters.items())
    with pytest.raises(ClimbError, match="gate_up"):
        ProxyStack.load(LlamaShape(61, 2, 32, 64, 4, 2), stack.state())


@pytest.mark.parametrize("p", [1, 2, 7, 16])
def test_training_stacked_is_training_one_by_one(p):
    bank, plan = planned(p, seeds=[i % 2 for i in range(p)])
    together = ProxyStack.init(TINY, p, 0)
    losses = train(together, bank, plan, DECAY).losses
    for proxy in range(p):
        alone = ProxyStack.init(TINY, 1, 0)
        outcome = train(alone, bank, plan.select([proxy]), DECAY)
        np.testing.assert_allclose(outcome.losses[0], losses[proxy], rtol=1e-4)
        for name, weight in alone.parameters.items():
            torch.testing.assert_close(weight[0], together.parameters[name][proxy], rtol=1e-4, atol=1e-5)


def test_the_order_of_the_proxies_does_not_matter():
    bank, plan = planned(4)
    order = [2, 0, 3, 1]
    a, b = ProxyStack.init(TINY, 4, 0), ProxyStack.init(TINY, 4, 0)
    first, second = train(a, bank, plan, DECAY), train(b, bank, plan.select(order), DECAY)
    np.testing.assert_allclose(first.losses[order], second.losses, rtol=1e-5)
    torch.testing.assert_close(a.head[order], b.head, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_same_training_gives_the_same_bits(dtype):
    bank, plan = planned(2)
    again = []
    for _ in range(2):
        stack = ProxyStack.init(TINY, 2, 0)
        train(stack, bank, plan, TrainSettings(3e-3, "full", dtype=dtype))
        again.append(stack.parameters)
    assert all(torch.equal(again[0][name], again[1][name]) for name in again[0])


def test_a_proxy_that_breaks_is_reported_and_harms_no_other():
    bank, plan = planned(3)
    healthy, sick = ProxyStack.init(TINY, 3, 0), ProxyStack.init(TINY, 3, 0)
    sick.parameters["qkv"][1, 0, 0, 0] = float("nan")
    expected, outcome = train(healthy, bank, plan, DECAY), train(sick, bank, plan, DECAY)
    assert set(outcome.failed) == {1} and "nan at step 0" in outcome.failed[1] and not expected.failed
    np.testing.assert_array_equal(outcome.losses[[0, 2]], expected.losses[[0, 2]])
    for name, weight in healthy.parameters.items():
        assert torch.equal(weight[[0, 2]], sick.parameters[name][[0, 2]]), name
    values, greedy = loglikelihoods(sick, [(some_tokens(2, 6).numpy(), last_only(2, 6))])
    assert np.isnan(values[1]).all() and np.isfinite(values[[0, 2]]).all() and not greedy[1].any()


def test_a_proxy_that_breaks_in_the_last_step_is_reported():
    bank, plan = planned(2, steps=1)
    outcome = train(ProxyStack.init(TINY, 2, 0), bank, plan, TrainSettings(float("inf"), "decay", dtype="float32"))
    assert set(outcome.failed) == {0, 1} and "after the last step" in outcome.failed[0]


def test_the_gradient_of_each_proxy_is_clipped_by_its_own_norm():
    stack = random_stack(2)
    for weight in stack.parameters.values():
        weight.grad = torch.ones_like(weight)
        weight.grad[0] *= 1e-6
    _clip(stack, 1.0)
    norms = torch.stack([w.grad.flatten(1).square().sum(1) for w in stack.parameters.values()]).sum(0).sqrt()
    torch.testing.assert_close(norms, torch.tensor([1e-6 * TINY.parameters**0.5, 1.0]), rtol=1e-3, atol=0)


# Learning


def test_the_schedules_warm_up_stay_and_fall():
    at = {n: [TrainSettings(1.0, n, 0.1, 0.1).learning_rate_at(i, 100) for i in range(100)] for n in
          ("wsd-trunk", "decay", "full")}  # fmt: skip
    assert at["wsd-trunk"][:3] == pytest.approx([0.1, 0.2, 0.3]) and set(at["wsd-trunk"][10:]) == {1.0}
    assert at["decay"][0] == 1.0 and at["decay"][-1] == pytest.approx(0.109)
    assert at["full"][9] == at["full"][10] == 1.0 and at["full"][-1] == pytest.approx(0.11)
    assert all(a > b for n in ("decay", "full") for a, b in zip(at[n][10:], at[n][11:], strict=False))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_trunk_learns_and_its_copies_learn_what_they_read(dtype):
    bank = TokenBank.build(bigrams(2, 20_000), 32)
    heldout = [np.lib.stride_tricks.sliding_window_view(text[-3300:], 33)[::32] for text in bigrams(2, 20_000)]
    trunk = ProxyStack.init(TINY, 1, 0)
    natural = draw_sequences(np.array([0.5, 0.5]), bank.available, 150, 8, 0)
    curve = train(trunk, bank, natural, TrainSettings(1e-2, "wsd-trunk", dtype=dtype)).losses[0]
    assert curve[:5].mean() > 4.0 and curve[-20:].mean() < 3.6  # ln 61 = 4.1; both languages at once
    before = [sequence_nats(trunk, text)[0][0] / sequence_nats(trunk, text)[1] for text in heldout]

    proxies = trunk.expand(3)
    mixtures = np.array([[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]])
    train(proxies, bank, draw_sequences(mixtures, bank.available, 80, 8, 1), TrainSettings(1e-2, "decay", dtype=dtype))
    after = np.stack([sequence_nats(proxies, text)[0] / sequence_nats(proxies, text)[1] for text in heldout])
    assert after[0, 0] < after[0, 1] < after[0, 2] and after[1, 2] < after[1, 1] < after[1, 0]
    assert after[:, 1].mean() < np.mean(before)


def test_progress_is_told_at_every_step_on_a_cpu():
    bank, plan = planned(2, steps=5)
    told = []
    outcome = train(ProxyStack.init(TINY, 2, 0), bank, plan, DECAY, lambda step, losses: told.append((step, losses)))
    assert [step for step, _ in told] == list(range(5))
    np.testing.assert_array_equal(np.stack([losses for _, losses in told], axis=1), outcome.losses)


# Evaluation


def last_only(rows, t):
    mask = np.zeros((rows, t), dtype=bool)
    mask[:, -1] = True
    return mask


def test_loglikelihoods_are_those_of_transformers_padded_or_not():
    models = [reference(seed) for seed in (3, 4)]
    stacks = [from_hf(model) for model in models]
    stack = ProxyStack(stacks[0].shape, {n: torch.cat([s.parameters[n] for s in stacks]) for n in stacks[0].parameters})
    rows = [some_tokens(n, seed=n) for n in (12, 7, 4)]
    tokens, mask = np.zeros((3, 12), dtype=np.int64), np.zeros((3, 12), dtype=bool)
    for i, row in enumerate(rows):
        tokens[i, : len(row)], mask[i, len(row) - 3 : len(row)] = row, True
    tokens[2, 3] = models[0](rows[2][None, :3]).logits[0, -1].argmax()  # the first proxy would write this one itself
    rows[2][3] = int(tokens[2, 3])
    values, greedy = loglikelihoods(stack, [(tokens[:2], mask[:2]), (tokens[2:], mask[2:])])
    assert values.shape == greedy.shape == (2, 3)
    for p, model in enumerate(models):
        for i, row in enumerate(rows):
            with torch.no_grad():
                logp = model(row[None, :-1]).logits[0].log_softmax(-1)[-3:]
            expected = logp.gather(1, row[-3:, None]).sum().item()
            assert values[p, i] == pytest.approx(expected, rel=1e-4)
            assert greedy[p, i] == bool((logp.argmax(-1) == row[-3:]).all())
    assert loglikelihoods(stack, [(tokens[2:, :4], last_only(1, 4))])[1].tolist()[0] == [True]
    assert loglikelihoods(stack, [(tokens, np.zeros_like(mask))])[0].tolist() == [[0.0] * 3] * 2


def test_heldout_nats_are_the_sum_over_all_predicted_tokens():
    stack, tokens = random_stack(3), some_tokens(5, 9, vocab=61).numpy()
    total, count = sequence_nats(stack, tokens, rows=2)
    ids = torch.from_numpy(tokens)
    with torch.no_grad():
        logp = logits_of(stack, ids[:, :-1].expand(3, -1, -1)).log_softmax(-1)
    expected = -logp.gather(3, ids[:, 1:, None].expand(3, -1, -1, -1)).sum((1, 2, 3))
    np.testing.assert_allclose(total, expected.numpy(), rtol=1e-5)
    assert count == 40


def test_a_first_token_cannot_be_a_target():
    with pytest.raises(ValueError, match="first token"):
        loglikelihoods(random_stack(1), [(np.ones((1, 4), dtype=np.int64), np.ones((1, 4), dtype=bool))])


# Shapes and the machine


def test_the_named_sizes_have_the_parameters_of_their_names():
    llama2 = 32_000
    for name, wanted in {"62m": 62e6, "132m": 132e6, "350m": 350e6}.items():
        assert LlamaShape(llama2, **PROXY_SIZES[name]).parameters == pytest.approx(wanted, rel=0.02), name
    for name, wanted in {"1m": 1e6, "10m": 10e6, "30m": 30e6}.items():
        shape = LlamaShape(llama2, **PROXY_SIZES[name])
        assert shape.parameters - llama2 * shape.hidden == pytest.approx(wanted, rel=0.06), name
    assert LlamaShape.from_config(ProxyConfig(), 4096) == LlamaShape(4096, **PROXY_SIZES["tiny"])
    for name, size in PROXY_SIZES.items():
        assert ProxyConfig(size=name).shape == ProxyConfig(**size).shape == size, name


def test_a_size_and_a_shape_of_ones_own_are_not_mixed_up():
    assert set(get_args(ProxyConfig.model_fields["size"].annotation)) == {"custom", *PROXY_SIZES}
    assert ProxyConfig(layers=3).shape["layers"] == 3
    with pytest.raises(ClimbError, match=r"size = '10m' decides the shape; leave out layers, ffn, or set size = 'cus"):
        RunConfig.parse({"proxy": {"size": "10m", "layers": 3, "ffn": 128}})
    with pytest.raises(ClimbError, match=r"proxy\.size: .*'custom'.*'350m'.*\(got '7b'\)"):
        RunConfig.parse({"proxy": {"size": "7b"}})
    written = RunConfig().with_values({"proxy.size": "30m"})
    assert RunConfig.parse(tomllib.loads(written.to_toml())) == written


@architectures
def test_parameters_are_counted_as_transformers_counts_them(changes):
    model = reference(0, **changes)
    assert from_hf(model).shape.parameters == sum(w.numel() for w in model.parameters())


def test_flops_count_six_per_matmul_weight_and_causal_attention():
    tied = LlamaShape(100, 1, 8, 16, 2, 1)
    matmuls = 8 * 16 + 8 * 8 + 3 * 8 * 16 + 100 * 8  # qkv, attention out, SwiGLU, head
    attention = 6 * 8 * 32  # queries by keys and weights by values, 2 * 2 * hidden * t / 2 forward, twice that backward
    assert tied.flops_per_token(32) == 6 * matmuls + attention
    untied = LlamaShape(100, 1, 8, 16, 2, 1, tie_embeddings=False)
    assert untied.flops_per_token(32) == tied.flops_per_token(32)


def test_a_device_that_is_not_there_is_refused():
    assert choose_device("cpu").type == "cpu"
    assert choose_device("auto").type in ("cpu", "cuda", "mps")
    with pytest.raises(ClimbError, match="cuda:99"):
        choose_device("cuda:99")


def test_auto_uses_bfloat16_only_where_it_is_native():
    assert compute_dtype("float32", torch.device("cpu")) is torch.float32
    assert compute_dtype("bfloat16", torch.device("cpu")) is torch.bfloat16
    assert compute_dtype("auto", torch.device("cuda")) is torch.bfloat16


def test_the_stack_never_exceeds_what_is_wanted_and_is_never_empty():
    cpu = torch.device("cpu")
    assert choose_stack(TINY, cpu, 4096, 1) == 1
    assert 1 <= choose_stack(TINY, cpu, 4096, 64) <= 64
    assert choose_stack(LlamaShape(128_000, **PROXY_SIZES["350m"]), cpu, 2**24, 8) == 1


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")
def test_a_gpu_trains_what_the_cpu_trains():
    bank, plan = planned(4)
    here, there = ProxyStack.init(TINY, 4, 0), ProxyStack.init(TINY, 4, 0).to(torch.device("cuda"))
    expected = train(here, bank, plan, DECAY)
    found = train(there, bank.to(torch.device("cuda")), plan, DECAY)
    np.testing.assert_allclose(found.losses, expected.losses, rtol=1e-3)
