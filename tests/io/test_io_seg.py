"""DICOM SEG: masks that lie on the scan in a viewer, say what made them, and keep overlaps."""

from __future__ import annotations

import warnings
import zipfile
from pathlib import Path

import highdicom
import numpy as np
import pytest
from dicom_files import dicom
from dicom_validators import errors_of
from pydicom import dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from series_files import SPACING_MM, STEP_MM, ct_header

from medclipsam.errors import BadInput
from medclipsam.io import image_from_array, read_image, read_images, write_seg
from medclipsam.io.dicom.seg import SegKind
from medclipsam.io.dicom.seg_codes import PRIVATE_SCHEME, segment_code, short_text
from medclipsam.io.mask_formats import formats_for
from medclipsam.types import MedImage

SHAPE = (3, 23, 38)
FILM = str(get_testdata_file("examples_ybr_color.dcm", download=False))
DIRECTIONS = {
    "axial": ((1, 0, 0), (0, 1, 0)),
    "coronal": ((1, 0, 0), (0, 0, -1)),
    "sagittal": ((0, 1, 0), (0, 0, -1)),
    "negated": ((-1, 0, 0), (0, -1, 0)),
    "oblique": ((0.8, 0.6, 0), (-0.36, 0.48, 0.8)),
}


def phantom() -> np.ndarray:
    volume = np.zeros(SHAPE, np.int16)
    volume[1, 3:9, 20:34] = 700
    volume[2, 3:5, 20:34] = 900
    return volume


def series(folder: Path, direction: str = "axial", **attributes: object) -> list[Path]:
    """The phantom as CT slices; `direction` names the cosines of its rows and columns."""
    along_row, along_column = (np.array(cosines, float) for cosines in DIRECTIONS[direction])
    normal = np.cross(along_row, along_column)
    paths = []
    for number, plane in enumerate(phantom()):
        corner_mm = [float(f"{x:.6f}") for x in (-12, 31, 7) + normal * STEP_MM * number]
        known = ct_header(number + 1, [*along_row, *along_column], corner_mm)
        paths.append(dicom(folder / f"{number}.dcm", plane, **(known | attributes)))
    return paths


def bright(images: list[MedImage]) -> list[np.ndarray]:
    return [image.pixels[..., 0] > 0.6 for image in images]


def centroid_mm(
    frames: np.ndarray, measures: Dataset, cosines: list[float], positions: list[list[float]]
) -> np.ndarray:
    """Of all pixels inside, in the patient's coordinates, by PS3.3 C.7.6.2.1.1."""
    along_row, along_column = np.array(cosines[:3], float), np.array(cosines[3:], float)
    points = []
    for frame, position in zip(frames, positions, strict=True):
        for row, column in np.argwhere(frame):
            offset = along_row * column * float(measures.PixelSpacing[1])
            points.append(np.array(position, float) + offset + along_column * row * float(measures.PixelSpacing[0]))
    return np.mean(points, axis=0)


def true_centroid_mm(paths: list[Path]) -> np.ndarray:
    headers = [dcmread(path) for path in paths]
    positions = [header.ImagePositionPatient for header in headers]
    return centroid_mm(phantom() > 500, headers[0], headers[0].ImageOrientationPatient, positions)


@pytest.mark.parametrize("direction", DIRECTIONS)
def test_a_mask_lies_at_the_same_place_in_the_patient(tmp_path: Path, direction: str) -> None:
    paths = series(tmp_path, direction)
    images = [read_image(path) for path in paths]
    written = dcmread(write_seg(images, {"liver": bright(images)}, tmp_path / "seg"))
    shared = written.SharedFunctionalGroupsSequence[0]
    cosines = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    positions = [
        group.PlanePositionSequence[0].ImagePositionPatient for group in written.PerFrameFunctionalGroupsSequence
    ]
    found = centroid_mm(written.pixel_array, shared.PixelMeasuresSequence[0], cosines, positions)
    np.testing.assert_allclose(found, true_centroid_mm(paths), atol=1e-3)


