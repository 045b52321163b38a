"""Documents per second and peak memory of every stage at two corpus sizes, ten times apart.

    python benchmarks/stages.py documents.parquet [--small 5000]

Each stage runs in a process of its own, so that its peak memory is its own. Writes benchmarks/results/stages.json.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from record import save

from climb_engine.config import RunConfig
from climb_engine.pipeline import Run
from climb_engine.stages.graph import STAGES

CLUSTERS = 200
NEEDED = [stage for stage in STAGES if not stage.optional]


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("corpus", help="a file or folder of documents with a text column")
    options.add_argument("--small", type=int, default=5000, help="documents of the smaller corpus")
    given = options.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for documents in (given.small, 10 * given.small):
            rows += measure(Path(scratch) / f"d{documents}", given.corpus, documents)
    save("stages", {"rows": rows})
    print(table(rows))


def measure(folder: Path, corpus: str, documents: int) -> list[dict[str, object]]:
    """Run every stage alone; seconds are the stage's own, memory is that of its whole process."""
    config = RunConfig().with_values(
        {
            "corpus.inputs": [str(Path(corpus).absolute())],
            "corpus.max_documents": documents,
            "corpus.part_documents": 2500,
            "clustering.n_clusters": CLUSTERS,
            "domains.min_documents": 10,  # a domain of one document has nothing to train on
            "tokens.vocab_size": 4096,
            "tokens.training_chars": 4_000_000,
            "proxy.trunk_tokens": 100_000,
        }
    )
    run = Run.create(folder, config)
    rows = []
    for stage in NEEDED:
        command = [sys.executable, "-m", "climb_engine.cli", "--runs", str(folder.parent), "run", folder.name]
        peak, code = peak_memory([*command, "--until", stage.name])
        if code:
            raise SystemExit(f"{stage.name} failed at {documents} documents")
        seconds = run.needed(stage.name).manifest["seconds"]
        rows.append({"documents": documents, "stage": stage.name, "seconds": seconds,
                     "documents_per_second": documents / max(seconds, 1e-3), "peak_mb": peak})  # fmt: skip
        print(f"{documents:>8,} {stage.name:<11} {seconds:8.1f} s {peak:8.0f} MB", flush=True)
    return rows


def peak_memory(command: list[str]) -> tuple[float, int]:
    """Peak resident memory (MB) and exit code of a child process."""
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_maxrss / 1024, child.returncode


def table(rows: list[dict[str, object]]) -> str:
    """A Markdown table, a row a stage."""
    sizes = sorted({int(str(row["documents"])) for row in rows})
    found = {(row["stage"], row["documents"]): row for row in rows}
    head = "| stage | " + " | ".join(f"{n:,} docs/s | {n:,} peak MB" for n in sizes) + " | memory ratio |"
    lines = [head, "|---|" + "---|" * (2 * len(sizes) + 1)]
    for stage in NEEDED:
        mine = [found[stage.name, n] for n in sizes]
        cells = " | ".join(f"{row['documents_per_second']:,.0f} | {row['peak_mb']:,.0f}" for row in mine)
        lines.append(f"| {stage.name} | {cells} | {mine[1]['peak_mb'] / mine[0]['peak_mb']:.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
