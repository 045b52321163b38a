"""Commands on a run as a whole: make it, plan it, bring it up to date, ask how it stands, open the app."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from climb_engine.cli.arguments import (
    Device,
    Job,
    Json,
    Name,
    Runs,
    absolute,
    assignments,
    open_run,
    reporting,
    run_folder,
)
from climb_engine.types import ClimbError

if TYPE_CHECKING:
    from climb_engine.config import CorpusConfig

_FIRST = 20  # documents that init reads, to say now what is wrong with the inputs


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
    from climb_engine.pipeline import Run

    values = {"corpus.inputs": [absolute(source) for source in inputs], **assignments(assign)}
    config = RunConfig().with_values(values)
    folder = run_folder(name)
    _readable(config.corpus)
    run = Run.create(folder, config)
    say(f"{run.workspace.config_path} written; read it, then: climb search {name}")


def _readable(config: CorpusConfig) -> None:
    """Raise what reading the corpus would raise, as far as its first documents show; the hub is not asked."""
    from climb_engine.curate.corpus import corpus_parts
    from climb_engine.curate.inputs import find_files

    find_files(config)
    here = tuple(source for source in config.inputs if not source.startswith("hf:"))
    if not here:
        return
    few = config.model_copy(update={"inputs": here, "max_documents": _FIRST, "part_documents": _FIRST})
    first, state = next(iter(corpus_parts(few)))
    if not first.num_rows and here == config.inputs:
        reasons = ", ".join(f"{n} {reason}" for reason, n in state.rejected.items()) or "the inputs hold none"
        raise ClimbError(f"no document was accepted ({reasons}); check corpus.inputs and corpus.text_column")


def demo(name: Annotated[str, typer.Argument(help="Name of the run.")] = "demo", job: Job = None) -> None:
    """Build the demo corpus of real text and run everything on it, to the exported mixture."""
    from climb_engine.console import say
    from climb_engine.demo import build_corpus, demo_config
    from climb_engine.pipeline import Run
    from climb_engine.summary import show_domains, show_outcome

    folder = run_folder(name)
    with reporting(name, job) as report:
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


def plan(name: Name, as_json: Json = False) -> None:
    """Say which stages would run, and why."""
    from climb_engine.console import say, table

    stages = open_run(name).plan()
    if as_json:
        say(json.dumps([vars(stage) for stage in stages], indent=1))
        return
    rows = [(stage.stage, stage.digest, stage.state, stage.why) for stage in stages]
    table(f"Plan of {name}", ("stage", "address", "state", "why"), rows, numeric=9)


def run(
    name: Name,
    until: Annotated[str, typer.Option(help="Stop after this stage.", show_default="the last")] = "trunk",
    device: Device = None,
    job: Job = None,
) -> None:
    """Bring the stages from documents to tokens up to date."""
    with reporting(name, job) as report:
        artifact = open_run(name, device).run(until, report)
    typer.echo(f"{until} is done: {artifact.folder}")


def status(name: Name, as_json: Json = False) -> None:
    """Say how far a run is, and what was found."""
    from climb_engine.summary import show_status

    opened = open_run(name)
    started = opened.artifact("tokens") is not None
    show_status(opened, opened.open_search() if started else None, as_json)


def ui(
    port: Annotated[int, typer.Option(help="Port on this machine.")] = 8501,
    headless: Annotated[bool, typer.Option(help="Do not open a browser.")] = False,
) -> None:
    """Open the app in the browser; it listens on this machine only."""
    root = Path(__file__).parents[2]
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
    raise typer.Exit(subprocess.call(command, env={**os.environ, "CLIMB_RUNS": str(Runs.folder.resolve())}))
