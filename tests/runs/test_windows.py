"""A CT is asked about in the window that suits the prompt, chosen once for a scan; other scans as they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from bright import BrightSegmenter

from medclipsam.io.source import ReadOptions
from medclipsam.methods.contract import MethodInfo, Weighed
from medclipsam.prompting.evidence import Cells
from medclipsam.runs import LabelRequest, label_folder
from medclipsam.runs.manifest import read_manifest
from medclipsam.runs.one_scan import ScanRequest, segment_scan
from medclipsam.runs.windows import best, candidates, told
from medclipsam.types import Box, FloatArray, Hints, MedImage, Segmentation

SLICES = 12


class Greys(BrightSegmenter):
    """Its presence is the share of the body that is neither black nor white; a "unicorn" has none."""

    def __init__(self) -> None:
        super().__init__()
        self.shown: list[float] = []

    def segment(self, image: MedImage, text: str, hints: Hints | None = None, *, always: bool = False) -> Segmentation:
        assert image.values is not None
        grey = image.pixels.mean(axis=2)
        body = grey[(image.values > -950) & (image.values < 1500)]
        self.shown.append(0.0 if "unicorn" in text else self.presence_of(body))
        mask = grey > 0.5
        return Segmentation(
            prompt=text,
            mask=mask,
            probability=mask.astype(np.float32),
            found=bool(mask.any()),
            presence=self.shown[-1],
        )

    def presence_of(self, body: FloatArray) -> float:
        return float(((body > 0.05) & (body < 0.95)).mean())


class Dark(Greys):
    """It sees most where the body is dark and not black."""

    def presence_of(self, body: FloatArray) -> float:
        shown = float(body.mean())
        return 1 - shown if shown > 0.05 else 0.0


class Weighing(Greys):
    """It weighs the evidence of all slices first, and encodes four at once."""

    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[float] = []
        self.looked_at: list[float] = []

    def weigh(self, image: MedImage, text: str) -> Weighed:
        self.looked_at.append(float(image.pixels.mean()))
        presence = self.segment(image, text).presence or 0.0
        cells = Cells(logits=np.full((128, 128), 1, np.float32), presence=presence)
        return Weighed(size=image.size, cells=cells)

    def draw(self, image: MedImage, text: str, weighed: Weighed) -> Segmentation:
        return self.segment(image, text)

    def features_of(self, image: MedImage) -> FloatArray:
        return image.pixels.mean(axis=2)

    def recall(self, image: MedImage, features: FloatArray) -> None:
        assert np.array_equal(features, self.features_of(image))

    def prepare(self, images: Sequence[MedImage]) -> None:
        self.encoded += [float(image.pixels.mean()) for image in images]

    def images_at_once(self, most: int) -> int:
        return 4

    @property
    def info(self) -> MethodInfo:
        return replace(super().info, weighs_first=True)


class Failing(Weighing):
    """It cannot be asked about the middle slice in any window but the file's."""

    def weigh(self, image: MedImage, text: str) -> Weighed:
        if not self.encoded:
            raise RuntimeError("no window can be tried")
        return super().weigh(image, text)


def volume(path: Path, inside: int, around: int = -1000) -> Path:
    """Slices of 40 x 40: 24 x 24 voxels of one value, air around; a bright corner keeps percentiles apart."""
    voxels = np.full((40, 40, SLICES), around, np.int16)
    voxels[8:32, 8:32] = inside
    voxels[:2] = 2000
    nib.save(nib.Nifti1Image(voxels, np.diag([1.0, 1.0, 3.0, 1.0])), path)
    return path


def asked(scan: Path, folder: Path, method: Greys, *prompts: str, **options: Any) -> dict[str, Any]:
    request = ScanRequest(scan=scan, prompts=prompts or ("lungs",), folder=folder, **{"window": "auto", **options})
    return segment_scan(request, lambda: method, lambda *_: None)


def notes(report: dict[str, Any]) -> list[list[str]]:
    return [result["notes"] for image in report["images"] for result in image["results"]]


@pytest.mark.parametrize(
    ("method", "inside", "window"), [(Greys(), -900, "lung"), (Greys(), 60, "file"), (Dark(), -120, "file")]
)
def test_the_window_with_the_greatest_presence_is_taken_for_every_slice(
    tmp_path: Path, method: Greys, inside: int, window: str
) -> None:
    report = asked(volume(tmp_path / "ct.nii.gz", inside), tmp_path / "out", method)
    assert notes(report) == [[told(window)]] * SLICES


def test_the_choice_costs_three_slices_however_many_there_are(tmp_path: Path) -> None:
    method = Greys()
    asked(volume(tmp_path / "ct.nii.gz", -900), tmp_path / "out", method)
    assert len(method.shown) == SLICES + 3 * len(candidates("lungs"))


