"""What a runner runs, on a real small run: stacks, failures, progress, and where a trunk starts."""

import dataclasses
import math
import re

import numpy as np
import pytest

from climb_engine import training
from climb_engine.config import ProxyConfig, RunConfig
from climb_engine.pipeline import Run
from climb_engine.runners import LocalRunner
from climb_engine.search.checkpoint import save_hf
from climb_engine.search.llama import LlamaShape, ProxyStack
from climb_engine.stages.trunk import trunk_knobs
from climb_engine.training import Trainer, load_trunk
from climb_engine.types import ClimbError, Mixture, Result, Trial, silent
from climb_engine.workspace import digest_of

torch = pytest.importorskip("torch")
needs_embedder = pytest.mark.network  # the run's static embedder comes out of a registry package


@pytest.fixture(scope="module")
def trainer(finished_run):
    run = finished_run
    return Trainer.prepare(run.config, run.needed("tokens"), run.needed("trunk"), run.domains, silent)


def trials(domains, n, seed=0):
    weights = np.random.default_rng(seed).dirichlet(np.ones(len(domains)), n)
    return [Trial(i, 1, "sampled", Mixture(domains, w), i % 2) for i, w in enumerate(weights)]


# Stacks


@needs_embedder
def test_the_result_of_a_trial_does_not_depend_on_the_others_in_its_stack(trainer):
    asked = trials(trainer.domains, 5)
    together, reversed_ = trainer(asked), trainer(asked[::-1])[::-1]
    for trial, stacked, turned in zip(asked, together, reversed_, strict=True):
        (alone,) = trainer([trial])
        for name, value in alone.metrics.items():
            assert stacked.metrics[name] == pytest.approx(value, rel=2e-3), name
            assert turned.metrics[name] == pytest.approx(value, rel=2e-3), name
        assert stacked.repeats == alone.repeats and stacked.tokens == alone.tokens
    spread = np.std([result.metrics["heldout/" + trainer.domains[0]] for result in together])
    assert spread > 1e-2  # well above the tolerance: different mixtures give different results


class ShortOfMemory:
    """A trainer on a device that has room for a few proxies; it notes the stacks that it was given."""

    def __init__(self, trainer, room):
        self.trainer, self.room, self.stacks = trainer, room, []

    def __call__(self, asked):
        self.stacks.append(len(asked))
        if len(asked) > self.room:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 GiB.\nMore about the allocator.")
        return self.trainer(asked)


@needs_embedder
def test_out_of_memory_halves_the_stack_and_loses_no_trial(trainer):
    asked, short = trials(trainer.domains, 6), ShortOfMemory(trainer, room=2)
    told = list(LocalRunner().run(short, asked, stack=5))
    assert [trial.id for trial, _ in told] == list(range(6))
    assert all(isinstance(outcome, Result) for _, outcome in told)
    assert short.stacks == [5, 2, 2, 2]
    expected = trainer(asked[4:])
    assert told[5][1].metrics == pytest.approx(expected[1].metrics, rel=2e-3)


def test_a_proxy_that_does_not_fit_alone_is_a_failed_trial_with_its_reason():
    told = list(LocalRunner().run(ShortOfMemory(None, room=0), trials(("a", "b"), 2), stack=2))
    assert [outcome for _, outcome in told] == [
        "out of memory with a single proxy: CUDA out of memory. Tried to allocate 20.00 GiB."
    ] * 2


def test_any_other_error_passes_through():
    def broken(_):
        raise RuntimeError("a bug")

    with pytest.raises(RuntimeError, match="a bug"):
        list(LocalRunner().run(broken, trials(("a", "b"), 2), stack=2))


# Failures


@needs_embedder
def test_trials_whose_training_breaks_are_failed_trials_with_their_reason(trainer):
    wild = dataclasses.replace(trainer, config=trainer.config.with_values({"proxy.learning_rate": 1e30}))
    told = list(LocalRunner().run(wild, trials(trainer.domains, 3), stack=2))
    assert len(told) == 3
    for _, reason in told:
        assert re.fullmatch(r"the training loss was nan at step [12]; lower the learning rate", reason)


# Progress


@needs_embedder
@pytest.mark.parametrize("seconds", [0.0, math.inf])
def test_progress_names_the_trials_and_tells_the_loss_of_each(trainer, monkeypatch, seconds):
    monkeypatch.setattr(training, "_REPORT_SECONDS", seconds)
    events = []
    asked = trials(trainer.domains, 3)[1:]
    results = dataclasses.replace(trainer, report=events.append)(asked)
    steps = round(2000 / (4 * 32))
    assert [event.done for event in events] == ([*range(1, steps + 1)] if seconds == 0 else [steps])
    for event in events:
        assert (event.stage, event.total, event.unit) == ("proxies", steps, "steps")
        assert event.facts["trials"] == [1, 2] and event.facts["tokens_per_s"] > 0
        assert event.facts["loss"] == pytest.approx(np.mean(event.facts["losses"]), abs=1e-3)
    last = [result.curve[-1][1] for result in results]
    if len(results[0].curve) == steps:
        assert events[-1].facts["losses"] == pytest.approx(last, abs=1e-3)


