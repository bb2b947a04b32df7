from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from mask_folders import folder

from medclipsam.errors import BadInput
from medclipsam.evaluate import evaluate_folders, read_groups


def table(folder: Path, text: str) -> Path:
    path = folder / "groups.csv"
    path.write_text(text)
    return path


def test_the_chosen_column_gives_the_group_and_endings_are_taken_off(tmp_path: Path) -> None:
    path = table(tmp_path, "id,file,site\n1,a.png,Vienna\n2,d/b.nii.gz,Graz\n3,c,\n")
    assert read_groups(path, "site") == {"a": "Vienna", "d/b": "Graz", "c": ""}


def test_a_missing_column_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no column centre"):
        read_groups(table(tmp_path, "file,site\na,b\n"), "centre")
    with pytest.raises(BadInput, match="no column file"):
        read_groups(table(tmp_path, "site\nb\n"), "site")


def test_a_file_in_two_groups_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"line 3: 'a\.npy' is in two groups"):
        read_groups(table(tmp_path, "file,site\na.png,x\na.npy,y\n"), "site")


def test_a_table_from_windows_names_the_same_cases(tmp_path: Path) -> None:
    (tmp_path / "truth" / "Sub").mkdir(parents=True)
    (tmp_path / "truth" / "Sub" / "a.png").touch()
    path = table(tmp_path, "File;Site\nsub\\A.PNG;Vienna\ngone\\b.png;Graz\n")
    assert read_groups(path, "site", tmp_path / "truth") == {"Sub/a": "Vienna", "gone/b": "Graz"}
    assert read_groups(path, "site") == {"sub/A": "Vienna", "gone/b": "Graz"}


def test_a_table_of_other_files_is_refused(tmp_path: Path) -> None:
    truth = folder(tmp_path / "truth", a=np.eye(3, dtype=bool))
    with pytest.raises(BadInput, match="names none of the cases: it has 'b', a case is 'a'"):
        evaluate_folders(truth, truth, groups={"b": "x"})


def test_an_unreadable_table_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        read_groups(tmp_path / "none.csv", "site")