def test_prompts_become_segments_and_overlaps_stay(tmp_path: Path) -> None:
    images = [read_image(path) for path in series(tmp_path)]
    first = bright(images)
    second = [mask | np.roll(mask, 3, axis=1) for mask in first]
    path = write_seg(images, {"liver": first, "breast tumor": second}, tmp_path / "seg", preset="embedded")
    found = highdicom.seg.segread(path)
    for number, masks in ((1, first), (2, second)):
        frames = found.get_pixels_by_source_instance(
            [f"1.2.3.200.{k + 1}" for k in range(3)], segment_numbers=[number], assert_missing_frames_are_empty=True
        )
        np.testing.assert_array_equal(frames[..., 0] > 0, np.stack(masks))
    assert [segment.SegmentLabel for segment in found.SegmentSequence] == ["liver", "breast tumor"]
    algorithm = found.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0]
    assert algorithm.AlgorithmName == "medclipsam"
    assert algorithm.AlgorithmParameters == "preset=embedded"
    assert "not a medical device" in found.ContentDescription


def test_a_label_map_holds_masks_apart_and_refuses_overlaps(tmp_path: Path) -> None:
    images = [read_image(path) for path in series(tmp_path)]
    first = bright(images)
    apart = [~mask for mask in first]
    found = dcmread(write_seg(images, {"a": first, "b": apart}, tmp_path / "seg", kind="labelmap"))
    assert found.SegmentationType == "LABELMAP"
    assert set(np.unique(found.pixel_array)) <= {1, 2}
    with pytest.raises(BadInput, match="overlap"):
        write_seg(images, {"a": first, "b": first}, tmp_path / "seg2", kind="labelmap")


def test_frames_of_an_enhanced_object_are_referenced_in_it(tmp_path: Path) -> None:
    slices = [dcmread(path) for path in series(tmp_path)]
    enhanced = highdicom.legacy.LegacyConvertedEnhancedCTImage(
        slices, "1.2.3.400", 2, "1.2.3.401", 1, transfer_syntax_uid=slices[0].file_meta.TransferSyntaxUID
    )
    enhanced.save_as(tmp_path / "enhanced.dcm")
    image = list(read_images(tmp_path / "enhanced.dcm"))[1]
    assert image.spacing_mm == SPACING_MM
    mask = image.pixels[..., 0] > 0.6
    written = dcmread(write_seg([image], {"liver": [mask]}, tmp_path / "seg"))
    np.testing.assert_array_equal(written.pixel_array.squeeze(), mask)
    frame = written.PerFrameFunctionalGroupsSequence[0]
    expected = enhanced.PerFrameFunctionalGroupsSequence[1].PlanePositionSequence[0].ImagePositionPatient
    assert list(frame.PlanePositionSequence[0].ImagePositionPatient) == pytest.approx(list(expected))


@pytest.mark.parametrize("name", ["examples_rgb_color.dcm", "examples_palette.dcm", "MR_small.dcm", "image_dfl.dcm"])
def test_flat_and_odd_sources_give_an_object_that_is_read_back(tmp_path: Path, name: str) -> None:
    image = read_image(str(get_testdata_file(name, download=False)))
    mask = np.zeros(image.size, bool)
    mask[5:20, 7:40] = True
    found = highdicom.seg.segread(write_seg([image], {"тумор 🫁 \\ x\n": [mask]}, tmp_path / "seg"))
    np.testing.assert_array_equal(found.pixel_array.squeeze() > 0, mask)
    assert found.SegmentSequence[0].SegmentLabel == "тумор 🫁 x"


