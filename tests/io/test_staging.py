"""Do several files appear together or not at all?"""

from __future__ import annotations

from pathlib import Path

import pytest

from medclipsam.errors import CannotWrite
from medclipsam.io.atomic import check_folder, staged


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir()}


def test_files_move_out_when_all_is_done_and_replace_older_ones(tmp_path: Path) -> None:
    out = tmp_path / "a" / "b"
    for text in ("first", "second"):
        with staged(out, last="z.json") as stage:
            (stage / "mask.png").write_text(text)
            (stage / "z.json").write_text(text)
            assert "mask.png" not in {path.name for path in out.iterdir()} or text == "second"
        assert contents(out) == {"mask.png": text, "z.json": text}


def test_an_error_leaves_the_folder_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "mask.png").write_text("old")
    with pytest.raises(ZeroDivisionError), staged(tmp_path, last="report.json") as stage:
        (stage / "mask.png").write_text("new")
        raise ZeroDivisionError
    assert contents(tmp_path) == {"mask.png": "old"}


def test_an_error_takes_folders_that_were_made_away_again(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), staged(tmp_path / "a" / "b", last="report.json"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["link", "folder"])
def test_a_link_or_folder_in_a_files_place_is_refused_and_nothing_moves(tmp_path: Path, kind: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    if kind == "link":
        (out / "z.json").symlink_to(tmp_path / "elsewhere")
    else:
        (out / "z.json").mkdir()
    with pytest.raises(CannotWrite, match="not replaced"), staged(out, last="z.json") as stage:
        (stage / "mask.png").write_text("new")
        (stage / "z.json").write_text("new")
    assert [path.name for path in out.iterdir()] == ["z.json"]
    assert not (tmp_path / "elsewhere").exists()


def test_a_folder_that_is_a_file_is_refused_early_and_late(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("here")
    with pytest.raises(CannotWrite, match="not a folder"):
        check_folder(tmp_path / "file" / "out")
    with pytest.raises(CannotWrite, match="cannot be written"), staged(tmp_path / "file" / "out", last="x"):
        pass


def test_a_folder_that_can_be_made_is_accepted_and_not_made(tmp_path: Path) -> None:
    check_folder(tmp_path / "new" / "deep")
    assert not (tmp_path / "new").exists()
