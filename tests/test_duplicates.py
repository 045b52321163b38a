import os
import subprocess
import sys
import tracemalloc

import numpy as np
import pytest
from scipy.sparse.csgraph import connected_components

from climb_engine.config import DuplicatesConfig
from climb_engine.curate.duplicates import BLANK, CAUGHT, banding, groups, signatures

CONFIG = DuplicatesConfig(method="minhash")


def prose(rng, words=300):
    return [f"w{number}" for number in rng.integers(5000, size=words)]


def changed(words, changes, rng):
    copy = list(words)
    for place in rng.choice(len(copy), changes, replace=False):
        copy[place] = f"new{rng.integers(10**9)}"
    return copy


def jaccard(one, other, size=5):
    a, b = ({tuple(words[i : i + size]) for i in range(len(words) - size + 1)} for words in (one, other))
    return len(a & b) / len(a | b)


def found(texts, config=CONFIG):
    return groups([signatures(texts, config)], config)


def partition(duplicate_of):
    """The groups as sets of rows."""
    first = np.where(duplicate_of < 0, np.arange(len(duplicate_of)), duplicate_of)
    return {frozenset(np.flatnonzero(first == each).tolist()) for each in np.unique(first)}


@pytest.fixture(scope="module")
def copies():
    """400 pairs of an original and its copy with 0 to 60 of 300 words changed, and their true similarity."""
    rng = np.random.default_rng(0)
    originals = [prose(rng) for _ in range(400)]
    pairs = [(original, changed(original, i % 61, rng)) for i, original in enumerate(originals)]
    return pairs, np.array([jaccard(*pair) for pair in pairs])


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.9])
def test_copies_are_found_by_their_true_similarity(copies, threshold):
    pairs, similarity = copies
    config = DuplicatesConfig(threshold=threshold)
    texts = [" ".join(pair[0]) for pair in pairs] + [" ".join(pair[1]) for pair in pairs]
    duplicate_of = found(texts, config)
    originals, copied = duplicate_of[: len(pairs)], duplicate_of[len(pairs) :]
    assert (originals == -1).all()
    assert set(copied[copied >= 0]) == set(np.flatnonzero(copied >= 0))  # each the copy of its own original
    far = 4 * np.sqrt(similarity * (1 - similarity) / CONFIG.permutations)
    above, below = similarity > threshold + far, similarity < threshold - far
    assert above.sum() >= 12
    assert below.sum() >= 100
    assert (copied[above] >= 0).all()
    assert (copied[below] < 0).all()


def test_the_share_of_equal_entries_estimates_the_similarity(copies):
    pairs, similarity = copies
    one, other = (signatures([" ".join(pair[side]) for pair in pairs], CONFIG) for side in (0, 1))
    error = (one == other).mean(axis=1) - similarity
    expected = np.sqrt(similarity * (1 - similarity) / CONFIG.permutations)
    assert abs(error.mean()) < 4 * np.sqrt((expected**2).sum()) / len(pairs)
    assert np.sqrt((error**2).mean()) == pytest.approx(np.sqrt((expected**2).mean()), rel=0.15)


def test_white_space_and_case_make_no_difference():
    words = prose(np.random.default_rng(1))
    texts = [" ".join(words), "\n\n".join(words).upper() + "\n", "\t  " + "\u00a0".join(words)]
    assert found(texts).tolist() == [-1, 0, 0]


def test_unrelated_documents_stand_for_themselves():
    rng = np.random.default_rng(2)
    assert (found([" ".join(prose(rng)) for _ in range(2000)]) == -1).all()


def test_the_same_words_in_another_order_are_another_document():
    words = prose(np.random.default_rng(3))
    assert found([" ".join(words), " ".join(words[::-1])]).tolist() == [-1, -1]
    assert found([" ".join(words), " ".join(words[::-1])], DuplicatesConfig(shingle=1)).tolist() == [-1, 0]


def test_documents_shorter_than_a_shingle_are_one_shingle():
    texts = ["whale", "bird", " Whale\n", "whale whale", "a b c d", "a b c", "A B C D"]
    assert found(texts).tolist() == [-1, -1, 0, -1, -1, -1, 4]


def test_documents_without_a_word_match_none():
    assert (signatures(["", " \n\t"], CONFIG) == BLANK).all()
    assert found(["", " \n", "", "whale"]).tolist() == [-1, -1, -1, -1]


def test_no_documents_have_no_groups():
    assert signatures([], CONFIG).shape == (0, CONFIG.permutations)
    assert groups([], CONFIG).tolist() == []
    assert groups([signatures([], CONFIG)], CONFIG).tolist() == []
    assert found(["whale"]).tolist() == [-1]


def test_a_long_document_is_the_union_of_its_halves():
    words = prose(np.random.default_rng(4), 7000)
    whole, start, rest = signatures([" ".join(part) for part in (words, words[:3000], words[2996:])], CONFIG)
    assert (whole == np.minimum(start, rest)).all()


@pytest.fixture(scope="module")
def template():
    """Signatures of 1,000 documents that share a template and differ in some words, so that many are near-duplicates
    of some others, with 100 that have no word and 100 that are repeated."""
    rng = np.random.default_rng(5)
    base = prose(rng)
    texts = [" ".join(changed(base, int(rng.integers(1, 12)), rng)) for _ in range(800)]
    return signatures([*texts, *texts[:100], *[""] * 100], CONFIG)


