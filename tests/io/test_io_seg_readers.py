"""DICOM SEG as people's own readers take it: SimpleITK, plastimatch, dcmqi and highdicom find what was written.

A slice left out between two others, or a spacing of slices that is not the scan's, and SimpleITK takes voxels of 1 mm.
"""

from __future__ import annotations

import itertools
import warnings
from pathlib import Path

import highdicom
import numpy as np
import pytest
from dicom_files import dicom, item
from dicom_validators import errors_of, image_by_plastimatch, segments_by_dcmqi
from pydicom import dcmread
from pydicom.data import get_testdata_file
from series_files import SPACING_MM, ct_header

from medclipsam.errors import BadInput
from medclipsam.io import read_image, read_images, write_rtstruct, write_seg
from medclipsam.types import MedImage

SIZE = (24, 40)
FLAT = [1, 0, 0, 0, 1, 0]
FILM = str(get_testdata_file("examples_ybr_color.dcm", download=False))


def ct(folder: Path, places_mm: list[float], **attributes: object) -> list[MedImage]:
    """A CT series with slices at these places along the body."""
    folder.mkdir(exist_ok=True)
    for number, place in enumerate(places_mm):
        known = ct_header(number + 1, FLAT, [-12, 31, place]) | {"SliceThickness": 4}
        samples = np.arange(SIZE[0] * SIZE[1], dtype=np.int16).reshape(SIZE)
        dicom(folder / f"{number}.dcm", samples, **(known | attributes))
    return list(read_images(folder))


def square() -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[5:15, 10:22] = True
    return mask


def masks(filled: str) -> list[np.ndarray]:
    """`01011`: nothing on the first slice, a square on the second ..."""
    return [square() & (each == "1") for each in filled]


def by_simpleitk(path: Path) -> tuple[float, np.ndarray]:
    """(volume in ml, centroid in the patient in mm) of what is not 0."""
    sitk = pytest.importorskip("SimpleITK")
    image = sitk.ReadImage(str(path))
    inside = np.argwhere(sitk.GetArrayFromImage(image) > 0)
    k, j, i = inside.mean(axis=0)
    centroid = np.array(image.TransformContinuousIndexToPhysicalPoint((i, j, k)))
    return len(inside) * float(np.prod(image.GetSpacing())) / 1000, centroid


def measures(path: Path) -> dict[str, float | None]:
    found = dcmread(path).SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0]
    return {keyword: found.get(keyword) for keyword in ("SliceThickness", "SpacingBetweenSlices")}


# ---- distance of slices ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "depth"),
    [
        ({}, 4),
        ({"SpacingBetweenSlices": 5}, 5),
        ({"SliceThickness": None, "SpacingBetweenSlices": 5}, 5),
        ({"SliceThickness": 2.5, "SpacingBetweenSlices": 0}, 2.5),
        ({"SliceThickness": 2.5, "SpacingBetweenSlices": -3}, 2.5),
    ],
    ids=str,
)
def test_a_slice_alone_is_as_deep_as_its_source_says(tmp_path: Path, source: dict[str, object], depth: float) -> None:
    (image,) = ct(tmp_path / "in", [7.0], **source)
    path = write_seg([image], {"liver": [square()]}, tmp_path / "seg")
    expected_ml = square().sum() * np.prod(SPACING_MM) * depth / 1000
    assert measures(path)["SpacingBetweenSlices"] == depth
    assert by_simpleitk(path)[0] == pytest.approx(expected_ml, rel=1e-6)
    (found,) = segments_by_dcmqi(path, tmp_path / "itk")
    assert found.header.get_zooms()[2] == pytest.approx(depth)
    assert highdicom.seg.segread(path).get_volume().spacing[0] == pytest.approx(depth)


def test_a_slice_chosen_from_a_series_is_as_deep_as_the_series(tmp_path: Path) -> None:
    """Slices 5 mm apart and 4 mm thick, whose headers say nothing of their distance."""
    ct(tmp_path / "in", [0, 5, 10, 20])
    image = read_image(tmp_path / "in", slice_index=1)
    assert measures(write_seg([image], {"liver": [square()]}, tmp_path / "seg"))["SpacingBetweenSlices"] == 5


