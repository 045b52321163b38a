"""What the command line shows: bars on a terminal, plain lines elsewhere, tables."""

from __future__ import annotations

import contextlib
import math
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from climb_engine.types import Event, Report

_QUIET_SECONDS = 10.0  # between plain lines of one stage


@contextlib.contextmanager
def reporting(stream: TextIO | None = None) -> Iterator[Report]:
    """A report for the time of some long work: bars with counts and ETA, or lines when not a terminal."""
    console = Console(file=stream or sys.stderr)
    if not console.is_terminal:
        yield _Lines(console).report
        return
    columns = (TextColumn("{task.description:>14}"), BarColumn(), TextColumn("{task.fields[count]}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=console) as progress:
        yield _Bars(progress).report


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[object]], numeric: int = 1) -> None:
    """Print a table to standard output; the columns from ``numeric`` on are set to the right."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        made.add_column(name, justify="right" if index >= numeric else "left", overflow="fold")
    for row in rows:
        made.add_row(*[str(cell) for cell in row])
    console = Console()
    if not console.is_terminal:
        console = Console(width=160)
    console.print(made)


def say(text: str = "") -> None:
    """Print a line to standard output as it is."""
    sys.stdout.write(text + "\n")


def seconds_text(seconds: float) -> str:
    """Seconds as a person says them: 8.4 s, 3 min 20 s, 2 h 05 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def _count(event: Event) -> str:
    total = f"/{event.total:,.0f}" if event.total is not None else ""
    shown = {key: value for key, value in event.facts.items() if value is not None and not isinstance(value, list)}
    notes = [f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in shown.items()]
    return f"{event.done:,.0f}{total} {event.unit}" + (f" ({', '.join(notes)})" if notes else "")


class _Bars:
    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._tasks: dict[str, TaskID] = {}

    def report(self, event: Event) -> None:
        if event.stage not in self._tasks:
            self._tasks[event.stage] = self._progress.add_task(event.stage, total=event.total, count="")
        task = self._tasks[event.stage]
        if event.unit == "stage":
            self._progress.update(task, total=1, completed=1, count=f"done in {seconds_text(event.facts['seconds'])}")
        else:
            self._progress.update(task, total=event.total, completed=event.done, count=_count(event))


class _Lines:
    def __init__(self, console: Console) -> None:
        self._console = console
        self._last: dict[str, float] = {}
        self._started: dict[str, tuple[float, float]] = {}  # when a stage was at which count
        self._done: dict[str, float] = {}

    def report(self, event: Event) -> None:
        now = time.monotonic()
        if event.done < self._done.get(event.stage, math.inf):  # the stage has just begun, or begun again
            self._started[event.stage] = (now, event.done)
        self._done[event.stage] = event.done
        if event.unit == "stage":
            self._print(f"{event.stage}: done in {seconds_text(event.facts['seconds'])}")
        elif now - self._last.get(event.stage, -_QUIET_SECONDS) >= _QUIET_SECONDS:
            self._last[event.stage] = now
            started, before = self._started[event.stage]
            gone = event.done - before
            left = (now - started) * (event.total - event.done) / gone if event.total and gone else None
            self._print(f"{event.stage}: {_count(event)}" + (f", about {seconds_text(left)} left" if left else ""))

    def _print(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)
