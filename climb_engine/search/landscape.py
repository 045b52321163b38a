"""Mixtures to a map: where each stands, batch after batch, without the former ones jumping.

Distances are Hellinger's, those between the square roots of the weights: a domain that goes from nothing to a few per
cent counts as much as a large one that changes by a third. A map is of the ``n`` mixtures so far over ``m`` domains.
"""

from __future__ import annotations

import numpy as np

from climb_engine.types import FloatArray

FEWEST = 8  # mixtures that a neighbourhood method needs; fewer are shown in their principal plane
PERPLEXITY = 30.0  # at most: about how many neighbours t-SNE keeps near
_START = 1e-4  # spread of t-SNE's starting positions (Kobak & Berens 2019)
_NEIGHBOURS = 4  # fitted mixtures that place one that was not fitted
_NEAR = 1e-6  # Hellinger distance below which two mixtures stand at the same place


def next_map(weights: FloatArray, former: FloatArray, seed: int = 0) -> FloatArray:
    """Positions (n, 2) of mixtures (n, m) of which the first f had the positions ``former`` (f, 2), f from 0.

    t-SNE (van der Maaten & Hinton 2008) of the square roots. It starts from the former positions, new mixtures beside
    their nearest former ones, and what it finds is laid over the former map, so that former mixtures stay near where
    they were. The same for the same arguments and machine.
    """
    if len(former) < FEWEST:
        start = principal_map(weights, weights)
    else:
        start = np.concatenate([former, placed(weights[len(former) :], weights[: len(former)], former)])
    found = start if len(weights) < FEWEST else _tsne(np.sqrt(weights), start, len(former) >= FEWEST, seed)
    return laid_over(found, former) if len(former) else found - found.mean(axis=0)


def principal_map(weights: FloatArray, among: FloatArray) -> FloatArray:
    """Positions (n, 2) of mixtures (n, m) in the plane in which the square roots of ``among`` (k, m) vary most.

    With the same ``among`` no mixture moves when others come. No axis is flipped by chance.
    """
    centre = np.sqrt(among).mean(axis=0)
    axes = np.linalg.svd(np.sqrt(among) - centre, full_matrices=True)[2][:2].T  # (m, up to 2)
    axes = axes * np.where(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])] < 0, -1, 1)
    positions = np.zeros((len(weights), 2))
    positions[:, : axes.shape[1]] = (np.sqrt(weights) - centre) @ axes
    return positions


def placed(weights: FloatArray, fitted: FloatArray, positions: FloatArray) -> FloatArray:
    """Positions (n, 2) of mixtures (n, m) among fitted ones (k, m), k from 1, that have ``positions`` (k, 2).

    The weighted mean of the nearest fitted ones' positions; a mixture that was fitted stands where it was.
    """
    a, b = np.sqrt(weights), np.sqrt(fitted)
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    nearest = np.argsort(squares, axis=1, kind="stable")[:, :_NEIGHBOURS]
    distances = np.sqrt(np.maximum(np.take_along_axis(squares, nearest, axis=1), 0.0))
    shares = 1 / np.maximum(distances, _NEAR) ** 2
    shares = np.where(distances[:, :1] < _NEAR, np.eye(1, nearest.shape[1]), shares)
    shares = shares / shares.sum(axis=1, keepdims=True)
    return np.asarray((positions[nearest] * shares[..., None]).sum(axis=1))


def laid_over(positions: FloatArray, former: FloatArray) -> FloatArray:
    """Positions (n, 2) turned, mirrored, scaled and moved as one, so that the first f lie nearest to ``former`` (f, 2).

    Ordinary Procrustes analysis (Gower 1975).
    """
    mine = positions[: len(former)]
    here, there = mine.mean(axis=0), former.mean(axis=0)
    left, sizes, right = np.linalg.svd((mine - here).T @ (former - there))
    spread = float(((mine - here) ** 2).sum())
    scale = float(sizes.sum()) / spread if spread else 1.0
    return np.asarray((scale or 1.0) * (positions - here) @ left @ right + there)


def _tsne(roots: FloatArray, start: FloatArray, settled: bool, seed: int) -> FloatArray:
    """``settled``: the start is a map already, which is not pressed together first, so that it keeps its order."""
    from sklearn.manifold import TSNE

    spread = float(start[:, 0].std()) or 1.0
    model = TSNE(
        perplexity=min(PERPLEXITY, (len(roots) - 1) / 3),
        init=(start if settled else _START / spread * start).astype(np.float32),
        early_exaggeration=1.0 if settled else 12.0,
        max_iter=500 if settled else 1000,
        random_state=seed,
    )
    return np.asarray(model.fit_transform(roots), dtype=np.float64)
