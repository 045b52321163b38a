"""Do proxies tell mixtures apart? Signal and noise of a proxy's score, over how it is trained and what is measured.

    python benchmarks/noise.py                  prepare the demo corpus in a scratch folder, then train and measure
    python benchmarks/noise.py RUN              take the tokens of a prepared run; it is only read
    python benchmarks/noise.py --quick [RUN]    a few minutes, to see that it works; nothing is saved
    python benchmarks/noise.py --table          print the tables of the saved results again

Signal: standard deviation between mixtures. Noise: standard deviation of one run about its mixture's mean. Every run is
kept in benchmarks/results/noise.json, written anew after each condition; a second call goes on where the first stopped.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from record import RESULTS, save
from scipy.stats import ConstantInputWarning, spearmanr

from climb_engine.config import RunConfig
from climb_engine.demo import build_corpus, demo_config
from climb_engine.pipeline import Run
from climb_engine.search.llama import ProxyStack
from climb_engine.search.proxy import TrainSettings, loglikelihoods, train
from climb_engine.search.sampling import draw_sequences
from climb_engine.search.tasks import Requests, batches, encode, item_scores, load_items, pad, split_items
from climb_engine.training import load_bank, load_heldout, load_requests, shape_of, steps_of, train_trunk
from climb_engine.types import silent

TASKS = ("arc_easy", "piqa", "hellaswag")
ITEMS = (50, 200, 500)  # per task; ARC-Easy has 285 for calibration
RUNS_OF_A_SEARCH = 35  # the demo's, which share one trunk
STACK = 4
NEAR = 0.25  # how far the near mixtures go from the best of the others towards each of them
AVERAGED = 8  # checkpoints, evenly over the last quarter
Table = np.ndarray  # (mixtures, seeds) scores, higher is better; NaN where not run


@dataclass(frozen=True)
class Condition:
    """One way to train proxies. ``per_seed``: how many of the mixtures run under each seed of the data order."""

    name: str
    tokens: int = 400_000
    learning_rate: float = 2e-3
    trunk: int = 0  # its seed; -1: none
    size: str = "tiny"
    per_seed: tuple[int, ...] = (10, 10)
    final: float = 0.1  # learning rate at the end, over that at the start
    near: bool = False
    full: bool = False  # measure accuracies, held-out text and report items too


def conditions() -> list[Condition]:
    half = 200_000
    return [
        Condition("reference", full=True, per_seed=(10, 10, 10)),
        Condition("half as long", half, per_seed=(10, 10, 10, 10)),
        *(Condition(f"half, learning rate {rate:g}", half, rate) for rate in (5e-4, 1e-3, 4e-3)),
        Condition("half, decays to zero", half, final=0.0),
        Condition("quarter as long", 100_000),
        Condition("near mixtures", near=True),
        Condition("near, half as long", half, near=True, per_seed=(8, 8)),
        *(Condition(f"half, trunk {seed}", half, trunk=seed, per_seed=(8,)) for seed in (1, 2)),
        Condition("half, 4 x 128", half, size="custom", per_seed=(8,)),
        Condition("half, no trunk", half + 1_500_000 // RUNS_OF_A_SEARCH, trunk=-1, per_seed=(8, 8)),
        Condition("three times as long", 1_200_000, per_seed=(8,)),
    ]


def quick_conditions() -> list[Condition]:
    few = dict(tokens=40_000, per_seed=(4, 4))
    return [
        Condition("reference", full=True, **few),
        Condition("half as long", 20_000, per_seed=(4, 4, 4, 4)),
        Condition("near mixtures", near=True, **few),
        Condition("half, no trunk", trunk=-1, **few),
        Condition("half, trunk 1", 20_000, trunk=1, per_seed=(4,)),
        Condition("three times as long", 120_000, per_seed=(4, 2)),
    ]


class Bench:
    """The tokens of one run, the mixtures, and what is measured of a proxy."""

    def __init__(self, run: Run, mixtures: int, trunk_tokens: int) -> None:
        values = {"proxy.trunk_tokens": trunk_tokens, "machine.threads": 1, "machine.device": "cpu"}
        self.config = run.config.with_values(values)
        self.tokens = run.needed("tokens")
        self.bank, self.heldout = load_bank(self.config, self.tokens), load_heldout(self.tokens, 128)
        self.mixtures = run.space().sample(mixtures, np.random.default_rng([2026, 1]))
        self.choices = load_requests(self.config.with_values({"target.items": 200}), self.tokens)
        self._trunks: dict[tuple[str, int], ProxyStack] = {}

    @cached_property
    def golds(self) -> tuple[Requests, Requests]:
        """The right answers of the calibration and of the report items, alone: bits per byte need no other."""
        from tokenizers import Tokenizer

        tokenizer = Tokenizer.from_file(str(self.tokens.path("tokenizer.json")))
        end = self.tokens.facts["end_of_text"]

        def requests(which: int) -> Requests:
            split = [split_items(load_items(task), max(ITEMS), 0)[which][: max(ITEMS)] for task in TASKS]
            alone = [
                replace(i, contexts=(i.contexts[i.gold],), continuations=(i.continuations[i.gold],), gold=0)
                for items in split
                for i in items
            ]
            return encode(alone, lambda texts: [tokenizer.encode(text).ids for text in texts], 128, end)

        return requests(0), requests(1)

    def configured(self, condition: Condition) -> RunConfig:
        """The run's config with the trunk's seed and the proxy's size."""
        wide = {"layers": 4, "hidden": 128, "ffn": 352, "heads": 4, "kv_heads": 2}
        values: dict[str, object] = {"proxy.seed": max(0, condition.trunk)}
        if condition.size == "custom":
            values |= {"proxy.size": "custom"} | {f"proxy.{name}": value for name, value in wide.items()}
        return self.config.with_values(values)

    def start(self, condition: Condition) -> ProxyStack:
        """The trunk of a condition, or random weights."""
        config = self.configured(condition)
        if condition.trunk < 0:
            return ProxyStack.init(shape_of(config, self.tokens), 1, 0)
        key = (condition.size, condition.trunk)
        if key not in self._trunks:
            self._trunks[key], losses = train_trunk(config, self.tokens, silent)
            print(f"  trunk {key}: loss {np.mean(losses[-40:]):.3f}", flush=True)
        return self._trunks[key]

    def run(self, condition: Condition, weights: Table) -> list[dict]:
        """Train a condition's proxies on ``weights`` (mixtures, domains), in stacks; a row for each."""
        start = self.start(condition)
        jobs = [(m, seed) for seed, count in enumerate(condition.per_seed) for m in range(min(count, len(weights)))]
        rows = []
        for first in range(0, len(jobs), STACK):
            rows += self._train(condition, start, jobs[first : first + STACK], weights)
        return rows

    def _train(self, condition: Condition, start: ProxyStack, jobs: Sequence[tuple[int, int]], weights: Table) -> list:
        proxy, began = self.config.proxy, time.process_time()
        steps = steps_of(condition.tokens, self.config)
        chosen = np.array([weights[m] for m, _ in jobs])
        plan = draw_sequences(chosen, self.bank.available, steps, proxy.batch_size, [seed for _, seed in jobs])
        settings = TrainSettings(condition.learning_rate, "decay" if condition.trunk >= 0 else "full", condition.final)
        stack = start.expand(len(jobs))
        mean = _RunningMean(stack, steps)
        train(stack, self.bank, plan, settings, mean.step)
        cpu = (time.process_time() - began) / len(jobs)
        measured = self.measure(stack, condition.full)
        averaged = self.measure(ProxyStack(stack.shape, mean.weights()), False)
        measured |= {f"averaged/{name}": values for name, values in averaged.items()}
        return [
            {"condition": condition.name, "mixture": m, "seed": seed, "cpu_s": round(cpu, 2)}
            | {name: round(float(values[i]), 5) for name, values in measured.items()}
            for i, (m, seed) in enumerate(jobs)
        ]

    def measure(self, stack: ProxyStack, full: bool) -> dict[str, np.ndarray]:
        """Scores (p,), higher is better: minus mean bits per byte over tasks by number of items, and others."""
        calibration, report = self.golds
        found = _by_items(calibration, item_scores(calibration, _logliks(stack, calibration))["bpb"])
        if not full:
            return found
        report_bits = item_scores(report, _logliks(stack, report))["bpb"]
        found["report items"] = _by_items(report, report_bits)[f"{max(ITEMS)} items"]
        scores = item_scores(self.choices, _logliks(stack, self.choices))
        for metric in ("acc", "acc_norm"):
            found[metric] = _task_mean(self.choices, scores[metric], max(ITEMS))
        cuts = range(0, len(self.heldout.tokens), 128)
        rows = ((self.heldout.tokens[i : i + 128], self.heldout.mask[i : i + 128]) for i in cuts)
        nats, _ = loglikelihoods(stack, rows, "auto")
        bits = self.heldout.bits_per_byte(-nats)
        return found | {"held-out text": -bits.mean(1)} | {f"held-out {d}": -b for d, b in enumerate(bits.T)}


