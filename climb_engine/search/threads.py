"""Small matrices on one thread: on a busy machine threads wait for each other for many times what the work takes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any


def one_thread() -> AbstractContextManager[Any]:
    """Within it numpy, SciPy and scikit-learn compute on one thread."""
    import sklearn.manifold  # noqa: F401  its threads can be held back only once they are there
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    limits: AbstractContextManager[Any] = threadpool_limits(1)
    return limits
