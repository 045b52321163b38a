"""``climb``: everything the engine does, from the command line.

Exit codes: 0 done, 1 a bug (with its traceback), 2 wrong usage, 3 something you can fix (the message says how),
130 interrupted (run the same command again to go on).
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from climb_engine.cli import compare, curate, export, knobs, rate, runs, search
from climb_engine.cli.arguments import Runs
from climb_engine.types import ClimbError

app = typer.Typer(
    name="climb",
    help="Find the pre-training data mixture: cluster a corpus, curate it, search the weights with small proxy models.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_COMMANDS = (
    *(runs.init, runs.demo, runs.plan, runs.run, search.search, search.reuse, search.searches),
    *(search.suggest, search.ask, search.tell, search.fit),
    *(curate.override, curate.undo, curate.overrides, curate.merges, curate.name),
    *(runs.status, curate.clusters, curate.cluster, export.export, runs.ui, compare.compare, rate.annotate),
)
for _command in _COMMANDS:
    app.command()(_command)
app.command("runs")(knobs.list_runs)
app.command("set")(knobs.change)
app.add_typer(rate.app, name="rate")


@app.callback(invoke_without_command=True)
def options(
    folder: Annotated[Path, typer.Option("--runs", envvar="CLIMB_RUNS", help="Folder that holds the runs.")] = Path(
        "runs"
    ),
    version: Annotated[bool, typer.Option("--version", help="Print the version and stop.")] = False,
) -> None:
    """Read the options that stand before the command."""
    Runs.folder = folder
    if version:
        from importlib.metadata import version as installed

        sys.stdout.write(installed("climb-studio") + "\n")
        raise typer.Exit


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
