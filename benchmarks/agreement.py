"""Do proxies rank mixtures as larger models do? Proxies of several kinds on the mixtures of finished comparisons.

    python benchmarks/agreement.py RUN [COMPARISON ...]     folders of `climb compare`; those of RUN when none is named
    python benchmarks/agreement.py RUN --only base,longer   some of the settings
    python benchmarks/agreement.py --table                  print the tables of the saved results again

A comparison has trained a larger model on each mixture that its methods found. Here every one of these mixtures is
trained as a proxy again, under seeds that no search has used, in settings that differ from RUN's in one thing.
Agreement is Spearman's rank correlation between the proxies' scores (calibration items) and the targets' (report
items). Comparisons beside RUN's must be of the same tokens, target model and report items of the tasks that are scored.

RUN gets trunks for the proxies' shapes, and is otherwise only read. Results are written after every setting; a second
call goes on where the first stopped.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from record import RESULTS, save
from scipy.stats import rankdata

from climb_engine.compare.plan import Options, report_items
from climb_engine.pipeline import Run
from climb_engine.search.record import result_from
from climb_engine.search.tasks import Item
from climb_engine.training import Trainer, calibration_items, encode_items
from climb_engine.types import FloatArray, Mixture, Trial, silent
from climb_engine.workspace import Log

FRESH = 501  # first seed of the proxies' data order, far from those of searches and targets
STACK = 4
DRAWS = 2000  # of the bootstrap
SHARED_BY = 48  # proxies that share a trunk, when one setting does without it at equal cost
NINE = ("piqa", "arc_easy", "hellaswag", "arc_challenge", "winogrande", "siqa", "openbookqa", "csqa", "sciq")
REPORT = "report:"  # before a task's name: on items that searches do not see


@dataclass(frozen=True)
class Setting:
    """Proxies that differ from the run's own in some knobs."""

    name: str
    what: str
    knobs: dict[str, Any] = field(default_factory=dict)
    seeds: int = 1


