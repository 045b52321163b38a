"""A published set of rules as scores: no model, English only.

A rule reads one statistic of the text and maps it to [0, 1]; docs/QUALITY.md says what each is and where it comes from.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy as np
import pyarrow as pa

from climb_engine.config import TOP_SCORE
from climb_engine.types import METRICS, FloatArray, Vectors


class HeuristicsScorer:
    """``RULES``, combined for each dimension. English only: text in another script is NaN, and so is blank text."""

    name = "heuristics"
    metrics: tuple[str, ...] = METRICS

    def score(self, documents: pa.Table, vectors: Vectors | None = None) -> Vectors:  # noqa: ARG002
        """(n, 4) float32; reads the column ``text``."""
        scores = np.full((documents.num_rows, len(METRICS)), np.nan, dtype=np.float32)
        texts = documents["text"].to_pylist()
        rows = [row for row, text in enumerate(texts) if text and _readable(text)]
        if rows:
            scores[rows] = _combine(_sub_scores([statistics(texts[row]) for row in rows]))
        return scores


def explain(text: str) -> dict[str, dict[str, float]]:
    """Dimension -> rule -> its sub-score in [0, 1], 1 being good: why the heuristics score a text as they do."""
    values = _sub_scores([statistics(text)])[0]
    return {
        metric: {rule.name: float(v) for rule, v in zip(RULES, values, strict=True) if rule.metric == metric}
        for metric in METRICS
    }


class Rule(NamedTuple):
    """One line of the rule set: a statistic, mapped smoothly from ``zero`` (worst, 0) to ``full`` (best, 1)."""

    metric: str
    kind: Literal["defect", "merit"]  # a defect can take up to ``weight`` off the score, a merit can give up to it
    name: str
    statistic: str
    zero: float
    full: float
    weight: float
    source: str


GOPHER, C4, REFINEDWEB, FINEWEB = "Gopher", "C4", "RefinedWeb", "FineWeb"
REDPAJAMA, BIBER, SAHAMI, OWN = "RedPajama", "Biber 1988", "Sahami 1998", "own"

# fmt: off
RULES: tuple[Rule, ...] = (
    Rule("quality", "defect", "long enough", "words", 5, 50, 0.4, GOPHER),
    Rule("quality", "defect", "words not too short", "word length", 2, 3, 0.5, GOPHER),
    Rule("quality", "defect", "words not too long", "word length", 20, 10, 0.5, GOPHER),
    Rule("quality", "defect", "no endless words", "endless words", 0.1, 0.01, 0.4, OWN),
    Rule("quality", "defect", "few symbols", "symbols per word", 0.3, 0.1, 0.4, GOPHER),
    Rule("quality", "defect", "not all bullets", "bullet lines", 1, 0.85, 0.2, GOPHER),
    Rule("quality", "defect", "few cut-off lines", "ellipsis lines", 0.6, 0.3, 0.4, GOPHER),
    Rule("quality", "defect", "alphabetic words", "alphabetic words", 0.3, 0.8, 0.6, GOPHER),
    Rule("quality", "defect", "stop words present", "stop words found", 0, 2, 0.4, GOPHER),
    Rule("quality", "defect", "function words", "function words", 0.05, 0.25, 0.3, REDPAJAMA),
    Rule("quality", "defect", "punctuated lines", "punctuated lines", 0, 0.12, 0.25, FINEWEB),
    Rule("quality", "defect", "not only short lines", "short lines", 1, 0.67, 0.2, FINEWEB),
    Rule("quality", "defect", "lines not repeated", "duplicate lines", 0.5, 0.1, 0.6, FINEWEB),
    Rule("quality", "defect", "paragraphs not repeated", "duplicate paragraphs", 0.6, 0.2, 0.4, GOPHER),
    Rule("quality", "defect", "no dominant pair", "commonest pair", 0.4, 0.2, 0.4, GOPHER),
    Rule("quality", "defect", "phrases not repeated", "repeated phrases", 0.6, 0.15, 0.6, GOPHER),
    Rule("quality", "defect", "varied words", "distinct words", 0.1, 0.4, 0.4, REDPAJAMA),
    Rule("quality", "defect", "few digits", "digits", 0.5, 0.15, 0.4, REFINEDWEB),
    Rule("quality", "defect", "not shouted", "shouted words", 0.6, 0.15, 0.4, REFINEDWEB),
    Rule("quality", "defect", "few braces", "braces", 0.06, 0.01, 0.15, C4),
    Rule("quality", "defect", "no placeholder text", "placeholders", 1, 0, 0.8, C4),
    Rule("quality", "defect", "little boilerplate", "boilerplate", 4, 0.5, 0.5, C4),
    Rule("quality", "defect", "few links", "links", 6, 1.5, 0.3, OWN),
    Rule("quality", "defect", "readable characters", "unreadable", 0.1, 0.005, 0.5, OWN),

    Rule("educational", "merit", "gives reasons", "reasons", 0, 3, 0.55, FINEWEB),
    Rule("educational", "merit", "defines", "definitions", 0, 3, 0.5, FINEWEB),
    Rule("educational", "merit", "teaching words", "teaching words", 0, 6, 0.55, FINEWEB),
    Rule("educational", "merit", "answers questions", "answered questions", 0, 1.5, 0.3, FINEWEB),
    Rule("educational", "merit", "has structure", "headings", 0, 1.5, 0.3, FINEWEB),
    Rule("educational", "merit", "full sentences", "sentence length", 4, 14, 0.35, FINEWEB),
    Rule("educational", "defect", "sentences not endless", "sentence length", 120, 45, 0.3, FINEWEB),
    Rule("educational", "defect", "alphabetic words", "alphabetic words", 0.2, 0.7, 0.5, GOPHER),
    Rule("educational", "defect", "phrases not repeated", "repeated phrases", 0.6, 0.15, 0.4, GOPHER),
    Rule("educational", "defect", "no call to act", "calls", 2, 0, 0.4, FINEWEB),
    Rule("educational", "defect", "little boilerplate", "boilerplate", 4, 0.5, 0.4, FINEWEB),
    Rule("educational", "defect", "not conversational", "involved words", 0.2, 0.06, 0.3, BIBER),
    Rule("educational", "defect", "not shouted", "shouted words", 0.6, 0.15, 0.3, REFINEDWEB),
    Rule("educational", "defect", "readable characters", "unreadable", 0.1, 0.005, 0.4, OWN),

    Rule("informational", "merit", "names", "names", 0, 8, 0.4, OWN),
    Rule("informational", "merit", "quantities", "quantities", 0, 3, 0.35, OWN),
    Rule("informational", "merit", "years", "years", 0, 2, 0.25, OWN),
    Rule("informational", "merit", "content words", "content words", 0.42, 0.66, 0.4, BIBER),
    Rule("informational", "merit", "long words", "long words", 0.12, 0.4, 0.4, BIBER),
    Rule("informational", "merit", "prepositions", "prepositions", 0.06, 0.16, 0.3, BIBER),
    Rule("informational", "merit", "varied words", "distinct words", 0.35, 0.7, 0.2, BIBER),
    Rule("informational", "merit", "code and formulas", "code and formulas", 0, 8, 0.3, OWN),
    Rule("informational", "defect", "long enough", "words", 5, 50, 0.4, GOPHER),
    Rule("informational", "defect", "not conversational", "involved words", 0.2, 0.06, 0.5, BIBER),
    Rule("informational", "defect", "alphabetic words", "alphabetic words", 0.2, 0.7, 0.5, GOPHER),
    Rule("informational", "defect", "phrases not repeated", "repeated phrases", 0.6, 0.15, 0.4, GOPHER),
    Rule("informational", "defect", "no call to act", "calls", 2, 0, 0.4, OWN),
    Rule("informational", "defect", "little boilerplate", "boilerplate", 4, 0.5, 0.4, C4),
    Rule("informational", "defect", "not shouted", "shouted words", 0.6, 0.15, 0.3, REFINEDWEB),
    Rule("informational", "defect", "readable characters", "unreadable", 0.1, 0.005, 0.5, OWN),

    Rule("advertisement", "defect", "no call to act", "calls", 2, 0, 0.7, SAHAMI),
    Rule("advertisement", "defect", "no offer", "offers", 2, 0, 0.7, SAHAMI),
    Rule("advertisement", "defect", "no hype", "hype", 3, 0.2, 0.5, SAHAMI),
    Rule("advertisement", "defect", "no prices", "prices", 4, 0.5, 0.3, SAHAMI),
    Rule("advertisement", "defect", "few exclamations", "exclamations", 4, 0.3, 0.35, SAHAMI),
    Rule("advertisement", "defect", "not shouted", "shouted words", 0.4, 0.08, 0.3, SAHAMI),
    Rule("advertisement", "defect", "few links", "links", 4, 0.8, 0.35, OWN),
    Rule("advertisement", "defect", "little boilerplate", "boilerplate", 3, 0.3, 0.4, C4),
)
"""The rule set; densities are per hundred words. ``docs/QUALITY.md`` tells the same with the papers in full."""
# fmt: on


def _sub_scores(rows: Sequence[Mapping[str, float]]) -> FloatArray:
    """(n, len(RULES)) in [0, 1]: smoothstep between a rule's two ends."""
    values = np.array([[row[rule.statistic] for rule in RULES] for row in rows], dtype=np.float64)
    zero, full = (np.array([getattr(rule, end) for rule in RULES]) for end in ("zero", "full"))
    x = np.clip((values - zero) / (full - zero), 0, 1)
    return np.asarray(x * x * (3 - 2 * x))


