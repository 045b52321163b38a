"""How fast near-duplicates are found, how many a corpus has, and how much of the truth that is.

    python benchmarks/duplicates.py documents.parquet

The truth is the exact Jaccard similarity: of all pairs of the corpus that share a shingle, and of planted copies in
which some words are replaced. The peer is datasketch's own index of the same signatures, with its own banding.
Writes benchmarks/results/duplicates.json.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from datasketch import MinHash, MinHashLSH
from record import save
from scipy.sparse import csr_array
from xxhash import xxh3_64_intdigest

from climb_engine.config import DuplicatesConfig
from climb_engine.curate.duplicates import banding, groups, signatures

CONFIG = DuplicatesConfig(method="minhash")
PART = 10_000
SHARES = (0.0, 0.01, 0.02, 0.05, 0.1, 0.2, 0.4)
Pairs = tuple[np.ndarray, np.ndarray, np.ndarray]  # earlier documents, later ones, their similarities


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="Parquet with the columns text and source")
    parser.add_argument("--planted", type=int, default=2000, help="documents that are copied")
    parser.add_argument("--large", type=int, default=1_000_000, help="made-up signatures that are grouped")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    sketches, speed = measure(given.corpus)  # first, so that the peak is its own
    table = pq.read_table(given.corpus, columns=["text", "source"])
    texts, sources = table["text"].to_pylist(), np.array(table["source"].to_pylist())
    duplicate_of = groups(sketches, CONFIG)
    pairs = similar_pairs(texts, 0.4)
    report = {
        "corpus": given.corpus.name,
        "knobs": {name: getattr(CONFIG, name) for name in ("threshold", "shingle", "permutations")},
        "banding": banding(CONFIG),
        "speed": speed | {f"seconds_to_group_{given.large}": large(given.large)},
        "found": found(duplicate_of, sources),
        "rows": [row(str(source), sources == source, duplicate_of) for source in np.unique(sources)],
        "exact": [exact(sketches, pairs, threshold) for threshold in (0.5, 0.6, 0.7, 0.8, 0.9, 1.0)],
        "peer": peer(np.concatenate(sketches), pairs),
        "planted": planted(texts, given.planted, np.random.default_rng(given.seed)),
    }
    save("duplicates", report)
    show(report)


def measure(corpus: Path) -> tuple[list[np.ndarray], dict[str, Any]]:
    """Signatures of the corpus, part by part, and what they and their groups cost."""
    sketches, took = [], 0.0
    for batch in pq.ParquetFile(corpus).iter_batches(PART, columns=["text"]):
        texts = batch["text"].to_pylist()
        start = time.process_time()
        sketches.append(signatures(texts, CONFIG))
        took += time.process_time() - start
    start = time.process_time()
    groups(sketches, CONFIG)
    grouped = time.process_time() - start
    documents = sum(map(len, sketches))
    return sketches, {
        "documents": documents,
        "documents_per_second": round(documents / (took + grouped)),
        "seconds_for_signatures": round(took, 1),
        "seconds_for_groups": round(grouped, 2),
        "peak_mb": round(peak_mb()),
    }


def peak_mb() -> float:
    """Most memory that this process held so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def large(documents: int) -> float:
    """Seconds to group made-up signatures, a tenth of which are near copies of others."""
    rng = np.random.default_rng(0)
    entries = rng.integers(2**32, size=(documents, CONFIG.permutations), dtype=np.uint32)
    tenth = documents // 10
    kept = rng.random((tenth, CONFIG.permutations)) < 0.9
    entries[-tenth:] = np.where(kept, entries[:tenth], entries[-tenth:])
    start = time.process_time()
    groups(np.split(entries, range(PART, documents, PART)), CONFIG)
    return round(time.process_time() - start, 1)


def similar_pairs(texts: list[str], least: float) -> Pairs:
    """All pairs with an exact similarity of at least ``least``, counted by the shingles that they share."""
    sets = [shingles(text) for text in texts]
    sizes = np.array([len(each) for each in sets])
    _, column, count = np.unique(np.concatenate(sets), return_inverse=True, return_counts=True)
    shared = count[column] > 1
    owner = np.repeat(np.arange(len(sets)), sizes)[shared]
    _, column = np.unique(column[shared], return_inverse=True)
    has = csr_array((np.ones(len(owner), np.int32), (owner, column)), shape=(len(sets), int(column.max()) + 1))
    parts = []
    for start in range(0, len(sets), 2000):
        both = (has[start : start + 2000] @ has.T).tocoo()
        one, other = both.coords[0] + start, both.coords[1]
        similarity = both.data / (sizes[one] + sizes[other] - both.data)
        keep = (one < other) & (similarity >= least)
        parts.append((one[keep], other[keep], similarity[keep]))
    one, other, similarity = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    return one, other, similarity


def shingles(text: str) -> np.ndarray:
    words, size = text.lower().split(), CONFIG.shingle
    runs = [" ".join(words[i : i + size]) for i in range(max(len(words) - size + 1, min(len(words), 1)))]
    return np.unique(np.array([xxh3_64_intdigest(run.encode()) for run in runs], np.uint64))


def jaccard(one: str, other: str) -> float:
    a, b = shingles(one), shingles(other)
    both = len(np.intersect1d(a, b, assume_unique=True))
    return both / (len(a) + len(b) - both)


def firsts(duplicate_of: np.ndarray) -> np.ndarray:
    return np.where(duplicate_of < 0, np.arange(len(duplicate_of)), duplicate_of)