def settings(tokens: int, trunk: int, rate: float) -> tuple[Setting, ...]:
    """All of them, the most telling first."""
    wide = {"proxy.size": "custom", "proxy.layers": 4, "proxy.hidden": 128, "proxy.ffn": 352}
    wide["proxy.trunk_tokens"] = 2 * trunk  # the targets' own
    middle = {"proxy.size": "custom", "proxy.layers": 3, "proxy.hidden": 96, "proxy.ffn": 256}
    small = {"proxy.size": "custom", "proxy.layers": 1, "proxy.hidden": 32, "proxy.ffn": 88}
    bare = tokens + trunk // SHARED_BY
    return (
        Setting("base", "as the searches'", seeds=2),
        Setting("shorter", "half the tokens", {"proxy.tokens": tokens // 2}, seeds=2),
        Setting("longer", "twice the tokens", {"proxy.tokens": 2 * tokens}),
        Setting("wide at equal cost", "4 x 128, as many FLOPs", wide | {"proxy.tokens": round(tokens / 3.6)}),
        Setting("wide", "4 x 128, the targets' shape", wide),
        Setting("no trunk", "from random weights, equal cost", {"proxy.trunk_tokens": 0, "proxy.tokens": bare}),
        Setting("slower", "half the learning rate", {"proxy.learning_rate": rate / 2}),
        Setting("faster", "twice the learning rate", {"proxy.learning_rate": 2 * rate}),
        Setting("much slower", "a quarter of the learning rate", {"proxy.learning_rate": rate / 4}),
        Setting("small", "1 x 32, equal tokens", small),
        Setting("middle at equal cost", "3 x 96, as many FLOPs", middle | {"proxy.tokens": round(tokens / 1.9)}),
    )


@dataclass(frozen=True)
class Targets:
    """What comparisons made of their mixtures: distinct mixtures, and the mean over the targets of each."""

    mixtures: tuple[tuple[float, ...], ...]
    labels: tuple[str, ...]  # methods and replicates that found it
    scores: dict[str, tuple[float, ...]]  # minus mean bits per byte, by group of tasks
    counts: tuple[int, ...]  # targets of each mixture
    noise: dict[str, float]  # sd of one target about its mixture's mean


def read_targets(folders: Sequence[Path], calibrated: Sequence[str]) -> Targets:
    """Of every mixture the targets of all comparisons; equal mixtures and seeds are one target."""
    groups = {"calibrated tasks": calibrated, "nine tasks": NINE}
    models: dict[tuple[float, ...], dict[int, dict[str, float]]] = {}
    labels: dict[tuple[float, ...], set[str]] = {}
    for folder in folders:
        for event in Log(folder / "targets.jsonl"):
            if event["event"] != "told":
                continue
            weights = tuple(event["weights"])
            models.setdefault(weights, {}).setdefault(event["seed"], dict(result_from(event).metrics))
            fixed = event["method"] in ("natural", "uniform")
            label = event["method"] if fixed else f"{event['method']} {event['replicate']} of {folder.name}"
            labels.setdefault(weights, set()).add(label)
    scores = {
        name: [[_score(metrics, tasks) for metrics in seeds.values()] for seeds in models.values()]
        for name, tasks in groups.items()
    }
    return Targets(
        mixtures=tuple(models),
        labels=tuple(", ".join(sorted(found)) for found in labels.values()),
        scores={name: tuple(float(np.mean(of)) for of in values) for name, values in scores.items()},
        counts=tuple(len(seeds) for seeds in models.values()),
        noise={name: _pooled(values) for name, values in scores.items()},
    )


def _score(metrics: dict[str, float], tasks: Sequence[str]) -> float:
    return -float(np.mean([metrics[f"{task}/bpb"] for task in tasks]))


def _pooled(groups: Sequence[Sequence[float]]) -> float:
    squares = sum(float(np.var(group)) * len(group) for group in groups)
    freedom = sum(len(group) - 1 for group in groups)
    return float(np.sqrt(squares / freedom)) if freedom else float("nan")


def prepared(run: Run) -> Trainer:
    """Measures the right answers alone, of calibration and of report items, and a quarter of the held-out text."""
    tokens, trunk = run.needed("tokens"), run.run("trunk")
    trainer = Trainer.prepare(run.config, tokens, trunk, run.domains, silent)
    seen = calibration_items(run.config)
    unseen, _ = report_items(run.config, Options(tasks=(), items=run.config.target.items), seen)
    items = [*seen, *(replace(item, task=f"{REPORT}{item.task}") for item in unseen)]
    golds = encode_items(run.config, tokens, [_gold(item) for item in items])
    return replace(trainer, requests=golds, heldout=trainer.heldout.halves()[0].halves()[0])


def _gold(item: Item) -> Item:
    right = item.gold
    return replace(item, contexts=(item.contexts[right],), continuations=(item.continuations[right],), gold=0)


def measure(run: Run, setting: Setting, targets: Targets, known: Sequence[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    """A row for each proxy of a setting that is not known yet."""
    there = {(row["mixture"], row["seed"]) for row in known if row["setting"] == setting.name}
    jobs = [(m, FRESH + s) for s in range(setting.seeds) for m in range(len(targets.mixtures))]
    jobs = [job for job in jobs if job not in there]
    if not jobs:
        return
    varied = run.with_config(run.config.with_values({"machine.threads": 1, "machine.device": "cpu", **setting.knobs}))
    trainer = prepared(varied)
    for first in range(0, len(jobs), STACK):
        now = jobs[first : first + STACK]
        trials = [
            Trial(i, 1, "initial", Mixture(varied.domains, np.array(targets.mixtures[m])), seed)
            for i, (m, seed) in enumerate(now)
        ]
        began = time.process_time()
        results = trainer(trials)
        cpu = (time.process_time() - began) / len(now)
        for (m, seed), result in zip(now, results, strict=True):
            assert not isinstance(result, str), result
            bpb = {
                prefix: [result.metrics[f"{prefix}{task}/bpb"] for task in run.config.target.tasks]
                for prefix in ("", REPORT)
            }
            yield {
                **{"setting": setting.name, "mixture": m, "seed": seed, "cpu_s": round(cpu, 2), "flops": result.flops},
                **{"tokens": result.tokens, "parameters": trainer.trunk.shape.parameters, "bpb": bpb[""]},
                "report": bpb[REPORT],
            }


# What the rows say


def scores_of(rows: Sequence[dict[str, Any]], setting: str, n: int, items: str = "bpb") -> FloatArray:
    """(seeds, n) proxies' scores on the items of ``items``; only seeds under which every mixture was trained."""
    mine = [row for row in rows if row["setting"] == setting]
    seeds = sorted({row["seed"] for row in mine})
    table = np.full((len(seeds), n), np.nan)
    for row in mine:
        table[seeds.index(row["seed"]), row["mixture"]] = -_mean(row[items])
    return table[np.isfinite(table).all(axis=1)]


def _mean(bpb: Any) -> float:
    return float(np.mean(list(bpb.values()) if isinstance(bpb, dict) else bpb))


def spearman(a: FloatArray, b: FloatArray) -> float:
    a, b = rankdata(a), rankdata(b)
    return float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else float("nan")


def single(table: FloatArray, target: FloatArray) -> float:
    """What one proxy is worth: the mean over seeds of the rank correlation."""
    return float(np.mean([spearman(row, target) for row in table]))


def averaged(table: FloatArray, target: FloatArray) -> float:
    """What the mean over seeds is worth."""
    return spearman(table.mean(axis=0), target)


Statistic = Callable[[FloatArray, FloatArray], float]


def resampled(table: FloatArray, target: FloatArray, statistic: Statistic) -> FloatArray:
    """(DRAWS,) of a statistic over mixtures drawn with replacement, the same draws for every setting."""
    rng, n = np.random.default_rng(0), len(target)
    picks = [rng.integers(0, n, n) for _ in range(DRAWS)]
    return np.array([statistic(table[:, pick], target[pick]) for pick in picks])


def lines(saved: dict[str, Any], targets: str) -> Iterator[str]:
    """Markdown: agreement with 95 % bootstrap intervals over mixtures, and paired differences to the base."""
    truth, rows = np.array(saved["targets"]["scores"][targets]), saved["rows"]
    noise = saved["targets"]["noise"][targets]
    yield f"{targets}: {len(truth)} mixtures, sd {truth.std(ddof=1):.4f}, noise of one target {noise:.4f}"
    yield ""
    yield "| setting | parameters | tokens | CPU s a proxy | FLOPs | Spearman | to the base's | lost by its pick |"
    yield "|---|---:|---:|---:|---:|---:|---:|---:|"
    base = resampled(scores_of(rows, "base", len(truth)), truth, single)
    for name, what in saved["settings"].items():
        table = scores_of(rows, name, len(truth))
        kinds = [(name, single, table)]
        if len(table) > 1:
            kinds.append((f"{name}, mean of {len(table)} seeds", averaged, table))
        for called, statistic, scores in kinds if len(table) else []:
            mine = [row for row in rows if row["setting"] == name]
            times = len(scores) if statistic is averaged else 1
            found = resampled(scores, truth, statistic)
            low, high = np.nanpercentile(found, [2.5, 97.5])
            down, up = np.nanpercentile(found - base, [2.5, 97.5])
            picked = [scores.mean(axis=0)] if statistic is averaged else scores
            lost = np.mean([truth.max() - truth[np.argmax(of)] for of in picked])
            yield (
                f"| {called}: {what} | {mine[0]['parameters'] / 1e3:,.0f} k | {times * mine[0]['tokens'] / 1e3:,.0f} k "
                f"| {times * np.mean([row['cpu_s'] for row in mine]):.1f} | {times * mine[0]['flops']:.1e} "
                f"| {statistic(scores, truth):.2f} [{low:.2f}, {high:.2f}] "
                f"| {'' if called == 'base' else f'[{down:+.2f}, {up:+.2f}]'} | {lost:.4f} |"
            )


def losses(saved: dict[str, Any]) -> Iterator[str]:
    """Where the base's agreement is lost: by another data order, by other items, by a larger model."""
    truth, rows = np.array(saved["targets"]["scores"]["calibrated tasks"]), saved["rows"]
    seen, unseen = (scores_of(rows, "base", len(truth), items) for items in ("bpb", "report"))
    pairs = [(a, b) for a in range(len(seen)) for b in range(len(seen)) if a != b]
    steps = {
        "another data order": [spearman(seen[a], seen[b]) for a, b in pairs],
        "other items": [spearman(a, b) for a, b in zip(seen, unseen, strict=True)],
        "other items, another order": [spearman(seen[a], unseen[b]) for a, b in pairs],
        "a larger model, the same items": [spearman(a, truth) for a in unseen],
        "all of it: what a search gets": [spearman(a, truth) for a in seen],
        "all of it, scores averaged over seeds": [averaged(seen, truth)],
    }
    yield "| from a base proxy's calibration items to | Spearman |"
    yield "|---|---:|"
    for name, values in steps.items():
        yield f"| {name} | {np.mean(values):.2f} |"


def show(saved: dict[str, Any]) -> None:
    for targets in saved["targets"]["scores"]:
        print("\n".join(lines(saved, targets)), flush=True)
        print()
    if all("report" in row for row in saved["rows"] if row["setting"] == "base"):
        print("\n".join(losses(saved)), flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?", help="the folder of a run with a finished comparison")
    parser.add_argument("comparisons", type=Path, nargs="*", help="folders of comparisons")
    parser.add_argument("--only", help="names of settings, by commas")
    parser.add_argument("--seeds", type=int, help="data orders of every setting, instead of its own number")
    parser.add_argument("--name", default="agreement", help="of the file in benchmarks/results")
    parser.add_argument("--table", action="store_true", help="print the saved results")
    options = parser.parse_args()
    path = RESULTS / f"{options.name}.json"
    if options.table:
        show(json.loads(path.read_text()))
        return
    run = Run(options.run)
    folders = options.comparisons or sorted(path.parent for path in (options.run / "compare").glob("*/targets.jsonl"))
    targets = read_targets(folders, tuple(run.config.target.tasks))
    rows: list[dict[str, Any]] = []
    if path.exists():
        before = json.loads(path.read_text())
        same = [list(mixture) for mixture in targets.mixtures][: len(before["targets"]["mixtures"])]
        rows = before["rows"] if before["targets"]["mixtures"] == same else []
    proxy = run.config.proxy
    wanted = settings(proxy.tokens, proxy.trunk_tokens, proxy.learning_rate)
    for setting in wanted:
        if options.only and setting.name not in options.only.split(","):
            continue
        setting = replace(setting, seeds=options.seeds or setting.seeds)
        rows += measure(run, setting, targets, rows)
        names = {one.name: one.what for one in wanted}
        save(options.name, {"settings": names, "targets": vars(targets), "rows": rows})
        print(f"{setting.name}: {len(rows)} proxies", flush=True)
    show(json.loads(path.read_text()))


if __name__ == "__main__":
    main()
