"""Does a written mask lie on the scan? Asked of programs that share no code with this project.

The phantom is asymmetric, 23 x 38 x 3, and stands in all 48 ways that axes can be swapped and turned, and askew.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import nibabel as nib
import numpy as np
import pydicom.data
import pytest
from dicom_files import dicom
from dicom_validators import centroid_lps, errors_of, segments_by_dcmqi
from pydicom import dcmread
from pydicom.uid import CTImageStorage

from medclipsam.errors import BadInput
from medclipsam.io import count_images, read_image, read_images, write_mask, write_seg, write_volume_mask
from medclipsam.io.dicom.seg import check_seg
from medclipsam.types import MedImage

SPACING_MM = (0.7, 0.9)
STEP_MM = 5.0
ORIGIN_MM = np.array([-12.0, 31.0, 7.0])
SIGNED_AXES = [sign * axis for axis in np.eye(3) for sign in (1, -1)]
ASKEW = np.array([[0.8, 0.6, 0], [-0.36, 0.48, 0.8], [0.48, -0.64, 0.6]])
FRAME = "<ReferencedFrameNumber>"
FILMS_OF_A_STILL_KIND = [f"SC_rgb_rle{bits}_2frame.dcm" for bits in ("", "_16bit", "_32bit")]
"""Their own kind of object allows one frame; the SEG says all the same which of the two it lies on."""
Cosines = tuple[np.ndarray, np.ndarray, int]
"""Of a row, of a column, and whether slices go along their cross product (1) or against it (-1)."""


def phantom() -> np.ndarray:
    volume = np.zeros((3, 23, 38), np.int16)
    volume[1, 3:9, 20:34] = 700
    volume[2, 3:5, 20:34] = 900
    return volume


def turns(base: np.ndarray | None = None) -> Iterator[Cosines]:
    """All 48 ways to lay rows, columns and slices along three axes."""
    axes = np.eye(3) if base is None else base
    for row, column, way in itertools.product(SIGNED_AXES, SIGNED_AXES, (1, -1)):
        if row @ column == 0:
            yield row @ axes, column @ axes, way


def series(folder: Path, cosines: Cosines, tilt_mm: float = 0.0) -> list[Path]:
    """The phantom as CT slices; with `tilt_mm` each is moved on along its columns, as a tilted gantry moves them."""
    row, column, way = cosines
    step = np.cross(row, column) * way * STEP_MM + column * tilt_mm
    folder.mkdir()
    return [
        dicom(
            folder / f"{number}.dcm",
            plane,
            SOPClassUID=CTImageStorage,
            SOPInstanceUID=f"1.2.3.{number + 1}",
            StudyInstanceUID="1.2.3.100",
            SeriesInstanceUID="1.2.3.200",
            FrameOfReferenceUID="1.2.3.300",
            PositionReferenceIndicator="",
            Modality="CT",
            SeriesNumber=1,
            InstanceNumber=number + 1,
            WindowCenter=400,
            WindowWidth=800,
            RescaleSlope=1,
            RescaleIntercept=0,
            PixelSpacing=list(SPACING_MM),
            SliceThickness=STEP_MM,
            ImageOrientationPatient=[float(f"{x:.8f}") for x in (*row, *column)],
            ImagePositionPatient=[float(f"{x:.8f}") for x in ORIGIN_MM + step * number],
        )
        for number, plane in enumerate(phantom())
    ]


def true_centroid_mm(cosines: Cosines, tilt_mm: float = 0.0) -> np.ndarray:
    """Of what is brighter than half the window, by PS3.3 C.7.6.2.1.1."""
    row, column, way = cosines
    slice_, i, j = np.argwhere(phantom() > 500).mean(axis=0)
    step = np.cross(row, column) * way * STEP_MM + column * tilt_mm
    return ORIGIN_MM + step * slice_ + column * i * SPACING_MM[0] + row * j * SPACING_MM[1]


def bright(images: list[MedImage]) -> list[np.ndarray]:
    return [image.pixels[..., 0] > 0.6 for image in images]


@pytest.mark.parametrize(("base", "every"), [(None, 1), (ASKEW, 8)], ids=["all 48", "askew"])
def test_dcmqi_finds_a_seg_within_half_a_voxel(tmp_path: Path, base: np.ndarray | None, every: int) -> None:
    missed = []
    for number, cosines in enumerate(list(turns(base))[::every]):
        images = [read_image(path) for path in series(tmp_path / f"{number}", cosines)]
        written = write_seg(images, {"liver": bright(images)}, tmp_path / f"{number}" / "seg")
        (found,) = segments_by_dcmqi(written, tmp_path / f"{number}" / "itk")
        missed.append(np.abs(centroid_lps(found) - true_centroid_mm(cosines)).max())
    assert len(missed) == 48 // every
    assert max(missed) < 0.01 < min(SPACING_MM) / 2


def test_slices_of_a_tilted_gantry_keep_their_places(tmp_path: Path) -> None:
    cosines = (np.array([1.0, 0, 0]), np.array([0, 1.0, 0]), 1)
    images = [read_image(path) for path in series(tmp_path / "in", cosines, tilt_mm=1.5)]
    found = dcmread(write_seg(images, {"liver": bright(images)}, tmp_path / "seg"))
    points = []
    for frame, group in zip(found.pixel_array, found.PerFrameFunctionalGroupsSequence, strict=True):
        corner = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        for i, j in np.argwhere(frame):
            points.append(corner + cosines[1] * i * SPACING_MM[0] + cosines[0] * j * SPACING_MM[1])
    np.testing.assert_allclose(np.mean(points, axis=0), true_centroid_mm(cosines, 1.5), atol=1e-6)


@pytest.mark.parametrize(("base", "axis"), [(None, 2), (ASKEW, 0), (ASKEW, 1)], ids=["all 48", "askew", "askew too"])
def test_simpleitk_finds_a_nifti_mask_within_half_a_voxel_in_all_48_orientations(
    tmp_path: Path, base: np.ndarray | None, axis: int
) -> None:
    sitk = pytest.importorskip("SimpleITK")
    missed = []
    for row, column, way in turns(base):
        affine = np.eye(4)
        affine[:3, :3] = np.stack([row * 0.9, column * 0.7, np.cross(row, column) * way * 5], axis=1)
        affine[:3, 3] = ORIGIN_MM
        voxels = phantom().transpose(2, 1, 0)
        nib.save(nib.Nifti1Image(voxels, affine), tmp_path / "scan.nii.gz")
        images = list(read_images(tmp_path / "scan.nii.gz", axis=axis, window=(400.0, 800.0)))
        masks = dict(enumerate(bright(images)))
        written = sitk.ReadImage(str(write_volume_mask(images[0].origin.volume, masks, tmp_path / "mask")))
        k, j, i = np.argwhere(sitk.GetArrayFromImage(written) > 0).mean(axis=0)
        found = np.array(written.TransformContinuousIndexToPhysicalPoint((i, j, k))) * (-1, -1, 1)
        true = nib.affines.apply_affine(affine, np.argwhere(voxels > 500).mean(axis=0))
        missed.append(np.abs(found - true).max())
    assert len(missed) == 48
    assert max(missed) < 0.01 < min(SPACING_MM) / 2


def test_a_slice_chosen_alone_lies_where_it_lies_in_its_volume(tmp_path: Path) -> None:
    sitk = pytest.importorskip("SimpleITK")
    nib.save(nib.Nifti1Image(phantom().transpose(2, 1, 0), np.diag([0.9, 0.7, 5, 1])), tmp_path / "scan.nii")
    image = read_image(tmp_path / "scan.nii", slice_index=2, window=(400.0, 800.0))
    written = sitk.ReadImage(str(write_mask(image, image.pixels[..., 0] > 0.6, tmp_path / "mask")))
    np.testing.assert_array_equal(
        np.argwhere(sitk.GetArrayFromImage(written)), np.argwhere(phantom() * [[[0]], [[0]], [[1]]] > 500)
    )


def bundled() -> list[Path]:
    """The images that come with pydicom."""
    return sorted((Path(pydicom.data.__file__).parent / "test_files").glob("*.dcm"))


@pytest.mark.parametrize(("kind", "every"), [("binary", 1), ("fractional", 6)])
def test_a_seg_of_every_bundled_file_is_without_errors_or_refused_with_a_reason(
    tmp_path: Path, kind: str, every: int
) -> None:
    wrong, written = {}, 0
    for path in bundled()[::every]:
        try:
            image = read_image(path, frame=1) if count_images(path) > 1 else read_image(path)
            check_seg(image, kind)
        except BadInput as error:
            assert "\n" not in str(error)
            continue
        mask = np.zeros(image.size, np.float32 if kind == "fractional" else bool)
        mask[image.size[0] // 4 : image.size[0] // 2, image.size[1] // 3 : image.size[1] // 2] = 1
        masks = {"liver tumor": [mask], "something unheard of": [np.roll(mask, 1, axis=0)]}
        seg = write_seg([image], masks, tmp_path / path.name, preset="embedded", kind=kind)
        written += 1
        errors = [error for error in errors_of(seg) if path.name not in FILMS_OF_A_STILL_KIND or FRAME not in error]
        if errors:
            wrong[path.name] = errors
    assert wrong == {}
    assert written > 40 // every


@pytest.mark.parametrize("kind", ["binary", "labelmap"])
def test_dcmqi_tells_the_segments_apart(tmp_path: Path, kind: str) -> None:
    cosines = (np.array([0, 1.0, 0]), np.array([0, 0, -1.0]), 1)
    images = [read_image(path) for path in series(tmp_path / "in", cosines)]
    first = bright(images)
    second = [np.roll(mask, 8, axis=0) for mask in first]
    written = write_seg(images, {"liver": first, "unheard of": second}, tmp_path / "seg", kind=kind)
    segments = segments_by_dcmqi(written, tmp_path / "itk")
    numbered = sum(np.asarray(segment.dataobj).astype(int) for segment in segments)
    counts = [int((numbered == number).sum()) for number in (1, 2)]
    assert counts == [int(np.sum(first)), int(np.sum(second))]
