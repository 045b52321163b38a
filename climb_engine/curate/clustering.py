"""Vectors to clusters: k-means on a sample and assignment of every document, or clusters as given; their keywords."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from climb_engine.config import ClusteringConfig
from climb_engine.types import ClimbError, Ids, Vectors

Clusters = npt.NDArray[np.int32]

ASSIGN_ROWS = 16_384
"""Vectors compared with the centroids at a time: what bounds the memory of ``assign``."""

DOCUMENTS_EACH, FEWEST, MOST = 40, 10, 1000
"""How many clusters are made when the config leaves it open: one for so many documents, and the ends of that."""

MOST_GIVEN = 100_000
"""A column with more values than this names no clusters."""

KEYWORD_VOCABULARY = 50_000
"""The words found in the most documents, of which keywords are chosen."""

_WORD = r"[^\W\d_]{3,}"  # letters of any script
_MARKUP = re.compile(r"</?[a-z][^<>]{0,300}>|&#?\w{2,8};|https?://\S+", re.IGNORECASE)
_CONTRACTIONS = "ain aren couldn didn doesn don hadn hasn haven isn mightn mustn needn shouldn wasn weren won wouldn"


def resolved(config: ClusteringConfig, documents: int) -> ClusteringConfig:
    """The config with a number of clusters in the place of 0: what that comes to for so many documents."""
    wanted = config.n_clusters or min(MOST, max(FEWEST, documents // DOCUMENTS_EACH), documents)
    return config.model_copy(update={"n_clusters": wanted})


def sample_rows(part_sizes: Sequence[int], wanted: int, seed: int) -> list[Ids]:
    """Draw the training sample, uniform over the corpus: sorted rows of each part, ``wanted`` (or all) together."""
    total = sum(part_sizes)
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.choice(total, size=min(wanted, total), replace=False, shuffle=False))
    ends = np.cumsum(part_sizes, dtype=np.int64)
    pieces = np.split(rows, np.searchsorted(rows, ends[:-1]))
    return [piece - (end - size) for piece, end, size in zip(pieces, ends, part_sizes, strict=True)]


def train_centroids(sample: npt.NDArray[Any], config: ClusteringConfig, on_gpu: bool | None = None) -> Vectors:
    """K-means (faiss, Euclidean) of a sample (s, d) of unit rows: centroids (k, d) float32, not scaled to unit length.

    ``config`` is ``resolved``. ``on_gpu`` None: when faiss sees a GPU. The same sample, config and machine give the
    same centroids.

    Raises ClimbError when the sample has fewer rows than clusters are wanted.
    """
    import faiss

    size, dimensions = sample.shape
    if size < config.n_clusters:
        raise ClimbError(
            f"clustering.n_clusters = {config.n_clusters}, but there are only {size} documents to cluster; "
            f"set clustering.n_clusters to {size} or fewer, or to 0 for a number that fits, or add documents"
        )
    kmeans = faiss.Kmeans(
        dimensions,
        config.n_clusters,
        niter=config.iterations,
        nredo=config.restarts,
        seed=config.seed,
        gpu=faiss.get_num_gpus() > 0 if on_gpu is None else on_gpu,
        min_points_per_centroid=1,  # only the threshold of a warning
        max_points_per_centroid=config.points_per_cluster,
    )
    kmeans.train(np.ascontiguousarray(sample, dtype=np.float32))
    return np.asarray(kmeans.centroids, dtype=np.float32)


def assign(vectors: npt.NDArray[Any], centroids: Vectors) -> tuple[Clusters, npt.NDArray[np.float32]]:
    """The nearest centroid (k, d) of each vector (n, d): clusters (n,) int32, Euclidean distances (n,) float32."""
    import faiss

    index = faiss.IndexFlatL2(centroids.shape[1])
    index.add(np.ascontiguousarray(centroids, dtype=np.float32))
    clusters = np.empty(len(vectors), dtype=np.int32)
    distances = np.empty(len(vectors), dtype=np.float32)
    for start in range(0, len(vectors), ASSIGN_ROWS):
        batch = slice(start, start + ASSIGN_ROWS)
        squared, nearest = index.search(np.ascontiguousarray(vectors[batch], dtype=np.float32), 1)
        clusters[batch] = nearest[:, 0]
        distances[batch] = np.sqrt(np.maximum(squared[:, 0], 0))  # rounding can leave a square below 0
    return clusters, distances


def distinct_values(columns: Iterable[pa.ChunkedArray], name: str) -> tuple[str, ...]:
    """The values of a column that comes in parts, as sorted text, cluster_2 before cluster_10; "" stands for none.

    Raises ClimbError when they are too many to be clusters, or only one.
    """
    found: set[str] = set()
    for column in columns:
        found.update(_as_text(column.unique()).to_pylist())
        if len(found) > MOST_GIVEN:
            raise ClimbError(
                f"clustering.given = {name!r}: the column has more than {MOST_GIVEN:,} values, too many for clusters; "
                "name another one, or leave it empty for k-means"
            )
    if len(found) < 2:
        raise ClimbError(
            f"clustering.given = {name!r}: every document has the same value there ({', '.join(found)!r}); name a "
            "column that tells them apart, or leave it empty for k-means"
        )
    return tuple(sorted(found, key=_natural))


def given_clusters(column: pa.ChunkedArray, values: pa.ChunkedArray) -> Clusters:
    """The cluster of each document (n,) int32: where its value of the column (n,) is among the distinct ``values``."""
    import pyarrow.compute as pc

    return np.asarray(pc.index_in(_as_text(column), value_set=values), dtype=np.int32)


def means(parts: Iterable[tuple[npt.NDArray[Any], Clusters]], k: int) -> Vectors:
    """The mean vector of each of ``k`` clusters (k, d) float32, from (n, d) vectors and (n,) clusters of every part."""
    counts, sums = np.zeros(k, np.int64), np.zeros((k, 1))
    for vectors, clusters in parts:
        sums = sums if sums.shape[1] == vectors.shape[1] else np.zeros((k, vectors.shape[1]))
        order = np.argsort(clusters, kind="stable")
        there, first = np.unique(clusters[order], return_index=True)
        sums[there] += np.add.reduceat(vectors[order], first, axis=0, dtype=np.float64)
        counts += np.bincount(clusters, minlength=k)
    return np.asarray(sums / np.maximum(counts, 1)[:, None], dtype=np.float32)


def distances_to(vectors: Vectors, centroids: Vectors, clusters: Clusters) -> npt.NDArray[np.float32]:
    """The Euclidean distance of each vector (n, d) to the centroid (k, d) of its cluster (n,)."""
    return np.asarray(np.linalg.norm(vectors - centroids[clusters], axis=1), dtype=np.float32)


def _as_text(column: Any) -> Any:
    """Values as strings, whole numbers without a point; "" for none."""
    import pyarrow.compute as pc

    return pc.fill_null(column.cast(pa.string()), "")


def _natural(value: str) -> tuple[list[str | int], str]:
    """Sorts the numbers in names by their value; of a part of the list, the odd ones are numbers."""
    pieces = re.split(r"([0-9]{1,18})", value)
    return [int(piece) if place % 2 else piece for place, piece in enumerate(pieces)], value


def keyword_rows(clusters: Clusters, per_cluster: int, seed: int) -> Ids:
    """Draw at most ``per_cluster`` documents of each cluster, at random; their sorted rows in ``clusters`` (n,)."""
    shuffle = np.random.default_rng(seed).random(len(clusters), dtype=np.float32)
    order = np.lexsort((shuffle, clusters))
    grouped = clusters[order]
    first = np.searchsorted(grouped, grouped)  # where each one's cluster starts
    return np.sort(order[np.arange(len(order)) - first < per_cluster])


def cluster_keywords(
    texts: Sequence[str], clusters: npt.NDArray[np.integer[Any]], n_clusters: int, top: int
) -> tuple[tuple[str, ...], ...]:
    """The ``top`` words of each cluster, best first, from a sample of texts (n) and their clusters (n,).

    Class-based TF-IDF (BERTopic, arXiv 2203.05794): a word's share of the cluster's words, times log(1 + A / f), where
    f counts it in all clusters and A is the mean number of words per cluster. Words are three or more letters of any
    script, in at least two documents, without English stop words, markup and addresses. A cluster without any has ().
    """
    counts, words = _count_words(texts)
    if not words:
        return ((),) * n_clusters
    weights = _class_tf_idf(_sum_by_cluster(counts, clusters, n_clusters))
    rows = (slice(*weights.indptr[cluster : cluster + 2]) for cluster in range(n_clusters))
    return tuple(_best(words, weights.indices[row], weights.data[row], top) for row in rows)


def _count_words(texts: Sequence[str]) -> tuple[Any, list[str]]:
    """Counts (n, v) as a sparse matrix, and the v words in alphabetical order."""
    from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS, CountVectorizer

    stop_words = sorted(ENGLISH_STOP_WORDS.union(_CONTRACTIONS.split()))
    vectorizer = CountVectorizer(
        preprocessor=_plain, token_pattern=_WORD, stop_words=[word for word in stop_words if len(word) > 2]
    )
    try:
        counts = vectorizer.fit_transform(texts)
    except ValueError:  # what scikit-learn says when there is no word at all
        return None, []
    documents = counts.getnnz(axis=0)
    common = np.lexsort((np.arange(len(documents)), -documents))[:KEYWORD_VOCABULARY]
    kept = np.sort(common[documents[common] > 1])
    return counts[:, kept], list(vectorizer.get_feature_names_out()[kept])


def _plain(text: str) -> str:
    return _MARKUP.sub(" ", text).lower()


def _sum_by_cluster(counts: Any, clusters: npt.NDArray[np.integer[Any]], n_clusters: int) -> Any:
    """Sparse (n, v) to sparse (n_clusters, v)."""
    from scipy.sparse import csr_matrix

    n = counts.shape[0]
    member = csr_matrix((np.ones(n), (clusters, np.arange(n))), shape=(n_clusters, n))
    return (member @ counts).tocsr()


def _class_tf_idf(counts: Any) -> Any:
    """Sparse counts (n_clusters, v) to weights that order each cluster's words: not divided by the cluster's size."""
    from scipy.sparse import diags

    frequency = np.asarray(counts.sum(axis=0)).ravel()
    per_cluster = frequency.sum() / np.count_nonzero(counts.getnnz(axis=1))
    return (counts @ diags(np.log1p(per_cluster / frequency))).tocsr()


def _best(words: list[str], indices: Ids, weights: npt.NDArray[np.float64], top: int) -> tuple[str, ...]:
    order = np.lexsort((indices, -weights))[:top]  # a tie goes by the alphabet
    return tuple(words[index] for index in indices[order])