def _combine(sub_scores: FloatArray) -> FloatArray:
    """(n, 4) in 0 to 5: merits add up like independent evidence, then each defect takes off its share.

    5 x (1 - product over merits of (1 - weight x sub-score)) x product over defects of (1 - weight x (1 - sub-score)).
    A dimension without merits starts from 5.
    """
    scores = np.full((len(sub_scores), len(METRICS)), TOP_SCORE)
    for j, metric in enumerate(METRICS):
        for kind in ("merit", "defect"):
            chosen = [i for i, rule in enumerate(RULES) if (rule.metric, rule.kind) == (metric, kind)]
            weights = np.array([RULES[i].weight for i in chosen])
            if kind == "merit" and chosen:
                scores[:, j] *= 1 - np.prod(1 - weights * sub_scores[:, chosen], axis=1)
            elif chosen:
                scores[:, j] *= np.prod(1 - weights * (1 - sub_scores[:, chosen]), axis=1)
    return scores


# --- the statistics -------------------------------------------------------------------------------------------------

_WORD = re.compile(r"[a-z]+(?:'[a-z]+)?")
_SENTENCE = re.compile(r"[.!?][\"')\]\u2019\u201d]*(?:\s+|$)|\n\s*\n")
_BULLET = re.compile(r"^[ \t]*(?:[-*+\u2022\u2023\u25cf\u25cb\u25aa]|\d{1,2}[.)])[ \t]", re.M)
_HEADING = re.compile(r"^(?:#{1,6} |[A-Z0-9][^\n.!?;,]{2,70}$(?=\n\s*\n|\n[-=~]{3}))", re.M)
_PRICE = re.compile(r"[$€£]\s?\d")
_CRY = re.compile(r"!+(?=\s|$)")
_ANSWERED = re.compile(r"\?\s+(?=[A-Z][^?]{20})")
_NAME = re.compile(r"(?<=[a-z,;)] )[A-Z][\w'\u2019-]+")
_YEAR = re.compile(r"\b(?:1[0-9]{3}|20[0-9]{2})\b")
_QUANTITY = re.compile(
    r"\d ?(?:%|°|percent|per cent|million|billion|thousand|kg|g|mg|km|cm|mm|m|miles?|feet|ft|inch(?:es)?|"
    r"hours?|minutes?|seconds?|days?|weeks?|months?|years?|dollars?|[KMGT]?[bB]|ms|Hz|eV|sq|ounces?|pounds?|cups?)\b"
)
_FOREIGN = re.compile("[\u0370-\u1fff\u2c00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff]")
_LINKS = ("://", " www.", "\nwww.", "@")
_CODE = ("_", "()", "::", "`", "\\")
_GARBLED = ("\ufffd", "â€", "Ã©", "Ã¨", "Ã¡", "Ã³")  # the replacement character, and UTF-8 read as Latin-1
_LINE_END = (".", "!", "?", '"', "\u201d", ":", ";", ")")
_NO_DIGITS = str.maketrans("", "", "0123456789")
_WINDOW = 200  # words of the type-token ratio: it falls with length, so that whole texts do not compare


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_GOPHER_STOP = _set("the be to of and that have with")
_PREPOSITIONS = _set(
    "of in to for with on at from by about as into through after over between under against during without before "
    "among within across toward towards upon via per"
)
_INVOLVED = _set("i me my mine we us you your yours i'm i've i'd i'll you're you've you'll don't can't it's that's")
_OTHER_FUNCTION = _set(
    "a an this these those is are was were been being am has had having do does did will would shall should can "
    "could may might must he she it they him her them his hers its their our ours who whom whose which what when "
    "where why how there here if or but nor so than then because while although though not no yes all any both "
    "each few more most other some such only own same too very just also again once"
)
_FUNCTION = _GOPHER_STOP | _PREPOSITIONS | _INVOLVED | _OTHER_FUNCTION
_REASONS = _set(
    "because therefore thus hence consequently whereas since although however moreover furthermore specifically e.g "
    "namely similarly suppose assume consider note implies why how"
)
_TEACHING = _set(
    "example examples learn learning understand concept concepts explain explains explained describe describes "
    "definition define defined method methods theory principle principles exercise question answer solution problem "
    "problems step steps process function functions theorem proof lemma study studies research result results "
    "analysis model cause causes effect effects introduction overview chapter section history science knowledge "
    "student students practice treatment symptoms difference compare rule rules parameter parameters returns"
)
_HYPE = _set(  # without guarantee, exclusive, lowest: technical prose has them too
    "amazing incredible unbelievable unbeatable revolutionary fantastic hottest cheapest bargain bargains discount "
    "discounts coupon coupons winner prize prizes bonus instantly affordable sponsored sponsor promo promotion "
    "giveaway refund cheap free deals newsletter"
)
# fmt: off
_PHRASES = {
    "reasons": ("for example", "for instance", "such as", "in other words", "as a result", "in order to", "so that",
                "that is,", "i.e.", "due to", "this means", "note that", "we show", "if and only if"),
    "definitions": (" is a ", " is an ", " are the ", " is called", "known as", "refers to", "defined as",
                    "consists of", "is defined", "denotes", "means that", "is used to", "describes", "a type of",
                    "a kind of"),
    "calls": ("buy now", "order now", "order today", "click here", "click below", "click on the link", "sign up",
              "subscribe", "shop now", "call now", "call today", "call us", "act now", "add to cart", "apply now",
              "register now", "join now", "contact us today", "visit our", "visit us", "check out our", "don't miss",
              "hurry", "book now", "download now", "get started today", "learn more", "best seller", "toll free"),
    "offers": ("limited time", "limited offer", "special offer", "for free", "free trial", "free shipping",
               "absolutely free", "100% free", "money back", "money-back", "risk free", "risk-free", "no obligation",
               "no risk", "satisfaction guaranteed", "save up to", "best price", "low price", "lowest price",
               "% off", "on sale", "while supplies last", "credit card", "earn money", "make money", "extra income",
               "as seen on", "free gift", "gift card", "per month only", "exclusive offer", "great deal"),
    "boilerplate": ("privacy policy", "terms of use", "terms of service", "terms and conditions", "use of cookies",
                    "uses cookies", "use cookies", "cookie policy", "all rights reserved", "enable javascript",
                    "javascript is disabled", "javascript must be", "your browser", "unsubscribe", "mailing list",
                    "log in to", "leave a comment", "share on ", "share this", "follow us", "skip to content",
                    "read more", "powered by", "related posts", "back to top"),
    "placeholders": ("lorem ipsum", "dolor sit amet"),
}
# fmt: on


