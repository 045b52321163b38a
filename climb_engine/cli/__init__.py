"""``climb``: everything the engine does, from the command line."""

from climb_engine.cli.program import main

__all__ = ["main"]
