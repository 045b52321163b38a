"""Rating a run: suggestions, the file and its digests, the sheet, the questions on a terminal, the annotator."""

import csv
import io
import json
import sys
from dataclasses import replace

import numpy as np
import pytest

from climb_engine import rating, rescoring
from climb_engine.curate.head import FEWEST
from climb_engine.curate.ratings import Rating, add_ratings, digest_text, read_ratings
from climb_engine.curation import decided
from climb_engine.pipeline import Run
from climb_engine.rated import collected, ratings_file, standing
from climb_engine.types import METRICS, ClimbError
from tests.conftest import planted_documents, write_jsonl
from tests.test_annotator import server  # noqa: F401
from tests.test_cli import climb  # noqa: F401


def corpus_of(run):
    """The run's documents: sources and digests by number."""
    tables = [table.to_pydict() for table in run.needed("corpus").tables(["source", "digest"])]
    return [[value for table in tables for value in table[column]] for column in ("source", "digest")]


def judged(run, ids):
    """Advertisement as a careful rater would have it."""
    sources, _ = corpus_of(run)
    return [Rating(int(i), "advertisement", 0 if sources[i] == "junk" else 5) for i in ids]


# --- suggestions ----------------------------------------------------------------------------------------------------


def test_suggestions_are_new_documents_out_of_all_parts_with_what_a_rater_wants_to_see(own_run):
    rating.rate(own_run, judged(own_run, range(0, 300, 2)))
    found = rating.suggestions(own_run, 40)
    ids = [document["id"] for document in found]
    sources, digests = corpus_of(own_run)
    assert len(set(ids)) == 40
    assert not set(ids) & set(range(0, 300, 2))
    assert len({i // 100 for i in ids}) > 2, "from several parts"
    clusters = np.concatenate([t["cluster"].to_numpy() for t in own_run.needed("clustering").tables(["cluster"])])
    for document in found:
        i = document["id"]
        assert (document["source"], document["digest"], document["cluster"]) == (sources[i], digests[i], clusters[i])
        assert document["text"]
    assert found == rating.suggestions(own_run, 40)
    assert not set(ids) & {document["id"] for document in rating.suggestions(own_run, 40, without=ids)}


def test_suggestions_need_embeddings_and_nothing_after_them(tiny_config, tmp_path):
    run = Run.create(tmp_path / "runs" / "early", tiny_config)
    with pytest.raises(ClimbError, match="is not there yet; 'climb run early' makes it"):
        rating.suggestions(run)
    run.run("embedding")
    assert rating.suggestions(run, 3)[0]["cluster"] is None


# --- the run's ratings ----------------------------------------------------------------------------------------------


def test_ratings_are_kept_in_the_run_and_change_no_score_before_that_is_asked_for(own_run):
    before, search = own_run.address("quality"), own_run.search_digest
    taken = rating.rate(own_run, judged(own_run, range(120)))
    assert taken.path == own_run.workspace.folder / "ratings.csv"
    run = Run(own_run.workspace.folder)
    assert (run.config, run.address("quality"), run.search_digest) == (own_run.config, before, search)
    found = standing(run, collected(run))
    assert (found.given, found.in_use, found.used, found.behind) == ({"advertisement": 120}, False, 0, 120)
    rescoring.use(run)
    assert Run(own_run.workspace.folder).config.quality.scorers == ("heuristics", "ratings")
    sources, _ = corpus_of(run)
    scores = np.concatenate([table["advertisement"].to_numpy() for table in run.run("quality").tables()])
    junk = np.array(sources) == "junk"
    assert scores[junk].max() < 2 < scores[~junk].min()


def test_ratings_given_while_they_are_in_use_count_when_the_scores_are_refreshed(own_run):
    rating.rate(own_run, judged(own_run, range(60)))
    rescoring.use(own_run)
    first = own_run.run("quality").digest
    rating.rate(own_run, [*judged(own_run, range(60, 62)), Rating(0, "advertisement", 2.5)])
    assert Run(own_run.workspace.folder).artifact("quality").digest == first
    found = standing(own_run, collected(own_run))
    assert (found.total, found.used, found.behind) == (62, 60, 3)
    rescoring.use(own_run)
    assert own_run.artifact("quality") is None
    assert own_run.run("quality").digest != first
    assert standing(own_run, collected(own_run)).behind == 0


def test_the_way_back_from_the_ratings_and_to_them_again_makes_nothing_anew(own_run):
    before = own_run.config
    rating.rate(own_run, judged(own_run, range(60)))
    rescoring.use(own_run)
    scored = own_run.run("quality").digest
    rescoring.unuse(own_run)
    assert own_run.config == before
    assert own_run.artifact("trunk")
    assert len(collected(own_run)) == 60
    rescoring.use(own_run)
    assert own_run.artifact("quality").digest == scored


def test_what_scoring_by_the_ratings_would_change_is_what_it_changes(own_run):
    rating.rate(own_run, [replace(one, rating=5 - one.rating) for one in judged(own_run, range(0, 300, 2))])
    files = sorted(own_run.workspace.folder.rglob("*"))
    seen = rescoring.preview_use(own_run)
    assert sorted(own_run.workspace.folder.rglob("*")) == files
    assert "trunk" in {stage.stage for stage in seen.again}
    assert seen.lost_trials == len([trial for trial in own_run.open_search().trials if trial.result])
    before = decided(own_run)
    rescoring.use(own_run)
    own_run.run("domains")
    after = decided(own_run)
    pairs = zip(before.decisions, after.decisions, strict=True)
    names = [
        [
            made.names[one.domain] if one.domain >= 0 else "pruned"
            for made, one in zip((before, after), pair, strict=True)
        ]
        for pair in pairs
    ]
    assert {i: pair for i, pair in enumerate(names) if pair[0] != pair[1]} == {
        one.cluster: [one.before, one.after] for one in seen.changes
    }
    assert seen.changes
    assert seen.domains_after == after.names
    assert seen.documents_after == own_run.needed("domains").facts["kept_documents"]
    back = rescoring.preview_unuse(own_run)
    assert [(one.cluster, one.after) for one in back.changes] == [(one.cluster, one.before) for one in seen.changes]
    assert not back.again


def test_ratings_that_say_what_the_scores_say_cost_no_search(own_run):
    quality = np.concatenate([table["quality"].to_numpy() for table in own_run.needed("quality").tables()])
    assert "quality" not in own_run.config.domains.thresholds  # so that nothing is decided by it
    rating.rate(own_run, [Rating(i, "quality", round(float(quality[i]), 1)) for i in range(0, 300, 4)])
    seen = rescoring.preview_use(own_run)
    assert [stage.stage for stage in seen.again] == ["quality", "domains"]
    assert (seen.changes, seen.lost_trials) == ((), 0)


def test_too_few_ratings_are_not_scored_by(own_run):
    rating.rate(own_run, judged(own_run, range(FEWEST - 1)))
    for act in (rescoring.use, rescoring.preview_use):
        with pytest.raises(ClimbError, match=rf"too few ratings to score by \({FEWEST - 1} of advertisement\)"):
            act(own_run)
    assert Run(own_run.workspace.folder).config.quality.scorers == ("heuristics",)


def test_the_ratings_cannot_be_taken_away_where_nothing_else_scores(own_run):
    rating.rate(own_run, judged(own_run, range(40)))
    rescoring.use(own_run)
    own_run.configure(own_run.config.with_values({"quality.scorers": ["ratings"]}))
    with pytest.raises(ClimbError, match="the only scorer"):
        rescoring.unuse(own_run)


def test_what_would_leave_nothing_is_said_before_it_is_done(own_run):
    rating.rate(own_run, [Rating(i, "advertisement", (i % 2) / 4) for i in range(40)])
    with pytest.raises(ClimbError, match="with these scores, domains: all 8 clusters are pruned"):
        rescoring.preview_use(own_run)


def test_a_file_of_ones_own_stays_as_it_is_and_counts_with_the_ratings_given_since(own_run, tmp_path):
    path, rows = tmp_path / "theirs.csv", judged(own_run, range(30))
    add_ratings(path, rows)
    content = path.read_bytes()
    own_run.configure(
        own_run.config.with_values({"quality.ratings": str(path), "quality.scorers": ["heuristics", "ratings"]})
    )
    first = own_run.address("quality")
    rating.rate(own_run, judged(own_run, [7, 30]))
    assert path.read_bytes() == content
    assert Run(own_run.workspace.folder).address("quality") == first
    found = standing(own_run, collected(own_run))
    assert (found.used, found.behind) == (30, 2)  # one has a digest now
    rescoring.use(own_run)
    assert len({row.id for row in collected(own_run)}) == 31
    assert path.read_bytes() == content


def test_scores_from_the_file_that_is_added_to_are_made_from_a_copy_from_then_on(own_run):
    """As runs have it that switched the ratings on before there were copies."""
    rating.rate(own_run, judged(own_run, range(40)))
    live = str(own_run.workspace.folder / "ratings.csv")
    knobs = {"quality.ratings": live, "quality.scorers": ["heuristics", "ratings"]}
    own_run.configure(own_run.config.with_values(knobs))
    first = own_run.address("quality")
    rating.rate(own_run, judged(own_run, range(40, 50)))
    assert Run(own_run.workspace.folder).address("quality") == first
    found = standing(own_run, collected(own_run))
    assert (found.used, found.behind) == (40, 10)


def test_documents_are_rated_though_the_configured_file_is_not_there_yet(own_run, tmp_path):
    knobs = {"quality.ratings": str(tmp_path / "theirs.csv"), "quality.scorers": ["heuristics", "ratings"]}
    rows = judged(own_run, range(25))
    own_run.configure(own_run.config.with_values(knobs))
    rating.rate(own_run, rows)
    assert rating.progress(own_run).documents == 25
    rescoring.use(own_run)
    assert own_run.run("quality").facts["learned"]["ratings"]["metrics"]["advertisement"]["ratings"] == 25


def test_a_document_that_is_not_there_is_refused_and_nothing_is_added(own_run):
    count = own_run.needed("corpus").facts["documents"]
    rows = [Rating(0, "quality", 3), Rating(count, "quality", 3)]
    with pytest.raises(ClimbError, match=rf"no document {count}; they are counted from 0 to {count - 1}"):
        rating.rate(own_run, rows)
    assert not ratings_file(own_run).exists()


def test_progress_tells_what_was_learned_of_each_metric(own_run):
    assert rating.progress(own_run).metrics == {}
    rating.rate(own_run, judged(own_run, range(0, 300, 3)))
    rating.rate(own_run, [Rating(i, "educational", 3) for i in range(4)])
    found = rating.progress(own_run)
    assert found.documents == len({*range(0, 300, 3), 0, 1, 2, 3})
    assert (found.moved, found.lost, found.standing.in_use) == (0, 0, False)
    learned = found.metrics["advertisement"]
    assert learned.ratings == 100
    assert learned.spearman > 0.4
    assert learned.mae < 0.5 * learned.mae_of_mean
    assert found.metrics["educational"].spearman is None
    assert "only 4 of the 20" in found.metrics["educational"].warning


# --- a corpus that changed ------------------------------------------------------------------------------------------


def recut(run, tmp_path, documents):
    """Give the run another corpus."""
    path = write_jsonl(tmp_path / "other.jsonl", documents)
    run.configure(run.config.with_values({"corpus.inputs": [str(path)]}))
    run.run("embedding")


def test_ratings_follow_their_documents_when_others_were_put_before_them(own_run, tmp_path):
    rating.rate(own_run, judged(own_run, range(60)))
    rescoring.use(own_run)
    before = corpus_of(own_run)
    fresh = [{"text": f"A further document, number {i}, of no importance.", "source": "new"} for i in range(130)]
    recut(own_run, tmp_path, [*fresh, *planted_documents()])
    after = corpus_of(own_run)
    assert after[1][130:190] == before[1][:60]
    found = rating.progress(own_run)
    assert (found.documents, found.moved, found.lost) == (60, 60, 0)
    facts = own_run.run("quality").facts["learned"]["ratings"]
    assert (facts["moved"], facts["lost"]) == (60, 0)
    assert facts["metrics"]["advertisement"]["spearman"] > 0.4
    assert not {document["id"] for document in rating.suggestions(own_run, 200)} & set(range(130, 190))


def test_ratings_of_documents_that_are_gone_are_counted_and_teach_nothing(own_run, tmp_path):
    rating.rate(own_run, judged(own_run, range(60)))
    rescoring.use(own_run)
    recut(own_run, tmp_path, planted_documents()[10:-2])  # the last two are a copy of the first, and blank
    found = rating.progress(own_run)
    assert (found.documents, found.lost) == (50, 10)
    facts = own_run.run("quality").facts["learned"]["ratings"]
    assert (facts["moved"], facts["lost"], facts["metrics"]["advertisement"]["ratings"]) == (50, 10, 50)
    assert len(read_ratings(ratings_file(own_run))) == 60, "they may come back"


# --- the sheet ------------------------------------------------------------------------------------------------------


def filled(path, values):
    """Write ratings into a sheet's lines in turn; None leaves a line blank."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, value in zip(rows, values, strict=False):
        row["rating"] = "" if value is None else value
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    return rows


def test_a_sheet_goes_out_and_comes_back_filled_in(own_run, climb, tmp_path):  # noqa: F811
    sheet = tmp_path / "sheet.csv"
    words = ("--metric", "quality", "--metric", "educational")
    code, out, _ = climb("rate", "tiny", "suggest", "-n", 5, "--out", sheet, *words)
    assert (code, "5 documents" in out) == (0, True)
    rows = filled(sheet, [4, 1.5, None, None, "", 3])
    assert [row["metric"] for row in rows] == ["quality", "educational"] * 5
    code, out, _ = climb("rate", "tiny", "read", sheet)
    assert (code, "3 ratings added" in out) == (0, True)
    _, digests = corpus_of(own_run)
    kept = read_ratings(ratings_file(own_run))
    assert [(row.metric, row.rating) for row in kept] == [("quality", 4), ("educational", 1.5), ("educational", 3)]
    assert [row.id for row in kept] == [int(rows[i]["id"]) for i in (0, 1, 5)]
    assert [row.digest for row in kept] == [digests[row.id] for row in kept]


def test_a_fault_in_a_sheet_is_named_by_its_line_and_nothing_is_taken(own_run, climb, tmp_path):  # noqa: F811
    sheet = tmp_path / "sheet.csv"
    rating.write_sheet(sheet, rating.suggestions(own_run, 3), ["quality"])
    filled(sheet, [3, "good", 4])
    code, _, err = climb("rate", "tiny", "read", sheet)
    assert code == 3
    assert "sheet.csv:3: id must be a whole number and rating a number" in err
    assert not ratings_file(own_run).exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "there is no file"),
        ("id;metric;rating\n1;quality;3\n", "a line is id,metric,rating, with commas"),
        ("id,metric,rating\n1,quality,\n", "no line has a rating yet"),
        ("id,metric,rating\n99999,quality,3\n", "sheet.csv:2: document 99999 is rated, but the corpus ends at"),
        ("id,metric,rating,digest\n1,quality,3,five\n", "sheet.csv:2: digest must be a hexadecimal number"),
    ],
)
def test_a_sheet_that_cannot_be_taken_over_says_why(own_run, tmp_path, content, message):
    sheet = tmp_path / "sheet.csv"
    if content:
        sheet.write_text(content, encoding="utf-8")
    with pytest.raises(ClimbError, match=message):
        rating.take(own_run, sheet)


def test_a_sheet_overwrites_nothing_and_holds_no_formula(own_run, tmp_path):
    document = {"id": 3, "digest": 7, "text": '=HYPERLINK("http://x.example")\x1b[2J', "source": "a", "cluster": 1}
    sheet = tmp_path / "sheet.csv"
    rating.write_sheet(sheet, [document], ["quality"])
    with sheet.open(encoding="utf-8", newline="") as file:
        assert next(csv.DictReader(file))["text"] == '\'=HYPERLINK("http://x.example") [2J'
    with pytest.raises(ClimbError, match="exists already; take its ratings over first"):
        rating.write_sheet(sheet, [document])
    rating.rate(own_run, [Rating(0, "quality", 3)])
    with pytest.raises(ClimbError, match="is the run's own file"):
        rating.take(own_run, ratings_file(own_run))


# --- the command line -----------------------------------------------------------------------------------------------


def test_suggestions_are_shown_folded_or_as_json(own_run, climb):  # noqa: F811
    _, out, _ = climb("rate", "tiny", "suggest", "-n", 4)
    assert len(out.splitlines()) == 4
    assert ", cluster " in out
    found = json.loads(climb("rate", "tiny", "suggest", "-n", 4, "--json")[1])
    _, digests = corpus_of(own_run)
    assert [document["digest"] for document in found] == [digest_text(digests[document["id"]]) for document in found]


def test_a_document_is_rated_and_the_state_is_shown(own_run, climb):  # noqa: F811
    code, out, _ = climb("rate", "tiny", "add", 17, "quality=4", "advertisement=2.5")
    assert (code, "2 ratings added" in out) == (0, True)
    assert [row.id for row in read_ratings(ratings_file(own_run))] == [17, 17]
    code, out, _ = climb("rate", "tiny", "check")
    assert code == 0
    assert "1 documents rated" in out
    assert "the scores are not made from them" in out
    found = json.loads(climb("rate", "tiny", "check", "--json")[1])
    assert list(found["metrics"]) == ["quality", "advertisement"]
    assert found["metrics"]["quality"]["ratings"] == 1


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("add", 3, "qualty=3"), "did you mean 'quality'"),
        (("add", 3, "quality=6"), "ratings run from 0 to 5"),
        (("add", 3, "quality"), "write it as metric=rating"),
        (("add", 99999, "quality=3"), "there is no document 99999"),
        (("suggest", "--metric", "advertisment"), "did you mean 'advertisement'"),
    ],
)
def test_what_is_no_rating_is_refused(own_run, climb, words, message):  # noqa: F811
    code, _, err = climb("rate", "tiny", *words)
    assert code == 3
    assert message in err
    assert not ratings_file(own_run).exists()


@pytest.fixture
def typing(monkeypatch):
    """Give what a person types."""
    return lambda text: monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def test_questions_are_asked_document_by_document_and_each_answer_is_saved(own_run, climb, typing):  # noqa: F811
    asked = rating.suggestions(own_run, 10)
    typing("4\n\n9\nbad\n2\n\n" + "\n\n\n3.5\n" + "1\nq\n")
    code, out, _ = climb("rate", "tiny")
    assert code == 0
    assert out.count("a number from 0 to 5, Enter or q") == 2
    assert "3 ratings saved" not in out
    assert "4 ratings saved" in out
    kept = [(row.id, row.metric, row.rating) for row in read_ratings(ratings_file(own_run))]
    first, second, third = (document["id"] for document in asked[:3])
    assert kept == [
        *((first, METRICS[0], 4), (first, METRICS[2], 2)),
        *((second, METRICS[3], 3.5), (third, METRICS[0], 1)),
    ]


def test_the_end_of_the_input_ends_the_questions_and_it_is_said_how_the_answers_are_used(own_run, climb, typing):  # noqa: F811
    typing("3\n\n" + "4\n2\n" * 12)
    code, out, _ = climb("rate", "tiny", "ask", "--metric", "educational")
    assert code == 0
    assert "25 ratings saved" in out
    assert out.count("'climb rate tiny use' shows what that would change") == 1
    kept = [row.id for row in read_ratings(ratings_file(own_run))]
    assert len(set(kept)) == 25, "no document is asked about twice"
    assert Run(own_run.workspace.folder).config.quality.scorers == ("heuristics",)


def test_scoring_by_the_ratings_is_asked_for_refreshed_and_ended_on_the_command_line(own_run, climb, typing):  # noqa: F811
    rating.rate(own_run, judged(own_run, range(60)))
    _, out, _ = climb("rate", "tiny", "use", "--dry-run")
    assert "would run again: quality" in out
    typing("")
    code, _, err = climb("rate", "tiny", "use")
    assert (code, "say --yes" in err) == (3, True)
    assert Run(own_run.workspace.folder).config == own_run.config
    assert climb("rate", "tiny", "use", "--yes")[0] == 0
    assert Run(own_run.workspace.folder).config.quality.scorers == ("heuristics", "ratings")
    assert "from all 60 ratings already" in climb("rate", "tiny", "use", "--yes")[1]
    _, out, _ = climb("rate", "tiny", "add", 100, "advertisement=4")
    assert "from 60 of 61 ratings (1 new or changed)" in out
    assert climb("rate", "tiny", "unuse", "--yes")[0] == 0
    assert Run(own_run.workspace.folder).config == own_run.config


# --- the annotator --------------------------------------------------------------------------------------------------


@pytest.fixture
def annotated(own_run, server, tmp_path):  # noqa: F811
    """The run, with an endpoint that answers."""
    server.plan["*"] = None
    knobs = {
        "annotator_url": server.url,
        "annotator_model": "judge",
        "annotator_answers": str(tmp_path / "answers.jsonl"),
        "annotator_documents": 30,
        "annotator_price": 2.0,
        "annotator_key": "CLIMB_TEST_KEY",
    }
    values = {f"quality.{name}": value for name, value in knobs.items()}
    own_run.configure(own_run.config.with_values(values))
    return own_run


def test_a_dry_run_says_what_it_would_cost_and_asks_nothing(annotated, climb, server):  # noqa: F811
    expected = rating.estimate(annotated)
    code, out, _ = climb("annotate", "tiny", "--dry-run")
    assert code == 0
    assert expected.requests == 30
    assert f"30 requests to {server.url}, about {expected.tokens:,} tokens, cost {expected.cost:.2f} at 2 a" in out
    assert server.seen == []


def test_the_annotator_is_asked_once_and_the_stage_finds_its_answers(annotated, climb, server):  # noqa: F811
    code, out, _ = climb("annotate", "tiny", "--yes")
    assert code == 0
    assert "30 of 30 documents rated" in out
    assert 'put "annotator" into quality.scorers' in out
    assert len(server.seen) == 30
    assert annotated.artifact("quality"), "the scores are as they were"
    assert "0 requests" in climb("annotate", "tiny", "--dry-run")[1]
    annotated.configure(annotated.config.with_values({"quality.scorers": ["heuristics", "annotator"]}))
    assert annotated.run("quality").facts["learned"]["annotator"]["answered"] == 30
    assert len(server.seen) == 30


def test_nothing_is_sent_when_nobody_can_be_asked_or_the_budget_is_too_small(annotated, climb, server, typing):  # noqa: F811
    typing("")
    code, _, err = climb("annotate", "tiny")
    assert (code, "say --yes to go on" in err) == (3, True)
    annotated.configure(annotated.config.with_values({"quality.annotator_budget": 0.0001}))
    code, _, err = climb("annotate", "tiny", "--yes")
    assert (code, "above quality.annotator_budget" in err) == (3, True)
    assert server.seen == []


def test_an_endpoint_that_is_not_configured_is_said_by_its_knobs(own_run):
    with pytest.raises(ClimbError, match=r"needs quality.annotator_url, quality.annotator_model, .*config.toml"):
        rating.annotate(own_run)
    with pytest.raises(ClimbError, match="annotator_answers"):
        rating.estimate(own_run)