def statistics(text: str) -> dict[str, float]:
    """What the rules read, by name. Marks are counted per hundred words, over 50 words more than there are.

    The 50 keep one hit in a short document from weighing like ten in a long one.
    """
    lower = text.lower().replace("\u2019", "'")
    tokens, words = text.split(), _WORD.findall(lower)
    counts = Counter(words)
    hundred = 100 / (len(tokens) + 50)
    return {
        **_characters(text, tokens),
        **_vocabulary(words, counts),
        **_lines(text),
        **_repetition(words),
        **{name: count * hundred for name, count in _marks(text, lower, counts).items()},
        "alphabetic words": sum(map(str.islower, lower.split())) / max(len(tokens), 1),
        "sentence length": len(tokens) / (len(_SENTENCE.findall(text)) or 1),
    }


def _readable(text: str) -> bool:
    """Neither blank nor mostly in a script other than Latin, of which the rules know nothing."""
    if text.isascii():
        return bool(text.strip())
    return bool(text.strip()) and 2 * len(_FOREIGN.findall(text)) <= sum(map(str.isalpha, text))


def _occurrences(text: str, pieces: Sequence[str]) -> int:
    return sum(map(text.count, pieces))


def _members(counts: Mapping[str, int], chosen: frozenset[str]) -> int:
    """How many of the counted words are among the chosen ones."""
    return sum(map(counts.__getitem__, chosen.intersection(counts)))


