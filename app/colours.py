"""Which colour each domain of a run has, on every page: by the name that it was made under, not by its rank."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence

from app import charts
from climb_engine.config import Override
from climb_engine.curate.domains import Domains
from climb_engine.curate.overrides import canonical
from climb_engine.pipeline import Run


def domain_colours(run: Run, names: Sequence[str]) -> tuple[str, ...]:
    """The colours (m + 1,) of domains by what they are called, and last, so that it is also at -1, that of pruned."""
    made = run.artifact("domains")
    if made is None:
        return _colours((), (), (), names)
    facts, overrides = made.facts, run.config.domains.overrides
    return _colours(facts["automatic_names"], facts["ever"], overrides, [run.names.known(name) for name in names])


def decided_colours(decided: Domains, overrides: Iterable[Override]) -> tuple[str, ...]:
    """The same for domains that are decided on, in the names that people gave, and may still have to be made."""
    known = decided.renames.known
    automatic = [known(name) for name in decided.automatic_names]
    return _colours(automatic, decided.ever, overrides, [known(name) for name in decided.names])


def _colours(
    automatic: Sequence[str], ever: Collection[str], overrides: Iterable[Override], names: Sequence[str]
) -> tuple[str, ...]:
    """Domains made by hand come behind the automatic ones, those that moves made in the order of the moves.

    So a cluster that is moved or pruned changes no other domain's colour, not even by emptying or making a domain.
    """
    moves = [one.domain for one in canonical(overrides)[0] if one.action == "move"]
    split = sorted(set(ever) - set(automatic) - set(moves))
    found = charts.domain_colours(automatic, [*split, *moves, *names])
    return (*(found[name] for name in names), charts.PRUNED)
