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
def status(name: Name, as_json: Json = False) -> None:
    """Say how far a run is, and what was found."""
    from climb_engine.summary import show_status

    opened = _open(name)
    started = opened.artifact("tokens") is not None
    show_status(opened, opened.open_search() if started else None, as_json)


@app.command()
def export(
    name: Name,
    trial: Annotated[int | None, typer.Option(help="This trial's mixture instead of the chosen one.")] = None,
    to: Annotated[str, typer.Option(help="Name of the export.")] = "mixture",
) -> None:
    """Write the mixture as JSON, YAML and CSV, with where it comes from."""
    folder = _open(name).export(trial, to)
    typer.echo("\n".join(str(path) for path in sorted(folder.iterdir())))


@app.command()
def ui(
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 8501,
    headless: Annotated[bool, typer.Option(help="Do not open a browser.")] = False,
) -> None:
    """Open the app in the browser; it listens on this machine only."""
    main_page = Path(__file__).parents[1] / "app" / "main.py"
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
