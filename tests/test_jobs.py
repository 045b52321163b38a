"""Jobs as they are: real processes that work, fail, are stopped, are killed, and are started twice at once."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from climb_engine import jobs
from climb_engine.config import RunConfig
from climb_engine.jobs import Job, find, start
from climb_engine.pipeline import Run
from climb_engine.types import ClimbError, Event
from climb_engine.workspace import Workspace

CORPUS = ("run", "--until", "corpus")
PATIENCE = 60  # seconds


def make_run(folder: Path, documents: int = 60, part: int = 20, **knobs: object) -> Run:
    folder.mkdir(parents=True, exist_ok=True)
    source = folder / "documents.jsonl"
    source.write_text("".join(json.dumps({"text": f"The tide at pier {i} is high."}) + "\n" for i in range(documents)))
    values = {"corpus.inputs": [str(source)], "corpus.part_documents": part, **knobs}
    return Run.create(folder / "runs" / "piers", RunConfig().with_values(values))


def long_run(folder: Path) -> Run:
    """A corpus of so many parts that its stage can be met at work."""
    return make_run(folder, documents=750, part=3)


def until(condition, what: str):
    deadline = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < deadline, f"waited in vain: {what}"
        time.sleep(0.02)
    return found


def ended(job: Job) -> Job:
    return until(lambda: (now := Job(job.folder)) and not now.alive and now, "the end of the job")


def at_work(job: Job) -> Job:
    return until(lambda: (now := Job(job.folder)).progress and now, "a sign of progress")


def worker_of(job: Job) -> int:
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if job.id.encode() in (entry / "cmdline").read_bytes():
                return int(entry.name)
        except OSError:
            continue
    raise AssertionError("the worker has no process")


@pytest.fixture
def going(tmp_path):
    """A job met at work; whatever becomes of it, nothing of it is left behind."""
    run = long_run(tmp_path)
    job = at_work(start(run.workspace, CORPUS))
    yield job
    if Job(job.folder).alive:
        os.killpg(worker_of(job), signal.SIGKILL)
        ended(job)


def test_a_job_runs_to_its_end_and_tells_what_it_did(tmp_path):
    run = make_run(tmp_path)
    job = ended(start(run.workspace, CORPUS))
    assert job.state == "done"
    assert job.error is None
    assert job.command == "climb run piers --until corpus"
    assert job.progress[0].stage == "corpus"
    assert "corpus is done" in job.log_tail()
    assert run.artifact("corpus").facts["documents"] == 60
    assert jobs.jobs(run.workspace) == (job,)


def test_a_failed_job_says_what_to_do_next(tmp_path):
    run = make_run(tmp_path, **{"corpus.text_column": "body"})
    job = ended(start(run.workspace, CORPUS))
    assert job.state == "failed"
    assert "body" in job.error
    assert "text" in job.error  # the columns that there are
    assert "climb: " in job.log_tail()


@pytest.fixture
def small_disk(tmp_path):
    """A file system with room for very little."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(folder)]
    if shutil.which("mount") is None or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


def test_a_full_disk_ends_the_job_with_what_to_do_and_loses_nothing(tmp_path, small_disk):
    run = make_run(tmp_path, documents=3000, part=100)
    config = run.config.with_values({"corpus.deduplicate": False})
    small = Run.create(small_disk / "piers", config)
    filler = small_disk / "filler"
    filler.write_bytes(bytes(90_000))
    job = ended(start(small.workspace, CORPUS))
    assert job.state == "failed"
    assert "the disk is full; what was finished is kept" in job.error
    finished = {path: path.stat().st_mtime_ns for path in small_disk.glob("piers/artifacts/.partial-*/part-*.parquet")}
    assert 0 < len(finished) < 30
    filler.unlink()
    (small_disk / "piers/config.toml").write_text(config.to_toml())
    subprocess.run(["mount", "-o", "remount,size=8m", str(small_disk)], check=True)
    assert ended(job.resume()).state == "done"
    parts = next(small_disk.glob("piers/artifacts/corpus-*"))
    assert all((parts / path.name).stat().st_mtime_ns == moment for path, moment in finished.items())


