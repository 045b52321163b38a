"""The engine in the background: a detached process of the same command line, and the folder that tells of it.

``jobs/<id>/`` holds ``spec.json`` (what was asked), ``lock`` (held by the worker for as long as it lives),
``events.jsonl`` (its progress, and its last word), ``log.txt`` (its output) and ``stop`` (there when it should end).
Only the worker writes events; any number of readers may look. Whether it lives is asked of the lock, never of a
process id: a killed process may linger as a zombie, its lock does not.
"""

from __future__ import annotations

import contextlib
import json
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from climb_engine.types import ClimbError, Event, Report
from climb_engine.workspace import Log, Workspace, read_json, slug, write_atomically

LAST_WORDS = ("done", "failed", "stopped")
HEAVY = ("demo", "run", "search", "compare")
"""Commands that want the machine for themselves: they wait for those of all runs that were started before them."""

GRACE = 10.0  # seconds from the wish to stop to SIGTERM, and as many again to SIGKILL
_EVERY = 0.5  # seconds between recorded events of one stage
_TAIL = 65_536  # bytes of a file's end that readers look at
_RESERVE = 65_536  # bytes that a worker keeps for its last word
_STARTING = 60.0  # seconds that a worker has for its first word
_TURN = 0.5  # seconds between looks at whether it is one's turn
_BLINK = 0.02  # seconds: longer than another reader holds the lock to see whether it is free


@dataclass(frozen=True)
class Progress:
    """How far a stage is, from what the worker recorded of it."""

    stage: str
    done: float
    total: float | None  # None: not known
    unit: str
    facts: Mapping[str, Any]
    updated: float  # seconds since the epoch
    eta: float | None  # seconds that were left when it was recorded; None: not known


@dataclass(frozen=True)
class Job:
    """One job as it was when first asked: build a new one to look again."""

    folder: Path

    @property
    def id(self) -> str:
        """Its folder's name; later jobs sort behind earlier ones."""
        return self.folder.name

    @property
    def run(self) -> str:
        """The run's name."""
        return self.folder.parents[1].name

    @property
    def arguments(self) -> tuple[str, ...]:
        """The command and its options, without the run's name."""
        return tuple(self._spec["arguments"])

    @property
    def command(self) -> str:
        """What to type to do the same in a terminal."""
        return shlex.join(["climb", self.arguments[0], self.run, *self.arguments[1:]])

    @property
    def started(self) -> float:
        """When it was asked for, in seconds since the epoch."""
        return float(self._spec["started"])

    @cached_property
    def state(self) -> str:
        """'waiting' (starting), 'queued' (for its turn), 'running', 'done', 'failed', 'stopped', or 'interrupted'.

        The last one is gone without a last word.
        """
        alive = _held(self.folder / "lock")  # before the events: a last word written in between is then still found
        last = self._events[-1].get("state") if self._events else None
        if last in LAST_WORDS:
            return str(last)
        if alive:
            return "queued" if last == "queued" else "running" if self._events else "waiting"
        if not self._events and _held(_guard(self.folder.parent)):
            return "waiting"
        return "stopped" if self.stopping else "interrupted"

    @property
    def alive(self) -> bool:
        """Whether there is work going on, or about to."""
        return self.state in ("waiting", "queued", "running")

    @property
    def stopping(self) -> bool:
        """Whether it was asked to stop."""
        return (self.folder / "stop").exists()

    @property
    def ahead(self) -> tuple[str, ...]:
        """The commands that it waits for, while it is queued."""
        return tuple(self._events[-1].get("ahead", ())) if self._events else ()

    @cached_property
    def progress(self) -> tuple[Progress, ...]:
        """The stages it told of last, the latest first."""
        stages: dict[str, list[dict[str, Any]]] = {}
        for event in self._events:
            if "stage" in event:
                stages.setdefault(event["stage"], []).append(event)
        made = [_progress(events) for events in stages.values()]
        return tuple(sorted(made, key=lambda progress: -progress.updated))

    @property
    def updated(self) -> float:
        """When it last gave a sign, in seconds since the epoch."""
        return float(self._events[-1]["time"]) if self._events else self.started

    @property
    def error(self) -> str | None:
        """Why it failed; None when it did not."""
        return self._events[-1].get("error") if self._events else None

    def log_tail(self, lines: int = 40) -> str:
        """The last lines of its output."""
        return "\n".join(tail(self.folder / "log.txt").decode(errors="replace").splitlines()[-lines:])

    def stop(self) -> None:
        """Ask it to stop: at its next sign of progress, after ``GRACE`` by a signal."""
        if not self.folder.exists():
            raise ClimbError(f"job {self.id} of {self.run} is gone; its folder was removed")
        (self.folder / "stop").touch()

    def resume(self) -> Job:
        """Start the same again; what was finished is not done twice."""
        return start(Workspace(self.folder.parents[1]), self.arguments)

    @cached_property
    def _spec(self) -> Mapping[str, Any]:
        spec: Mapping[str, Any] = read_json(self.folder / "spec.json")
        return spec

    @cached_property
    def _events(self) -> list[dict[str, Any]]:
        whole = tail(self.folder / "events.jsonl").rpartition(b"\n")[0]  # a torn last line does not count
        return [json.loads(line) for line in whole.splitlines()]


