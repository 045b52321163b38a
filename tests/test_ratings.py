"""Ratings: the CSV, the head that they teach, what to rate next, and the stage that uses them."""

import numpy as np
import pytest

from climb_engine.curate.head import FEW, FEWEST, fits, suggest, train_head
from climb_engine.curate.ratings import Followed, Rating, add_ratings, follow, read_ratings
from climb_engine.pipeline import Run
from climb_engine.types import METRICS, ClimbError

QUALITY, ADVERTISEMENT = METRICS.index("quality"), METRICS.index("advertisement")


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def planted(n, seed=0, noise=0.2, d=32):
    """Unit rows, and a quality that is linear in them; the truth and the noisy ratings of it."""
    rng = np.random.default_rng(seed)
    vectors = unit(rng.normal(size=(n, d)))
    truth = np.clip(2.5 + 8 * (vectors @ unit(np.ones((1, d)))[0]), 0, 5)
    values = np.full((n, len(METRICS)), np.nan, np.float32)
    values[:, QUALITY] = np.clip(truth + rng.normal(size=n) * noise, 0, 5)
    return vectors, truth, values


# --- the CSV --------------------------------------------------------------------------------------------------------


def test_ratings_come_back_as_they_were_added_and_the_later_one_counts(tmp_path):
    path = tmp_path / "folder" / "mine.csv"
    add_ratings(path, [Rating(7, "quality", 3.5), Rating(2, "advertisement", 0)])
    add_ratings(path, [Rating(7, "quality", 4), Rating(7, "educational", 1)])
    ratings = Followed(tuple(read_ratings(path)), (), 0).ratings
    assert ratings.ids.tolist() == [2, 7]
    assert ratings.values[1, QUALITY] == 4
    assert ratings.values[0, ADVERTISEMENT] == 0
    assert np.isnan(ratings.values).sum() == 2 * len(METRICS) - 3


def test_a_torn_last_line_does_not_swallow_the_next_rating(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("id,metric,rating\n1,quality,3", encoding="utf-8")
    add_ratings(path, [Rating(2, "quality", 4)])
    assert read_ratings(path) == [Rating(1, "quality", 3), Rating(2, "quality", 4)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("id,rating\n1,3\n", r"no column metric; a line is id,metric,rating"),
        ("id,metric,rating\n1,qualty,3\n", r"mine.csv:2: no metric is called 'qualty'; did you mean 'quality'"),
        ("id,metric,rating\n1,quality,3\nx,quality,3\n", r"mine.csv:3: id must be a whole number"),
        ("id,metric,rating\n1,quality\n", r"mine.csv:2: .*rating a number"),
        ("id,metric,rating\n1,quality,6\n", r"document 1, rating 6; .* from 0 to 5"),
        ("id,metric,rating\n1,quality,nan\n", r"from 0 to 5"),
        ("id,metric,rating\n-1,quality,2\n", r"ids begin at 0"),
    ],
)
def test_a_line_that_is_no_rating_is_named(tmp_path, text, message):
    (tmp_path / "mine.csv").write_text(text, encoding="utf-8")
    with pytest.raises(ClimbError, match=message):
        read_ratings(tmp_path / "mine.csv")


A, B, C = 3, 0xFFFF_FFFF_FFFF_FFFF, 1 << 63


def test_a_digest_comes_back_from_the_file_to_its_last_bit(tmp_path):
    rows = [Rating(1, "quality", 2.5, A), Rating(2, "quality", 3, B), Rating(3, "quality", 3)]
    add_ratings(tmp_path / "mine.csv", rows)
    assert "0xffffffffffffffff" in (tmp_path / "mine.csv").read_text(encoding="utf-8")
    assert read_ratings(tmp_path / "mine.csv") == rows


@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_a_file_without_digests_is_given_the_column_and_keeps_its_lines(tmp_path, end):
    path = tmp_path / "mine.csv"
    path.write_bytes(f"\ufeffid,note,metric,rating\n1,a,quality,3\n2,b,quality,4{end}".encode())
    add_ratings(path, [Rating(5, "quality", 1, C)])
    add_ratings(path, [Rating(6, "quality", 2)])
    assert read_ratings(path) == [
        *(Rating(1, "quality", 3), Rating(2, "quality", 4)),
        *(Rating(5, "quality", 1, C), Rating(6, "quality", 2)),
    ]
    assert [file.name for file in tmp_path.iterdir()] == ["mine.csv"]


