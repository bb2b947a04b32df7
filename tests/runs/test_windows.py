"""Lungs on a CT are asked about in the window that suits them, chosen once for a scan; all else as it is read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import pytest
from bright import BrightSegmenter

from medclipsam.errors import BadInput
from medclipsam.io.source import ReadOptions
from medclipsam.methods.contract import MethodInfo, Weighed
from medclipsam.prompting.evidence import Cells
from medclipsam.runs import LabelRequest, label_folder
from medclipsam.runs.manifest import read_manifest
from medclipsam.runs.one_scan import ScanRequest, segment_scan
from medclipsam.runs.pictures import open_pictures
from medclipsam.runs.windows import best, candidates, in_window, told
from medclipsam.types import Box, FloatArray, Hints, MedImage, Segmentation

SLICES = 12


class Greys(BrightSegmenter):
    """Its presence is the share of the body that is neither black nor white; a "unicorn" has none.

    It weighs the evidence of all slices first, and encodes four at once.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoded: list[float] = []
        self.looked_at: list[float] = []

    def weigh(self, image: MedImage, text: str) -> Weighed:
        assert image.values is not None
        grey = image.pixels.mean(axis=2)
        self.looked_at.append(float(image.pixels.mean()))
        body = grey[(image.values > -950) & (image.values < 1500)]
        presence = 0.0 if "unicorn" in text else self.presence_of(body)
        return Weighed(size=image.size, cells=Cells(logits=np.full((128, 128), 1, np.float32), presence=presence))

    def presence_of(self, body: FloatArray) -> float:
        return float(((body > 0.05) & (body < 0.95)).mean())

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


class Plain(Greys):
    """It cannot weigh before it draws."""

    @property
    def info(self) -> MethodInfo:
        return replace(super().info, weighs_first=False)


class Failing(Greys):
    """It cannot be asked before anything was encoded ahead."""

    def weigh(self, image: MedImage, text: str) -> Weighed:
        if not self.encoded:
            raise RuntimeError("no window can be tried")
        return super().weigh(image, text)


class OneSided(Greys):
    """It refuses the text, whatever the window."""

    def weigh(self, image: MedImage, text: str) -> Weighed:
        raise BadInput("the file does not say which side is the patient's left")


