"""Commands on ratings: people's, one document after the other or by the sheet, and the annotator's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from climb_engine.cli.arguments import Job, Json, Name, open_run, reporting
from climb_engine.types import METRICS, ClimbError

if TYPE_CHECKING:
    from climb_engine.curation import Preview
    from climb_engine.pipeline import Run
    from climb_engine.rating import Taken

Metrics = Annotated[
    list[str] | None, typer.Option("--metric", help="Rate only this; may be repeated.", show_default="all four")
]
Seed = Annotated[int, typer.Option(help="Seed of the suggestions.", min=0)]

_BATCH = 10  # documents suggested together, so that no two of them say the same
_SHOWN = 1500  # characters of a document that is asked about
_LISTED = 10  # clusters named one by one

app = typer.Typer()


@app.callback(invoke_without_command=True)
def rate(context: typer.Context, name: Name) -> None:
    """Rate documents, so that the corpus is scored as you would; without a command, they are asked for one by one."""
    context.obj = name
    if context.invoked_subcommand is None:
        ask(context)


@app.command()
def ask(context: typer.Context, metric: Metrics = None, seed: Seed = 0) -> None:
    """Show one suggested document after the other and ask for its ratings, 0 to 5; each is saved at once."""
    from climb_engine import rating
    from climb_engine.curate.ratings import Rating

    metrics, run, saved = _metrics(metric), open_run(context.obj), 0
    typer.echo("Rate from 0 (worst) to 5 (best; advertisement: 5 is none). Enter skips, q ends.")
    for document in _suggested(run, seed):
        typer.echo("\n" + rating.headed(document, _SHOWN))
        for wanted in metrics:
            given = _answer(wanted)
            if given == "q":
                typer.echo()
                _tell_of_saved(run, saved)
                return
            if given:
                taken = rating.rate(run, [Rating(document["id"], wanted, float(given), document["digest"])])
                saved += taken.ratings
    typer.echo("\nthere is nothing left to rate")
    _tell_of_saved(run, saved)


@app.command()
def suggest(
    context: typer.Context,
    n: Annotated[int, typer.Option("-n", help="Documents.", min=1)] = 20,
    out: Annotated[
        Path | None, typer.Option(help="Write a CSV to be filled in, for 'read'.", show_default=False)
    ] = None,
    metric: Metrics = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Show the documents worth rating next, those that teach most."""
    from climb_engine import rating

    metrics = _metrics(metric)
    documents = rating.suggestions(open_run(context.obj), n, seed)
    if out is None:
        rating.show_suggestions(documents, as_json)
        return
    rating.write_sheet(out, documents, metrics)
    typer.echo(f"{out}: {len(documents)} documents; fill in the ratings, then: climb rate {context.obj} read {out}")


@app.command()
def add(
    context: typer.Context,
    document: Annotated[int, typer.Argument(help="The document's number.", min=0, show_default=False)],
    ratings: Annotated[list[str], typer.Argument(help="metric=rating ...", show_default=False)],
) -> None:
    """Rate one document."""
    from climb_engine import rating
    from climb_engine.curate.ratings import parsed

    rows = []
    for word in ratings:
        metric, equals, given = word.partition("=")
        if not equals:
            raise ClimbError(f"{word}: write it as metric=rating")
        rows.append(parsed({"id": str(document), "metric": metric, "rating": given}, word))
    run = open_run(context.obj)
    _tell(run, rating.rate(run, rows))


@app.command()
def read(
    context: typer.Context,
    sheet: Annotated[Path, typer.Argument(help="CSV: id, metric, rating, digest.", show_default=False)],
) -> None:
    """Take over a CSV that was filled in: all of its ratings, or on the first fault none."""
    from climb_engine import rating

    run = open_run(context.obj)
    _tell(run, rating.take(run, sheet))


@app.command()
def check(context: typer.Context, as_json: Json = False) -> None:
    """Show how many ratings there are, and how well they predict those they have not seen."""
    from climb_engine import rating

    run = open_run(context.obj)
    rating.show_progress(run, rating.progress(run), as_json)


DryRun = Annotated[bool, typer.Option("--dry-run", help="Only say what it would change.")]
Yes = Annotated[bool, typer.Option("--yes", help="Do it without asking.")]


@app.command()
def use(context: typer.Context, dry_run: DryRun = False, yes: Yes = False) -> None:
    """Score the corpus by your ratings as they are now, after saying what that changes."""
    from climb_engine import rescoring
    from climb_engine.rated import collected, standing

    run = open_run(context.obj)
    found = standing(run, collected(run))
    if found.in_use and not found.behind:
        typer.echo(f"the scores are from all {found.used} ratings already")
        return
    if _agreed(rescoring.preview_use(run), "Score by these ratings?", dry_run, yes):
        rescoring.use(run)
        name = run.workspace.name
        typer.echo(f"'climb run {name}' scores the corpus anew; 'climb rate {name} unuse' ends it")