def test_a_sheet_is_read_without_the_lines_that_were_left_blank(tmp_path):
    (tmp_path / "sheet.csv").write_text(
        'id,digest,metric,rating,text\n1,0x3,quality, ,"a, b"\n2,,quality,4,c\n', encoding="utf-8"
    )
    assert read_ratings(tmp_path / "sheet.csv", blanks=True) == [Rating(2, "quality", 4)]
    with pytest.raises(ClimbError, match=r"sheet.csv:2: .*rating a number"):
        read_ratings(tmp_path / "sheet.csv")


def test_a_document_beyond_the_corpus_is_named_unless_its_digest_may_find_it(tmp_path):
    add_ratings(tmp_path / "mine.csv", [Rating(9, "quality", 4, A), Rating(9, "quality", 4)])
    with pytest.raises(ClimbError, match=r"mine.csv:3: document 9 is rated, but the corpus ends at 8"):
        read_ratings(tmp_path / "mine.csv", count=9)
    assert len(read_ratings(tmp_path / "mine.csv", count=10)) == 2


# --- documents whose numbers have changed ---------------------------------------------------------------------------


def followed(rows, digests, part=4):
    """Follow ratings into a corpus of these digests, cut into parts."""
    digests = np.array(digests, np.uint64)
    parts = [digests[i : i + part] for i in range(0, len(digests), part)]
    return follow(rows, len(digests), lambda ids: digests[ids], lambda: parts)


def test_ratings_follow_their_documents_into_whatever_part_they_have_moved():
    before = [Rating(0, "quality", 1, A), Rating(1, "quality", 2, B), Rating(1, "educational", 3, B)]
    after = followed(before, [7, A, 8, 9, 10, 11, B])
    assert after.rows == (Rating(1, "quality", 1, A), Rating(6, "quality", 2, B), Rating(6, "educational", 3, B))
    assert after.facts == {"moved": 2, "lost": 0}


def test_a_rating_whose_text_is_gone_is_set_aside_and_does_not_fall_to_another_document():
    after = followed([Rating(0, "quality", 1, A), Rating(9, "quality", 2, B), Rating(1, "quality", 3, 8)], [7, 8])
    assert after.rows == (Rating(1, "quality", 3, 8),)
    assert [row.digest for row in after.lost] == [A, B]
    assert after.facts == {"moved": 0, "lost": 2}
    assert after.ratings.ids.tolist() == [1]


def test_ratings_without_a_digest_stay_where_they_are():
    rows = [Rating(0, "quality", 1), Rating(5, "quality", 2)]
    assert followed(rows, range(6)) == Followed(tuple(rows), (), 0)


def test_a_rating_stays_at_its_own_copy_of_a_text_and_no_part_is_read_for_it():
    def unread():
        raise AssertionError("the corpus was read")

    rows = [Rating(2, "quality", 1, A)]
    assert follow(rows, 4, lambda _: np.array([A], np.uint64), unread).rows == tuple(rows)
    assert followed(rows, [A, 1, A, A]).rows == tuple(rows)


def test_of_two_ratings_of_a_document_that_moved_in_between_the_later_counts():
    after = followed([Rating(0, "quality", 1, A), Rating(3, "quality", 4, A)], [7, 8, 9, A])
    assert after.ratings.ids.tolist() == [3]
    assert after.ratings.values[0, QUALITY] == 4


# --- the head -------------------------------------------------------------------------------------------------------


def test_a_head_taught_by_a_hundred_ratings_ranks_documents_it_never_saw():
    vectors, _, values = planted(100)
    unseen, truth, _ = planted(500, seed=1)
    head = train_head("ratings", vectors, values)
    scores = head.score(None, unseen)[:, 0]
    assert head.metrics == ("quality",)
    assert np.abs(scores - truth).mean() < 0.4
    assert np.corrcoef(scores, truth)[0, 1] > 0.95


def test_cross_validation_tells_a_head_that_learned_from_one_that_could_not():
    vectors, _, values = planted(100)
    learned = train_head("ratings", vectors, values).facts["metrics"]["quality"]
    shuffled = values[np.random.default_rng(1).permutation(100)]
    nothing = train_head("ratings", vectors, shuffled).facts["metrics"]["quality"]
    assert learned["spearman"] > 0.8
    assert abs(nothing["spearman"]) < 0.4
    assert learned["mae"] < 0.6 * learned["mae_of_mean"]
    assert nothing["mae"] > 0.8 * nothing["mae_of_mean"]


