"""Scans of a true archive: searched, fetched, segmented, stored once, and no word of patient or password anywhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from time import sleep

import numpy as np
import pytest
from bright import BrightSegmenter
from dicom_files import PLANTED, dicom
from orthanc import PASSWORD, USER, Orthanc
from pydicom.uid import CTImageStorage, UltrasoundImageStorage
from series_files import phantom, series

from medclipsam.errors import BadInput, CannotWrite
from medclipsam.pacs.address import Address, Query
from medclipsam.pacs.archive import Archive, NoServer
from medclipsam.runs import LabelRequest, Summary, label_folder, read_manifest
from medclipsam.runs.one_scan import ScanRequest
from medclipsam.runs.remote_folder import RemoteSource
from medclipsam.runs.remote_scan import RemoteChoice, segment_remote
from medclipsam.types import Hints, MedImage, Segmentation

STUDIES = ("1.2.3.1", "1.2.3.2", "1.2.3.3")


@pytest.fixture(scope="module")
def archive_files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Two CT series and an ultrasound series of two images, in three studies."""
    folder = tmp_path_factory.mktemp("scans")
    files = []
    for number, study in enumerate(STUDIES[:2]):
        turned = np.roll(phantom(), number, axis=2)
        files += series(folder / study, volume=turned, uid=f"1.2.3.20{number}", StudyInstanceUID=study)
    for number in range(2):
        pixels = np.zeros((20, 30), np.uint8)
        pixels[5:9, 10 + number : 20] = 200
        known = {"SOPClassUID": UltrasoundImageStorage, "Modality": "US", "SOPInstanceUID": f"1.2.3.300.{number + 1}"}
        known |= {"StudyInstanceUID": STUDIES[2], "SeriesInstanceUID": "1.2.3.300", "StudyDate": "20200501"}
        files.append(dicom(folder / f"us{number}.dcm", pixels, **known))
    return files


@pytest.fixture
def orthanc(tmp_path: Path, archive_files: list[Path], monkeypatch: pytest.MonkeyPatch) -> Iterator[Orthanc]:
    """A running archive with three studies, whose password this process knows."""
    (tmp_path / "orthanc").mkdir()
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    server = Orthanc(tmp_path / "orthanc")
    server.start()
    monkeypatch.setenv("MEDCLIPSAM_DICOMWEB_USER", USER)
    monkeypatch.setenv("MEDCLIPSAM_DICOMWEB_PASSWORD", PASSWORD)
    try:
        server.push(*archive_files)
        yield server
    finally:
        server.kill()


def label(server: Orthanc, output: Path, query: str, **options: object) -> Summary:
    """Segment what a query finds by the bright method, and store SEG and SR."""
    remote = RemoteSource(address=Address.parse(server.scan), query=Query.parse(query), store=True)
    request = LabelRequest(
        source=Path("archive"),
        remote=remote,
        output=output,
        prompts=("liver",),
        formats=("seg",),
        structured_report=True,
    )
    return label_folder(request, BrightSegmenter, lambda *_: None, **options)


def test_three_studies_are_searched_segmented_stored_and_found_again(tmp_path: Path, orthanc: Orthanc) -> None:
    found = label(orthanc, tmp_path / "out", "modality=CT")
    assert (found.counts, found.stored) == ({"done": 2}, {"stored": 4})
    found = label(orthanc, tmp_path / "us", "modality=US,date=20200101-20201231")
    assert (found.counts, found.stored) == ({"done": 2}, {"stored": 4})
    segs, reports = orthanc.held("SEG"), orthanc.held("SR")
    assert sorted(each["StudyInstanceUID"] for each in segs) == [*STUDIES, STUDIES[2]]
    assert sorted(each["StudyInstanceUID"] for each in reports) == [*STUDIES, STUDIES[2]]
    records = read_manifest(tmp_path / "out" / "manifest.jsonl").values()
    assert sorted(str(record.file) for record in records) == ["1.2.3.1/1.2.3.200", "1.2.3.2/1.2.3.201"]
    again = label(orthanc, tmp_path / "out", "modality=CT")
    assert (again.kept, again.stored) == (2, {"there": 4})
    anew = label(orthanc, tmp_path / "elsewhere", "modality=CT")
    assert (anew.kept, anew.stored) == (0, {"there": 4})
    assert (len(orthanc.held("SEG")), len(orthanc.held("SR"))) == (4, 4)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_a_scan_of_the_archive_has_the_mask_of_the_file(
    tmp_path: Path, orthanc: Orthanc, archive_files: list[Path]
) -> None:
    choice = RemoteChoice(address=Address.parse(orthanc.scan), study=STUDIES[0], store=True)
    request = ScanRequest(scan=Path(), prompts=("liver",), folder=tmp_path / "out", formats=("seg", "png"))
    report, folder, stored = segment_remote(choice, request, BrightSegmenter, lambda *_: None)
    assert stored == [f"stored {name.name}" for name in folder.glob("*_seg.dcm")]
    assert [image["results"][0]["area_px"] for image in report["images"]] == [
        int((values > 500).sum()) for values in phantom()
    ]
    _, _, stored = segment_remote(choice, request, BrightSegmenter, lambda *_: None)
    assert stored == [f"{name.name} is stored already" for name in folder.glob("*_seg.dcm")]
    assert len(orthanc.held("SEG")) == 1


