"""Files appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from medclipsam.errors import CannotWrite
from medclipsam.io.atomic import atomic_path, write_atomic


def test_a_file_is_written_whole_and_nothing_else_stays(tmp_path: Path) -> None:
    path = write_atomic(tmp_path / "new" / "folder" / "report.json", '{"é": 1}')
    assert path.read_text(encoding="utf-8") == '{"é": 1}'
    assert list(path.parent.iterdir()) == [path]


def test_the_final_file_does_not_exist_while_it_is_written(tmp_path: Path) -> None:
    target = tmp_path / "mask.png"
    with atomic_path(target) as temporary:
        temporary.write_bytes(b"half")
        assert not target.exists()
        assert temporary.parent == tmp_path
        assert temporary.suffix == ".png"
        assert ".partial" in temporary.name
    assert target.read_bytes() == b"half"


def test_an_error_inside_keeps_the_old_file_and_leaves_no_other(tmp_path: Path) -> None:
    target = tmp_path / "mask.png"
    target.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), atomic_path(target) as temporary:
        temporary.write_bytes(b"new")
        raise ZeroDivisionError
    assert target.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [target]


def test_an_existing_file_is_replaced(tmp_path: Path) -> None:
    write_atomic(tmp_path / "x", b"old")
    assert write_atomic(tmp_path / "x", b"new").read_bytes() == b"new"


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    (tmp_path / "mask.png").symlink_to(victim)
    with pytest.raises(CannotWrite, match="link"):
        write_atomic(tmp_path / "mask.png", b"x")
    assert victim.read_bytes() == b"precious"


def test_a_link_to_nothing_is_not_followed_either(tmp_path: Path) -> None:
    (tmp_path / "mask.png").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CannotWrite):
        write_atomic(tmp_path / "mask.png", b"x")
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_in_the_way_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mask.png").mkdir()
    with pytest.raises(CannotWrite, match="folder"):
        write_atomic(tmp_path / "mask.png", b"x")


def test_a_file_where_a_folder_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"")
    with pytest.raises(CannotWrite):
        write_atomic(tmp_path / "out" / "mask.png", b"x")


def test_a_disk_error_while_writing_becomes_one_line(tmp_path: Path) -> None:
    with pytest.raises(CannotWrite, match="No space left") as caught, atomic_path(tmp_path / "x"):
        raise OSError(28, os.strerror(28))
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_new_files_have_the_permissions_that_the_user_asks_for(tmp_path: Path) -> None:
    plain = tmp_path / "plain"
    plain.write_bytes(b"")
    written = write_atomic(tmp_path / "atomic", b"")
    assert written.stat().st_mode == plain.stat().st_mode
