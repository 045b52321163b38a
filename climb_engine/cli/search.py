"""Commands from domains to a mixture: search, reuse, suggest, ask and tell, fit."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from climb_engine.cli.arguments import Device, Job, Json, Name, Stack, assignments, open_run, read_weights, reporting
from climb_engine.types import finite

if TYPE_CHECKING:
    from climb_engine.earlier import Earlier
    from climb_engine.pipeline import Run
    from climb_engine.reuse import Source


def search(
    name: Name,
    iterations: Annotated[
        int | None, typer.Option(help="Run this many more iterations, then stop; 0: only what waits.", min=0)
    ] = None,
    device: Device = None,
    stack: Stack = None,
    runner: Annotated[str | None, typer.Option(help="Where proxies train: local or ray.", show_default=False)] = None,
    as_json: Json = False,
    job: Job = None,
) -> None:
    """Search the mixture: train proxies, fit the predictor, iterate. Makes the stages first where needed."""
    from climb_engine.summary import show_status

    with reporting(name, job) as report:
        opened = open_run(name, device, stack)
        if runner is not None:
            opened.config = opened.config.with_values({"machine.runner": runner})
        opened.run(report=report)
        _mention_reusable(opened)
        last = None if iterations is None else _told(opened) + iterations
        found = opened.search(last, report)
    show_status(opened, found, as_json)


def reuse(
    name: Name,
    max_distance: Annotated[
        float,
        typer.Option(help="Take a trial whose mixture differs from what it would stand for by at most this.", min=0),
    ] = 0.05,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be taken.")] = False,
    as_json: Json = False,
) -> None:
    """Take over what earlier searches of this run measured over other domains, as data for the present one."""
    with reporting(name, None) as report:
        opened = open_run(name)
        opened.run("tokens", report)
        found = opened.reusable(max_distance)
        taken = () if dry_run else opened.reuse(max_distance)
    if as_json:
        typer.echo(json.dumps([_source(source, bool(taken)) for source in found], indent=1))
        return
    for source in found:
        typer.echo(f"search {source.digest}: {_words(source)}")
    count = sum(len(source.trials) for source in found)
    typer.echo(f"{count} trials {'can be' if dry_run else 'are'} reused" if found else "no earlier search has results")


def _source(source: Source, taken: bool) -> dict[str, Any]:
    trials = [
        {"trial": t.trial, "distance": t.distance, "weights": t.mixture.as_dict(), "metrics": dict(t.result.metrics)}
        for t in source.trials
    ]
    facts = {"from": source.digest, "measured": source.measured, "distances": source.distances.tolist()}
    return facts | {"reason": source.reason or None, "taken": taken, "trials": trials}


def _words(source: Source) -> str:
    far = [trial.distance for trial in source.trials]
    span = f", at a distance of {min(far):.3f} to {max(far):.3f}" if far else ""
    reason = f"; {source.reason}" if source.reason else ""
    return f"{len(far)} of {source.measured} trials{span}{reason}"


def _mention_reusable(run: Run) -> None:
    """Point to trials of other domains before a search begins; they are never taken silently."""
    if any(trial.result for trial in run.open_search().trials):
        return
    count = sum(len(source.trials) for source in run.reusable())
    if count:
        name = run.workspace.name
        typer.echo(f"{count} trials of earlier searches can be reused here: climb reuse {name}", err=True)


def searches(
    name: Name,
    back: Annotated[
        str | None, typer.Option(help="Give the run the settings of the search at this address again.")
    ] = None,
    as_json: Json = False,
) -> None:
    """List the run's searches under other settings, the last one first; go back to one of them."""
    from climb_engine import earlier
    from climb_engine.console import say, table

    opened = open_run(name)
    if back is not None:
        found = earlier.go_back(opened, back)
        typer.echo(f"{name} has the settings of search {back} again, with its {found.measured} measured trials")
        return
    rows = [_searched(one) for one in earlier.earlier(opened)]
    if as_json:
        say(json.dumps(rows, indent=1))
        return
    if not rows:
        say(f"{name} has no search under other settings")
        return
    shown = [
        (
            row["search"],
            row["told"],
            ", ".join(row["changed"]),
            row["domains"] or "",
            row["measured"],
            _number(row["best"]),
        )
        for row in rows
    ]
    columns = ("search", "last told", "what differs now", "domains", "measured", "best score")
    table(f"Searches of {name} under other settings", columns, shown, numeric=3)
    say(f"Go back to one: climb searches {name} --back ADDRESS")


