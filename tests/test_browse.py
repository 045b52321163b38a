"""Clusters on the terminal: listed, sorted, shown with documents that cannot do anything to it."""

import json
import re

import pytest

from climb_engine.browse import SAMPLES, chosen, cluster, clusters, plain
from climb_engine.pipeline import Run
from climb_engine.types import ClimbError
from tests.conftest import planted_documents, write_jsonl
from tests.test_cli import climb  # noqa: F401

HOSTILE = (
    "\x1b]0;owned\x07\x1b[2J\x1b[31m[red]star[/red] [link=file:///etc/passwd]orbit[/link] \u202egalaxy\r\n\x9b1mcomet"
)
ROWS = [
    {"cluster": 0, "kept": True, "domain": "a", "documents": 5, "quality": 2.0},
    {"cluster": 1, "kept": False, "domain": "", "documents": 9, "quality": float("nan")},
    {"cluster": 2, "kept": True, "domain": "b", "documents": 7, "quality": 1.0},
]


def numbers(*how):
    return [row["cluster"] for row in chosen(ROWS, *how)]


def test_clusters_are_sorted_and_filtered_and_what_is_not_known_comes_last():
    assert numbers("documents", False, None, None) == [0, 2, 1]
    assert numbers("quality", False, None, None) == [2, 0, 1]
    assert numbers("quality", True, None, None) == [0, 2, 1]
    assert numbers("cluster", False, True, None) == [0, 2]
    assert numbers("cluster", False, False, None) == [1]
    assert numbers("cluster", False, None, "b") == [2]


@pytest.mark.parametrize(("how", "message"), [(("size", False, None, None), "there are cluster, kept"),
                                              (("cluster", False, None, "c"), "the domains are a, b")])  # fmt: skip
def test_an_unknown_column_or_domain_is_refused_with_those_there_are(how, message):
    with pytest.raises(ClimbError, match=message):
        numbers(*how)


def test_plain_text_is_one_short_line_without_control_characters():
    line = plain(HOSTILE)
    assert not re.search(r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\u200b-\u200f]", line)
    assert line.endswith("galaxy 1mcomet")
    assert plain("a" * 301) == "a" * 299 + "…"
    assert plain("a" * 300) == "a" * 300
    assert plain("\n" * 10_000 + "late").endswith("…")
    assert len(plain("word " * 100_000)) <= 300


@pytest.fixture(scope="module")
def hostile_run(tiny_config, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hostile")
    documents = planted_documents(per_topic=20, junk=6)
    for row in documents[::5]:
        row["text"] = HOSTILE + row["text"] + " padding" * 100
        row["source"] = "\x1b[5mblink[bold]"
    path = write_jsonl(folder / "docs.jsonl", documents)
    run = Run.create(folder / "runs" / "bad", tiny_config.with_values({"corpus.inputs": [str(path)]}))
    override = {"action": "move", "cluster": 1, "domain": "mine", "why": "a test"}
    run.configure(run.config.with_values({"domains.overrides": [override]}))
    run.run("domains")
    return run


@pytest.mark.network
def test_every_cluster_is_listed_with_its_decision(climb, hostile_run):  # noqa: F811
    runs = hostile_run.workspace.folder.parent
    code, out, _ = climb("clusters", "bad", "--json", runs=runs)
    rows = json.loads(out)
    assert code == 0
    assert [row["cluster"] for row in rows] == list(range(8))
    assert sum(row["documents"] for row in rows) == hostile_run.needed("corpus").facts["documents"]
    assert all(row["reason"] and row["kept"] == bool(row["domain"]) for row in rows)
    largest = json.loads(climb("clusters", "bad", "--sort", "documents", "--reverse", "--kept", "--json", runs=runs)[1])
    sizes = [row["documents"] for row in largest]
    assert sizes == sorted(sizes, reverse=True)
    assert all(row["kept"] for row in largest)


@pytest.mark.network
def test_samples_are_what_they_are_called(hostile_run):
    rows = clusters(hostile_run)
    number = max(rows, key=lambda row: row["documents"])["cluster"]
    found = cluster(hostile_run, number, 3)
    samples = found["samples"]
    assert tuple(samples) == SAMPLES
    near, far = ([document["distance"] for document in samples[kind]] for kind in ("central", "borderline"))
    assert near == sorted(near)
    assert far == sorted(far, reverse=True)
    assert near[-1] <= far[-1]
    assert sum(found["sources"].values()) == pytest.approx(1)
    ids = hostile_run.needed("clustering")
    clustering = [c for table in ids.tables(["cluster"]) for c in table["cluster"].to_pylist()]
    texts = [text for table in hostile_run.needed("corpus").tables(["text"]) for text in table["text"].to_pylist()]
    for kind in SAMPLES:
        assert len(samples[kind]) == 3
        for document in samples[kind]:
            assert clustering[document["id"]] == number
            assert texts[document["id"]] == document["text"]
    quality = [row for table in hostile_run.needed("quality").tables() for row in table.to_pylist()]
    score = [sum(row.values()) / len(row) for row in quality]
    members = sorted(score[i] for i, c in enumerate(clustering) if c == number)
    assert [score[document["id"]] for document in samples["worst"]] == pytest.approx(members[:3])


@pytest.mark.network
def test_a_hostile_document_does_not_reach_the_terminal(climb, hostile_run):  # noqa: F811
    runs = hostile_run.workspace.folder.parent
    seen = ""
    for number in range(8):
        code, out, err = climb("cluster", "bad", number, "--samples", 50, runs=runs)
        assert (code, err) == (0, "")
        assert max(len(line) for line in out.splitlines()) < 450
        seen += out
    seen += climb("clusters", "bad", runs=runs)[1]
    assert "]0;owned" in seen
    assert "[red]star[/red]" in seen  # as it is written, not as rich would colour it
    assert "mine" in seen
    assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]", seen)
    assert "decided by hand" in seen


@pytest.mark.network
def test_a_cluster_that_there_is_not_is_said(climb, hostile_run):  # noqa: F811
    code, _, err = climb("cluster", "bad", 99, runs=hostile_run.workspace.folder.parent)
    assert code == 3
    assert "from 0 to 7" in err