def test_one_frame_of_a_film_is_referenced_by_its_number(tmp_path: Path) -> None:
    image = read_image(FILM, frame=3)
    mask = np.zeros(image.size, bool)
    mask[5:20, 7:40] = True
    found = dcmread(write_seg([image], {"heart": [mask]}, tmp_path / "seg"))
    np.testing.assert_array_equal(found.pixel_array.squeeze() > 0, mask)
    (source,) = found.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0].SourceImageSequence
    assert (source.ReferencedFrameNumber, source.ReferencedSOPInstanceUID) == (4, dcmread(FILM).SOPInstanceUID)
    assert "FrameOfReferenceUID" not in found


def test_placed_slices_without_a_frame_of_reference_get_one_of_their_own(tmp_path: Path) -> None:
    images = [read_image(path) for path in series(tmp_path, FrameOfReferenceUID=None)]
    found = dcmread(write_seg(images, {"liver": bright(images)}, tmp_path / "seg"))
    assert found.FrameOfReferenceUID not in ("", "1.2.3.300")
    assert found.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient
    assert all("FrameOfReferenceUID" not in image.origin.header for image in images)


def test_probabilities_are_kept_in_255_steps(tmp_path: Path) -> None:
    images = [read_image(path) for path in series(tmp_path)]
    ramp = [np.linspace(0, 1, image.pixels[..., 0].size, dtype=np.float32).reshape(image.size) for image in images]
    back = [one[::-1] for one in ramp]
    path = write_seg(images, {"liver": ramp, "spleen": back}, tmp_path / "seg", kind="fractional")
    found = highdicom.seg.segread(path)
    assert (found.SegmentationType, found.SegmentationFractionalType) == ("FRACTIONAL", "PROBABILITY")
    frames = found.get_pixels_by_source_instance([f"1.2.3.200.{k + 1}" for k in range(3)], segment_numbers=[1, 2])
    np.testing.assert_allclose(frames[..., 0], np.stack(ramp), atol=0.5 / 255 + 1e-6)
    np.testing.assert_allclose(frames[..., 1], np.stack(back), atol=0.5 / 255 + 1e-6)


@pytest.mark.parametrize("kind", ["binary", "labelmap", "fractional"])
@pytest.mark.parametrize("prompts", [1, 2, 5])
def test_pixels_that_are_written_frame_by_frame_are_read_back_by_highdicom(
    tmp_path: Path, kind: SegKind, prompts: int
) -> None:
    """Frames of 874 pixels, so that bits of one share a byte with the next; some planes are empty."""
    rng, (count, *size) = np.random.default_rng(prompts), SHAPE
    images = [read_image(path) for path in series(tmp_path)]
    values = rng.random((prompts, count, *size), np.float32) * (rng.random((prompts, count)) < 0.7)[..., None, None]
    if kind == "labelmap":
        values = (rng.integers(0, prompts + 1, (count, *size)) == np.arange(1, prompts + 1)[:, None, None, None]) * 1.0
    given = values if kind == "fractional" else values > 0.5
    masks = {f"organ {number}": list(planes) for number, planes in enumerate(given)}
    found = highdicom.seg.segread(write_seg(images, masks, tmp_path / "seg", kind=kind))
    read = found.get_pixels_by_source_instance(
        [f"1.2.3.200.{k + 1}" for k in range(count)],
        segment_numbers=list(range(1, prompts + 1)),
        assert_missing_frames_are_empty=True,
    )
    np.testing.assert_allclose(np.moveaxis(read, -1, 0), given, atol=0.5 / 255 + 1e-6 if kind == "fractional" else 0)


@pytest.mark.parametrize(("shift", "said"), [(0, "YES"), (1, "NO")])
def test_segments_overlap_is_said_only_where_they_do(tmp_path: Path, shift: int, said: str) -> None:
    images = [read_image(path) for path in series(tmp_path)]
    stripes = [np.indices(image.size)[1] % 2 == 0 for image in images]
    masks = {"liver": stripes, "tumor": [np.roll(mask, shift, axis=1) for mask in stripes]}
    assert dcmread(write_seg(images, masks, tmp_path / "seg")).SegmentsOverlap == said


