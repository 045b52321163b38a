"""Losses of the proxies that are being trained, from what their job has recorded so far. Knows no Streamlit."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from climb_engine.jobs import tail
from climb_engine.types import FloatArray, Ids

_TAIL = 1_000_000  # bytes of a job's events that are looked at


@dataclass(frozen=True, eq=False)
class Training:
    """The stack of proxies that is trained together just now, or was last."""

    trials: tuple[int, ...]
    steps: Ids  # (t,)
    total: int  # steps there will be
    losses: FloatArray  # (t, trials) nats per token; nan: not finite


def training(job: Path) -> Training | None:
    """What a job tells of its last stack; None while it has told nothing of any."""
    events = [event for event in _events(job / "events.jsonl") if event.get("stage") == "proxies"]
    events = [event for event in events if "losses" in event.get("facts", {})]
    if not events:
        return None
    last: list[dict[str, Any]] = []
    for event in reversed(events):  # back to where this stack began
        if last and (event["facts"]["trials"] != events[-1]["facts"]["trials"] or event["done"] > last[-1]["done"]):
            break
        last.append(event)
    last.reverse()
    told = events[-1]
    losses = [[np.nan if x is None else x for x in event["facts"]["losses"]] for event in last]
    steps = np.array([event["done"] for event in last], dtype=np.int64)
    return Training(tuple(told["facts"]["trials"]), steps, int(told["total"] or 0), np.array(losses, dtype=np.float64))


def _events(path: Path) -> list[dict[str, Any]]:
    whole = tail(path, _TAIL).rpartition(b"\n")[0]  # a torn last line does not count
    return [json.loads(line) for line in whole.splitlines() if b'"proxies"' in line]
