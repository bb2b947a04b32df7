"""DICOM series: slices in the order of their places, whatever the files are called, and clear words for odd ones."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import highdicom
import nibabel as nib
import numpy as np
import pytest
from dicom_files import PLANTED, dicom, item
from pydicom import dcmread
from pydicom.data import get_testdata_file
from series_files import (
    OBLIQUE,
    ORIGIN,
    RIGHT_ANGLES,
    SHAPE,
    SPACING_MM,
    STEP_MM,
    Cosines,
    phantom,
    series,
    true_centroid_mm,
)

from medclipsam.errors import BadInput
from medclipsam.io import count_images, read_image, read_images
from medclipsam.io.dicom.contrast import MEDIAN_WINDOW
from medclipsam.io.dicom.frames import MOSAIC
from medclipsam.io.dicom.stacks import NO_PLACE, SAME_TWICE
from medclipsam.io.reading import open_source
from medclipsam.io.source import ReadOptions
from medclipsam.types import MedImage

AXIAL: Cosines = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
HALF_A_VOXEL_MM = min(*SPACING_MM, STEP_MM) / 2


def bright(images: Sequence[MedImage]) -> np.ndarray:
    return np.stack([image.pixels[..., 0] > 0.6 for image in images])


def centroid_mm(images: Sequence[MedImage]) -> np.ndarray:
    """Of the bright pixels, by what each slice's own header says (PS3.3 C.7.6.2.1.1)."""
    points = []
    for image, mask in zip(images, bright(images), strict=True):
        header = image.origin.header
        row, column = np.array(header.ImageOrientationPatient, float).reshape(2, 3)
        for i, j in np.argwhere(mask):
            offset = row * j * float(header.PixelSpacing[1]) + column * i * float(header.PixelSpacing[0])
            points.append(np.array(header.ImagePositionPatient, float) + offset)
    return np.asarray(np.mean(points, axis=0))


def positions(images: Sequence[MedImage]) -> list[list[float]]:
    return [[float(x) for x in image.origin.header.ImagePositionPatient] for image in images]


def refusal(path: Path, **options: object) -> str:
    with pytest.raises(BadInput) as caught:
        list(read_images(path, **options))
    assert "\n" not in str(caught.value)
    assert [word for word in PLANTED if word in str(caught.value)] == []
    return str(caught.value)


@pytest.mark.parametrize("cosines", [*RIGHT_ANGLES, *OBLIQUE], ids=str)
@pytest.mark.parametrize("backwards", [False, True])
def test_slices_come_in_the_order_of_their_places_and_masks_lie_where_they_should(
    tmp_path: Path, cosines: Cosines, backwards: bool
) -> None:
    at_mm = np.arange(SHAPE[0]) * (-STEP_MM if backwards else STEP_MM)
    series(tmp_path, cosines, at_mm=at_mm, names=("c", "a", "b"), InstanceNumber=7)
    images = list(read_images(tmp_path))
    normal = np.cross(*cosines)
    steps = np.diff(np.array(positions(images)) @ normal)
    assert np.allclose(np.abs(steps), STEP_MM)
    assert len(set(np.sign(steps))) == 1
    assert [image.spacing_mm for image in images] == [SPACING_MM] * 3
    np.testing.assert_allclose(centroid_mm(images), true_centroid_mm(phantom(), cosines, at_mm), atol=1e-3)


@pytest.mark.parametrize("cosines", [*RIGHT_ANGLES, *OBLIQUE], ids=str)
def test_simpleitk_sees_the_same_slices_in_the_same_places(tmp_path: Path, cosines: Cosines) -> None:
    """An independent reader orders the folder itself; the mask is carried over slice by slice, by position."""
    sitk = pytest.importorskip("SimpleITK")
    series(tmp_path, cosines, names=("z", "m", "a"))
    images = list(read_images(tmp_path))
    files = sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(tmp_path))
    scan = sitk.ReadImage(files)
    order = [positions(images).index(where) for where in _slice_origins(scan)]
    mask = sitk.GetImageFromArray(bright(images)[order].astype(np.uint8))
    mask.CopyInformation(scan)
    k, i, j = np.argwhere(sitk.GetArrayFromImage(mask)).mean(axis=0)
    found = np.array(mask.TransformContinuousIndexToPhysicalPoint((float(j), float(i), float(k))))
    assert np.linalg.norm(found - true_centroid_mm(phantom(), cosines)) < HALF_A_VOXEL_MM


