import numpy as np
import pytest

from climb_engine.config import ClusteringConfig
from climb_engine.curate import clustering
from climb_engine.curate.clustering import (
    assign,
    cluster_keywords,
    keyword_rows,
    resolved,
    sample_rows,
    train_centroids,
)
from climb_engine.types import ClimbError


def planted(k=8, per_cluster=100, d=16, noise=0.1):
    """Unit rows around k random directions, and which direction each came from."""
    rng = np.random.default_rng(7)
    labels = np.repeat(np.arange(k), per_cluster)
    vectors = rng.normal(size=(k, d))[labels] + noise * rng.normal(size=(len(labels), d))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32), labels


def config(**knobs):
    return ClusteringConfig(**{"n_clusters": 8, "restarts": 5} | knobs)


def test_kmeans_finds_planted_clusters():
    from sklearn.metrics import normalized_mutual_info_score

    vectors, labels = planted()
    clusters, _ = assign(vectors, train_centroids(vectors, config(restarts=30)))
    assert normalized_mutual_info_score(labels, clusters) > 0.98


def test_half_precision_vectors_cluster_like_single_precision_ones():
    vectors, _ = planted()
    single = assign(vectors, train_centroids(vectors, config()))[0]
    half = assign(vectors.astype(np.float16), train_centroids(vectors.astype(np.float16), config()))[0]
    assert (single == half).mean() > 0.99


def test_centroids_are_the_means_of_their_clusters():
    vectors, _ = planted(noise=0.02)
    centroids = train_centroids(vectors, config())
    clusters, _ = assign(vectors, centroids)
    means = [vectors[clusters == cluster].mean(axis=0) for cluster in range(8)]
    np.testing.assert_allclose(centroids, means, atol=1e-4)


def test_the_seed_decides_the_centroids():
    vectors, _ = planted(noise=1.0)
    first = train_centroids(vectors, config(seed=1, restarts=1, iterations=2))
    np.testing.assert_array_equal(first, train_centroids(vectors, config(seed=1, restarts=1, iterations=2)))
    assert not np.allclose(first, train_centroids(vectors, config(seed=2, restarts=1, iterations=2)))


def test_more_clusters_than_documents_is_an_error_with_both_numbers():
    vectors, _ = planted(k=1, per_cluster=5)
    with pytest.raises(ClimbError, match=r"n_clusters = 8, but there are only 5 documents.*n_clusters to 5"):
        train_centroids(vectors, config())


@pytest.mark.parametrize(
    ("wanted", "documents", "made"),
    [(0, 5, 5), (0, 300, 10), (0, 20_000, 500), (0, 40_000, 1000), (0, 10_000_000, 1000), (700, 300, 700)],
)
def test_a_number_of_clusters_that_is_left_open_fits_the_corpus(wanted, documents, made):
    assert resolved(config(n_clusters=wanted), documents).n_clusters == made


def test_as_many_clusters_as_documents_gives_each_its_own():
    vectors, _ = planted(k=8, per_cluster=1)
    clusters, distances = assign(vectors, train_centroids(vectors, config()))
    assert sorted(clusters) == list(range(8))
    np.testing.assert_allclose(distances, 0, atol=1e-3)


def test_few_distinct_documents_leave_finite_centroids():
    vectors, _ = planted(k=3, per_cluster=10, noise=0)
    centroids = train_centroids(vectors, config())
    assert centroids.shape == (8, 16)
    assert np.isfinite(centroids).all()


def test_kmeans_says_nothing(capfd):
    vectors, _ = planted(k=2, per_cluster=6)
    train_centroids(vectors, config())
    assert capfd.readouterr() == ("", "")


@pytest.mark.gpu
def test_kmeans_on_the_gpu_finds_planted_clusters():
    import faiss
    from sklearn.metrics import normalized_mutual_info_score

    if not faiss.get_num_gpus():
        pytest.skip("faiss sees no GPU")
    vectors, labels = planted()
    clusters, _ = assign(vectors, train_centroids(vectors, config(restarts=30), on_gpu=True))
    assert normalized_mutual_info_score(labels, clusters) > 0.98


def test_assignment_equals_brute_force_across_batches(monkeypatch):
    monkeypatch.setattr(clustering, "ASSIGN_ROWS", 37)
    rng = np.random.default_rng(0)
    vectors, centroids = rng.normal(size=(200, 12)).astype(np.float32), rng.normal(size=(9, 12)).astype(np.float32)
    clusters, distances = assign(vectors, centroids)
    every = np.linalg.norm(vectors[:, None] - centroids[None], axis=2)
    np.testing.assert_array_equal(clusters, every.argmin(axis=1))
    np.testing.assert_allclose(distances, every.min(axis=1), rtol=1e-4)
    assert (clusters.dtype, distances.dtype) == (np.int32, np.float32)