def _characters(text: str, tokens: list[str]) -> dict[str, float]:
    n = max(len(tokens), 1)
    solid = max(sum(map(len, tokens)), 1)
    return {
        "words": float(len(tokens)),
        "word length": solid / n,
        "symbols per word": _occurrences(text, ("#", "...", "…")) / n,
        "digits": (len(text) - len(text.translate(_NO_DIGITS))) / solid,
        "braces": _occurrences(text, "{}") / solid,
        "shouted words": sum([len(token) > 2 and token.isupper() for token in tokens]) / n,
        "endless words": sum([len(token) > 40 for token in tokens]) / n,
        "unreadable": 0.0 if text.isascii() else _occurrences(text, _GARBLED) / n,
    }


def _vocabulary(words: list[str], counts: Mapping[str, int]) -> dict[str, float]:
    n = max(len(words), 1)
    function_words = _members(counts, _FUNCTION) / n
    return {
        "stop words found": float(len(_GOPHER_STOP.intersection(counts))),
        "function words": function_words,
        "content words": 1 - function_words if words else 0.0,
        "prepositions": _members(counts, _PREPOSITIONS) / n,
        "involved words": _members(counts, _INVOLVED) / n,
        "long words": sum([count for word, count in counts.items() if len(word) >= 7]) / n,
        "distinct words": len(set(words[:_WINDOW])) / max(len(words[:_WINDOW]), 1),
    }


