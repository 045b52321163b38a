"""Numbers of trials that add up: how many there are of each kind, and what became of them. Knows no Streamlit."""

from __future__ import annotations

from collections.abc import Sequence

from app.words import plural
from climb_engine.search.reuse import REUSED
from climb_engine.types import Trial

KINDS = {
    "sampled": ("of the search", "of the search"),
    "suggested": ("of your own", "of your own"),
    "natural": ("natural", "natural"),
    "confirm": ("confirmation", "confirmations"),
    REUSED: ("taken over", "taken over"),
}
"""Origins in words, of one trial and of more."""

MEANING = (
    "Of the search: drawn in an iteration. Of your own: queued by hand. Natural: the natural mixture under several "
    "seeds, to tell the noise and to compare with. Confirmations: what the search chose, again under fresh seeds. "
    "Taken over: measured by an earlier search; the predictor may learn from them, nothing else counts them."
)


def add_up(trials: Sequence[Trial]) -> str:
    """35 trials: 28 of the search, 4 natural, 3 confirmations; 2 of them open."""
    origins = [trial.origin for trial in trials]
    parts = [f"{origins.count(one):,} {words[origins.count(one) != 1]}" for one, words in KINDS.items()]
    kinds = [part for one, part in zip(KINDS, parts, strict=True) if one in origins]
    states = {"open": sum(one.open for one in trials), "failed": sum(one.error is not None for one in trials)}
    rest = ", ".join(f"{n:,} {state}" for state, n in states.items() if n)
    whole = plural(len(trials), "trial")
    return whole + (f": {', '.join(kinds)}" if kinds else "") + (f"; {rest}" if rest else "")
