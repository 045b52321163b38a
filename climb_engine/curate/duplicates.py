"""Near-duplicate documents: MinHash signatures of word shingles, and the groups of those that share most of them.

A document is the set of its runs of ``shingle`` words. The Jaccard similarity of two such sets is the share of equal
entries in their signatures, in expectation (Broder 1997, "On the resemblance and containment of documents"), with a
standard error of sqrt(J (1 - J) / permutations). Which pairs are looked at at all is decided by banding (Leskovec,
Rajaraman and Ullman, "Mining of Massive Datasets", chapter 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from climb_engine.config import DuplicatesConfig
from climb_engine.types import Ids

Signatures = npt.NDArray[np.uint32]
Keys = npt.NDArray[np.uint64]

BLANK = np.uint32(2**32 - 1)  # every entry of a document without a word
CAUGHT = 0.99  # a pair at the threshold becomes a candidate with at least this probability
NEIGHBOURS = 16  # documents of its bucket that a document is compared with, on either side
_SHINGLES = 2048  # hashed at once, so that a long document needs no more memory than a short one
_PAIRS = 16_384  # compared at once


def signatures(texts: Sequence[str], config: DuplicatesConfig) -> Signatures:
    """MinHash signatures, (n, permutations) uint32: the same on every machine, whatever else is in ``texts``.

    Words are lower-cased and parted by white space. A document shorter than one shingle is one shingle of all its
    words; one without a word has ``BLANK`` everywhere.
    """
    from datasketch import MinHash
    from xxhash import xxh32_intdigest

    sketch = MinHash(config.permutations, config.seed, hashfunc=xxh32_intdigest, scheme="affine32")
    found = np.empty((len(texts), config.permutations), np.uint32)
    for row, text in zip(found, texts, strict=True):
        sketch.clear()
        shingles = _shingles(text, config.shingle)
        for start in range(0, len(shingles), _SHINGLES):
            sketch.update_batch(shingles[start : start + _SHINGLES])
        row[:] = sketch.hashvalues
    return found


def groups(parts: Sequence[Signatures], config: DuplicatesConfig) -> Ids:
    """For each document the first document of its group, (n,) int64; -1 for one that stands for itself.

    ``parts`` are signatures in the corpus's order (memory maps will do). A candidate is a near-duplicate when at least
    ``threshold`` of the entries are equal; groups are what such pairs connect, so two documents of a group need not be
    near-duplicates of each other. Documents without a word are in no group. How the documents are parted and ordered
    changes nothing but which one of a group is its first.

    Two approximations, both of which can only miss pairs. A pair becomes a candidate when all rows of a band agree:
    see ``banding``. And in a bucket a document is compared with its ``NEIGHBOURS``, not with all of it, the bucket
    being ordered by the next band; so buckets of up to 17 are compared in full, and none costs more than its size.
    Memory: some 100 bytes per document, and a block of signatures.
    """
    stack = _Stack(parts)
    first: Ids = np.arange(stack.documents)
    rows = np.flatnonzero(stack.worded())
    whole = stack.keys(slice(None))
    first = _joined(stack, first, rows, (whole,), config.threshold)
    rows = rows[first[rows] == rows]  # from here on, equal signatures are looked at once
    bands, width = banding(config)
    keys = stack.keys(slice(0, width))
    for band in range(1, bands + 1):
        start = band % bands * width
        following = stack.keys(slice(start, start + width))
        first = _joined(stack, first, rows, (keys, following, whole), config.threshold)
        keys = following
    return np.where(first == np.arange(len(first)), -1, first)


def banding(config: DuplicatesConfig) -> tuple[int, int]:
    """Bands, and entries per band: the widest bands that make a candidate of a pair at the threshold with ``CAUGHT``.

    A pair of similarity J agrees in one of b bands of r entries with probability 1 - (1 - J^r)^b. The usual rule puts
    the middle of that curve at the threshold, which misses many of the pairs just above it; to compare signatures is
    so cheap here that false candidates do not matter.
    """
    for width in range(config.permutations, 1, -1):
        bands = config.permutations // width
        if 1 - (1 - config.threshold**width) ** bands >= CAUGHT:
            return bands, width
    return config.permutations, 1


def _shingles(text: str, size: int) -> list[bytes]:
    words = " ".join(text.lower().split()).encode().split()
    return [b" ".join(run) for run in zip(*(words[start:] for start in range(min(size, len(words)))), strict=False)]


@dataclass(frozen=True)
class _Stack:
    """The signatures of all parts as if they were one array, of which little is read at a time."""

    parts: Sequence[Signatures]

    @cached_property
    def starts(self) -> Ids:
        """The first document of each part, and behind them the number of documents, (parts + 1,)."""
        return np.cumsum([0, *(len(part) for part in self.parts)], dtype=np.int64)

    @property
    def documents(self) -> int:
        return int(self.starts[-1])

    def worded(self) -> npt.NDArray[np.bool_]:
        """Whether a document has a word, (n,)."""
        return np.concatenate([np.zeros(0, bool), *((part != BLANK).any(axis=1) for part in self.parts)])

    def keys(self, columns: slice) -> Keys:
        """A number that is the same where these entries are, and hardly ever elsewhere, (n,): a multilinear hash."""
        hashed = [_hashed(part[:, columns]) for part in self.parts]
        return np.concatenate([np.zeros(0, np.uint64), *hashed])

    def alike(self, pairs: Ids, threshold: float) -> npt.NDArray[np.bool_]:
        """Whether at least ``threshold`` of the entries are equal, (m,), for each of these (2, m) pairs."""
        found = np.zeros(pairs.shape[1], bool)
        for start in range(0, pairs.shape[1], _PAIRS):
            here = slice(start, start + _PAIRS)
            found[here] = (self._rows(pairs[0, here]) == self._rows(pairs[1, here])).mean(axis=1) >= threshold
        return found

    def _rows(self, ids: Ids) -> Signatures:
        found = np.empty((len(ids), self.parts[0].shape[1]), np.uint32)
        owners = np.searchsorted(self.starts, ids, side="right") - 1
        for owner in np.unique(owners):
            mine = owners == owner
            found[mine] = self.parts[owner][ids[mine] - self.starts[owner]]
        return found


def _hashed(entries: Signatures) -> Keys:
    odd = np.random.default_rng(0).integers(2**64, size=entries.shape[1], dtype=np.uint64) | np.uint64(1)
    hashed: Keys = entries.astype(np.uint64) @ odd
    return hashed


def _joined(stack: _Stack, first: Ids, rows: Ids, keys: tuple[Keys, ...], threshold: float) -> Ids:
    """``first`` once ``rows`` are compared within their buckets, which ``keys[0]`` makes and the others put in order.

    That order comes from what is in the documents, never from where they stand.
    """
    rows = _crowded(rows, keys[0])
    rows = rows[np.lexsort([key[rows] for key in reversed(keys)])]
    bucket = keys[0][rows]
    for step in range(1, NEIGHBOURS + 1):
        together = np.flatnonzero(bucket[step:] == bucket[:-step])
        if not len(together):
            break
        pairs = np.stack([rows[together], rows[together + step]])
        pairs = pairs[:, first[pairs[0]] != first[pairs[1]]]
        first = _merged(first, first[pairs[:, stack.alike(pairs, threshold)]])
    return first


def _crowded(rows: Ids, keys: Keys) -> Ids:
    """Those of ``rows`` that share their key with another one."""
    _, index, count = np.unique(keys[rows], return_inverse=True, return_counts=True)
    return rows[count[index] > 1]


def _merged(first: Ids, linked: Ids) -> Ids:
    """``first`` once the groups of each of these (2, m) pairs of first documents are one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    nodes, index = np.unique(linked, return_inverse=True)
    ends = index.reshape(linked.shape)
    graph = coo_array((np.ones(linked.shape[1], bool), (ends[0], ends[1])), shape=(len(nodes), len(nodes)))
    _, component = connected_components(graph, directed=False)
    least = np.unique(component, return_index=True)[1]  # nodes are sorted
    renamed: Ids = np.arange(len(first))
    renamed[nodes] = nodes[least[component]]
    return renamed[first]