# Where the trunk starts


def test_a_size_counts_by_its_shape_so_that_equal_proxies_share_their_trunk():
    named, spelt = (RunConfig.parse({"proxy": p}) for p in ({"size": "tiny"}, {}))
    assert trunk_knobs(named) == trunk_knobs(spelt)
    larger = RunConfig.parse({"proxy": {"size": "1m"}})
    assert trunk_knobs(larger)["layers"] == 5 != trunk_knobs(named)["layers"]


def test_the_address_of_a_trunk_stays_what_it_was_before_sizes_had_names():
    knobs = trunk_knobs(RunConfig.parse({"proxy": {"trunk_tokens": 1, "trunk_learning_rate": 0.003}}))
    before = (
        *("layers", "hidden", "ffn", "heads", "kv_heads", "rope_theta", "tie_embeddings", "sequence_length"),
        *("batch_size", "trunk_tokens", "trunk_learning_rate", "warmup", "weight_decay", "gradient_clip", "seed"),
    )
    assert sorted(knobs) == sorted(before)
    assert digest_of(knobs) == digest_of({name: knobs[name] for name in before})


def test_a_checkpoint_brings_its_shape_into_the_address_and_none_may_be_given_beside_it():
    started = RunConfig.parse({"proxy": {"start": "owner/model"}})
    assert trunk_knobs(started)["start"] == "owner/model" and "layers" not in trunk_knobs(started)
    for beside in ({"layers": 3}, {"size": "1m"}):
        with pytest.raises(ClimbError, match="checkpoint of start decides the shape; leave out size"):
            RunConfig.parse({"proxy": {"start": "owner/model", **beside}})


@pytest.fixture
def checkpoint(finished_run, tmp_path):
    """A Llama that reads the run's tokens, its vocabulary padded, and the run's tokenizer."""
    tokenizer = finished_run.needed("tokens").path("tokenizer.json")
    stack = ProxyStack.init(LlamaShape(448, 2, 24, 40, 4, 2, rope_theta=500.0), 1, 5)
    save_hf(stack, 0, tmp_path / "llama")
    return stack, tmp_path / "llama", tokenizer


def started_from(run, checkpoint, tokenizer, **more):
    fields = ProxyConfig.model_fields
    shape = {f"proxy.{name}": fields[name].default for name in ("layers", "hidden", "ffn", "heads", "kv_heads")}
    values = {"proxy.start": str(checkpoint), "tokens.tokenizer": str(tokenizer), "proxy.trunk_tokens": 0}
    run.configure(run.config.with_values(shape | values | more))
    return run


@needs_embedder
def test_a_trunk_starts_from_a_checkpoint_and_proxies_train_from_there(own_run, checkpoint):
    stack, folder, tokenizer = checkpoint
    run = started_from(own_run, folder, tokenizer)
    trunk = run.run("trunk")
    assert trunk.facts["parameters"] == stack.shape.parameters
    loaded = load_trunk(run.config, run.needed("tokens"), trunk)
    assert loaded.shape == stack.shape
    assert all(torch.equal(weight, stack.parameters[name]) for name, weight in loaded.parameters.items())
    made = Trainer.prepare(run.config, run.needed("tokens"), trunk, run.domains, silent)
    (result,) = made(trials(run.domains, 1))
    assert all(math.isfinite(value) for value in result.metrics.values())
    assert result.curve[-1][1] < result.curve[0][1]


@needs_embedder
def test_a_checkpoint_must_read_the_tokens_of_the_run(own_run, checkpoint, tmp_path):
    _, folder, tokenizer = checkpoint
    run = started_from(own_run, folder, "bpe")
    with pytest.raises(ClimbError, match=r"tokenizer trained here; set tokens\.tokenizer = .*llama"):
        run.run("trunk")
    save_hf(ProxyStack.init(LlamaShape(300, 1, 16, 32, 2, 1), 1, 0), 0, tmp_path / "small")
    run = started_from(Run(own_run.workspace.folder), tmp_path / "small", tokenizer)
    with pytest.raises(ClimbError, match=r"small has 300 tokens, the run's has \d+; set tokens\.tokenizer"):
        run.run("trunk")
