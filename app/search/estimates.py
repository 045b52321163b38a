"""What the search will train, and what that will cost, from what it cost so far. Knows no Streamlit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.words import plural
from climb_engine.config import RunConfig, SearchConfig
from climb_engine.console import seconds_text
from climb_engine.pipeline import Run
from climb_engine.search.llama import LlamaShape
from climb_engine.search.loop import Search
from climb_engine.training import steps_of
from climb_engine.types import Trial


@dataclass(frozen=True)
class Ahead:
    """What a search trains to some point, in numbers of trials by kind."""

    own: int  # queued by hand
    begun: int  # open, of the iteration that was asked last
    natural_begun: int
    confirm_begun: int
    first: int  # the iteration that comes next
    iterations: tuple[int, ...]  # trials of each that is asked yet
    references: int  # runs of the natural mixture, to compare with
    chooses: bool  # whether it goes on to the choice
    best: int  # mixtures that are confirmed
    confirm: int  # runs of each
    partners: int  # runs of the natural mixture under the confirming seeds that it lacks

    @property
    def proxies(self) -> int:
        """All of them."""
        begun = self.own + self.begun + self.natural_begun + self.confirm_begun
        return begun + sum(self.iterations) + self.references + self.best * self.confirm + self.partners

    @property
    def text(self) -> str:
        """In sentences, whose numbers add up to ``proxies``."""
        last = self.first + len(self.iterations) - 1
        of = f"iteration {last}" if last == self.first else f"the iterations {self.first} to {last}"
        counted = {
            f"{plural(self.own, 'mixture')} of your own": self.own,
            f"{plural(self.begun, 'open trial')} of iteration {self.first - 1}": self.begun,
            f"{plural(self.natural_begun, 'open run')} of the natural mixture": self.natural_begun,
            f"{plural(self.confirm_begun, 'open run')} of the confirmation": self.confirm_begun,
            f"{plural(sum(self.iterations), 'mixture')} of {of}": sum(self.iterations),
            f"the natural mixture {_times(self.references)} as the reference": self.references,
        }
        now = _listed([words for words, n in counted.items() if n])
        end = self._end
        return " ".join([f"Trains {now}."] * bool(now) + [f"Then {end}." if now else _capital(f"{end}.")] * bool(end))

    @property
    def _end(self) -> str:
        if not self.chooses:
            return ""
        besides = f", and the natural mixture {_times(self.partners)} more, for pairs" if self.partners else ""
        seeds = plural(self.confirm, "fresh seed")
        if self.best * self.confirm == 0:
            return "chooses the mixture"
        if self.best == 1:
            return f"chooses the mixture and confirms it with {seeds}{besides}"
        return f"trains the best {self.best} mixtures with {seeds} each{besides}, and chooses"


def ahead(search: Search | None, config: SearchConfig, iterations: int | None = None) -> Ahead:
    """What ``climb search`` would train now: the rest of one begun and ``iterations`` more, as the command counts them.

    ``iterations``: None for all that is left. ``search``: None where there is none yet.
    """
    trials, asked = (search.own, search.iteration) if search else ((), 0)
    open_ = [trial.origin for trial in trials if trial.open]
    planned = len(config.iterations)
    last = planned if iterations is None else min(planned, asked - ("sampled" in open_) + iterations)
    coming = config.iterations[asked:last]
    natural = {trial.seed for trial in trials if trial.origin == "natural" and not trial.error}
    known = sum(trial.origin == "natural" for trial in trials)
    references = range(known, config.reference_runs) if coming and not asked else range(0)
    chooses = last >= planned and (search is None or search.choice is None)
    shortlisted = not coming and any(trial.origin == "confirm" and trial.iteration == asked for trial in trials)
    confirm = config.confirm if chooses and not shortlisted else 0
    paired = natural.union(references)
    return Ahead(
        own=open_.count("suggested"),
        begun=open_.count("sampled"),
        natural_begun=open_.count("natural"),
        confirm_begun=open_.count("confirm"),
        first=asked + 1,
        iterations=coming,
        references=len(references),
        chooses=chooses,
        best=config.confirm_best,
        confirm=confirm,
        partners=sum(seed not in paired for seed in range(confirm)) if paired else 0,
    )


@dataclass(frozen=True)
class Estimate:
    """Of a number of proxies; nan where nothing is known yet."""

    proxies: int
    seconds: float
    flops: float
    source: str  # what the seconds were learned from

    @property
    def text(self) -> str:
        """In words."""
        cost = f", {self.flops:.1e} FLOPs" if math.isfinite(self.flops) else ""
        known = plural(self.proxies, "proxy model") + cost + self.time
        unknown = "; how long it takes is known once the trunk or a trial has been trained"
        return f"{known} ({self.source})" if self.time else known + unknown

    @property
    def time(self) -> str:
        """With the comma before it; "" while it is not known."""
        return f", about {seconds_text(self.seconds)}" if math.isfinite(self.seconds) else ""


def estimate(run: Run, wanted: RunConfig, trials: Sequence[Trial], proxies: int) -> Estimate:
    """What ``proxies`` cost under the knobs ``wanted``, by the trials that were trained here, else by the trunk."""
    tokens = run.artifact("tokens")
    each = math.nan if tokens is None else _flops(wanted, int(tokens.facts["vocab_size"]))
    results = [trial.result for trial in trials if trial.result and trial.result.seconds > 0 and trial.result.flops > 0]
    if results:
        speed = float(np.mean([result.seconds / result.flops for result in results]))
        same = float(np.mean([result.flops for result in results]))
        each = each if math.isfinite(each) else same
        return Estimate(proxies, proxies * each * speed, proxies * each, f"by {plural(len(results), 'trial')} so far")
    trunk = run.artifact("trunk")
    if trunk is None or tokens is None or not trunk.manifest["knobs"].get("trunk_tokens"):
        return Estimate(proxies, math.nan, proxies * each, "")
    shape = LlamaShape(**trunk.facts["shape"])
    spent = trunk.manifest["knobs"]["trunk_tokens"] * shape.flops_per_token(run.config.proxy.sequence_length)
    seconds = proxies * each * float(trunk.manifest["seconds"]) / spent
    return Estimate(proxies, seconds, proxies * each, "by the speed of the trunk")


def _flops(config: RunConfig, vocabulary: int) -> float:
    """Of one proxy, which trains in whole steps."""
    shape, proxy = LlamaShape.from_config(config.proxy, vocabulary), config.proxy
    tokens = steps_of(proxy.tokens, config) * proxy.batch_size * proxy.sequence_length
    return tokens * shape.flops_per_token(proxy.sequence_length)


def _times(n: int) -> str:
    return {1: "once", 2: "twice"}.get(n, f"{n:,} times")


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def _capital(words: str) -> str:
    return words[:1].upper() + words[1:]