@app.command()
def unuse(context: typer.Context, dry_run: DryRun = False, yes: Yes = False) -> None:
    """Score the corpus without your ratings again, after saying what that changes; the ratings are kept."""
    from climb_engine import rescoring

    run = open_run(context.obj)
    if "ratings" not in run.config.quality.scorers:
        typer.echo("the scores are not made from ratings")
        return
    if _agreed(rescoring.preview_unuse(run), "Score without the ratings?", dry_run, yes):
        rescoring.unuse(run)
        typer.echo(f"'climb run {run.workspace.name}' makes what is to be made again")


def annotate(
    name: Name,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what it would cost.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Ask the endpoint without asking you first.")] = False,
    job: Job = None,
) -> None:
    """Let a language model rate a sample of documents, after saying what that costs; goes on where it was stopped."""
    from climb_engine import rating

    if dry_run or not yes:  # before the bars, which a question would get lost in
        requests = _cost(open_run(name))
        if dry_run:
            return
        if requests:
            _confirm(f"Send {requests:,} documents?")
    with reporting(name, job) as report:
        run = open_run(name)
        if yes:
            _cost(run)
        facts, section = rating.annotate(run, report).facts, run.config.quality
    typer.echo(
        f"{facts['answered']} of {facts['documents']} documents rated ({facts['bad']} answers could not be read, "
        f"{facts['refused']} documents were refused), {facts['tokens']:,} tokens; in {section.annotator_answers}"
    )
    if "annotator" not in section.scorers:
        typer.echo('not used yet: put "annotator" into quality.scorers')


def _cost(run: Run) -> int:
    """Say what the annotator costs; how many requests it is."""
    from climb_engine.rating import estimate

    section, cost = run.config.quality, estimate(run)
    price = f" at {section.annotator_price:g} a million" if section.annotator_price else " (no price is set)"
    typer.echo(
        f"{cost.requests:,} requests to {section.annotator_url}, about {cost.tokens:,} tokens, "
        f"cost {cost.cost:.2f}{price}"
    )
    return cost.requests


def _confirm(question: str) -> None:
    if not sys.stdin.isatty():
        raise ClimbError("nobody can be asked whether to go on; say --yes to go on, or --dry-run for the cost alone")
    typer.confirm(question, abort=True)


def _metrics(given: list[str] | None) -> tuple[str, ...]:
    from climb_engine.config import nearest

    for metric in given or ():
        if metric not in METRICS:
            raise ClimbError(f"--metric {metric}: there is no such metric{nearest(metric, METRICS)}")
    return tuple(given or METRICS)


def _suggested(run: Run, seed: int) -> Iterator[dict[str, Any]]:
    """Suggestions until none are left, never one again."""
    from climb_engine.rating import suggestions

    seen: set[int] = set()
    while documents := suggestions(run, _BATCH, seed, seen):
        for document in documents:
            seen.add(document["id"])
            yield document


def _answer(metric: str) -> str:
    """A rating as it was typed, "" to skip, or "q"; asks until it is one of these."""
    while True:
        typer.echo(f"{metric}: ", nl=False)
        line = sys.stdin.readline()
        given = line.strip().lower()
        if not line or given == "q":
            return "q"
        if not given or _is_rating(given):
            return given
        typer.echo("a number from 0 to 5, Enter or q")


def _is_rating(text: str) -> bool:
    from climb_engine.config import TOP_SCORE

    try:
        return 0 <= float(text) <= TOP_SCORE
    except ValueError:
        return False


def _tell(run: Run, taken: Taken) -> None:
    from climb_engine.rated import collected, standing
    from climb_engine.rating import aside, told

    typer.echo(f"{taken.ratings} ratings added to {taken.path}{aside(taken.moved, taken.lost)}")
    typer.echo(told(run, standing(run, collected(run))))


def _tell_of_saved(run: Run, saved: int) -> None:
    from climb_engine.rated import collected, ratings_file, standing
    from climb_engine.rating import told

    typer.echo(f"{saved} ratings saved in {ratings_file(run)}")
    typer.echo(told(run, standing(run, collected(run))))


def _agreed(found: Preview | None, question: str, dry_run: bool, yes: bool) -> bool:
    """Say what other scores would change; whether to do it."""
    _tell_of_change(found)
    if not dry_run and not yes:
        _confirm(question)
    return not dry_run


def _tell_of_change(found: Preview | None) -> None:
    """What other scores would change, with the clusters that they move."""
    if found is None:
        typer.echo("the scores or domains of now are still to be made, so it cannot be said what this would change")
        return
    lines = [
        f"  cluster {one.cluster}, {one.documents:,} documents: {one.before} -> {one.after}" for one in found.changes
    ]
    typer.echo(f"{len(found.changes)} clusters would fare differently")
    typer.echo(
        "\n".join(lines[:_LISTED] + [f"  and {len(lines) - _LISTED} more"] * (len(lines) > _LISTED)), nl=bool(lines)
    )
    kept = f"{found.documents_before:,} -> {found.documents_after:,} documents kept"
    typer.echo(f"{kept}, {len(found.domains_before)} -> {len(found.domains_after)} domains")
    typer.echo(f"would run again: {', '.join(stage.stage for stage in found.again) or 'nothing'}")
    if found.lost_trials:
        typer.echo(f"{found.lost_trials} measured trials would no longer apply; they stay on record")
