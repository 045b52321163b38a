"""The search page with 1,000 trials over 24 domains: processor seconds of the server per rerun.

    python benchmarks/searchpage.py

The log is synthetic (tests/searches.py). First visits and the fit of the predictor are told apart from reruns with
everything kept, from a changed filter and from another trial. Writes benchmarks/results/searchpage.json.
"""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from record import save

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

TRIALS, DOMAINS = 1_000, 24


def main() -> None:
    from streamlit.testing.v1 import AppTest

    from tests.searches import large

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
        app.session_state["own"] = True
        rows["my own mixture opened"] = timed(app.run)
        rows["a slider moved"] = timed(app.slider[0].set_value(app.slider[0].value + 5).run)
        assert not app.exception
    for what, seconds in rows.items():
        print(f"{what:24} {seconds * 1000:8.0f} ms")
    save("searchpage", {"trials": TRIALS, "domains": DOMAINS, "processor_seconds": rows})


def timed(run: Callable[[], Any]) -> float:
    began = time.process_time()
    run()
    return round(time.process_time() - began, 4)


if __name__ == "__main__":
    main()