def _slice_origins(scan: object) -> list[list[float]]:
    count = scan.GetSize()[2]  # type: ignore[attr-defined]
    where = [scan.TransformIndexToPhysicalPoint((0, 0, k)) for k in range(count)]  # type: ignore[attr-defined]
    return [[round(x, 6) for x in point] for point in where]


def test_a_tilted_gantry_is_told_and_every_slice_stays_where_it_is(tmp_path: Path) -> None:
    series(tmp_path, AXIAL, tilt=0.2)
    images = list(read_images(tmp_path))
    assert any("gantry tilt of 11.3 degrees" in warning for warning in images[0].warnings)
    np.testing.assert_allclose(centroid_mm(images), true_centroid_mm(phantom(), AXIAL, tilt=0.2), atol=1e-3)


def test_a_missing_slice_is_told_and_parts_neighbours(tmp_path: Path) -> None:
    at_mm = [0, 5, 10, 20, 25, 30, 45]
    series(tmp_path, AXIAL, volume=phantom(7), at_mm=at_mm)
    source = open_source(tmp_path, ReadOptions())
    assert any(warning.startswith("3 slices are missing") for warning in source.image(0).warnings)
    np.testing.assert_allclose(np.diff(source.places_mm), np.diff(at_mm))


def test_uneven_slices_are_told(tmp_path: Path) -> None:
    series(tmp_path, AXIAL, volume=phantom(5), at_mm=[0, 5, 11, 13, 20])
    assert any(
        "unevenly spaced, 2.00 to 7.00 mm" in warning for warning in read_image(tmp_path, slice_index=0).warnings
    )


def test_an_even_upright_series_has_nothing_to_warn_of(tmp_path: Path) -> None:
    series(tmp_path, OBLIQUE[0], volume=phantom(9))
    assert all(image.warnings == () for image in list(read_images(tmp_path))[1:])


def test_a_slice_that_is_there_twice_counts_once(tmp_path: Path) -> None:
    paths = series(tmp_path)
    shutil.copy(paths[1], tmp_path / "copy of IM1")
    images = list(read_images(tmp_path))
    assert len(images) == 3
    assert SAME_TWICE in images[0].warnings


def test_two_different_images_of_one_identifier_are_refused(tmp_path: Path) -> None:
    series(tmp_path)
    other = dcmread(tmp_path / "IM1")
    other.PixelData = bytes(len(other.PixelData))
    other.save_as(tmp_path / "IM9")
    assert "one SOP Instance UID" in refusal(tmp_path)


def test_images_at_one_place_that_nothing_tells_apart_are_refused(tmp_path: Path) -> None:
    series(tmp_path / "a")
    for number, path in enumerate(series(tmp_path / "b")):
        changed = dcmread(path)
        changed.SOPInstanceUID = f"1.2.4.{number}"
        changed.save_as(path)
    assert "at one place" in refusal(tmp_path)


def test_echoes_of_one_series_are_stacks_to_choose_from(tmp_path: Path) -> None:
    for echo, number in ((12.5, 1), (80.0, 2)):
        for path in series(tmp_path / str(number), EchoTime=echo):
            changed = dcmread(path)
            changed.SOPInstanceUID = f"{changed.SOPInstanceUID}.{number}"
            changed.save_as(path)
    assert "holds 2 series; choose one by --series N: 1 (CT axial 38 x 23 x 3), 2 (CT axial" in refusal(tmp_path)
    assert {float(image.origin.header.EchoTime) for image in read_images(tmp_path, series="2")} == {80.0}


def test_a_localizer_in_the_folder_is_left_out_and_told(tmp_path: Path) -> None:
    series(tmp_path)
    series(tmp_path / "scout", RIGHT_ANGLES[5], volume=phantom(4), uid="1.2.9", ImageType=["ORIGINAL", "LOCALIZER"])
    images = list(read_images(tmp_path))
    assert len(images) == 3
    assert "1 localizer left out" in images[0].warnings


def test_a_localizer_can_be_asked_for(tmp_path: Path) -> None:
    series(tmp_path)
    series(tmp_path / "scout", RIGHT_ANGLES[5], volume=phantom(4), uid="1.2.9", ImageType=["ORIGINAL", "LOCALIZER"])
    assert count_images(tmp_path, series="1.2.9") == count_images(tmp_path, series="2") == 4


