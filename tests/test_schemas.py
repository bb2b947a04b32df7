"""The schemas in docs/ are those of the code, and real reports and manifests keep them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from bright import BrightSegmenter, bright_square
from jsonschema import Draft202012Validator
from PIL import Image
from pydicom import examples
from write_schemas import FOLDER, schemas

import medclipsam
from medclipsam.runs import LabelRequest, label_folder
from medclipsam.runs.one_scan import ScanRequest, segment_scan
from medclipsam.types import Box, Hints, Points


def validator(name: str) -> Draft202012Validator:
    """The schema of a kind of file."""
    schema = json.loads((FOLDER / f"{name}.schema.json").read_text())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def problems(name: str, value: Any) -> list[str]:
    """What a schema has against a value."""
    return [f"{list(error.path)}: {error.message[:200]}" for error in validator(name).iter_errors(value)]


def picture(path: Path) -> Path:
    """An image with a bright square."""
    Image.fromarray(bright_square(40, 60, 5, 20, 10)).save(path)
    return path


def volume(path: Path) -> Path:
    """Three slices with a bright square."""
    slices = np.stack([bright_square(24, 32, 4, 6, 8)] * 3, axis=2)
    nibabel.Nifti1Image(slices, np.diag([0.5, 0.7, 2.0, 1.0])).to_filename(path)
    return path


def test_the_files_are_what_the_program_writes() -> None:
    assert {path.name: path.read_text() for path in FOLDER.iterdir()} == schemas()


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("a.png", {}),
        ("a.png", {"save_stages": True, "overlays": False}),
        ("a.png", {"hints": Hints(points=Points(xy=np.ones((1, 2), np.float32), labels=np.ones(1, np.int64)))}),
        ("a.png", {"hints": Hints(boxes=(Box(x0=1, y0=2, x1=30, y1=30),))}),
        ("v.nii.gz", {}),
        ("v.nii.gz", {"slice_index": 1, "always": True}),
    ],
)
def test_a_report_keeps_its_schema(tmp_path: Path, name: str, asked: dict[str, Any]) -> None:
    scan = picture(tmp_path / name) if name.endswith("png") else volume(tmp_path / name)
    request = ScanRequest(scan=scan, folder=tmp_path / "out", prompts=("tumor", "unicorn"), **asked)
    segment_scan(request, BrightSegmenter, lambda *_: None)
    assert problems("report", json.loads((tmp_path / "out" / "report.json").read_text())) == []


@pytest.mark.slow
def test_the_report_of_the_embedded_model_keeps_it(tmp_path: Path) -> None:
    scan = Path(str(examples.get_path("overlay")))
    request = ScanRequest(scan=scan, folder=tmp_path, prompts=("liver", "ljashdbflsabdf"))
    report = segment_scan(request, lambda: medclipsam.load("embedded"), lambda *_: None)
    assert problems("report", report) == []
    assert problems("report", {**report, "seed": -1}) != []
    assert problems("report", {**report, "more": 1}) != []


def test_every_line_of_a_manifest_keeps_its_schema(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    picture(tmp_path / "in" / "a.png"), volume(tmp_path / "in" / "v.nii.gz")
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    request = LabelRequest(source=tmp_path / "in", output=tmp_path / "out", prompts=("tumor", "unicorn"))
    label_folder(request, BrightSegmenter, lambda *_: None)
    lines = (tmp_path / "out" / "manifest.jsonl").read_text().splitlines()
    records = [json.loads(line) for line in lines]
    assert {record["status"] for record in records} == {"done", "not found", "refused"}
    assert [problem for record in records for problem in problems("manifest", record)] == []
