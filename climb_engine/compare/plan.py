"""What is compared: methods, budget, the target model, the items to report on; and the address of all that."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from climb_engine.config import PROXY_SIZES, ProxyConfig, RunConfig, SearchConfig, knobs, nearest
from climb_engine.pipeline import Run
from climb_engine.search.baselines import FEWEST as REGMIX_FEWEST
from climb_engine.search.regression import FEWEST
from climb_engine.search.space import MixtureSpace
from climb_engine.search.tasks import TASKS, Item, load_items, split_items
from climb_engine.training import calibration_items
from climb_engine.types import ClimbError, FloatArray
from climb_engine.workspace import digest_of

VERSION = 4  # 2: a data order for every proxy; 3: ours runs natural once; 4: ours learns from all that proxies measure
METHODS: Mapping[str, str] = {
    "natural": "",
    "uniform": "",
    "random": "random",
    "regmix": "regmix",
    "doremi": "",
    "climb": "climb",
    "ours": "bayesian",
    "chosen": "",
}
"""Name to ``search.method``, "" for those that do not search here.

uniform is what the paper calls Random; chosen is the mixture that the run's own search has chosen.
"""
COMPARED = tuple(name for name in METHODS if name != "chosen")
"""What is compared unless other methods are named: those that get the same budget, and those that need none."""
SPLITS: Mapping[str, tuple[int, ...]] = {
    "random": (1,),
    "regmix": (1,),
    "climb": (4, 2, 1),
    "ours": (2, 1, 1, 1, 1, 1),
}
"""How a method spreads its budget over iterations, in proportion: 112 trials of climb are the paper's 64, 32, 16."""
NATURAL_RUNS: Mapping[str, int] = {"ours": 1}
"""Proxies of its budget that a method gives to the natural mixture, as every run does by itself; the others none."""
_GENERAL = ("piqa", "arc_challenge", "arc_easy", "hellaswag", "winogrande", "siqa", "openbookqa", "csqa", "sciq")
GENERAL = tuple(task for task in (*_GENERAL, "lambada") if task in TASKS)
"""The paper's general reasoning and what is near it: the tasks that are reported on unless others are named."""


@dataclass(frozen=True)
class Options:
    """What to compare. More methods, replicates or seeds go on with the same comparison; all else begins another."""

    methods: tuple[str, ...] = COMPARED  # natural is always among them
    budget: int = 48  # proxies of each search
    replicates: int = 3  # searches of each method, each with seeds of its own
    seeds: int = 1  # targets of each mixture that was found
    target_size: str = "1m"  # of config.PROXY_SIZES; custom: the proxies' shape
    target_tokens: int = 4_000_000
    knobs: Mapping[str, Any] = field(default_factory=dict)  # of the target: proxy.key -> value
    scratch: bool = False  # targets start from random weights rather than from a trunk
    tasks: tuple[str, ...] = GENERAL  # reported on, besides the run's own
    files: Mapping[str, str] = field(default_factory=dict)  # JSONL of those tasks that are the user's own
    items: int = 1000  # report items per task, at most
    splits: Mapping[str, tuple[int, ...]] = field(default_factory=dict)  # instead of SPLITS, by method

    def __post_init__(self) -> None:
        for name in (*self.methods, *self.splits):
            if name not in METHODS:
                raise ClimbError(f"there is no method {name!r}{nearest(name, METHODS)}")
        object.__setattr__(self, "methods", tuple(name for name in METHODS if name in {"natural", *self.methods}))
        for what in ("budget", "replicates", "seeds", "target_tokens", "items"):
            if getattr(self, what) < 1:
                raise ClimbError(f"{what} must be at least 1")
        if self.target_size not in (*PROXY_SIZES, "custom"):
            raise ClimbError(f"no target size is called {self.target_size!r}{nearest(self.target_size, PROXY_SIZES)}")
        for knob in self.knobs:
            if not knob.startswith("proxy."):
                raise ClimbError(f"{knob}: only knobs of the target model can be set here: proxy.layers and so on")
        for name in self.searched:
            if self.iterations(name)[0] + NATURAL_RUNS.get(name, 0) < FEWEST:
                raise ClimbError(
                    f"a budget of {self.budget} leaves {self.iterations(name)[0]} proxies to the first iteration of "
                    f"{name}, and a predictor needs {FEWEST}; give at least 8"
                )

    @property
    def searched(self) -> tuple[str, ...]:
        """The methods that search."""
        return tuple(name for name in self.methods if METHODS[name])

    def iterations(self, method: str) -> tuple[int, ...]:
        """Trials per iteration: whole numbers next to the method's proportions.

        They sum to what the budget leaves beside the runs of the natural mixture.
        """
        parts = self.splits.get(method, SPLITS[method])
        if not parts or any(part < 1 for part in parts):
            raise ClimbError(f"the split of {method} must be whole numbers of at least 1, such as 4,2,1")
        budget = self.budget - NATURAL_RUNS.get(method, 0)
        exact = [budget * part / sum(parts) for part in parts]
        counts = [int(share) for share in exact]
        by_rest = sorted(range(len(parts)), key=lambda i: counts[i] - exact[i])
        for i in by_rest[: budget - sum(counts)]:
            counts[i] += 1
        return tuple(count for count in counts if count)


