"""Commands on runs from outside: which there are, and changing a run's knobs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated, Any

import typer

from climb_engine.cli.arguments import Json, Name, Runs, assignments, open_run
from climb_engine.types import ClimbError

if TYPE_CHECKING:
    from climb_engine.config import RunConfig
    from climb_engine.pipeline import Run
    from climb_engine.workspace import Workspace


def list_runs(as_json: Json = False) -> None:
    """List the runs in the folder: how far each is, and what its search has come to."""
    from climb_engine.console import say, table
    from climb_engine.workspace import runs_in

    found = [_standing(workspace) for workspace in runs_in(Runs.folder)]
    if as_json:
        say(json.dumps(found, indent=1))
        return
    if not found:
        say(f"there is no run in {Runs.folder}; 'climb init NAME FILES' makes one, 'climb demo' a whole one")
        return
    rows = [(one["run"], one["error"] or one["stages"], one["search"]) for one in found]
    table("Runs, the last changed first", ("run", "stages", "search"), rows, numeric=9)


def change(
    name: Name,
    assign: Annotated[list[str], typer.Argument(help="Knobs: section.key=value.", show_default=False)],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would change.")] = False,
) -> None:
    """Change a run's knobs and say what that runs again; what was made under the old ones is kept."""
    run = open_run(name)
    wanted = run.config.with_values(assignments(assign), name)
    lines = _changes(run.config, wanted)
    if not lines:
        typer.echo("these knobs have these values already")
        return
    typer.echo("\n".join(lines))
    typer.echo(_consequences(run, wanted))
    if not dry_run:
        run.configure(wanted)


def _standing(workspace: Workspace) -> dict[str, Any]:
    from climb_engine.pipeline import Run

    try:
        run = Run(workspace.folder)
        plan = [stage for stage in run.plan() if not stage.optional]
        done = [stage.stage for stage in plan if stage.state == "done"]
        stages = "all done" if len(done) == len(plan) else f"{len(done)} of {len(plan)} done"
        return {"run": workspace.name, "stages": stages, "search": _search(run), "error": ""}
    except ClimbError as error:
        return {"run": workspace.name, "stages": "", "search": "", "error": str(error)}


def _search(run: Run) -> str:
    if not run.artifact("tokens"):
        return ""
    search = run.open_search()
    if search.choice:
        return "mixture chosen" if search.finished else "mixture chosen, being confirmed"
    return f"iteration {search.iteration} of {search.planned}" if search.trials else ""


def _changes(before: RunConfig, after: RunConfig) -> list[str]:
    """Knob by knob, what it was and what it becomes."""
    from climb_engine.config import differing

    old, new = before.model_dump(mode="json"), after.model_dump(mode="json")
    return [
        f"{section}.{name}: {json.dumps(old[section][name])} -> {json.dumps(new[section][name])}"
        for section, name in differing(before, after)
    ]


def _consequences(run: Run, wanted: RunConfig) -> str:
    done = {stage.stage for stage in run.plan() if stage.state == "done"}
    then = run.with_config(wanted)
    again = [stage.stage for stage in then.plan() if stage.state != "done" and stage.stage in done]
    said = f"would run again: {', '.join(again)}" if again else "nothing that is done runs again"
    if run.artifact("tokens") and run.open_search().trials and then.search_digest != run.search_digest:
        said += f"; the search begins anew, its trials are kept (climb searches {run.workspace.name})"
    return said
