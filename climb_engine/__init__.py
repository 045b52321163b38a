"""CLIMB Studio's engine: a corpus goes in, a pre-training mixture comes out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from climb_engine.config import RunConfig
    from climb_engine.pipeline import Run
    from climb_engine.runners import LocalRunner
    from climb_engine.search.loop import Search
    from climb_engine.search.objective import Objective
    from climb_engine.search.space import MixtureSpace
    from climb_engine.types import ClimbError, Mixture, Result, Trial

_HOMES = {
    "ClimbError": "types",
    "LocalRunner": "runners",
    "Mixture": "types",
    "MixtureSpace": "search.space",
    "Objective": "search.objective",
    "Result": "types",
    "Run": "pipeline",
    "RunConfig": "config",
    "Search": "search.loop",
    "Trial": "types",
}

__all__ = [
    "ClimbError",
    "LocalRunner",
    "Mixture",
    "MixtureSpace",
    "Objective",
    "Result",
    "Run",
    "RunConfig",
    "Search",
    "Trial",
]


def __getattr__(name: str) -> Any:
    """Load a name's module when it is first asked for, so that importing the package costs nothing."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
