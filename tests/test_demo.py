import bz2
import gzip
import io
import json
import re
import zipfile
from collections import Counter

import pytest
import zstandard

from climb_engine import demo
from climb_engine.demo import LONGEST, PARSERS, SHORTEST, Row, Source, build_corpus, load_sources
from climb_engine.packages import PACKAGES
from climb_engine.types import ClimbError

WORDS = "the quick brown fox jumps over the lazy dog. "


def source(kind="plain", **changed):
    return Source(**{"name": "s", "package": "p", "prefix": "", "kind": kind, "licence": "l", "cap": 9, **changed})


def records(kind, text, **changed):
    return list(PARSERS[kind](text, source(kind, **changed)))


def rows_of(path):
    text = zstandard.ZstdDecompressor().stream_reader(path.read_bytes()).read().decode()
    return [json.loads(line) for line in text.split("\n")[:-1]]


# Long texts to documents


def test_a_short_text_stays_as_it_is():
    assert demo.split("one\n\ntwo") == ["one\n\ntwo"]


def test_a_long_text_is_split_between_paragraphs_and_nothing_is_lost():
    paragraphs = [f"Paragraph {i}. " + WORDS * (2 + i % 5) for i in range(40)]
    text = "\n\n".join(paragraphs)
    pieces = demo.split(text)
    assert "\n\n".join(pieces) == text
    assert all(piece.startswith("Paragraph") for piece in pieces)
    assert max(map(len, pieces)) <= LONGEST


def test_a_paragraph_too_long_is_split_between_sentences():
    pieces = demo.split(WORDS * 200)
    assert len(pieces) > 4
    assert all(piece.startswith("the quick") and piece.rstrip().endswith("dog.") for piece in pieces)


def test_text_without_any_boundary_is_cut_at_the_longest_length():
    assert [len(piece) for piece in demo.split("x" * (2 * LONGEST + 5))] == [LONGEST, LONGEST, 5]


def test_code_is_split_before_definitions_and_keeps_its_indentation():
    function = "def f{}():\n    if True:\n\n        return 1\n" + "    # why\n" * 60
    text = "\n".join(function.format(i) for i in range(9))
    pieces = demo.split(text)
    assert "\n".join(pieces) == text
    assert all(re.match(r"def f\d\(\):\n    if True:\n\n        return 1", piece) for piece in pieces)


def test_short_records_are_joined_until_they_are_enough():
    joined = list(demo.pack(["a" * 50] * 7, "\n", enough=100))
    assert [text.count("\n") + 1 for text in joined] == [2, 2, 2, 1]


def test_a_cap_takes_documents_from_everywhere():
    assert demo.evenly(list("abcdefgh"), 4) == list("aceg")
    assert demo.evenly(["a"], 4) == ["a"]


def test_the_planted_faults_are_copies_and_empty_texts():
    rows = [Row(str(i), "s", "l") for i in range(1200)]
    planted = demo.plant(rows)
    texts = Counter(row.text for row in planted)
    assert texts.pop("") == 3
    assert [text for text, n in texts.items() if n > 1] == [str(i) for i in range(0, 1200, 150)]


def test_the_order_is_mixed_and_always_the_same():
    rows = [Row(str(i), "s", "l") for i in range(50)]
    assert demo.shuffled(rows) == demo.shuffled(list(rows)) != rows
    assert set(demo.shuffled(rows)) == set(rows)


# Parsers


def test_plain_text_loses_its_front_matter_only():
    assert records("plain", "---\nkey: mit\n---\n\nPermission\n---\nis granted") == ["\nPermission\n---\nis granted"]
    assert records("plain", "No block\n---\nhere") == ["No block\n---\nhere"]


def test_table_rows_are_chosen_by_column_and_unescaped():
    text = 'kind,text\nplot,"a &amp; b, c"\nquote,no\nplot,d\n'
    assert records("table", text, column="text", where="kind=plot") == ["a & b, c", "d"]


def test_a_tab_separated_table_is_recognised_by_its_header():
    assert records("table", "Title\tContent\nTale\tOnce, long ago\n", column="Content") == ["Once, long ago"]


def test_the_quoted_text_of_a_module_becomes_paragraphs():
    assert records("quoted", 'x = f("""one\ntwo""", {1: 2})') == ["one\n\ntwo"]


def test_code_begins_after_the_leading_comment_and_docstring():
    assert records("code", '# Copyright\n# all\n"""Doc."""\nimport os\n# why\n') == ["import os\n# why\n"]


def test_docstrings_lose_their_indentation():
    text = 'def f():\n    """Add.\n\n    Examples\n        more\n    """\n    return 1\n\nS = "no"\n'
    assert records("docstrings", text) == ["Add.\n\nExamples\n    more"]


def test_code_between_one_line_docstrings_is_not_taken_for_one():
    text = 'def f():\n    """One."""\n    return 1\n\ndef g():\n    """Two."""\n'
    assert records("docstrings", text) == ["One.", "Two."]


