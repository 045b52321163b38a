"""Settings, and a small real run that several test files share."""

import os

os.environ["OMP_NUM_THREADS"] = "1"  # the suite runs one process per core
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import json
import shutil

import numpy as np
import pytest

from climb_engine.config import RunConfig
from climb_engine.pipeline import Run

TOPICS = {
    "astronomy": "star planet orbit telescope galaxy comet moon light sky mass gravity distance observe bright cluster",
    "cooking": "oven butter flour sugar salt pan boil roast onion garlic sauce taste dinner recipe bowl",
    "law": "court judge statute appeal contract party evidence rule order claim defendant motion act section right",
    "sailing": "boat sail wind harbour anchor rope deck crew tide wave captain voyage mast shore island",
}
JUNK = "buy cheap now click here free offer limited winner cash prize visit http://spam.example !!! $$$ subscribe"


def sentence(rng, words):
    middle = [*rng.choice(words, 7), *rng.choice(["the", "of", "and", "is", "in", "that", "with", "because"], 6)]
    rng.shuffle(middle)
    return " ".join(middle).capitalize() + "."


def planted_documents(per_topic=80, junk=30, seed=0):
    """Documents of known topics, and junk that pruning should find."""
    rng = np.random.default_rng(seed)
    rows = [
        {"text": " ".join(sentence(rng, words.split()) for _ in range(8)), "source": topic}
        for topic, words in TOPICS.items()
        for _ in range(per_topic)
    ]
    rows += [{"text": " ".join(rng.choice(JUNK.split(), 60)), "source": "junk"} for _ in range(junk)]
    rng.shuffle(rows)
    return [*rows, rows[0], {"text": "   ", "source": "empty"}]


def write_jsonl(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def corpus_file(tmp_path_factory):
    return write_jsonl(tmp_path_factory.mktemp("corpus") / "docs.jsonl", planted_documents())


@pytest.fixture(scope="session")
def tiny_config(corpus_file, tmp_path_factory):
    """A whole pipeline that takes seconds: real stages, real proxies, all of it small."""
    items = [
        {"context": "The captain let down the", "choices": ["anchor", "butter", "statute"], "gold": 0},
        {"context": "The judge of the court heard the", "choices": ["galaxy", "appeal"], "gold": 1},
        {"context": "Put the pan into the", "choices": ["oven", "comet"], "gold": 0},
        {"context": "A comet has an", "choices": ["orbit", "onion"], "gold": 0},
    ]
    own = write_jsonl(tmp_path_factory.mktemp("tasks") / "own.jsonl", items)
    return RunConfig().with_values(
        {
            "corpus.inputs": [str(corpus_file)],
            "corpus.source_column": "source",
            "corpus.part_documents": 100,
            "clustering.n_clusters": 8,
            "domains.n_domains": 4,
            "domains.thresholds": {"advertisement": 2.5},
            "tokens.vocab_size": 400,
            "tokens.heldout_tokens": 600,
            "target.tasks": {"own": 1.0},
            "target.files": {"own": str(own)},
            "target.heldout": {"all": 1.0},
            "target.items": 2,
            "proxy.layers": 1,
            "proxy.hidden": 16,
            "proxy.ffn": 32,
            "proxy.heads": 2,
            "proxy.kv_heads": 1,
            "proxy.sequence_length": 32,
            "proxy.batch_size": 4,
            "proxy.trunk_tokens": 4000,
            "proxy.tokens": 2000,
            "search.iterations": [6, 4],
            "search.candidates": 500,
            "search.reference_runs": 3,
            "search.confirm": 2,
            "machine.threads": 1,
        }
    )


@pytest.fixture(scope="session")
def finished_run(tiny_config, tmp_path_factory):
    """A run from documents to an exported mixture; not to be changed."""
    run = Run.create(tmp_path_factory.mktemp("runs") / "tiny", tiny_config)
    run.search()
    run.export()
    return run


@pytest.fixture
def own_run(finished_run, tmp_path):
    """A copy of the finished run, to be changed at will."""
    shutil.copytree(finished_run.workspace.folder, tmp_path / "runs" / "tiny")
    return Run(tmp_path / "runs" / "tiny")


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """The app's runs folder; empty, where no other fixture puts a run into it."""
    folder = tmp_path / "runs"
    folder.mkdir(exist_ok=True)
    monkeypatch.setenv("CLIMB_RUNS", str(folder))
    return folder


@pytest.fixture
def mine(own_run, runs):  # noqa: ARG001
    """The folder of a copy of the finished run, in the app's runs folder."""
    return own_run.workspace.folder
