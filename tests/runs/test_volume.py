"""A volume in a folder is decided on as `medclipsam segment` decides on it: the same masks, in every mode."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from bright import BrightSegmenter
from pydicom import dcmread
from run_folders import records_of
from series_files import series

from medclipsam.errors import BadInput
from medclipsam.io.source import ReadOptions
from medclipsam.runs import Summary
from medclipsam.runs.one_scan import ScanRequest, segment_scan
from medclipsam.types import MedImage, Segmentation
from medclipsam.volume.rules import VolumeMode

Label = Callable[..., Summary]
MODES = get_args(VolumeMode)
WINDOW = (500.0, 1000.0)
READING = ReadOptions(window=WINDOW)


class Shy(BrightSegmenter):
    """Sees half as much light where it is told where to look; as sure as a pixel is bright."""

    def segment(self, image: MedImage, text: str, **options: Any) -> Segmentation:
        grey = image.pixels.mean(axis=2)
        seen = replace(image, pixels=np.clip(2 * image.pixels, 0, 1)) if options["hints"] else image
        return replace(super().segment(seen, text, **options), probability=grey)


def slices() -> np.ndarray:
    """(9, 24, 20): a body with a dim slice within, a speck on one slice alone, and a small part of two slices."""
    volume = np.zeros((9, 24, 20), np.int16)
    for number in range(1, 7):
        volume[number, 4 + number // 2 : 14, 3:12] = 300 if number == 3 else 640 - 10 * number
    volume[1, 20:22, 2:4] = 900
    volume[6:8, 18:20, 14:18] = 900
    return volume


def segmented(scan: Path, folder: Path, mode: VolumeMode) -> Path:
    """The mask file of `medclipsam segment`."""
    request = ScanRequest(scan=scan, prompts=("liver",), folder=folder, volume_mode=mode, window=WINDOW)
    report = segment_scan(request, Shy, lambda *_: None)
    return folder / str(report["images"][0]["results"][0]["files"]["mask"])


@pytest.mark.parametrize("mode", MODES)
def test_a_nifti_volume_has_the_masks_of_segment(label: Label, scans: Path, out: Path, mode: VolumeMode) -> None:
    path = scans / "v.nii.gz"
    nib.save(nib.Nifti1Image(slices().transpose(2, 1, 0), np.diag([1, 1, 3, 1])), path)
    label("liver", reading=READING, segmenter=Shy(), volume_mode=mode)
    (written,) = (out / "masks" / "liver").glob("v*.nii.gz")
    alone = segmented(path, out.with_name("alone"), mode)
    assert written.read_bytes() == alone.read_bytes()


@pytest.mark.parametrize("mode", ["agree", "largest"])
def test_a_series_has_the_masks_of_segment(label: Label, tmp_path: Path, out: Path, mode: VolumeMode) -> None:
    series(tmp_path / "ct", volume=slices())
    (tmp_path / "cases.csv").write_text("file,prompt\nct,liver\n")
    label(source=tmp_path / "cases.csv", reading=READING, segmenter=Shy(), volume_mode=mode, formats=("seg",))
    (written,) = map(dcmread, (out / "masks" / "liver").glob("*.dcm"))
    alone = dcmread(segmented(tmp_path / "ct", out.with_name("alone"), mode))
    assert written.SOPInstanceUID == alone.SOPInstanceUID
    np.testing.assert_array_equal(written.pixel_array, alone.pixel_array)


def test_the_modes_differ_here_so_that_their_agreement_says_something(tmp_path: Path) -> None:
    path = tmp_path / "v.nii.gz"
    nib.save(nib.Nifti1Image(slices().transpose(2, 1, 0), np.diag([1, 1, 3, 1])), path)
    sums = {mode: int(np.asarray(nib.load(segmented(path, tmp_path / mode, mode)).dataobj).sum()) for mode in MODES}
    assert sums.pop("stack") == sums["agree"], "a method without evidence has nothing to settle"
    assert len(set(sums.values())) == len(sums)


def test_what_is_wanted_always_no_neighbour_takes_away(label: Label, scans: Path, out: Path) -> None:
    nib.save(nib.Nifti1Image(slices().transpose(2, 1, 0), np.diag([1, 1, 3, 1])), scans / "v.nii.gz")
    label("liver", reading=READING, segmenter=Shy(), always=True, output=out / "a")
    label("liver", reading=READING, segmenter=Shy(), volume_mode="slices", output=out / "s")
    found = [next((out / each / "masks" / "liver").glob("v*")).read_bytes() for each in "as"]
    assert found[0] == found[1]


def test_a_prompt_that_fails_on_one_slice_takes_no_other_with_it(label: Label, scans: Path, out: Path) -> None:
    class Choosy(Shy):
        def segment(self, image: MedImage, text: str, **options: Any) -> Segmentation:
            if text == "heart" and image.name.endswith("s0005"):
                raise BadInput("a slice too dark")
            return super().segment(image, text, **options)

    nib.save(nib.Nifti1Image(slices().transpose(2, 1, 0), np.diag([1, 1, 3, 1])), scans / "v.nii.gz")
    label("heart", "liver", reading=READING, segmenter=Choosy(), output=out / "two")
    label("liver", reading=READING, segmenter=Shy(), output=out / "one")
    records = records_of(out / "two")
    assert (records["v heart"].status, records["v heart"].reason) == ("refused", "a slice too dark")
    assert not list((out / "two" / "masks" / "heart").glob("v*"))
    two, one = (next((out / each / "masks" / "liver").glob("v*")).read_bytes() for each in ("two", "one"))
    assert two == one


def test_a_detached_header_is_one_case_which_its_voxels_belong_to(
    tmp_path: Path, label: Label, scans: Path, out: Path
) -> None:
    shutil.rmtree(scans)
    scans.mkdir()
    voxels = np.zeros((4, 20, 30), np.float32)
    voxels[1:3, 4:9, 8:14] = 1
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(scans / "v.mhd"))
    label("liver")
    (record,) = records_of(out).values()
    (written,) = (out / "masks" / "liver").glob("v*.mha")
    np.testing.assert_array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(written))), voxels)
    assert label("liver").kept == 1
    voxels[0, 4:9, 8:14] = 1
    (scans / "v.raw").write_bytes(voxels.tobytes())
    assert label("liver").kept == 0
    (again,) = records_of(out).values()
    assert again.input_sha256 != record.input_sha256


def test_a_series_in_a_folder_gets_a_volume_and_one_that_is_none_its_pictures(
    label: Label, tmp_path: Path, out: Path
) -> None:
    series(tmp_path / "ct", volume=slices())
    series(tmp_path / "mr", volume=slices(), at_mm=[0.0, 5, 10, 15, 21.7, 25, 30, 35, 40], uid="1.2.3.201")
    (tmp_path / "cases.csv").write_text("file,prompt\nct,liver\nmr,liver\n")
    options = {"reading": READING, "segmenter": Shy(), "volume_mode": "slices"}
    label(source=tmp_path / "cases.csv", formats=("nrrd",), min_confidence=0.7, **options)
    folders = [out / kind / "liver" for kind in ("masks", "doubtful")]
    shapes = [sitk.ReadImage(str(path)).GetSize() for folder in folders for path in folder.glob("ct*.nrrd")]
    assert shapes == [(20, 24, 9), (20, 24, 9)]
    assert not list(out.glob("*/liver/mr*.nrrd"))
    assert list(out.glob("*/liver/mr*.png"))
    assert {record.status for record in records_of(out).values()} <= {"done", "doubtful"}


def test_the_table_of_measurements_has_a_row_for_each_volume_and_image_and_comes_again(
    label: Label, tmp_path: Path, scans: Path, out: Path
) -> None:
    voxels = np.zeros((4, 20, 30), np.float32)
    voxels[1:3, 4:9, 8:14] = 1
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((0.5, 2.0, 3.0))
    sitk.WriteImage(image, str(scans / "v.nrrd"))
    label("liver")
    with (out / "measurements.csv").open(newline="") as file:
        rows = {row["case"][0]: row for row in csv.DictReader(file)}
    assert set(rows) == {"a", "b", "v"}
    volume, picture = rows["v"], rows["a"]
    assert (volume["prompt"], volume["status"], volume["voxels"], volume["slices"]) == ("liver", "done", "60", "2")
    assert float(volume["volume_mm3"]) == 60 * 0.5 * 2 * 3
    assert [float(volume[f"centroid_{side}_mm"]) for side in ("left", "back", "head")] == [10.5 * 0.5, 6 * 2, 1.5 * 3]
    assert (volume["value_mean"], volume["value_unit"], volume["area_mm2"]) == ("1.0", "", "")
    assert (picture["area_mm2"], picture["voxels"], picture["diameter_unit"]) == ("", "", "px")
    assert int(picture["area_px"]) > 0
    before = (out / "measurements.csv").read_bytes()
    (out / "measurements.csv").unlink()
    assert label("liver").kept == 3
    assert (out / "measurements.csv").read_bytes() == before