def test_a_job_is_seen_at_work(going):
    assert going.state == "running"
    assert going.progress[0].done > 0
    assert going.progress[0].unit == "documents"
    assert time.time() - going.updated < PATIENCE


@contextlib.contextmanager
def busy(run: Run) -> Iterator[Job]:
    """A job of this run whose worker is this process: it works for as long as the test wants."""
    folder = run.workspace.folder / "jobs" / "20260101-000000-000000"
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(json.dumps({"arguments": ["search"], "started": time.time()}))
    with jobs.working(run.workspace, folder.name):
        yield Job(folder)


def beside(run: Run, **knobs: object) -> Run:
    """Another run in the same folder."""
    return Run.create(run.workspace.folder.with_name("quays"), run.config.with_values(knobs))


def test_a_job_of_another_run_waits_its_turn_and_says_for_whom(tmp_path):
    run = make_run(tmp_path)
    with busy(run) as first:
        second = start(beside(run).workspace, CORPUS)
        waiting = until(lambda: (now := Job(second.folder)).state == "queued" and now, "the queue")
        assert waiting.ahead == (first.command,)
        assert waiting.alive
        assert not waiting.progress
    assert ended(second).state == "done"


def test_a_job_can_be_stopped_while_it_waits(tmp_path):
    run = make_run(tmp_path)
    with busy(run):
        second = start(beside(run).workspace, CORPUS)
        until(lambda: Job(second.folder).state == "queued", "the queue")
        second.stop()
        assert ended(second).state == "stopped"


def test_as_many_jobs_work_at_once_as_the_run_says(tmp_path):
    run = make_run(tmp_path)
    with busy(run):
        second = start(beside(run, **{"machine.jobs_at_once": 2}).workspace, CORPUS)
        assert ended(second).state == "done"


def test_a_stopped_job_keeps_what_it_had_and_resumes(going):
    going.stop()
    stopped = ended(going)
    assert stopped.state == "stopped"
    parts = len(list(going.folder.parents[1].glob("artifacts/.partial-*/part-*.parquet")))
    assert parts > 0
    resumed = ended(stopped.resume())
    assert resumed.state == "done"
    assert resumed.id > stopped.id
    assert resumed.arguments == stopped.arguments


def test_a_killed_worker_is_interrupted_at_once_and_resumes_to_the_same_end(going, tmp_path):
    os.kill(worker_of(going), signal.SIGKILL)
    assert ended(going).state == "interrupted"
    assert ended(Job(going.folder).resume()).state == "done"
    run = Run(going.folder.parents[1])
    undisturbed = Run.create(tmp_path / "other" / "piers", run.config)
    undisturbed.run("corpus")
    assert run.artifact("corpus").facts == undisturbed.artifact("corpus").facts


def test_a_second_start_is_refused_while_the_first_lives(going):
    workspace = Workspace(going.folder.parents[1])
    with pytest.raises(ClimbError, match="already"):
        start(workspace, CORPUS)
    assert len(jobs.jobs(workspace)) == 1


def test_of_two_tabs_that_start_at_once_one_is_refused(tmp_path):
    run = long_run(tmp_path)
    started, refused = [], []

    def press() -> None:
        try:
            started.append(start(run.workspace, CORPUS))
        except ClimbError as error:
            refused.append(str(error))

    tabs = [threading.Thread(target=press) for _ in range(2)]
    for tab in tabs:
        tab.start()
    for tab in tabs:
        tab.join()
    assert (len(started), len(refused)) == (1, 1)
    started[0].stop()
    assert ended(started[0]).state == "stopped"


