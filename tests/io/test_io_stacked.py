"""Masks of DICOM series as NIfTI, NRRD, MetaImage, MGZ and Slicer's segmentations."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from bright import BrightSegmenter
from series_files import OBLIQUE, RIGHT_ANGLES, STEP_MM, Cosines, phantom, series, true_centroid_mm

from medclipsam.errors import BadInput
from medclipsam.io.mask_formats import ScanFormat
from medclipsam.runs.one_scan import ScanRequest, segment_scan

FORMATS: tuple[ScanFormat, ...] = "nifti", "nrrd", "mha", "mgz", "seg.nrrd"
FIVE = np.concatenate([phantom(), phantom()[1:]])


def segmented(scan: Path, folder: Path, formats: Sequence[ScanFormat] = FORMATS, **options: Any) -> dict[str, Path]:
    """The mask files of all formats."""
    request = ScanRequest(scan=scan, prompts=("liver",), folder=folder, formats=tuple(formats), **options)
    report = segment_scan(request, BrightSegmenter, lambda *_: None)
    files = report["images"][0]["results"][0]["files"]
    return {role: folder / name for role, name in files.items() if role.startswith("mask")}


def centroid_lps_mm(path: Path) -> np.ndarray:
    """Where the mask lies, as another reader sees it."""
    if path.suffix == ".mgz":
        volume = nib.load(path)
        inside = np.argwhere(np.asarray(volume.dataobj)).mean(axis=0)
        return np.asarray(nib.affines.apply_affine(volume.affine, inside)) * (-1, -1, 1)
    image = sitk.ReadImage(str(path))
    inside = np.argwhere(sitk.GetArrayFromImage(image))[:, ::-1].mean(axis=0)
    return np.asarray(image.TransformContinuousIndexToPhysicalPoint(inside.tolist()))


@pytest.mark.parametrize("cosines", [*RIGHT_ANGLES[::2], *OBLIQUE])
def test_the_mask_of_a_series_lies_where_the_scanner_put_it_in_every_format(tmp_path: Path, cosines: Cosines) -> None:
    series(tmp_path / "ct", cosines)
    files = segmented(tmp_path / "ct", tmp_path / "out", volume_mode="slices")
    assert [path.name.split("_")[-1].split(".", 1)[-1] for path in files.values()] == [
        *("nii.gz", "nrrd", "mha", "mgz", "seg.nrrd")
    ]
    for path in files.values():
        np.testing.assert_allclose(centroid_lps_mm(path), true_centroid_mm(phantom(), cosines), atol=1e-3)


def test_a_series_as_simpleitk_reads_it_has_the_same_voxels(tmp_path: Path) -> None:
    paths = series(tmp_path / "ct", OBLIQUE[0])
    scan = sitk.ReadImage([str(path) for path in paths])
    files = segmented(tmp_path / "ct", tmp_path / "out", ["nrrd"], volume_mode="slices")
    mask = sitk.ReadImage(str(files["mask"]))
    np.testing.assert_array_equal(sitk.GetArrayFromImage(mask) > 0, sitk.GetArrayFromImage(scan) > 500)
    assert mask.GetOrigin() == pytest.approx(scan.GetOrigin(), abs=1e-4)
    assert mask.GetDirection() == pytest.approx(scan.GetDirection(), abs=1e-5)


def test_a_missing_slice_is_empty_in_the_volume_and_moves_nothing(tmp_path: Path) -> None:
    places = [0.0, 5.0, 10.0, 20.0, 25.0]
    series(tmp_path / "ct", volume=FIVE, at_mm=places)
    files = segmented(tmp_path / "ct", tmp_path / "out", volume_mode="slices")
    for path in files.values():
        np.testing.assert_allclose(
            centroid_lps_mm(path), true_centroid_mm(FIVE, ((1, 0, 0), (0, 1, 0)), places), atol=1e-3
        )
    written = sitk.GetArrayFromImage(sitk.ReadImage(str(files["mask_nrrd"])))
    assert [plane.any() for plane in written] == [False, True, True, False, True, True]


def test_a_tilted_gantry_gives_a_sheared_grid(tmp_path: Path) -> None:
    series(tmp_path / "ct", tilt=0.2)
    files = segmented(tmp_path / "ct", tmp_path / "out", ["nrrd", "mgz"], volume_mode="slices")
    wanted = true_centroid_mm(phantom(), ((1, 0, 0), (0, 1, 0)), tilt=0.2)
    np.testing.assert_allclose(centroid_lps_mm(files["mask_mgz"]), wanted, atol=1e-3)


@pytest.mark.parametrize("places", [[0.0, 5.0, 11.7], [0.0, 4.0, 11.0]])
def test_uneven_slices_make_no_volume_and_nothing_is_written(tmp_path: Path, places: list[float]) -> None:
    series(tmp_path / "ct", at_mm=places)
    with pytest.raises(BadInput, match="unevenly spaced make no volume"):
        segmented(tmp_path / "ct", tmp_path / "out", ["nrrd"])
    assert not (tmp_path / "out").exists()


def test_small_deviations_of_many_slices_do_not_add_up(tmp_path: Path) -> None:
    many = np.repeat(phantom()[1:2], 60, axis=0)
    places = (np.arange(60) * STEP_MM + np.random.default_rng(0).uniform(-0.05, 0.05, 60)).tolist()
    series(tmp_path / "ct", volume=many, at_mm=places)
    files = segmented(tmp_path / "ct", tmp_path / "out", ["mha"], volume_mode="slices")
    wanted = true_centroid_mm(many, ((1, 0, 0), (0, 1, 0)), places)
    np.testing.assert_allclose(centroid_lps_mm(files["mask"]), wanted, atol=0.1)


def test_a_picture_without_a_place_and_a_slice_alone_have_no_volume(tmp_path: Path) -> None:
    (alone,) = series(tmp_path / "x", volume=phantom()[1:2], ImagePositionPatient=None)
    with pytest.raises(BadInput, match="does not say how it lies in the patient"):
        segmented(alone, tmp_path / "out", ["nifti"])
    series(tmp_path / "ct")
    with pytest.raises(BadInput, match=r"no slice of a volume|one slice alone"):
        segmented(tmp_path / "ct", tmp_path / "out", ["nifti"], slice_index=1)