def _lines(text: str) -> dict[str, float]:
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    n = max(len(lines), 1)
    return {
        "punctuated lines": sum([line.endswith(_LINE_END) for line in lines]) / n,
        "ellipsis lines": sum([line.endswith(("...", "…")) for line in lines]) / n,
        "bullet lines": len(_BULLET.findall(text)) / n,
        "short lines": sum([len(line) < 30 for line in lines]) / n,
        "duplicate lines": _duplicated(lines),
        "duplicate paragraphs": _duplicated([piece for piece in map(str.strip, text.split("\n\n")) if piece]),
    }


def _duplicated(pieces: list[str]) -> float:
    """Share of the characters that stand in a piece seen before."""
    if len(pieces) < 2:
        return 0.0
    return 1 - sum(map(len, set(pieces))) / sum(map(len, pieces))


def _repetition(words: list[str]) -> dict[str, float]:
    most = max(Counter(pairwise(words)).values(), default=0)
    n_fives = len(words) - 4
    fives = set(zip(words, words[1:], words[2:], words[3:], words[4:], strict=False))
    return {
        "commonest pair": 2 * most / len(words) if most > 1 else 0.0,
        "repeated phrases": 1 - len(fives) / n_fives if n_fives > 0 else 0.0,
    }


def _marks(text: str, lower: str, counts: Mapping[str, int]) -> dict[str, int]:
    phrases = {name: _occurrences(lower, found) for name, found in _PHRASES.items()}
    return phrases | {
        "reasons": phrases["reasons"] + _members(counts, _REASONS),
        "teaching words": _members(counts, _TEACHING),
        "hype": _members(counts, _HYPE),
        "links": _occurrences(lower, _LINKS),
        "prices": len(_PRICE.findall(text)),
        "exclamations": len(_CRY.findall(text)),
        "answered questions": len(_ANSWERED.findall(text)),
        "headings": len(_HEADING.findall(text)),
        "names": len(_NAME.findall(text)),
        "years": len(_YEAR.findall(text)),
        "quantities": len(_QUANTITY.findall(text)),
        "code and formulas": _occurrences(text, _CODE),
    }
