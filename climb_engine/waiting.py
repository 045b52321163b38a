"""Mixtures that people want tried while a search is at work: a file each, which the search takes when it comes by.

The search's log has one writer, and that is the search at work.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from climb_engine.types import FloatArray
from climb_engine.workspace import read_json, write_atomically


def put(folder: Path, weights: FloatArray) -> None:
    """Leave weights (m,) for the search."""
    name = f"{time.time_ns()}-{uuid.uuid4().hex[:8]}.json"
    write_atomically(folder / name, json.dumps(weights.tolist()).encode())


def take(folder: Path) -> Iterator[FloatArray]:
    """Yield what waits, the oldest first; each is forgotten once the next is asked for."""
    for path in sorted(folder.glob("*.json")):
        yield np.array(read_json(path), dtype=np.float64)
        path.unlink()