def found(duplicate_of: np.ndarray, sources: np.ndarray) -> dict[str, Any]:
    copies = np.flatnonzero(duplicate_of >= 0)
    sizes = Counter(duplicate_of[copies].tolist())
    return {
        "duplicates": len(copies),
        "groups": len(sizes),
        "largest_groups": [size + 1 for _, size in sizes.most_common(5)],
        "of_another_source_than_the_first": int((sources[copies] != sources[duplicate_of[copies]]).sum()),
    }


def row(source: str, mine: np.ndarray, duplicate_of: np.ndarray) -> dict[str, Any]:
    copies = int((duplicate_of[mine] >= 0).sum())
    return {"source": source, "documents": int(mine.sum()), "duplicates": copies}


def exact(sketches: list[np.ndarray], pairs: Pairs, threshold: float) -> dict[str, Any]:
    """What groups at a threshold hold of the pairs that truly reach it."""
    one, other, similarity = pairs
    duplicate_of = groups(sketches, CONFIG.model_copy(update={"threshold": threshold}))
    first = firsts(duplicate_of)
    together, true = first[one] == first[other], similarity >= threshold
    clear, entries = similarity >= min(threshold + 0.05, 1), np.concatenate(sketches)
    estimated = (entries[one[true]] == entries[other[true]]).mean(axis=1) >= threshold
    copies = np.flatnonzero(duplicate_of >= 0)
    alike = dict(zip(zip(one.tolist(), other.tolist(), strict=True), similarity.tolist(), strict=True))
    to_first = np.array([alike.get((int(duplicate_of[i]), int(i)), 0.0) for i in copies])
    return {
        "threshold": threshold,
        "true_pairs": int(true.sum()),
        "estimated_to_reach_it": round(float(estimated.mean()), 4),
        "in_one_group": round(float(together[true].mean()), 4),
        "in_one_group_if_0.05_above": round(float(together[clear].mean()), 4),
        "duplicates": len(copies),
        "duplicates_that_reach_it_with_their_first": round(float((to_first >= threshold).mean()), 3),
        "duplicates_within_0.1_of_it": round(float((to_first >= threshold - 0.1).mean()), 3),
    }


def peer(entries: np.ndarray, pairs: Pairs) -> dict[str, Any]:
    """The index of datasketch with its own banding: candidate pairs whose signatures reach the threshold."""
    start = time.process_time()
    sketches = [MinHash(hashvalues=each, seed=CONFIG.seed, scheme="affine32") for each in entries]
    made = time.process_time()
    index = MinHashLSH(threshold=CONFIG.threshold, num_perm=CONFIG.permutations)
    for number, sketch in enumerate(sketches):
        index.insert(number, sketch)
    caught = {
        (hit, number)
        for number, sketch in enumerate(sketches)
        for hit in index.query(sketch)
        if hit < number and (entries[hit] == entries[number]).mean() >= CONFIG.threshold
    }
    took = time.process_time() - made
    one, other, similarity = pairs
    true = similarity >= CONFIG.threshold
    hits = [pair in caught for pair in zip(one[true].tolist(), other[true].tolist(), strict=True)]
    return {
        "banding": [index.b, index.r],
        "true_pairs_caught": round(float(np.mean(hits)), 4),
        "seconds_for_objects": round(made - start, 1),
        "seconds": round(took, 1),
    }


def planted(texts: list[str], documents: int, rng: np.random.Generator) -> dict[str, Any]:
    """Copies of documents of 50 words and more, in which a share of the words is replaced by words of the corpus."""
    long = [text for text in texts if len(text.split()) >= 50]
    originals = [long[i] for i in rng.choice(len(long), documents, replace=False)]
    words = np.array(" ".join(originals).split(), dtype=object)
    rows, all_found, all_true = [], [], []
    for share in SHARES:
        copies = [replaced(text, share, words, rng) for text in originals]
        duplicate_of = groups([signatures([*originals, *copies], CONFIG)], CONFIG)
        first = firsts(duplicate_of)
        caught = first[documents:] == first[:documents]
        similarity = np.array([jaccard(*pair) for pair in zip(originals, copies, strict=True)])
        rows.append({"replaced": share, "similarity": round(float(similarity.mean()), 3),
                     "reach_the_threshold": round(float((similarity >= CONFIG.threshold).mean()), 4),
                     "found": round(float(caught.mean()), 4)})  # fmt: skip
        all_found.append(caught)
        all_true.append(similarity >= CONFIG.threshold)
    caught, true = np.concatenate(all_found), np.concatenate(all_true)
    return {
        "documents": documents,
        "precision": round(float(true[caught].mean()), 4),
        "recall": round(float(caught[true].mean()), 4),
        "rows": rows,
    }


def replaced(text: str, share: float, words: np.ndarray, rng: np.random.Generator) -> str:
    own = text.split()
    for place in rng.choice(len(own), round(share * len(own)), replace=False):
        own[place] = words[rng.integers(len(words))]
    return " ".join(own)


def show(report: dict[str, Any]) -> None:
    print(report["speed"], report["found"], report["peer"], sep="\n")
    print("\n| source | documents | near-duplicates |\n|---|---|---|")
    for entry in sorted(report["rows"], key=lambda entry: -entry["duplicates"]):
        print(f"| {entry['source']} | {entry['documents']:,} | {entry['duplicates']:,} |")
    for name, rows in (("exact", report["exact"]), ("planted", report["planted"]["rows"])):
        print(f"\n{name}\n| " + " | ".join(rows[0]) + " |\n" + "|---" * len(rows[0]) + "|")
        for entry in rows:
            print("| " + " | ".join(f"{value:,}" for value in entry.values()) + " |")
    print(f"planted: precision {report['planted']['precision']}, recall {report['planted']['recall']}")


if __name__ == "__main__":
    main()
