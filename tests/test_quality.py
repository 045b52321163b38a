"""Quality scores: the contract of every scorer, what the columns refuse, what the rules see."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from climb_engine.config import QualityConfig
from climb_engine.curate.quality import (
    RULES,
    ColumnScorer,
    HeuristicsScorer,
    explain,
    load_scorers,
    score_documents,
    statistics,
)
from climb_engine.types import METRICS, ClimbError

LESSON = """What is photosynthesis?

Photosynthesis is a process in which plants turn light into chemical energy. It is called a redox reaction, because
electrons move from water to carbon dioxide. For example, a leaf that receives light for 12 hours produces about
5 grams of sugar. Therefore the concentration of oxygen around it rises, as experiments in 1779 by Jan Ingenhousz
showed. To understand why, consider the two steps of the process: the light reactions and the Calvin cycle.
"""
NOTICE = """BUY NOW!!! Limited time offer: save up to 70% off our amazing watches, only $19.99!
Click here to order now and get a FREE gift! Risk free, money back, satisfaction guaranteed!
Visit our shop at http://shop.example/deal and http://shop.example/win. Don't miss it!!!
Subscribe to our newsletter for more exclusive discount coupons! Call now, hurry! $5 bonus for the winner!
"""
CODE = '''def mean(values: list[float]) -> float:
    """Arithmetic mean of a list that is not empty."""
    if not values:
        raise ValueError("mean of nothing")
    total = 0.0
    for value in values:
        total += value
    return total / len(values)


class Window:
    def __init__(self, size: int) -> None:
        self.size, self.seen = size, {}

    def push(self, key: str, value: float) -> None:
        self.seen.setdefault(key, []).append(value)
'''
POEM = """The winter river keeps its grey
and says what winter rivers say,
a word for every stone it knows,
a longer one for where it goes,

