"""The Clusters page with 10,000 to 1,000,000 documents: time to interactive, payload, server time, lasso to answer.

    python benchmarks/ui.py [--documents 10000 1000000] [--chromium PATH]

The runs are synthetic: what the page reads is written as it is on disk, 1,000 clusters of short texts, and nothing is
embedded. The server's times are processor seconds of whole script runs without a browser, in a process of their own;
the browser's are by the clock, of headless Chromium that visits the sizes in turn, so that other work on the machine
slows all of them. Writes benchmarks/results/ui.json.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from record import save

from climb_engine.config import RunConfig
from climb_engine.pipeline import Run
from climb_engine.stages.graph import STAGES
from climb_engine.stages.work import Work
from climb_engine.types import METRICS, silent

ROOT = Path(__file__).resolve().parents[1]
CLUSTERS, GROUPS, PART = 1_000, 20, 100_000
PATIENCE = 180  # seconds
QUIET = 2_000  # milliseconds without a long task: the page is interactive
MODES = ("sample", "every")
TOPICS = ("ship", "court", "flour", "planet", "rope", "statute", "butter", "orbit", "sail", "judge", "oven", "comet")


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--documents", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    options.add_argument("--chromium", default="/usr/bin/chromium")
    options.add_argument("--server", nargs=3, help=argparse.SUPPRESS)  # runs, mode, run: its times as JSON
    given = options.parse_args()
    if given.server:
        print(json.dumps(server_times(*given.server)))
        return
    with tempfile.TemporaryDirectory() as scratch:
        runs = Path(scratch)
        for documents in given.documents:
            synthetic(runs / f"d{documents}", documents)
        rows = [row for mode in MODES for row in measured(runs, mode, given.documents, given.chromium)]
    save("ui", {"rows": rows})
    print(table(rows))


def measured(runs: Path, mode: str, sizes: list[int], chromium: str) -> list[dict[str, Any]]:
    """One row a size."""
    with served(runs) as address:
        browser = browser_times(chromium, address, mode, sizes)
    rows = []
    for documents in sizes:
        command = [sys.executable, __file__, "--server", str(runs), mode, f"d{documents}"]
        server = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        rows.append({"documents": documents, "mode": mode, "browser": browser[documents], "server": server})
        print(json.dumps(rows[-1]), flush=True)
    return rows


# ---- a run


def synthetic(folder: Path, documents: int) -> None:
    """A run with a map: documents of 20 groups in 1,000 clusters, each cluster a spot of its own."""
    inputs = folder.parent / f"{folder.name}.jsonl"
    inputs.write_text('{"text": "never read"}\n')
    knobs = {"corpus.inputs": [str(inputs)], "clustering.n_clusters": CLUSTERS, "domains.n_domains": GROUPS}
    run, made = Run.create(folder, RunConfig().with_values(knobs)), Synthetic.drawn(documents)
    for stage in STAGES:
        if body := getattr(made, stage.name, None):
            run._make(dataclasses.replace(stage, body=body), silent)
    run.run("domains")


@dataclasses.dataclass(frozen=True)
class Synthetic:
    """A body for each stage before the domains, and for the map."""

    draw: np.random.Generator
    owner: np.ndarray  # (k,) the group of each cluster
    parts: list[np.ndarray]  # the clusters of each part's documents

    @classmethod
    def drawn(cls, documents: int) -> Synthetic:
        """Draw which document is in which cluster."""
        draw = np.random.default_rng(0)
        clusters = draw.choice(CLUSTERS, documents, p=draw.dirichlet(np.full(CLUSTERS, 2.0))).astype(np.int32)
        return cls(draw, draw.integers(GROUPS, size=CLUSTERS), np.split(clusters, range(PART, documents, PART)))

    def corpus(self, work: Work) -> dict[str, Any]:
        """Short texts."""
        for part, mine in enumerate(self.parts):
            first = PART * part
            texts = [f"Document {first + i} of cluster {c} tells what is known of it. " * 2 for i, c in enumerate(mine)]
            sources = [f"source {group % 7}" for group in self.owner[mine]]
            ids = np.arange(first, first + len(mine))
            work.out.put_table(part, pa.table({"id": ids, "text": texts, "source": sources}))
        sizes = [len(mine) for mine in self.parts]
        told = {"rejected": {}, "examples": {}}
        return {"documents": sum(sizes), "characters": 110 * sum(sizes), "part_documents": sizes, **told}

    def embedding(self, work: Work) -> dict[str, Any]:  # noqa: ARG002
        """Nothing: only a search for a meaning would read it."""
        return {"dimensions": 64}

    def clustering(self, work: Work) -> dict[str, Any]:
        """Clusters with centroids and keywords."""
        for part, mine in enumerate(self.parts):
            distances = self.draw.random(len(mine), np.float32)
            work.out.put_table(part, pa.table({"cluster": mine, "distance": distances}))
        words = [[TOPICS[group % len(TOPICS)], f"word{c}", f"term{c % 50}"] for c, group in enumerate(self.owner)]
        sizes = np.bincount(np.concatenate(self.parts), minlength=CLUSTERS)
        table = {"cluster": np.arange(CLUSTERS), "documents": sizes, "mean_distance": np.full(CLUSTERS, 0.5)}
        work.out.put_table("clusters", pa.table(table | {"keywords": words}))
        work.out.put_array("centroids", self._spots(64, 1, 0.3))
        return {"clusters": CLUSTERS}

    def quality(self, work: Work) -> dict[str, Any]:
        """Scores about a mean for each cluster."""
        means = 2 + 2 * self.draw.random((CLUSTERS, len(METRICS)))
        for part, mine in enumerate(self.parts):
            scores = np.clip(means[mine] + 0.5 * self.draw.standard_normal((len(mine), len(METRICS))), 0, 5)
            columns = dict(zip(METRICS, scores.T.astype(np.float32), strict=True))
            work.out.put_table(part, pa.table(columns))
        return {"metrics": list(METRICS)}

    def projection(self, work: Work) -> dict[str, Any]:
        """A map on which every cluster is a spot."""
        spots = self._spots(2, 10, 2)
        for part, mine in enumerate(self.parts):
            positions = spots[mine] + 0.4 * self.draw.standard_normal((len(mine), 2))
            work.out.put_array(part, positions.astype(np.float32))
        return {"method": "none", "fitted": 0, "placed": sum(map(len, self.parts))}

    def _spots(self, dimensions: int, apart: float, wide: float) -> np.ndarray:
        """Where each cluster is (k, d): near its group's middle."""
        middles = apart * self.draw.standard_normal((GROUPS, dimensions))
        return (middles[self.owner] + wide * self.draw.standard_normal((CLUSTERS, dimensions))).astype(np.float32)