@dataclass(frozen=True)
class Plan:
    """A run and the options, with all that follows from them."""

    run: Run
    options: Options
    calibrated: tuple[Item, ...]  # what the searches measure
    reported: tuple[Item, ...]  # what the targets answer
    dropped: int  # items left out of the report since their text is a calibration item's or another report item's

    @classmethod
    def of(cls, run: Run, options: Options) -> Plan:
        """Raises ClimbError when the run has no trunk yet, for unknown tasks and for a target that cannot be."""
        run.needed("trunk")
        if "chosen" in options.methods and not run.open_search().choice:
            name = run.workspace.name
            raise ClimbError(f"{name} has chosen no mixture yet; run 'climb search {name}', or leave chosen out")
        calibrated = calibration_items(run.config)
        reported, dropped = report_items(run.config, options, calibrated)
        return cls(run, options, calibrated, reported, dropped)

    @cached_property
    def target(self) -> RunConfig:
        """The run's config with the target model in the place of the proxies."""
        return target_config(self.run.config, self.options)

    @cached_property
    def space(self) -> MixtureSpace:
        """Which mixtures are allowed; the same for every method."""
        return self.run.space()

    @cached_property
    def fixed(self) -> Mapping[str, FloatArray]:
        """The mixtures (m,) that need no search."""
        return {"natural": self.space.natural, "uniform": self.space.uniform}

    def search_config(self, method: str, replicate: int) -> SearchConfig:
        """The run's limits and draws with the method, its share of the budget, and a seed for the replicate.

        Nothing is spent on confirmations: the targets are those.
        """
        own = self.run.config.search
        values: dict[str, Any] = {
            "method": METHODS[method],
            "iterations": self.options.iterations(method),
            "predictor": own.predictor if METHODS[method] == "bayesian" else "default",
            "reference_runs": NATURAL_RUNS.get(method, 0),
            "confirm": 0,
            "confirm_best": 1,
            "seed": own.seed + replicate,
        }
        return SearchConfig.model_validate({**own.model_dump(), **values})

    @property
    def identity(self) -> dict[str, Any]:
        """Everything that a number of this comparison depends on, but for method and replicate."""
        options, config = self.options, self.run.config
        search = knobs(config.search)
        for decided in ("method", "iterations", "reference_runs", "confirm", "confirm_best"):
            del search[decided]
        return {
            "version": VERSION,
            "tokens": self.run.needed("tokens").digest,
            "proxy": knobs(config.proxy),
            "target": knobs(config.target),
            "search": search,
            "target_model": knobs(self.target.proxy),
            "iterations": {name: list(options.iterations(name)) for name in METHODS if METHODS[name]},
            "calibrated": _digest(self.calibrated),
            "reported": _digest(self.reported),
        }

    @cached_property
    def digest(self) -> str:
        """The comparison's address."""
        return digest_of(self.identity)

    @property
    def folder(self) -> Path:
        """Where the comparison is kept."""
        return self.run.workspace.folder / "compare" / self.digest

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that are reported on, in their order."""
        return tuple(dict.fromkeys(item.task for item in self.reported))

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a reader must know before the numbers."""
        options, found = self.options, []
        if "regmix" in options.methods and options.budget < REGMIX_FEWEST:
            found.append(
                f"RegMix's regression is a constant below {REGMIX_FEWEST} trials: with a budget of {options.budget} "
                "its mixture is the mean of some draws, close to natural"
            )
        if "doremi" in options.methods:
            found.append(
                f"DoReMi does not search: its two models together cost the FLOPs of {options.budget} proxies, and "
                "neither sees what the searches calibrate on"
            )
        if "chosen" in options.methods:
            found.append(
                "chosen is one mixture in all replicates, at what the run's own search has cost, so its interval holds "
                "the noise of the targets alone; that search has seen all of the held-out text"
            )
        equal = 1 / len(self.space.domains)
        if "uniform" in options.methods and abs(self.space.uniform - equal).max() > 1e-6:
            found.append("equal weights are outside the space; uniform is the allowed mixture next to them")
        if self.dropped:
            found.append(f"{self.dropped} report items were dropped, since a search or another item has the same text")
        return tuple(found)