@pytest.mark.parametrize("declared", [{}, {"SpacingBetweenSlices": 1}, {"SliceThickness": None}], ids=str)
def test_slices_on_a_grid_have_its_step_whatever_their_headers_say(tmp_path: Path, declared: dict[str, object]) -> None:
    images = ct(tmp_path / "in", [0, -2.5, -5, -10], **declared)
    path = write_seg(images, {"liver": masks("1111")}, tmp_path / "seg")
    assert measures(path) == {
        "SliceThickness": 2.5 if "SliceThickness" in declared else 4,
        "SpacingBetweenSlices": 2.5,
    }
    highdicom.seg.segread(path)


def test_a_slice_of_unknown_thickness_and_distance_has_no_seg(tmp_path: Path) -> None:
    (image,) = ct(tmp_path / "in", [7.0], SliceThickness=None)
    with pytest.raises(BadInput, match="lacks SliceThickness, and nothing says how far apart its slices lie; choose"):
        write_seg([image], {"liver": [square()]}, tmp_path / "seg")


# ---- which slices ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("filled", ["0110100", "1000001", "0010000", "1111111"])
def test_simpleitk_plastimatch_and_dcmqi_find_volume_and_place_of_one_prompt(tmp_path: Path, filled: str) -> None:
    places = [3.0 * k for k in range(len(filled))]
    path = write_seg(ct(tmp_path / "in", places), {"liver": masks(filled)}, tmp_path / "seg")
    count = filled.count("1")
    expected_ml = count * square().sum() * np.prod(SPACING_MM) * 3 / 1000
    middle = sum(place for place, each in zip(places, filled, strict=True) if each == "1") / count
    expected_mm = [-12 + 15.5 * SPACING_MM[1], 31 + 9.5 * SPACING_MM[0], middle]
    for seen in (path, image_by_plastimatch(path, tmp_path / "plastimatch.mha")):
        volume_ml, centroid_mm = by_simpleitk(seen)
        assert volume_ml == pytest.approx(expected_ml, rel=1e-6)
        np.testing.assert_allclose(centroid_mm, expected_mm, atol=1e-3)
    (by_dcmqi,) = segments_by_dcmqi(path, tmp_path / "itk")
    depth = by_dcmqi.header.get_zooms()
    assert np.count_nonzero(by_dcmqi.dataobj) * np.prod(depth) / 1000 == pytest.approx(expected_ml, rel=1e-5)
    kept = dcmread(path).NumberOfFrames
    assert kept == filled.rindex("1") - filled.index("1") + 1


def test_several_prompts_keep_the_slices_that_they_are_found_on_and_a_label_map_its_range(tmp_path: Path) -> None:
    images = ct(tmp_path / "in", [0, 3, 6, 9, 12])
    apart = [np.roll(mask, 13, axis=1) for mask in masks("10000")]
    several = {"liver": masks("01010"), "spleen": apart}
    binary = highdicom.seg.segread(write_seg(images, several, tmp_path / "binary"))
    numbers = [group.SegmentIdentificationSequence[0].ReferencedSegmentNumber for group in frames(binary)]
    assert numbers == [1, 1, 2]
    assert dcmread(write_seg(images, several, tmp_path / "labels", kind="labelmap")).NumberOfFrames == 4


@pytest.mark.parametrize(("prompts", "count"), [(1, 5), (2, 10)])
def test_all_slices_are_kept_on_request(tmp_path: Path, prompts: int, count: int) -> None:
    images = ct(tmp_path / "in", [0, 3, 6, 9, 12])
    several = {f"organ {number}": masks("01000") for number in range(prompts)}
    found = highdicom.seg.segread(write_seg(images, several, tmp_path / "seg", all_slices=True))
    assert found.NumberOfFrames == count
    assert int(found.pixel_array.sum()) == prompts * int(square().sum())