def jobs(workspace: Workspace) -> tuple[Job, ...]:
    """All jobs of a run, newest first."""
    found = (path.parent for path in _folder(workspace).glob("*/spec.json"))
    return tuple(Job(folder) for folder in sorted(found, reverse=True))


def find(workspace: Workspace, job: str) -> Job:
    """A job by its id."""
    folder = _folder(workspace) / slug(job)
    if not (folder / "spec.json").exists():
        raise ClimbError(f"{workspace.name} has no job {job!r}; see its folder {folder.parent}")
    return Job(folder)


def start(workspace: Workspace, arguments: Sequence[str]) -> Job:
    """Start ``climb <arguments[0]> <run> <arguments[1:]>`` as a process that outlives this one.

    Returns once the worker holds its lock, or has ended. ClimbError while another job of this run lives.
    """
    slug(workspace.name)
    with _starting(workspace):
        for other in jobs(workspace):
            if _held(other.folder / "lock"):
                what = f"{workspace.name} is being worked on already ({other.command})"
                raise ClimbError(f"{what}; wait for it or stop it")
        job = _created(workspace, arguments)
        worker = _launched(workspace, job)
        deadline = time.monotonic() + _STARTING
        while not (job.folder / "events.jsonl").exists() and worker.poll() is None and time.monotonic() < deadline:
            time.sleep(_BLINK)
    threading.Thread(target=worker.wait, daemon=True).start()  # so that no zombie stays
    return Job(job.folder)


@contextlib.contextmanager
def working(workspace: Workspace, job: str) -> Iterator[Report]:
    """The worker's side: hold the lock, record what is reported, heed the wish to stop, and leave a last word."""
    folder = find(workspace, job).folder
    with FileLock(folder / "lock", timeout=_STARTING):
        recorder = _Recorder(folder)
        ended = threading.Event()
        threading.Thread(target=_watch, args=(folder / "stop", ended), daemon=True).start()
        try:
            _wait_for_turn(workspace, Job(folder), recorder)
            recorder.say("running")
            yield recorder.report
        except BaseException as error:
            ended.set()
            recorder.say(*_last_word(error))
            raise
        ended.set()
        recorder.say("done")


def _wait_for_turn(workspace: Workspace, job: Job, recorder: _Recorder) -> None:
    """Return when fewer jobs than may work at once were started before this one and are still at work."""
    at_once = workspace.read_config().machine.jobs_at_once if workspace.config_path.exists() else 1
    told: tuple[str, ...] = ()
    while len(ahead := _ahead(workspace, job)) >= at_once:
        if ahead != told:
            recorder.say("queued", ahead=ahead)
            told = ahead
        recorder.heed_stop()
        time.sleep(_TURN)


def _ahead(workspace: Workspace, job: Job) -> tuple[str, ...]:
    """The commands at work, in all runs of the folder, that were started before this job and want the machine too."""
    if job.arguments[0] not in HEAVY:
        return ()
    others = [Job(path.parent) for path in workspace.folder.parent.glob("*/jobs/*/spec.json")]
    heavy = [one for one in others if one.folder != job.folder and one.arguments[0] in HEAVY]
    working = [one for one in heavy if _held(one.folder / "lock")]
    before = [one for one in working if (one.id, one.run) < (job.id, job.run) or one.state == "running"]
    return tuple(one.command for one in sorted(before, key=lambda one: one.id))


