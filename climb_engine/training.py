"""What a runner runs: trials in, results out. Binds a run's tokens, trunk and target to the stacked proxies."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import numpy.typing as npt

from climb_engine.config import RunConfig
from climb_engine.search.tasks import Item, Requests, batches, encode, load_items, pad, score_requests, split_items
from climb_engine.types import ClimbError, Event, FloatArray, Ids, Report, Result, Trial, silent
from climb_engine.workspace import Artifact

if TYPE_CHECKING:
    from climb_engine.search.llama import LlamaShape, ProxyStack
    from climb_engine.search.proxy import OnStep, TrainSettings
    from climb_engine.search.sampling import TokenBank

_EVALUATED_TOKENS = 16_384  # padded tokens per evaluation batch
_CURVE_POINTS = 50  # of a training curve that a result keeps
_TRUNK_SEED = 2**31  # apart from every trial's, so that proxies do not begin with what the trunk read first
_SEEDS_PER_TRUNK = 100_003
_REPORT_SECONDS = 0.5  # between two events of one training
_PADDED_VOCABULARY = 1024  # checkpoints round their vocabulary up by less than this


@dataclass(frozen=True)
class Heldout:
    """The held-out text of all domains, cut into rows."""

    tokens: npt.NDArray[np.int64]  # (rows, t + 1), zeros after a row's end
    mask: npt.NDArray[np.bool_]  # (rows, t + 1) the targets
    domain: Ids  # (rows,)
    bytes: FloatArray  # (m,) UTF-8 bytes that each domain's targets stand for

    def bits_per_byte(self, nats: FloatArray) -> FloatArray:
        """Negative log-likelihoods (p, rows) in nats to bits per byte of each domain (p, m); nan without text."""
        totals = np.zeros((len(nats), len(self.bytes)))
        np.add.at(totals.T, self.domain, nats.T)
        bits: FloatArray = totals / np.log(2) / np.where(self.bytes > 0, self.bytes, np.nan)
        return bits

    def halves(self) -> tuple[Heldout, Heldout]:
        """The first and the last rows of every domain: two texts that share at most one document per domain.

        A domain with an odd number of rows gives the first half one more; of a single row the second half has nothing.
        """
        counts = np.bincount(self.domain, minlength=len(self.bytes))
        place = np.arange(len(self.domain)) - (np.cumsum(counts) - counts)[self.domain]
        early = 2 * place < counts[self.domain]
        return self._only(early), self._only(~early)

    def _only(self, rows: npt.NDArray[np.bool_]) -> Heldout:
        targets, m = self.mask.sum(1), len(self.bytes)
        there = np.bincount(self.domain, targets, m)
        kept = np.bincount(self.domain[rows], targets[rows], m)
        return Heldout(self.tokens[rows], self.mask[rows], self.domain[rows], self.bytes * kept / np.maximum(there, 1))


@dataclass(frozen=True)
class Trainer:
    """Trains stacks of trials from one trunk and measures the target.

    A value that can be sent to another machine: pickled, it leaves its device and its report behind, and it is
    unpickled onto the device that ``config.machine`` wants of the machine where it arrives.
    """

    config: RunConfig
    domains: tuple[str, ...]
    bank: TokenBank
    trunk: ProxyStack  # p = 1
    requests: Requests
    heldout: Heldout
    stack: int  # proxies trained as one program
    report: Report
    stage: str = "proxies"  # what progress calls the work

    @classmethod
    def prepare(
        cls, config: RunConfig, tokens: Artifact, trunk: Artifact, domains: tuple[str, ...], report: Report
    ) -> Self:
        """Load what training needs onto the device of ``config.machine``."""
        from climb_engine.search.proxy import choose_device, choose_stack

        device = choose_device(config.machine.device)
        use_threads(config)
        start = load_trunk(config, tokens, trunk)
        per_step = config.proxy.batch_size * config.proxy.sequence_length
        return cls(
            config=config,
            domains=domains,
            bank=load_bank(config, tokens).to(device),
            trunk=start.to(device),
            requests=load_requests(config, tokens),
            heldout=load_heldout(tokens, config.proxy.sequence_length),
            stack=config.machine.stack or choose_stack(start.shape, device, per_step, wanted=64),
            report=report,
        )

    def __reduce__(self) -> tuple[Any, ...]:
        import torch

        cpu = torch.device("cpu")
        carried: dict[str, Any] = {"bank": self.bank.to(cpu), "trunk": self.trunk.to(cpu), "report": silent}
        return _arrived, ({each.name: carried.get(each.name, getattr(self, each.name)) for each in fields(self)},)

    def __call__(self, trials: Sequence[Trial]) -> list[Result | str]:
        """Train these trials as one program; a result, or the reason of a failure, for each in order."""
        from climb_engine.search.proxy import train
        from climb_engine.search.sampling import draw_sequences

        proxy, started = self.config.proxy, time.monotonic()
        seeds = [data_order(self.config, trial.seed) for trial in trials]
        weights = np.array([trial.mixture.weights for trial in trials])
        plan = draw_sequences(
            weights, self.bank.available, steps_of(proxy.tokens, self.config), proxy.batch_size, seeds
        )
        stack = self.trunk.expand(len(trials))
        per_step = plan.domain[:, 0].size * proxy.sequence_length
        on_step = watch(self.report, self.stage, plan.domain.shape[1], per_step, [trial.id for trial in trials])
        outcome = train(stack, self.bank, plan, settings_of(self.config), on_step)
        measured = self.measure(stack)
        seconds = (time.monotonic() - started) / len(trials)
        return [
            outcome.failed.get(i) or self._result(measured[i], plan.repeats[i], outcome.losses[i], seconds)
            for i in range(len(trials))
        ]

    def measure(self, stack: ProxyStack) -> list[dict[str, float]]:
        """All metrics of each proxy: tasks, and bits per byte of every domain's held-out text."""
        from climb_engine.search.proxy import loglikelihoods

        rows = max(1, _EVALUATED_TOKENS // self.heldout.tokens.shape[1])
        cuts = range(0, len(self.heldout.tokens), rows)
        held, _ = loglikelihoods(
            stack, ((self.heldout.tokens[i : i + rows], self.heldout.mask[i : i + rows]) for i in cuts), "auto"
        )
        columns = {f"heldout/{n}": v for n, v in zip(self.domains, self.heldout.bits_per_byte(-held).T, strict=True)}
        if len(self.requests):
            order = list(batches(self.requests, _EVALUATED_TOKENS))
            sums, greedy = loglikelihoods(stack, (pad(self.requests, index) for index in order), "auto")
            back = np.argsort(np.concatenate(order))
            columns |= score_requests(self.requests, sums[:, back], greedy[:, back])
        return [{name: float(values[i]) for name, values in columns.items()} for i in range(len(stack))]

    def _result(
        self, metrics: dict[str, float], repeats: FloatArray, losses: npt.NDArray[np.float32], seconds: float
    ) -> Result:
        proxy = self.config.proxy
        tokens = len(losses) * proxy.batch_size * proxy.sequence_length
        every = max(1, len(losses) // _CURVE_POINTS)
        return Result(
            metrics=metrics,
            tokens=tokens,
            seconds=seconds,
            flops=tokens * self.trunk.shape.flops_per_token(proxy.sequence_length),
            repeats={name: float(r) for name, r in zip(self.domains, repeats, strict=True)},
            curve=tuple((i, float(losses[i])) for i in range(0, len(losses), every)),
        )


def _arrived(values: dict[str, Any]) -> Trainer:
    """A trainer on a device of this machine."""
    from climb_engine.search.proxy import choose_device

    device = choose_device(values["config"].machine.device)
    use_threads(values["config"])
    return Trainer(**values | {"bank": values["bank"].to(device), "trunk": values["trunk"].to(device)})


def settings_of(config: RunConfig) -> TrainSettings:
    """How a proxy trains from the trunk on."""
    from climb_engine.search.proxy import TrainSettings

    proxy = config.proxy
    return TrainSettings(
        learning_rate=proxy.learning_rate,
        schedule="decay" if proxy.trunk_tokens else "full",
        final_fraction=proxy.final_learning_rate,
        warmup=proxy.warmup,
        weight_decay=proxy.weight_decay,
        gradient_clip=proxy.gradient_clip,
    )


def data_order(config: RunConfig, seed: int) -> int:
    """The seed of the order in which a proxy reads: another for every seed of a trial and every ``proxy.seed``."""
    return _SEEDS_PER_TRUNK * config.proxy.seed + seed


def watch(report: Report, stage: str, steps: int, tokens: int, trials: Sequence[int] | None = None) -> OnStep:
    """Tell the losses now and then, and at the end of ``steps``, each of so many ``tokens``; of trials, each one's."""
    began = told = time.monotonic()

    def on_step(step: int, losses: npt.NDArray[np.float32]) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told < _REPORT_SECONDS and step + 1 < steps:
            return
        told = now
        finite = losses[np.isfinite(losses)]
        facts: dict[str, Any] = {"loss": float(finite.mean()) if len(finite) else None}
        facts["tokens_per_s"] = round((step + 1) * tokens / max(now - began, 1e-9))
        if trials is not None:
            rounded = [round(float(loss), 4) if np.isfinite(loss) else None for loss in losses]
            facts |= {"trials": list(trials), "losses": rounded}
        report(Event(stage, step + 1, steps, "steps", facts))

    return on_step


def train_trunk(config: RunConfig, tokens: Artifact, report: Report) -> tuple[ProxyStack, list[float]]:
    """Train the start of every proxy on the natural mixture at constant learning rate; a stack of one, its losses.

    Raises ClimbError when the checkpoint ``proxy.start`` is no plain Llama or has another vocabulary than the tokens.
    """
    from climb_engine.search.proxy import TrainSettings, choose_device, train
    from climb_engine.search.sampling import draw_sequences

    proxy = config.proxy
    use_threads(config)
    stack = _first_weights(config, tokens).to(choose_device(config.machine.device))
    if not proxy.trunk_tokens:
        return stack, []
    natural = np.asarray(tokens.facts["train"], dtype=np.float64)
    bank = load_bank(config, tokens).to(stack.device)
    natural = np.where(bank.available > 0, natural, 0)
    steps, seed = steps_of(proxy.trunk_tokens, config), _TRUNK_SEED + proxy.seed
    plan = draw_sequences(natural[None] / natural.sum(), bank.available, steps, proxy.batch_size, seed)
    settings = TrainSettings(
        learning_rate=proxy.trunk_learning_rate,
        schedule="wsd-trunk",
        warmup=proxy.warmup,
        weight_decay=proxy.weight_decay,
        gradient_clip=proxy.gradient_clip,
    )
    per_step = proxy.batch_size * proxy.sequence_length
    outcome = train(stack, bank, plan, settings, watch(report, "trunk", steps, per_step))
    return stack, [float(loss) for loss in outcome.losses[0]]


def _first_weights(config: RunConfig, tokens: Artifact) -> ProxyStack:
    """What the trunk starts from: random weights, or a checkpoint that reads the run's tokens."""
    from climb_engine.search.checkpoint import from_hf
    from climb_engine.search.llama import ProxyStack

    start, own = config.proxy.start, tokens.facts["vocab_size"]
    if not start:
        return ProxyStack.init(shape_of(config, tokens), 1, config.proxy.seed)
    remedy = f"set tokens.tokenizer = {start!r}, or to its tokenizer.json"
    if config.tokens.tokenizer == "bpe":
        raise ClimbError(f"proxy.start: {start} cannot read the tokens of a tokenizer trained here; {remedy}")
    stack = from_hf(start)
    if not 0 <= stack.shape.vocab - own < _PADDED_VOCABULARY:
        raise ClimbError(f"proxy.start: {start} has {stack.shape.vocab:,} tokens, the run's has {own:,}; {remedy}")
    return stack


def load_trunk(config: RunConfig, tokens: Artifact, trunk: Artifact) -> ProxyStack:
    """The trunk as a stack of one."""
    from safetensors.torch import load_file

    from climb_engine.search.llama import LlamaShape, ProxyStack

    shape = LlamaShape(**trunk.facts["shape"]) if config.proxy.start else shape_of(config, tokens)
    return ProxyStack.load(shape, load_file(trunk.path("trunk.safetensors")))


def shape_of(config: RunConfig, tokens: Artifact) -> LlamaShape:
    """The architecture that the knobs ask for, with the vocabulary of the tokens."""
    from climb_engine.search.llama import LlamaShape

    return LlamaShape.from_config(config.proxy, tokens.facts["vocab_size"])


def steps_of(tokens: int, config: RunConfig) -> int:
    """Optimiser steps that read about this many tokens."""
    return max(1, round(tokens / (config.proxy.batch_size * config.proxy.sequence_length)))


def use_threads(config: RunConfig) -> None:
    """Let torch use as many CPU threads as ``machine.threads`` says."""
    import torch

    if config.machine.threads:
        torch.set_num_threads(config.machine.threads)


def load_bank(config: RunConfig, tokens: Artifact) -> TokenBank:
    """Training tokens of every domain, at most as many as one proxy or the trunk could read of it.

    A domain that has more is thinned evenly by document, so that every part of the corpus keeps its share.
    """
    from climb_engine.search.sampling import TokenBank

    totals = np.asarray(tokens.facts["train"], dtype=np.int64)
    most = max(config.proxy.tokens, config.proxy.trunk_tokens) + 2 * config.proxy.sequence_length
    share = np.minimum(1.0, most / np.maximum(totals, 1))
    return TokenBank.build(_gather(tokens, len(totals), heldout=False, share=share), config.proxy.sequence_length)


def load_heldout(tokens: Artifact, sequence_length: int) -> Heldout:
    """The held-out tokens of every domain, in rows that overlap by the one token that is not predicted."""
    found = _gather(tokens, len(tokens.facts["heldout"]), heldout=True)
    rows, owners, targets = [], [], np.zeros(len(found))
    for domain, flat in enumerate(found):
        for start in range(0, len(flat) - 1, sequence_length):
            rows.append(flat[start : start + sequence_length + 1])
            owners.append(domain)
            targets[domain] += len(rows[-1]) - 1
    padded = np.zeros((len(rows), sequence_length + 1), dtype=np.int64)
    mask = np.zeros(padded.shape, dtype=bool)
    for i, row in enumerate(rows):
        padded[i, : len(row)] = row
        mask[i, 1 : len(row)] = True
    per_token = np.asarray(tokens.facts["heldout_bytes"]) / np.maximum(tokens.facts["heldout"], 1)
    return Heldout(padded, mask, np.array(owners, dtype=np.int64), targets * per_token)


def load_requests(config: RunConfig, tokens: Artifact) -> Requests:
    """The calibration items of the target's tasks, as requests in the run's own tokens."""
    return encode_items(config, tokens, calibration_items(config))


def calibration_items(config: RunConfig) -> tuple[Item, ...]:
    """The items of the target's tasks that a search measures."""
    target = config.target
    chosen: list[Item] = []
    for task in target.tasks:
        chosen += split_items(load_items(task, target.files.get(task)), target.items, target.seed)[0]
    return tuple(chosen)


def encode_items(config: RunConfig, tokens: Artifact, items: Sequence[Item]) -> Requests:
    """Items as requests in the run's own tokens."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(tokens.path("tokenizer.json")))

    def tokenize(texts: Sequence[str]) -> list[list[int]]:
        return [encoding.ids for encoding in tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)]

    return encode(items, tokenize, config.proxy.sequence_length, tokens.facts["end_of_text"])


def _gather(
    tokens: Artifact, m: int, heldout: bool, share: FloatArray | None = None
) -> list[npt.NDArray[np.unsignedinteger[Any]]]:
    """The held-out or the training tokens of every domain, end to end in document order."""
    pieces: list[list[npt.NDArray[np.unsignedinteger[Any]]]] = [[] for _ in range(m)]
    for part in range(tokens.parts):
        rows = tokens.table(part, ["domain", "start", "length", "heldout"])
        flat = tokens.array(part)
        columns = [rows[name].to_numpy() for name in ("domain", "start", "length", "heldout")]
        thinned = np.zeros(m)
        for domain, start, length, held in zip(*columns, strict=True):
            if held != heldout:
                continue
            thinned[domain] += 1.0 if share is None else share[domain]
            if thinned[domain] >= 1.0 - 1e-9:
                thinned[domain] -= 1.0
                pieces[domain].append(flat[start : start + length])
    empty = np.zeros(0, dtype=np.uint16)
    return [np.concatenate(found) if found else empty for found in pieces]