# ---- the server


def server_times(runs: str, mode: str, run: str) -> dict[str, float]:
    """Processor seconds of whole script runs by what the user did; the first view reads the run from the disk."""
    from streamlit.testing.v1 import AppTest

    os.environ["CLIMB_RUNS"] = runs
    app = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=PATIENCE)
    app.query_params["run"] = run
    app.run()
    app.query_params["points"] = mode
    app.switch_page(str(ROOT / "pages" / "clusters.py"))

    def told(**selection: Any) -> None:
        key = "map" if mode == "sample" else "everypoint"
        app.session_state[key] = {"selection": {"points": [], "box": [], "lasso": [], **selection}}

    acts: dict[str, Callable[[], object]] = {
        "first view": lambda: None,
        "nothing changed": lambda: None,
        "a click": lambda: told(points=[{"customdata": 7}]),
        "a lasso": lambda: told(lasso=[circle(9, 200)]),
        "nothing changed, with a lasso": lambda: None,
        "another colour": lambda: app.selectbox(key="colour").select("quality"),
        "by source, read from the disk": lambda: app.selectbox(key="colour").select("source"),
        "by length, measured from the texts": lambda: app.selectbox(key="colour").select("length"),
        "a former colour": lambda: app.selectbox(key="colour").select("domain"),
        "a cluster, beside the lasso": lambda: app.segmented_control(key="side").set_value("cluster"),
        "quality of a cluster": lambda: app.segmented_control(key="look").set_value("quality"),
        "neighbours of a cluster": lambda: app.segmented_control(key="look").set_value("neighbours"),
        "the next cluster": lambda: app.button(key="next").click(),
    }
    found = {}
    for name, act in acts.items():
        act()
        started = time.process_time()
        app.run()
        found[name] = round(time.process_time() - started, 3)
        assert not app.exception, app.exception
        assert bool(app.get("plotly_chart")) == (mode == "sample")
    return found


def circle(radius: float, corners: int) -> dict[str, list[float]]:
    """A lasso around the middle of the map, in its coordinates."""
    turn = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    return {"x": (radius * np.cos(turn)).tolist(), "y": (radius * np.sin(turn)).tolist()}


