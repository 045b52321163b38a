"""What is on disk, and the only module that knows its paths and formats. docs/WORKSPACE.md is the contract.

Artifacts are immutable and appear whole: they are written aside, file by file, the manifest last, and renamed into
place. So readers take no lock, and a stage that was killed goes on from its finished files.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import io
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from filelock import FileLock, Timeout

from climb_engine.config import RunConfig
from climb_engine.types import ClimbError

ROW_GROUP = 1024  # rows, so that one document is read without its neighbours' thousands
_LOOK = 2.0  # seconds for which the sizes of an artifact's files count as seen; one that is gone is missed at once
_MOMENT = 10.0  # seconds that whoever changes a config waits for another to be done with it
_SLUG = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def digest_of(value: Any) -> str:
    """Twelve hexadecimal digits of the SHA-256 of a value's canonical JSON."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


class BusyError(ClimbError):
    """Someone else is at work on it just now."""


def slug(name: str) -> str:
    """``name`` itself if it can be the name of a folder of ours, else ClimbError: it must not leave the runs folder."""
    if not _SLUG.fullmatch(name):
        raise ClimbError(
            f"{name!r} cannot be a name: use up to 64 of the letters a to z and A to Z, digits, '.', '_' and '-', "
            "a letter or digit first"
        )
    return name


@contextlib.contextmanager
def lock(path: Path, what: str, patience: float = 0.0) -> Iterator[None]:
    """Hold a file lock, which ends with the process however it ends; ClimbError if someone else keeps it longer.

    ``patience`` is in seconds.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    held = FileLock(path, timeout=patience)
    try:
        held.acquire()
    except Timeout as error:
        raise BusyError(f"{what} is already being worked on by another process; wait for it or stop it") from error
    try:
        yield
    finally:
        held.release()


def write_atomically(path: Path, content: bytes | memoryview) -> None:
    """Put ``content`` at ``path`` whole or not at all, flushed to the disk. ClimbError when the disk is full."""
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".tmp-{path.name}-{uuid.uuid4().hex[:8]}")
    try:
        with aside.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        aside.replace(path)
        _sync_folder(path.parent)
    except OSError as error:
        aside.unlink(missing_ok=True)
        raise _explained(error, path) from error


def read_json(path: Path) -> Any:
    """Parse a JSON file of ours."""
    return json.loads(path.read_text(encoding="utf-8"))


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _explained(error: OSError, path: Path) -> Exception:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ClimbError(
            f"{path}: the disk is full; what was finished is kept. Free some space and run the same command again"
        )
    if error.errno in (errno.EACCES, errno.EROFS, errno.EPERM):
        return ClimbError(f"{path}: cannot be written ({os.strerror(error.errno)}); check the folder's permissions")
    return error


@dataclass(frozen=True)
class Artifact:
    """A finished result: a folder of parts and tables, and the manifest that says how it came about."""

    folder: Path

    @cached_property
    def manifest(self) -> Mapping[str, Any]:
        """Kind, digest, knobs, inputs, library versions, device, seconds, parts and the stage's facts."""
        path = self.folder / "manifest.json"
        return _read_manifest(path, path.stat().st_mtime_ns)

    @property
    def digest(self) -> str:
        """The address: a hash of everything that went in."""
        return str(self.manifest["digest"])

    @property
    def facts(self) -> Mapping[str, Any]:
        """What the stage had to say: counts, reasons, sizes."""
        facts: Mapping[str, Any] = self.manifest["facts"]
        return facts

    @property
    def parts(self) -> int:
        """Number of parts, the same through every stage."""
        return int(self.manifest["parts"])

    @property
    def damage(self) -> str:
        """What is wrong with its files: "part-00003.npy is missing"; "" where nothing is."""
        try:
            wrong = _damage(self.folder, self.folder.stat().st_mtime_ns, int(time.monotonic() / _LOOK))
        except FileNotFoundError:
            return "its folder is gone"  # perhaps while we look, to be made again
        first = " ".join(next(iter(wrong.items()), ()))
        return first + (f", and {len(wrong) - 1:,} more" if len(wrong) > 1 else "")

    @property
    def complaint(self) -> str:
        """The damage in a sentence, with what to do."""
        run, kind = self.folder.parents[1].name, self.folder.name.rpartition("-")[0]
        return f"{run}: {kind} is damaged: {self.damage}; 'climb run {run} --until {kind}' makes it again"

    def table(self, name: str | int, columns: Sequence[str] | None = None) -> pa.Table:
        """A table by name, or a part's by number. ClimbError where the file is gone or damaged."""
        with self.reading(f"{file_name(name)}.parquet") as path:
            return pq.read_table(path, columns=columns)

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The parts' tables in order, one at a time."""
        return (self.table(part, columns) for part in range(self.parts))

    def array(self, name: str | int) -> np.ndarray:
        """An array by name, or a part's by number; memory-mapped, read-only. ClimbError as ``table``."""
        with self.reading(f"{file_name(name)}.npy") as path:
            array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        return array

    @contextlib.contextmanager
    def reading(self, name: str) -> Iterator[Path]:
        """The path of a file to read within; ClimbError where that fails because it is gone or damaged."""
        path = self.folder / name
        try:
            yield path
        except (OSError, EOFError, ValueError) as error:
            if "No match for FieldRef" in str(error):
                raise  # there is no such column, which is our mistake
            _damage.cache_clear()
            if (self.folder / "manifest.json").exists() and self.damage:
                raise ClimbError(self.complaint) from error
            told = str(error).splitlines()[0] if str(error) else "it is empty"
            raise ClimbError(
                f"{path}: cannot be read ({told}). If it is damaged, remove its folder and run the same command again"
            ) from error

    def path(self, name: str) -> Path:
        """The path of a file for a library that wants one."""
        return self.folder / name


