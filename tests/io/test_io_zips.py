"""Zips: a series is read out of one without unpacking it, and one that could do harm is refused by its table alone."""

from __future__ import annotations

import stat
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from series_files import series

from medclipsam.errors import BadInput
from medclipsam.io import count_images, is_readable, read_images, zips


@pytest.fixture
def zipped(tmp_path: Path) -> Path:
    """The phantom's series in a zip, with what other systems put beside it."""
    paths = series(tmp_path / "series", names=("c", "a", "b"))
    archive = tmp_path / "scan.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as made:
        for path in paths:
            made.write(path, f"study/{path.name}")
        made.writestr("__MACOSX/._a", b"finder")
        made.writestr("study/.DS_Store", b"finder")
    return archive


def made_of(path: Path, *members: tuple[str | zipfile.ZipInfo, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as made:
        for name, content in members:
            made.writestr(name, content)
    return path


def refusal(path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is said of a zip of which not one byte may be unpacked."""

    def never(*_: object, **__: object) -> None:
        pytest.fail("something was unpacked")

    monkeypatch.setattr(zipfile.ZipFile, "open", never)
    with pytest.raises(BadInput) as caught:
        read_images(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_zip_is_read_as_its_folder_is(zipped: Path, tmp_path: Path) -> None:
    before = sorted(tmp_path.rglob("*"))
    within, beside = list(read_images(zipped)), list(read_images(tmp_path / "series"))
    assert len(within) == 3
    for one, other in zip(within, beside, strict=True):
        assert np.array_equal(one.pixels, other.pixels)
        assert (one.spacing_mm, one.warnings) == (other.spacing_mm, other.warnings)
    assert sorted(tmp_path.rglob("*")) == before


def named(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("x")
    info.filename = info.orig_filename = name
    return info


def special(kind: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo("member")
    info.create_system, info.external_attr = 3, (kind | 0o777) << 16
    return info


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/../../b", "..\\..\\b", "a/..", ".."])
def test_a_path_that_leaves_the_zip_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    said = refusal(made_of(tmp_path / "x.zip", ("good", b"1"), (named(name), b"2")), monkeypatch)
    assert "member 2 has a path that leaves the zip" in said
    assert "passwd" not in said


@pytest.mark.parametrize("name", ["/etc/passwd", "C:\\x", "c:x", "\\\\server\\share\\x", "//server/share"])
def test_an_absolute_path_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    assert "absolute" in refusal(made_of(tmp_path / "x.zip", (named(name), b"2")), monkeypatch)


@pytest.mark.parametrize("name", ["a\x1b[2Jb", "a\nb", "a\x7fb"])
def test_a_path_that_would_steer_a_terminal_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    said = refusal(made_of(tmp_path / "x.zip", (named(name), b"2")), monkeypatch)
    assert "control characters" in said
    assert said.isprintable()


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFSOCK])
def test_links_and_devices_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: int) -> None:
    assert "link or a device" in refusal(made_of(tmp_path / "x.zip", (special(kind), b"/etc")), monkeypatch)


def test_a_bomb_is_refused_by_its_ratio(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bomb = made_of(tmp_path / "x.zip", ("zeros", bytes(zips.HARMLESS_BYTES + 1)))
    assert "times its size" in refusal(bomb, monkeypatch)


def claimed(path: Path, sizes: Callable[[int, int], tuple[int, int]]) -> Path:
    """Rewrite (packed, unpacked) of every member in the table of contents."""
    content = bytearray(path.read_bytes())
    at = 0
    while (at := content.find(b"PK\x01\x02", at)) >= 0:
        struct.pack_into("<LL", content, at + 20, *sizes(*struct.unpack_from("<LL", content, at + 20)))
        at += 4
    path.write_bytes(content)
    return path


def test_claims_of_huge_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = claimed(made_of(tmp_path / "x.zip", ("a", b"1")), lambda packed, _: (packed, 2**31))
    assert "unpacks to 2,147,483,648 bytes" in refusal(path, monkeypatch)


def test_claims_of_huge_totals_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    members = [(f"a{number}", b"1") for number in range(9)]
    path = claimed(made_of(tmp_path / "x.zip", *members), lambda packed, _: (packed, 2**30))
    assert "unpacks to 9,663,676,416 bytes" in refusal(path, monkeypatch)


def test_members_that_overlap_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = claimed(made_of(tmp_path / "x.zip", ("a", b"1"), ("b", b"2")), lambda _, size: (400, size))
    assert "overlap" in refusal(path, monkeypatch)


def test_too_many_members_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(zips, "MAX_MEMBERS", 3)
    members = [(f"a{number}", b"1") for number in range(4)]
    assert "holds 4 files, more than 3" in refusal(made_of(tmp_path / "x.zip", *members), monkeypatch)


def test_a_table_of_contents_that_is_too_long_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made_of(tmp_path / "x.zip", ("a", b"1"))
    content = bytearray(path.read_bytes())
    struct.pack_into("<L", content, content.rfind(b"PK\x05\x06") + 12, zips.MAX_CONTENTS_BYTES + 1)
    path.write_bytes(content)
    monkeypatch.setattr(zipfile, "ZipFile", None)
    with pytest.raises(BadInput, match="table of contents"):
        read_images(path)


def test_two_members_of_one_path_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        path = made_of(tmp_path / "x.zip", ("a", b"1"), ("a", b"2"))
    assert "two members have one path" in refusal(path, monkeypatch)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_ways_of_packing_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, method: int) -> None:
    path = tmp_path / "x.zip"
    with zipfile.ZipFile(path, "w", method) as made:
        made.writestr("a", b"1")
    assert "packed in a way not read here" in refusal(path, monkeypatch)


def test_an_encrypted_member_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made_of(tmp_path / "x.zip", ("a", b"1"))
    content = bytearray(path.read_bytes())
    content[content.find(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(content)
    assert "encrypted" in refusal(path, monkeypatch)


@pytest.mark.parametrize("keep", [0.2, 0.6, 0.95])
def test_a_zip_that_is_cut_off_is_refused(zipped: Path, keep: float) -> None:
    content = zipped.read_bytes()
    zipped.write_bytes(content[: int(len(content) * keep)])
    with pytest.raises(BadInput):
        read_images(zipped)


def test_a_member_with_a_wrong_check_sum_is_refused(zipped: Path) -> None:
    content = bytearray(zipped.read_bytes())
    at = content.find(b"study/c") + len("study/c")
    content[at + 40 : at + 60] = bytes(20)
    zipped.write_bytes(content)
    with pytest.raises(BadInput, match="cannot be read as a zip"):
        list(read_images(zipped))


def test_a_zip_of_other_things_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", a=np.eye(3))
    with pytest.raises(BadInput, match="none of its 1 files is a DICOM image"):
        count_images(tmp_path / "arrays.npz")


def test_only_a_zip_that_is_called_one_counts_as_a_scan(zipped: Path, tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", a=np.eye(3))
    assert is_readable(zipped)
    assert not is_readable(tmp_path / "arrays.npz")