def test_speeches_of_every_party_are_taken():
    parties = [{"name": "a", "speeches": ["one\ntwo"]}, {"name": "b", "speeches": ["three"]}]
    assert records("speeches", json.dumps(parties)) == ["one\n\ntwo", "three"]


def test_cloud_documentation_is_words_without_markup():
    described = {"documentation": "<p>Deletes <code>x</code> &amp; y.</p><ul><li> <p>One</p></li><li>Two</li></ul>"}
    service = {"documentation": "<p>A service.</p>", "operations": {"Delete": described, "Silent": {}}}
    assert records("botocore", json.dumps(service)) == ["A service.", "Deletes x & y.\n\nOne\n\nTwo", ""]


def test_a_country_names_its_chapters_and_fields():
    country = {
        "Government": {"Country name": {"conventional short form": {"text": "Utopia"}}},
        "People": {"Water": {"improved: urban": {"text": "<b>urban:</b> 5%"}, "note": "<b>note:</b> a guess"}},
    }
    government, people = records("factbook", json.dumps(country))
    assert government == "Utopia: Government\n\nCountry name: conventional short form: Utopia"
    assert people == "Utopia: People\n\nWater: improved: urban: 5%; note: a guess"


def test_prose_is_tidied():
    assert demo.tidy(" a\u00a0 b\u200b \r\n\r\n\n\nc\u0301a ") == "a b\n\n\u0107a"


def test_members_are_taken_out_of_the_archives_they_are_in():
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("t.csv", "é\r\nb")
    packed = {"t.gz": gzip.compress("é\nb".encode()), "t.bz2": bz2.compress("é\nb".encode()), "t.zip": inner.getvalue()}
    assert {demo.unpacked(name, content) for name, content in packed.items()} == {"é\nb"}


# The list of sources and the corpus itself


def test_the_listed_sources_can_be_parsed_and_their_packages_are_pinned():
    sources = load_sources(demo.DATA / "sources.toml")
    assert all(s.kind in PARSERS and s.package in PACKAGES for s in sources)
    assert all(re.compile(pattern) for s in sources for pattern in (s.keep, s.drop, s.cut))


def test_a_missing_list_of_sources_says_what_to_do(tmp_path, monkeypatch):
    monkeypatch.setattr(demo, "DATA", tmp_path)
    with pytest.raises(ClimbError, match=r"sources\.toml: no such file; .*clone it"):
        build_corpus(tmp_path / "out")


def test_a_finished_corpus_is_left_alone(tmp_path):
    finished = tmp_path / "documents.jsonl.zst"
    finished.write_bytes(b"finished")
    assert build_corpus(tmp_path) == finished
    assert finished.read_bytes() == b"finished"


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    events = []
    return build_corpus(tmp_path_factory.mktemp("demo"), events.append), events


@pytest.mark.network
def test_the_corpus_has_many_sources_and_none_dominates(built):
    rows = rows_of(built[0])
    counts = Counter(row["source"] for row in rows)
    junk = {name for name in counts if name.startswith("junk-")}
    assert 12_000 <= len(rows) <= 20_000
    assert len(counts) - len(junk) >= 10
    assert len(junk) >= 3
    assert max(counts.values()) < 0.15 * len(rows)
    assert 0.08 <= sum(counts[name] for name in junk) / len(rows) <= 0.12
    assert all(set(row) == {"text", "source", "licence"} and row["licence"] for row in rows)


@pytest.mark.network
def test_the_only_texts_out_of_bounds_are_the_planted_empty_ones(built):
    texts = Counter(row["text"] for row in rows_of(built[0]))
    total = texts.total()
    empty = texts.pop("")
    duplicates = texts.total() - len(texts)
    assert min(map(len, texts)) >= SHORTEST
    assert max(map(len, texts)) <= LONGEST
    assert 0.005 <= (empty + duplicates) / total <= 0.02
    assert empty and duplicates
    assert len({text.strip() for text in texts}) == len(texts)


@pytest.mark.network
def test_clean_sources_hold_no_markup_and_no_broken_characters(built):
    prose = {"bible", "cloud-docs", "country-facts", "film-plots", "folk-tales", "news", "parliament"}
    broken = re.compile(r"</?(p|b|br|li|ul|strong|em)\b[^>]*>|&(amp|lt|nbsp|quot);|\ufffd|â€|[\x00-\x08\x7f-\x9f]")
    assert [row["text"] for row in rows_of(built[0]) if row["source"] in prose and broken.search(row["text"])] == []


@pytest.mark.network
def test_a_second_build_gives_the_same_bytes(built, tmp_path):
    assert build_corpus(tmp_path).read_bytes() == built[0].read_bytes()
    assert [path.name for path in tmp_path.iterdir()] == ["documents.jsonl.zst"]


@pytest.mark.network
def test_progress_rises_and_ends_complete(built):
    path, events = built
    done = [event.done for event in events]
    assert {(event.stage, event.unit) for event in events} == {("demo corpus", "documents")}
    assert done == sorted(done)
    assert all(event.done <= event.total for event in events)
    assert events[-1].done == events[-1].total == len(rows_of(path))
