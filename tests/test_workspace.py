import errno
import json
import os
import subprocess
import sys

import numpy as np
import pyarrow as pa
import pytest

from climb_engine import workspace as ws
from climb_engine.config import RunConfig
from climb_engine.types import ClimbError


@pytest.fixture
def space(tmp_path):
    return ws.Workspace(tmp_path / "run")


def finish(out, facts=()):
    return out.finish({"kind": "x", "digest": "d", "parts": 1, "facts": dict(facts)})


def test_an_artifact_is_there_only_when_it_is_finished(space):
    with space.writing("x", "d") as out:
        out.put_table(0, pa.table({"a": [1, 2, 3]}))
        assert space.artifact("x", "d") is None
        finish(out, {"rows": 3})
    found = space.artifact("x", "d")
    assert found.table(0)["a"].to_pylist() == [1, 2, 3]
    assert found.facts == {"rows": 3}
    assert space.latest("x").digest == "d"


def test_what_a_stopped_writer_put_is_still_there_for_the_next(space):
    with space.writing("x", "d") as out:
        out.put_array(0, np.arange(5))
        (out.folder / ".tmp-part-00001.npy-torn").write_bytes(b"half")
    with space.writing("x", "d") as out:
        assert out.has("part-00000.npy")
        assert not list(out.folder.glob(".tmp-*"))
        np.testing.assert_array_equal(out.array(0), np.arange(5))
    assert space.partial_parts("x", "d") == 1


def test_two_writers_of_one_artifact_are_refused(space):
    with space.writing("x", "d"), pytest.raises(ClimbError, match="another process"), space.writing("x", "d"):
        pass


def test_a_killed_writer_leaves_no_lock(space):
    code = (
        "import os, signal, sys; from pathlib import Path; from climb_engine.workspace import Workspace\n"
        "with Workspace(Path(sys.argv[1])).writing('x', 'd') as out:\n"
        "    out.put_json('a', 1); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(space.folder)], check=False)
    assert done.returncode == -9
    with space.writing("x", "d") as out:
        assert out.has("a.json")


def test_a_full_disk_says_so_and_leaves_nothing_torn(space, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with space.writing("x", "d") as out:
        out.put_json("kept", 1)
        monkeypatch.setattr(os, "fsync", full)
        with pytest.raises(ClimbError, match=r"lost\.json: the disk is full.*Free some space"):
            out.put_json("lost", 2)
        assert [path.name for path in out.folder.iterdir()] == ["kept.json"]


def test_a_really_full_disk_is_survived(tmp_path):
    if (
        os.geteuid()
        or subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", tmp_path], check=False).returncode
    ):
        pytest.skip("a small file system can only be mounted by root")
    try:
        with ws.Workspace(tmp_path / "run").writing("x", "d") as out:
            out.put_json("kept", 1)
            with pytest.raises(ClimbError, match="the disk is full"):
                out.put_bytes("lost", os.urandom(200_000))
            assert not out.has("lost")
            assert ws.read_json(out.path("kept.json")) == 1
    finally:
        subprocess.run(["umount", tmp_path], check=True)


def test_a_log_keeps_whole_lines_and_drops_a_torn_last_one(tmp_path):
    log = ws.Log(tmp_path / "log.jsonl")
    log.append({"n": 1})
    log.append({"n": 2})
    with log.path.open("ab") as file:
        file.write(b'{"n": 3')
    assert [event["n"] for event in log] == [1, 2]
    log.append({"n": 4})
    assert [event["n"] for event in log] == [1, 2, 4]


def test_a_log_that_is_only_a_torn_line_starts_afresh(tmp_path):
    log = ws.Log(tmp_path / "log.jsonl")
    log.path.write_bytes(b'{"n"' + b"x" * 200_000)
    log.append({"n": 1})
    assert [event["n"] for event in log] == [1]


def test_a_broken_line_in_the_middle_of_a_log_is_named(tmp_path):
    log = ws.Log(tmp_path / "log.jsonl")
    log.path.write_text('{"n": 1}\nnonsense\n{"n": 2}\n')
    with pytest.raises(ClimbError, match=r"log\.jsonl:2: not valid JSON"):
        list(log)


@pytest.mark.parametrize("name", ["../up", "a/b", "", ".hidden", "a" * 65, "sp ace", "/etc"])
def test_a_name_cannot_leave_the_runs_folder(name):
    with pytest.raises(ClimbError, match="cannot be a name"):
        ws.slug(name)


def test_a_config_survives_the_round_trip_through_its_file(space):
    config = RunConfig().with_values(
        {"clustering.n_clusters": 7, "domains.overrides": [{"action": "prune", "cluster": 3, "why": "spam"}]}
    )
    space.write_config(config)
    assert space.read_config() == config


def test_addresses_depend_on_every_value_and_on_no_order():
    assert ws.digest_of({"a": 1, "b": [2]}) == ws.digest_of(json.loads('{"b": [2], "a": 1}'))
    assert ws.digest_of({"a": 1}) != ws.digest_of({"a": 2})
