"""Does a name, id or date of a patient get out? Planted in tags, headers and file names, sought in all that is written.

A DICOM SEG or RTSTRUCT must repeat patient and study of its source; there, and nowhere else in it, they may stand.
"""

from __future__ import annotations

import gzip
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from bright import BrightSegmenter, bright_square
from dicom_files import dicom
from PIL import Image, PngImagePlugin
from pydicom import Dataset, dcmread
from pydicom.uid import CTImageStorage
from typed import typed

import medclipsam

NAME, GIVEN, NUMBER, BORN, ACCESSION, STUDIED, DOCTOR = PLANTED = (
    *("Plantedname", "Givenname", "QX4711QX", "19010203", "ACCQX0815", "20010405", "Doctorname"),
)
FILE = f"{NAME}^{GIVEN} {NUMBER} {BORN[:4]}-{BORN[4:6]}-{BORN[6:]} {BORN} ct 7"
TOLD_BY_THE_STANDARD = (
    *("PatientName", "PatientID", "PatientBirthDate", "AccessionNumber", "StudyDate", "ReferringPhysicianName"),
)


@pytest.fixture(autouse=True)
def bright_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the place of the presets."""
    monkeypatch.setitem(vars(medclipsam), "load", lambda *_, **__: BrightSegmenter())


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """One scan of each kind, in a folder that is called after the patient; one of them is broken."""
    folder = tmp_path / f"{NAME}^{GIVEN}"
    folder.mkdir()
    pixels = bright_square(40, 60, top=5, left=20, side=10)
    known = {"PatientName": f"{NAME}^{GIVEN}", "PatientID": NUMBER, "PatientBirthDate": BORN, "StudyDate": STUDIED}
    known |= {"AccessionNumber": ACCESSION, "ReferringPhysicianName": DOCTOR, "SeriesDate": STUDIED}
    known |= {"PatientComments": f"{NAME} {BORN}", "ImageComments": f"{NAME} {BORN}", "OperatorsName": DOCTOR}
    placed = {"StudyInstanceUID": "1.2.3.4", "SeriesInstanceUID": "1.2.3.5", "FrameOfReferenceUID": "1.2.3.6"}
    placed |= {"SOPClassUID": CTImageStorage, "Modality": "CT", "PixelSpacing": [1, 1], "SliceThickness": 2}
    placed |= {"ImagePositionPatient": [0, 0, 0], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
    dicom(folder / f"{FILE}.dcm", pixels, **known, **placed)
    preamble = f"{NAME} {BORN}".encode().ljust(128)
    (folder / f"{FILE}.dcm").write_bytes(preamble + (folder / f"{FILE}.dcm").read_bytes()[128:])
    dicom(folder / f"{FILE} flat.dcm", pixels, **known)
    nib.save(planted_nifti(pixels), folder / f"{FILE}.nii")
    planted = PngImagePlugin.PngInfo()
    planted.add_text("Comment", f"{NAME} {BORN} {NUMBER}")
    Image.fromarray(pixels).save(folder / f"{FILE}.png", pnginfo=planted)
    Image.fromarray(pixels).save(folder / f"{FILE}.tif", description=f"{NAME} {BORN} {NUMBER}")
    np.save(folder / f"{FILE}.npy", pixels)
    (folder / f"{FILE} broken.dcm").write_bytes((folder / f"{FILE}.dcm").read_bytes()[:-900])
    return folder


def planted_nifti(pixels: np.ndarray) -> nib.Nifti1Image:
    volume = nib.Nifti1Image(np.stack([pixels.T] * 2, axis=-1), np.diag([-1, -1, 3, 1]))
    volume.header["descrip"], volume.header["aux_file"] = f"{NAME} {BORN}", NUMBER
    volume.header["db_name"], volume.header["intent_name"] = BORN, NUMBER
    volume.header.extensions.append(nib.nifti1.Nifti1Extension("comment", f"{NAME} {BORN}".encode()))
    return volume


def leaks(content: bytes | str) -> list[str]:
    """The planted words in it, however they are written."""
    text = (content if isinstance(content, str) else content.decode("latin-1")).lower()
    return [word for word in PLANTED if word.lower() in text]


def leaks_below(folder: Path) -> dict[str, list[str]]:
    """By file, with what is wrapped in gzip; of a SEG what stands where it need not."""
    found: dict[str, list[str]] = {}
    for path in sorted(folder.rglob("*")):
        found[path.name] = leaks(path.name)
        if path.suffix == ".dcm":
            found[path.name] += [word for element in elements(dcmread(path)) for word in leaks(element)]
            found[path.name] += leaks(path.read_bytes()[:128])
        elif path.is_file():
            content = path.read_bytes()
            found[path.name] += leaks(content) + leaks(gzip.decompress(content) if path.suffix == ".gz" else b"")
    return {name: words for name, words in found.items() if words}


def elements(dataset: Dataset) -> Iterator[str]:
    """What a SEG says, but for patient and study."""
    for element in dataset:
        if element.VR == "SQ":
            for item in element.value:
                yield from elements(item)
        elif element.keyword not in TOLD_BY_THE_STANDARD:
            yield str(element.value)


def test_the_search_finds_what_is_planted(scans: Path) -> None:
    raw = {path.suffix: leaks(path.read_bytes()) for path in scans.iterdir()}
    assert all(words for suffix, words in raw.items() if suffix != ".npy")
    assert leaks_below(scans)
    assert leaks(FILE.upper())


def test_segmenting_tells_nothing_of_the_patient(
    scans: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    caplog.set_level(logging.INFO)
    for number, scan in enumerate(sorted(scans.iterdir())):
        out = tmp_path / "out" / str(number)
        options = ["-p", "liver", "-p", "unicorn", "--save-stages", "--json", "--format", "auto", "--format", "npy"]
        options += ["--slice", "all"] if scan.suffix == ".nii" else []
        ran = typed("segment", scan, "-o", out, *options)
        assert ran.exit_code == (2 if "broken" in scan.name else 0), ran.output
        assert leaks(ran.stdout + ran.stderr) == [], scan.suffix
    written = {path.suffix for path in (tmp_path / "out").rglob("*.*")}
    assert written == {".dcm", ".gz", ".png", ".npy", ".json"}
    assert leaks_below(tmp_path / "out") == {}
    assert leaks(caplog.text + " ".join(str(warning.message) for warning in recwarn)) == []


def test_a_structure_set_tells_of_the_patient_what_it_must_and_no_more(scans: Path, tmp_path: Path) -> None:
    options = ["-p", "liver", "-o", str(tmp_path / "o"), "--format", "rtstruct"]
    ran = typed("segment", scans / f"{FILE}.dcm", *options)
    assert ran.exit_code == 0, ran.output
    (found,) = map(dcmread, (tmp_path / "o").glob("*_rtstruct.dcm"))
    assert (str(found.PatientName), found.PatientID, found.StudyDate) == (f"{NAME}^{GIVEN}", NUMBER, STUDIED)
    assert leaks_below(tmp_path / "o") == {}


@pytest.mark.parametrize("named_by", ["safe names", "the person"])
def test_labelling_a_folder_tells_nothing_of_the_patient(
    scans: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder, named_by: str
) -> None:
    """Names of files are the person's own, and results are called after them unless safe names are asked for."""
    caplog.set_level(logging.INFO)
    options: list[Any] = ["-p", "liver", "-p", "unicorn", "--format", "seg", "--ignore-band", "0.1", "--json"]
    if named_by == "the person":
        for number, path in enumerate(sorted(scans.iterdir())):
            path.rename(scans / f"scan {number}{path.suffix}")
    else:
        options.append("--safe-names")
    ran = typed("pseudolabel", scans, "-o", tmp_path / "out", *options)
    assert ran.exit_code == 0, ran.output
    assert {path.suffix for path in (tmp_path / "out" / "masks").rglob("*.*")} == {".dcm", ".gz", ".png"}
    assert leaks(ran.stdout + ran.stderr) == []
    assert leaks_below(tmp_path / "out") == {}
    assert leaks(caplog.text + " ".join(str(warning.message) for warning in recwarn)) == []


def test_the_seg_keeps_the_patient_because_it_must(scans: Path, tmp_path: Path) -> None:
    ran = typed("segment", scans / f"{FILE}.dcm", "-p", "liver", "-o", tmp_path / "o")
    assert ran.exit_code == 0, ran.output
    (seg,) = map(dcmread, (tmp_path / "o").glob("*.dcm"))
    assert (str(seg.PatientName), seg.PatientID, seg.StudyDate) == (f"{NAME}^{GIVEN}", NUMBER, STUDIED)