def _searched(one: Earlier) -> dict[str, Any]:
    scores = [one.search.score(trial) for trial in one.search.own if trial.result] if one.measured else []
    return {
        "search": one.digest,
        "told": time.strftime("%Y-%m-%d %H:%M", time.localtime(one.told)) if one.told else "never",
        "changed": list(one.changed),
        "domains": len(one.search.space.domains) if one.measured else None,
        "measured": one.measured,
        "best": finite(max(scores, default=math.nan)),
    }


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def suggest(
    name: Name,
    weights: Annotated[list[str], typer.Argument(help="domain=weight ..., or a JSON file.", show_default=False)],
) -> None:
    """Queue a mixture of your own; the next search trains it first."""
    trial = open_run(name).suggest(read_weights(weights))
    if trial is None:
        typer.echo(f"it waits for the search at work on {name}, which takes it after its present iteration")
    else:
        typer.echo(f"trial {trial.id} is queued; 'climb search {name}' trains it")


def ask(
    name: Name,
    out: Annotated[Path, typer.Option(help="Folder to write the trials into.", show_default=False)],
    iterations: Annotated[int | None, typer.Option(help="Ask no further than this iteration.", min=1)] = None,
) -> None:
    """Write the trials that wait, to train their proxies elsewhere; 'climb tell' reads the results."""
    with reporting(name, None) as report:
        opened = open_run(name)
        trials = opened.ask(out, iterations, report)
    metrics = ",".join(opened.objective().metrics)
    typer.echo(f"{len(trials)} trials wait, in {out}; give their results back as a CSV: trial,{metrics}")


def tell(
    name: Name,
    results: Annotated[Path, typer.Argument(help="CSV: trial and its metrics.", show_default=False)],
) -> None:
    """Read back what proxies trained elsewhere measured, by trial id; a file with a fault changes nothing."""
    opened = open_run(name)
    told = opened.tell(results)
    left = len(opened.open_search().open)
    typer.echo(f"{len(told)} trials told, {left} still wait; 'climb ask {name}' gives what comes next")


def fit(
    ratios: Annotated[Path, typer.Option(help="CSV: one row per model, its weights by domain.", show_default=False)],
    metrics: Annotated[Path, typer.Option(help="CSV: the same rows, what each measured.", show_default=False)],
    target: Annotated[list[str] | None, typer.Option(help="metric or metric=weight; may be repeated.")] = None,
    tokens: Annotated[Path | None, typer.Option(help="JSON: domain to tokens, for the natural mixture.")] = None,
    batch: Annotated[int, typer.Option(help="Mixtures to propose for training next.", min=1)] = 16,
    assign: Annotated[list[str] | None, typer.Option("--set", help="A knob of the search: search.key=value.")] = None,
    as_json: Json = False,
) -> None:
    """Fit a predictor to tables of mixtures and results, without a run: how good it is, the best, the next batch."""
    from climb_engine import tables
    from climb_engine.config import RunConfig
    from climb_engine.summary import show_fit

    config = RunConfig().with_values(assignments(assign)).search
    wanted = read_weights([word if "=" in word else f"{word}=1" for word in target or ()])
    available = read_weights([str(tokens)]) if tokens else {}
    show_fit(tables.fit(tables.read_table(ratios, metrics), wanted, config, available, batch), as_json)


def _told(run: Run) -> int:
    """How many iterations are told whole: one that was interrupted is the next, not a further one."""
    search = run.open_search()
    return search.iteration - any(trial.open and trial.origin == "sampled" for trial in search.trials)
