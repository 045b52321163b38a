"""``climb``: everything the engine does, from the command line.

Exit codes: 0 done, 1 a bug (with its traceback), 2 wrong usage, 3 something you can fix (the message says how),
130 interrupted (run the same command again to go on).
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from climb_engine.types import ClimbError, Event, Report

if TYPE_CHECKING:
    from climb_engine.pipeline import Run

app = typer.Typer(
    name="climb",
    help="Find the pre-training data mixture: cluster a corpus, curate it, search the weights with small proxy models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

Name = Annotated[str, typer.Argument(help="Name of the run.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", show_default=False)]
Job = Annotated[str | None, typer.Option("--job", hidden=True, help="The job this process works for.")]
Stack = Annotated[int | None, typer.Option(help="Proxies trained as one program.", min=1, show_default=False)]
_runs = Path("runs")


@app.callback(invoke_without_command=True)
def options(
    runs: Annotated[Path, typer.Option(envvar="CLIMB_RUNS", help="Folder that holds the runs.")] = Path("runs"),
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Read the options that stand before the command."""
    global _runs
    _runs = runs
    if version:
        from importlib.metadata import version as installed

        sys.stdout.write(installed("climb-studio") + "\n")
        raise typer.Exit


@app.command()
def init(
    name: Name,
    inputs: Annotated[list[str], typer.Argument(help="Files, folders, globs, or hf:owner/name.", show_default=False)],
    assign: Annotated[
        list[str] | None, typer.Option("--set", help="A knob: section.key=value; may be repeated.")
    ] = None,
) -> None:
    """Make a run: write its config.toml, each knob with its help."""
    from climb_engine.config import RunConfig
    from climb_engine.console import say
    from climb_engine.curate.inputs import find_files
    from climb_engine.pipeline import Run

    values = {"corpus.inputs": [_absolute(source) for source in inputs], **_assignments(assign)}
    config = RunConfig().with_values(values)
    find_files(config.corpus)  # a wrong path should say so now
    run = Run.create(_folder(name), config)
    say(f"{run.workspace.config_path} written; read it, then: climb search {name}")


@app.command()
def demo(name: Annotated[str, typer.Argument(help="Name of the run.")] = "demo", job: Job = None) -> None:
    """Build the demo corpus of real text and run everything on it, to the exported mixture."""
    from climb_engine.console import say
    from climb_engine.demo import build_corpus, demo_config
    from climb_engine.pipeline import Run
    from climb_engine.summary import show_domains, show_outcome

    folder = _folder(name)
    with _reporting(name, job) as report:
        source = build_corpus(folder / "input", report)
        if (folder / "config.toml").exists():
            run = Run(folder)
        else:
            config = demo_config().with_values({"corpus.inputs": [str(source.resolve())]})
            run = Run.create(folder, config)
        search = run.search(report=report)
        run.export()
    show_domains(run)
    say()
    show_outcome(search)
    say(f"\nThe run is in {folder}; its mixture in {folder / 'exports' / 'mixture'}. Next: climb ui")


@app.command()
def plan(name: Name, as_json: Json = False) -> None:
    """Say which stages would run, and why."""
    from climb_engine.console import say, table

    stages = _open(name).plan()
    if as_json:
        say(json.dumps([vars(stage) for stage in stages], indent=1))
        return
    table(f"Plan of {name}", ("stage", "address", "state", "why"), [tuple(vars(s).values()) for s in stages], numeric=9)


@app.command()
def run(
    name: Name,
    until: Annotated[str, typer.Option(help="Stop after this stage.", show_default="the last")] = "trunk",
    device: Device = None,
    job: Job = None,
) -> None:
    """Bring the stages from documents to tokens up to date."""
    with _reporting(name, job) as report:
        artifact = _open(name, device).run(until, report)
    typer.echo(f"{until} is done: {artifact.folder}")