def test_each_frame_says_the_number_of_its_segment(tmp_path: Path) -> None:
    """dwv and MONAI do not look into the groups that frames share."""
    images = ct(tmp_path / "in", [0, 3, 6])
    for kind in ("binary", "fractional"):
        values = [mask.astype(np.float32) for mask in masks("110")]
        path = write_seg(images, {"liver": values}, tmp_path / kind, kind=kind)
        found = highdicom.seg.segread(path)
        assert "SegmentIdentificationSequence" not in found.SharedFunctionalGroupsSequence[0]
        assert [group.SegmentIdentificationSequence[0].ReferencedSegmentNumber for group in frames(found)] == [1, 1]
        assert errors_of(path) == []


def frames(seg: highdicom.seg.Segmentation) -> list[highdicom.seg.Segmentation]:
    return list(seg.PerFrameFunctionalGroupsSequence)


# ---- films -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["binary", "labelmap", "fractional"])
@pytest.mark.parametrize("prompts", [1, 2])
def test_highdicom_finds_the_masks_of_a_cine_loop_by_the_numbers_of_its_frames(
    tmp_path: Path, kind: str, prompts: int
) -> None:
    chosen = list(itertools.islice(read_images(FILM), 1, 5))
    where = np.zeros((prompts, 4, *chosen[0].size), bool)
    for prompt, picture in itertools.product(range(prompts), (0, 2)):
        where[prompt, picture, 5 + picture : 20, 40 * prompt : 40 * prompt + 30] = True
    given = {f"organ {number}": list(planes.astype(np.float32)) for number, planes in enumerate(where)}
    path = write_seg(chosen, given, tmp_path / "seg", kind=kind)
    found = highdicom.seg.segread(path)
    loop = dcmread(FILM).SOPInstanceUID
    read = found.get_pixels_by_source_frame(
        loop, [2, 3, 4], segment_numbers=list(range(1, prompts + 1)), assert_missing_frames_are_empty=True
    )
    np.testing.assert_array_equal(np.moveaxis(read, -1, 0) > 0, where[:, :3])
    assert "FrameOfReferenceUID" not in found
    assert kind == "labelmap" or errors_of(path) == []  # dciodvfy knows no label maps


def test_an_empty_cine_loop_keeps_all_its_frames(tmp_path: Path) -> None:
    chosen = list(itertools.islice(read_images(FILM), 3))
    empty = [np.zeros(chosen[0].size, bool)] * 3
    found = highdicom.seg.segread(write_seg(chosen, {"liver": empty, "tumor": empty}, tmp_path / "seg"))
    assert (found.NumberOfFrames, found.pixel_array.any()) == (6, False)


# ---- what scans say wrongly ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("keyword", "value"),
    [
        ("ImageOrientationPatient", [0] * 6),
        ("ImageOrientationPatient", [1, 0, 0, 1, 0, 0]),
        ("ImagePositionPatient", [0, 0]),
        ("PixelSpacing", [0.7, 0.7, 3]),
        ("PixelSpacing", [0, 0.7]),
    ],
)
def test_a_ct_whose_place_cannot_be_used_has_no_seg_and_the_reason_names_it(
    tmp_path: Path, keyword: str, value: list[float]
) -> None:
    (image,) = ct(tmp_path / "in", [7.0], **{keyword: value})
    with pytest.raises(BadInput, match=f"no usable {keyword}"):
        write_seg([image], {"liver": [square()]}, tmp_path / "seg")


def test_a_flat_image_does_not_repeat_a_place_that_cannot_be_used(tmp_path: Path) -> None:
    found = {"ImageOrientationPatient": [0] * 6, "ImagePositionPatient": [0, 0, 0], "PixelSpacing": [0.1, 0.1]}
    found |= {"SliceThickness": 2}
    uids = {"StudyInstanceUID": "1.2.3", "SeriesInstanceUID": "1.2.4", "FrameOfReferenceUID": "1.2.5"}
    image = read_image(dicom(tmp_path / "x.dcm", np.eye(24, 40, dtype=np.uint8), **found, **uids))
    path = write_seg([image], {"tumor": [square()]}, tmp_path / "seg")
    seg = highdicom.seg.segread(path)
    assert by_simpleitk(path)[0] == square().sum() / 1000
    assert not [element for element in seg.iterall() if element.keyword in (*found, "FrameOfReferenceUID")]