# ---- the browser


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The app as ``climb ui`` starts it: its address."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [sys.executable, "-m", "climb_engine.cli", "--runs", str(folder), "ui", "--headless", "--port", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        address = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + PATIENCE
        while not _healthy(address):
            assert process.poll() is None and time.monotonic() < deadline, "the server does not start"
            time.sleep(0.1)
        yield address
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait()


def _healthy(address: str) -> bool:
    try:
        with urllib.request.urlopen(f"{address}/_stcore/health", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


_WATCH = """
window.longTasks = []
new PerformanceObserver(list => { for (const one of list.getEntries()) if (one.duration >= 100)
    window.longTasks.push([one.startTime, one.duration]) }).observe({ type: 'longtask', buffered: true })
"""
_CALM = f"""() => performance.now() - Math.max(window.readyAt, ...window.longTasks.map(([at, takes]) => at + takes))
    > {QUIET}"""
_READY = {"sample": ".js-plotly-plot .nsewdrag", "every": ".map[data-points]"}


def browser_times(chromium: str, address: str, mode: str, sizes: list[int]) -> dict[int, dict[str, float]]:
    """By size: seconds to interactive (median of visits after the first), bytes over the socket, lasso to answer."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        visits = [{n: _visit(browser, address, mode, n) for n in sizes} for _ in range(4)]
        browser.close()
    return {
        n: {"first_interactive_s": visits[0][n]["interactive_s"]}
        | {name: statistics.median(visit[n][name] for visit in visits[1:]) for name in visits[0][n]}
        for n in sizes
    }


def _visit(browser: Any, address: str, mode: str, documents: int) -> dict[str, float]:
    received: list[int] = []
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    page = context.new_page()
    page.set_default_timeout(PATIENCE * 1000)
    page.add_init_script(_WATCH)
    page.on("websocket", lambda socket: socket.on("framereceived", lambda frame: received.append(len(frame))))
    page.goto(f"{address}/clusters?run=d{documents}&points={mode}")
    page.locator(_READY[mode]).first.wait_for()
    page.evaluate("window.readyAt = performance.now()")
    page.wait_for_function(_CALM, polling=100)
    interactive, longest = page.evaluate(
        "[Math.max(readyAt, ...longTasks.map(one => one[0] + one[1])), Math.max(0, ...longTasks.map(one => one[1]))]"
    )
    payload = sum(received)
    answer = _lasso(page, mode, documents)
    heap = page.evaluate("performance.memory.usedJSHeapSize")
    lassoed = sum(received) - payload
    context.close()
    return {
        "interactive_s": round(interactive / 1000, 2),
        "longest_task_s": round(longest / 1000, 2),
        "payload_mb": round(payload / 1e6, 3),
        "heap_mb": round(heap / 1e6, 1),
        "lasso_s": round(answer, 2),
        "lasso_payload_mb": round(lassoed / 1e6, 3),
    }


def _lasso(page: Any, mode: str, documents: int) -> float:
    if mode == "sample":
        page.locator("[data-attr=dragmode][data-val=lasso]").first.click()
    else:
        page.get_by_role("button", name="Draw around").click()
    box = page.locator(_READY[mode]).first.bounding_box()
    left, top = box["x"] + 0.3 * box["width"], box["y"] + 0.3 * box["height"]
    wide, high = 0.4 * box["width"], 0.4 * box["height"]
    page.mouse.move(left, top)
    page.mouse.down()
    for x, y in ((wide, 0), (wide, high), (0, high), (2, 3)):
        page.mouse.move(left + x, top + y, steps=6)
    started = time.perf_counter()
    page.mouse.up()
    page.get_by_text(re.compile(rf"of {documents:,} documents$")).wait_for()
    return time.perf_counter() - started


# ---- what is told


def table(rows: list[dict[str, Any]]) -> str:
    """A Markdown table: a line per mode and measure, a column per size, and the largest over the smallest."""
    sizes = sorted({row["documents"] for row in rows})
    lines = ["| points | measure | " + " | ".join(f"{n:,}" for n in sizes) + " | ratio |"]
    lines += ["|---|---|" + "---|" * (len(sizes) + 1)]
    for mode in MODES:
        mine = {row["documents"]: row for row in rows if row["mode"] == mode}
        for part in ("browser", "server"):
            for name in mine[sizes[0]][part]:
                values = [mine[n][part][name] for n in sizes]
                measure = name if part == "browser" else f"server, {name}, CPU s"
                cells = " | ".join(f"{value:g}" for value in values)
                ratio = f"{values[-1] / values[0]:.2f}" if values[0] else ""
                lines.append(f"| {mode} | {measure} | {cells} | {ratio} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