def junk_at(n, share, seed, d=64):
    """Unit rows of which a few lie towards one direction, and ratings of a hasty rater: 1 of these, 4 of the rest."""
    rng = np.random.default_rng(seed)
    junk = np.arange(n) < n * share
    vectors = unit(rng.normal(size=(n, d)) / np.sqrt(d) + np.where(junk, 0.7, 0)[:, None] * np.eye(d)[0])
    values = np.full((n, len(METRICS)), np.nan, np.float32)
    values[:, ADVERTISEMENT] = np.clip(np.rint(np.where(junk, 1, 4) + rng.normal(size=n) * 0.8), 0, 5)
    return vectors, junk, values


def test_scores_spread_as_the_ratings_do_so_that_thresholds_mean_what_they_say():
    vectors, _, values = junk_at(100, 0.06, seed=0)
    unseen, junk, _ = junk_at(1000, 0.06, seed=1)
    head = train_head("ratings", vectors, values)
    scores = head.score(None, unseen)[:, 0]
    assert head.facts["metrics"]["advertisement"]["stretch"] > 1.2
    assert scores[junk].mean() < 2
    assert scores[~junk].mean() > 3.5


def test_noise_is_not_drawn_apart():
    vectors, _, values = junk_at(100, 0.06, seed=0)
    shuffled = values[np.random.default_rng(1).permutation(100)]
    head = train_head("ratings", vectors, shuffled)
    assert head.facts["metrics"]["advertisement"]["stretch"] == 1
    assert "no better than always guessing" in head.facts["metrics"]["advertisement"]["warning"]
    assert head.score(None, vectors)[:, 0].min() > 1


def test_a_metric_with_too_few_ratings_is_left_out_and_named():
    vectors, _, values = planted(60)
    values[:5, ADVERTISEMENT] = 3
    head = train_head("ratings", vectors, values)
    assert head.metrics == ("quality",)
    assert head.facts["left_out"] == {"advertisement": 5}
    found = fits(vectors, values)
    assert found["quality"].spearman == head.facts["metrics"]["quality"]["spearman"]
    assert found["advertisement"].mae is None
    assert "only 5 of the 20 ratings" in found["advertisement"].warning


def test_too_few_ratings_are_refused_and_few_come_with_a_warning():
    vectors, _, values = planted(FEW)
    with pytest.raises(ClimbError, match=rf"19 ratings of quality, too few to learn from; it needs {FEWEST}"):
        train_head("ratings", vectors[:19], values[:19])
    few = train_head("ratings", vectors[:FEWEST], values[:FEWEST]).facts["metrics"]["quality"]
    assert "only 20 ratings" in few["warning"]
    assert train_head("ratings", vectors, values).facts["metrics"]["quality"]["warning"] == ""


def test_no_ratings_at_all_say_how_many_to_make():
    with pytest.raises(ClimbError, match="no ratings yet; rate at least 20 documents"):
        train_head("ratings", np.zeros((0, 4), np.float32), np.zeros((0, len(METRICS)), np.float32))


def test_ratings_that_are_all_the_same_have_no_rank_correlation_and_harm_nothing():
    vectors, _, values = planted(60)
    values[:, QUALITY] = 4
    head = train_head("ratings", vectors, values)
    assert head.facts["metrics"]["quality"]["spearman"] is None
    np.testing.assert_allclose(head.score(None, vectors), 4, atol=1e-6)


def test_each_metric_learns_from_the_documents_that_were_rated_on_it():
    vectors, _, values = planted(200)
    values[100:, ADVERTISEMENT] = 5 - values[100:, QUALITY]
    values[100:, QUALITY] = np.nan
    head = train_head("ratings", vectors, values)
    scores = head.score(None, vectors)
    assert head.metrics == ("quality", "advertisement")
    assert head.facts["metrics"]["quality"]["ratings"] == 100
    assert np.corrcoef(scores.T)[0, 1] < -0.95


# --- what to rate next ----------------------------------------------------------------------------------------------


def groups(sizes, d=16, seed=0):
    rng = np.random.default_rng(seed)
    group = np.repeat(np.arange(len(sizes)), sizes)
    return unit(np.eye(d)[group] + rng.normal(size=(len(group), d)) * 0.05), group


def picked(vectors, rated, n, seed=0):
    return suggest(vectors.__getitem__, len(vectors), rated, n, seed)