class ArtifactWriter(Artifact):
    """An artifact in the making. Each file is put whole; ``finish`` makes it an artifact."""

    def __init__(self, folder: Path, final: Path) -> None:
        super().__init__(folder)
        object.__setattr__(self, "final", final)
        folder.mkdir(parents=True, exist_ok=True)
        for torn in folder.glob(".tmp-*"):
            torn.unlink()

    final: Path

    def has(self, name: str) -> bool:
        """Whether a file has been put already, by this process or by one that was stopped."""
        return (self.folder / name).exists()

    def put_table(self, name: str | int, table: pa.Table) -> str:
        """Put a table as Parquet (zstd, small row groups), and return the SHA-256 of the file."""
        buffer = io.BytesIO()
        pq.write_table(table, buffer, compression="zstd", row_group_size=ROW_GROUP)
        write_atomically(self.folder / f"{file_name(name)}.parquet", buffer.getbuffer())
        return hashlib.sha256(buffer.getbuffer()).hexdigest()

    def put_array(self, name: str | int, array: np.ndarray) -> None:
        """Put an array as .npy."""
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        write_atomically(self.folder / f"{file_name(name)}.npy", buffer.getbuffer())

    def put_json(self, name: str | int, value: Any) -> None:
        """Put a value as JSON."""
        write_atomically(self.folder / f"{file_name(name)}.json", json.dumps(value, indent=1).encode())

    def put_bytes(self, name: str, content: bytes) -> None:
        """Put a file of some library's own format."""
        write_atomically(self.folder / name, content)

    def finish(self, manifest: Mapping[str, Any]) -> Artifact:
        """Write the manifest, with the sizes of all files, and rename the folder into place."""
        files = {path.name: path.stat().st_size for path in sorted(self.folder.iterdir())}
        files.pop("manifest.json", None)
        write_atomically(self.folder / "manifest.json", json.dumps({**manifest, "files": files}, indent=1).encode())
        self.folder.rename(self.final)
        _sync_folder(self.final.parent)
        return Artifact(self.final)


@lru_cache(maxsize=256)
def _read_manifest(path: Path, changed: int) -> Mapping[str, Any]:  # noqa: ARG001 - read anew when the file changed
    manifest: Mapping[str, Any] = read_json(path)
    return manifest


