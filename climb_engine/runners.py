"""Where stacks of proxies train and parts of an artifact are made: on this machine, or with Ray on many."""

from __future__ import annotations

import contextlib
import functools
import math
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from climb_engine.types import ClimbError, Result, Trial

Train = Callable[[Sequence[Trial]], Sequence[Result | str]]
"""Train these trials as one program: a result or the reason of a failure for each, in their order."""
Make = Callable[[int], Any]
"""Make one part of an artifact, by its number, and put it where it belongs."""
RETRIES = 3  # of a task whose worker was lost


class Runner(Protocol):
    """Runs trials in stacks, and work on parts, and yields what comes of it as it comes."""

    def run(self, train: Train, trials: Sequence[Trial], stack: int) -> Iterator[tuple[Trial, Result | str]]:
        """Train ``trials``, at most ``stack`` in one program; yield each with its outcome.

        Out of memory halves a stack. An exception of ``train`` is raised here.
        """

    def each(self, make: Make, parts: Sequence[int]) -> Iterator[int]:
        """Make every part; yield its number when it is there. An exception of ``make`` is raised here."""


class LocalRunner:
    """One after the other on this machine."""

    def run(self, train: Train, trials: Sequence[Trial], stack: int) -> Iterator[tuple[Trial, Result | str]]:
        """Train ``trials``, at most ``stack`` in one program; yield each with its outcome."""
        waiting = list(trials)
        while waiting:
            chunk = waiting[:stack]
            try:
                outcomes = train(chunk)
            except Exception as error:
                if not _out_of_memory(error):
                    raise
                if len(chunk) > 1:
                    stack = max(1, len(chunk) // 2)
                    continue
                outcomes = [_too_large(error)]
            yield from zip(chunk, outcomes, strict=True)
            waiting = waiting[len(chunk) :]

    def each(self, make: Make, parts: Sequence[int]) -> Iterator[int]:
        """Make every part; yield its number when it is there."""
        for part in parts:
            make(part)
            yield part


class RayRunner:
    """Stacks and parts as tasks of a Ray cluster, which come back in the order in which they finish.

    The cluster is the one that RAY_ADDRESS names, else one of this machine alone. What is to be done travels to it
    once, so it must be a value that can be pickled. A task whose worker is lost is done again elsewhere. Leaving the
    loop cancels what is still at work.

    Args:
        gpus: give each task a GPU, where the cluster has any.
        cpus: CPUs of a task that has no GPU.
    """

    def __init__(self, gpus: bool = True, cpus: int = 1) -> None:
        self._gpus, self._cpus = gpus, cpus
        self._sent: tuple[Any, Any] | None = None

    def run(self, train: Train, trials: Sequence[Trial], stack: int) -> Iterator[tuple[Trial, Result | str]]:
        """Train ``trials``, at most ``stack`` in one program; yield each with its outcome.

        A stack is no larger than the share of one GPU or CPU in the trials, so that all are busy. A stack that loses
        its worker too often has failed.
        """
        with self._tasks(train) as tasks:
            tasks.start(_in_stacks(trials, max(1, min(stack, math.ceil(len(trials) / tasks.at_a_time)))))
            for chunk, outcome in tasks.finished():
                if isinstance(outcome, Exception) and _out_of_memory(outcome) and len(chunk) > 1:
                    tasks.start(_in_stacks(chunk, len(chunk) // 2))
                else:
                    yield from zip(chunk, _told(outcome, len(chunk)), strict=True)

    def each(self, make: Make, parts: Sequence[int]) -> Iterator[int]:
        """Make every part; yield its number when it is there."""
        with self._tasks(make) as tasks:
            tasks.start(parts)
            for part, outcome in tasks.finished():
                if isinstance(outcome, LostWorkerError):
                    raise ClimbError(f"part {part}: {outcome}. Run the same command again to go on") from outcome
                if isinstance(outcome, FileNotFoundError):
                    raise ClimbError(
                        f"part {part}: {outcome}. With the runner 'ray' every machine must have the run's folder, the "
                        "inputs and the models under the same path"
                    ) from outcome
                if isinstance(outcome, Exception):
                    raise outcome
                yield part

    @contextlib.contextmanager
    def _tasks(self, work: Callable[[Any], Any]) -> Iterator[_Tasks]:
        ray = _connected()
        there = ray.cluster_resources()
        if self._gpus and there.get("GPU", 0) >= 1:
            at_a_time, needs = int(there["GPU"]), {"num_gpus": 1}
        else:
            at_a_time, needs = max(1, int(there.get("CPU", 1)) // self._cpus), {"num_cpus": self._cpus}
        if self._sent is None or self._sent[0] is not work:
            self._sent = work, ray.put(work)
        task = ray.remote(_there).options(max_retries=RETRIES, **needs)
        tasks = _Tasks(ray, functools.partial(task.remote, [self._sent[1]], str(Path.cwd())), at_a_time)
        try:
            yield tasks
        finally:
            tasks.cancel()


class LostWorkerError(Exception):
    """A task's worker ended again and again, and not by an exception of the task."""


class _Tasks:
    """One function's calls on a cluster."""

    def __init__(self, ray: Any, call: Callable[[Any], Any], at_a_time: int) -> None:
        self.at_a_time = at_a_time
        self._ray, self._call = ray, call
        self._waiting: dict[Any, Any] = {}

    def start(self, arguments: Iterable[Any]) -> None:
        self._waiting |= {self._call(argument): argument for argument in arguments}

    def finished(self) -> Iterator[tuple[Any, Any]]:
        """Arguments with what was returned or raised, until nothing is at work any more."""
        while self._waiting:
            (done,), _ = self._ray.wait(list(self._waiting), num_returns=1)
            yield self._waiting.pop(done), self._outcome(done)

    def cancel(self) -> None:
        for unfinished in self._waiting:
            self._ray.cancel(unfinished)

    def _outcome(self, done: Any) -> Any:
        errors = self._ray.exceptions
        try:
            return self._ray.get(done)
        except errors.RayTaskError as error:
            error.cause.__cause__ = error  # which has the traceback from there
            return error.cause
        except errors.OutOfMemoryError as error:  # Ray ended the worker before its machine ran out of memory
            return error
        except errors.RayError as error:
            return LostWorkerError(f"its worker was lost {RETRIES + 1} times: {str(error).splitlines()[0]}")


def runner_of(name: str, device: str, threads: int) -> Runner:
    """The runner that the knobs of ``machine`` ask for; ClimbError when it is Ray and cannot be."""
    if name == "local":
        return LocalRunner()
    if ":" in device:
        raise ClimbError(f"machine.device is {device}, one GPU; the runner 'ray' uses all: set it to auto or cuda")
    _ray()
    return RayRunner(gpus=device != "cpu", cpus=threads or 1)


def _in_stacks(trials: Sequence[Trial], size: int) -> list[Sequence[Trial]]:
    return [trials[i : i + size] for i in range(0, len(trials), size)]


def _told(outcome: Any, n: int) -> Sequence[Result | str]:
    """What becomes of n trials; raises what is no fault of theirs."""
    if not isinstance(outcome, Exception):
        told: Sequence[Result | str] = outcome
        return told
    if isinstance(outcome, LostWorkerError):
        return [str(outcome)] * n
    if not _out_of_memory(outcome):
        raise outcome
    return [_too_large(outcome)] * n


def _ray() -> Any:
    try:
        import ray
    except ImportError as error:
        raise ClimbError("the runner 'ray' needs Ray; install it with: pip install 'climb-studio[ray]'") from error
    return ray


def _connected() -> Any:
    ray = _ray()
    if ray.is_initialized():
        return ray
    address = os.environ.get("RAY_ADDRESS", "local")
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    alone = {"include_dashboard": False} if address == "local" else {}
    on_termination = signal.getsignal(signal.SIGTERM)
    try:
        _knock(address)
        ray.init(address, logging_level="error", log_to_driver=False, **alone)
    except OSError as error:
        raise ClimbError(
            f"RAY_ADDRESS: no Ray cluster answers at {address} ({error}); start one with 'ray start --head' (one that "
            "wants a token needs RAY_AUTH_MODE=token here too), or unset RAY_ADDRESS to use this machine alone"
        ) from error
    finally:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, on_termination)  # which Ray has made its own
    return ray


def _knock(address: str) -> None:
    """Raise OSError when nothing listens at host:port. Ray itself would go on trying for a quarter of an hour."""
    host, _, port = address.rpartition(":")
    if port.isdecimal() and "/" not in host:
        socket.create_connection((host, int(port)), 10).close()


def _there(sent: Sequence[Any], folder: str, argument: Any) -> Any:
    """Do the work at another place: in the folder of this name there, since paths may be relative."""
    with contextlib.chdir(folder) if Path(folder).is_dir() else contextlib.nullcontext():
        return _received(sent[0])(argument)


@functools.lru_cache(maxsize=1)
def _received(sent: Any) -> Callable[[Any], Any]:
    """What was sent, unpacked once in a worker and not for every task."""
    work: Callable[[Any], Any] = _ray().get(sent)
    return work


def _too_large(error: Exception) -> str:
    return f"out of memory with a single proxy: {str(error).splitlines()[0]}"


def _out_of_memory(error: Exception) -> bool:
    """Whether a framework ran out of memory; told by name, so that none is imported here."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
