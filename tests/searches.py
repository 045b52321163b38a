"""A large search whose trials are made up: what the search page is measured on."""

import json
from pathlib import Path

import numpy as np
import pyarrow as pa

from climb_engine.config import RunConfig
from climb_engine.pipeline import Run


def large(folder: Path, trials: int, domains: int, predictor: str) -> Path:
    """A search of many trials over many domains, without the stages before it."""
    inputs = folder.parent.parent / "none.jsonl"
    inputs.write_text('{"text": "nothing"}\n')
    rng = np.random.default_rng(0)
    size = {"search.iterations": [trials // 4] * 4, "search.predictor": predictor, "search.confirm": 0}
    config = RunConfig().with_values({"corpus.inputs": [str(inputs)], "target.tasks": {"a": 1, "b": 1}, **size})
    run = Run.create(folder, config)
    names = [f"domain-{i}" for i in range(domains)]
    facts = {
        "domains": {"names": names, "ever": names, "automatic_names": names},
        "tokens": {"train": rng.integers(10**6, 10**7, domains).tolist(), "vocab_size": 1000, "heldout": [1]},
    }
    for stage, digest in ((one.stage, one.digest) for one in run.plan() if one.stage in facts):
        with run.workspace.writing(stage, digest) as out:
            if stage == "domains":
                counts = [1] * domains
                rows = {"domain": range(domains), "name": names, "clusters": counts, "documents": counts}
                out.put_table("domains", pa.table({name: list(values) for name, values in rows.items()}))
            manifest = {"digest": digest, "facts": facts[stage], "seconds": 0.0, "version": 1, "parts": 0}
            out.finish(manifest | {"knobs": {}, "inputs": {}})
    _large_log(Run(folder), trials, rng)
    return folder


def _large_log(run: Run, trials: int, rng) -> None:
    space = run.space()
    truth = rng.normal(size=(len(space.domains), 2))
    lines = [{"event": "started", "domains": list(space.domains)}]
    for step in range(4):
        mine = range(step * trials // 4, (step + 1) * trials // 4)
        weights = space.sample(len(mine), rng)
        entries = [
            {"id": i, "iteration": step + 1, "origin": "sampled", "seed": 0, "weights": row.tolist()}
            for i, row in zip(mine, weights, strict=True)
        ]
        lines.append({"event": "asked", "iteration": step + 1, "trials": entries})
        measured = np.sqrt(weights) @ truth + rng.normal(0, 0.02, (len(mine), 2))
        for i, row in zip(mine, measured.tolist(), strict=True):
            curve = [[at, 5.0 - at / 50] for at in range(50)]
            told = {"metrics": {"a/bpb": row[0], "b/bpb": row[1]}, "tokens": 10**6, "seconds": 1.0, "flops": 1e12}
            lines.append({"event": "told", "trial": i, **told, "curve": curve})
    path = run.workspace.log(run.search_digest).path
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
