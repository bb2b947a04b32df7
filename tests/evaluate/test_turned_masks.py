"""Do pictures of NIfTI scans lie on NIfTI references as they were shown, and is what nobody knows refused?"""

from __future__ import annotations

from itertools import permutations, product
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from bright import BrightSegmenter
from mask_folders import folder
from PIL import Image

from medclipsam.errors import BadInput
from medclipsam.evaluate import Measuring, evaluate_folders
from medclipsam.io.source import ReadOptions
from medclipsam.runs import LabelRequest, label_folder

CORNER = np.zeros((14, 10), bool)
CORNER[1:7, 1:4] = True


def volume(path: Path, values: np.ndarray, affine: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    nib.save(nib.Nifti1Image(values, affine), path)


def labelled(tmp_path: Path, inside: np.ndarray, affine: np.ndarray, name: str = "v.nii.gz", **asked: object) -> Path:
    """A scan that is bright inside, labelled as pictures; and its reference with the same header."""
    volume(tmp_path / "scans" / name, np.where(inside, 200, 40).astype(np.int16), affine)
    volume(tmp_path / "truth" / name.replace("_0000", ""), inside.astype(np.uint8), affine)
    request = LabelRequest(
        source=tmp_path / "scans", output=tmp_path / "labels", prompts=("tumor",), formats=("png",), **asked
    )
    label_folder(request, BrightSegmenter, lambda *_: None)
    assert list((tmp_path / "labels" / "masks").rglob("*.png"))
    return tmp_path / "labels"


def affines() -> list[np.ndarray]:
    """Every way that the axes of a volume can run through a patient."""
    found = []
    for axes, signs in product(permutations(range(3)), product((1, -1), repeat=3)):
        affine = np.eye(4)
        affine[:3, :3] = 0
        affine[axes, range(3)] = signs
        found.append(affine)
    return found


@pytest.mark.parametrize("affine", affines(), ids=lambda affine: str(affine[:3, :3].astype(int).tolist()))
def test_the_picture_of_a_slice_fits_its_reference_however_that_is_stored(tmp_path: Path, affine: np.ndarray) -> None:
    labels = labelled(tmp_path, CORNER[..., None], affine)
    (case,) = evaluate_folders(labels, tmp_path / "truth").cases
    assert (case.problem, case.scores and case.scores.dice) == ("", 1.0)


@pytest.mark.parametrize("safe_names", [True, False])
@pytest.mark.parametrize("scan", ["v.nii.gz", "v_0000.nii.gz"])
def test_references_that_lie_elsewhere_fit_too_where_the_record_names_the_scan(
    tmp_path: Path, scan: str, safe_names: bool
) -> None:
    labels = labelled(tmp_path, CORNER[..., None], np.eye(4), scan, safe_names=safe_names)
    (tmp_path / "elsewhere" / "deep").mkdir(parents=True)
    (tmp_path / "truth" / "v.nii.gz").rename(tmp_path / "elsewhere" / "deep" / "v.nii.gz")
    (case,) = evaluate_folders(labels, tmp_path / "elsewhere").cases
    if safe_names:
        assert "has no orientation" in case.problem
    else:
        assert (case.problem, case.scores and case.scores.dice) == ("", 1.0)


@pytest.mark.parametrize("axis", [None, "sagittal", "axial", 1])
def test_the_pictures_of_a_volume_are_measured_as_the_volume(tmp_path: Path, axis: object) -> None:
    inside = np.zeros((14, 10, 12), bool)
    inside[1:7, 1:4, 2:7] = True
    affine = np.diag([2.0, 0.5, 1.0, 1.0])
    labels = labelled(tmp_path, inside, affine, "v_0000.nii.gz", reading=ReadOptions(axis=axis))
    for measuring in (Measuring(), Measuring(unit="mm")):
        (case,) = evaluate_folders(labels, tmp_path / "truth", measuring).cases
        assert (case.name, case.problem, case.scores and case.scores.dice) == ("v", "", 1.0)


def test_distances_in_mm_follow_the_turned_axes(tmp_path: Path) -> None:
    labels = labelled(tmp_path, CORNER[..., None], np.diag([3.0, 0.5, 1.0, 1.0]))
    volume(tmp_path / "truth" / "v.nii.gz", np.roll(CORNER, 2, 0)[..., None].astype(np.uint8), np.diag([3, 0.5, 1, 1]))
    (case,) = evaluate_folders(labels, tmp_path / "truth", Measuring(unit="mm")).cases
    assert case.scores is not None
    assert case.scores.hd95 == 6.0


def test_a_picture_that_no_run_wrote_is_laid_on_a_nifti_mask_only_as_it_is_said_to_lie(tmp_path: Path) -> None:
    found = folder(tmp_path / "found", v=CORNER.T)
    volume(tmp_path / "truth" / "v.nii.gz", CORNER[..., None].astype(np.uint8), np.eye(4))
    (case,) = evaluate_folders(found, tmp_path / "truth").cases
    assert case.problem.startswith("v.png has no orientation and v.nii.gz has: ")
    assert "--pictures" in case.problem
    for pictures, dice in (("as-stored", 1.0), ("as-shown", 0.0)):
        (case,) = evaluate_folders(found, tmp_path / "truth", Measuring(pictures=pictures)).cases
        assert case.scores is not None
        assert case.scores.dice == dice


def test_a_nifti_mask_on_a_picture_is_refused_alike(tmp_path: Path) -> None:
    truth = folder(tmp_path / "truth", v=CORNER.T[::-1, ::-1])
    volume(tmp_path / "found" / "v.nii.gz", CORNER[..., None].astype(np.uint8), np.eye(4))
    (case,) = evaluate_folders(tmp_path / "found", truth).cases
    assert "has no orientation" in case.problem
    (case,) = evaluate_folders(tmp_path / "found", truth, Measuring(pictures="as-shown")).cases
    assert case.scores is not None
    assert case.scores.dice == 1.0


def test_where_shown_and_stored_are_one_nothing_has_to_be_said(tmp_path: Path) -> None:
    found = folder(tmp_path / "found", v=CORNER.T)
    volume(tmp_path / "truth" / "v.nii.gz", CORNER[..., None].astype(np.uint8), np.diag([-1, -1, 1, 1]))
    (case,) = evaluate_folders(found, tmp_path / "truth").cases
    assert case.scores is not None
    assert case.scores.dice == 1.0


def test_the_pictures_of_a_scan_that_was_no_nifti_have_no_known_place_on_a_nifti_reference(tmp_path: Path) -> None:
    (tmp_path / "scans").mkdir()
    Image.fromarray(np.where(CORNER.T, 200, 40).astype(np.uint8)).save(tmp_path / "scans" / "v.png")
    volume(tmp_path / "truth" / "v.nii.gz", CORNER[..., None].astype(np.uint8), np.eye(4))
    request = LabelRequest(source=tmp_path / "scans", output=tmp_path / "labels", prompts=("tumor",))
    label_folder(request, BrightSegmenter, lambda *_: None)
    (case,) = evaluate_folders(tmp_path / "labels", tmp_path / "truth").cases
    assert "has no orientation" in case.problem
    with pytest.raises(BadInput, match="no folder"):
        evaluate_folders(tmp_path / "labels", tmp_path / "none")
