"""A comparison as the paper's Table 1 in Markdown, and as JSON."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from climb_engine.compare.outcome import ALL, CALIBRATED, OTHER, Comparison, Estimate, Kind, metric_of
from climb_engine.types import finite

REFERENCES = ("natural", "regmix")
GROUPS = (ALL, CALIBRATED, OTHER)
_UNITS: dict[Kind, str] = {"bpb": "bits per byte", "acc": "accuracy"}


def markdown(comparison: Comparison) -> str:
    """Everything for people: the setting, what can be said, and the tables."""
    blocks = [
        f"# Comparison {comparison.digest} of {comparison.run}",
        "\n".join(f"- {line}" for line in (*setting(comparison), *comparison.warnings)),
        "## What can be said",
        "\n".join(f"- {line}" for line in verdicts(comparison)),
        "## Accuracy on the report items, %",
        _table(*task_table(comparison, "acc")),
        "## Bits per byte of the right answer on the report items (lower is better)",
        _table(*task_table(comparison, "bpb")),
        "## Gain on the mean of tasks, paired by replicate (positive is better)",
        _table(*gain_table(comparison)),
        "## Cost of finding a mixture, and what was foretold of it",
        _table(*cost_table(comparison)),
        "## Mixtures, %: mean over replicates",
        _table(*mixture_table(comparison)),
    ]
    return "\n\n".join(blocks) + "\n"


def setting(comparison: Comparison) -> tuple[str, ...]:
    """What was trained, how often, and what is measured of it."""
    options, proxy, target = comparison.options, comparison.proxy, comparison.target
    seeds = f" x {options.seeds} seeds" if options.seeds > 1 else ""
    items = ", ".join(f"{task} {count}" for task, count in comparison.items.items())
    search = f"each search: {options.budget} proxies of {proxy.parameters:,} parameters, {proxy.tokens:,} tokens each"
    lines = [
        *([search] if options.searched else []),
        f"targets: {target.parameters:,} parameters, {target.tokens:,} tokens, "
        + (f"after a trunk of {target.trunk_tokens:,}" if target.trunk_tokens else "from scratch"),
        f"{options.replicates} replicates{seeds}, each with search seed and data order of its own",
        f"report items, seen by no search: {items}; calibrated on: {', '.join(comparison.calibrated) or 'no task'}",
    ]
    if not comparison.complete:
        wanted = len(options.methods) * options.replicates * options.seeds
        lines.append(f"**Unfinished**: {len(comparison.measured)} of {wanted} targets; the same command goes on")
    failed = [one for one in comparison.measured if one.error]
    return (*lines, *(f"**Failed**: target of {one.method}, seed {one.seed}: {one.error}" for one in failed))


def verdicts(comparison: Comparison) -> tuple[str, ...]:
    """What the intervals allow to say, and loudly what they do not."""
    said = [
        line
        for reference in REFERENCES
        if reference in comparison.methods
        for kind in _UNITS
        if (line := _verdict(comparison, reference, kind))
    ]
    noises = [
        f"{100 * sd:.1f} % of accuracy" if kind == "acc" else f"{sd:.4f} bits per byte"
        for kind, (sd, freedom) in ((kind, comparison.noise(kind)) for kind in _UNITS)
        if freedom
    ]
    if noises:
        said.append(f"Targets of one mixture differ by sd {' and '.join(noises)} on the mean of all tasks")
    return (
        *said,
        "Intervals are 95 %, Student t over replicates, for these items and this one trunk; they are not corrected for "
        "the number of comparisons",
    )


def _verdict(comparison: Comparison, reference: str, kind: Kind) -> str:
    if not comparison.tasks(kind):
        return ""
    others = [name for name in comparison.methods if name != reference]
    by_verdict: dict[str, list[str]] = {}
    for name in others:
        estimate = comparison.gains(name, reference, kind)
        by_verdict.setdefault(estimate.verdict, []).append(f"{name} ({_gain(estimate, kind)})")
    parts = [
        f"**{verdict.upper()}**: {', '.join(names)}"
        if verdict == "within the noise"
        else f"{verdict}: {', '.join(names)}"
        for verdict, names in by_verdict.items()
    ]
    return f"Against {reference}, {_UNITS[kind]}, mean of all tasks: " + "; ".join(parts) if parts else ""


Rows = tuple[Sequence[str], list[Sequence[str]]]
"""Column heads, and cells."""


def task_table(comparison: Comparison, kind: Kind) -> Rows:
    """A row for each method, a column for each task and for the means; mean ± half of the 95 % interval."""
    tasks = comparison.tasks(kind)
    groups = [group for group in GROUPS if comparison.tasks(kind, group) and comparison.tasks(kind, group) != tasks]
    groups = [ALL, *groups]
    heads = ["method", *tasks, *(f"mean, {group}" for group in groups), *(["held-out text"] if kind == "bpb" else [])]
    rows: list[Sequence[str]] = []
    for name in comparison.methods:
        values = [comparison.of_task(name, task, kind) for task in tasks]
        values += [comparison.of_group(name, kind, group) for group in groups]
        values += [comparison.of_heldout(name)] if kind == "bpb" else []
        rows.append([name, *(_level(Estimate.of(value), kind) for value in values)])
    return heads, rows


def summary_table(comparison: Comparison) -> Rows:
    """What fits on a terminal: means over all tasks, gains over natural, and the cost."""
    heads = ("method", "accuracy, %", "gain over natural", "bits per byte", "gain over natural", "proxies", "FLOPs")
    rows: list[Sequence[str]] = []
    for name in comparison.methods:
        cells: list[str] = []
        for kind in reversed(_UNITS):
            gain = comparison.gains(name, "natural", kind)
            cells.append(_level(Estimate.of(comparison.of_group(name, kind)), kind))
            cells.append("" if name == "natural" else _gain(gain, kind))
        spent = comparison.spent(name)
        rows.append([name, *cells, str(spent.proxies), f"{spent.flops:.1e}"])
    return heads, rows


def gain_table(comparison: Comparison) -> Rows:
    """Differences to the references by kind, for all tasks and for those apart that were calibrated on and not."""
    columns: list[tuple[str, Kind, str]] = [
        (reference, kind, group)
        for reference in REFERENCES
        if reference in comparison.methods
        for kind in _UNITS
        for group in GROUPS
        if comparison.tasks(kind, group) and (group == ALL or comparison.tasks(kind, group) != comparison.tasks(kind))
    ]
    heads = ["method", *(f"{_UNITS[kind]} over {reference}, {group}" for reference, kind, group in columns)]
    rows: list[Sequence[str]] = [
        [
            name,
            *(
                "" if name == ref else _gain(comparison.gains(name, ref, kind, group), kind)
                for ref, kind, group in columns
            ),
        ]
        for name in comparison.methods
    ]
    return heads, rows


def cost_table(comparison: Comparison) -> Rows:
    """What each method cost, and its gain over natural in the searches' own score: foretold and measured."""
    heads = (
        *("method", "proxies", "FLOPs of the search", "seconds", "FLOPs of a target", "seconds of a target"),
        *("foretold gain of the score", "measured gain of the score", "rank correlation of the predictor"),
    )
    rows: list[Sequence[str]] = []
    for name in comparison.methods:
        spent, (seconds, flops) = comparison.spent(name), comparison.target_cost(name)
        known = [one.spearman for one in comparison.found if one.method == name and one.spearman is not None]
        foretold = comparison.foretold(name)
        rows.append(
            [
                *(name, str(spent.proxies), f"{spent.flops:.2e}", f"{spent.seconds:,.0f}", f"{flops:.2e}"),
                f"{seconds:,.0f}",
                f"{foretold.mean:+.4f}" if foretold.n else "",
                "" if name == "natural" else _gain(comparison.score_gain(name), "bpb"),
                f"{np.mean(known):.2f}" if known else "",
            ]
        )
    return heads, rows


