"""What a stage's body is given: config, needs, where to put files, whom to tell."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from climb_engine.config import RunConfig
from climb_engine.runners import LocalRunner, Runner
from climb_engine.types import Event, Report, silent
from climb_engine.workspace import Artifact, ArtifactWriter


@dataclass(frozen=True)
class Work:
    """What a stage's body is given. It returns the facts for the manifest."""

    config: RunConfig
    needs: Mapping[str, Artifact]
    out: ArtifactWriter
    report: Report
    stage: str
    runner: Runner = field(default_factory=LocalRunner)

    def __getstate__(self) -> dict[str, Any]:
        """What goes to another machine: all but who waits for the work here."""
        return {**vars(self), "report": silent, "runner": LocalRunner()}

    def progress(self, done: float, total: float | None, unit: str = "documents", **facts: Any) -> None:
        """Report how far the stage is."""
        self.report(Event(self.stage, done, total, unit, facts))

    def remaining_parts(self, suffix: str) -> Iterator[int]:
        """The parts still to do, reporting the documents of those that are done."""
        corpus = self.needs["corpus"]
        sizes: Sequence[int] = corpus.facts["part_documents"]
        done = 0
        for part, size in enumerate(sizes):
            if not self.out.has(f"part-{part:05d}{suffix}"):
                self.progress(done, sum(sizes))
                yield part
            done += size
            self.progress(done, sum(sizes))

    def each_part(self, suffix: str, make: Callable[[Work, int], None]) -> None:
        """Make the parts still to do, on as many machines as the runner has.

        ``make`` reads what it needs of a part, computes and puts the part's file, and needs no other part for that.
        """
        sizes: Sequence[int] = self.needs["corpus"].facts["part_documents"]
        left = [part for part in range(len(sizes)) if not self.out.has(f"part-{part:05d}{suffix}")]
        done = sum(sizes) - sum(sizes[part] for part in left)
        self.progress(done, sum(sizes))
        for part in self.runner.each(functools.partial(make, self), left):
            done += sizes[part]
            self.progress(done, sum(sizes))
