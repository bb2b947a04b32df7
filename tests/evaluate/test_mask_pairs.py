from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medclipsam.errors import BadInput
from medclipsam.evaluate import Masks, Pairing, pair_folders


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


def paths(pairing: Pairing) -> dict[str, str]:
    """The names of the files of each pair, those of one side beside each other."""
    return {
        case: " + ".join(" ".join(path.name for path in masks.paths) for masks in pair)
        for case, pair in pairing.both.items()
    }


def test_masks_are_paired_by_name_whatever_their_format_and_orphans_are_named(folders) -> None:
    found, truth = folders("b.png a.png lonely.npy", "a.nii.gz b.png waiting.tif")
    pairing = pair_folders(found, truth)
    assert paths(pairing) == {"a": "a.png + a.nii.gz", "b": "b.png + b.png"}
    assert pairing.only_predicted == {"lonely": Masks(paths=(found / "lonely.npy",))}
    assert pairing.only_reference == {"waiting": Masks(paths=(truth / "waiting.tif",))}


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
    assert paths(pair_folders(found, truth, reference_suffix="_mask")) == {"d/a": "a.png + a_mask.png"}


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


@pytest.mark.parametrize("suffix", ["", "_mask"])
def test_the_masks_of_one_image_are_one_reference_with_a_note_and_the_image_is_none(folders, suffix: str) -> None:
    found, truth = folders("b/x.png b/y.png", "b/x.png b/x_mask.png b/x_mask_1.png b/y.png b/y_mask.png")
    pairing = pair_folders(found, truth, reference_suffix=suffix)
    assert paths(pairing) == {"b/x": "x.png + x_mask.png x_mask_1.png", "b/y": "y.png + y_mask.png"}
    assert pairing.only_reference == {}
    assert (
        pairing.notes[0] == "several masks of one image are united, in 1 of the cases: x_mask.png, x_mask_1.png of b/x"
    )
    assert (
        suffix or pairing.notes[1] == "images with masks of their name beside them are no references, 2 in all: x.png"
    )


def test_numbered_masks_belong_to_the_first_that_was_predicted(folders) -> None:
    pairing = pair_folders(*folders("x_mask.png", "x_mask.png x_mask_1.png x_mask2.png other_1.png"))
    assert paths(pairing) == {"x_mask": "x_mask.png + x_mask.png x_mask2.png x_mask_1.png"}
    assert list(pairing.only_reference) == ["other_1"]


def test_of_two_masks_of_one_case_by_name_and_by_suffix_nobody_knows_which_is_meant(folders) -> None:
    found, truth = folders("x.png", "x.png x_seg.png")
    Image.fromarray(np.eye(4, dtype=np.uint8) * 255).save(truth / "x.png")
    with pytest.raises(BadInput, match=r"x\.png and x_seg\.png are both masks of one case; .*--ref-suffix"):
        pair_folders(found, truth)
    assert paths(pair_folders(found, truth, reference_suffix="_seg")) == {"x": "x.png + x_seg.png"}


def test_masks_of_nnunets_images_are_paired_with_labels_that_have_no_channel(folders) -> None:
    pairing = pair_folders(*folders("a_0000.nii.gz b_0000.nii.gz c.nii.gz", "a.nii.gz b_0000.nii.gz c.nii.gz"))
    assert paths(pairing) == {
        "a": "a_0000.nii.gz + a.nii.gz",
        "b_0000": "b_0000.nii.gz + b_0000.nii.gz",
        "c": "c.nii.gz + c.nii.gz",
    }


def test_of_two_channels_of_one_case_the_first_is_meant_unless_the_suffix_chooses(folders) -> None:
    found, truth = folders("a_0000.nii.gz a_0001.nii.gz", "a.nii.gz")
    pairing = pair_folders(found, truth)
    assert paths(pairing) == {"a": "a_0000.nii.gz + a.nii.gz"}
    assert list(pairing.only_predicted) == ["a_0001"]
    assert paths(pair_folders(found, truth, "_0001")) == {"a": "a_0001.nii.gz + a.nii.gz"}


def test_a_suffix_is_no_begin_of_another(folders) -> None:
    found, truth = folders("x.png", "x_t.png x_t1.png x_t_2.png")
    assert paths(pair_folders(found, truth, reference_suffix="_t")) == {"x": "x.png + x_t.png x_t_2.png"}
