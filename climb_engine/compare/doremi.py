"""DoReMi in a comparison: no search, but two models that cost together what the proxies of one search cost."""

from __future__ import annotations

import time
from collections.abc import Mapping

import numpy as np

from climb_engine.compare.outcome import Found
from climb_engine.compare.plan import Plan
from climb_engine.config import RunConfig
from climb_engine.search.baselines import Spent
from climb_engine.search.doremi import MODELS, doremi, flops_per_token
from climb_engine.search.llama import LlamaShape
from climb_engine.training import data_order, load_bank, load_trunk, settings_of, steps_of, use_threads, watch
from climb_engine.types import Event, Mixture, Report
from climb_engine.workspace import Log

METHOD = "doremi"
_SEEDS_PER_REPLICATE = 1000
_FIRST_SEED = 500  # of the data orders in a replicate: apart from those of the targets


def run_doremi(plan: Plan, report: Report) -> Mapping[tuple[str, int], Found]:
    """What DoReMi finds in each replicate, as a search's key: found now unless the comparison's folder has it.

    A replicate is kept when it is whole; one that was stopped begins again.
    """
    wanted = range(plan.options.replicates if METHOD in plan.options.methods else 0)
    logs = {replicate: Log(plan.folder / "searches" / f"{METHOD}-{replicate}.jsonl") for replicate in wanted}
    waiting = [replicate for replicate, log in logs.items() if not any(event["event"] == "found" for event in log)]
    for replicate in waiting:
        logs[replicate].append({"event": "started"})
        logs[replicate].append(_find(plan, replicate, report))
        report(Event("compare", replicate + 1, len(wanted), "mixtures of DoReMi"))
    return {(METHOD, replicate): _found(plan, replicate, log) for replicate, log in logs.items()}


def _found(plan: Plan, replicate: int, log: Log) -> Found:
    event = next(event for event in log if event["event"] == "found")
    allowed = plan.space.project(np.array([event["weights"]]))[0]
    spent = Spent(MODELS, event["tokens"], event["seconds"], event["flops"])
    return Found(METHOD, replicate, Mixture(plan.space.domains, allowed), spent)


def _find(plan: Plan, replicate: int, report: Report) -> dict[str, object]:
    """The log's event: the mean weights, not yet projected, and what they cost."""
    from climb_engine.search.proxy import choose_device

    run, config, began = plan.run, plan.run.config, time.monotonic()
    use_threads(config)
    tokens, device = run.needed("tokens"), choose_device(config.machine.device)
    trunk = load_trunk(config, tokens, run.needed("trunk"))
    batch, length = config.proxy.batch_size, config.proxy.sequence_length
    steps = steps_within(plan.options.budget, config, trunk.shape)
    longer = config.with_values({"proxy.tokens": steps * batch * length})
    seed = data_order(config, _SEEDS_PER_REPLICATE * replicate + _FIRST_SEED)
    path = doremi(
        trunk.to(device),
        load_bank(longer, tokens).to(device),
        plan.space.natural,
        steps,
        batch,
        settings_of(config),
        (seed, seed + 1),
        watch(report, "compare-doremi", MODELS * steps, batch * length),
    )
    return {
        **{"event": "found", "weights": path.mean(0).tolist(), "last": path[-1].tolist(), "steps": steps},
        **{"tokens": MODELS * steps * batch * length, "seconds": time.monotonic() - began},
        "flops": steps * batch * length * flops_per_token(trunk.shape, length),
    }


def steps_within(budget: int, config: RunConfig, shape: LlamaShape) -> int:
    """Steps of each of DoReMi's models, so that all costs the FLOPs of ``budget`` proxies."""
    length = config.proxy.sequence_length
    share = shape.flops_per_token(length) / flops_per_token(shape, length)
    return max(1, round(budget * steps_of(config.proxy.tokens, config) * share))