def mixture_table(comparison: Comparison) -> Rows:
    """Mean weights over replicates with their standard deviation."""
    by_method = {
        name: np.array([one.mixture.weights for one in comparison.found if one.method == name])
        for name in comparison.options.methods
    }
    by_method = {name: weights for name, weights in by_method.items() if len(weights)}
    domains = comparison.found[0].mixture.domains if comparison.found else ()
    rows: list[Sequence[str]] = []
    for i, domain in enumerate(domains):
        cells = [
            f"{100 * weights[:, i].mean():.1f} ({100 * weights[:, i].std():.1f})" for weights in by_method.values()
        ]
        rows.append([domain, *cells])
    return ["domain", *by_method], rows


def as_json(comparison: Comparison) -> dict[str, Any]:
    """Everything for programs: what was asked, found and measured, and the estimates. What is not known is null."""
    return {
        "run": comparison.run,
        "digest": comparison.digest,
        "complete": comparison.complete,
        "options": vars(comparison.options) | {"knobs": dict(comparison.options.knobs)},
        "calibrated": list(comparison.calibrated),
        "items": dict(comparison.items),
        "proxy": vars(comparison.proxy),
        "target": vars(comparison.target),
        "warnings": list(comparison.warnings),
        "verdicts": list(verdicts(comparison)),
        "methods": [_method(comparison, name) for name in comparison.methods],
        "found": [
            {
                **{"method": one.method, "replicate": one.replicate, "weights": one.mixture.as_dict()},
                **{"spent": vars(one.spent), "foretold_gain": finite(one.gain), "gain_sd": finite(one.gain_sd)},
                "spearman": None if one.spearman is None else finite(one.spearman),
            }
            for one in comparison.found
        ],
        "measured": [
            {
                **{"method": one.method, "replicate": one.replicate, "seed": one.seed, "score": finite(one.score)},
                "metrics": dict(one.result.metrics) if one.result else None,
                "seconds": one.result.seconds if one.result else None,
                "flops": one.result.flops if one.result else None,
                "error": one.error,
            }
            for one in comparison.measured
        ],
    }


