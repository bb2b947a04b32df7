"""Borders are left out of what the model sees, on drawn frames around drawn images and a real scan."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from pydicom import examples

import medclipsam
from medclipsam.config import PRESETS, ZeroShot
from medclipsam.methods.borders import NOTE, Inner, inner_of
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.types import Box, FloatArray, Hints, MedImage, Points


def tissue(height: int = 80, width: int = 100, seed: int = 0) -> FloatArray:
    grey = np.random.default_rng(seed).uniform(0.2, 0.9, (height, width)).astype(np.float32)
    return np.repeat(grey[..., None], 3, axis=2)


def framed(pixels: FloatArray, rows: tuple[int, int], columns: tuple[int, int], value: float = 0.0) -> FloatArray:
    return np.pad(pixels, (rows, columns, (0, 0)), constant_values=value)


@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(
    ("rows", "columns"), [((12, 12), (15, 15)), ((30, 0), (0, 0)), ((0, 0), (25, 40)), ((9, 0), (0, 20))]
)
def test_a_drawn_border_is_found_to_the_pixel(rows: tuple[int, int], columns: tuple[int, int], value: float) -> None:
    inner = inner_of(framed(tissue(), rows, columns, value))
    assert inner is not None
    assert (inner.rows, inner.columns) == ((rows[0], rows[0] + 80), (columns[0], columns[0] + 100))


def test_bars_of_different_values_are_found_whichever_was_drawn_first() -> None:
    across_first = framed(framed(tissue(), (0, 0), (20, 20), 1.0), (15, 15), (0, 0))
    down_first = framed(framed(tissue(), (15, 15), (0, 0)), (0, 0), (20, 20), 1.0)
    for pixels in (across_first, down_first):
        assert inner_of(pixels) == Inner(rows=(15, 95), columns=(20, 120), size=(110, 140))


def test_what_jpeg_leaves_in_a_black_margin_hides_no_border_and_costs_no_line_of_the_image() -> None:
    levels = np.round(framed(tissue(160, 200), (37, 37), (50, 50)) * 255).astype(np.uint8)
    compressed = cv2.imdecode(cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)
    inner = inner_of(compressed.astype(np.float32) / 255)
    assert inner is not None
    assert 37 - 8 <= inner.rows[0] <= 37 and 197 <= inner.rows[1] <= 197 + 8
    assert 50 - 8 <= inner.columns[0] <= 50 and 250 <= inner.columns[1] <= 250 + 8


def inside_of(shape: str) -> FloatArray:
    """Bright tissue inside a shape, air around it."""
    drawn = np.zeros((200, 240), np.uint8)
    if shape == "head":
        cv2.ellipse(drawn, (120, 100), (70, 85), 0, 0, 360, 1, -1)
    if shape == "ultrasound sector":
        cv2.ellipse(drawn, (120, 20), (170, 170), 0, 45, 135, 1, -1)
    if shape == "octagon":
        corners = [(60, 20), (180, 20), (210, 50), (210, 150), (180, 180), (60, 180), (30, 150), (30, 50)]
        cv2.fillPoly(drawn, [np.array(corners)], 1)
    if shape == "small spot":
        cv2.circle(drawn, (130, 90), 6, 1, -1)
    if shape == "small square":
        drawn[90:110, 100:120] = 1
    return tissue(200, 240) * drawn[..., None]


@pytest.mark.parametrize("shape", ["head", "ultrasound sector", "octagon", "small spot", "small square", "nothing"])
def test_air_around_a_body_is_no_border(shape: str) -> None:
    assert inner_of(inside_of(shape)) is None


def test_an_image_without_a_border_is_seen_whole() -> None:
    assert inner_of(tissue()) is None


def test_a_strip_one_visible_step_brighter_than_the_border_is_not_cut() -> None:
    pixels = framed(tissue(), (20, 0), (0, 0))
    pixels[14:20, 30:34] = 16 / 255
    inner = inner_of(pixels)
    assert inner is not None
    assert inner.rows[0] == 14


@pytest.fixture(scope="module")
def segmenter() -> ZeroShotSegmenter:
    return medclipsam.load("embedded", device="cpu")


def test_a_border_around_a_real_scan_moves_the_mask_and_changes_no_bit_of_it(segmenter: ZeroShotSegmenter) -> None:
    scan = medclipsam.read_image(examples.get_path("overlay"))
    bordered = replace(scan, pixels=framed(scan.pixels, (70, 20), (31, 90), 1.0), values=None, plane_lps=None)
    plain, answer = segmenter.segment(scan, "liver"), segmenter.segment(bordered, "liver")
    assert plain.found and answer.found
    height, width = scan.size
    inside = slice(70, 70 + height), slice(31, 31 + width)
    for whole, part in ((answer.mask, plain.mask), *((answer.maps[name], plain.maps[name]) for name in plain.maps)):
        assert whole.shape == bordered.size
        assert np.array_equal(whole[inside], part)
        outside = whole.copy()
        outside[inside] = 0
        assert not outside.any()
    assert [box.x0 - 31 for box in answer.boxes] == pytest.approx([box.x0 for box in plain.boxes])
    assert [box.y1 - 70 for box in answer.boxes] == pytest.approx([box.y1 for box in plain.boxes])
    assert answer.presence == plain.presence
    assert NOTE in answer.notes and NOTE not in plain.notes


def test_a_slice_that_lies_in_space_is_seen_whole(segmenter: ZeroShotSegmenter) -> None:
    picture = MedImage(pixels=framed(tissue(seed=5), (20, 20), (30, 30)), name="picture", format="raster")
    slices = replace(picture, format="dicom", plane_lps=np.eye(3)), replace(picture, format="nifti")
    assert segmenter._inner(picture) is not None
    assert [segmenter._inner(each) for each in slices] == [None, None]


def test_what_is_encoded_ahead_is_what_is_asked_about(segmenter: ZeroShotSegmenter) -> None:
    image = MedImage(pixels=framed(tissue(seed=3), (20, 20), (20, 20)), name="framed", format="raster")
    fresh = ZeroShotSegmenter(segmenter.config, segmenter._evidence, segmenter._sam, weights={})
    fresh.prepare([image])
    held = set(segmenter._sam._embeddings._made)
    fresh.segment(image, "liver", always=True)
    assert set(segmenter._sam._embeddings._made) == held


def test_hints_are_where_they_were_drawn(segmenter: ZeroShotSegmenter) -> None:
    plain = MedImage(pixels=tissue(seed=4), name="plain")
    image = replace(plain, pixels=framed(plain.pixels, (20, 20), (30, 30)), format="raster")
    there = segmenter.segment(plain, "liver", Hints(boxes=(Box(x0=10, y0=20, x1=60, y1=70),)))
    moved = segmenter.segment(image, "liver", Hints(boxes=(Box(x0=40, y0=40, x1=90, y1=90),)))
    assert np.array_equal(moved.mask[20:100, 30:130], there.mask)
    assert moved.boxes == (Box(x0=40, y0=40, x1=90, y1=90),)


def test_a_hint_in_the_border_asks_about_the_whole_image() -> None:
    inner = Inner(rows=(20, 100), columns=(30, 130), size=(120, 160))
    labels = np.ones(1, np.int64)
    assert inner.holds(Hints())
    assert inner.holds(Hints(boxes=(Box(x0=30, y0=20, x1=130, y1=100),)))
    assert not inner.holds(Hints(boxes=(Box(x0=29, y0=20, x1=130, y1=100),)))
    assert inner.holds(Hints(points=Points(xy=np.array([[129, 99]], np.float32), labels=labels)))
    assert not inner.holds(Hints(points=Points(xy=np.array([[130, 99]], np.float32), labels=labels)))


def test_the_presets_of_the_paper_see_the_whole_image() -> None:
    spared = {name for name, preset in PRESETS.items() if isinstance(preset, ZeroShot) and preset.crop_borders}
    assert spared == {"embedded", "embedded-open"}
