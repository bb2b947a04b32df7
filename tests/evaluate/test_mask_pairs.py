from __future__ import annotations

from pathlib import Path

import pytest

from medclipsam.errors import BadInput
from medclipsam.evaluate import pair_folders


@pytest.fixture
def folders(tmp_path: Path):
    """Make two folders with empty files of the given names."""

    def make(predictions: str, references: str) -> tuple[Path, Path]:
        for folder, names in (("found", predictions), ("truth", references)):
            (tmp_path / folder).mkdir()
            for name in names.split():
                path = tmp_path / folder / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.touch()
        return tmp_path / "found", tmp_path / "truth"

    return make


def test_masks_are_paired_by_name_whatever_their_format_and_orphans_are_named(folders) -> None:
    found, truth = folders("b.png a.png lonely.npy", "a.nii.gz b.png waiting.tif")
    pairing = pair_folders(found, truth)
    assert pairing.both == {"a": (found / "a.png", truth / "a.nii.gz"), "b": (found / "b.png", truth / "b.png")}
    assert pairing.only_predicted == {"lonely": found / "lonely.npy"}
    assert pairing.only_reference == {"waiting": truth / "waiting.tif"}


def test_the_same_name_in_another_subfolder_is_another_case(folders) -> None:
    pairing = pair_folders(*folders("x/1.png y/1.png", "x/1.png z/1.png"))
    assert list(pairing.both) == ["x/1"]
    assert list(pairing.only_predicted) == ["y/1"]
    assert list(pairing.only_reference) == ["z/1"]


def test_dots_in_a_name_belong_to_it(folders) -> None:
    pairing = pair_folders(*folders("1.2.840.png 1.2.841.png", "1.2.840.nii 1.2.841.nii"))
    assert list(pairing.both) == ["1.2.840", "1.2.841"]


def test_tables_reports_and_hidden_files_are_passed_over(folders) -> None:
    pairing = pair_folders(*folders("a.png report.json t.csv .b.png .cache/c.png", "a.png b.png c.png"))
    assert list(pairing.both) == ["a"]
    assert pairing.only_predicted == {}


def test_a_suffix_is_taken_off_and_files_without_it_are_passed_over(folders) -> None:
    found, truth = folders("d/a.png", "d/a.png d/a_mask.png d/_mask.png")
    assert pair_folders(found, truth, reference_suffix="_mask").both == {
        "d/a": (found / "d/a.png", truth / "d/a_mask.png")
    }


def test_two_files_for_one_case_are_refused(folders) -> None:
    with pytest.raises(BadInput, match=r"both a\.nii\.gz and a\.png"):
        pair_folders(*folders("a.png a.nii.gz", "a.png"))


def test_missing_and_empty_folders_are_refused(folders, tmp_path: Path) -> None:
    found, truth = folders("notes.txt", "a.png")
    with pytest.raises(BadInput, match="holds no masks"):
        pair_folders(found, truth)
    with pytest.raises(BadInput, match="holds no masks that end in '_gt'"):
        pair_folders(truth, truth, reference_suffix="_gt")
    with pytest.raises(BadInput, match="there is no folder"):
        pair_folders(tmp_path / "none", truth)
