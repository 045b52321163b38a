"""Commands on clusters and documents, and the decisions that people make on them."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from climb_engine.cli.arguments import Json, Name, open_run, reporting
from climb_engine.types import ClimbError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from climb_engine.config import Override, RunConfig
    from climb_engine.curation import Preview
    from climb_engine.domain_names import Question
    from climb_engine.pipeline import Run

Action = Literal["keep", "prune", "move", "merge", "split", "rename", "note"]
_SHOWN = 12  # changes named one by one


def clusters(
    name: Name,
    sort: Annotated[str, typer.Option(help="Column to sort by: documents, quality, reason, ...")] = "cluster",
    reverse: Annotated[bool, typer.Option("--reverse", help="The largest first.")] = False,
    kept: Annotated[bool | None, typer.Option("--kept/--pruned", help="Only these.", show_default="both")] = None,
    domain: Annotated[str | None, typer.Option(help="Only the clusters of this domain.")] = None,
    as_json: Json = False,
) -> None:
    """List what became of every cluster, and why."""
    from climb_engine import browse

    opened = open_run(name)
    browse.show_clusters(opened, browse.chosen(browse.clusters(opened), sort, reverse, kept, domain), as_json)


def cluster(
    name: Name,
    number: Annotated[int, typer.Argument(help="The cluster.", min=0, show_default=False)],
    samples: Annotated[int, typer.Option(help="Documents of each kind.", min=0)] = 3,
    as_json: Json = False,
) -> None:
    """Show one cluster: keywords, numbers, the decision, and central, random, borderline and worst documents."""
    from climb_engine import browse

    opened = open_run(name)
    browse.show_cluster(opened, browse.cluster(opened, number, samples), as_json)


def override(
    name: Name,
    action: Annotated[Action, typer.Argument(help="What to do.", show_default=False)],
    what: Annotated[str, typer.Argument(help="A cluster's number, or a domain.", show_default=False)],
    to: Annotated[
        str, typer.Argument(help="The domain to move to or to merge into, or the new name.", show_default=False)
    ] = "",
    parts: Annotated[int | None, typer.Option(help="For split: into how many.", min=2, show_default=False)] = None,
    why: Annotated[str, typer.Option(help="The reason, for the record; of a note its text.")] = "",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would change.")] = False,
    as_json: Json = False,
) -> None:
    """Decide by hand: keep, prune or note CLUSTER; move CLUSTER DOMAIN; merge DOMAIN INTO; rename DOMAIN NAME; split.

    A split takes a cluster or a domain and --parts K; a note a cluster or a domain and --why TEXT.
    """
    from climb_engine import curation

    opened = open_run(name)
    made = _override(action, what, to, parts, why)
    wanted = curation.with_override(opened, made)
    found = curation.preview(opened, wanted)
    if not dry_run:
        curation.add(opened, made)
    _show_preview(opened, wanted, found, as_json)


def undo(name: Name) -> None:
    """Take the last override back."""
    from climb_engine import browse, curation

    opened = open_run(name)
    former = opened.config
    taken = curation.undo(opened)
    typer.echo(f"taken back: {browse.signed(taken)}")
    typer.echo(_reruns(curation.preview(opened.with_config(former), opened.config)))


def overrides(
    name: Name,
    export: Annotated[Path | None, typer.Option(help="Write them to this TOML file.", show_default=False)] = None,
    import_: Annotated[
        Path | None, typer.Option("--import", help="Add those in this TOML file.", show_default=False)
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="With --import: put them in place of the run's.")] = False,
    clear: Annotated[bool, typer.Option("--clear", help="Take all back.")] = False,
    as_json: Json = False,
) -> None:
    """List the decisions made by hand, write them to a file, take them from one, or take them back."""
    from climb_engine import browse, curation

    if clear and import_:
        raise ClimbError("--clear and --import: give one of them; --import FILE --replace does both")
    if replace and not import_:
        raise ClimbError("--replace needs --import FILE")
    opened = open_run(name)
    if export:
        typer.echo(f"{_counted(curation.export_overrides(opened, export))} written to {export}")
    if clear:
        typer.echo(f"{_counted(curation.clear(opened))} taken back")
    if import_:
        typer.echo(f"{_counted(curation.import_overrides(opened, import_, replace))} taken from {import_}")
    if export or clear or import_:
        return
    known = opened.config.domains.overrides
    if as_json:
        typer.echo(json.dumps([one.model_dump(exclude_defaults=True) for one in known], indent=1))
        return
    for number, one in enumerate(known):
        typer.echo(f"{number:>3}  {browse.signed(one)}")
    typer.echo(_counted(len(known)) if known else "there are no overrides")


def _counted(n: int) -> str:
    return "1 override" if n == 1 else f"{n:,} overrides"


def merges(name: Name, as_json: Json = False) -> None:
    """Show what every number of domains would be like, to choose domains.n_domains by."""
    from climb_engine import curation
    from climb_engine.console import say, table
    from climb_engine.types import finite

    opened = open_run(name)
    found = curation.merges(opened)
    if as_json:
        say(json.dumps([{key: finite(value) for key, value in asdict(cut).items()} for cut in found], indent=1))
        return
    rows = [
        (cut.domains, *(f"{value:.4f}" for value in (cut.distance, cut.silhouette, cut.within, cut.between)))
        for cut in found
    ]
    columns = ("domains", "Ward distance", "silhouette", "spread within", "spread between")
    table(f"Merges of {opened.workspace.name}", columns, rows, numeric=0)
    say(f"domains.n_domains = {opened.config.domains.n_domains} now; centroids of kept clusters, each counting once")


def name(
    name: Name,
    again: Annotated[bool, typer.Option("--again", help="Also those that were renamed before.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be asked, and of whom.")] = False,
    as_json: Json = False,
) -> None:
    """Ask the annotator's endpoint for names of the domains, and rename these; nothing has to run again."""
    from climb_engine import browse, domain_names

    opened = open_run(name)
    questions = domain_names.questions(opened, again)
    if dry_run:
        _show_questions(opened, questions, as_json)
        return
    with reporting(name, None) as report:
        found = domain_names.name_domains(opened, questions, report)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=1))
        return
    for one in found:
        note = browse.plain(one.note)
        typer.echo(
            f"{one.domain} -> {one.name}{f' ({note})' * bool(note)}" if one.name else f"{one.domain} stays: {note}"
        )
    hint = "" if questions else "; all were renamed before, --again asks about them too"
    typer.echo(f"{sum(bool(one.name) for one in found)} of {len(opened.domains)} domains renamed{hint}")