class _RunningMean:
    """The mean of a stack's weights over checkpoints of the last quarter of its training."""

    def __init__(self, stack: ProxyStack, steps: int) -> None:
        self.stack, self.sums, self.count = stack, {}, 0
        self.at = set(np.linspace(0.75 * steps, steps - 1, AVERAGED).astype(int).tolist())

    def step(self, step: int, losses: np.ndarray) -> None:  # noqa: ARG002
        if step in self.at:
            self.count += 1
            for name, weight in self.stack.parameters.items():
                self.sums[name] = self.sums.get(name, 0) + weight.detach()

    def weights(self) -> dict[str, torch.Tensor]:
        return {name: total / self.count for name, total in self.sums.items()}


def _logliks(stack: ProxyStack, requests: Requests) -> np.ndarray:
    order = list(batches(requests, 16_384))
    sums, _ = loglikelihoods(stack, (pad(requests, index) for index in order), "auto")
    logliks = np.empty_like(sums)
    logliks[:, np.concatenate(order)] = sums
    return logliks


def _task_mean(requests: Requests, values: np.ndarray, most: int) -> np.ndarray:
    """Mean over tasks of the mean over the first items of each; (p,)."""
    firsts = [np.flatnonzero(requests.task == number)[:most] for number in range(len(requests.tasks))]
    return np.mean([values[:, first].mean(1) for first in firsts], axis=0)


