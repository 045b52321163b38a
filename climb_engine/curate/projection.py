"""Vectors to a map: UMAP or t-SNE of a stratified sample, every other document placed by its fitted neighbours."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from climb_engine.config import ProjectionConfig
from climb_engine.types import ClimbError, Ids, Vectors

EXACT_ROWS = 20_000
"""Up to this many fitted documents their neighbours are found exactly, beyond that in an inverted file."""

PLACE_ROWS = 16_384
"""Documents placed at a time: what bounds the memory of ``place``."""

_FEWEST = 8  # documents that a neighbourhood method needs; fewer are shown in their principal plane
_PROBES = 16  # cells of the inverted file that a query looks into
_TSNE_DIMENSIONS = 50  # t-SNE's neighbours are sought among this many principal components, as is usual


def stratified_rows(labels: npt.NDArray[np.integer[Any]], wanted: int, seed: int, least: int = 50) -> Ids:
    """Sorted rows of a sample of ``labels`` (n,), at most ``wanted``, each label by its share.

    Every label has ``least`` rows, or all it has, where ``wanted`` allows that; so that small ones can be seen.
    """
    if wanted >= len(labels):
        return np.arange(len(labels), dtype=np.int64)
    _, strata, sizes = np.unique(labels, return_inverse=True, return_counts=True)
    quota = _quota(sizes, wanted, np.minimum(sizes, min(least, wanted // len(sizes))))
    order = np.lexsort((np.random.default_rng(seed).random(len(labels)), strata))
    rank = np.arange(len(labels)) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return np.sort(order[rank < quota[strata[order]]]).astype(np.int64)


def fit(sample: Vectors, config: ProjectionConfig, on_epoch: Callable[[int, int], None] | None = None) -> Vectors:
    """Positions (s, 2) float32 of a sample (s, d) of unit rows; the same for the same sample, knobs and machine.

    UMAP (McInnes et al. 2018, arXiv 1802.03426) starts from the principal plane, and ``on_epoch`` is told the epochs
    done and their number; t-SNE (van der Maaten 2014, Barnes-Hut) tells nothing on its way.

    Raises ClimbError when umap-learn is wanted and not installed.
    """
    sample = np.ascontiguousarray(sample, dtype=np.float32)
    if len(sample) < _FEWEST:
        return principal_plane(sample)
    positions = _umap(sample, config, on_epoch) if config.method == "umap" else _tsne(sample, config)
    return np.asarray(positions - positions.mean(axis=0), dtype=np.float32)


def principal_plane(vectors: npt.NDArray[Any]) -> Vectors:
    """Positions (n, 2) float32 of vectors (n, d) in the plane in which they vary most; no axis is flipped by chance."""
    centred = np.asarray(vectors, dtype=np.float64) - np.mean(vectors, axis=0, dtype=np.float64)
    positions = np.zeros((len(centred), 2))
    if len(centred) > 1:
        axes = np.linalg.eigh(centred.T @ centred)[1][:, ::-1][:, :2]
        axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1, 1)
        positions[:, : axes.shape[1]] = centred @ axes
    return positions.astype(np.float32)


def neighbour_index(base: Vectors) -> Any:
    """A faiss index of vectors (s, d); with many it is approximate, but the same for the same vectors."""
    import faiss

    base = np.ascontiguousarray(base, dtype=np.float32)
    index: Any = faiss.IndexFlatL2(base.shape[1])
    if len(base) > EXACT_ROWS:
        index = faiss.IndexIVFFlat(index, base.shape[1], int(len(base) ** 0.5))
        index.nprobe = _PROBES
        index.train(base)
    index.add(base)
    return index


def place(vectors: npt.NDArray[Any], index: Any, fitted: Vectors, neighbours: int) -> Vectors:
    """Positions (n, 2) float32 of vectors (n, d): the weighted mean of their nearest fitted documents' positions.

    ``index`` is of the fitted documents and ``fitted`` (s, 2) where they are. A neighbour's weight falls off with how
    much farther it is than the nearest one, so that whatever lies between two groups keeps to the closer one.
    """
    placed = np.empty((len(vectors), 2), dtype=np.float32)
    for start in range(0, len(vectors), PLACE_ROWS):
        some = slice(start, start + PLACE_ROWS)
        rows, distances = _nearest(index, np.asarray(vectors[some], dtype=np.float32), min(neighbours, len(fitted)))
        further = distances - distances[:, :1]
        scale = further.mean(axis=1, keepdims=True) / 2
        weights = np.exp(-further / np.where(scale > 0, scale, 1))
        placed[some] = (fitted[rows] * weights[..., None]).sum(axis=1) / weights.sum(axis=1, keepdims=True)
    return placed


def medians(positions: Vectors, labels: npt.NDArray[np.integer[Any]], k: int) -> Vectors:
    """The median position (k, 2) float32 of each label 0 to k - 1; nan for one without documents, -1 is left out."""
    found = np.full((k, 2), np.nan, dtype=np.float32)
    order = np.argsort(labels, kind="stable")
    ends = np.searchsorted(labels[order], np.arange(k + 1))
    for label in np.flatnonzero(np.diff(ends)):
        found[label] = np.median(positions[order[ends[label] : ends[label + 1]]], axis=0)
    return found


def _quota(sizes: Ids, wanted: int, floor: Ids) -> Ids:
    """How many of each stratum (k,): ``floor`` where its share of ``wanted`` is less, the others by size."""
    lifted = np.zeros(len(sizes), dtype=bool)
    while True:
        quota = _apportioned(np.where(lifted, 0, sizes), wanted - int(floor[lifted].sum()))
        short = ~lifted & (quota < floor)
        if not short.any():
            return np.where(lifted, floor, quota)
        lifted |= short


def _apportioned(sizes: Ids, seats: int) -> Ids:
    """``seats`` divided in proportion to ``sizes`` (k,), largest remainders first; never more than there are."""
    if seats <= 0 or not sizes.sum():
        return np.zeros(len(sizes), dtype=np.int64)
    exact = sizes * (seats / sizes.sum())
    whole = np.floor(exact).astype(np.int64)
    whole[np.argsort(whole - exact, kind="stable")[: seats - int(whole.sum())]] += 1
    capped: Ids = np.minimum(whole, sizes)
    return capped


def _nearest(index: Any, queries: Vectors, k: int) -> tuple[Ids, Vectors]:
    """Rows (n, k) and distances (n, k) of the nearest; where an inverted file finds too few, the nearest again."""
    squares, rows = index.search(np.ascontiguousarray(queries), k)
    missing = rows < 0
    rows = np.where(missing, rows[:, :1], rows)
    return rows, np.sqrt(np.maximum(np.where(missing, squares[:, :1], squares), 0)).astype(np.float32)


def _umap(sample: Vectors, config: ProjectionConfig, on_epoch: Callable[[int, int], None] | None) -> Vectors:
    try:
        with warnings.catch_warnings(action="ignore"):  # about parts of the package that are not used here
            from umap import UMAP  # type: ignore[import-untyped]
    except ImportError as error:
        raise ClimbError(
            "the map needs umap-learn; install it with: pip install 'climb-studio[ui]', or set projection.method = "
            "'tsne'"
        ) from error
    k = min(config.neighbours, len(sample) - 1)
    rows, distances = _nearest(neighbour_index(sample), sample, k)
    with warnings.catch_warnings(action="ignore"):  # that a seed means one thread, and that nothing can be added later
        reducer = UMAP(
            n_neighbors=k,
            min_dist=config.min_distance,
            init="pca",
            random_state=config.seed,
            n_jobs=1,
            precomputed_knn=(rows.astype(np.int32), distances),
            tqdm_kwds={"disable": on_epoch is None, "file": _Epochs(on_epoch), "bar_format": "{n_fmt}/{total_fmt}"},
        )
        positions: Vectors = reducer.fit_transform(sample)
    return positions


class _Epochs:
    """The file that UMAP's progress bar is written to: it reads the epochs and tells them."""

    def __init__(self, on_epoch: Callable[[int, int], None] | None) -> None:
        self._on_epoch = on_epoch

    def write(self, text: str) -> None:
        if (epochs := re.search(r"(\d+)/(\d+)", text)) and self._on_epoch:
            self._on_epoch(int(epochs[1]), int(epochs[2]))

    def flush(self) -> None:
        """Nothing is held back."""


def _tsne(sample: Vectors, config: ProjectionConfig) -> Vectors:
    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE

    parts = min(_TSNE_DIMENSIONS, *sample.shape)
    reduced = PCA(parts, svd_solver="covariance_eigh").fit_transform(sample)
    perplexity = min(2 * config.neighbours, (len(sample) - 1) / 3)
    positions: Vectors = TSNE(perplexity=perplexity, init="pca", random_state=config.seed).fit_transform(reduced)
    return positions