def test_cosines_that_differ_in_their_last_digits_make_one_seg(tmp_path: Path) -> None:
    images = ct(tmp_path / "in", [0, 3, 6])
    for number, image in enumerate(images):
        image.origin.header.ImageOrientationPatient = [1, 0, 0, 0, 1, 1e-5 * number]
    found = highdicom.seg.segread(write_seg(images, {"liver": masks("111")}, tmp_path / "seg"))
    assert found.get_volume().shape[0] == 3


def test_slices_of_different_pixel_spacing_have_no_common_seg(tmp_path: Path) -> None:
    images = ct(tmp_path / "in", [0, 3])
    images[1].origin.header.PixelSpacing = [0.7, 0.8]
    with pytest.raises(BadInput, match="its slices differ in Pixel Spacing"):
        write_seg(images, {"liver": masks("11")}, tmp_path / "seg")


def test_an_enhanced_object_may_say_for_each_frame_what_all_share(tmp_path: Path) -> None:
    groups = [
        item(
            PixelMeasuresSequence=[item(PixelSpacing=list(SPACING_MM), SliceThickness=2)],
            PlaneOrientationSequence=[item(ImageOrientationPatient=FLAT)],
            PlanePositionSequence=[item(ImagePositionPatient=[0, 0, 3.0 * number])],
        )
        for number in range(3)
    ]
    path = dicom(
        tmp_path / "enhanced.dcm",
        np.stack([np.arange(960, dtype=np.uint16).reshape(SIZE)] * 3),
        SOPClassUID="1.2.840.10008.5.1.4.1.1.4.1",
        StudyInstanceUID="1.2.3.100",
        SeriesInstanceUID="1.2.3.200",
        FrameOfReferenceUID="1.2.3.300",
        NumberOfFrames=3,
        PerFrameFunctionalGroupsSequence=groups,
    )
    written = write_seg(list(read_images(path)), {"liver": masks("101")}, tmp_path / "seg")
    assert measures(written) == {"SliceThickness": 2, "SpacingBetweenSlices": 3}
    volume = highdicom.seg.segread(written).get_volume()
    assert volume.array.sum(axis=(1, 2)).ravel().tolist() == [120, 0, 120]


def test_a_chinese_name_loses_its_escape_sequences_and_nothing_else(tmp_path: Path) -> None:
    """PS3.5 K.2; pydicom reads them as part of the name, and writes none."""
    parts = [b"\x1b$)A" + part.encode("gb2312") for part in ("张", "小东")]
    stored = b"Zhang^XiaoDong=" + b"^".join(parts) + b" "
    ct(tmp_path / "in", [7.0], SpecificCharacterSet=["", "ISO 2022 IR 58"], PatientName="x" * len(stored))
    path = tmp_path / "in" / "0.dcm"
    path.write_bytes(path.read_bytes().replace(b"x" * len(stored), stored))
    found = dcmread(write_seg([read_image(path)], {"liver": [square()]}, tmp_path / "seg"))
    assert str(found.PatientName).strip() == "Zhang^XiaoDong=张^小东"


@pytest.mark.parametrize(
    ("characters", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        (["ISO_IR 13", "ISO 2022 IR 87"], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 100", "ISO 2022 IR 144"], "Müller=Юлия"),
        ("ISO 2022 IR 100", "Müller^Jörg"),
        ("ISO_IR 100", "Müller^Jörg"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("ISO_IR 192", "Wang^XiaoDong=王^小东"),
    ],
    ids=str,
)
def test_a_name_stays_what_it_is_in_every_character_set(tmp_path: Path, characters: object, name: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        (image,) = ct(
            tmp_path / "in",
            [7.0],
            SpecificCharacterSet=characters,
            PatientName=name,
            ReferringPhysicianName=name,
            StudyDescription=name[-12:],
        )
        assert str(image.origin.header.PatientName) == name
        seg = dcmread(write_seg([image], {"liver": [square()]}, tmp_path / "seg"))
        structures = dcmread(write_rtstruct([image], {"liver": [square()]}, tmp_path / "structures"))
    for found in (seg, structures):
        assert str(found.PatientName) == name
        assert str(found.ReferringPhysicianName) == name
    assert seg.StudyDescription == name[-12:]
