"""The rule set: what its rules see, and what they must not do."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from climb_engine.curate.heuristics import RULES, HeuristicsScorer, explain, statistics
from climb_engine.types import METRICS
from tests.texts import CODE, DIALOGUE, DIGITS, FILLER, LESSON, NOTICE, POEM, REPEATED, STATUTE, table_of


def scores_of(text):
    values = HeuristicsScorer().score(table_of([text]))[0]
    return dict(zip(METRICS, values.tolist(), strict=True))


def test_blank_text_and_other_scripts_cannot_be_scored():
    for text in ("", " \n\t", "一二三四五六七八九十", "Пример текста на другом языке"):
        assert np.isnan(list(scores_of(text).values())).all(), text
    assert np.isfinite(list(scores_of("The letters λ and θ are Greek, the sentence is not.").values())).all()


def test_a_missing_text_cannot_be_scored():
    table = pa.table({"text": pa.array([None, LESSON], pa.string())})
    assert np.isnan(HeuristicsScorer().score(table)).all(axis=1).tolist() == [True, False]


def test_advertising_is_told_from_everything_else():
    rest = [scores_of(text)["advertisement"] for text in (LESSON, CODE, POEM, DIALOGUE, STATUTE)]
    assert scores_of(NOTICE)["advertisement"] < 1
    assert min(rest) > 4


def test_a_lesson_teaches_more_than_a_poem_or_an_advertisement():
    lesson, others = scores_of(LESSON), [scores_of(text)["educational"] for text in (POEM, NOTICE, DIGITS, REPEATED)]
    assert lesson["educational"] > max(others) + 0.5


def test_a_lesson_informs_more_than_a_poem_or_a_menu():
    lesson, others = scores_of(LESSON), [scores_of(text)["informational"] for text in (POEM, REPEATED)]
    assert lesson["informational"] > max(others) + 0.5


def test_junk_has_less_quality_than_every_honest_kind_of_text():
    honest = [scores_of(text)["quality"] for text in (LESSON, CODE, POEM, DIALOGUE, STATUTE)]
    junk = [scores_of(text)["quality"] for text in (DIGITS, REPEATED, FILLER)]
    assert max(junk) < min(honest)


@pytest.mark.parametrize("text", [CODE, POEM, DIALOGUE, STATUTE], ids=["code", "poem", "dialogue", "statute"])
def test_unusual_but_honest_text_is_not_punished_to_nothing(text):
    assert min(scores_of(text).values()) >= 1
    assert scores_of(text)["quality"] >= 2.5


def test_scores_have_no_cliffs():
    plain = LESSON.replace("Therefore", "So")
    before = None
    for calls in range(12):
        promotion = scores_of(plain + " Click here." * calls)["advertisement"]
        assert before is None or 0 <= before - promotion < 2
        before = promotion


PLANTED = [
    ("long enough", "Two words."),
    ("words not too long", " ".join(["antidisestablishmentarianism"] * 60)),
    ("few symbols", "# word ... word # word ... " * 20),
    ("not all bullets", "\n".join(f"- item number {i}" for i in range(30))),
    ("few cut-off lines", "\n".join(f"the story of day {i} went on and ..." for i in range(30))),
    ("alphabetic words", DIGITS),
    ("stop words present", "green red blue yellow purple orange " * 20),
    ("punctuated lines", "\n".join(f"menu entry {i}" for i in range(30))),
    ("lines not repeated", REPEATED),
    ("paragraphs not repeated", "A paragraph that comes again.\n\n" * 20),
    ("no dominant pair", "ha ho " * 80),
    ("phrases not repeated", "the cat sat on the mat and then the dog sat on it too " * 15),
    ("varied words", "well then " * 120),
    ("few digits", DIGITS),
    ("not shouted", NOTICE.upper()),
    ("no placeholder text", FILLER),
    ("little boilerplate", "We use cookies. Privacy policy. Terms of use. Please enable JavaScript. " * 4),
    ("few links", "see http://a.example/b and http://c.example/d or write to me@e.example " * 6),
    ("few braces", "a{b{c}d}e { f } " * 30),
    ("readable characters", "the caf\ufffd is closed and the na\ufffdve r\ufffdsum\ufffd is lost " * 5),
    ("no endless words", ("a" * 60 + " word ") * 20),
    ("function words", "gold silver copper iron nickel cobalt zinc tin lead mercury " * 6),
    ("not only short lines", "\n".join(["a short line."] * 3 + ["another one."] * 3 + ["the end."] * 4)),
    ("words not too short", "a b c d e f g h i j " * 10),
]


@pytest.mark.parametrize(("rule", "text"), PLANTED, ids=[name for name, _ in PLANTED])
def test_each_quality_rule_sees_the_fault_it_is_named_for(rule, text):
    assert explain(text)["quality"][rule] < 0.2
    assert explain(LESSON)["quality"][rule] > 0.9


def test_every_quality_rule_has_a_planted_fault():
    assert {name for name, _ in PLANTED} == {rule.name for rule in RULES if rule.metric == "quality"}


def test_each_promotion_rule_sees_promotion():
    said = explain(NOTICE)["advertisement"]
    assert {name for name, value in said.items() if value > 0.9} <= {"little boilerplate", "not shouted"}
    assert min(explain(LESSON)["advertisement"].values()) > 0.9


def test_explain_names_every_rule_of_every_dimension():
    told = explain(LESSON)
    assert tuple(told) == METRICS
    assert {(metric, name) for metric in told for name in told[metric]} == {(r.metric, r.name) for r in RULES}
    assert all(0 <= value <= 1 for subs in told.values() for value in subs.values())


def test_the_rules_and_the_statistics_match():
    assert {rule.statistic for rule in RULES} == set(statistics(LESSON))
    assert len({(rule.metric, rule.name) for rule in RULES}) == len(RULES)
    assert all(0 < rule.weight < 1 and rule.zero != rule.full for rule in RULES)


def test_the_document_tells_every_rule_as_it_is():
    page = (Path(__file__).parent.parent / "docs" / "QUALITY.md").read_text(encoding="utf-8")
    rows = {tuple(re.split(r"\s*\|\s*", line.strip("| \n"))) for line in page.splitlines() if line.startswith("|")}
    for rule in RULES:
        assert tuple(v if isinstance(v, str) else f"{v:g}" for v in rule) in rows, rule


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300))
def test_any_text_at_all_scores_within_bounds(text):
    if any("\ud800" <= character <= "\udfff" for character in text):
        return
    scores = HeuristicsScorer().score(pa.table({"text": [text]}))
    assert np.isnan(scores).all() or ((scores >= 0) & (scores <= 5)).all()


@pytest.mark.parametrize("unit", ["a", "!", ".", "@", "a@", "1", "\n", " ", "?", "A", "#", "a.", "é"])
def test_hostile_repetition_takes_linear_time(unit):
    assert HeuristicsScorer().score(pa.table({"text": [unit * 200_000]})).shape == (1, 4)
