"""The search page with 1,000 trials over 24 domains: processor seconds of the server per rerun, and of fitting.

    python benchmarks/searchpage.py

The log is synthetic (tests/searches.py). First visits and the fit of the predictor (a line) are told apart from reruns
with everything kept, from a changed filter and from another trial. Gaussian processes are fitted and cross-validated by
themselves, on three metrics as the demo's target has them. Writes benchmarks/results/searchpage.json.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from record import save

from climb_engine.search.predictor import cross_validate, make_predictor

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

TRIALS, DOMAINS = 1_000, 24
FITTED = (64, 128, 300)  # trials that Gaussian processes are fitted to


def main() -> None:
    from streamlit.testing.v1 import AppTest

    from app.search import fitting
    from tests.searches import large

    fitting.AT_ONCE = 0.0  # to fit when asked, apart from the first visit

    with tempfile.TemporaryDirectory() as scratch:
        runs = Path(scratch) / "runs"
        runs.mkdir()
        os.environ["CLIMB_RUNS"] = str(runs)
        large(runs / "large", TRIALS, DOMAINS, "ridge")
        app = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=300).run()
        app.switch_page(str(ROOT / "pages" / "search.py"))
        rows = {
            "first visit, t-SNE": timed(app.run),
            "fit and cross-validate": timed(app.button(key="fit").click().run),
        }
        rows["rerun"] = statistics.median(timed(app.run) for _ in range(9))
        rows["another trial"] = timed(app.selectbox(key="trial").select("500").run)
        rows["another filter"] = timed(app.selectbox(key="top").select("50").run)
        app.session_state["beside"] = "My own mixture"
        rows["my own mixture opened"] = timed(app.run)
        rows["a slider moved"] = timed(app.slider[0].set_value(app.slider[0].value + 5).run)
        assert not app.exception
    rows |= {f"gp, {n} trials": timed(partial(fit_processes, n)) for n in FITTED}
    for what, seconds in rows.items():
        print(f"{what:24} {seconds * 1000:8.0f} ms")
    save("searchpage", {"trials": TRIALS, "domains": DOMAINS, "processor_seconds": rows})


def fit_processes(trials: int) -> None:
    """Fit to three metrics, and cross-validate."""
    rng = np.random.default_rng(0)
    weights = rng.dirichlet(np.full(DOMAINS, 0.5), trials)
    metrics = np.sqrt(weights) @ rng.normal(size=(DOMAINS, 3)) + rng.normal(0, 0.02, (trials, 3))
    make_predictor("gp", coefficients=np.ones(3)).fit(weights, metrics)
    cross_validate("gp", weights, metrics, coefficients=np.ones(3))


def timed(run: Callable[[], Any]) -> float:
    began = time.process_time()
    run()
    return round(time.process_time() - began, 4)


if __name__ == "__main__":
    main()