def test_two_series_in_one_folder_have_to_be_chosen_from(tmp_path: Path) -> None:
    series(tmp_path / "a")
    series(tmp_path / "b", RIGHT_ANGLES[0], volume=phantom(5), uid="1.2.9")
    said = refusal(tmp_path)
    assert "holds 2 series; choose one by --series N: 1 (CT" in said
    assert count_images(tmp_path, series="1") == count_images(tmp_path, series="1.2.9") == 5
    assert count_images(tmp_path, series="1.2.3.200") == 3
    assert "has no series 3" in refusal(tmp_path, series="3")
    assert "no series has this UID" in refusal(tmp_path, series="1.2.77")


def test_what_is_no_image_is_passed_over(tmp_path: Path) -> None:
    series(tmp_path)
    (tmp_path / "notes.txt").write_text("of DOE^JANE")
    (tmp_path / ".hidden").write_bytes(b"x")
    shutil.copy(get_testdata_file("DICOMDIR"), tmp_path / "DICOMDIR")
    images = list(read_images(tmp_path))
    assert images[1].warnings == ("1 files that are no DICOM images were passed over",)


def test_a_damaged_file_stops_the_series_with_its_cleaned_name(tmp_path: Path) -> None:
    paths = series(tmp_path)
    paths[2].write_bytes(paths[2].read_bytes()[:300] + b"\xff" * 40)
    assert "IM2" in refusal(tmp_path)


def test_a_slice_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    paths = series(tmp_path)
    paths[2].write_bytes(paths[2].read_bytes()[:-100])
    assert "cut off" in refusal(tmp_path)


def test_slices_without_places_go_by_number_and_say_so(tmp_path: Path) -> None:
    series(tmp_path, names=("c", "b", "a"), ImagePositionPatient=None, ImageOrientationPatient=None)
    images = list(read_images(tmp_path))
    assert [int(image.origin.header.InstanceNumber) for image in images] == [1, 2, 3]
    assert NO_PLACE in images[0].warnings
    assert open_source(tmp_path, ReadOptions()).places_mm is None


def test_slices_without_places_and_numbers_are_refused(tmp_path: Path) -> None:
    series(tmp_path, ImagePositionPatient=None, InstanceNumber=None)
    assert "neither where they lie nor in which order" in refusal(tmp_path)


@pytest.mark.parametrize("broken", [[1, 0, 0, 1, 0, 0], [0, 0, 0, 0, 0, 0], [2, 0, 0, 0, 1, 0]])
def test_cosines_that_span_no_plane_are_no_geometry(tmp_path: Path, broken: list[float]) -> None:
    series(tmp_path, ImageOrientationPatient=broken)
    assert NO_PLACE in read_image(tmp_path, slice_index=0).warnings


def test_an_axis_across_the_slices_is_refused(tmp_path: Path) -> None:
    series(tmp_path)
    assert count_images(tmp_path, axis="axial") == 3
    assert "its slices are axial" in refusal(tmp_path, axis="coronal")


def test_a_folder_without_scans_is_refused(tmp_path: Path) -> None:
    assert "holds no files" in refusal(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing")
    assert "none of its 1 files is a DICOM image" in refusal(tmp_path)


def test_a_series_of_something_else_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.eye(9))
    assert "leave the series out" in refusal(tmp_path / "a.npy", series="1")


def enhanced(path: Path, at_mm: Sequence[float], **attributes: object) -> Path:
    """The phantom as one object whose frames say where they lie."""
    groups = [item(PlanePositionSequence=[item(ImagePositionPatient=[*ORIGIN[:2], ORIGIN[2] + mm])]) for mm in at_mm]
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=[*AXIAL[0], *AXIAL[1]])],
        PixelMeasuresSequence=[item(PixelSpacing=list(SPACING_MM), SliceThickness=STEP_MM)],
        FrameVOILUTSequence=[item(WindowCenter=400, WindowWidth=800)],
    )
    return dicom(
        path,
        phantom(len(at_mm)),
        NumberOfFrames=len(at_mm),
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=groups,
        **attributes,
    )


