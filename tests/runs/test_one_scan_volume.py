"""One run over a volume: slices in, one mask that lies on them out, in memory that does not grow with their number."""

from __future__ import annotations

import json
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import nrrd
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from bright import BrightSegmenter
from pydicom import dcmread
from series_files import OBLIQUE, RIGHT_ANGLES, SHAPE, STEP_MM, Cosines, phantom, series, true_centroid_mm

from medclipsam.errors import BadInput
from medclipsam.io.mask_formats import ScanFormat
from medclipsam.runs.one_scan import ScanRequest, segment_scan
from medclipsam.types import Box, Hints

AXIAL: Cosines = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
HALF_A_VOXEL_MM = 0.35
Run = Callable[..., dict[str, Any]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Segment with the bright method into `out`."""

    def segment(scan: Path, **options: Any) -> dict[str, Any]:
        request = ScanRequest(scan=scan, prompts=("liver",), **{"folder": tmp_path / "out", **options})
        return segment_scan(request, BrightSegmenter, lambda *_: None)

    return segment


class InPairs(BrightSegmenter):
    """It likes two images at once."""

    def images_at_once(self, most: int) -> int:
        return min(2, most)


def test_slices_are_encoded_some_at_a_time_where_that_is_faster(tmp_path: Path, run: Run) -> None:
    scan, method = nifti(tmp_path / "v.nii.gz", [0, 1, 1, 1, 0]), InPairs()
    request = ScanRequest(scan=scan, prompts=("liver",), folder=tmp_path / "pairs")
    in_pairs = segment_scan(request, lambda: method, lambda *_: None)
    assert [len(names) for names in method.prepared] == [2, 2, 1]
    assert np.array_equal(mask_of(in_pairs, tmp_path / "pairs"), mask_of(run(scan), tmp_path / "out"))


def test_a_picture_alone_is_not_encoded_ahead(tmp_path: Path) -> None:
    method = InPairs()
    request = ScanRequest(scan=nifti(tmp_path / "v.nii.gz", [1, 1]), prompts=("liver",), slice_index=1)
    segment_scan(replace(request, folder=tmp_path / "out"), lambda: method, lambda *_: None)
    assert method.prepared == []


def found(report: dict[str, Any]) -> list[bool]:
    return [image["results"][0]["found"] for image in report["images"]]


def nifti(path: Path, bright: list[int]) -> Path:
    """Slices of 9 x 7 with a bright square on those that are named by 1."""
    voxels = np.zeros((9, 7, len(bright)), np.int16)
    voxels[2:6, 2:5] = 100 * np.array(bright, np.int16)
    voxels[..., 0, :] = 20
    nib.save(nib.Nifti1Image(voxels, np.diag([1.0, 1.0, 3.0, 1.0])), path)
    return path


def mask_of(report: dict[str, Any], folder: Path) -> np.ndarray:
    return np.asarray(nib.load(folder / report["images"][0]["results"][0]["files"]["mask"]).dataobj)


@pytest.mark.parametrize("cosines", [RIGHT_ANGLES[3], RIGHT_ANGLES[12], *OBLIQUE], ids=str)
@pytest.mark.parametrize("tilt", [0.0, 0.2])
def test_the_seg_of_a_series_lies_where_the_phantom_does(
    tmp_path: Path, run: Run, cosines: Cosines, tilt: float
) -> None:
    """By what each frame of the file says of its place (PS3.3 C.7.6.2.1.1)."""
    series(tmp_path / "scan", cosines, tilt=tilt, names=("c", "a", "b"))
    report = run(tmp_path / "scan", volume_mode="slices")
    written = dcmread(tmp_path / "out" / report["images"][0]["results"][0]["files"]["mask"])
    points = []
    shared = written.SharedFunctionalGroupsSequence[0]
    row, column = np.array(shared.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    height_mm, width_mm = (float(side) for side in shared.PixelMeasuresSequence[0].PixelSpacing)
    for frame, group in zip(written.pixel_array, written.PerFrameFunctionalGroupsSequence, strict=True):
        place = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        points += [place + row * j * width_mm + column * i * height_mm for i, j in np.argwhere(frame)]
    truth = true_centroid_mm(phantom(), cosines, tilt=tilt)
    assert np.linalg.norm(np.mean(points, axis=0) - truth) < HALF_A_VOXEL_MM
    referenced = written.ReferencedSeriesSequence[0].ReferencedInstanceSequence
    assert len(referenced) == SHAPE[0]


@pytest.mark.parametrize("cosines", [RIGHT_ANGLES[3], RIGHT_ANGLES[12], OBLIQUE[0]], ids=str)
def test_dcmqi_finds_the_mask_of_a_series_where_the_phantom_is(tmp_path: Path, run: Run, cosines: Cosines) -> None:
    sitk = pytest.importorskip("SimpleITK")
    program = Path(sys.executable).with_name("segimage2itkimage")
    if not program.exists():
        pytest.skip("dcmqi is not installed")
    series(tmp_path / "scan", cosines, names=("c", "a", "b"))
    report = run(tmp_path / "scan", volume_mode="slices")
    seg = tmp_path / "out" / report["images"][0]["results"][0]["files"]["mask"]
    command = [program, "--inputDICOM", seg, "--outputDirectory", tmp_path, "-t", "nrrd"]
    subprocess.run(command, check=True, capture_output=True)
    mask = sitk.ReadImage(str(tmp_path / "1.nrrd"))
    k, i, j = np.argwhere(sitk.GetArrayFromImage(mask)).mean(axis=0)
    place = mask.TransformContinuousIndexToPhysicalPoint((float(j), float(i), float(k)))
    assert np.linalg.norm(np.array(place) - true_centroid_mm(phantom(), cosines)) < HALF_A_VOXEL_MM


def test_a_zip_gives_what_its_folder_gives(tmp_path: Path, run: Run) -> None:
    paths = series(tmp_path / "scan")
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as made:
        for path in paths:
            made.write(path, path.name)
    one, other = run(tmp_path / "scan"), run(tmp_path / "scan.zip", folder=tmp_path / "zip")
    assert found(one) == found(other) == [False, True, True]
    assert [image["sha256"] for image in one["images"]] == [image["sha256"] for image in other["images"]]


def test_a_series_with_a_gap_is_segmented_slice_by_slice_and_says_so(tmp_path: Path, run: Run) -> None:
    series(tmp_path / "scan", volume=phantom(6)[1:], at_mm=[0, 5, 15, 20, 25])
    report = run(tmp_path / "scan")
    assert found(report) == [True, True, True, True, True]
    assert any("1 slices are missing" in warning for warning in report["images"][0]["warnings"])


def test_a_span_of_slices_gives_a_mask_of_the_volume_empty_elsewhere(tmp_path: Path, run: Run) -> None:
    report = run(nifti(tmp_path / "v.nii", [1] * 9), span=(2, 5))
    assert len(report["images"]) == 3
    assert mask_of(report, tmp_path / "out").any(axis=(0, 1)).tolist() == [2 <= k < 5 for k in range(9)]


@pytest.mark.parametrize(("span", "count"), [((0, 3), 3), ((7, None), 2), ((0, 99), 9)])
def test_spans_may_be_open(tmp_path: Path, run: Run, span: tuple[int, int | None], count: int) -> None:
    assert len(run(nifti(tmp_path / "v.nii", [1] * 9), span=span)["images"]) == count


@pytest.mark.parametrize("span", [(9, None), (5, 5), (6, 2)])
def test_a_span_without_slices_is_refused(tmp_path: Path, run: Run, span: tuple[int, int | None]) -> None:
    with pytest.raises(BadInput, match="has 9 slices, none of them chosen"):
        run(nifti(tmp_path / "v.nii", [1] * 9), span=span)


def test_all_slices_are_taken_unless_some_are_chosen(tmp_path: Path, run: Run) -> None:
    report = run(nifti(tmp_path / "v.nii", [1] * 9))
    assert (len(report["images"]), report["volume_mode"]) == (9, "stack")


def test_neighbours_are_heard_and_the_files_show_it(tmp_path: Path, run: Run) -> None:
    scan = nifti(tmp_path / "v.nii", [0, 1, 0, 0, 1, 1, 0])
    plain = run(scan, volume_mode="slices", folder=tmp_path / "plain")
    report = run(scan, volume_mode="agree")
    assert found(plain) == [False, True, False, False, True, True, False]
    assert found(report) == [False, False, False, False, True, True, False]
    assert mask_of(report, tmp_path / "out").any(axis=(0, 1)).tolist() == found(report)
    assert [image["results"][0]["area_px"] for image in report["images"]] == [0, 0, 0, 0, 12, 12, 0]
    assert json.loads((tmp_path / "out" / "report.json").read_text())["volume_mode"] == "agree"


def test_the_largest_parts_alone_are_kept(tmp_path: Path, run: Run) -> None:
    scan = nifti(tmp_path / "v.nii", [1, 1, 1, 1, 1, 0, 0, 1, 1])
    assert found(run(scan, volume_mode="largest")) == [True] * 5 + [False] * 4


@pytest.mark.parametrize("own", [{"hints": Hints(boxes=(Box(x0=0, y0=0, x1=8, y1=6),))}, {"always": True}])
def test_what_a_person_points_at_no_neighbour_takes_away(tmp_path: Path, run: Run, own: dict[str, Any]) -> None:
    assert found(run(nifti(tmp_path / "v.nii", [0, 1, 0, 0]), volume_mode="agree", **own))[1]


def test_a_series_is_chosen_by_its_number(tmp_path: Path, run: Run) -> None:
    series(tmp_path / "scan" / "a")
    series(tmp_path / "scan" / "b", RIGHT_ANGLES[0], volume=phantom(5), uid="1.2.9")
    with pytest.raises(BadInput, match="choose one by --series N"):
        run(tmp_path / "scan")
    assert len(run(tmp_path / "scan", series="2")["images"]) == SHAPE[0]


def test_a_box_outside_some_slice_is_refused(tmp_path: Path, run: Run) -> None:
    with pytest.raises(BadInput, match="outside"):
        run(nifti(tmp_path / "v.nii", [1, 1]), hints=Hints(boxes=(Box(x0=70, y0=0, x1=80, y1=9),)))


PEAK = """
import resource, sys
sys.path.insert(0, {tests!r})
from pathlib import Path
from bright import BrightSegmenter
from medclipsam.io.mask_formats import ScanFormat
from medclipsam.runs.one_scan import ScanRequest, segment_scan
from medclipsam.runs.one_scan import ScanRequest, segment_scan
request = ScanRequest(scan=Path({scan!r}), prompts=("liver", "whole liver"), folder=Path({out!r}))
segment_scan(request, BrightSegmenter, lambda *_: None)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def peak_kb(scan: Path, out: Path) -> int:
    code = PEAK.format(tests=str(Path(__file__).parent), scan=str(scan), out=str(out))
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return int(done.stdout)


def large(slices: int) -> np.ndarray:
    volume = np.zeros((slices, 256, 256), np.int16)
    volume[slices // 4 :, 60:140, 90:200] = 700
    volume += np.random.default_rng(0).integers(0, 50, volume.shape, np.int16)
    return volume


def write_series(folder: Path, slices: int) -> Path:
    series(folder / "scan", volume=large(slices), at_mm=np.arange(slices) * STEP_MM)
    return folder / "scan"


def write_nifti(folder: Path, slices: int) -> Path:
    folder.mkdir()
    nib.save(nib.Nifti1Image(large(slices).transpose(2, 1, 0), np.diag([1, 1, 3, 1])), folder / "v.nii.gz")
    return folder / "v.nii.gz"


@pytest.mark.slow
@pytest.mark.parametrize("write", [write_series, write_nifti])
def test_two_hundred_slices_need_the_memory_of_fifty(tmp_path: Path, write: Callable[[Path, int], Path]) -> None:
    few, many = (peak_kb(write(tmp_path / str(n), n), tmp_path / f"out{n}") for n in (50, 200))
    assert many < 1.15 * few, f"50 slices {few // 1024} MB, 200 slices {many // 1024} MB"


@pytest.mark.parametrize("name", ["v.nrrd", "v.nhdr", "v.mha", "v.mhd"])
@pytest.mark.parametrize("format", ["auto", "nrrd", "mha", "mgz", "nifti"])
def test_a_volume_file_gets_its_mask_in_its_own_format_or_in_the_one_asked_for(
    tmp_path: Path, run: Run, name: str, format: ScanFormat
) -> None:
    voxels = np.zeros((4, 20, 30), np.float32)
    voxels[1:3, 4:9, 8:14] = 1
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((0.8, 0.7, 3.0))
    image.SetOrigin((10.0, -5.0, 7.0))
    sitk.WriteImage(image, str(tmp_path / name))
    report = run(tmp_path / name, formats=(format,))
    mask = tmp_path / "out" / report["images"][0]["results"][0]["files"]["mask"]
    own = {".nhdr": ".nrrd", ".mhd": ".mha"}.get(Path(name).suffix, Path(name).suffix)
    assert mask.name.endswith({"auto": own, "nifti": ".nii.gz"}.get(format, f".{format}"))
    if mask.suffix == ".mgz":
        np.testing.assert_array_equal(np.asarray(nib.load(mask).dataobj).T, voxels)
    else:
        written = sitk.ReadImage(str(mask))
        np.testing.assert_array_equal(sitk.GetArrayFromImage(written), voxels)
        assert written.GetOrigin() == pytest.approx(image.GetOrigin())
        assert written.GetSpacing() == pytest.approx(image.GetSpacing())


def test_a_format_that_needs_a_place_is_refused_before_a_model_is_loaded(tmp_path: Path) -> None:
    nrrd.write(str(tmp_path / "v.nrrd"), np.arange(4 * 5 * 6, dtype=np.uint8).reshape(4, 5, 6))
    request = ScanRequest(scan=tmp_path / "v.nrrd", prompts=("liver",), folder=tmp_path / "out", formats=("nifti",))
    with pytest.raises(BadInput, match="does not say how it lies in the patient"):
        segment_scan(request, lambda: pytest.fail("loaded"), lambda *_: None)


def test_all_prompts_of_a_volume_are_one_segmentation_for_slicer(tmp_path: Path) -> None:
    voxels = np.zeros((4, 20, 30), np.float32)
    voxels[1:3, 4:9, 8:14] = 1
    sitk.WriteImage(sitk.GetImageFromArray(voxels), str(tmp_path / "v.mha"))
    asked = {"prompts": ("liver", "spleen"), "formats": ("seg.nrrd", "auto"), "folder": tmp_path / "out"}
    report = segment_scan(ScanRequest(scan=tmp_path / "v.mha", **asked), BrightSegmenter, lambda *_: None)  # type: ignore[arg-type]
    results = [result for image in report["images"] for result in image["results"]]
    (name,) = {result["files"]["mask"] for result in results}
    assert name.endswith(".seg.nrrd")
    assert {result["files"]["mask_mha"] for result in results} == {
        path.name for path in (tmp_path / "out").glob("*.mha")
    }
    written, header = nrrd.read(str(tmp_path / "out" / name))
    assert [header[f"Segment{number}_Name"] for number in (0, 1)] == ["liver", "spleen"]
    np.testing.assert_array_equal(written[0].T > 0, voxels > 0)
