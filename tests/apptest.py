"""How tests use the app without a browser: open a page, read it, press a button, wait for a job, hold one."""

import contextlib
import json
import re
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from streamlit.testing.v1 import AppTest

from climb_engine.jobs import Job, jobs, working
from climb_engine.workspace import Workspace

ROOT = Path(__file__).parents[1]
PATIENCE = 90  # seconds
_KINDS = ("title", "subheader", "markdown", "caption", "error", "warning", "info", "success", "code")


def shown(page: str = "overview", **address: str) -> AppTest:
    """The app at a page, with these parameters in its address."""
    app = AppTest.from_file(str(ROOT / "app" / "main.py"), default_timeout=PATIENCE)
    for name, value in address.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception
    return app if page == "overview" else turned(app, page)


def turned(app: AppTest, page: str) -> AppTest:
    """Another page of the same session."""
    app.switch_page(str(ROOT / "pages" / f"{page}.py")).run()
    assert not app.exception
    return app


def pressed(app: AppTest, key: str) -> AppTest:
    """A button, by its key."""
    app.button(key=key).click().run()
    assert not app.exception
    return app


def words(app: AppTest) -> str:
    """Everything that is written on a page, without the backslashes that keep it plain."""
    found = [element for kind in _KINDS for element in getattr(app, kind)]
    texts = [text for element in found for text in (getattr(element.proto, "title", ""), element.value)]
    return re.sub(r"\\(?=[\W_])", "", "\n".join(texts))


def ended(run: Path) -> Job:
    """The run's last job, once it has ended."""
    deadline = time.monotonic() + PATIENCE
    while (job := jobs(Workspace(run))[0]).alive:
        assert time.monotonic() < deadline, job.log_tail()
        time.sleep(0.05)
    return job


@contextlib.contextmanager
def living_job(run: Path, arguments: list[str]) -> Iterator[None]:
    """A job whose worker is this process: it holds the lock."""
    folder = run / "jobs" / "20260101-000000-000000"
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(json.dumps({"arguments": arguments, "started": time.time()}))
    with working(Workspace(run), folder.name):
        yield


def cut_log(run: Path, keep) -> None:
    """Leave the search at an earlier point: the events up to the first that ``keep`` does not want."""
    path = next(run.glob("search/*.jsonl"))
    lines = path.read_text().splitlines(keepends=True)
    end = next((i for i, line in enumerate(lines) if not keep(json.loads(line))), len(lines))
    path.write_text("".join(lines[:end]))


def go_back(page, path):
    """Press the browser's Back until the page at ``path`` is shown.

    Turning to another page in a script, Streamlit may push an address in between, without the run: one press more.
    """
    for _ in range(5):
        page.go_back()
        settled(page)
        if urlsplit(page.url).path == path:
            return
    raise AssertionError(f"Back ends at {page.url}, not at {path}")


def settled(page):
    """Wait until the script has run, so that nothing of the former page is left."""
    page.wait_for_timeout(300)
    page.locator("[data-testid=stApp][data-test-script-state=notRunning]").wait_for()