def test_suggestions_are_new_distinct_and_the_same_each_time():
    vectors, _ = groups([100] * 6)
    rated = np.arange(0, 600, 7)
    first = picked(vectors, rated, 24, seed=3)
    assert len(set(first.tolist())) == 24
    assert not set(first.tolist()) & set(rated.tolist())
    assert picked(vectors.astype(np.float16), rated, 24, seed=3).shape == (24,)
    np.testing.assert_array_equal(first, picked(vectors, rated, 24, seed=3))


def test_groups_that_nobody_rated_come_first_and_the_bigger_of_them_sooner():
    vectors, group = groups([300, 300, 200, 20])
    rated = np.concatenate([np.flatnonzero(group == 0)[:40], np.flatnonzero(group == 1)[:40]])
    chosen = group[picked(vectors, rated, 4)].tolist()
    assert chosen[0] == 2
    assert set(chosen[:2]) <= {2, 3}


def test_suggestions_cover_the_groups_instead_of_repeating_the_biggest():
    vectors, group = groups([400, 100, 100, 100, 100, 100])
    chosen = group[picked(vectors, np.array([], dtype=np.int64), 12)].tolist()
    assert set(chosen) == set(range(6))


def test_when_little_is_left_all_of_it_is_suggested():
    vectors, _ = groups([5, 5])
    assert picked(vectors, np.arange(7), 10).tolist() == [7, 8, 9]


def test_copies_of_one_document_are_suggested_once():
    vectors = np.repeat(unit(np.random.default_rng(0).normal(size=(3, 8))), 50, axis=0)
    chosen = picked(vectors, np.array([], dtype=np.int64), 3)
    assert sorted(chosen // 50) == [0, 1, 2]


# --- the stage ------------------------------------------------------------------------------------------------------


@pytest.fixture
def run(tiny_config, tmp_path):
    path = tmp_path / "mine.csv"
    made = Run.create(tmp_path / "runs" / "rated", tiny_config)
    sources = [source for table in made.run("corpus").tables(["source"]) for source in table["source"].to_pylist()]
    add_ratings(path, [Rating(i, "advertisement", 0 if sources[i] == "junk" else 5) for i in range(0, len(sources), 3)])
    made.configure(
        tiny_config.with_values({"quality.scorers": ["heuristics", "ratings"], "quality.ratings": str(path)})
    )
    return made, path, np.array(sources)


def stages_of(run):
    return {planned.stage: planned for planned in Run(run.workspace.folder).plan()}


def test_a_rated_corpus_is_scored_in_parts_and_the_manifest_says_how_well(run):
    made, _, sources = run
    artifact = made.run("quality")
    scores = np.concatenate([table["advertisement"].to_numpy() for table in artifact.tables()])
    assert artifact.parts > 1
    assert scores[sources == "junk"].max() < 2 < 3 < scores[sources != "junk"].min()
    fit = artifact.facts["learned"]["ratings"]["metrics"]["advertisement"]
    assert fit["ratings"] == len(sources[::3])
    assert fit["spearman"] > 0.5
    assert artifact.facts["metrics"] == list(METRICS)
    assert "heuristics.advertisement" in artifact.table(0).column_names


def test_new_ratings_and_another_embedder_change_the_address_and_the_plan_says_why(run):
    made, path, _ = run
    made.run("quality")
    assert stages_of(made)["quality"].state == "done"
    add_ratings(path, [Rating(1, "advertisement", 3)])
    assert stages_of(made)["quality"].why == "the input files changed"
    made.run("quality")
    made.configure(made.config.with_values({"embedding.max_tokens": 100}))
    assert "embedding changes" in stages_of(made)["quality"].why


def test_ratings_that_vanish_after_they_were_used_do_no_harm(run):
    made, path, _ = run
    made.run("quality")
    path.unlink()
    assert stages_of(made)["quality"].state == "done"


def test_knobs_of_scorers_that_are_not_used_rerun_nothing(own_run):
    before = stages_of(own_run)
    unused = {"quality.annotator_model": "x", "quality.max_tokens": 64, "quality.fasttext": {"quality": "/none"}}
    own_run.configure(own_run.config.with_values(unused | {"embedding.max_tokens": 100}))
    after = stages_of(own_run)
    assert after["embedding"].state == "missing"
    assert after["quality"] == before["quality"]
    assert after["quality"].state == "done"