def test_some_frames_of_an_enhanced_object_keep_their_places(tmp_path: Path) -> None:
    slices = [dcmread(path) for path in series(tmp_path)]
    highdicom.legacy.LegacyConvertedEnhancedCTImage(
        slices, "1.2.3.400", 2, "1.2.3.401", 1, transfer_syntax_uid=slices[0].file_meta.TransferSyntaxUID
    ).save_as(tmp_path / "enhanced.dcm")
    images = [read_image(tmp_path / "enhanced.dcm", slice_index=index) for index in (2, 0)]
    first, second = (np.indices(image.size)[0] < 3 + 5 * k for k, image in enumerate(images))
    found = highdicom.seg.segread(write_seg(images, {"liver": [first, second]}, tmp_path / "seg"))
    for image, mask in zip(images, (first, second), strict=True):
        number = image.origin.index + 1
        read = found.get_pixels_by_source_frame("1.2.3.401", [number], segment_numbers=[1])
        np.testing.assert_array_equal(read[0, ..., 0] > 0, mask)
    for kind in ("binary", "labelmap"):
        none = write_seg(images, {"liver": [first & False, second & False]}, tmp_path / kind, kind=kind)
        assert not dcmread(none).pixel_array.any()


def test_the_source_is_as_it_was(tmp_path: Path) -> None:
    path = series(tmp_path, PatientSex="M", StudyID=None, SliceThickness=None, SpacingBetweenSlices=4)[1]
    for image in (read_image(path), read_image(FILM, frame=1)):
        before = image.origin.header.to_json()
        write_seg([image], {"liver": [np.ones(image.size, bool)]}, tmp_path / "seg")
        assert image.origin.header.to_json() == before


def test_dates_and_times_from_before_dicom_are_mended_and_others_left_empty(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = series(tmp_path, StudyTime="10:20:30", StudyDate="1997.04.24", PatientBirthDate="unknown")[1]
    image = read_image(path)
    found = dcmread(write_seg([image], {"liver": bright([image])}, tmp_path / "seg"))
    assert (found.StudyTime, found.StudyDate, found.PatientBirthDate) == ("102030", "19970424", "")


def test_an_empty_mask_is_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    image = read_image(series(tmp_path)[0])
    found = dcmread(write_seg([image], {"nothing": [np.zeros(image.size, bool)]}, tmp_path / "seg"))
    assert not found.pixel_array.any()
    assert capfd.readouterr() == ("", "")


def test_the_patient_is_kept_and_the_preamble_is_not(tmp_path: Path) -> None:
    path = series(tmp_path, PatientName="Müller^Jörg", SpecificCharacterSet="ISO_IR 100")[1]
    path.write_bytes(b"MZ" * 64 + path.read_bytes()[128:])
    image = read_image(path)
    written = write_seg([image], {"liver": bright([image])}, tmp_path / "seg")
    assert written.read_bytes()[:128] == bytes(128)
    found, source = dcmread(written), dcmread(path)
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "FrameOfReferenceUID", "AccessionNumber"):
        assert str(found[keyword].value) == str(source[keyword].value)
    assert str(found.PatientName) == "Müller^Jörg"
    assert found.SeriesInstanceUID != source.SeriesInstanceUID


def test_the_same_masks_have_the_same_identifiers_and_others_have_not(tmp_path: Path) -> None:
    images = [read_image(path) for path in series(tmp_path)]
    masks = bright(images)
    one, same = (dcmread(write_seg(images, {"liver": masks}, tmp_path / name)) for name in "ab")
    other = dcmread(write_seg(images, {"liver": [~mask for mask in masks]}, tmp_path / "c"))
    assert one.SOPInstanceUID == same.SOPInstanceUID != other.SOPInstanceUID
    assert one.SeriesInstanceUID == same.SeriesInstanceUID != other.SeriesInstanceUID


