"""A search's log in the names that people gave the domains, while on disk it keeps those that artifacts know.

So a rename after a hundred trials loses none of them, and neither does undoing it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

from climb_engine.search.objective import HELDOUT


class _Log(Protocol):
    def __iter__(self) -> Iterator[dict[str, Any]]: ...

    def append(self, event: dict[str, Any], /) -> Any: ...


class RenamedLog:
    """A log whose events are translated on the way in and out.

    Args:
        log: with the names that artifacts know.
        called: such a name to what people call the domain.
        known: and back.
    """

    def __init__(self, log: _Log, called: Callable[[str], str], known: Callable[[str], str]) -> None:
        self._log, self._called, self._known = log, called, known

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (translated(event, self._called) for event in self._log)

    def append(self, event: dict[str, Any]) -> None:
        """Add one event at the end, lasting."""
        self._log.append(translated(event, self._known))


def translated(event: Mapping[str, Any], name: Callable[[str], str]) -> dict[str, Any]:
    """An event with other names of domains: in its list of them, in metrics of held-out text, and in repeats."""
    found = dict(event)
    if "domains" in event:
        found["domains"] = [name(domain) for domain in event["domains"]]
    if "metrics" in event:
        found["metrics"] = {_metric(key, name): value for key, value in event["metrics"].items()}
    if "repeats" in event:
        found["repeats"] = {name(domain): value for domain, value in event["repeats"].items()}
    if "trials" in event:
        found["trials"] = [translated(entry, name) for entry in event["trials"]]
    return found


def _metric(key: str, name: Callable[[str], str]) -> str:
    """A metric's name; "heldout/all" is no domain's, and no domain can be called "all"."""
    domain = key.removeprefix(HELDOUT)
    return key if domain == key else HELDOUT + name(domain)