def _by_items(requests: Requests, bits: np.ndarray) -> dict[str, np.ndarray]:
    found = {f"{n} items": -_task_mean(requests, bits, n) for n in ITEMS}
    for number, task in enumerate(requests.tasks):
        first = np.flatnonzero(requests.task == number)[:200]
        found[task] = -bits[:, first].mean(1)
    return found


# What the runs say


def table_of(rows: Sequence[dict], condition: str, metric: str) -> Table:
    mine = [row for row in rows if row["condition"] == condition]
    shape = (1 + max(row["mixture"] for row in mine), 1 + max(row["seed"] for row in mine))
    table = np.full(shape, np.nan)
    for row in mine:
        table[row["mixture"], row["seed"]] = row[metric]
    return table


def spread(table: Table) -> tuple[float, float]:
    """Signal and noise: sd between mixtures less what noise adds to it, and pooled sd within a mixture."""
    counts = (~np.isnan(table)).sum(1)
    means = np.nanmean(table, axis=1)
    freedom = (counts - 1).sum()
    if freedom < 1:
        return float(means.std(ddof=1)), np.nan
    noise = np.sqrt(np.nansum((table - means[:, None]) ** 2) / freedom)
    signal = np.sqrt(max(0.0, means.var(ddof=1) - noise**2 * (1 / counts).mean()))
    return float(signal), float(noise)


def ratio(table: Table) -> float:
    signal, noise = spread(table)
    return signal / noise if noise else np.nan


def common_noise(table: Table) -> float:
    """Noise between mixtures of one seed: what is left when each seed's own mean is taken away."""
    whole = table[~np.isnan(table).any(1)]
    left = whole - whole.mean(1, keepdims=True) - whole.mean(0) + whole.mean()
    return float(np.sqrt((left**2).sum() / ((whole.shape[0] - 1) * (whole.shape[1] - 1))))


def seeds_agree(table: Table) -> float:
    """Mean Spearman over all pairs of seeds."""
    pairs = [(a, b) for a in range(table.shape[1]) for b in range(a)]
    return float(np.mean([_spearman(table[:, a], table[:, b]) for a, b in pairs])) if pairs else np.nan


def shuffled_seeds_agree(table: Table) -> float:
    """The same, where each mixture has a seed of its own: no common random numbers."""
    rng, rows = np.random.default_rng(0), np.arange(len(table))
    draws = [rng.permuted(np.tile(np.arange(table.shape[1]), (len(table), 1)), axis=1)[:, :2] for _ in range(300)]
    return float(np.mean([_spearman(table[rows, two[:, 0]], table[rows, two[:, 1]]) for two in draws]))


