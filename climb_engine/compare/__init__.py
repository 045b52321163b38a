"""Does a found mixture make a better model? Methods with equal budgets, larger targets, items that no search saw."""

from climb_engine.compare.engine import compare
from climb_engine.compare.outcome import Comparison
from climb_engine.compare.plan import METHODS, Options

__all__ = ["METHODS", "Comparison", "Options", "compare"]