def _show_questions(run: Run, questions: Sequence[Question], as_json: bool) -> None:
    from climb_engine import browse, domain_names

    section, cost = run.config.quality, domain_names.estimate(run, questions)
    if as_json:
        asked = {"url": section.annotator_url, "model": section.annotator_model, "system": domain_names.SYSTEM}
        told = asked | {**asdict(cost), "questions": [asdict(one) for one in questions]}
        typer.echo(json.dumps(told, indent=1))
        return
    for one in questions:
        typer.echo(f"{one.domain}: {browse.plain(one.text)}")
    typer.echo(
        f"{cost.requests} requests to {section.annotator_model} at {section.annotator_url}, about {cost.tokens:,} "
        f"tokens, cost {cost.cost:.2f}; nothing was asked"
    )


def _override(action: Action, what: str, to: str, parts: int | None, why: str) -> Override:
    from climb_engine.config import Override

    values: dict[str, Any] = {"action": action, "why": why}
    if action in ("keep", "prune", "move") or (action in ("split", "note") and what.isdecimal()):
        if not what.isdecimal():
            raise ClimbError(f"{action} {what}: give a cluster's number")
        values["cluster"] = int(what)
    else:
        values["domain"] = what
    if action == "move":
        values["domain"] = to
    elif to:
        values["to"] = to
    if action not in ("move", "merge", "rename") and to:
        raise ClimbError(f"{action} {what} {to}: {action} takes one cluster or domain")
    if parts is not None:
        values["parts"] = parts
    return Override.parse(values, f"{action} {what}")


def _show_preview(run: Run, wanted: RunConfig, found: Preview, as_json: bool) -> None:
    from climb_engine import browse

    made = wanted.domains.overrides[-1]
    if as_json:
        told = {"override": made.model_dump(exclude_defaults=True), "written": run.config == wanted, **asdict(found)}
        typer.echo(json.dumps(told, indent=1))
        return
    typer.echo(browse.signed(made))
    for change in found.changes[:_SHOWN]:
        size = f"{change.documents:,} documents, {change.characters:,} characters"
        typer.echo(f"  cluster {change.cluster} ({size}): {change.before} -> {change.after}")
    if len(found.changes) > _SHOWN:
        typer.echo(f"  and {len(found.changes) - _SHOWN} more clusters")
    gone, fresh = ([n for n in a if n not in b] for a, b in (_both(found), _both(found)[::-1]))
    named = [f"without {', '.join(gone)}"] * bool(gone) + [f"with {', '.join(fresh)}"] * bool(fresh)
    typer.echo(f"  domains: {len(found.domains_before)} -> {len(found.domains_after)}{', ' * bool(named)}"
               + ", ".join(named))  # fmt: skip
    typer.echo(f"  kept: {found.documents_before:,} -> {found.documents_after:,} documents, "
               f"{found.characters_before:,} -> {found.characters_after:,} characters")  # fmt: skip
    typer.echo(f"  {_reruns(found)}")


def _both(found: Preview) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return found.domains_before, found.domains_after


def _reruns(found: Preview) -> str:
    if not found.again:
        return "nothing has to run again"
    lost = f"; {found.lost_trials} measured trials stay on record for the former domains" if found.lost_trials else ""
    return "to run again: " + ", ".join(f"{stage.stage} ({stage.why})" for stage in found.again) + lost
