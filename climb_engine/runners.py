"""Where proxies train: on this machine, or (with Ray) on many."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

from climb_engine.types import Result, Trial

Train = Callable[[Sequence[Trial]], Sequence[Result | str]]
"""Train these trials as one program: a result or the reason of a failure for each, in their order."""


class Runner(Protocol):
    """Runs trials in stacks and yields outcomes as they come."""

    def run(self, train: Train, trials: Sequence[Trial], stack: int) -> Iterator[tuple[Trial, Result | str]]:
        """Train ``trials``, at most ``stack`` in one program; yield each with its outcome."""


class LocalRunner:
    """One stack after the other on this machine. Out of memory halves the stack and goes on."""

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
                outcomes = [f"out of memory with a single proxy: {str(error).splitlines()[0]}"]
            yield from zip(chunk, outcomes, strict=True)
            waiting = waiting[len(chunk) :]


def _out_of_memory(error: Exception) -> bool:
    """Whether a framework ran out of memory; told by name, so that none is imported here."""
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