@lru_cache(maxsize=256)
def _damage(folder: Path, changed: int, moment: int) -> Mapping[str, str]:  # noqa: ARG001 - when to look again
    """What is wrong with each file of an artifact that is gone or not as long as it was."""
    if not (folder / "manifest.json").exists():
        return {"manifest.json": "is missing"}
    try:
        manifest = read_json(folder / "manifest.json")
    except (OSError, ValueError):
        return {"manifest.json": "cannot be read"}
    with os.scandir(folder) as found:
        there = {one.name: one.stat().st_size for one in found}
    wanted = manifest.get("files") or {name: there.get(name) for name in _parts_of(manifest["parts"], there)}
    gone = {name: "is missing" for name in wanted if name not in there}
    return gone | {name: "is not whole" for name, size in wanted.items() if name in there and there[name] != size}


def _parts_of(parts: int, there: Iterable[str]) -> list[str]:
    """The files that an artifact whose manifest lists none must have: all parts of what it has some parts of."""
    suffixes = {name[10:] for name in there if re.match(r"part-\d{5}\.", name)}
    return [f"{file_name(part)}{suffix}" for suffix in sorted(suffixes) for part in range(parts)]


def _reopen(final: Path, partial: Path) -> None:
    """Make a damaged artifact an unfinished one.

    Its whole parts stay where nothing but parts is damaged: they are functions of what does not change.
    """
    _damage.cache_clear()
    artifact = Artifact(final)
    wrong = _damage(final, 0, 0)
    lost = {name.partition(".")[0] for name in wrong}
    if partial.exists() or not all(stem.startswith("part-") for stem in lost) or "files" not in artifact.manifest:
        shutil.rmtree(final)
        return
    for path in final.iterdir():
        if path.name.partition(".")[0] in {*lost, "manifest"}:
            path.unlink()
    final.rename(partial)


def file_name(name: str | int) -> str:
    """A part's number to its file's stem; a name stays."""
    return f"part-{name:05d}" if isinstance(name, int) else name


