"""DICOM RT Structure Sets: contours that give the masks again, at their place, as programs of others read them."""

from __future__ import annotations

from pathlib import Path

import highdicom
import numpy as np
import pytest
from dicom_files import dicom
from dicom_validators import centroid_lps, errors_of, structures_by_plastimatch
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from series_files import OBLIQUE, RIGHT_ANGLES, SHAPE, Cosines, series, true_centroid_mm
from skimage.draw import polygon2mask

from medclipsam.errors import BadInput
from medclipsam.io import image_from_array, read_image, read_images, write_rtstruct
from medclipsam.types import MedImage

FLAT = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0))


def ragged() -> np.ndarray:
    """A slice without, one with holes and an island, one of specks and holes, one that touches two corners."""
    volume = np.zeros((4, *SHAPE[1:]), np.int16)
    volume[1, 3:15, 8:34] = 700
    volume[1, 6:12, 12:18] = 0
    volume[1, 8:10, 14:16] = 700
    volume[1, 5:9, 22:30] = 0
    volume[2][np.random.default_rng(1).random(SHAPE[1:]) < 0.7] = 700
    volume[3, 0, 0] = volume[3, -3:, -5:] = 700
    return volume


def bright(images: list[MedImage]) -> list[np.ndarray]:
    return [image.pixels[..., 0] > 0.6 for image in images]


def scan(folder: Path, cosines: Cosines = FLAT, **options: object) -> list[MedImage]:
    series(folder, cosines, volume=ragged(), **options)  # type: ignore[arg-type]
    return list(read_images(folder))


def refilled(structures: Dataset, roi: int, image: Path) -> np.ndarray:
    """The contours of an ROI on one slice, taken back to its pixels by what its own header says, and filled."""
    header = dcmread(image)
    row, column = np.reshape(header.ImageOrientationPatient, (2, 3)).astype(float)
    mask = np.zeros((header.Rows, header.Columns), bool)
    for contour in structures.ROIContourSequence[roi].get("ContourSequence") or []:
        if contour.ContourImageSequence[0].ReferencedSOPInstanceUID == header.SOPInstanceUID:
            offset = np.reshape(contour.ContourData, (-1, 3)).astype(float) - np.array(header.ImagePositionPatient)
            assert len(offset) == contour.NumberOfContourPoints
            np.testing.assert_allclose(offset @ np.cross(row, column), 0, atol=1e-4)
            places = offset @ np.stack([column, row], axis=1) / np.array(header.PixelSpacing, float)
            mask |= polygon2mask(mask.shape, places)
    return mask


@pytest.mark.parametrize("cosines", [*RIGHT_ANGLES[::5], *OBLIQUE])
def test_contours_filled_on_each_slice_give_its_mask(tmp_path: Path, cosines: Cosines) -> None:
    images = scan(tmp_path / "scan", cosines)
    found = dcmread(write_rtstruct(images, {"liver": bright(images)}, tmp_path / "rt"))
    for image, mask in zip(images, bright(images), strict=True):
        path = next(path for path in (tmp_path / "scan").iterdir() if uid(path) == image.origin.header.SOPInstanceUID)
        np.testing.assert_array_equal(refilled(found, 0, path), mask)


def uid(path: Path) -> str:
    return str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)


@pytest.mark.parametrize("cosines", [FLAT, RIGHT_ANGLES[11], OBLIQUE[0]])
def test_plastimatch_fills_them_to_the_same_voxels_at_the_same_place(tmp_path: Path, cosines: Cosines) -> None:
    images = scan(tmp_path / "scan", cosines)
    masks = bright(images)
    written = write_rtstruct(images, {"liver": masks, "nothing": [mask & False for mask in masks]}, tmp_path / "rt")
    found = structures_by_plastimatch(written, tmp_path / "scan", tmp_path / "filled")
    volume = found["liver"]
    assert int((np.asarray(volume.dataobj) > 0).sum()) == sum(int(mask.sum()) for mask in masks)
    np.testing.assert_allclose(centroid_lps(volume), true_centroid_mm(ragged(), cosines), atol=1e-4)
    assert not any(np.asarray(other.dataobj).any() for name, other in found.items() if name != "liver")


def test_an_independent_validator_finds_no_errors(tmp_path: Path) -> None:
    images = scan(tmp_path / "scan", StudyID="7", StudyTime="101112")
    masks = {"liver": bright(images), "тумор 🫁 \\ x\n": [mask & False for mask in bright(images)]}
    assert errors_of(write_rtstruct(images, masks, tmp_path / "rt", preset="embedded")) == []


def test_every_slice_is_referenced_and_every_prompt_is_an_roi(tmp_path: Path) -> None:
    images = scan(tmp_path / "scan")
    masks = bright(images)
    prompts = {"liver": masks, "breast tumor | breast mass": [~mask for mask in masks], "nothing": [masks[0]] * 4}
    found = dcmread(write_rtstruct(images, prompts, tmp_path / "rt", preset="embedded"))
    assert [roi.ROIName for roi in found.StructureSetROISequence] == list(prompts)
    assert {roi.ROIGenerationAlgorithm for roi in found.StructureSetROISequence} == {"AUTOMATIC"}
    assert found.StructureSetROISequence[0].ROIGenerationDescription.endswith(", preset embedded")
    (reference,) = found.ReferencedFrameOfReferenceSequence
    assert reference.FrameOfReferenceUID == found.FrameOfReferenceUID == "1.2.3.300"
    (scanned,) = reference.RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert [image.ReferencedSOPInstanceUID for image in scanned.ContourImageSequence] == [
        f"1.2.3.200.{number}" for number in range(1, 5)
    ]
    assert "ContourSequence" not in found.ROIContourSequence[2]
    assert "not a medical device" in found.StructureSetDescription


