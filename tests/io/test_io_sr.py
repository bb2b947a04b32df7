"""Structured reports: what a report says is what was measured, as highdicom, pydicom, dcmtk and dicom3tools read it."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from bright import BrightSegmenter
from dicom_files import dicom
from dicom_validators import errors_of
from pydicom import dcmread, examples
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import UltrasoundMultiFrameImageStorage
from series_files import OBLIQUE, series

from medclipsam.errors import BadInput
from medclipsam.runs import LabelRequest, label_folder, read_manifest
from medclipsam.runs.one_scan import ScanRequest, segment_scan

Run = Callable[..., tuple[dict[str, Any], list[Path]]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Segment with the bright method and write structured reports; (the JSON report, the structured ones)."""

    def segment(scan: Path, prompts: tuple[str, ...] = ("liver",), **options: Any) -> tuple[dict[str, Any], list[Path]]:
        out = tmp_path / "out"
        request = ScanRequest(scan=scan, prompts=prompts, folder=out, structured_report=True, **options)
        segment_scan(request, BrightSegmenter, lambda *_: None)
        return json.loads((out / "report.json").read_text()), sorted(out.glob("*_sr.dcm"))

    return segment


STUDY = {"StudyInstanceUID": "1.2.3.1", "SeriesInstanceUID": "1.2.3.2", "Modality": "US"}
FILM = {"NumberOfFrames": 4, "SOPClassUID": UltrasoundMultiFrameImageStorage, **STUDY}


def numbers(group: Any) -> dict[str, float]:
    """The measurements of a group by name, those of many values with how they were derived."""
    return {
        " ".join([each.name.meaning, *([each.derivation.meaning] if each.derivation else [])]): each.value
        for each in group.get_measurements()
    }


def units(group: Any) -> dict[str, str]:
    """Units by name."""
    return {each.name.meaning: each.unit.value for each in group.get_measurements()}


def test_a_series_is_reported_with_the_numbers_of_the_json(tmp_path: Path, run: Run) -> None:
    series(tmp_path / "ct", OBLIQUE[0], RescaleIntercept=-1024, RescaleSlope=1)
    report, (path,) = run(tmp_path / "ct", ("liver", "left kidney tumor"))
    read = highdicom.sr.srread(path)
    groups = read.content.get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == ["liver", "left kidney tumor"]
    assert [group.finding_type for group in groups] == [codes.SCT.Liver, codes.SCT.Tumor]
    assert [site.value for site in groups[1].finding_sites] == [codes.SCT.Kidney]
    row = report["volumes"][0]
    said = numbers(groups[0])
    assert said["Volume"] == row["volume_mm3"]
    assert (said["Long axis"], said["Short axis"]) == (row["longest_diameter"], row["perpendicular_diameter"])
    derived = ("Mean", "Standard Deviation", "Minimum", "Maximum")
    values = [said[f"Attenuation Coefficient {derivation}"] for derivation in derived]
    assert values == [row["values"][name] for name in ("mean", "std", "min", "max")]
    assert said["Number of connected parts"] == row["parts"]
    assert units(groups[0])["Volume"] == "mm3"
    assert units(groups[0])["Long axis"] == "mm"
    assert units(groups[0])["Attenuation Coefficient"] == "[hnsf'U]"


def test_a_report_refers_to_its_seg_and_shares_the_tracking_identifier(tmp_path: Path, run: Run) -> None:
    series(tmp_path / "ct")
    _, (path,) = run(tmp_path / "ct")
    (seg,) = path.parent.glob("*_seg.dcm")
    mask, read = dcmread(seg), highdicom.sr.srread(path)
    (group,) = read.content.get_volumetric_roi_measurement_groups()
    assert group.reference_type == codes.DCM.ReferencedSegment
    assert group.referenced_segment.referenced_sop_instance_uid == mask.SOPInstanceUID
    assert group.tracking_uid == mask.SegmentSequence[0].TrackingUID
    assert read.StudyInstanceUID == mask.StudyInstanceUID
    assert (read.PatientName, read.PatientID) == (mask.PatientName, mask.PatientID)
    assert (read.VerificationFlag, read.CompletionFlag) == ("UNVERIFIED", "COMPLETE")


def test_the_diameters_name_the_slice_that_they_were_measured_on(tmp_path: Path, run: Run) -> None:
    files = series(tmp_path / "ct")
    report, (path,) = run(tmp_path / "ct")
    (group,) = highdicom.sr.srread(path).content.get_volumetric_roi_measurement_groups()
    (axis,) = group.get_measurements(name=codes.SCT.LongAxis)
    (image,) = axis.referenced_images
    uids = sorted(str(dcmread(file).SOPInstanceUID) for file in files)
    number = int(report["volumes"][0]["diameter_image"].rpartition("-s")[2])
    assert image.referenced_sop_instance_uid == uids[number]


def test_an_image_without_spacing_has_no_millimetres(tmp_path: Path, run: Run) -> None:
    pixels = np.zeros((20, 30), np.uint8)
    pixels[5:9, 10:20] = 200
    dicom(tmp_path / "us.dcm", pixels, **STUDY)
    report, (path,) = run(tmp_path / "us.dcm")
    assert report["images"][0]["spacing_mm"] is None
    (group,) = highdicom.sr.srread(path).content.get_planar_roi_measurement_groups()
    said = numbers(group)
    assert said["Number of pixels"] == 40
    assert said["Stored value after rescale Mean"] == 200
    assert set(units(group).values()) == {"1"}