def test_a_killed_archive_ends_the_run_and_the_same_command_goes_on(
    tmp_path: Path, orthanc: Orthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medclipsam.pacs.archive.WAITS_S", (0.01, 0.01))

    class Deadly(BrightSegmenter):
        """Kills the archive at the first slice of the second scan."""

        def segment(
            self, image: MedImage, text: str, hints: Hints | None = None, *, always: bool = False
        ) -> Segmentation:
            if len({name.partition("-s0")[0] for name, _, _ in self.asked}) == 2:
                orthanc.kill()
            return super().segment(image, text, hints, always=always)

    remote = RemoteSource(address=Address.parse(orthanc.scan), query=Query.parse("modality=CT"), store=True)
    request = LabelRequest(
        source=Path("x"), remote=remote, output=tmp_path / "out", prompts=("liver",), formats=("seg",)
    )
    with pytest.raises(NoServer, match="no archive answers"):
        label_folder(request, Deadly, lambda *_: None)
    orthanc.start()
    assert len(orthanc.held("SEG")) == 1
    found = label_folder(request, BrightSegmenter, lambda *_: None)
    assert (found.counts, found.kept, found.stored) == ({"done": 2}, 2, {"there": 1, "stored": 1})
    assert len(orthanc.held("SEG")) == 2


def test_an_archive_that_goes_away_while_scans_are_fetched_ends_the_run_too(
    tmp_path: Path, orthanc: Orthanc, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("medclipsam.pacs.archive.WAITS_S", (0.01,))
    remote = RemoteSource(address=Address.parse(orthanc.scan), query=Query.parse("modality=CT"))
    request = LabelRequest(source=Path("x"), remote=remote, output=tmp_path / "out", prompts=("liver",))
    with pytest.raises(NoServer, match="no archive answers"):
        label_folder(request, BrightSegmenter, lambda stage, *_: orthanc.kill() if stage == "labelling" else None)
    orthanc.start()
    found = label_folder(request, BrightSegmenter, lambda *_: None)
    assert (found.counts, found.kept, found.stored) == ({"done": 2}, 0, None)
    assert list((tmp_path / "temporary").iterdir()) == []


def test_what_one_series_lacks_is_its_record_and_the_others_go_on(tmp_path: Path, orthanc: Orthanc) -> None:
    lost = next(path for path in (tmp_path / "orthanc" / "storage").rglob("*") if b"1.2.3.201.2" in _head(path))
    orthanc.kill()
    lost.unlink()
    orthanc.start()
    found = label(orthanc, tmp_path / "out", "modality=CT")
    assert found.counts == {"done": 1, "refused": 1}
    refused = [each for each in read_manifest(tmp_path / "out" / "manifest.jsonl").values() if each.status == "refused"]
    assert [each.file for each in refused] == ["1.2.3.2/1.2.3.201"]
    assert "answers" in str(refused[0].reason) or "does not have" in str(refused[0].reason)


def _head(path: Path) -> bytes:
    return path.read_bytes()[:2000] if path.is_file() and path.stat().st_size < 10_000 else b""


def test_a_refused_object_is_told(tmp_path: Path, orthanc: Orthanc) -> None:
    archive = Archive(Address.parse(orthanc.scan))
    broken = dicom(tmp_path / "x.dcm", np.zeros((4, 4), np.uint8), SOPClassUID=CTImageStorage, StudyInstanceUID="1.2.9")
    with pytest.raises((BadInput, CannotWrite)):
        archive.store(broken)


def command(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run medclipsam as a person would."""
    return subprocess.run(
        [sys.executable, "-m", "medclipsam", *arguments], capture_output=True, text=True, check=False, env=environment
    )


@pytest.mark.slow
def test_what_is_wrong_is_one_line_and_exit_code_two(tmp_path: Path, orthanc: Orthanc) -> None:
    good = {**os.environ, "MEDCLIPSAM_DICOMWEB_USER": USER, "MEDCLIPSAM_DICOMWEB_PASSWORD": PASSWORD}
    out = ("--prompt", "liver", "-o", str(tmp_path / "out"))
    study = ("--study", STUDIES[0])
    wrong = {
        "refuses this user or password": ((orthanc.scan, *study), good | {"MEDCLIPSAM_DICOMWEB_PASSWORD": "guess"}),
        "has no study": ((orthanc.scan, "--study", "1.2.3.99"), good),
        "no archive answers": (("dicomweb:http://127.0.0.1:9/dicom-web", *study), good),
        "carries a user or password": ((orthanc.scan.replace("//", "//ada:s3cret-of-ada@"), *study), good),
        "is no Study Instance UID": ((orthanc.scan, "--study", "../x"), good),
        "answers 400": ((f"dicomweb:{orthanc.root}", *study), good),
        "holds 2 images that are no stack": ((orthanc.scan, "--study", STUDIES[2]), good),
    }
    for said, (arguments, environment) in wrong.items():
        ran = command("segment", *arguments, *out, **environment)
        assert (ran.returncode, said in ran.stderr) == (2, True), ran.stderr
        assert len(ran.stderr.strip().splitlines()) <= 2
        assert PASSWORD not in ran.stdout + ran.stderr
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_neither_password_nor_patient_is_told_to_anybody(tmp_path: Path, orthanc: Orthanc) -> None:
    environment = {**os.environ, "MEDCLIPSAM_DICOMWEB_USER": USER, "MEDCLIPSAM_DICOMWEB_PASSWORD": PASSWORD}
    out = tmp_path / "out"
    arguments = [
        "pseudolabel",
        orthanc.scan,
        "--query",
        "modality=CT",
        "-p",
        "liver",
        "-o",
        str(out),
        "--store",
        "--sr",
    ]
    told = b""
    with subprocess.Popen(
        [sys.executable, "-m", "medclipsam", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=environment,
    ) as running:
        while running.poll() is None:
            listed = subprocess.run(["ps", "-eo", "args"], capture_output=True, check=True).stdout
            sleep(0.2)
            told += b"\n".join(line for line in listed.splitlines() if b"medclipsam" in line)
        assert running.stdout is not None
        told += running.stdout.read()
    assert running.returncode == 0, told
    for path in out.rglob("*"):
        if path.is_file() and path.suffix != ".dcm":  # a DICOM object names its patient because the standard says so
            told += path.name.encode() + path.read_bytes()
    for secret in (PASSWORD, *PLANTED):
        assert secret.encode() not in told
    assert json.loads((out / "stored.jsonl").read_text().splitlines()[0])["status"] == "stored"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("dicomweb:https://ada:pw@archive/dicom-web", "carries a user or password"),
        ("dicomweb:ftp://archive", "no address"),
        ("dicomweb:https://", "no address"),
        ("dicomweb:https://archive/x?y=1", "no address"),
        ("dicomweb:https://archive:port/x", "no address"),
    ],
)
def test_an_address_that_cannot_be_used_is_refused(text: str, said: str) -> None:
    with pytest.raises(BadInput, match=said) as refused:
        Address.parse(text)
    assert ":pw" not in str(refused.value)


def test_a_file_is_no_address() -> None:
    assert Address.parse("scan.dcm") is None


@pytest.mark.parametrize("text", ["", "patient=DOE", "modality", "modality="])
def test_a_query_that_says_nothing_or_names_a_patient_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        Query.parse(text)
