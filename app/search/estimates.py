"""What training trials will cost, from what it cost so far. Knows no Streamlit."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from app.words import plural
from climb_engine.config import RunConfig
from climb_engine.console import seconds_text
from climb_engine.pipeline import Run
from climb_engine.search.llama import LlamaShape
from climb_engine.search.loop import Search
from climb_engine.types import Trial


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
        known = plural(self.proxies, "proxy model") + cost
        if not math.isfinite(self.seconds):
            return f"{known}; how long it takes is known once the trunk or a trial has been trained"
        return f"{known}, about {seconds_text(self.seconds)} ({self.source})"


def proxies_of_next(search: Search | None, config: RunConfig) -> int:
    """How many proxies the next step of the search trains."""
    if search is None or not search.trials:
        return config.search.iterations[0] + config.search.reference_runs
    if search.open:
        return len(search.open)
    if search.iteration < len(config.search.iterations):
        return config.search.iterations[search.iteration]
    return 0 if search.finished else config.search.confirm * config.search.confirm_best


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
    """Of one proxy."""
    shape = LlamaShape.from_config(config.proxy, vocabulary)
    return config.proxy.tokens * shape.flops_per_token(config.proxy.sequence_length)
