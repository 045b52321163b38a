"""Training speed of the proxies: stacked, one by one, and by a plain transformers loop.

    python benchmarks/proxies.py            the CPU, and the GPU when there is one
    python benchmarks/proxies.py --cpu      the CPU only

Variants of one size take turns and medians are reported, so that other work on the machine weighs on all alike.
CPU rows count tokens per CPU-second of one thread. Writes benchmarks/results/proxies.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from record import save

from climb_engine.config import PROXY_SIZES
from climb_engine.search.checkpoint import save_hf
from climb_engine.search.llama import LlamaShape, ProxyStack
from climb_engine.search.proxy import TrainSettings, compute_dtype, train
from climb_engine.search.sampling import TokenBank, draw_sequences

VOCABULARY, LENGTH, BATCH = 4096, 128, 16
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "4090": 165e12}  # bf16, dense, as sold


def data(p: int, steps: int, batch: int, length: int) -> tuple[TokenBank, object]:
    rng = np.random.default_rng(0)
    bank = TokenBank.build([rng.integers(0, VOCABULARY, 100_000) for _ in range(8)], length)
    return bank, draw_sequences(rng.dirichlet(np.ones(8), p), bank.available, steps, batch, 0)


def stacked(size: str, p: int, steps: int, dtype: str, device: torch.device, batch: int, length: int) -> dict:
    """Train p proxies for some steps; tokens, wall and CPU seconds, and on a GPU the peak memory."""
    stack = ProxyStack.init(LlamaShape(VOCABULARY, **PROXY_SIZES[size]), p, 0).to(device)
    settings = TrainSettings(1e-3, "decay", dtype=dtype)
    bank, plan = data(p, steps, batch, length)
    bank = bank.to(device)
    train(stack, bank, data(p, 2, batch, length)[1], settings)
    return timed(lambda: train(stack, bank, plan, settings), p * steps * batch * length, device)


def one_by_one(size: str, p: int, steps: int, dtype: str, device: torch.device, batch: int, length: int) -> dict:
    parts = [stacked(size, 1, steps, dtype, device, batch, length) for _ in range(p)]
    return {name: sum(part[name] for part in parts) for name in parts[0]}


def plain_loop(size: str, steps: int, dtype: str, device: torch.device, batch: int, length: int, fuse: bool) -> dict:
    """One model by transformers: the peer. bf16 is autocast over float32 weights, as in ours."""
    from transformers import LlamaForCausalLM
    from transformers.utils import logging

    logging.disable_progress_bar()
    with tempfile.TemporaryDirectory() as folder:
        save_hf(ProxyStack.init(LlamaShape(VOCABULARY, **PROXY_SIZES[size]), 1, 0), 0, Path(folder))
        model = LlamaForCausalLM.from_pretrained(folder).to(device).train()
    model = torch.compile(model) if fuse else model
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
    bank, plan = data(1, steps, batch, length)
    bank, starts = bank.to(device), torch.from_numpy(bank.starts(plan)).to(device)
    compute = compute_dtype(dtype, device)

    def run(count: int) -> None:
        for step in range(count):
            tokens = bank.gather(starts[0, step])
            with torch.autocast(device.type, compute, enabled=compute is not torch.float32):
                logits = model(tokens[:, :-1]).logits
            loss = torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), tokens[:, 1:].flatten())
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()

    run(2)
    return timed(lambda: run(steps), steps * batch * length, device)


def timed(work: object, tokens: int, device: torch.device) -> dict:
    wait = torch.cuda.synchronize if device.type == "cuda" else lambda: None
    wait()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    cpu, wall = time.process_time(), time.perf_counter()
    work()
    wait()
    found = {"tokens": tokens, "cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    return found | ({"memory": torch.cuda.max_memory_allocated()} if device.type == "cuda" else {})


def cpu_rows(rounds: int) -> list[dict]:
    torch.set_num_threads(1)
    cpu, rows = torch.device("cpu"), []
    for size, steps in (("tiny", 16), ("1m", 4)):
        variants = {}
        for dtype in ("float32", "bfloat16"):
            common = (dtype, cpu, BATCH, LENGTH)
            variants["transformers, one by one", 1, dtype] = lambda c=common: plain_loop(size, steps, *c, fuse=False)  # noqa: B023
            variants["one by one", 4, dtype] = lambda c=common: one_by_one(size, 4, steps // 4, *c)  # noqa: B023
            for p in (4, 16) if size == "tiny" else (4,):
                variants["stacked", p, dtype] = lambda c=common, p=p: stacked(size, p, max(1, steps // p), *c)  # noqa: B023
        found = {key: [] for key in variants}
        for _ in range(rounds):
            for key, variant in variants.items():
                found[key].append(variant())
        for (how, p, dtype), runs in found.items():
            speed = statistics.median(run["tokens"] / run["cpu"] for run in runs)
            rows.append({"device": "cpu", "size": size, "how": how, "p": p, "dtype": dtype, "tokens_per_cpu_s": speed})
    return rows


def worker(threads: int) -> None:
    torch.set_num_threads(threads)
    print(json.dumps(stacked("tiny", 4, 12, "auto", torch.device("cpu"), BATCH, LENGTH)))


def process_rows(rounds: int) -> list[dict]:
    """One process of two threads against two of one: the same work for each core, while others use the cores too."""
    ways = {
        "1 process, 2 threads": (1, 2, "active"),
        "1 process, 2, passive": (1, 2, "passive"),  # a thread that waits sleeps instead of spinning
        "2 processes, 1 thread": (2, 1, "active"),
    }
    found: dict[str, list[dict]] = {how: [] for how in ways}
    for _ in range(rounds):
        for how, (processes, threads, wait) in ways.items():
            runs, environment = found[how], os.environ | {"OMP_WAIT_POLICY": wait}
            command = [sys.executable, __file__, "--worker", str(threads)]
            children = [
                subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) for _ in range(processes)
            ]
            parts = [json.loads(child.communicate()[0].splitlines()[-1]) for child in children]
            total = {"tokens": sum(part["tokens"] for part in parts), "cpu": sum(part["cpu"] for part in parts)}
            runs.append(total | {"wall": max(part["wall"] for part in parts)})
    return [
        {
            "device": "cpu", "size": "tiny", "how": how, "p": 4, "dtype": "auto",
            "tokens_per_cpu_s": statistics.median(run["tokens"] / run["cpu"] for run in runs),
            "tokens_per_s": statistics.median(run["tokens"] / run["wall"] for run in runs),
        }
        for how, runs in found.items()
    ]  # fmt: skip


def gpu_rows() -> list[dict]:
    device, rows = torch.device("cuda"), []
    name = torch.cuda.get_device_name()
    peak = next((flops for key, flops in PEAK_FLOPS.items() if key in name), None)
    for size in ("tiny", "1m", "10m", "30m"):
        work = LlamaShape(VOCABULARY, **PROXY_SIZES[size]).flops_per_token(512)
        variants = [("transformers compiled", 1, lambda s=size: plain_loop(s, 40, "auto", device, 16, 512, fuse=True))]
        for p in (1, 8, 32, 64):
            variants.append(("stacked", p, lambda s=size, p=p: stacked(s, p, 40, "auto", device, 16, 512)))
        for how, p, variant in variants:
            row = {"device": name, "size": size, "how": how, "p": p, "dtype": "bfloat16"}
            try:
                run = variant()
                speed = run["tokens"] / run["wall"]
                row |= {"tokens_per_s": speed, "memory_gb": run["memory"] / 1e9}
                row |= {"utilisation": speed * work / peak} if peak else {}
            except torch.OutOfMemoryError:
                row["failed"] = "out of memory"
            torch.cuda.empty_cache()
            rows.append(row)
    return rows


def setting() -> dict:
    return {
        "torch": torch.__version__,
        "load": round(os.getloadavg()[0], 2),
        "setting": f"vocabulary {VOCABULARY}, CPU batch {BATCH} x {LENGTH}, GPU batch 16 x 512 per proxy",
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else "none: GPU rows are unmeasured",
    }


def show(rows: list[dict]) -> None:
    print(f"{'device':12.12} {'size':5} {'how':25} {'p':>3} {'dtype':9} {'tok/CPU-s':>10} {'tok/s':>11} {'MFU':>6}")
    for row in rows:
        numbers = [f"{row[k]:,.0f}" if k in row else "" for k in ("tokens_per_cpu_s", "tokens_per_s")]
        used = f"{row['utilisation']:.1%}" if "utilisation" in row else row.get("failed", "")
        print(
            f"{row['device']:12.12} {row['size']:5} {row['how']:25} {row['p']:3} {row['dtype']:9} "
            f"{numbers[0]:>10} {numbers[1]:>11} {used:>6}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", action="store_true", help="leave out the GPU")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--worker", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        return worker(options.worker)
    about = setting()
    rows = cpu_rows(options.rounds) + process_rows(min(2, options.rounds))
    if torch.cuda.is_available() and not options.cpu:
        rows += gpu_rows()
    print(save("proxies", about | {"rows": rows}))
    show(rows)
    return None


if __name__ == "__main__":
    main()