def volume(path: Path, inside: int, around: int = -1000) -> Path:
    """Slices of 40 x 40: a body of one value that grows, air around; a bright corner keeps percentiles apart."""
    path.parent.mkdir(exist_ok=True)
    voxels = np.full((40, 40, SLICES), around, np.int16)
    for number in range(SLICES):
        voxels[8:32, 8 : 25 + number // 2, number] = inside
    voxels[:2] = 2000
    nib.save(nib.Nifti1Image(voxels, np.diag([1.0, 1.0, 3.0, 1.0])), path)
    return path


def asked(scan: Path, folder: Path, method: Greys, *prompts: str, **options: Any) -> dict[str, Any]:
    request = ScanRequest(scan=scan, prompts=prompts or ("lungs",), folder=folder, **options)
    return segment_scan(request, lambda: method, lambda *_: None)


def notes(report: dict[str, Any]) -> list[list[str]]:
    return [result["notes"] for image in report["images"] for result in image["results"]]


@pytest.mark.parametrize("window", ["auto", None])
@pytest.mark.parametrize(("inside", "chosen"), [(-900, "lung"), (60, "file")])
def test_lungs_are_asked_in_their_window_where_presence_is_greater_in_it(
    tmp_path: Path, inside: int, chosen: str, window: str | None
) -> None:
    report = asked(volume(tmp_path / "ct.nii.gz", inside), tmp_path / "out", Greys(), window=window)
    assert notes(report) == [[told(chosen)]] * SLICES


def test_the_choice_costs_three_slices_in_each_window_however_many_there_are(tmp_path: Path) -> None:
    method = Greys()
    asked(volume(tmp_path / "ct.nii.gz", -900), tmp_path / "out", method)
    assert len(method.looked_at) == SLICES + 3 * 2


def test_no_other_window_is_tried_where_none_can_be_clearly_better(tmp_path: Path) -> None:
    method = Greys()
    report = asked(volume(tmp_path / "ct.nii.gz", 60), tmp_path / "out", method)
    assert notes(report) == [[told("file")]] * SLICES
    assert len(method.looked_at) == SLICES + 3


def test_each_prompt_has_a_window_of_its_own(tmp_path: Path) -> None:
    method = Greys()
    report = asked(volume(tmp_path / "ct.nii.gz", -900), tmp_path / "out", method, "liver", "lungs", "lung unicorn")
    assert notes(report)[:3] == [[], [told("lung")], [told("file")]]
    assert len(method.looked_at) == 3 * SLICES + 2 * 3 * 2


@pytest.mark.parametrize(
    ("prompt", "window"),
    [
        ("Lungs", "lung"),
        ("left lung", "lung"),
        ("lung_left", "lung"),
        ("lungs | both lung fields", "lung"),
        ("lung tumor", "file"),
        ("ground-glass opacity of the lung", "file"),
        ("pulmonary arterial lumen", "file"),
        ("liver", "file"),
        ("plunge", "file"),
    ],
)
def test_only_lungs_themselves_are_tried_in_their_window(prompt: str, window: str) -> None:
    assert candidates(prompt)[-1] == window


def test_a_scan_that_is_no_ct_is_asked_as_it_was_read(tmp_path: Path) -> None:
    method = Greys()
    report = asked(volume(tmp_path / "mr.nii.gz", 700, around=0), tmp_path / "out", method)
    assert notes(report) == [[]] * SLICES
    assert len(method.looked_at) == SLICES


def test_one_slice_is_tried_alone(tmp_path: Path) -> None:
    method = Greys()
    report = asked(volume(tmp_path / "ct.nii.gz", -900), tmp_path / "out", method, slice_index=4)
    assert notes(report) == [[told("lung")]]
    assert len(method.looked_at) == 2


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (Greys(), {"hints": Hints(boxes=(Box(x0=5, y0=5, x1=30, y1=30),))}),
        (Greys(), {"window": "file"}),
        (Greys(), {"window": "soft-tissue"}),
        (Plain(), {"window": "auto"}),
        (Failing(), {}),
    ],
)
def test_the_window_stays_where_a_person_says_it_or_points_and_where_none_can_be_tried(
    tmp_path: Path, method: Greys, options: dict[str, Any]
) -> None:
    report = asked(volume(tmp_path / "ct.nii.gz", -900), tmp_path / "out", method, **options)
    assert notes(report) == [[]] * SLICES


def test_what_is_refused_in_any_window_is_refused_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(BadInput, match="which side"):
        asked(volume(tmp_path / "ct.nii.gz", -900), tmp_path / "out", OneSided(), "left lung")
    assert not caplog.records


def test_slices_are_encoded_ahead_as_they_are_asked_about(tmp_path: Path) -> None:
    alone, together = Greys(), Greys()
    scan = volume(tmp_path / "in" / "a.nii.gz", -900)
    expected = [float(in_window(image, "lung").pixels.mean()) for image in open_pictures(scan, ReadOptions())]
    assert len(set(expected)) == SLICES // 2
    asked(scan, tmp_path / "out", alone)
    assert alone.encoded == alone.looked_at[-SLICES:] == expected
    other = volume(tmp_path / "in" / "b.nii.gz", 60)
    as_stored = [float(image.pixels.mean()) for image in open_pictures(other, ReadOptions())]
    request = LabelRequest(source=tmp_path / "in", output=tmp_path / "labels", prompts=("lungs",))
    label_folder(request, lambda: together, lambda *_: None)
    assert together.encoded == expected + as_stored


def test_a_folder_tells_the_window_in_its_manifest(tmp_path: Path) -> None:
    volume(tmp_path / "in" / "ct.nii.gz", -900)
    request = LabelRequest(source=tmp_path / "in", output=tmp_path / "out", prompts=("lungs",))
    label_folder(request, Greys, lambda *_: None)
    (record,) = read_manifest(tmp_path / "out" / "manifest.jsonl").values()
    assert told("lung") in record.warnings


def test_another_window_must_show_clearly_more() -> None:
    assert best({"file": 0.5, "lung": 0.54}) == "file"
    assert best({"file": 0.5, "lung": 0.56, "brain": 0.6}) == "brain"
    assert best({"file": 0.5}) == "file"