class _Recorder:
    """Writes events, at most one per stage and ``_EVERY`` seconds; what was left out last comes with the next stage."""

    def __init__(self, folder: Path) -> None:
        self._log = Log(folder / "events.jsonl")
        self._reserve = folder / "reserve"
        self._reserve.write_bytes(bytes(_RESERVE))
        self._stop = folder / "stop"
        self._stage = ""
        self._written = 0.0
        self._left_out: Event | None = None

    def heed_stop(self) -> None:
        if self._stop.exists():
            raise KeyboardInterrupt

    def report(self, event: Event) -> None:
        self.heed_stop()
        now = time.time()
        changed = event.stage != self._stage
        if changed:
            self._flush()
        if changed or event.unit == "stage" or now - self._written >= _EVERY:
            self._write(event)
        else:
            self._left_out = event

    def say(self, state: str, error: str | None = None, ahead: Sequence[str] = ()) -> None:
        if state in LAST_WORDS:
            self._reserve.unlink(missing_ok=True)  # so that there is room to say that the disk is full
        self._flush()
        more = ({"error": error} if error else {}) | ({"ahead": list(ahead)} if ahead else {})
        self._log.append({"time": time.time(), "state": state} | more)

    def _flush(self) -> None:
        if self._left_out:
            self._write(self._left_out)

    def _write(self, event: Event) -> None:
        facts = {key: value for key, value in event.facts.items() if value is not None}
        self._log.append({"time": time.time(), **vars(event), "facts": facts})
        self._stage, self._written, self._left_out = event.stage, time.time(), None


def _last_word(error: BaseException) -> tuple[str, str | None]:
    if isinstance(error, KeyboardInterrupt):
        return "stopped", None
    if isinstance(error, ClimbError):
        return "failed", str(error)
    return "failed", f"{type(error).__name__}: {error} (a bug; its traceback is in the log)"


def _watch(stop: Path, ended: threading.Event) -> None:
    """End the worker's process group when it was asked to stop and gives no sign for too long."""
    while not ended.wait(1):
        if stop.exists():
            for number in (signal.SIGTERM, signal.SIGKILL):
                if not ended.wait(GRACE) and os.getpgrp() == os.getpid():
                    os.killpg(os.getpgrp(), number)
            return


def _created(workspace: Workspace, arguments: Sequence[str]) -> Job:
    folder = _folder(workspace) / datetime.now(UTC).strftime("%Y%m%d-%H%M%S-%f")
    spec = {"arguments": list(arguments), "started": time.time()}
    write_atomically(folder / "spec.json", json.dumps(spec, indent=1).encode())
    return Job(folder)


def _launched(workspace: Workspace, job: Job) -> subprocess.Popen[bytes]:
    command, *options = job.arguments
    runs = str(workspace.folder.parent.resolve())
    line = [sys.executable, "-P", "-m", "climb_engine.cli", "--runs", runs, command, workspace.name, *options]
    with (job.folder / "log.txt").open("wb") as log:
        return subprocess.Popen(
            [*line, "--job", job.id],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1"},
        )


@contextlib.contextmanager
def _starting(workspace: Workspace) -> Iterator[None]:
    """Hold the right to start a job of this run, waiting for whoever starts one just now."""
    _folder(workspace).mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(_guard(_folder(workspace)), timeout=_STARTING):
            yield
    except Timeout as error:
        raise ClimbError(f"{workspace.name}: another job is being started; try again in a moment") from error


def _folder(workspace: Workspace) -> Path:
    return workspace.folder / "jobs"


def _guard(folder: Path) -> Path:
    return folder / ".starting"


def _held(path: Path) -> bool:
    """Whether someone holds this lock."""
    if not path.exists():
        return False
    try:
        with FileLock(path, timeout=_BLINK, poll_interval=_BLINK / 4):
            return False
    except Timeout:
        return True


def tail(path: Path, most: int = _TAIL) -> bytes:
    """The end of a file, ``most`` bytes from the start of a line on; b"" when there is no file."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - most))
            end = file.read()
    except FileNotFoundError:
        return b""
    return end if size <= most else end.partition(b"\n")[2]


def _progress(events: Sequence[Mapping[str, Any]]) -> Progress:
    last, first = events[-1], events[-1]
    for event in reversed(events):  # back to where it began to count: the proxies do so with every stack
        if event["unit"] != first["unit"] or event["done"] > first["done"]:
            break
        first = event
    grown, seconds = last["done"] - first["done"], last["time"] - first["time"]
    left = None if last["total"] is None else last["total"] - last["done"]
    eta = left * seconds / grown if left is not None and grown > 0 else None
    return Progress(last["stage"], last["done"], last["total"], last["unit"], last["facts"], last["time"], eta)
