"""The contract of every runner, and what only Ray can do: other processes, lost workers, cancelling."""

import os
import pickle
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from climb_engine.pipeline import Run
from climb_engine.runners import LocalRunner, RayRunner, runner_of
from climb_engine.types import ClimbError, Mixture, Result, Trial

needs_embedder = pytest.mark.network  # the run's static embedder comes out of a registry package


@pytest.fixture(scope="module")
def ray():
    """A cluster of this machine alone, with two CPUs however many there are."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_USAGE_STATS_ENABLED", "0")
        ray.init("local", num_cpus=2, include_dashboard=False, logging_level="error", log_to_driver=False)
        yield ray
        ray.shutdown()


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.ray)])
def runner(request):
    if request.param == "local":
        return LocalRunner()
    request.getfixturevalue("ray")
    return RayRunner()


def trials(n):
    return [Trial(i, 1, "sampled", Mixture(("a", "b"), np.array([i / n, 1 - i / n])), 0) for i in range(n)]


def score(trial):
    return Result({"x": float(trial.mixture.weights[0])}, 1, 0.1, 1.0)


def train(chunk):
    return ["too much of a" if trial.mixture.weights[0] > 0.7 else score(trial) for trial in chunk]


class Device:
    """Trains where there is room for a few proxies, and notes the size of every stack in a folder."""

    def __init__(self, folder, room):
        self.folder, self.room = folder, room

    def __call__(self, chunk):
        (self.folder / f"{chunk[0].id}-{len(chunk)}").touch()
        if len(chunk) > self.room:
            raise MemoryError("no room")
        return train(chunk)

    @property
    def stacks(self):
        return sorted(int(path.name.split("-")[1]) for path in self.folder.iterdir())


# The contract


def test_every_trial_comes_back_once_with_its_own_outcome(runner):
    told = list(runner.run(train, trials(9), stack=2))
    assert sorted(trial.id for trial, _ in told) == list(range(9))
    for trial, outcome in told:
        (expected,) = train([trial])
        assert outcome == expected
    assert sum(isinstance(outcome, str) for _, outcome in told) == 2


def test_no_stack_is_larger_than_asked_for(runner, tmp_path):
    device = Device(tmp_path, room=99)
    list(runner.run(device, trials(9), stack=4))
    assert sum(device.stacks) == 9
    assert max(device.stacks) == 4


def test_out_of_memory_halves_the_stack_and_goes_on(runner, tmp_path):
    device = Device(tmp_path, room=2)
    told = list(runner.run(device, trials(8), stack=8))
    assert len({trial.id for trial, _ in told}) == len(told) == 8
    assert all(outcome == train([trial])[0] for trial, outcome in told)
    assert max(device.stacks) > 2


def test_a_single_proxy_that_finds_no_room_has_failed_and_the_reason_is_said(runner, tmp_path):
    told = list(runner.run(Device(tmp_path, room=0), trials(3), stack=2))
    assert [outcome for _, outcome in told] == ["out of memory with a single proxy: no room"] * 3


def broken(chunk):
    raise ZeroDivisionError(f"in a stack of {len(chunk)}")


def test_a_bug_is_raised_as_what_it_is(runner):
    with pytest.raises(ZeroDivisionError, match="in a stack of 1"):
        list(runner.run(broken, trials(3), stack=1))


def unfit(_):
    raise ClimbError("target.files: own.jsonl is not on this machine")


def test_what_the_user_can_fix_is_raised_as_such(runner):
    with pytest.raises(ClimbError, match=r"own\.jsonl is not on this machine"):
        list(runner.run(unfit, trials(3), stack=2))


def test_nothing_to_train_is_no_fault(runner):
    assert list(runner.run(train, [], stack=4)) == []


class Part:
    """Makes a part: a file with its number in a folder."""

    def __init__(self, folder):
        self.folder = folder

    def __call__(self, part):
        (self.folder / str(part)).write_text(str(os.getpid()))
        if part == 13:
            raise ZeroDivisionError("in part 13")


def test_every_part_is_made_and_told_when_it_is_there(runner, tmp_path):
    told = []
    for part in runner.each(Part(tmp_path), [3, 1, 4, 5, 9]):
        assert (tmp_path / str(part)).exists()
        told.append(part)
    assert sorted(told) == sorted(int(path.name) for path in tmp_path.iterdir()) == [1, 3, 4, 5, 9]
    assert list(runner.each(Part(tmp_path), [])) == []


def test_a_bug_in_a_part_is_raised_as_what_it_is(runner, tmp_path):
    with pytest.raises(ZeroDivisionError, match="in part 13"):
        list(runner.each(Part(tmp_path), [1, 13]))


# Ray


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
def test_a_relative_path_is_the_same_file_for_the_workers(tmp_path, monkeypatch):
    (tmp_path / "parts").mkdir()
    monkeypatch.chdir(tmp_path)
    list(RayRunner().each(Part(Path("parts")), range(3)))
    assert str(os.getpid()) not in {path.read_text() for path in (tmp_path / "parts").iterdir()}


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
def test_a_machine_that_does_not_have_the_folder_is_a_fault_that_can_be_mended(tmp_path):
    with pytest.raises(ClimbError, match="under the same path"):
        list(RayRunner().each(Part(tmp_path / "nowhere"), [1]))


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
def test_a_part_that_loses_every_worker_is_named(tmp_path):
    def deadly(part):
        if part == 2:
            os._exit(1)
        Part(tmp_path)(part)

    with pytest.raises(ClimbError, match="part 2: its worker was lost 4 times"):
        list(RayRunner().each(deadly, [1, 2]))


class Mortal:
    """A worker that dies in the middle of a stack, this many times."""

    def __init__(self, folder, deaths):
        self.folder, self.deaths = folder, deaths

    def __call__(self, chunk):
        mine = [path for path in self.folder.iterdir() if path.name.startswith(f"{chunk[0].id}-")]
        if len(mine) < self.deaths:
            (self.folder / f"{chunk[0].id}-{len(mine)}").touch()
            os._exit(1)
        return train(chunk)


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
def test_a_stack_whose_worker_is_lost_trains_again(tmp_path):
    told = list(RayRunner().run(Mortal(tmp_path, 1), trials(4), stack=2))
    assert len(list(tmp_path.iterdir())) == 2
    assert all(outcome == train([trial])[0] for trial, outcome in told)


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
def test_a_stack_that_loses_every_worker_has_failed_and_the_others_go_on(tmp_path):
    class OnlyTheFirst(Mortal):
        def __call__(self, chunk):
            return super().__call__(chunk) if chunk[0].id == 0 else train(chunk)

    told = dict(RayRunner().run(OnlyTheFirst(tmp_path, 99), trials(4), stack=2))
    reasons = {trial.id: outcome for trial, outcome in told.items() if isinstance(outcome, str)}
    assert set(reasons) == {0, 1, 3}  # the third has too much of a
    assert reasons[0].startswith("its worker was lost 4 times: ")


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
def test_stacks_train_in_other_processes_at_the_same_time(tmp_path):
    def meet(chunk):
        (tmp_path / str(os.getpid())).touch()
        until = time.monotonic() + 60
        while len(list(tmp_path.iterdir())) < 2 and time.monotonic() < until:
            time.sleep(0.05)
        return train(chunk)

    list(RayRunner().run(meet, trials(6), stack=64))  # one stack would do, but then one CPU would have nothing to do
    assert len(list(tmp_path.iterdir())) == 2
    assert str(os.getpid()) not in {path.name for path in tmp_path.iterdir()}


class Heavy:
    """Something whose way to the workers is counted."""

    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        (self.folder / f"sent-{time.monotonic_ns()}").touch()
        return Heavy, (self.folder,)

    def __call__(self, chunk):
        return train(chunk)


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
def test_what_trains_is_sent_once_however_many_stacks_and_iterations_there_are(tmp_path):
    runner, heavy = RayRunner(), Heavy(tmp_path)
    for _ in range(3):
        assert len(list(runner.run(heavy, trials(6), stack=1))) == 6
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
def test_leaving_the_loop_cancels_what_is_still_training(tmp_path):
    def slow(chunk):
        if chunk[0].id == 0:
            return train(chunk)
        (tmp_path / f"began-{chunk[0].id}").touch()
        for _ in range(1200):
            time.sleep(0.05)
        (tmp_path / f"ended-{chunk[0].id}").touch()
        return train(chunk)

    told = RayRunner().run(slow, trials(6), stack=1)
    assert next(told)[0].id == 0
    while not list(tmp_path.iterdir()):
        time.sleep(0.05)
    told.close()
    assert len(list(RayRunner().run(train, trials(4), stack=1))) == 4  # which waits for a CPU that is free again
    assert not list(tmp_path.glob("ended-*"))


@pytest.mark.ray
def test_connecting_leaves_the_programs_own_way_to_end():
    pytest.importorskip("ray")
    code = (
        "import signal\n"
        "from climb_engine.runners import _connected\n"
        "def own(*_): ...\n"
        "signal.signal(signal.SIGTERM, own)\n"
        "_connected()\n"
        "assert signal.getsignal(signal.SIGTERM) is own\n"
    )
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.ray
def test_a_cluster_that_does_not_answer_is_named():
    pytest.importorskip("ray")
    code = "from climb_engine.runners import _connected; _connected()"
    environment = {**os.environ, "RAY_ADDRESS": "127.0.0.1:1"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=False)
    assert "RAY_ADDRESS: no Ray cluster answers at 127.0.0.1:1" in done.stderr


def test_where_ray_is_missing_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    assert isinstance(runner_of("local", "auto", 0), LocalRunner)
    with pytest.raises(ClimbError, match=r"pip install 'climb-studio\[ray\]'"):
        runner_of("ray", "auto", 0)


# A real run


@pytest.fixture(scope="module")
def trainer(finished_run):
    from climb_engine.training import Trainer

    run = finished_run
    return Trainer.prepare(run.config, run.needed("tokens"), run.needed("trunk"), run.domains, events.append)


events = []


@needs_embedder
def test_a_trainer_that_was_sent_trains_the_same_and_leaves_its_report_behind(trainer):
    asked = [Trial(i, 1, "sampled", Mixture(trainer.domains, row), i) for i, row in enumerate(np.eye(4))]
    sent = pickle.loads(pickle.dumps(trainer))
    here = trainer(asked)
    told = len(events)
    there = sent(asked)
    assert told == len(events) > 0
    assert [result.metrics for result in there] == [result.metrics for result in here]
    assert (sent.stack, sent.domains, sent.config) == (trainer.stack, trainer.domains, trainer.config)


@pytest.mark.ray
@pytest.mark.usefixtures("ray")
@needs_embedder
def test_a_run_with_ray_is_the_run_without_it(finished_run, tmp_path):
    run = Run.create(tmp_path / "tiny", finished_run.config.with_values({"machine.runner": "ray"}))
    reports = []
    there = run.search(report=reports.append)
    for part in range(finished_run.needed("corpus").parts):
        for stage, read in (("embedding", "array"), ("clustering", "table")):
            here, remote = (getattr(one.needed(stage), read)(part) for one in (finished_run, run))
            assert np.array_equal(here, remote) if read == "array" else here.equals(remote)
    assert {event.stage for event in reports} >= {"embedding", "clustering", "search"}
    for local, spread in zip(finished_run.open_search().trials, there.trials, strict=True):
        if local.iteration <= 1:  # later ones are drawn by what was measured, to the last digit
            assert local.mixture == spread.mixture
            for name, value in local.result.metrics.items():
                assert spread.result.metrics[name] == pytest.approx(value, rel=2e-3), name
    choices = [one.choice.mixture.weights for one in (finished_run.open_search(), there)]
    assert np.abs(choices[0] - choices[1]).sum() < 0.5


def test_one_gpu_of_several_is_no_cluster():
    pytest.importorskip("ray")
    with pytest.raises(ClimbError, match="cuda:1, one GPU"):
        runner_of("ray", "cuda:1", 0)
    assert isinstance(runner_of("ray", "cuda", 0), RayRunner)
