"""How well pruning by each scorer finds junk that is known to be junk.

``python benchmarks/scorers.py documents.parquet`` needs a table of ``text`` and ``source`` with a source of junk. It
embeds and clusters a sample, scores it, prunes clusters by their mean of ``advertisement``, and counts documents:
precision is the share of junk among what was pruned, recall the share of the junk that was pruned. Labels are simulated
from the source, with the noise of a hasty rater; one core, a few minutes.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from record import save

from climb_engine.config import ClusteringConfig, DomainsConfig, EmbeddingConfig
from climb_engine.curate.clustering import assign, train_centroids
from climb_engine.curate.embedding import embed, load_embedder
from climb_engine.curate.fasttext import FastTextScorer, normalised
from climb_engine.curate.head import suggest, train_head
from climb_engine.curate.heuristics import HeuristicsScorer
from climb_engine.types import METRICS

LABELS = (50, 100, 200)
METRIC = "advertisement"
MEANS, SPREAD = {True: 0.8, False: 4.3}, 0.8  # of simulated ratings, of junk and of the rest
FASTTEXT = {"epoch": 50, "lr": 0.5, "dim": 16, "wordNgrams": 2, "minCount": 1, "bucket": 50_000}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="Parquet with the columns text and source")
    parser.add_argument("--junk", default="spam", help="the source that is junk")
    parser.add_argument("--documents", type=int, default=12_000, help="size of the random sample")
    parser.add_argument("--clusters", type=int, default=200)
    parser.add_argument("--seeds", type=int, default=5)
    arguments = parser.parse_args()
    report = measure(arguments)
    save("scorers", report)
    show(report)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    began = time.perf_counter()
    table = pq.read_table(arguments.corpus, columns=["text", "source"])
    rows = np.sort(np.random.default_rng(0).permutation(table.num_rows)[: arguments.documents])
    documents = table.take(pa.array(rows))
    junk = np.array(documents["source"].to_pylist()) == arguments.junk
    vectors = embed(documents["text"].to_pylist(), load_embedder(EmbeddingConfig()), 256).astype(np.float32)
    rules = HeuristicsScorer().score(documents)
    results = []
    for seed in range(arguments.seeds):
        config = ClusteringConfig(n_clusters=arguments.clusters, seed=seed)
        clusters = assign(vectors, train_centroids(vectors, config, on_gpu=False))[0]
        for name, scores in scored(documents, vectors, junk, rules, seed):
            results.append({"scorer": name, "seed": seed, **judged(scores, clusters, junk)})
            print(f"seed {seed}: {name}, {time.perf_counter() - began:.0f} s", file=sys.stderr)
    return {
        "corpus": arguments.corpus.name,
        "documents": len(rows),
        "junk": int(junk.sum()),
        "clusters": arguments.clusters,
        "seconds": round(time.perf_counter() - began, 1),
        "rows": results,
    }


def scored(
    documents: pa.Table, vectors: np.ndarray, junk: np.ndarray, rules: np.ndarray, seed: int
) -> Iterator[tuple[str, np.ndarray]]:
    """Scorer's name and the scores (n,) that it gives, labels drawn by ``seed``."""
    yield "perfect scores", np.where(junk, 0.0, 5.0)
    yield "heuristics", rules[:, METRICS.index(METRIC)]
    rng = np.random.default_rng([seed, 1])
    ratings = np.where(junk, MEANS[True], MEANS[False]) + rng.normal(size=len(junk)) * SPREAD
    ratings = np.clip(np.rint(ratings), 0, 5).astype(np.float32)
    order, chosen = rng.permutation(len(junk)), np.empty(0, dtype=np.int64)
    for count in LABELS:
        yield f"ratings, {count} at random", head(vectors, ratings, order[:count])
        chosen = np.concatenate([chosen, suggest(vectors.__getitem__, len(vectors), chosen, count - len(chosen), seed)])
        yield f"ratings, {count} suggested", head(vectors, ratings, chosen)
        yield f"fasttext, {count} at random", fasttext(documents, ratings, order[:count])
        yield f"fasttext, {count} suggested", fasttext(documents, ratings, chosen)


def head(vectors: np.ndarray, ratings: np.ndarray, rated: np.ndarray) -> np.ndarray:
    values = np.full((len(rated), len(METRICS)), np.nan, np.float32)
    values[:, METRICS.index(METRIC)] = ratings[rated]
    return train_head("ratings", vectors[rated], values).score(pa.table({}), vectors)[:, 0]


def fasttext(documents: pa.Table, ratings: np.ndarray, rated: np.ndarray) -> np.ndarray:
    from fasttext import train_supervised

    texts = documents["text"].take(pa.array(rated)).to_pylist()
    lines = [f"__label__{int(ratings[i])} {normalised(text)}" for i, text in zip(rated, texts, strict=True)]
    with tempfile.TemporaryDirectory() as folder:
        path, model = Path(folder, "labels.txt"), Path(folder, "model.bin")
        path.write_text("\n".join(lines), encoding="utf-8")
        train_supervised(str(path), thread=1, verbose=0, **FASTTEXT).save_model(str(model))
        return FastTextScorer({METRIC: model}).score(documents)[:, 0]


def judged(scores: np.ndarray, clusters: np.ndarray, junk: np.ndarray) -> dict[str, float]:
    """Precision, recall and F1 of pruning at the default threshold, and at the best one there is."""
    told = np.isfinite(scores)
    sums = np.bincount(clusters[told], weights=scores[told])
    with np.errstate(invalid="ignore"):
        means = sums / np.bincount(clusters[told])
    sizes = np.bincount(clusters, minlength=len(means)).astype(float)
    bad = np.bincount(clusters, weights=junk, minlength=len(means))
    limit = DomainsConfig().thresholds[METRIC]
    best = max((figures(means < cut, sizes, bad) | {"threshold": float(cut)} for cut in np.unique(means[sizes > 0])),
               key=lambda found: found["f1"])  # fmt: skip
    return figures(means < limit, sizes, bad) | {f"best_{name}": value for name, value in best.items()}


def figures(pruned: np.ndarray, sizes: np.ndarray, bad: np.ndarray) -> dict[str, float]:
    """Of pruning these clusters; the precision of pruning nothing is 1."""
    hit, precision = bad[pruned].sum(), 1.0
    if pruned.any():
        precision = hit / sizes[pruned].sum()
    recall = hit / bad.sum()
    f1 = 2 * precision * recall / (precision + recall) if hit else 0.0
    return {"precision": float(precision), "recall": float(recall), "f1": float(f1)}


def show(report: dict[str, Any]) -> None:
    print("| scorer | precision, recall at the default threshold | at the best threshold | best F1 | best threshold |")
    print("|---" * 5 + "|")
    for name in dict.fromkeys(row["scorer"] for row in report["rows"]):
        rows = [row for row in report["rows"] if row["scorer"] == name]
        mean = {key: np.mean([row[key] for row in rows]) for key in rows[0] if key not in ("scorer", "seed")}
        best = [row["best_f1"] for row in rows]
        found = f"{mean['precision']:.2f}, {mean['recall']:.2f}" if mean["recall"] else "prunes nothing"
        print(
            f"| {name} | {found} | {mean['best_precision']:.2f}, "
            f"{mean['best_recall']:.2f} | {np.mean(best):.2f} ({min(best):.2f} to {max(best):.2f}) | "
            f"{mean['best_threshold']:.1f} |"
        )
    print(f"\n{report['documents']} documents, {report['junk']} of them junk; {report['seconds']} seconds")


if __name__ == "__main__":
    main()