def target_config(config: RunConfig, options: Options) -> RunConfig:
    """A run's config with the target in the place of its proxies; the trunk is longer in the same proportion."""
    proxy = config.proxy
    names = tuple(PROXY_SIZES["tiny"])
    trunk = 0 if options.scratch else round(proxy.trunk_tokens * options.target_tokens / proxy.tokens)
    values: dict[str, Any] = {"proxy.size": "custom", "proxy.start": ""}
    values |= {"proxy.tokens": options.target_tokens, "proxy.trunk_tokens": trunk}
    if options.knobs.get("proxy.start"):
        shape = {name: ProxyConfig.model_fields[name].default for name in names}
    else:
        shape = PROXY_SIZES.get(options.target_size, proxy.shape)
    values |= {f"proxy.{name}": value for name, value in shape.items()}
    return config.with_values(values | dict(options.knobs))


def report_items(config: RunConfig, options: Options, calibrated: Sequence[Item]) -> tuple[tuple[Item, ...], int]:
    """Items that no search has seen, and how many were dropped because their text is one that was seen.

    Of a task that is calibrated on, the report half of ``split_items``; of the others, all. At most ``options.items``
    of each, in the order of their hash.
    """
    own = config.target
    files = {**options.files, **own.files}
    names = (*(task for task in GENERAL if task in {*options.tasks, *own.tasks}), *options.tasks, *own.tasks)
    seen = {_text(item) for item in calibrated}
    chosen: list[Item] = []
    dropped = 0
    for task in dict.fromkeys(names):
        items = load_items(task, files.get(task))
        first, second = split_items(items, own.items if task in own.tasks else len(items), own.seed)
        fresh = []
        for item in second if task in own.tasks else first + second:
            text = _text(item)
            dropped += text in seen
            fresh += [] if text in seen else [item]
            seen.add(text)
        chosen += fresh[: options.items]
    if not chosen:
        raise ClimbError("there is no item to report on; name tasks, or give those of the run more items")
    check_disjoint(calibrated, chosen)
    return tuple(chosen), dropped


def check_disjoint(calibrated: Sequence[Item], reported: Sequence[Item]) -> None:
    """The rule against contamination: no report item is a calibration item, by id and by text."""
    ids = {(item.task, item.id) for item in calibrated} & {(item.task, item.id) for item in reported}
    texts = {_text(item) for item in calibrated} & {_text(item) for item in reported}
    if ids or texts:
        raise AssertionError(f"{len(ids)} ids and {len(texts)} texts are both calibrated on and reported on")


def _text(item: Item) -> bytes:
    """What an item asks, whatever its task is called and in whichever order its choices stand."""
    pairs = sorted(zip(item.contexts, item.continuations, strict=True))
    return hashlib.sha256(repr(pairs).encode()).digest()


def _digest(items: Sequence[Item]) -> str:
    return digest_of([[item.task, item.id, _text(item).hex(), item.gold] for item in items])
