"""Where a run stands: its one next step, and the honest verdict on what it found. Knows no Streamlit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.knobs import named
from app.search.estimates import ahead
from app.words import plural
from climb_engine.config import SearchConfig
from climb_engine.jobs import Job
from climb_engine.pipeline import Planned
from climb_engine.search.loop import Outcome, Search
from climb_engine.types import Trial
from climb_engine.workspace import Workspace

ONE = ("search", "--iterations", "1")
SEARCHED = ("sampled", "suggested")  # origins of the trials that the natural mixture is compared with
REST = ("Run all that is left", ("search",))
PROOF = ("compare", "view", "proof on larger models")
DATASET = ("export", "what", "mixed data set")


@dataclass(frozen=True)
class Step:
    """What to do next: the button's words, what it means, and the job's arguments (None: export, or a page)."""

    words: str
    why: str
    arguments: tuple[str, ...] | None
    more: tuple[str, tuple[str, ...]] | None = None  # a second way: words and arguments
    page: tuple[str, str, str] | None = None  # where it is done: page, and what its address says (name and value)


def next_step(plan: Sequence[Planned], search: Search | None, config: SearchConfig) -> Step:
    """The one thing to do next, as the stages and the search stand."""
    plan = [stage for stage in plan if not stage.optional]
    waiting = [stage.stage for stage in plan if stage.state != "done"]
    if waiting:
        begun = len(waiting) < len(plan) or any(stage.state == "partial" for stage in plan)
        words = f"Go on with the stages, from {waiting[0]}" if begun else "Run the stages"
        return Step(words, f"Still to do: {', '.join(waiting)}. What is done is not done again.", ("run",))
    if search and search.finished:
        return Step("Export the mixture", "The search is finished. Writes the weights as JSON, YAML and CSV.", None)
    asked, open_ = (search.iteration, {trial.origin for trial in search.open}) if search else (0, set())
    if "sampled" in open_ or asked < len(config.iterations):
        words = f"Run iteration {asked + 1} of {len(config.iterations)}"
        words = f"Finish iteration {asked}" if "sampled" in open_ else words
        return Step(words, ahead(search, config, 1).text, ONE, REST if _more(search, config) else None)
    words = "Train what is queued"
    if search and search.choice is None:
        words = "Choose and confirm the mixture"
    elif "confirm" in open_:
        words = "Finish the confirmation"
    return Step(words, ahead(search, config).text, REST[1])


def after_export(what: str, proven: bool, written: bool) -> Step:
    """What to do once the mixture is exported.

    Args:
        what: was exported and when, in words.
        proven: whether the run's methods were compared on larger models.
        written: whether a data set was drawn by the mixture.
    """
    if not proven:
        why = "Whether its gain holds for larger models is shown by training some on it and on other mixtures."
        return Step("Prove it on larger models", f"{what} {why}", None, page=PROOF)
    if not written:
        why = "What is left is a data set drawn by it, or a recipe for the training framework."
        return Step("Write a data set to train on", f"{what} {why}", None, page=DATASET)
    return Step("Train on it", f"{what} The data set and the recipes are on the Export page.", None, page=DATASET)


def blamed(job: Job | None) -> list[tuple[str, str]]:
    """The knobs, as (section, name), that a failed job names: it would fail again for as long as the config stays."""
    if job is None or job.state != "failed" or not job.error:
        return []
    config = Workspace(job.folder.parents[1]).config_path
    same = config.exists() and config.stat().st_mtime <= job.updated
    return named(job.error) if same else []


def leader(search: Search) -> Trial | None:
    """The best measured of the trials that are not the natural mixture's own runs."""
    others = [trial for trial in search.trials if trial.result and trial.origin in SEARCHED]
    return max(others, key=search.score, default=None)


def verdict(search: Search, outcome: Outcome) -> tuple[str, str, str]:
    """("good", "unclear" or "bad"; headline; explanation) of the chosen or best mixture against natural."""
    low, high = outcome.gain_interval
    if outcome.chosen and math.isfinite(low):
        runs = (
            f"{plural(len(outcome.pairs), 'pair')} of runs with the same seed, 95 % interval {low:+.4f} to {high:+.4f}"
        )
        if low > 0:
            return (
                "good",
                f"Better than natural by {outcome.gain:+.4f}, beyond the noise",
                runs + _what_got_worse(outcome),
            )
        if high < 0:
            return "bad", f"Worse than natural by {outcome.gain:+.4f}, beyond the noise", runs
        advice = (
            "More pairs would tell: train more runs of both on the Compare page. A further iteration "
            "(search.iterations) may find a larger gain, which is confirmed anew. Proxies on more tokens "
            "(proxy.tokens) tell mixtures apart better, but begin a new search."
        )
        return "unclear", f"Within the noise: {outcome.gain:+.4f} against natural", f"{runs}. {advice}"
    if outcome.chosen and math.isfinite(outcome.gain):
        why = "One pair of runs says nothing about the noise; train more runs of both on the Compare page."
        return "unclear", f"{outcome.gain:+.4f} against natural in a single paired run", why
    if outcome.chosen:
        return (
            "unclear",
            "Chosen, not yet confirmed",
            "Its score is a prediction until it has been run with fresh seeds.",
        )
    best = leader(search)
    if best is None or not outcome.natural:
        return "unclear", "Nothing to compare yet", "The natural mixture and at least one other must be measured."
    lead = search.score(best) - float(np.mean(outcome.natural))
    known = math.isfinite(outcome.noise_sd)
    noise = (
        f"One run varies by {outcome.noise_sd:.4f} (sd) from seed to seed" if known else "The noise is not known yet"
    )
    flatters = "the best of many single runs flatters itself, so the search confirms its choice at the end"
    return "unclear", f"Best so far: {lead:+.4f} against natural, one run", f"{noise}; {flatters}."


def _what_got_worse(outcome: Outcome) -> str:
    """What is worse under the mixture, though it is better on the whole; with the blank before it, "" for nothing."""
    worse = [
        name + (" (within the noise)" if high >= 0 else "")
        for name, (mean, (_, high)) in outcome.gains.items()
        if mean < 0
    ]
    return f". But worse on {', '.join(worse)}" if worse else ""


def _more(search: Search | None, config: SearchConfig) -> bool:
    """Whether there is more left than the next iteration."""
    return ahead(search, config) != ahead(search, config, 1)
