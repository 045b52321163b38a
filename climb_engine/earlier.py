"""The searches of a run under other settings: each left these beside its log, to be looked at and gone back to."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from climb_engine.config import RunConfig, differing
from climb_engine.pipeline import Run
from climb_engine.search.loop import Search
from climb_engine.types import ClimbError

_OF_THE_PLACE = ("machine", "projection")
"""Sections that no search depends on: who goes back to one keeps those of today."""


@dataclass(frozen=True, eq=False)
class Earlier:
    """A search under settings that the run no longer has."""

    digest: str  # its address
    run: Run  # as it was then, to be read only
    measured: int  # trials that it has results of; 0 where its domains are gone or were never made
    told: float  # when it was last added to, seconds since the epoch; 0: it never was
    changed: tuple[str, ...]  # the knobs that differ now, as section.knob

    @cached_property
    def search(self) -> Search:
        """The search itself, for reading; where it has measured something."""
        return self.run.open_search()


def earlier(run: Run) -> tuple[Earlier, ...]:
    """The searches under other settings that can be gone back to, the last one at work first."""
    found = []
    for digest, config in run.workspace.search_configs().items():
        then = run.with_config(_here(run, config))
        if digest == run.search_digest or then.search_digest != digest:
            continue  # the present one; or one that was made by another version, or of inputs that changed
        measured = then.measured_here() if _readable(then) else 0
        log = run.workspace.log(digest).path
        told = log.stat().st_mtime if log.exists() else 0.0
        changed = tuple(f"{section}.{name}" for section, name in differing(then.config, run.config))
        found.append(Earlier(digest, then, measured, told, changed))
    return tuple(found)


def find(run: Run, digest: str) -> Earlier:
    """The earlier search at an address; ClimbError when there is none."""
    found = earlier(run)
    for one in found:
        if one.digest == digest:
            return one
    known = ", ".join(one.digest for one in found) or "there is none"
    raise ClimbError(f"{run.workspace.name} has no earlier search {digest!r}; those that can be gone back to: {known}")


def go_back(run: Run, digest: str) -> Earlier:
    """Give the run the settings of an earlier search again; nothing is computed. ClimbError when there is none.

    The settings so far are left where ``earlier`` finds them, so that one can go forth again.
    """
    found = find(run, digest)
    run.workspace.keep_search_config(run.search_digest, run.config)
    run.configure(found.run.config)
    return found


def _readable(run: Run) -> bool:
    return bool(run.artifact("domains") and run.artifact("tokens"))


def _here(run: Run, config: RunConfig) -> RunConfig:
    return config.model_copy(update={section: getattr(run.config, section) for section in _OF_THE_PLACE})