@app.command()
def search(
    name: Name,
    iterations: Annotated[int | None, typer.Option(help="Run this many more iterations, then stop.", min=1)] = None,
    device: Device = None,
    stack: Stack = None,
    as_json: Json = False,
    job: Job = None,
) -> None:
    """Search the mixture: train proxies, fit the predictor, iterate. Makes the stages first where needed."""
    from climb_engine.summary import show_status

    with _reporting(name, job) as report:
        opened = _open(name, device, stack)
        opened.run(report=report)
        last = None if iterations is None else _told(opened) + iterations
        found = opened.search(last, report)
    show_status(opened, found, as_json)


@app.command()
def suggest(
    name: Name,
    weights: Annotated[list[str], typer.Argument(help="domain=weight ..., or a JSON file.", show_default=False)],
) -> None:
    """Queue a mixture of your own; the next search trains it first."""
    trial = _open(name).suggest(_weights(weights))
    typer.echo(f"trial {trial.id} is queued; 'climb search {name}' trains it")


@app.command()
def ask(
    name: Name,
    out: Annotated[Path, typer.Option(help="Folder to write the trials into.", show_default=False)],
    iterations: Annotated[int | None, typer.Option(help="Ask no further than this iteration.", min=1)] = None,
) -> None:
    """Write the trials that wait, to train their proxies elsewhere; 'climb tell' reads the results."""
    with _reporting(name, None) as report:
        opened = _open(name)
        trials = opened.ask(out, iterations, report)
    metrics = ",".join(opened.objective().metrics)
    typer.echo(f"{len(trials)} trials wait, in {out}; give their results back as a CSV: trial,{metrics}")


@app.command()
def tell(
    name: Name,
    results: Annotated[Path, typer.Argument(help="CSV: trial and its metrics.", show_default=False)],
) -> None:
    """Read back what proxies trained elsewhere measured, by trial id; a file with a fault changes nothing."""
    opened = _open(name)
    told = opened.tell(results)
    left = len(opened.open_search().open)
    typer.echo(f"{len(told)} trials told, {left} still wait; 'climb ask {name}' gives what comes next")


@app.command()
def fit(
    ratios: Annotated[Path, typer.Option(help="CSV: one row per model, its weights by domain.", show_default=False)],
    metrics: Annotated[Path, typer.Option(help="CSV: the same rows, what each measured.", show_default=False)],
    target: Annotated[list[str] | None, typer.Option(help="metric or metric=weight; may be repeated.")] = None,
    tokens: Annotated[Path | None, typer.Option(help="JSON: domain to tokens, for the natural mixture.")] = None,
    batch: Annotated[int, typer.Option(help="Mixtures to propose for training next.", min=1)] = 16,
    assign: Annotated[list[str] | None, typer.Option("--set", help="A knob of [search]: search.key=value.")] = None,
    as_json: Json = False,
) -> None:
    """Fit a predictor to tables of mixtures and results, without a run: how good it is, the best, the next batch."""
    from climb_engine import tables
    from climb_engine.config import RunConfig
    from climb_engine.summary import show_fit

    config = RunConfig().with_values(_assignments(assign)).search
    wanted = _weights([word if "=" in word else f"{word}=1" for word in target or ()])
    available = _weights([str(tokens)]) if tokens else {}
    show_fit(tables.fit(tables.read_table(ratios, metrics), wanted, config, available, batch), as_json)


@app.command()
def status(name: Name, as_json: Json = False) -> None:
    """Say how far a run is, and what was found."""
    from climb_engine.summary import show_status

    opened = _open(name)
    started = opened.artifact("tokens") is not None
    show_status(opened, opened.open_search() if started else None, as_json)


@app.command()
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

    opened = _open(name)
    browse.show_clusters(opened, browse.chosen(browse.clusters(opened), sort, reverse, kept, domain), as_json)


@app.command()
def cluster(
    name: Name,
    number: Annotated[int, typer.Argument(help="The cluster.", min=0, show_default=False)],
    samples: Annotated[int, typer.Option(help="Documents of each kind.", min=0)] = 3,
    as_json: Json = False,
) -> None:
    """Show one cluster: keywords, numbers, the decision, and central, random, borderline and worst documents."""
    from climb_engine import browse

    opened = _open(name)
    browse.show_cluster(opened, browse.cluster(opened, number, samples), as_json)


