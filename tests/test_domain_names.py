"""Names of domains from a language model, against a server on this machine that speaks the protocol."""

import json

import numpy as np
import pytest

from climb_engine import curation
from climb_engine.browse import clusters
from climb_engine.curate.naming import LONGEST_NAME, proposed, unused_name
from climb_engine.domain_names import START_CHARS, SYSTEM, name_domains, questions
from climb_engine.types import ClimbError
from tests.test_annotator import KEY, server  # noqa: F401
from tests.test_cli import climb  # noqa: F401
from tests.test_curation import addresses, labels
from tests.test_domains import rename


@pytest.mark.parametrize(
    ("reply", "name"),
    [
        ("organic-chemistry", "organic-chemistry"),
        ("  Organic Chemistry.\n", "organic-chemistry"),
        ("Name: court-rulings", "court-rulings"),
        ("Here is a name:\n\nsea-travel\n\nThis name says what most of these documents are about.", "sea-travel"),
        ("<think>They want \"law\". Or 'court'?</think>\nCourt & Law", "court-law"),
        ("<think>It goes on and on", ""),
        ("Sure! I would say **night-sky**.", "night-sky"),
        ('{"name": "night sky"}', "night-sky"),
        ("Café crème", "cafe-creme"),
        ("天文学", ""),
        ("", ""),
        ("I am sorry, but there is nothing that these documents have in common.", ""),
        ("x" * 80, ""),
    ],
)
def test_the_name_in_a_reply_is_found_or_there_is_none(reply, name):
    assert proposed(reply) == name


def test_a_name_that_is_taken_gets_a_word_of_the_domains_and_then_a_number():
    assert unused_name("law", ["court"], {"sea"}) == "law"
    assert unused_name("law", ["law", "星", "Court", "judge"], {"law"}) == "law-court"
    assert unused_name("law", ["court", "judge"], {"law", "law-court"}) == "law-judge"
    assert unused_name("law", [], {"law", "law-2"}) == "law-3"
    longest = unused_name("x" * LONGEST_NAME, ["y"], {"x" * LONGEST_NAME})
    assert len(longest) <= LONGEST_NAME


# --- a run ------------------------------------------------------------------------------------------------------------

pytestmark = pytest.mark.network  # the static embedder comes out of a registry package


@pytest.fixture
def run(own_run, server):  # noqa: F811
    values = {"annotator_url": server.url, "annotator_model": "namer-7b", "annotator_key": "CLIMB_TEST_KEY"}
    own_run.configure(own_run.config.with_values({f"quality.{knob}": value for knob, value in values.items()}))
    return own_run


def asked(run, **options):
    return name_domains(run, questions(run, **options), pause=0.01)


def test_domains_are_named_by_the_model_and_nothing_runs_again(run, server):  # noqa: F811
    before, plan, log = run.domains, addresses(run), len(list(run.log()))
    wanted = ["first-one", "Second One!", "the *third-one*", "fourth-one"]
    server.plan["*"] = list(wanted)
    found = asked(run)
    assert run.domains == ("first-one", "second-one", "third-one", "fourth-one")
    assert [(one.domain, one.name, one.note) for one in found] == [
        (b, a, "") for b, a in zip(before, run.domains, strict=True)
    ]
    assert addresses(run) == plan
    assert {state for stage, (_, state) in plan.items() if stage != "projection"} == {"done"}
    assert len(list(run.log())) == log > 0
    assert all(trial.result is not None for trial in run.open_search().trials)
    assert {(one.action, one.who) for one in run.config.domains.overrides} == {("rename", "namer-7b")}
    for _ in wanted:
        curation.undo(run)
    assert run.domains == before


def test_what_is_sent_are_keywords_and_the_beginnings_of_central_documents(run, server):  # noqa: F811
    run.configure(run.config.with_values({"quality.annotator_chars": 150}))
    first = questions(run)[0]
    server.plan["*"] = [f"name-{i}" for i in range(4)]
    asked(run)
    assert server.seen[0] == first.text
    assert server.bodies[0]["messages"][0] == {"role": "system", "content": SYSTEM}
    assert server.bodies[0]["model"] == "namer-7b"
    assert server.headers[0]["Authorization"] == f"Bearer {KEY}"
    mine = [row for row in clusters(run) if row["domain"] == "name-0"]
    assert set(first.keywords) <= {word for row in mine for word in row["keywords"]}
    assert first.text.startswith(f"Keywords: {mine[0]['keywords'][0]}") or len(mine) > 1
    largest = max(mine, key=lambda row: row["documents"])["cluster"]
    distances = np.concatenate([table["distance"].to_numpy() for table in run.clusters.tables(["distance"])])
    nearest = np.where(labels(run.clusters) == largest, distances, np.inf).argmin()
    texts = [text for table in run.needed("corpus").tables(["text"]) for text in table["text"].to_pylist()]
    assert first.text.split("Document 1:\n")[1].split("\n\nDocument 2:")[0] == texts[nearest][:150]
    assert first.text.count("\nDocument ") == 3
    assert START_CHARS > 150