def test_frames_of_an_enhanced_object_are_referenced_by_number(tmp_path: Path) -> None:
    slices = [dcmread(path) for path in series(tmp_path / "scan", OBLIQUE[0], volume=ragged())]
    enhanced = highdicom.legacy.LegacyConvertedEnhancedCTImage(
        slices, "1.2.3.400", 2, "1.2.3.401", 1, transfer_syntax_uid=slices[0].file_meta.TransferSyntaxUID
    )
    enhanced.save_as(tmp_path / "enhanced.dcm")
    images = list(read_images(tmp_path / "enhanced.dcm"))
    found = dcmread(write_rtstruct(images, {"liver": bright(images)}, tmp_path / "rt"))
    plain = [read_image(path) for path in sorted((tmp_path / "scan").iterdir())]
    expected = dcmread(write_rtstruct(plain, {"liver": bright(plain)}, tmp_path / "plain"))
    contours, others = (each.ROIContourSequence[0].ContourSequence for each in (found, expected))
    assert [contour.ContourData for contour in contours] == [contour.ContourData for contour in others]
    for contour in contours:
        group = enhanced.PerFrameFunctionalGroupsSequence[contour.ContourImageSequence[0].ReferencedFrameNumber - 1]
        offset = np.subtract(contour.ContourData[:3], group.PlanePositionSequence[0].ImagePositionPatient)
        assert offset.astype(float) @ np.cross(*OBLIQUE[0]) == pytest.approx(0, abs=1e-4)


def test_a_contour_longer_than_explicit_numbers_allow_is_read_back(tmp_path: Path) -> None:
    sieve = np.full((60, 60), 700, np.int16)
    sieve[1::2, 1::2] = 0
    (path,) = series(tmp_path / "scan", OBLIQUE[1], volume=sieve[None])
    image = read_image(path)
    found = dcmread(write_rtstruct([image], {"sieve": [sieve > 0]}, tmp_path / "rt"))
    assert len("\\".join(map(str, found.ROIContourSequence[0].ContourSequence[0].ContourData))) > 2**16
    np.testing.assert_array_equal(refilled(found, 0, path), sieve > 0)


def test_the_patient_is_kept_the_preamble_is_not_and_the_same_masks_have_the_same_identifiers(tmp_path: Path) -> None:
    (path, *_) = series(tmp_path / "scan", PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100")
    path.write_bytes(b"MZ" * 64 + path.read_bytes()[128:])
    image = read_image(path)
    whole, nothing = np.ones(image.size, bool), np.zeros(image.size, bool)
    one, same, other = (
        write_rtstruct([image], {"liver": [mask]}, tmp_path / name)
        for name, mask in (("a", whole), ("b", whole), ("c", nothing))
    )
    assert one.read_bytes()[:128] == bytes(128)
    found, again, different = dcmread(one), dcmread(same), dcmread(other)
    assert str(found.PatientName) == "Müller^Jörg"
    assert (found.PatientID, found.StudyInstanceUID) == ("PID-4711", "1.2.3.100")
    assert found.SOPInstanceUID == again.SOPInstanceUID != different.SOPInstanceUID
    assert found.SeriesInstanceUID not in ("1.2.3.200", different.SeriesInstanceUID)


def test_placed_slices_without_a_frame_of_reference_get_one_of_their_own(tmp_path: Path) -> None:
    images = scan(tmp_path / "scan", FrameOfReferenceUID=None)
    found = dcmread(write_rtstruct(images, {"liver": bright(images)}, tmp_path / "rt"))
    assert found.FrameOfReferenceUID == found.StructureSetROISequence[0].ReferencedFrameOfReferenceUID
    assert found.FrameOfReferenceUID not in ("", "1.2.3.300")


def test_what_has_no_place_in_the_patient_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    film = str(get_testdata_file("examples_ybr_color.dcm", download=False))
    (unplaced,) = series(tmp_path / "x", volume=ragged()[:1], ImagePositionPatient=None)
    (askew,) = series(tmp_path / "y", volume=ragged()[:1], ImageOrientationPatient=[1, 0, 0, 1, 0, 0])
    (unsized,) = series(tmp_path / "z", volume=ragged()[:1], PixelSpacing=None)
    nameless = dicom(tmp_path / "nameless.dcm", np.eye(9, dtype=np.uint8))
    for image, said in (
        (read_image(film, frame=3), "the frames of a film have no place in space"),
        *((read_image(path), "does not say where it lies in the patient") for path in (unplaced, askew, unsized)),
        (read_image(nameless), "lacks StudyInstanceUID"),
        (image_from_array(np.eye(9)), "is no DICOM image"),
    ):
        with pytest.raises(BadInput, match=f"{said}.*; choose png or npy"):
            write_rtstruct([image], {"liver": [np.ones(image.size, bool)]}, tmp_path / "rt")
    assert not (tmp_path / "rt.dcm").exists()