def test_the_division_into_parts_changes_nothing(template):
    whole = groups([template], CONFIG)
    for cuts in ([500], [0, 0, 3, 999], range(1, 1000, 30), [1000]):
        assert (groups(np.split(template, list(cuts)), CONFIG) == whole).all()


def test_the_order_of_documents_changes_only_who_is_first(template):
    whole = partition(groups([template], CONFIG))
    assert len(whole) > 150  # the 100 empty ones among them
    for seed in range(3):
        order = np.random.default_rng(seed).permutation(len(template))
        shuffled = groups([template[order]], CONFIG)
        assert {frozenset(order[list(group)].tolist()) for group in partition(shuffled)} == whole


def test_the_first_of_a_group_is_its_earliest_document(template):
    duplicate_of = groups([template], CONFIG)
    for group in partition(duplicate_of):
        earliest = min(group)
        assert duplicate_of[earliest] == -1
        assert all(duplicate_of[row] == earliest for row in group - {earliest})


def test_a_chain_is_one_group_though_its_ends_differ():
    words = prose(np.random.default_rng(6), 1000)
    links = [words[start : start + 200] for start in range(0, 400, 8)]
    assert jaccard(links[0], links[1]) > 0.9
    assert jaccard(links[0], links[-1]) == 0
    assert found([" ".join(link) for link in links]).tolist() == [-1] + [0] * (len(links) - 1)


def test_nearly_all_is_found_that_comparing_all_pairs_would_find():
    rng = np.random.default_rng(7)
    base = prose(rng)  # 300 documents share it, any two of them with a similarity of about 0.73: buckets are large
    entries = signatures([" ".join(changed(base, 5, rng)) for _ in range(300)], CONFIG)
    near = (entries[:, None] == entries).mean(axis=2) >= CONFIG.threshold
    count, component = connected_components(near)
    duplicate_of = groups([entries], CONFIG)
    copies = np.flatnonzero(duplicate_of >= 0)
    assert (component[copies] == component[duplicate_of[copies]]).all()
    assert 0.95 * (len(near) - count) <= len(copies) <= len(near) - count


@pytest.mark.parametrize("crowd", ["identical", "one band", "one word apart"])
def test_a_giant_bucket_needs_memory_for_its_documents_not_for_their_pairs(crowd):
    rng = np.random.default_rng(8)
    entries = rng.integers(2**32, size=(20_000, CONFIG.permutations), dtype=np.uint32)
    if crowd == "identical":
        entries[:] = entries[0]
    elif crowd == "one band":
        entries[:, :6] = entries[0, :6]
    else:
        keep = rng.random(entries.shape) < 0.97
        entries = np.where(keep, entries[0], entries)
    tracemalloc.start()
    try:
        duplicate_of = groups([entries], CONFIG)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 100e6  # all pairs would be 3 GB
    assert (duplicate_of[1:] == (-1 if crowd == "one band" else 0)).all()


def test_memory_maps_will_do(template, tmp_path):
    np.save(tmp_path / "part.npy", template)
    mapped = np.load(tmp_path / "part.npy", mmap_mode="r")
    assert (groups([mapped[:400], mapped[400:]], CONFIG) == groups([template], CONFIG)).all()


FRESH = """
from climb_engine.config import DuplicatesConfig
from climb_engine.curate.duplicates import signatures
print(signatures(["It was a bright cold day in April", "whale"], DuplicatesConfig(permutations=16))[:, :3].tolist())
"""


def test_signatures_are_the_same_in_every_process_and_version():
    # Parts may be written by different versions: should a library ever change these, the stage needs a new version.
    environment = {**os.environ, "PYTHONHASHSEED": "1"}
    done = subprocess.run([sys.executable, "-c", FRESH], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "[[1672236461, 795734543, 842376845], [3164012862, 4252078710, 1702715692]]"


def test_a_signature_does_not_depend_on_its_neighbours():
    rng = np.random.default_rng(9)
    texts = [" ".join(prose(rng, 50)) for _ in range(5)]
    assert (np.concatenate([signatures([text], CONFIG) for text in texts]) == signatures(texts, CONFIG)).all()


@pytest.mark.parametrize("seed", [1, 2**31 - 1])
def test_another_seed_gives_other_signatures_and_the_same_clear_groups(seed):
    config = DuplicatesConfig(seed=seed)
    words = prose(np.random.default_rng(10))
    texts = [" ".join(words), " ".join(words[:-1]), " ".join(words[:150])]
    assert (signatures(texts, config) != signatures(texts, CONFIG)).any()
    assert found(texts, config).tolist() == [-1, 0, -1]


@pytest.mark.parametrize("permutations", [16, 100, 128, 1024])
@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.95, 1.0])
def test_a_pair_at_the_threshold_becomes_a_candidate(threshold, permutations):
    bands, width = banding(DuplicatesConfig(threshold=threshold, permutations=permutations))
    assert bands * width <= permutations
    assert 1 - (1 - threshold**width) ** bands >= CAUGHT
    wider = permutations // (width + 1)
    assert 1 - (1 - threshold ** (width + 1)) ** wider < CAUGHT
