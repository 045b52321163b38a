"""Why stages would run again, in words. Knows no Streamlit."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from app.knobs import changed
from app.words import plural
from climb_engine.pipeline import Planned, Run
from climb_engine.stages.graph import BY_NAME
from climb_engine.types import ClimbError

_ASIDE = ("its code is now version", "its artifact is gone", "goes on after")  # of the plan's own words
_NAMED = 2  # overrides that are named; of more, their number is told


def reasons(run: Run, plan: Sequence[Planned]) -> list[str]:
    """Why finished stages would run again: each cause once, then what follows, then what perhaps does.

    ``plan`` is that of ``run``. What depends on what is not known yet follows perhaps.
    """
    causes, following, perhaps = [], [], []
    for stage in plan:
        if stage.optional or stage.state == "done" or stage.why == "has not run yet":
            continue
        if stage.state == "damaged":
            causes.append(f"{stage.stage} (damaged: {run.damage(stage.stage)})")
        elif own := _own(run, stage):
            causes.append(f"{stage.stage} ({', '.join(own)})")
        elif " may change" in stage.why:
            perhaps.append(stage.stage)
        else:
            following.append(stage.stage)
    so = "and what follows: " if causes else ""
    said = [f"{so}{', '.join(following)}"] if following else []
    said += [f"and, if that changes what comes out, {', '.join(perhaps)}"] if perhaps else []
    return causes + said


def _own(run: Run, stage: Planned) -> list[str]:
    """What is new about the stage itself."""
    words = [part for part in stage.why.split("; ") if part.startswith(_ASIDE)]
    last = run.workspace.latest(stage.stage)
    if last is None or stage.state == "partial":
        return words
    then, now = last.manifest["knobs"], json.loads(json.dumps(BY_NAME[stage.stage].knobs(run.config)))
    for name in {**then, **now}:
        if name != "head" and then.get(name) != now.get(name):  # the head's version comes and goes with its scorers
            lines = changed(name, then.get(name), now.get(name))
            words += [_counted(lines)] if name == "overrides" and len(lines) > _NAMED else lines
    try:
        return words + _files(stage.stage, last.manifest.get("sources"), BY_NAME[stage.stage].sources(run.config))
    except ClimbError:  # files that are gone do no harm once they have been read
        return words


def _counted(lines: Sequence[str]) -> str:
    """Overrides that came and went, by their number."""
    gone = sum(line.startswith("no longer ") for line in lines)
    some = ((len(lines) - gone, "more"), (gone, "fewer"))
    return ", ".join(f"{plural(n, 'override')} {how}" for n, how in some if n)


def _files(stage: str, then: Any, now: Any) -> list[str]:
    """Files that it reads which are not what they were; those of scorers that came or went are told with these."""
    if then == now:
        return []
    if not isinstance(then, Mapping) or not isinstance(now, Mapping):
        return ["the input files changed"] if stage == "corpus" else []
    return [f"other {name.replace('_', ' ')}" for name in now if name in then and then[name] != now[name]]
