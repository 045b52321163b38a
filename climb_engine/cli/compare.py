"""The command that asks whether the found mixture makes a better model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from climb_engine.cli.arguments import (
    Device,
    Job,
    Json,
    Name,
    Stack,
    assignments,
    open_run,
    reporting,
    run_folder,
    token_count,
)
from climb_engine.types import ClimbError

if TYPE_CHECKING:
    from climb_engine.compare import Comparison


def compare(
    name: Name,
    methods: Annotated[
        str,
        typer.Option(
            help="Of natural (always), uniform, random, regmix, doremi, climb (the published loop), ours (the bayesian "
            "method), and chosen (the run's own mixture, for which nothing is searched); by commas."
        ),
    ] = "natural,uniform,random,regmix,doremi,climb,ours",
    budget: Annotated[int, typer.Option(help="Proxies of each search.", min=1)] = 48,
    replicates: Annotated[int, typer.Option(help="Searches of each method, with fresh seeds.", min=1)] = 3,
    seeds: Annotated[int, typer.Option(help="Targets of each found mixture.", min=1)] = 1,
    target_size: Annotated[str, typer.Option(help="Shape of the targets by name; custom: the proxies'.")] = "1m",
    target_tokens: Annotated[str, typer.Option(help="Tokens per target (4M).")] = "4M",
    scratch: Annotated[bool, typer.Option("--scratch", help="Targets from random weights, without a trunk.")] = False,
    assign: Annotated[
        list[str] | None, typer.Option("--set", help="A knob of the targets: proxy.key=value; may be repeated.")
    ] = None,
    tasks: Annotated[
        str | None,
        typer.Option(
            help="Report on these besides the run's own: names, or name=file.jsonl; by commas.", show_default="general"
        ),
    ] = None,
    items: Annotated[int, typer.Option(help="Report items per task, at most.", min=1)] = 1000,
    split: Annotated[
        list[str] | None, typer.Option(help="Iterations of a method in proportion: climb=4,2,1; may be repeated.")
    ] = None,
    device: Device = None,
    stack: Stack = None,
    as_json: Json = False,
    job: Job = None,
) -> None:
    """Compare methods: the same budget each, then larger models on their mixtures and unseen items."""
    from climb_engine import compare as engine

    chosen = _tasks(tasks)
    options = engine.Options(
        methods=tuple(word.strip() for word in methods.split(",") if word.strip()),
        budget=budget,
        replicates=replicates,
        seeds=seeds,
        target_size=target_size,
        target_tokens=token_count(target_tokens),
        knobs=assignments(assign),
        scratch=scratch,
        items=items,
        splits=_splits(split),
        **chosen,
    )
    with reporting(name, job) as report:
        found = engine.compare(open_run(name, device, stack), options, report)
    _show(found, run_folder(name) / "compare" / found.digest, as_json)


def _tasks(text: str | None) -> dict[str, Any]:
    if text is None:
        return {}
    pairs = [word.strip().partition("=") for word in text.split(",") if word.strip()]
    return {"tasks": tuple(task for task, _, _ in pairs), "files": {task: file for task, _, file in pairs if file}}


def _splits(pairs: list[str] | None) -> dict[str, tuple[int, ...]]:
    splits = {}
    for pair in pairs or ():
        method, _, numbers = pair.partition("=")
        try:
            splits[method.strip()] = tuple(int(number) for number in numbers.split(","))
        except ValueError as error:
            raise ClimbError(f"--split {pair}: write it as climb=4,2,1") from error
    return splits


def _show(comparison: Comparison, folder: Path, as_json: bool) -> None:
    from climb_engine.compare import table as made
    from climb_engine.console import say, table

    if as_json:
        say(json.dumps(made.as_json(comparison), indent=1))
        return
    table(f"Comparison of {comparison.run}: mean of all tasks", *made.summary_table(comparison))
    say()
    for line in (*made.setting(comparison), *comparison.warnings, *made.verdicts(comparison)):
        say(f"- {line.replace('**', '')}")
    say(f"Every task, with a table to paste: {folder / 'table.md'}")