def _spearman(a: np.ndarray, b: np.ndarray) -> float:
    both = ~np.isnan(a) & ~np.isnan(b)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConstantInputWarning)
        return float(spearmanr(a[both], b[both]).statistic) if both.sum() > 2 else np.nan


def interval(statistic: Callable[..., float], *tables: Table, draws: int = 1000) -> tuple[float, float]:
    """90 % bootstrap interval over mixtures."""
    rng, n = np.random.default_rng(0), min(len(table) for table in tables)
    values = []
    for _ in range(draws):
        rows = rng.integers(0, n, n)
        values.append(statistic(*(table[rows] for table in tables)))
    low, high = np.nanpercentile(values, [5, 95]) if np.isfinite(values).any() else (np.nan, np.nan)
    return float(low), float(high)


def agreement(a: Table, b: Table) -> float:
    """Spearman between the means over seeds of two tables of the same mixtures."""
    n = min(len(a), len(b))
    return _spearman(np.nanmean(a[:n], axis=1), np.nanmean(b[:n], axis=1))


HEAD = "| {} | CPU s a run | signal | noise | signal / noise | Spearman between seeds | to reference | to 4 x 128 |"


def line(name: str, rows: Sequence[dict], table: Table, cpu: float | None) -> str:
    signal, noise = spread(table)
    names, cells = {row["condition"] for row in rows}, []
    for statistic in (ratio, seeds_agree):
        low, high = interval(statistic, table)
        value = statistic(table)
        cells.append(f"{value:.2f} ({low:.2f} to {high:.2f})" if np.isfinite(value) else "")
    for other in ("reference", "half, 4 x 128"):
        long = table_of(rows, other, "200 items") if other in names else None
        cells.append(
            "" if long is None or name == other or name.startswith("near") else f"{agreement(table, long):.2f}"
        )
    noisy = f"{noise:.4f}" if np.isfinite(noise) else ""
    return f"| {name} | {'' if cpu is None else f'{cpu:.1f}'} | {signal:.4f} | {noisy} | {' | '.join(cells)} |"


def tables(rows: Sequence[dict]) -> str:
    """All tables, in Markdown."""
    names = list(dict.fromkeys(row["condition"] for row in rows))
    metrics = [key for key in rows[0] if key not in ("condition", "mixture", "seed", "cpu_s")]
    cpu = {name: np.mean([row["cpu_s"] for row in rows if row["condition"] == name]) for name in names}
    bar = "\n|---" + "|---:" * 7 + "|"
    out = [HEAD.format("how a proxy is trained") + bar]
    out += [line(name, rows, table_of(rows, name, "200 items"), cpu[name]) for name in names]
    if "half as long" in names:
        half = table_of(rows, "half as long", "200 items")
        pairs = np.stack([half[:, :2].mean(1), half[:, 2:4].mean(1)], axis=1)
        out.append(line("half as long, mean of two seeds", rows, pairs, 2 * cpu["half as long"]))
    trunks = [table_of(rows, name, "200 items")[:, 0] for name in names if name.startswith("half, trunk")]
    if trunks:
        by_trunk = np.stack([half[: len(trunks[0]), 0], *trunks], axis=1)
        out.append(line("half as long, trunks instead of seeds", rows, by_trunk, None))
        out.append(f"\nNoise between trunks, their means taken away: {common_noise(by_trunk):.4f}.")
    out.append("\n" + HEAD.format("what is measured (reference runs)") + bar)
    shown = [m for m in metrics if m == "held-out text" or not m.startswith(("held-out ", "averaged/"))]
    out += [line(metric, rows, table_of(rows, "reference", metric), None) for metric in shown]
    out += ["", *by_task(rows, names), "", *_sentences(rows)]
    return "\n".join(out)