@app.command()
def export(
    name: Name,
    trial: Annotated[int | None, typer.Option(help="This trial's mixture instead of the chosen one.")] = None,
    to: Annotated[str, typer.Option(help="Name of the export.")] = "mixture",
    form: Annotated[
        str, typer.Option("--format", help="Recipes too: all, or of megatron,streaming,hf,olmo,litgpt.")
    ] = "",
    paths: Annotated[
        str | None, typer.Option(help="Where a domain's data are, in recipes: /data/{domain}/*.parquet.")
    ] = None,
    tokens: Annotated[str | None, typer.Option(help="Write a data set of this many tokens (10M, 2.5B).")] = None,
    dataset: Annotated[
        Path | None, typer.Option(help="Folder of that data set.", show_default="exports/TO-dataset")
    ] = None,
    clustered: Annotated[Path | None, typer.Option(help="Write all kept documents here, a folder per cluster.")] = None,
    by: Annotated[str, typer.Option(help="With --clustered: cluster or domain.")] = "cluster",
    contents: Annotated[str, typer.Option("--as", help="What of the documents: text, tokens or both.")] = "both",
    layout: Annotated[
        str, typer.Option(help="With --tokens: parquet, or as ClimbMix is published: climbmix, climbmix-parquet.")
    ] = "parquet",
    shard_tokens: Annotated[str, typer.Option(help="At most about this many tokens per file.")] = "25M",
    max_repeats: Annotated[float, typer.Option(help="Read no domain more often than this.")] = 4.0,
    seed: Annotated[int, typer.Option(help="Seed of the draw.", min=0)] = 0,
    job: Job = None,
) -> None:
    """Write the mixture with where it comes from; on request recipes, a data set drawn by it, or all by cluster."""
    from climb_engine import dataset as out

    with _reporting(name, job) as report:
        opened, size = _open(name), _count(shard_tokens)
        if dataset and not tokens:
            raise ClimbError("--dataset needs --tokens: how many tokens to draw, for example 10M")
        if form or not (clustered or tokens):
            frameworks = [word.strip() for word in form.split(",") if word.strip()]
            folder = opened.export(trial, to, frameworks, paths, max_repeats)
            typer.echo("\n".join(str(path) for path in sorted(folder.iterdir())))
        if clustered:
            options = out.ClusteredOptions(by, size, contents)  # type: ignore[arg-type]
            typer.echo(opened.export_clustered(options, clustered, report))
        if tokens:
            mixed = out.MixedOptions(_count(tokens), max_repeats, size, contents, layout, seed)  # type: ignore[arg-type]
            folder = dataset or opened.workspace.export_folder(f"{to}-dataset")
            typer.echo(opened.export_dataset(mixed, folder, trial, report))


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 8501,
    headless: Annotated[bool, typer.Option(help="Do not open a browser.")] = False,
) -> None:
    """Open the app in the browser; it listens on this machine only."""
    root = Path(__file__).parents[1]
    main_page = root / "app" / "main.py"
    if not (root / "pages").is_dir():
        raise ClimbError("the app runs from a checkout of the repository; install it there: pip install -e '.[ui]'")
    try:
        import streamlit  # noqa: F401
    except ImportError as error:
        raise ClimbError("the app needs Streamlit; install it with: pip install 'climb-studio[ui]'") from error
    # fmt: off
    command = [sys.executable, "-m", "streamlit", "run", str(main_page), f"--server.port={port}",
               "--server.address=127.0.0.1", f"--server.headless={str(headless).lower()}"]
    # fmt: on
    raise typer.Exit(subprocess.call(command, env={**os.environ, "CLIMB_RUNS": str(_runs.resolve())}))


