"""A mask that was cut to one side of the patient says so in the codes of its files; one that was not says nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import highdicom
import numpy as np
import pytest
from bright import BrightSegmenter
from dicom_files import dicom
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from series_files import ct_header

from medclipsam.methods.one_side import leftward, on_side
from medclipsam.runs.one_scan import ScanRequest, segment_scan
from medclipsam.sides import DecidedSides, one_side
from medclipsam.types import Hints, MedImage, Segmentation

COSINES = {"axial": [1, 0, 0, 0, 1, 0], "axial from above": [-1, 0, 0, 0, 1, 0]}


class Sided(BrightSegmenter):
    """Find what is bright, and cut it to the side that the text names, where the file tells it."""

    def segment(self, image: MedImage, text: str, hints: Hints | None = None, *, always: bool = False) -> Segmentation:
        answer = super().segment(image, text, hints, always=always)
        asked = one_side(text)
        left = leftward(image, asked.structure) if asked else None
        return on_side(answer, image, asked, left, text) if asked and left else answer


class LastSlicePointed(Sided):
    """On the slices of the end nobody knows the side."""

    def segment(self, image: MedImage, text: str, hints: Hints | None = None, *, always: bool = False) -> Segmentation:
        answer = super().segment(image, text, hints, always=always)
        return replace(answer, side=None) if image.name.endswith("2") else answer


@pytest.fixture(params=COSINES)
def scan(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Three CT slices, on each two bright squares: one in the first columns, one in the last."""
    (tmp_path / "ct").mkdir()
    pixels = np.full((20, 40), 300, np.int16)
    pixels[5:15, 4:12] = pixels[5:15, 28:36] = 900
    for number in range(3):
        header = ct_header(number + 1, COSINES[request.param], [0, 0, 3 * number])
        dicom(tmp_path / "ct" / f"{number}.dcm", pixels, **header)
    return tmp_path / "ct"


def segmented(scan: Path, method: type[BrightSegmenter], *formats: str) -> Path:
    out = scan.parent / "out"
    prompts = ("left lung", "right breast tumor", "liver")
    request = ScanRequest(
        scan=scan,
        prompts=prompts,
        folder=out,
        formats=("seg", *formats),  # type: ignore[arg-type]
        structured_report=True,
        volume_mode="slices",
    )
    segment_scan(request, method, lambda *_: None)
    return out


def modifiers(segment: Dataset) -> list[str]:
    """The sides of the type and of the regions."""
    kinds = [
        each.get("SegmentedPropertyTypeModifierCodeSequence") for each in segment.SegmentedPropertyTypeCodeSequence
    ]
    regions = [each.get("AnatomicRegionModifierSequence") for each in segment.get("AnatomicRegionSequence", ())]
    return [each[0].CodeMeaning for each in [*kinds, *regions] if each]


def test_the_seg_names_the_side_that_its_mask_lies_on(scan: Path) -> None:
    (path,) = segmented(scan, Sided).glob("*_seg.dcm")
    read = highdicom.seg.segread(path)
    assert [modifiers(segment) for segment in read.SegmentSequence] == [["Left"], ["Right"], []]
    place = np.array(dcmread(scan / "0.dcm").ImageOrientationPatient[:3])[0]
    for number, towards_left in ((1, 1), (2, -1)):
        frames = read.get_volume(segment_numbers=[number]).array[..., 0]
        columns = np.argwhere(frames)[:, -1]
        assert np.sign(columns.mean() - 19.5) == place * towards_left


def test_the_report_and_the_slicer_file_say_the_same(scan: Path) -> None:
    out = segmented(scan, Sided, "seg.nrrd")
    (path,) = out.glob("*_sr.dcm")
    lung, tumor, liver = highdicom.sr.srread(path).content.get_volumetric_roi_measurement_groups()
    assert [(site.value, site.laterality) for site in lung.finding_sites] == [(codes.SCT.Lung, codes.SCT.Left)]
    assert [(site.value, site.laterality) for site in tumor.finding_sites] == [(codes.SCT.Breast, codes.SCT.Right)]
    assert liver.finding_sites == []
    (file,) = out.glob("*.seg.nrrd")
    header = file.read_bytes().split(b"\n\n")[0].decode()
    assert "SCT^39607008^Lung~SCT^7771000^Left~" in header
    assert "SCT^76752008^Breast~SCT^24028007^Right|" in header


def test_a_side_that_one_slice_does_not_bear_out_is_not_told(scan: Path) -> None:
    (path,) = segmented(scan, LastSlicePointed).glob("*_seg.dcm")
    assert [modifiers(segment) for segment in dcmread(path).SegmentSequence] == [[], [], []]


def test_sides_that_differ_are_none() -> None:
    sides = DecidedSides()
    sides.add("left lung", "left")
    sides.add("left lung", "left")
    sides.add("lung", None)
    assert (sides.of("left lung"), sides.of("lung"), sides.of("unasked")) == ("left", None, None)
    sides.add("left lung", None)
    assert sides.of("left lung") is None
