"""Do mixtures that lie near each other share the luck of a data order? Proxies of one run, mixtures by data orders.

    python benchmarks/orders.py RUN [--tasks piqa,arc_easy,...] [--orders 6]
    python benchmarks/orders.py --table                                        print the saved results again

Proxies of one seed share every random number. If near mixtures then rise and fall together from one seed to the next, a
search that measures all of its mixtures under one seed climbs towards that seed's luck, and its own measurements cannot
tell it so. Measured by two-way analysis of variance: score = mixture + order + rest, in groups of mixtures that lie a
given distance apart. Only the right answers of the calibration items are scored, whatever the run's target.

RUN gets a trunk when it has none, and is otherwise only read. Results are written after every order; a second call goes
on where the first stopped.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from record import RESULTS, save

from climb_engine.pipeline import Run
from climb_engine.training import Trainer, calibration_items, encode_items
from climb_engine.types import FloatArray, Mixture, Trial, silent

FIRST = 901  # seed of the first order, far from those of searches and targets
STACK = 4
APART = (0.5, 0.1)  # sums of absolute differences to the centre, as in a search's middle and last iterations
EACH = 6  # mixtures of a group
TASKS = "piqa,arc_easy,hellaswag,mmlu_stem,mmlu_humanities,mmlu_social_sciences"
GENERAL = ("piqa", "arc_easy", "hellaswag")


def prepared(run: Run) -> Trainer:
    """Measures the right answers of the calibration items alone."""
    tokens, trunk = run.needed("tokens"), run.run("trunk")
    trainer = Trainer.prepare(run.config, tokens, trunk, run.domains, silent)
    items = calibration_items(run.config)
    golds = [
        replace(i, contexts=(i.contexts[i.gold],), continuations=(i.continuations[i.gold],), gold=0) for i in items
    ]
    half = trainer.heldout.halves()[0].halves()[0]
    return replace(trainer, requests=encode_items(run.config, tokens, golds), heldout=half)


def groups(run: Run) -> dict[str, FloatArray]:
    """Mixtures (n, m) by group: draws of the prior, and moves of a given length from one of them towards the others."""
    draws = run.space().sample(EACH + 1, np.random.default_rng(0))
    centre, others = draws[0], draws[1:]
    steps = {apart: apart / np.abs(others - centre).sum(axis=1, keepdims=True) for apart in APART}
    near = {f"{apart:g} from one of them": centre + step * (others - centre) for apart, step in steps.items()}
    return {"draws of the prior": others, **near}


def measure(trainer: Trainer, run: Run, mixtures: FloatArray, order: int) -> list[dict[str, float]]:
    """Bits per byte of every task, a dictionary a mixture."""
    found: list[dict[str, float]] = []
    for first in range(0, len(mixtures), STACK):
        stack = mixtures[first : first + STACK]
        trials = [Trial(i, 1, "sampled", Mixture(run.domains, w), FIRST + order) for i, w in enumerate(stack)]
        for result in trainer(trials):
            assert not isinstance(result, str), result
            found.append({task: result.metrics[f"{task}/bpb"] for task in run.config.target.tasks})
    return found


def parts(table: FloatArray) -> tuple[float, float, float]:
    """Variances between mixtures, between orders, and of the rest, of scores (mixtures, orders); none below 0."""
    n, s = table.shape
    rows, columns = table.mean(axis=1), table.mean(axis=0)
    rest = table - rows[:, None] - columns + table.mean()
    left = float((rest**2).sum() / ((n - 1) * (s - 1)))
    between = float(rows.var(ddof=1)) - left / s
    shared = float(columns.var(ddof=1)) - left / n
    return max(between, 0.0), max(shared, 0.0), left


def table(saved: dict[str, Any]) -> Iterator[str]:
    """Markdown: the parts as standard deviations, and how much of an order's luck all mixtures of a group share."""
    tasks = list(saved["rows"][0]["bpb"])
    targets = {"mean of piqa, arc_easy, hellaswag": [task for task in GENERAL if task in tasks]}
    targets |= {task: [task] for task in tasks if task not in GENERAL}
    yield "| target | mixtures | sd between mixtures | of an order, shared | of the rest | shared part of the noise |"
    yield "|---|---|---:|---:|---:|---:|"
    for target, of in targets.items():
        for group in dict.fromkeys(row["group"] for row in saved["rows"]):
            scores = scored(saved["rows"], group, of)
            between, shared, rest = parts(scores)
            pairs = np.corrcoef(scores - scores.mean(axis=1, keepdims=True))
            alike = float(pairs[np.triu_indices(len(pairs), 1)].mean())
            yield (
                f"| {target} | {group} | {between**0.5:.4f} | {shared**0.5:.4f} | {rest**0.5:.4f} "
                f"| {shared / (shared + rest):.2f} (mean correlation {alike:+.2f}) |"
            )


def scored(rows: Sequence[dict[str, Any]], group: str, tasks: Sequence[str]) -> FloatArray:
    """(mixtures, orders) minus the mean bits per byte."""
    mine = [row for row in rows if row["group"] == group]
    orders = sorted({row["order"] for row in mine})
    values = {(row["mixture"], row["order"]): -np.mean([row["bpb"][task] for task in tasks]) for row in mine}
    return np.array(
        [[values[mixture, order] for order in orders] for mixture in sorted({row["mixture"] for row in mine})]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("run", type=Path, nargs="?", help="the folder of a run with its tokens")
    parser.add_argument("--tasks", default=TASKS, help="names, by commas")
    parser.add_argument("--orders", type=int, default=6, help="data orders of every mixture")
    parser.add_argument("--table", action="store_true", help="print the saved results")
    options = parser.parse_args()
    path = RESULTS / "orders.json"
    if not options.table:
        run = Run(options.run)
        knobs = {"target.tasks": dict.fromkeys(options.tasks.split(","), 1.0), "machine.threads": 1}
        run = run.with_config(run.config.with_values(knobs))
        trainer, mixtures = prepared(run), groups(run)
        every = {name: found.tolist() for name, found in mixtures.items()}
        before = json.loads(path.read_text()) if path.exists() else {}
        rows = before["rows"] if before.get("mixtures") == every else []
        for order in range(max((row["order"] for row in rows), default=-1) + 1, options.orders):
            for group, found in mixtures.items():
                measured = measure(trainer, run, found, order)
                rows += [{"group": group, "mixture": m, "order": order, "bpb": bpb} for m, bpb in enumerate(measured)]
            save("orders", {"mixtures": every, "rows": rows})
            print(f"order {order}: {len(rows)} proxies", flush=True)
    print("\n".join(table(json.loads(path.read_text()))))


if __name__ == "__main__":
    main()