def main() -> NoReturn:
    """Run ``climb`` and turn what happens into an exit code."""
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # spinning threads starve each other when cores are shared
    signal.signal(signal.SIGTERM, _interrupted)
    try:
        code = app(standalone_mode=False)
    except ClimbError as error:
        code = _complain(str(error), 3)
    except (KeyboardInterrupt, typer.Abort):
        code = 130
    except Exception as error:
        if not hasattr(error, "format_message"):
            raise
        code = _complain(f"{error.format_message()} (see climb --help)", 2)
    if code == 130:  # typer turns Ctrl-C into this code as well
        _complain("interrupted; what was finished is kept. Run the same command again to go on", code)
    sys.exit(code if isinstance(code, int) else 0)


def _interrupted(signum: int, frame: Any) -> NoReturn:  # noqa: ARG001
    raise KeyboardInterrupt


def _complain(message: str, code: int) -> int:
    sys.stderr.write(f"climb: {message}\n")
    return code


@contextlib.contextmanager
def _reporting(name: str, job: str | None) -> Iterator[Report]:
    """What long work reports to: bars or lines, and the job's folder when this process is the worker of one."""
    from climb_engine.console import reporting

    with reporting() as show:
        if job is None:
            yield show
            return
        from climb_engine.jobs import working
        from climb_engine.workspace import Workspace

        with working(Workspace(_folder(name)), job) as record:

            def report(event: Event) -> None:
                show(event)
                record(event)

            yield report


def _told(run: Run) -> int:
    """How many iterations are told whole: one that was interrupted is the next, not a further one."""
    search = run.open_search()
    return search.iteration - any(trial.open and trial.origin == "sampled" for trial in search.trials)


def _folder(name: str) -> Path:
    from climb_engine.workspace import slug

    return _runs / slug(name)


def _open(name: str, device: str | None = None, stack: int | None = None) -> Run:
    from climb_engine.pipeline import Run
    from climb_engine.workspace import runs_in

    folder = _folder(name)
    if not (folder / "config.toml").exists():
        known = ", ".join(run.name for run in runs_in(_runs)) or "none"
        raise ClimbError(f"there is no run {name!r} in {_runs} (there are: {known}); 'climb init' makes one")
    opened = Run(folder)
    wanted = {"machine.device": device, "machine.stack": stack}
    opened.config = opened.config.with_values({knob: value for knob, value in wanted.items() if value is not None})
    return opened


def _absolute(source: str) -> str:
    return source if source.startswith("hf:") else str(Path(source).expanduser().absolute())


def _assignments(pairs: list[str] | None) -> dict[str, Any]:
    values = {}
    for pair in pairs or ():
        knob, equals, text = pair.partition("=")
        if not equals:
            raise ClimbError(f"--set {pair}: write it as section.key=value")
        values[knob.strip()] = _value(text.strip())
    return values


def _value(text: str) -> Any:
    import tomllib

    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _count(text: str) -> int:
    """A number of tokens as people write it: 500000, 10M, 2.5B."""
    units = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
    unit = units.get(text[-1:].upper(), 1)
    try:
        return round(float(text[: -1 if unit > 1 else None].replace(",", "").replace("_", "")) * unit)
    except (ValueError, OverflowError) as error:
        raise ClimbError(f"{text}: write a number of tokens as 500000, 10M or 2.5B") from error


def _weights(words: list[str]) -> dict[str, float]:
    if len(words) == 1 and words[0].endswith(".json"):
        try:
            read = json.loads(Path(words[0]).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ClimbError(f"{words[0]}: cannot be read as JSON: {error}") from error
        if not isinstance(read, dict):
            raise ClimbError(f'{words[0]}: give an object of domain: weight, or an export\'s "weights"')
        return dict(read.get("weights", read))
    weights = {}
    for word in words:
        domain, _, number = word.rpartition("=")
        try:
            weights[domain] = float(number)
        except ValueError as error:
            raise ClimbError(f"{word}: write it as domain=weight") from error
    return weights


if __name__ == "__main__":
    main()