def test_a_name_that_highdicom_finds_odd_reaches_no_log_and_no_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    image = read_image(series(tmp_path, PatientName="JANE DOE")[1])
    with caplog.at_level("DEBUG"):
        write_seg([image], {"liver": bright([image])}, tmp_path / "seg")
    assert "DOE" not in caplog.text
    assert not [warning for warning in recwarn if "DOE" in str(warning.message)]


def test_a_source_that_was_read_from_a_closed_stream_is_written_without_a_word(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with zipfile.ZipFile(tmp_path / "scan.zip", "w") as zipped:
        for path in series(tmp_path):
            zipped.write(path, path.name)
    images = list(read_images(tmp_path / "scan.zip"))
    write_seg(images, {"liver": bright(images)}, tmp_path / "seg")
    assert caplog.messages == []


def test_an_unknown_sex_and_a_missing_name_do_not_stop_the_writer(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = series(tmp_path, PatientName=None, PatientID=None, PatientSex="?")[1]
    image = read_image(path)
    found = dcmread(write_seg([image], {"liver": bright([image])}, tmp_path / "seg"))
    assert (str(found.PatientName), found.PatientID, found.PatientSex) == ("", "", "")


def test_a_slice_without_thickness_is_still_placed(tmp_path: Path) -> None:
    path = series(tmp_path, SliceThickness=None, SpacingBetweenSlices=4)[1]
    header = dcmread(path)
    image = read_image(path)
    found = dcmread(write_seg([image], {"liver": bright([image])}, tmp_path / "seg"))
    position = found.PerFrameFunctionalGroupsSequence[0].PlanePositionSequence[0].ImagePositionPatient
    assert list(position) == list(header.ImagePositionPatient)


def test_sources_and_masks_that_do_not_fit_are_refused_and_nothing_is_written(tmp_path: Path) -> None:
    paths = series(tmp_path)
    images = [read_image(path) for path in paths]
    (tmp_path / "other").mkdir()
    stranger = read_image(series(tmp_path / "other", SeriesInstanceUID="1.2.3.999")[0])
    nameless = read_image(dicom(tmp_path / "nameless.dcm", np.eye(9, dtype=np.uint8)))
    (tmp_path / "unplaced").mkdir()
    unplaced = read_image(series(tmp_path / "unplaced", ImagePositionPatient=None)[1])
    array = image_from_array(np.eye(9))
    mask = np.zeros(images[0].size, bool)
    before = sorted(tmp_path.rglob("*"))
    for wrong_images, wrong_masks in (
        ([], {"a": []}),
        (images[:1], {}),
        (images[:1], {"a": [mask, mask]}),
        (images[:1], {"a": [mask.T]}),
        ([images[0], stranger], {"a": [mask, mask]}),
        ([nameless], {"a": [np.eye(9, dtype=bool)]}),
        ([array], {"a": [np.eye(9, dtype=bool)]}),
        ([images[0], unplaced], {"a": [mask, mask]}),
        ([unplaced, images[0]], {"a": [mask, mask]}),
    ):
        with pytest.raises(BadInput) as caught:
            write_seg(wrong_images, wrong_masks, tmp_path / "seg")
        assert "\n" not in str(caught.value)
    assert sorted(tmp_path.rglob("*")) == before


def test_known_words_have_snomed_codes_and_others_a_private_one() -> None:
    assert (segment_code("Liver").type.value, segment_code("Liver").type.scheme_designator) == ("10200004", "SCT")
    tumor = segment_code("breast tumor")
    assert (tumor.type.value, tumor.regions[0].value) == ("108369006", "76752008")
    assert segment_code("tumour").regions == ()
    assert segment_code("optic disc").type.value == "81016008"
    assert segment_code("tumor thing | breast mass").regions == tumor.regions
    for prompt in ("ground-glass opacity", "liver tumor thing", "left right lung", "livertumor", "", "🫁"):
        code = segment_code(prompt)
        assert code.type.scheme_designator == PRIVATE_SCHEME
        assert len(code.type.value) <= 16
    assert segment_code("🫁").type.value != segment_code("🫀").type.value


def test_a_side_in_words_gives_no_modifier_but_names_what_has_a_code_of_its_own(tmp_path: Path) -> None:
    lung, tumor, ventricle = (segment_code(f"left {words}") for words in ("lung", "breast tumor", "ventricle"))
    assert lung == segment_code("lungs")
    assert tumor == segment_code("breast tumor")
    assert ventricle.type == codes.SCT.LeftVentricle
    image = read_image(series(tmp_path)[1])
    path = write_seg([image], {"left lung": bright([image]), "right breast tumor": bright([image])}, tmp_path / "seg")
    first, second = dcmread(path).SegmentSequence
    assert (first.SegmentLabel, second.SegmentLabel) == ("left lung", "right breast tumor")
    assert "SegmentedPropertyTypeModifierCodeSequence" not in first.SegmentedPropertyTypeCodeSequence[0]
    assert "AnatomicRegionModifierSequence" not in second.AnatomicRegionSequence[0]
    assert errors_of(path) == []


def test_a_side_that_masks_were_cut_to_modifies_the_region_or_the_type(tmp_path: Path) -> None:
    image = read_image(series(tmp_path)[1])
    masks = {text: bright([image]) for text in ("left lung", "right breast tumor", "kidney on the left", "hilum_r")}
    sides = {"left lung": "left", "right breast tumor": "right", "kidney on the left": "left", "hilum_r": "right"}
    path = write_seg([image], masks, tmp_path / "seg", sides=sides)  # type: ignore[arg-type]
    lung, tumor, kidney, hilum = highdicom.seg.segread(path).SegmentSequence
    for segment, code in ((lung, codes.SCT.Left), (kidney, codes.SCT.Left), (hilum, codes.SCT.Right)):
        (modifier,) = segment.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence
        assert (modifier.CodeValue, modifier.CodingSchemeDesignator) == (code.value, "SCT")
    assert (lung.segmented_property_type, kidney.segmented_property_type) == (codes.SCT.Lung, codes.SCT.Kidney)
    assert tumor.anatomic_regions == [codes.SCT.Breast]
    assert tumor.AnatomicRegionSequence[0].AnatomicRegionModifierSequence[0].CodeValue == "24028007"
    assert "SegmentedPropertyTypeModifierCodeSequence" not in tumor.SegmentedPropertyTypeCodeSequence[0]
    assert errors_of(path) == []
    plain = dcmread(write_seg([image], masks, tmp_path / "plain"))
    assert plain.SOPInstanceUID != dcmread(path).SOPInstanceUID


@pytest.mark.parametrize("text", ["", "\\", "\n\n", "x" * 9999, "a\0b", "é" * 70])
def test_text_fits_a_long_string(text: str) -> None:
    short = short_text(text)
    assert 1 <= len(short) <= 64
    assert short.isprintable()
    assert "\\" not in short


def test_an_identifier_of_an_unknown_type_is_no_bug_and_the_mask_is_a_picture(tmp_path: Path) -> None:
    """pydicom raises NotImplementedError where the value is first looked at: when the mask is to be written."""
    raw = Path(str(get_testdata_file("MR_small.dcm", download=False))).read_bytes()
    broken = tmp_path / "odd.dcm"
    broken.write_bytes(raw.replace(b"\x20\x00\x0d\x00UI", b"\x20\x00\x0d\x00ZZ"))
    image = read_image(broken)
    formats, told = formats_for(image, ("auto",))
    assert formats == ("png",)
    assert "which a DICOM mask must repeat" in told[0] or "must repeat of its source" in told[0]
    with pytest.raises(BadInput):
        formats_for(image, ("seg",))
