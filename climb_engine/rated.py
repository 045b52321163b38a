"""The ratings that people gave a run: where they are, and which of them the scores are made from.

Ratings are added to one file. Scores are made from another: a snapshot, or a file of one's own that the config names.
So a rating changes no score until somebody asks for it (``rescoring``).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from climb_engine.curate.head import FEWEST
from climb_engine.curate.ratings import Rating, latest, read_ratings
from climb_engine.pipeline import Run
from climb_engine.types import METRICS
from climb_engine.workspace import write_atomically


@dataclass(frozen=True)
class Standing:
    """What was rated, and what of it the scores are made from."""

    given: Mapping[str, int]  # ratings by metric
    in_use: bool  # whether the config scores the corpus by ratings
    used: int  # ratings that the scores are from, 0 when they are from none
    behind: int  # ratings that were given or changed since

    @property
    def total(self) -> int:
        """All ratings, each of one document on one metric."""
        return sum(self.given.values())

    @property
    def enough(self) -> bool:
        """Whether a metric can be learned."""
        return max(self.given.values(), default=0) >= FEWEST


def ratings_file(run: Run) -> Path:
    """The file that this run's ratings are added to: ``ratings.csv`` in its folder."""
    return (run.workspace.folder / "ratings.csv").absolute()


def used_file(run: Run) -> Path | None:
    """The file that the config names, where there is one."""
    given = run.config.quality.ratings
    path = Path(given).expanduser().absolute() if given else None
    return path if path and path.is_file() else None


def own_file(run: Run) -> Path | None:
    """The file that the config names, if it is one of the user's own: neither a snapshot nor what is added to."""
    used = used_file(run)
    return used if used and used != ratings_file(run) and used.parent != _snapshots(run) else None


def collected(run: Run) -> list[Rating]:
    """All ratings of the run, of two for one thing the later: those of a file of one's own, and those given here.

    Raises ClimbError for a broken file, and when the run has no corpus yet.
    """
    count = without_ratings(run).needed("corpus").facts["documents"]
    files = [file for file in (own_file(run), ratings_file(run)) if file and file.is_file()]
    return latest(row for file in files for row in read_ratings(file, count))


def standing(run: Run, given: Sequence[Rating]) -> Standing:
    """How the scores stand to what was ``collected``."""
    by_metric = {metric: sum(row.metric == metric for row in given) for metric in METRICS}
    in_use, used = "ratings" in run.config.quality.scorers, used_file(run)
    known = set(latest(read_ratings(used))) if in_use and used else set()
    there = {metric: n for metric, n in by_metric.items() if n}
    return Standing(there, in_use, len(known), behind=len(set(given) - known))


def without_ratings(run: Run) -> Run:
    """The run as it would be without that scorer: what comes before the scores can be read whatever its file is."""
    return run.with_config(run.config.with_values({"quality.scorers": ["heuristics"]}))


def keep_snapshot(run: Run, content: bytes) -> Path:
    """Put ratings where they stay as they are for as long as scores are made from them."""
    path = _snapshots(run) / f"{hashlib.sha256(content).hexdigest()[:12]}.csv"
    write_atomically(path, content)
    return path


def set_apart(run: Run) -> None:
    """Where the scores are made from the very file that is added to, make them from a copy: nothing runs again."""
    stored = run.workspace.read_config()
    if used_file(run) == ratings_file(run):
        copy = keep_snapshot(run, ratings_file(run).read_bytes())
        run.configure(stored.with_values({"quality.ratings": str(copy)}))


def _snapshots(run: Run) -> Path:
    return (run.workspace.folder / "ratings").absolute()
