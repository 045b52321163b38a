"""How well the heuristic quality scores tell junk from the rest, and how fast they are.

``python benchmarks/quality.py documents.parquet`` needs a table of ``text`` and ``source`` with a source of junk;
``--rules`` prints the table of rules that docs/QUALITY.md holds.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from record import save

from climb_engine.config import DomainsConfig
from climb_engine.curate.heuristics import RULES, HeuristicsScorer, explain
from climb_engine.types import METRICS

DRAWS = 5
Draw = tuple[pa.Table, np.ndarray, np.ndarray]  # documents, their sources, (n, 4) scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", nargs="?", type=Path, help="Parquet with the columns text and source")
    parser.add_argument("--junk", default="spam", help="the source that is junk")
    parser.add_argument("--per-source", type=int, default=200, help="documents drawn of each source")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rules", action="store_true", help="print the rules as a Markdown table and stop")
    arguments = parser.parse_args()
    if arguments.rules:
        print(rules_table())
        return
    if arguments.corpus is None:
        parser.error("which corpus? give a Parquet file with the columns text and source")
    report = measure(arguments.corpus, arguments.junk, arguments.per_source, arguments.seed)
    save("quality", report)
    show(report)


def rules_table() -> str:
    head = "| dimension | kind | rule | statistic | 0 at | 1 at | weight | source |\n|---|---|---|---|---|---|---|---|"
    return "\n".join([head, *("| " + " | ".join(map(_cell, rule)) + " |" for rule in RULES)])


def _cell(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"


def measure(corpus: Path, junk: str, per_source: int, seed: int) -> dict[str, Any]:
    table = pq.read_table(corpus, columns=["text", "source"])
    draws = [draw(table, per_source, seed + i) for i in range(DRAWS)]
    areas = [area(scores, sources != junk) for _, sources, scores in draws]
    sample, sources, scores = draws[0]
    return {
        "corpus": corpus.name,
        "documents": len(sources),
        "not_scored": int(np.isnan(scores).any(axis=1).sum()),
        "documents_per_second": speed(table),
        "auc_of_draws": {name: [each[name] for each in areas] for name in areas[0]},
        "auc_near": {source: near(draws, source, junk) for source in np.unique(sources).tolist() if source != junk},
        "rows": [row(source, scores[sources == source]) for source in np.unique(sources)],
        "mistakes": mistakes(sample, sources, scores, junk),
    }


def draw(table: pa.Table, per_source: int, seed: int) -> Draw:
    sources = np.array(table["source"].to_pylist())
    rng = np.random.default_rng(seed)
    rows = np.concatenate(
        [rng.permutation(np.flatnonzero(sources == source))[:per_source] for source in np.unique(sources)]
    )
    sample = table.take(pa.array(rows))
    return sample, sources[rows], HeuristicsScorer().score(sample)


def near(draws: list[Draw], source: str, junk: str) -> list[float]:
    """AUC of advertisement for junk against this one source, per draw."""
    pairs = [(scores[np.isin(sources, [source, junk])], sources[np.isin(sources, [source, junk])] != junk)
             for _, sources, scores in draws]  # fmt: skip
    return [area(scores, good)["advertisement"] for scores, good in pairs]


def speed(table: pa.Table, documents: int = 2000, rounds: int = 5) -> float:
    """Documents of 800 to 1,200 characters scored per second of one core, the best of some rounds."""
    chars = np.array([len(text) for text in table["text"].to_pylist()])
    fitting = np.flatnonzero((chars >= 800) & (chars <= 1200))
    sample = table.take(pa.array(np.random.default_rng(0).permutation(fitting)[:documents]))
    scorer, taken = HeuristicsScorer(), []
    for _ in range(rounds):
        start = time.process_time()
        scorer.score(sample)
        taken.append(time.process_time() - start)
    return round(sample.num_rows / min(taken))


def area(scores: np.ndarray, good: np.ndarray) -> dict[str, float]:
    """Area under the ROC curve of each dimension, and of their mean, for good against junk."""
    from sklearn.metrics import roc_auc_score

    columns = {**dict(zip(METRICS, scores.T, strict=True)), "mean of the four": scores.mean(axis=1)}
    known = np.isfinite(scores).all(axis=1)
    return {name: round(float(roc_auc_score(good[known], values[known])), 3) for name, values in columns.items()}


def below_thresholds(scores: np.ndarray) -> np.ndarray:
    limits = DomainsConfig().thresholds
    return np.any([scores[:, METRICS.index(metric)] < limit for metric, limit in limits.items()], axis=0)


def row(source: str, scores: np.ndarray) -> dict[str, Any]:
    means = {metric: round(float(mean), 2) for metric, mean in zip(METRICS, np.nanmean(scores, axis=0), strict=True)}
    share = round(float(below_thresholds(scores).mean()), 3)
    return {"source": str(source), "documents": len(scores), **means, "below_default_thresholds": share}


def mistakes(sample: pa.Table, sources: np.ndarray, scores: np.ndarray, junk: str) -> dict[str, Any]:
    """Junk that looks clean and the rest that looks like promotion, with the rules that say so. No text is kept."""
    promotion = scores[:, METRICS.index("advertisement")]
    suspects = np.flatnonzero((sources != junk) & (promotion < 3))
    accused: dict[str, int] = {}
    for index in suspects:
        subs = explain(sample["text"][int(index)].as_py())["advertisement"]
        worst = min(subs, key=lambda name: subs[name])
        accused[f"{sources[index]}: {worst}"] = accused.get(f"{sources[index]}: {worst}", 0) + 1
    return {
        "junk_with_advertisement_above_4.5": round(float((promotion[sources == junk] > 4.5).mean()), 3),
        "rest_with_advertisement_below_3": round(len(suspects) / int((sources != junk).sum()), 4),
        "worst_rule_of_those": dict(sorted(accused.items(), key=lambda item: -item[1])[:8]),
    }


def show(report: dict[str, Any]) -> None:
    print("| source | " + " | ".join(METRICS) + " | below the default thresholds | AUC, advertisement |")
    print("|---" * 7 + "|")
    for entry in report["rows"]:
        means = " | ".join(f"{entry[metric]:.2f}" for metric in METRICS)
        auc = spread(report["auc_near"].get(entry["source"], []))
        print(f"| {entry['source']} | {means} | {entry['below_default_thresholds']:.1%} | {auc} |")
    print(f"\n| AUC, junk against the rest | mean and range of {DRAWS} draws |\n|---|---|")
    for name, values in report["auc_of_draws"].items():
        print(f"| {name} | {spread(values)} |")
    print("\nmistakes:", json.dumps(report["mistakes"], indent=1))
    print(f"{report['not_scored']} of {report['documents']} documents could not be scored")
    print(f"{report['documents_per_second']} documents of about 1,000 characters per core and second")


def spread(values: list[float]) -> str:
    return f"{np.mean(values):.3f} ({min(values):.3f} to {max(values):.3f})" if values else ""


if __name__ == "__main__":
    main()