class Log:
    """An append-only JSONL file: one writer at a time, readers take whole lines only."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield the events. A torn last line, left by a crash, does not count; a broken line before it is an error."""
        if not self.path.exists():
            return
        with self.path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if not line.endswith(b"\n"):
                    return
                try:
                    yield json.loads(line)
                except ValueError as error:
                    raise ClimbError(f"{self.path}:{number}: not valid JSON; restore the line or remove it") from error

    def append(self, event: Mapping[str, Any]) -> None:
        """Add one event, flushed to the disk before this returns."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        line = json.dumps(event, separators=(",", ":")).encode() + b"\n"
        try:
            with self.path.open("ab+") as file:
                _cut_torn_line(file)
                file.write(line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise _explained(error, self.path) from error

    def writing(self) -> contextlib.AbstractContextManager[None]:
        """Hold the right to append."""
        return lock(self.path.with_suffix(".lock"), "this search")


def _cut_torn_line(file: Any) -> None:
    end = file.seek(0, os.SEEK_END)
    step = 65_536
    tail = b""
    while end - len(tail) > 0 and b"\n" not in tail:
        file.seek(max(0, end - len(tail) - step))
        tail = file.read(end - file.tell())
    if tail and not tail.endswith(b"\n"):
        file.truncate(end - len(tail) + tail.rfind(b"\n") + 1)
    file.seek(0, os.SEEK_END)


class Workspace:
    """The folder of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def name(self) -> str:
        """The run's name: its folder's."""
        return self.folder.name

    @property
    def config_path(self) -> Path:
        """Where the config is."""
        return self.folder / "config.toml"

    def read_config(self) -> RunConfig:
        """Read what is wanted of this run."""
        return RunConfig.load(self.config_path)

    def write_config(self, config: RunConfig) -> None:
        """Replace what is wanted of this run, atomically."""
        write_atomically(self.config_path, config.to_toml().encode())

    def config_lock(self) -> contextlib.AbstractContextManager[None]:
        """To be held by who reads the config, changes it and writes it again."""
        return lock(self.folder / ".lock-config", "the config", _MOMENT)

    def artifact(self, kind: str, digest: str) -> Artifact | None:
        """The finished artifact at an address, if there is one and nothing is wrong with its files."""
        found = Artifact(self._folder(kind, digest))
        return None if found.damage else found

    def made(self, kind: str, digest: str) -> Artifact | None:
        """The artifact that was finished at an address, for its manifest: files of it may be damaged by now."""
        found = Artifact(self._folder(kind, digest))
        try:
            return found if found.manifest else None
        except (OSError, ValueError):
            return None

    def damaged(self, kind: str, digest: str) -> Artifact | None:
        """The finished artifact at an address of which files are gone or not whole."""
        found = Artifact(self._folder(kind, digest))
        return found if found.folder.is_dir() and found.damage else None

    def artifacts(self, kind: str) -> tuple[Artifact, ...]:
        """All finished artifacts of this kind with nothing wrong, the one finished last first."""
        found = [one for one in map(Artifact, self._artifacts.glob(f"{kind}-*")) if not one.damage]
        found.sort(key=lambda one: (one.folder / "manifest.json").stat().st_mtime_ns, reverse=True)
        return tuple(found)

    def latest(self, kind: str) -> Artifact | None:
        """The artifact of this kind that was finished last, whatever its address."""
        return next(iter(self.artifacts(kind)), None)

    def partial_parts(self, kind: str, digest: str) -> int:
        """How many parts an unfinished stage has behind it."""
        return len({path.stem for path in self._partial(kind, digest).glob("part-*")})

    @contextlib.contextmanager
    def writing(self, kind: str, digest: str) -> Iterator[ArtifactWriter]:
        """Hold the right to write the artifact at an address, going on where a stopped writer or damage left it."""
        final, partial = self._folder(kind, digest), self._partial(kind, digest)
        with lock(self._artifacts / f".lock-{kind}-{digest}", f"stage {kind}"):
            if self.damaged(kind, digest):
                _reopen(final, partial)
            yield ArtifactWriter(partial, final)

    def log(self, digest: str) -> Log:
        """The search's log at an address."""
        return Log(self.folder / "search" / f"{digest}.jsonl")

    def keep_search_config(self, digest: str, config: RunConfig) -> None:
        """Leave with the search at an address what was wanted of the run when it was last at work."""
        write_atomically(self._search_config(digest), config.to_toml().encode())

    def search_configs(self) -> dict[str, RunConfig]:
        """What was wanted of the run when each of its searches was last at work, by address; the last one first."""
        found = sorted((self.folder / "search").glob("*.toml"), key=lambda path: -path.stat().st_mtime_ns)
        configs = {}
        for path in found:
            with contextlib.suppress(ClimbError):  # of another version, or damaged; the others are no worse for it
                configs[path.stem] = RunConfig.load(path)
        return configs

    def waiting_folder(self, digest: str) -> Path:
        """Where mixtures wait that are wanted while the search at an address is at work."""
        return self.folder / "search" / f"{digest}.waiting"

    def export_folder(self, name: str) -> Path:
        """Where an export goes."""
        return self.folder / "exports" / slug(name)

    def _search_config(self, digest: str) -> Path:
        return self.folder / "search" / f"{digest}.toml"

    @property
    def _artifacts(self) -> Path:
        return self.folder / "artifacts"

    def _folder(self, kind: str, digest: str) -> Path:
        return self._artifacts / f"{kind}-{digest}"

    def _partial(self, kind: str, digest: str) -> Path:
        return self._artifacts / f".partial-{kind}-{digest}"


def runs_in(folder: Path) -> tuple[Workspace, ...]:
    """The runs in a runs folder, the last changed first."""
    found = [path.parent for path in folder.glob("*/config.toml")]
    return tuple(Workspace(path) for path in sorted(found, key=lambda path: -(path / "config.toml").stat().st_mtime_ns))