def test_frames_of_an_enhanced_object_come_in_the_order_of_their_places(tmp_path: Path) -> None:
    path = enhanced(tmp_path / "enhanced.dcm", [10, 0, 5])
    images = list(read_images(path))
    assert [image.origin.index for image in images] == [1, 2, 0]
    assert open_source(path, ReadOptions()).places_mm == pytest.approx([7, 12, 17])
    assert len({id(image.origin.header) for image in images}) == 1


def test_a_frame_of_an_enhanced_object_can_be_had_as_stored(tmp_path: Path) -> None:
    assert read_image(enhanced(tmp_path / "enhanced.dcm", [10, 0, 5]), frame=2).origin.index == 2


def test_an_enhanced_object_of_one_place_stays_a_film(tmp_path: Path) -> None:
    source = open_source(enhanced(tmp_path / "film.dcm", [5, 5, 5]), ReadOptions())
    assert (source.unit, source.places_mm) == ("frame", None)


def test_a_nifti_volume_knows_its_slice_distance(tmp_path: Path) -> None:
    nib.save(nib.Nifti1Image(np.zeros((5, 6, 4), np.int16), np.diag([1, 1, 3, 1])), tmp_path / "v.nii")
    assert open_source(tmp_path / "v.nii", ReadOptions()).places_mm == pytest.approx([0, 3, 6, 9])


# ---- contrast --------------------------------------------------------------------------------------------------------


def levels(slices: int = 4) -> np.ndarray:
    """Slices of which each is brighter than the one before."""
    return np.stack([np.arange(23 * 38).reshape(23, 38) % 100 + 100 * number for number in range(slices)]).astype(
        np.int16
    )


def test_a_series_without_a_window_is_stretched_as_a_whole_like_the_same_nifti(tmp_path: Path) -> None:
    series(tmp_path / "scan", volume=levels(), Modality="MR", WindowCenter=None, WindowWidth=None)
    nib.save(nib.Nifti1Image(levels().transpose(2, 1, 0), np.eye(4)), tmp_path / "scan.nii")
    shown = [image.pixels[..., 0] for image in read_images(tmp_path / "scan")]
    as_nifti = sorted((image.pixels[..., 0] for image in read_images(tmp_path / "scan.nii")), key=np.mean)
    low, high = np.percentile(levels(), (0.5, 99.5))
    for picture, volume, true in zip(shown, as_nifti, levels(), strict=True):
        np.testing.assert_allclose(picture, np.clip((true - low) / (high - low), 0, 1), atol=1e-6)
        assert picture.mean() == pytest.approx(volume.mean(), abs=1e-6)
    alone = read_image(tmp_path / "scan", slice_index=2).pixels[..., 0]
    np.testing.assert_array_equal(alone, shown[2])


def test_slices_with_windows_of_their_own_are_shown_by_the_median_one(tmp_path: Path) -> None:
    paths = series(tmp_path / "scan", volume=levels(3), Modality="MR")
    for path, centre in zip(paths, (100, 150, 900), strict=True):
        dataset = dcmread(path)
        dataset.WindowCenter, dataset.WindowWidth = centre, 300
        dataset.save_as(path)
    for image, true in zip(read_images(tmp_path / "scan"), levels(3), strict=True):
        expected = highdicom.pixels.apply_voi_window(true, 150, 300)
        np.testing.assert_allclose(image.pixels[..., 0], expected, atol=1e-6)
        assert MEDIAN_WINDOW in image.warnings


def test_frames_of_a_film_without_a_window_have_one_contrast(tmp_path: Path) -> None:
    path = dicom(tmp_path / "film.dcm", levels().astype(np.uint16), NumberOfFrames=4)
    means = [float(image.pixels.mean()) for image in read_images(path)]
    assert means == sorted(means)
    assert means[0] < 0.2
    assert means[-1] > 0.8


def test_a_damaged_slice_does_not_keep_the_others_from_being_read(tmp_path: Path) -> None:
    paths = series(tmp_path / "scan", volume=levels(), WindowCenter=None, WindowWidth=None)
    paths[3].write_bytes(paths[3].read_bytes()[:-200])
    assert read_image(tmp_path / "scan", slice_index=0).pixels.max() > 0
    with pytest.raises(BadInput):
        read_image(tmp_path / "scan", slice_index=3)


def test_a_mosaic_of_siemens_is_told(tmp_path: Path) -> None:
    kinds = ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]
    assert MOSAIC in read_image(dicom(tmp_path / "x.dcm", levels(1)[0], ImageType=kinds)).warnings
