"""Does the report say what was done and found, and nothing that it should not?"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medclipsam import report
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.types import Box, MedImage, Points, Segmentation

IMAGE = MedImage(
    pixels=np.full((40, 50, 3), 0.5, np.float32), name="case-1a2b", spacing_mm=(0.5, 2.0), warnings=("no window",)
)


def found_something() -> Segmentation:
    mask = np.zeros((40, 50), bool)
    mask[10:14, 20:25] = True
    return Segmentation(
        prompt="опухоль 😀",
        mask=mask,
        probability=np.where(mask, 0.75, 0.25).astype(np.float32),
        saliency=mask.astype(np.float32),
        found=True,
        presence=0.875,
        boxes=(Box(x0=20, y0=10, x1=22, y1=13), Box(x0=23, y0=10, x1=24, y1=12)),
        points=Points(xy=np.array([[21, 11], [1, 2]], np.float32), labels=np.array([1, 0])),
        scores=(0.5, 0.25),
        seconds={"encode": 1.23456},
    )


def found_nothing() -> Segmentation:
    empty = np.zeros((40, 50), np.float32)
    return Segmentation(
        prompt="unicorn", mask=empty > 0, probability=empty, saliency=empty, found=False, presence=0.125
    )


def test_a_result_tells_area_box_points_scores_and_evidence() -> None:
    record = report.result_record(IMAGE, found_something(), {"mask": "mask.png"})
    assert (record["area_px"], record["area_mm2"]) == (20, 20.0)
    assert record["box"] == [20, 10, 24, 13]
    assert record["boxes"] == [[20, 10, 22, 13], [23, 10, 24, 12]]
    assert record["points"] == [{"x": 21, "y": 11, "inside": True}, {"x": 1, "y": 2, "inside": False}]
    assert record["sam_scores"] == [0.5, 0.25]
    assert record["saliency"] == {"max": 1.0, "mean": 20 / 2000, "mean_in_mask": 1.0}
    assert record["probability"]["mean_in_mask"] == 0.75
    assert record["seconds"] == {"encode": 1.2346}
    assert record["files"] == {"mask": "mask.png"}


def test_nothing_found_is_said_plainly() -> None:
    record = report.result_record(IMAGE, replace(found_nothing(), reason="sam_empty"), {})
    assert (record["found"], record["reason"]) == (False, "sam_empty")
    assert (record["area_px"], record["area_mm2"], record["box"], record["points"]) == (0, 0.0, None, [])
    assert record["saliency"]["mean_in_mask"] is None


def test_without_spacing_there_is_no_area_in_millimetres() -> None:
    bare = MedImage(pixels=IMAGE.pixels, name="bare")
    assert report.result_record(bare, found_something(), {})["area_mm2"] is None
    assert report.image_record(bare, [])["spacing_mm"] is None


def test_the_whole_report_is_json_with_settings_seed_versions_and_notice() -> None:
    settings = {"preset": {"name": "embedded", "layers": (7, 9)}, "weights": [{"file": Path("/secret/place/w.bin")}]}
    images = [report.image_record(IMAGE, [report.result_record(IMAGE, found_something(), {})])]
    made = report.make_report(settings, images, seed=7, seconds={"read": 0.5})
    again = json.loads(report.to_json(made))
    assert again["notice"] == RESEARCH_USE_ONLY
    assert again["seed"] == 7
    assert again["preset"] == {"name": "embedded", "layers": [7, 9]}
    assert again["weights"] == [{"file": "w.bin"}]
    assert set(report.PACKAGES) < set(again["versions"])
    assert again["images"][0]["case"] == "case-1a2b"
    assert again["images"][0]["sha256"] == IMAGE.digest
    assert again["images"][0]["size"] == {"height": 40, "width": 50}
    assert again["images"][0]["warnings"] == ["no window"]
    assert again["images"][0]["results"][0]["prompt"] == "опухоль 😀"


def test_a_number_that_json_lacks_is_a_bug_and_not_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        report.to_json({"presence": float("nan")})