def test_the_death_of_the_starter_does_not_end_the_job(tmp_path):
    run = long_run(tmp_path)
    code = (
        "import sys, time; from pathlib import Path; from climb_engine.jobs import start;"
        "from climb_engine.workspace import Workspace;"
        f"print(start(Workspace(Path(sys.argv[1])), {CORPUS!r}).id, flush=True); time.sleep(600)"
    )
    command = [sys.executable, "-c", code, str(run.workspace.folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as starter:
        job = find(run.workspace, starter.stdout.readline().strip())
        os.killpg(starter.pid, signal.SIGINT)
        os.killpg(starter.pid, signal.SIGKILL)
    assert ended(job).state == "done"


DEAF = """
import signal, sys, time
from pathlib import Path
from climb_engine import jobs
from climb_engine.workspace import Workspace
jobs.GRACE = 0.3
signal.signal(signal.SIGTERM, signal.SIG_IGN)
with jobs.working(Workspace(Path(sys.argv[1])), sys.argv[2]):
    time.sleep(600)
"""


def test_a_worker_that_gives_no_sign_is_stopped_all_the_same(tmp_path):
    run = make_run(tmp_path)
    folder = run.workspace.folder / "jobs" / "deaf"
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(json.dumps({"arguments": list(CORPUS), "started": time.time()}))
    command = [sys.executable, "-c", DEAF, str(run.workspace.folder), "deaf"]
    with subprocess.Popen(command, start_new_session=True) as worker:
        until(lambda: Job(folder).state == "running", "the worker")
        Job(folder).stop()
        assert worker.wait(PATIENCE) == -signal.SIGKILL
    assert Job(folder).state == "stopped"


def recorded(folder: Path) -> list[dict]:
    return [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]


def test_a_flood_of_progress_is_thinned_and_its_last_state_kept(tmp_path):
    recorder = jobs._Recorder(tmp_path)
    for done in range(1, 2001):
        recorder.report(Event("quality", done, 2000, "documents"))
    recorder.report(Event("domains", 1, 1, "stage", {"seconds": 0.1}))
    recorder.say("done")
    events = recorded(tmp_path)
    assert len(events) < 20
    assert [(e["stage"], e["done"]) for e in events[-3:-1]] == [("quality", 2000), ("domains", 1)]
    assert events[-1]["state"] == "done"


def job_with(folder: Path, events: list[dict], started: float = 0.0) -> Job:
    folder.mkdir(parents=True)
    (folder / "spec.json").write_text(json.dumps({"arguments": ["search"], "started": started}))
    (folder / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in events))
    return Job(folder)


def step(at: float, done: float, stage: str = "proxies") -> dict:
    return {"time": at, "stage": stage, "done": done, "total": 100, "unit": "steps", "facts": {}}


def test_the_time_left_is_told_from_the_latest_pass_only(tmp_path):
    events = [
        step(0, 10),
        step(90, 100),
        step(100, 0),
        step(104, 20),
        step(108, 40),
    ]  # 5 per second since it began anew
    progress = job_with(tmp_path / "piers" / "jobs" / "a", events).progress[0]
    assert (progress.done, progress.total) == (40, 100)
    assert progress.eta == pytest.approx(60 / 5)


def test_a_torn_last_event_does_not_count(tmp_path):
    job = job_with(tmp_path / "piers" / "jobs" / "a", [step(0, 1), step(1, 2)])
    with (job.folder / "events.jsonl").open("a") as file:
        file.write('{"time": 2, "sta')
    assert Job(job.folder).progress[0].done == 2
    assert Job(job.folder).state == "interrupted"


def test_only_the_end_of_a_long_record_is_read(tmp_path):
    job = job_with(tmp_path / "piers" / "jobs" / "a", [step(i, i / 1000) for i in range(50_000)])
    assert job.progress[0].done == pytest.approx(49.999)
    assert len(job._events) < 2000


def test_jobs_come_newest_first(tmp_path):
    for name in ("20260101-000000-000000", "20260102-000000-000000"):
        job_with(tmp_path / "piers" / "jobs" / name, [])
    assert [job.id[:8] for job in jobs.jobs(Workspace(tmp_path / "piers"))] == ["20260102", "20260101"]


@pytest.mark.parametrize("name", ["../../other", "", ".starting", "/etc"])
def test_a_job_id_cannot_leave_the_runs_folder(tmp_path, name):
    with pytest.raises(ClimbError):
        find(Workspace(tmp_path / "piers"), name)


def test_a_job_whose_folder_was_removed_cannot_be_stopped(tmp_path):
    job = job_with(tmp_path / "piers" / "jobs" / "a", [])
    shutil.rmtree(job.folder)
    with pytest.raises(ClimbError, match="removed"):
        job.stop()