def test_no_vectors_get_no_clusters():
    clusters, distances = assign(np.empty((0, 4), np.float16), np.eye(4, dtype=np.float32))
    assert len(clusters) == len(distances) == 0


def test_the_sample_has_the_exact_number_sorted_rows_of_each_part_and_no_row_twice():
    sizes = [10, 0, 500, 3]
    rows = sample_rows(sizes, 100, seed=0)
    assert sum(map(len, rows)) == 100
    for drawn, size in zip(rows, sizes, strict=True):
        assert (np.diff(drawn) > 0).all()
        assert ((drawn >= 0) & (drawn < size)).all()


def test_a_sample_of_everything_is_every_row():
    rows = sample_rows([3, 2], 1000, seed=0)
    assert [part.tolist() for part in rows] == [[0, 1, 2], [0, 1]]


def test_the_sample_is_uniform_over_the_corpus_not_over_its_parts():
    counts = np.zeros(50)
    for seed in range(2000):
        small, large = sample_rows([10, 40], 5, seed)
        counts[small] += 1
        counts[10 + large] += 1
    assert abs(counts - 200).max() < 70  # five standard deviations


def test_the_seed_decides_the_sample():
    first, again, other = (np.concatenate(sample_rows([100, 100], 20, seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_keyword_rows_take_at_most_so_many_of_each_cluster():
    clusters = np.random.default_rng(0).permutation(np.repeat([0, 2, 5], [50, 3, 20])).astype(np.int32)
    rows = keyword_rows(clusters, 10, seed=0)
    assert (np.diff(rows) > 0).all()
    assert np.bincount(clusters[rows]).tolist() == [10, 0, 3, 0, 0, 10]


def test_keyword_rows_are_drawn_from_the_whole_corpus_by_seed():
    clusters = np.zeros(1000, dtype=np.int32)
    first, again, other = (keyword_rows(clusters, 100, seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)
    assert first.max() > 900


PLANTED = {
    0: ["bread", "oven", "flour", "yeast"],
    1: ["comet", "orbit", "planet", "telescope"],
    3: ["Klage", "Gericht", "Urteil", "Anwältin"],
}


def planted_texts():
    rng = np.random.default_rng(3)
    texts, clusters = [], []
    for cluster, words in PLANTED.items():
        for _ in range(20):
            filler = ["the", "of", "people", "and", "time", "2024", "don't", "x1"]
            texts.append(" ".join(rng.permutation([*rng.choice(words, 6), *filler])))
            clusters.append(cluster)
    return texts, np.array(clusters, dtype=np.int32)


def test_keywords_are_the_planted_words_and_an_empty_cluster_has_none():
    keywords = cluster_keywords(*planted_texts(), n_clusters=5, top=4)
    assert len(keywords) == 5
    for cluster, words in PLANTED.items():
        assert set(keywords[cluster]) == {word.lower() for word in words}
    assert keywords[2] == keywords[4] == ()


def test_words_that_all_clusters_share_come_after_their_own():
    keywords = cluster_keywords(*planted_texts(), n_clusters=4, top=10)
    assert set(keywords[0][4:]) == {"people", "time"}


def test_keywords_of_web_pages_are_words_not_markup():
    page = '<p class="intro">Whales&nbsp;sing</p><a href="https://www.example.com/page">Whales dive</a>'
    assert cluster_keywords([page, page], np.zeros(2, np.int32), 1, 10) == (("whales", "dive", "sing"),)


def test_keywords_of_code_are_the_words_inside_its_names():
    code = "def load_image(path): return decode_image(read_bytes(path), max_size=10)"
    (keywords,) = cluster_keywords([code, code], np.zeros(2, np.int32), 1, 3)
    assert keywords == ("image", "path", "bytes")


def test_keywords_weigh_words_as_class_based_tf_idf_does():
    texts = ["apple apple pear plum plum", "apple pear plum plum", "plum " * 8]
    keywords = cluster_keywords(texts, np.array([0, 0, 1]), 2, 3)
    # A = 17/2. In cluster 0: apple 3/9 log(1+A/3) = .45, pear 2/9 log(1+A/2) = .37, plum 4/9 log(1+A/12) = .24
    assert keywords == (("apple", "pear", "plum"), ("plum",))


def test_a_word_of_one_document_is_no_keyword():
    assert cluster_keywords(["whales sing", "whales dive"], np.zeros(2, np.int32), 1, 5) == (("whales",),)


@pytest.mark.parametrize("texts", [[], ["", "12 34"], ["the and of"], ["whales sing", "birds fly"]])
def test_texts_without_common_words_give_no_keywords(texts):
    assert cluster_keywords(texts, np.zeros(len(texts), np.int32), 3, 5) == ((), (), ())
