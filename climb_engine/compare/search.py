"""The searches of a comparison: every method and replicate over one space, with one budget, in common stacks."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from climb_engine.compare.outcome import Found
from climb_engine.compare.plan import Plan
from climb_engine.runners import Runner
from climb_engine.search.baselines import Spent
from climb_engine.search.loop import Choice, Search
from climb_engine.training import Trainer
from climb_engine.types import Event, Mixture, Report, Result, Trial
from climb_engine.workspace import Log

_ALL = 1_000_000  # more trials than any search has
_SEEDS_PER_REPLICATE = 1000  # so that no two replicates share a data order

Key = tuple[str, int]
"""A search by its method and replicate."""
Proxy = tuple[bytes, int]
"""What a trial's result depends on: its weights and the seed of its data order."""


def open_searches(plan: Plan) -> dict[Key, Search]:
    """All searches as their logs have them; to go on with them, hold the comparison's lock."""
    objective = plan.run.objective()
    return {
        (method, replicate): Search(
            plan.space,
            objective,
            plan.search_config(method, replicate),
            Log(plan.folder / "searches" / f"{method}-{replicate}.jsonl"),
        )
        for replicate in range(plan.options.replicates)
        for method in plan.options.searched
    }


def run_searches(plan: Plan, searches: Mapping[Key, Search], runner: Runner, report: Report) -> None:
    """Bring every search to its choice.

    All of them advance together, an iteration at a time, so that stacks are full. A mixture that several searches of a
    replicate ask under one seed (random and RegMix draw the same ones) is trained once; each is charged for it.
    """
    trainer: Trainer | None = None
    for limit in range(1, 2 + max((search.planned for search in searches.values()), default=0)):
        while waiting := _waiting(searches, limit):
            trainer = trainer or _trainer(plan, report)
            _train(plan, searches, waiting, trainer, runner, report)


def found_mixtures(plan: Plan, searches: Mapping[Key, Search], others: Mapping[Key, Found]) -> tuple[Found, ...]:
    """What each method proposes in each replicate, as far as it has chosen; natural and uniform at no cost.

    ``others`` are those that were not found by a search of the comparison.
    """
    replicates = range(plan.options.replicates)
    return tuple(found for replicate in replicates for found in _found(plan, searches, others, replicate))


def _found(plan: Plan, searches: Mapping[Key, Search], others: Mapping[Key, Found], replicate: int) -> Iterator[Found]:
    for method in plan.options.methods:
        if method in plan.fixed:
            mixture = Mixture(plan.space.domains, plan.fixed[method])
            yield Found(method, replicate, mixture, Spent(0, 0, 0.0, 0.0))
        elif (method, replicate) in others:
            yield others[method, replicate]
        elif choice := searches[method, replicate].choice:
            yield _choice(method, replicate, searches[method, replicate], choice)


def own_choice(plan: Plan) -> dict[Key, Found]:
    """What the run's own search has chosen, in each replicate, where that is compared; at what the search cost."""
    if "chosen" not in plan.options.methods:
        return {}
    search = plan.run.open_search()
    choice = search.choice
    assert choice, "the plan has checked that there is one"
    return {("chosen", r): _choice("chosen", r, search, choice) for r in range(plan.options.replicates)}


def _choice(method: str, replicate: int, search: Search, choice: Choice) -> Found:
    assert search.space.contains(choice.mixture.weights[None])[0], f"{method} chose a mixture outside the space"
    spearman = choice.trust.spearman if choice.trust else None
    return Found(method, replicate, choice.mixture, search.spent(), choice.gain, choice.gain_sd, spearman)


@dataclass(frozen=True)
class _Waiting:
    proxy: Proxy
    owners: list[tuple[Key, Trial]]  # who asked for it


def _waiting(searches: Mapping[Key, Search], limit: int) -> list[_Waiting]:
    """The proxies to train before all searches have told iteration ``limit``; what is known already is told.

    A search that has told its last iteration makes its choice when it is asked.
    """
    wanted: dict[Proxy, _Waiting] = {}
    known = {_proxy(key, trial): trial for key, search in searches.items() for trial in search.trials if not trial.open}
    for key, search in searches.items():
        for trial in search.ask(_ALL, limit):
            proxy = _proxy(key, trial)
            if proxy in known:
                _tell(searches, [(key, trial)], known[proxy].result or str(known[proxy].error))
            else:
                wanted.setdefault(proxy, _Waiting(proxy, [])).owners.append((key, trial))
    return list(wanted.values())


def _train(
    plan: Plan,
    searches: Mapping[Key, Search],
    waiting: list[_Waiting],
    trainer: Trainer,
    runner: Runner,
    report: Report,
) -> None:
    trials = [replace(wanted.owners[0][1], id=number, seed=wanted.proxy[1]) for number, wanted in enumerate(waiting)]
    for done, (trial, outcome) in enumerate(runner.run(trainer, trials, trainer.stack), start=1):
        _tell(searches, waiting[trial.id].owners, outcome)
        if done % trainer.stack == 0 or done == len(trials):  # whoever stops here finds a whole stack told
            report(_progress(plan, searches))


def _tell(searches: Mapping[Key, Search], owners: Iterable[tuple[Key, Trial]], outcome: Result | str) -> None:
    for key, trial in owners:
        searches[key].tell(trial.id, outcome)


def _proxy(key: Key, trial: Trial) -> Proxy:
    return trial.mixture.weights.tobytes(), _SEEDS_PER_REPLICATE * key[1] + trial.seed


def _progress(plan: Plan, searches: Mapping[Key, Search]) -> Event:
    told = sum(not trial.open for search in searches.values() for trial in search.trials)
    iteration = max(search.iteration for search in searches.values())
    return Event("compare", told, plan.options.budget * len(searches), "proxies", {"iteration": iteration})


def _trainer(plan: Plan, report: Report) -> Trainer:
    """Measures what the searches may see: the calibration items and the first half of the held-out text."""
    run = plan.run
    trainer = Trainer.prepare(run.config, run.needed("tokens"), run.needed("trunk"), run.domains, report)
    return replace(trainer, heldout=trainer.heldout.halves()[0], stage="compare-proxies")
