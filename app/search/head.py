"""The head of the search page: how far it is, what it found, and how far to believe it."""

from __future__ import annotations

import math

import streamlit as st

from app.search.counts import MEANING, add_up
from app.search.fitting import Fitted, ranked
from app.search.ranking import doubt
from app.search.view import View
from app.words import plain, plural
from climb_engine.search.outcome import TRUSTED, Trust
from climb_engine.search.reuse import REUSED


def head(view: View, fit: Fitted | None) -> None:
    """The numbers, the verdict, and what failed."""
    _numbers(view, fit)
    kind, headline, detail = view.verdict
    {"good": st.success, "bad": st.warning, "unclear": st.info}[kind](plain(detail), title=headline)
    st.caption(plain(f"Score: {view.search.objective.describe()}."))
    failed = [trial for trial in view.trials if trial.error]
    if failed:
        with st.expander(f"{plural(len(failed), 'trial')} failed", icon=":material/error:"):
            for trial in failed[:20]:
                st.markdown(plain(f"trial {trial.id}: {trial.error}"))


def trust_of(view: View, fit: Fitted | None) -> Trust | None:
    """How well the predictor foretold what it had not seen: as fitted here, else as when the choice was made."""
    if fit and fit.trust:
        return fit.trust
    return view.outcome.chosen.trust if view.outcome.chosen else None


def warning(view: View, fit: Fitted | None) -> None:
    """When the predictor is not to be believed: at all, or among the best; and where that is no fault of its own."""
    trust, found = trust_of(view, fit), ranked(view, fit)
    if trust and trust.warning:
        st.error(_sentence(trust.warning), icon=":material/warning:")
    elif found and (said := doubt(found)):
        show, icon = (st.info, "info") if found.best.limited else (st.warning, "warning")
        show(_sentence(said), icon=f":material/{icon}:")


def hint(view: View, fit: Fitted | None) -> None:
    """What another iteration is worth, while there may be one; of a predictor that is not to be believed, that."""
    if fit and fit.hint and not view.search.finished:
        st.caption(plain(f"Another iteration: {fit.hint.text}."))


def since_the_choice(now: Trust | None, chosen: Trust | None) -> str:
    """What the predictor was when it chose, where it has learned from more since; else empty."""
    if now is None or chosen is None or chosen.trials == now.trials:
        return ""
    return (
        f"Now, over {plural(now.trials, 'trial')}. When it chose, over {chosen.trials:,}: {chosen.spearman:.2f}, with "
        f"{chosen.coverage:.0%} inside the 80 % interval. "
    )


def _sentence(words: str) -> str:
    return plain(f"{words[:1].upper()}{words[1:]}.")


def _numbers(view: View, fit: Fitted | None) -> None:
    search, outcome = view.search, view.outcome
    own = [trial for trial in view.trials if trial.origin != REUSED]
    rest = {
        "open": sum(trial.open for trial in own),
        "failed": sum(trial.error is not None for trial in own),
        "taken over": len(view.trials) - len(own),
    }
    others = ", ".join(f"{n:,} {word}" for word, n in rest.items() if n)
    done = [trial for trial in own if trial.result]
    with st.grid(6, min_column_width=158, gap="xsmall", key="search.numbers"):
        _metric("Iteration", f"{search.iteration} of {search.planned}", "finished" if search.finished else "")
        _metric(
            "Measured", f"{len(done):,}", others or "trials", f"{add_up(done)}. {MEANING}",
        )  # fmt: skip
        _lead_metric(view)
        noise = outcome.noise_sd
        _metric(
            "Noise", f"{noise:.4f}" if math.isfinite(noise) else "n/a", "sd",
            "Of one run: how much its score changes when only the seed does.",
        )  # fmt: skip
        ratio = outcome.signal_to_noise
        _metric(
            "Signal to noise", f"{ratio:.1f}" if math.isfinite(ratio) else "n/a", "",
            "Spread between mixtures over the noise. Below 1, the order of two mixtures says more about their seeds.",
        )  # fmt: skip
        _rank_metric(view, fit)


def _rank_metric(view: View, fit: Fitted | None) -> None:
    trust, found = trust_of(view, fit), ranked(view, fit)
    among = f"best half {found.best.spearman:.2f}" if found and math.isfinite(found.best.spearman) else ""
    told = f" ({trust.predictor}, {plural(trust.trials, 'trial')})" if trust else ""
    chosen = view.outcome.chosen
    then = since_the_choice(trust, chosen.trust if chosen else None)
    _metric(
        "Rank correlation", f"{trust.spearman:.2f}" if trust else "n/a", among or (trust.predictor if trust else ""),
        f"{then}Spearman's, of held-out predictions with what was measured{told}: over all of them, and over the half "
        "that scored best, which is what one chooses from. Those differ less, so more of their order is noise. "
        f"Below {TRUSTED:g} do not trust the order.",
    )  # fmt: skip


def _lead_metric(view: View) -> None:
    confirmed = view.outcome.chosen is not None and math.isfinite(view.outcome.gain)
    leads = view.outcome.gain if confirmed else _lead(view)
    flatters = "The best of many single runs flatters itself; the search confirms its choice at the end."
    _metric(
        "Chosen - natural" if confirmed else "Best - natural", _signed(leads), _times_noise(view, leads),
        "Mean over paired runs with the same seeds." if confirmed else flatters,
    )  # fmt: skip


def _metric(name: str, value: str, below: str = "", help_: str | None = None) -> None:
    st.metric(
        name, value, below or None, delta_color="off", delta_arrow="off", border=True, height="stretch", help=help_
    )


def _lead(view: View) -> float:
    return view.search.score(view.leader) - view.natural if view.leader else math.nan


def _signed(value: float) -> str:
    return f"{value:+.4f}" if math.isfinite(value) else "n/a"


def _times_noise(view: View, value: float) -> str:
    noise = view.outcome.noise_sd
    return f"{abs(value) / noise:.1f} x noise" if math.isfinite(value) and math.isfinite(noise) and noise > 0 else ""