def test_every_frame_of_a_film_has_its_numbers_and_its_frame_of_the_seg(tmp_path: Path, run: Run) -> None:
    frames = np.zeros((4, 20, 30), np.uint8)
    frames[1, 5:9, 10:20] = frames[3, 5:9, 10:15] = 200
    dicom(tmp_path / "cine.dcm", frames, **FILM)
    _, (path,) = run(tmp_path / "cine.dcm")
    (seg,) = path.parent.glob("*_seg.dcm")
    groups = highdicom.sr.srread(path).content.get_planar_roi_measurement_groups()
    assert [numbers(group)["Number of pixels"] for group in groups] == [40, 20]
    references = [group.referenced_segmentation_frame[0].ReferencedSOPSequence[0] for group in groups]
    assert {reference.ReferencedSOPInstanceUID for reference in references} == {dcmread(seg).SOPInstanceUID}
    told = highdicom.seg.segread(seg)
    for reference, area in zip(references, (40, 20), strict=True):
        assert told.pixel_array[int(reference.ReferencedFrameNumber) - 1].sum() == area


def test_what_is_found_nowhere_is_told_with_nothing_but_zero(tmp_path: Path, run: Run) -> None:
    _, (path,) = run(examples.get_path("ct"), ("liver", "unicorn"))
    content = highdicom.sr.srread(path).content
    (found,) = content.get_planar_roi_measurement_groups()
    (missed,) = content.get_image_measurement_groups()
    assert numbers(found)["Area"] > 0
    assert numbers(missed) == {"Number of pixels": 0, "Area": 0, "Number of connected parts": 0}
    assert missed.tracking_identifier == "unicorn"


def test_the_same_scan_has_the_same_report_and_another_mask_another(tmp_path: Path, run: Run) -> None:
    series(tmp_path / "ct")
    uids = []
    for options in ({}, {}, {"prompts": ("spleen",)}):
        _, (path,) = run(tmp_path / "ct", **options)
        uids.append(dcmread(path).SOPInstanceUID)
        shutil.rmtree(path.parent)
    assert uids[0] == uids[1] != uids[2]


def test_a_word_of_any_script_is_kept(tmp_path: Path, run: Run) -> None:
    series(tmp_path / "ct")
    _, (path,) = run(tmp_path / "ct", ("печень",))
    (group,) = highdicom.sr.srread(path).content.get_volumetric_roi_measurement_groups()
    assert group.tracking_identifier == "печень"


def test_a_report_without_a_seg_is_refused(tmp_path: Path, run: Run) -> None:
    np.save(tmp_path / "x.npy", np.eye(8, dtype=np.uint8) * 255)
    with pytest.raises(BadInput, match="none is written"):
        run(tmp_path / "x.npy")


def test_a_folder_has_a_report_for_each_mask_that_is_a_seg(tmp_path: Path) -> None:
    series(tmp_path / "scans" / "ct")
    np.save(tmp_path / "scans" / "x.npy", np.eye(8, dtype=np.uint8) * 255)
    (tmp_path / "scans" / "all.csv").write_text("file\nct\nx.npy\n")
    request = LabelRequest(
        source=tmp_path / "scans" / "all.csv",
        output=tmp_path / "out",
        prompts=("liver", "spleen"),
        formats=("seg",),
        structured_report=True,
    )
    label_folder(request, BrightSegmenter, lambda *_: None)
    for prompt in request.prompts:
        seg = dcmread(tmp_path / "out" / "masks" / prompt / "ct.dcm")
        (group,) = highdicom.sr.srread(
            tmp_path / "out" / "reports" / prompt / "ct.dcm"
        ).content.get_volumetric_roi_measurement_groups()
        assert group.referenced_segment.referenced_sop_instance_uid == seg.SOPInstanceUID
        assert group.tracking_identifier == prompt
    records = read_manifest(tmp_path / "out" / "manifest.jsonl").values()
    assert [f"reports/{each.prompt}/ct.dcm" in each.outputs for each in records if each.file == "ct"] == [True, True]
    with pytest.raises(BadInput, match="none is written"):
        replace(request, formats=("png",))


def values_of(item: Dataset) -> list[float]:
    """Every number below an item, by pydicom alone."""
    own = [float(item.MeasuredValueSequence[0].NumericValue)] if item.get("MeasuredValueSequence") else []
    return own + [value for below in item.get("ContentSequence", ()) for value in values_of(below)]


def test_pydicom_alone_reads_every_number(tmp_path: Path, run: Run) -> None:
    series(tmp_path / "ct")
    report, (path,) = run(tmp_path / "ct")
    row = report["volumes"][0]
    assert {row["volume_mm3"], row["voxels"], row["longest_diameter"]} <= set(values_of(dcmread(path)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["series", "film", "image", "enhanced"])
def test_validators_find_no_fault(tmp_path: Path, run: Run, kind: str) -> None:
    frames = np.zeros((4, 20, 30), np.uint8)
    frames[1, 5:9, 10:20] = 200
    scans = {
        "series": lambda: series(tmp_path / "scan")[0].parent,
        "film": lambda: dicom(
            tmp_path / "scan.dcm", frames, NumberOfFrames=4, SOPClassUID=UltrasoundMultiFrameImageStorage, **STUDY
        ),
        "image": lambda: Path(examples.get_path("ct")),
        "enhanced": lambda: Path(examples.get_path("overlay")),
    }
    _, (path,) = run(scans[kind](), ("liver", "unicorn"))
    assert errors_of(path) == []
    dsrdump = shutil.which("dsrdump")
    if dsrdump is None:
        pytest.skip("dsrdump is not installed (Debian: dcmtk)")
    dumped = subprocess.run([dsrdump, "+Pc", path], capture_output=True, text=True, check=True)
    assert "Imaging Measurement Report" in dumped.stdout
    assert "Number of connected parts" in dumped.stdout
    assert "E:" not in dumped.stderr