def test_an_answer_that_is_taken_is_repaired_and_one_that_is_none_is_passed_over_with_a_word(run, server):  # noqa: F811
    before = run.domains
    server.plan["*"] = [before[3], before[3], "天文学", "all"]
    found = asked(run)
    first, second = found[0], found[1]
    assert first.name.startswith(f"{before[3]}-")
    assert second.name.startswith(f"{before[3]}-")
    assert first.note == second.note == f"{before[3]} is taken"
    assert (found[2].name, found[2].note) == ("", "no name in the answer '天文学'")
    assert found[3].name == ""
    assert '"all"' in found[3].note
    assert run.domains == (first.name, second.name, *before[2:])
    assert len(set(run.domains)) == 4


def test_a_domain_whose_documents_are_refused_stays_and_the_rest_goes_on(run, server):  # noqa: F811
    before = run.domains
    server.plan["*"] = [400, "one", before[2], "two"]
    found = asked(run)
    assert "refuses its documents: HTTP 400" in found[0].note
    assert KEY not in found[0].note
    assert found[2].note == "the model would call it so too"
    assert run.domains == (before[0], "one", before[2], "two")


def test_an_endpoint_that_gives_up_leaves_the_names_that_came_and_the_rest_is_asked_next(run, server):  # noqa: F811
    before = run.domains
    server.plan["*"] = ["one", 503, "two", 401]
    with pytest.raises(ClimbError, match="turns the key down"):
        asked(run)
    assert run.domains == ("one", "two", *before[2:])
    server.plan["*"] = ["three", "four"]
    assert [one.domain for one in asked(run)] == list(before[2:])
    assert run.domains == ("one", "two", "three", "four")


def test_a_name_that_somebody_gave_is_left_alone_unless_asked_again(run, server):  # noqa: F811
    curation.add(run, rename(run.domains[1], "mine"))
    assert "mine" not in [question.domain for question in questions(run)]
    server.plan["*"] = ["a", "b", "c", "d"]
    asked(run, again=True)
    assert run.domains == ("a", "b", "c", "d")
    assert questions(run) == ()


def test_without_an_endpoint_and_above_the_budget_nothing_is_asked(run, server):  # noqa: F811
    run.configure(run.config.with_values({"quality.annotator_price": 1e6, "quality.annotator_budget": 1.0}))
    with pytest.raises(ClimbError, match=r"asking about 4 domains would cost about .* above quality.annotator_budget"):
        asked(run)
    run.configure(run.config.with_values({"quality.annotator_model": ""}))
    with pytest.raises(ClimbError, match=r"quality.annotator_model is not set; name the endpoint"):
        questions(run)
    assert server.seen == []


def test_names_from_the_command_line(climb, run, server):  # noqa: F811
    runs, before, config = run.workspace.folder.parent, run.domains, run.workspace.config_path.read_bytes()
    code, out, err = climb("name", "tiny", "--dry-run", runs=runs)
    assert code == 0, err
    assert f"4 requests to namer-7b at {server.url}, about " in out
    assert all(f"{name}: Keywords: " in out for name in before)
    told = json.loads(climb("name", "tiny", "--dry-run", "--json", runs=runs)[1])
    characters = sum(len(SYSTEM) + len(one["text"]) for one in told["questions"])
    assert told["tokens"] == characters // 4 + 4 * run.config.quality.annotator_answer_tokens
    assert server.seen == []
    assert run.workspace.config_path.read_bytes() == config
    server.plan["*"] = ["one", before[0], "...", "three\x1b[31m"]
    out = climb("name", "tiny", runs=runs)[1]
    assert f"{before[0]} -> one" in out
    assert f"{before[1]} -> {before[0]}-" in out
    assert f"({before[0]} is taken)" in out
    assert f"{before[2]} stays: no name in the answer '...'" in out
    assert "3 of 4 domains renamed" in out
    assert "\x1b" not in out
    server.plan["*"] = ["two"]
    assert json.loads(climb("name", "tiny", "--json", runs=runs)[1]) == [
        {"domain": before[2], "name": "two", "note": ""}
    ]
    assert "0 of 4 domains renamed; all were renamed before, --again" in climb("name", "tiny", runs=runs)[1]
    assert len(server.seen) == 5
