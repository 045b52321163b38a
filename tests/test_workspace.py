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


def of_parts(space, parts=3):
    with space.writing("x", "d") as out:
        out.put_array("model", np.arange(4))
        for part in range(parts):
            out.put_table(part, pa.table({"a": [part]}))
            out.put_array(part, np.arange(part + 5))
        return out.finish({"kind": "x", "digest": "d", "parts": parts, "facts": {"rows": 3}})


def gone(path):
    path.unlink()


def cut(path):
    path.write_bytes(path.read_bytes()[:-3])
    ws._damage.cache_clear()  # what was seen of its sizes holds for some moments


@pytest.mark.parametrize(("harm", "what"), [(gone, "is missing"), (cut, "is not whole")])
@pytest.mark.parametrize("name", ["part-00001.npy", "part-00002.parquet", "model.npy", "manifest.json"])
def test_an_artifact_of_which_a_file_is_gone_or_cut_is_damaged_and_written_again(space, harm, what, name):
    found = of_parts(space)
    harm(found.folder / name)
    what = "cannot be read" if (harm, name) == (cut, "manifest.json") else what
    assert space.artifact("x", "d") is None
    assert space.artifacts("x") == ()
    assert space.damaged("x", "d").damage == f"{name} {what}"
    of_parts(space)
    assert space.damaged("x", "d") is None
    assert [table["a"].to_pylist() for table in space.artifact("x", "d").tables()] == [[0], [1], [2]]


def test_of_an_artifact_that_lost_a_part_the_others_are_kept_and_the_rest_of_that_part_is_not(space):
    gone(of_parts(space).folder / "part-00001.npy")
    with space.writing("x", "d") as out:
        assert {path.name for path in out.folder.iterdir()} == {
            *("model.npy", "part-00000.npy", "part-00000.parquet", "part-00002.npy", "part-00002.parquet")
        }


def test_of_an_artifact_that_lost_more_than_parts_nothing_is_kept(space):
    gone(of_parts(space).folder / "model.npy")
    with space.writing("x", "d") as out:
        assert not list(out.folder.iterdir())


def test_an_artifact_whose_manifest_lists_no_files_must_have_all_parts_of_what_it_has(space):
    found = of_parts(space)
    manifest = json.loads((found.folder / "manifest.json").read_text())
    del manifest["files"]
    (found.folder / "manifest.json").write_text(json.dumps(manifest))
    assert space.artifact("x", "d")
    gone(found.folder / "part-00002.parquet")
    assert space.damaged("x", "d").damage == "part-00002.parquet is missing"
    with space.writing("x", "d") as out:
        assert not list(out.folder.iterdir())


def test_a_file_that_cannot_be_read_is_named_with_what_to_do(space):
    found = of_parts(space)
    content = (found.folder / "part-00001.parquet").read_bytes()
    (found.folder / "part-00001.parquet").write_bytes(b"x" * len(content))  # as long as it was
    with pytest.raises(ClimbError, match=r"part-00001\.parquet: cannot be read .* remove its folder and run"):
        found.table(1)
    gone(found.folder / "part-00002.npy")
    with pytest.raises(ClimbError, match=r"run: x is damaged: part-00002\.npy is missing; 'climb run run"):
        found.array(2)
    cut(found.folder / "part-00001.npy")
    with pytest.raises(ClimbError, match=r"part-00002\.npy is missing, and 1 more"):
        found.array(1)
    with pytest.raises(ValueError, match="No match"):
        found.table(0, ["no such column"])


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