def test_no_other_window_is_tried_where_none_can_be_clearly_better(tmp_path: Path) -> None:
    method = Greys()
    report = asked(volume(tmp_path / "ct.nii.gz", 60), tmp_path / "out", method)
    assert max(method.shown) > 0.95
    assert notes(report) == [[told("file")]] * SLICES
    assert len(method.shown) == SLICES + 3


def test_each_prompt_has_a_window_of_its_own(tmp_path: Path) -> None:
    method = Greys()
    report = asked(volume(tmp_path / "ct.nii.gz", -900), tmp_path / "out", method, "lungs", "lung unicorn", "liver")
    assert notes(report)[:3] == [[told("lung")], [told("file")], []]
    assert len(method.shown) == 3 * SLICES + 2 * 3 * 2


@pytest.mark.parametrize(
    ("prompt", "window"),
    [
        ("Lungs", "lung"),
        ("left lung", "lung"),
        ("pneumonia | covid-19 infection", "lung"),
        ("ground-glass opacity", "lung"),
        ("pulmonary artery", "file"),
        ("liver", "file"),
        ("plunge", "file"),
    ],
)
def test_only_what_a_window_for_lungs_is_made_for_is_tried_in_it(prompt: str, window: str) -> None:
    assert candidates(prompt)[-1] == window


def test_a_scan_that_is_no_ct_is_asked_as_it_was_read(tmp_path: Path) -> None:
    method = Greys()
    report = asked(volume(tmp_path / "mr.nii.gz", 700, around=0), tmp_path / "out", method)
    assert notes(report) == [[]] * SLICES
    assert len(method.shown) == SLICES


def test_one_slice_is_asked_in_each_window_and_no_other_slice_is(tmp_path: Path) -> None:
    method = Greys()
    report = asked(volume(tmp_path / "ct.nii.gz", -900), tmp_path / "out", method, slice_index=4)
    assert notes(report) == [[told("lung")]]
    assert len(method.shown) == 1 + len(candidates("lungs"))


def test_where_a_person_points_the_files_window_stays(tmp_path: Path) -> None:
    method = Greys()
    hints = Hints(boxes=(Box(x0=5, y0=5, x1=30, y1=30),))
    report = asked(volume(tmp_path / "ct.nii.gz", -900), tmp_path / "out", method, hints=hints)
    assert notes(report) == [[]] * SLICES


@pytest.mark.parametrize(("method", "window"), [(Weighing(), "lung"), (Greys(), None)])
def test_a_method_that_weighs_first_chooses_where_no_window_is_given(
    tmp_path: Path, method: Greys, window: str | None
) -> None:
    report = asked(volume(tmp_path / "ct.nii.gz", -900), tmp_path / "out", method, window=None)
    assert notes(report) == [[told(window)] if window else []] * SLICES


def test_the_files_own_window_can_be_asked_for(tmp_path: Path) -> None:
    method = Weighing()
    report = asked(volume(tmp_path / "ct.nii.gz", -900), tmp_path / "out", method, window="file")
    assert notes(report) == [[]] * SLICES
    assert len(method.looked_at) == SLICES


def test_slices_are_encoded_ahead_as_they_are_asked_about(tmp_path: Path) -> None:
    method, folder = Weighing(), Weighing()
    scan = volume(tmp_path / "in.nii.gz", -900)
    asked(scan, tmp_path / "out", method, window=None)
    assert method.encoded == method.looked_at[-SLICES:]
    request = LabelRequest(source=scan, output=tmp_path / "folder", prompts=("lungs",))
    label_folder(request, lambda: folder, lambda *_: None)
    assert folder.encoded == method.encoded


def test_where_no_window_can_be_tried_the_files_stays(tmp_path: Path) -> None:
    report = asked(volume(tmp_path / "ct.nii.gz", -900), tmp_path / "out", Failing(), window=None)
    assert notes(report) == [[]] * SLICES


def test_a_folder_tells_the_window_in_its_manifest(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    volume(tmp_path / "in" / "ct.nii.gz", -900)
    reading = ReadOptions(window="auto")
    request = LabelRequest(source=tmp_path / "in", output=tmp_path / "out", prompts=("lungs",), reading=reading)
    label_folder(request, Greys, lambda *_: None)
    (record,) = read_manifest(tmp_path / "out" / "manifest.jsonl").values()
    assert told("lung") in record.warnings


def test_another_window_must_show_clearly_more() -> None:
    assert best({"file": 0.5, "lung": 0.54, "soft-tissue": 0.1}) == "file"
    assert best({"file": 0.5, "lung": 0.56, "soft-tissue": 0.6}) == "soft-tissue"
    assert best({"file": 0.5}) == "file"
