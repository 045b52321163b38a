"""What the commands have in common: their arguments, the folder of the runs, opening a run, reporting."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from climb_engine.types import ClimbError, Event, Report

if TYPE_CHECKING:
    from climb_engine.pipeline import Run

Name = Annotated[str, typer.Argument(help="Name of the run.", show_default=False)]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]
Device = Annotated[str | None, typer.Option(help="auto, cpu, cuda, cuda:N or mps.", show_default=False)]
Job = Annotated[str | None, typer.Option("--job", hidden=True, help="The job this process works for.")]
Stack = Annotated[int | None, typer.Option(help="Proxies trained as one program.", min=1, show_default=False)]


class Runs:
    """The folder that holds the runs, as the program was told."""

    folder = Path("runs")


@contextlib.contextmanager
def reporting(name: str, job: str | None) -> Iterator[Report]:
    """What long work reports to: bars or lines, and the job's folder when this process is the worker of one."""
    from climb_engine.console import reporting

    with reporting() as show:
        if job is None:
            yield show
            return
        from climb_engine.jobs import working
        from climb_engine.workspace import Workspace

        with working(Workspace(run_folder(name)), job) as record:

            def report(event: Event) -> None:
                show(event)
                record(event)

            yield report


def run_folder(name: str) -> Path:
    """Where a run of this name is."""
    from climb_engine.workspace import slug

    return Runs.folder / slug(name)


def open_run(name: str, device: str | None = None, stack: int | None = None) -> Run:
    """Open a run, on another device or with another stack than its config says. ClimbError when there is none."""
    from climb_engine.pipeline import Run
    from climb_engine.workspace import runs_in

    folder = run_folder(name)
    if not (folder / "config.toml").exists():
        known = ", ".join(run.name for run in runs_in(Runs.folder)) or "none"
        raise ClimbError(f"there is no run {name!r} in {Runs.folder} (there are: {known}); 'climb init' makes one")
    opened = Run(folder)
    wanted = {"machine.device": device, "machine.stack": stack}
    opened.config = opened.config.with_values({knob: value for knob, value in wanted.items() if value is not None})
    return opened


def absolute(source: str) -> str:
    """An input that is found again from elsewhere; ids of the hub stay."""
    return source if source.startswith("hf:") else str(Path(source).expanduser().absolute())


def assignments(pairs: list[str] | None) -> dict[str, Any]:
    """Knobs from section.key=value, the value as TOML or as plain text."""
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


def token_count(text: str) -> int:
    """A number of tokens as people write it: 500000, 10M, 2.5B."""
    units = {"K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
    unit = units.get(text[-1:].upper(), 1)
    try:
        return round(float(text[: -1 if unit > 1 else None].replace(",", "").replace("_", "")) * unit)
    except (ValueError, OverflowError) as error:
        raise ClimbError(f"{text}: write a number of tokens as 500000, 10M or 2.5B") from error


def read_weights(words: list[str]) -> dict[str, float]:
    """Weights from domain=weight, or from a JSON file."""
    if len(words) == 1 and words[0].endswith(".json"):
        try:
            read = json.loads(Path(words[0]).read_text(encoding="utf-8"))
        except OSError as error:
            raise ClimbError(f"{words[0]}: cannot be read: {error.strerror}") from error
        except ValueError as error:
            raise ClimbError(f"{words[0]}: is no JSON: {error}") from error
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