def _method(comparison: Comparison, name: str) -> dict[str, Any]:
    kinds = [kind for kind in _UNITS if comparison.tasks(kind)]
    return {
        "method": name,
        "tasks": {
            metric_of(task, kind): _estimate(Estimate.of(comparison.of_task(name, task, kind)))
            for kind in kinds
            for task in comparison.tasks(kind)
        },
        "means": {
            f"{kind}, {g}": _estimate(Estimate.of(comparison.of_group(name, kind, g)))
            for kind, g in _groups(comparison)
        },
        "heldout": _estimate(Estimate.of(comparison.of_heldout(name))),
        "gains": {
            reference: {
                f"{kind}, {g}": _estimate(comparison.gains(name, reference, kind, g)) for kind, g in _groups(comparison)
            }
            for reference in REFERENCES
            if reference in comparison.methods and reference != name
        },
        "score_gain": {
            "foretold": finite(comparison.foretold(name).mean),
            "measured": _estimate(comparison.score_gain(name)),
        },
        "spent": vars(comparison.spent(name)),
    }


def _groups(comparison: Comparison) -> Iterator[tuple[Kind, str]]:
    return ((kind, group) for kind in _UNITS for group in GROUPS if comparison.tasks(kind, group))


def _estimate(estimate: Estimate) -> dict[str, Any]:
    interval = [finite(estimate.low), finite(estimate.high)]
    return {"mean": finite(estimate.mean), "interval_95": interval, "replicates": estimate.n}


def _level(estimate: Estimate, kind: Kind) -> str:
    scale, digits = (100, 1) if kind == "acc" else (1, 4)
    if not estimate.n:
        return ""
    half = scale * (estimate.high - estimate.low) / 2
    return f"{scale * estimate.mean:.{digits}f}" + (f" ± {half:.{digits}f}" if math.isfinite(half) else "")


def _gain(estimate: Estimate, kind: Kind) -> str:
    scale, digits = (100, 1) if kind == "acc" else (1, 4)
    if not estimate.n:
        return ""
    mean, low, high = (f"{scale * value:+.{digits}f}" for value in (estimate.mean, estimate.low, estimate.high))
    return f"{mean} [{low}, {high}]" if math.isfinite(estimate.low) else mean


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---", *["---:"] * (len(heads) - 1)], *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