def by_task(rows: Sequence[dict], names: Sequence[str]) -> list[str]:
    """Signal / noise of each task alone, and of scores that weigh ARC-Easy less or average weights."""
    quarter = dict(zip(TASKS, (1 / 9, 4 / 9, 4 / 9), strict=True))
    out = ["| signal / noise | arc_easy | piqa | hellaswag | their mean | ARC-Easy at a quarter | averaged weights |"]
    out.append("|---" + "|---:" * 6 + "|")
    for name in names:
        found = [table_of(rows, name, task) for task in TASKS]
        if found[0].shape[1] < 2:
            continue
        weighed = sum(weight * table for weight, table in zip(quarter.values(), found, strict=True))
        cells = [*found, table_of(rows, name, "200 items"), weighed]
        if any("averaged/200 items" in row for row in rows if row["condition"] == name):
            cells.append(table_of(rows, name, "averaged/200 items"))
        shown = [f"{ratio(table):.1f} ({spread(table)[1]:.4f})" for table in cells]
        out.append(f"| {name} | {' | '.join([*shown, *[''] * (6 - len(shown))])} |")
    return [*out, "", "In brackets the noise. The mean is the score."]


def _sentences(rows: Sequence[dict]) -> list[str]:
    table = table_of(rows, "reference", "200 items")
    report = table_of(rows, "reference", "report items")
    said = [
        f"Common random numbers (reference): Spearman {seeds_agree(table):.3f} with, {shuffled_seeds_agree(table):.3f} "
        f"without; noise {common_noise(table):.4f} with, {spread(table)[1]:.4f} without."
    ]
    for n in ITEMS:
        own = table_of(rows, "reference", f"{n} items")
        low, high = interval(agreement, own, report)
        said.append(f"{n} items against 500 others: Spearman {agreement(own, report):.2f} ({low:.2f} to {high:.2f}).")
    for a, b in (
        ("arc_easy", "piqa"),
        ("arc_easy", "hellaswag"),
        ("piqa", "hellaswag"),
        ("200 items", "held-out text"),
    ):
        one, two = table_of(rows, "reference", a), table_of(rows, "reference", b)
        said.append(f"{a} against {b}: Spearman {agreement(one, two):.2f}.")
    return said


def near_the_best(mixtures: Table, rows: Sequence[dict]) -> Table:
    best = np.nanmean(table_of(rows, "reference", "200 items"), axis=1).argmax()
    return mixtures[best] + NEAR * (mixtures - mixtures[best])


def prepared(folder: str | None, scratch: Path) -> Run:
    if folder:
        return Run(Path(folder))
    corpus = build_corpus(scratch)
    run = Run.create(scratch / "demo", demo_config().with_values({"corpus.inputs": [str(corpus)]}))
    run.run("tokens")
    return run


def measure_all(run: Run, quick: bool) -> list[dict]:
    torch.set_num_threads(1)
    bench = Bench(run, 4 if quick else 10, 60_000 if quick else 1_500_000)
    wanted = quick_conditions() if quick else conditions()
    found = {} if quick else _saved(bench)
    rows = [row for condition in wanted for row in found.get(condition.name, [])]
    for condition in wanted:
        if condition.name in found:
            continue
        began = time.monotonic()
        weights = near_the_best(bench.mixtures, rows) if condition.near else bench.mixtures
        rows += bench.run(condition, weights)
        print(f"{condition.name}: {time.monotonic() - began:.0f} s", flush=True)
        if not quick:
            save("noise", _about(bench) | {"conditions": [asdict(c) for c in wanted], "rows": rows})
    return rows


def _about(bench: Bench) -> dict:
    return {"tokens": bench.tokens.digest, "torch": torch.__version__, "mixtures": bench.mixtures.round(6).tolist()}


def _saved(bench: Bench) -> dict[str, list[dict]]:
    """The finished conditions of results/noise.json, by name, when they are of the same tokens and mixtures."""
    path = RESULTS / "noise.json"
    old = json.loads(path.read_text()) if path.exists() else {}
    if {key: old.get(key) for key in _about(bench)} != _about(bench):
        return {}
    by_name: dict[str, list[dict]] = {}
    for row in old["rows"]:
        by_name.setdefault(row["condition"], []).append(row)
    return by_name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="?", help="folder of a prepared run")
    parser.add_argument("--quick", action="store_true", help="few, short runs")
    parser.add_argument("--table", action="store_true", help="print what was saved")
    given = parser.parse_args()
    if given.table:
        rows = json.loads((RESULTS / "noise.json").read_text())["rows"]
    else:
        with tempfile.TemporaryDirectory() as scratch:
            rows = measure_all(prepared(given.run, Path(scratch)), given.quick)
    print(tables(rows))


if __name__ == "__main__":
    main()