and I, who came to hear it speak,
have counted stones for half a week
and found no letter that would stay
the winter river's only way.
"""
DIALOGUE = """User: I would like to book a table for two in Bristol.
Assistant: Of course. What time suits you?
User: At half past seven, please, and somewhere quiet.
Assistant: The Old Mill has a table then. Shall I reserve it?
User: Yes, that sounds good. Is there parking nearby?
Assistant: There is a car park across the road.
"""
STATUTE = """(a) A tenant who receives a notice under this section may, within thirty days of it, ask for a hearing.
(b) The Mayor shall hold the hearing within ten days of the request, and shall give notice of it to the tenant.
(c) A person who violates subsection (a) or subsection (b) of this section is liable for a fine of not more than $300.
(d) For the purposes of this section, the term "tenant" means a person who occupies a rental unit under a lease.
"""
DIGITS = "\n".join(f"{i * 7919 % 10007} {i * 104729 % 99991} {i * 31 % 977} 0.00{i}" for i in range(1, 40))
REPEATED = "Home | About | Contact\nAll rights reserved.\n" * 30
FILLER = "Lorem ipsum dolor sit amet, consectetur adipiscing elit, sed do eiusmod tempor incididunt ut labore. " * 3
TEXTS = [
    LESSON,
    NOTICE,
    CODE,
    POEM,
    DIALOGUE,
    STATUTE,
    DIGITS,
    REPEATED,
    FILLER,
    "",
    "   \n",
    "一二三四五六七八九十",
    "x",
]


def corpus(texts):
    ratings = [None if i % 4 == 3 else float(i % 6) for i in range(len(texts))]
    stars = pa.array([i % 6 for i in range(len(texts))], pa.int8())
    return pa.table({"text": texts, "source": ["made"] * len(texts), "rating": ratings, "stars": stars})


def scores_of(text):
    values = HeuristicsScorer().score(corpus([text]))[0]
    return dict(zip(METRICS, values.tolist(), strict=True))


SCORERS = {
    "heuristics": HeuristicsScorer,
    "column": lambda: ColumnScorer({"advertisement": "stars", "quality": "rating"}),
}


@pytest.mark.parametrize("name", SCORERS)
class TestEveryScorer:
    """The contract of Scorer."""

    def test_it_gives_one_float32_per_document_and_metric(self, name):
        scorer = SCORERS[name]()
        scores = scorer.score(corpus(TEXTS))
        assert scores.shape == (len(TEXTS), len(scorer.metrics))
        assert scores.dtype == np.float32

    def test_its_metrics_are_known_and_different(self, name):
        metrics = SCORERS[name]().metrics
        assert len(set(metrics)) == len(metrics) > 0
        assert set(metrics) <= set(METRICS)

    def test_scores_run_from_0_to_5_or_are_nan(self, name):
        scores = SCORERS[name]().score(corpus(TEXTS))
        said = scores[~np.isnan(scores)]
        assert said.size
        assert said.min() >= 0
        assert said.max() <= 5

    def test_a_document_scores_alone_as_it_does_in_a_batch(self, name):
        documents = corpus(TEXTS)
        alone = [SCORERS[name]().score(documents.slice(i, 1))[0] for i in range(len(TEXTS))]
        np.testing.assert_array_equal(np.array(alone), SCORERS[name]().score(documents))

    def test_the_order_of_documents_does_not_matter(self, name):
        documents, order = corpus(TEXTS), np.random.default_rng(0).permutation(len(TEXTS))
        shuffled = SCORERS[name]().score(documents.take(pa.array(order)))
        np.testing.assert_array_equal(shuffled, SCORERS[name]().score(documents)[order])

    def test_an_empty_part_gives_no_rows(self, name):
        scorer = SCORERS[name]()
        assert scorer.score(corpus(TEXTS).slice(0, 0)).shape == (0, len(scorer.metrics))

    def test_a_table_in_chunks_scores_as_one_piece(self, name):
        documents = corpus(TEXTS)
        pieces = pa.concat_tables([documents.slice(0, 5), documents.slice(5)])
        np.testing.assert_array_equal(SCORERS[name]().score(pieces), SCORERS[name]().score(documents))


def test_the_config_names_the_scorers_in_order():
    scorers = load_scorers(QualityConfig(scorers=("heuristics", "column"), columns={"quality": "rating"}))
    assert [type(scorer) for scorer in scorers] == [HeuristicsScorer, ColumnScorer]


def test_the_table_has_the_given_metrics_in_the_papers_order_as_float32():
    table = score_documents(corpus(TEXTS), [ColumnScorer({"advertisement": "stars", "quality": "rating"})])
    assert table.column_names == ["quality", "advertisement"]
    assert set(table.schema.types) == {pa.float32()}


def test_a_later_scorer_wins_only_where_it_can_say():
    documents = corpus([LESSON, POEM, CODE, DIALOGUE])
    heuristics, columns = HeuristicsScorer(), ColumnScorer({"quality": "rating"})
    both = score_documents(documents, [heuristics, columns])
    first = heuristics.score(documents)[:, METRICS.index("quality")]
    assert both["quality"].to_numpy()[:3].tolist() == [0.0, 1.0, 2.0]
    assert both["quality"].to_numpy()[3] == first[3]  # its rating is null
    reverse = score_documents(documents, [columns, heuristics])
    np.testing.assert_array_equal(reverse["quality"].to_numpy(), first)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (pa.table({"text": ["a"], "rank": [1.0]}), r"no column 'stars'.*corpus\.keep_columns.*text, rank"),
        (pa.table({"text": ["a"], "stars": ["five"]}), "holds string, not numbers"),
        (pa.table({"text": ["a"], "stars": [True]}), "holds bool, not numbers"),
        (pa.table({"text": ["a", "b"], "stars": [-1.0, 80.0]}), "runs from -1 to 80; rescale it to 0 to 5"),
        (pa.table({"text": ["a"], "stars": [float("inf")]}), "rescale"),
    ],
)
def test_a_column_that_cannot_be_a_score_is_refused_with_the_remedy(table, message):
    with pytest.raises(ClimbError, match=message):
        ColumnScorer({"quality": "stars"}).score(table)


def test_nulls_and_nans_of_a_column_are_scores_that_cannot_be_said():
    table = pa.table({"text": ["a", "b", "c"], "stars": [5.0, None, float("nan")]})
    np.testing.assert_array_equal(ColumnScorer({"quality": "stars"}).score(table)[:, 0], [5, np.nan, np.nan])
    nothing = pa.table({"text": ["a"], "stars": pa.nulls(1)})
    assert np.isnan(ColumnScorer({"quality": "stars"}).score(nothing)).all()


def test_decimals_are_numbers():
    table = pa.table({"text": ["a"], "stars": pa.array([4], pa.decimal128(5, 2))})
    assert ColumnScorer({"quality": "stars"}).score(table)[0, 0] == 4


def test_a_column_for_an_unknown_metric_is_refused_with_the_nearest():
    with pytest.raises(ClimbError, match="'qualty'; did you mean 'quality'"):
        ColumnScorer({"qualty": "stars"})


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
