"""The server answers as the command line does, bit for bit, and remembers what was sent."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bright import BrightSegmenter
from PIL import Image
from pydicom import dcmread, examples
from served import picture, volume, without_times
from starlette.testclient import TestClient

from medclipsam.io.naming import case_name
from medclipsam.runs.one_scan import ScanRequest, segment_scan
from medclipsam.serve.answers import Answers
from medclipsam.weights.targets import known_targets


def by_command_line(scan: Path, folder: Path, **options: Any) -> dict[str, bytes]:
    """The files of the same run without a server, the report without its times."""
    request = ScanRequest(scan=scan, folder=folder, **options)
    segment_scan(request, BrightSegmenter, lambda *_: None)
    return compared({path.name: path.read_bytes() for path in folder.iterdir()})


def compared(files: dict[str, bytes]) -> dict[str, bytes]:
    """Files by name; of the report and of DICOM all but times, and the one UID that highdicom draws anew."""
    report = without_times(json.loads(files["report.json"]))
    objects = {name: without_dates(content) for name, content in files.items() if name.endswith(".dcm")}
    return {**files, **objects, "report.json": json.dumps(report).encode()}


def without_dates(content: bytes) -> bytes:
    """A DICOM object without what differs between two runs."""
    found = dcmread(BytesIO(content))
    for keyword in (
        *("InstanceCreationDate", "InstanceCreationTime", "ContentDate", "ContentTime"),
        *("ContributingEquipmentSequence", "DimensionOrganizationSequence", "DimensionIndexSequence"),
    ):
        delattr(found, keyword)
    stream = BytesIO()
    found.save_as(stream)
    return stream.getvalue()


def fetched(client: TestClient, answer: dict[str, Any]) -> dict[str, bytes]:
    """All files of an answer."""
    return compared({file["name"]: client.get(file["url"]).content for file in answer["files"]})


def dicom(path: Path) -> Path:
    """The abdominal MRI of pydicom."""
    path.write_bytes(Path(examples.get_path("overlay")).read_bytes())
    return path


@pytest.mark.parametrize(
    ("make", "name", "asked"),
    [
        (picture, "a.png", {}),
        (picture, "a.png", {"save_stages": True, "formats": ["png", "npy"]}),
        (volume, "v.nii.gz", {}),
        (dicom, "mri.dcm", {"formats": ["seg", "png"]}),
    ],
)
def test_a_scan_that_is_sent_gets_the_files_of_the_command_line(
    client: TestClient, tmp_path: Path, make: Callable[[Path], Path], name: str, asked: dict[str, Any]
) -> None:
    scan = make(tmp_path / name)
    expected = by_command_line(scan, tmp_path / "out", prompts=("tumor", "unicorn"), **asked)
    request = {"prompts": ["tumor", "unicorn"], "case": case_name(scan), **asked}
    answer = client.post(
        "/v1/segment", files={"files": (name, scan.read_bytes())}, data={"request": json.dumps(request)}
    )
    assert answer.status_code == 200, answer.text
    assert fetched(client, answer.json()) == expected
    assert without_times(answer.json()["report"]) == json.loads(expected["report.json"])


def test_a_path_below_the_folder_gets_them_too(client: TestClient, folder: Path, tmp_path: Path) -> None:
    scan = picture(folder / "a.png")
    expected = by_command_line(scan, tmp_path / "out", prompts=("tumor",))
    answer = client.post("/v1/segment", json={"path": "a.png", "prompts": ["tumor"]})
    assert fetched(client, answer.json()) == expected


def test_a_box_and_points_mean_what_they_mean_on_the_command_line(client: TestClient, folder: Path) -> None:
    picture(folder / "a.png")
    asked = {"path": "a.png", "prompts": ["x"], "boxes": [[20, 10, 30, 20]], "points": [{"x": 3, "y": 4.5}]}
    report = client.post("/v1/segment", json=asked).json()["report"]
    (result,) = report["images"][0]["results"]
    assert (result["box"], result["area_px"]) == ([20, 10, 30, 20], 11 * 11)
    assert result["points"] == [{"x": 3.0, "y": 4.5, "inside": True}]


def test_a_scan_that_was_sent_is_known_by_its_content(client: TestClient, tmp_path: Path) -> None:
    content = picture(tmp_path / "a.png").read_bytes()
    first = client.post("/v1/scans", files={"files": ("a.png", content)})
    again = client.post("/v1/scans", files={"files": ("a.png", content)})
    assert (first.status_code, first.json()["count"]) == (201, 1)
    assert first.json()["size"] == {"height": 48, "width": 64}
    assert again.json() == first.json()
    asked = {"scan": first.json()["id"], "prompts": ["tumor"], "overlays": False}
    answer = client.post("/v1/segment", json=asked).json()
    assert [file["name"] for file in answer["files"]] == [f"{first.json()['case']}_tumor_mask.png", "report.json"]


def test_a_slice_is_shown_as_the_model_sees_it(client: TestClient, tmp_path: Path) -> None:
    content = volume(tmp_path / "v.nii.gz").read_bytes()
    scan = client.post("/v1/scans", files={"files": ("v.nii.gz", content)}).json()
    assert (scan["unit"], scan["count"], scan["is_volume"]) == ("slice", 5, True)
    shown = client.get(f"/v1/scans/{scan['id']}/slices/2.png")
    pixels = np.asarray(Image.open(BytesIO(shown.content)))
    assert pixels.shape == (scan["size"]["height"], scan["size"]["width"])
    assert np.count_nonzero(pixels > 128) == 81
    dark = client.get(f"/v1/scans/{scan['id']}/slices/2.png", params={"window": "1000,10"})
    assert not np.asarray(Image.open(BytesIO(dark.content))).any()


def test_one_image_is_asked_about_by_its_number_whatever_it_is_called(client: TestClient, tmp_path: Path) -> None:
    content = volume(tmp_path / "v.nii.gz").read_bytes()
    scan = client.post("/v1/scans", files={"files": ("v.nii.gz", content)}).json()["id"]
    report = client.post("/v1/segment", json={"scan": scan, "image": 3, "prompts": ["tumor"]}).json()["report"]
    assert [image["results"][0]["area_px"] for image in report["images"]] == [100]


def test_what_is_gone_and_what_cannot_be_is_said_in_one_line(client: TestClient, folder: Path) -> None:
    picture(folder / "a.png")
    for asked, status in (
        ({"scan": "0" * 64, "prompts": ["tumor"]}, 404),
        ({"prompts": ["tumor"]}, 422),
        ({"path": "a.png", "prompts": []}, 422),
        ({"path": "a.png", "prompts": [" "]}, 422),
        ({"path": "a.png", "prompts": ["tumor"], "frames": [3, 9]}, 422),
        ({"path": "a.png", "prompts": ["tumor"], "colour": 3}, 422),
        ({"path": "a.png", "prompts": ["tumor"], "formats": ["nifti"]}, 422),
    ):
        answer = client.post("/v1/segment", json=asked)
        assert (answer.status_code, set(answer.json())) == (status, {"problem", "remedy"}), answer.text
    assert client.post("/v1/segment", content=b"{").status_code == 400
    assert client.get("/v1/results/x/report.json").status_code == 404


def test_what_is_deleted_leaves_the_disk(client: TestClient, answers: Answers, tmp_path: Path) -> None:
    content = picture(tmp_path / "a.png").read_bytes()
    sent = client.post("/v1/segment", files={"files": ("a.png", content)}, data={"request": '{"prompts": ["x"]}'})
    assert sorted(path.name[:4] for path in answers.root.iterdir() if path.is_dir()) == ["answ", "scan"]
    assert client.delete(f"/v1/results/{sent.json()['id']}").status_code == 204
    assert client.delete(f"/v1/scans/{sent.json()['scan']}").status_code == 204
    assert not any(path.is_dir() for path in answers.root.iterdir())


def test_what_the_served_model_was_taught_is_offered(client: TestClient, taught: Callable[[str], None]) -> None:
    assert client.get("/v1/targets").json() == []
    taught("compact-open")
    offered = {each["target"] for each in client.get("/v1/targets").json()}
    assert offered == {each.target for each in known_targets("compact-open")}
    taught("compact")
    targets = {each["target"]: each for each in client.get("/v1/targets").json()}
    assert {"liver", "lungs", "breast tumor"} <= targets.keys()
    assert all(0.5 < targets[target]["dice"] < 1 for target in ("liver", "lungs", "breast tumor"))
    assert all(each["images"] and (each["dice"] is None or 0 <= each["dice"] < 1) for each in targets.values())
