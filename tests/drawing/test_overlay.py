"""Does the picture show the answer where it is, whatever the image's size and the prompt's letters?"""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from medclipsam.drawing.overlay import SHEET_SIDE, draw_overlay, draw_sheet, sheet_choice
from medclipsam.drawing.painter import CONTOUR, FOUND, NOT_FOUND
from medclipsam.types import Box, MedImage, Points, Segmentation


def grey_image(height: int, width: int, value: float = 0.5) -> MedImage:
    return MedImage(pixels=np.full((height, width, 3), value, np.float32), name="grey")


def answer(mask: np.ndarray, prompt: str = "tumor", **fields: object) -> Segmentation:
    found = bool(mask.any())
    evidence = mask.astype(np.float32)
    values = {"probability": evidence, "saliency": evidence, "found": found, "presence": 0.5} | fields
    return Segmentation(prompt=prompt, mask=mask, **values)  # type: ignore[arg-type]


def colour_at(picture: Image.Image, colour: tuple[int, int, int], tolerance: int = 6) -> np.ndarray:
    """(n, 2): rows and columns where the picture has nearly this colour."""
    return np.argwhere((np.abs(np.asarray(picture, np.int16) - np.array(colour)) <= tolerance).all(axis=2))


def square(height: int, width: int, y: slice, x: slice) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[y, x] = True
    return mask


def test_the_contour_surrounds_the_mask_in_the_aspect_of_the_image() -> None:
    mask = square(90, 120, slice(30, 60), slice(20, 80))
    rows, columns = colour_at(draw_overlay(grey_image(90, 120), answer(mask)), CONTOUR).T
    assert np.ptp(columns) / np.ptp(rows) == pytest.approx(2, rel=0.02)


def test_the_contour_lies_where_the_mask_lies() -> None:
    left = draw_overlay(grey_image(64, 64), answer(square(64, 64, slice(20, 40), slice(4, 20))))
    right = draw_overlay(grey_image(64, 64), answer(square(64, 64, slice(20, 40), slice(44, 60))))
    moved = colour_at(right, CONTOUR)[:, 1].mean() - colour_at(left, CONTOUR)[:, 1].mean()
    assert moved == pytest.approx(40 * 10, abs=3)


def test_nothing_found_draws_no_contour_and_says_so() -> None:
    picture = draw_overlay(grey_image(64, 64), answer(np.zeros((64, 64), bool)))
    assert len(colour_at(picture, CONTOUR)) == 0
    assert len(colour_at(picture, NOT_FOUND, 1)) > 500
    assert len(colour_at(picture, FOUND, 1)) == 0


def test_a_single_pixel_in_a_huge_image_still_shows() -> None:
    picture = draw_overlay(grey_image(3000, 2000), answer(square(3000, 2000, slice(1234, 1235), slice(777, 778))))
    assert max(picture.size) < 1500
    assert len(colour_at(picture, CONTOUR, 60)) >= 1


def test_the_evidence_is_hottest_where_the_saliency_is() -> None:
    mask = np.zeros((64, 64), bool)
    saliency = square(64, 64, slice(40, 60), slice(40, 60)).astype(np.float32)
    picture = draw_overlay(grey_image(64, 64), answer(mask, saliency=saliency))
    pixels = np.asarray(picture, np.float32)
    coloured = np.argwhere(np.ptp(pixels, axis=2)[40:680, 668:1308] > 60)
    assert coloured.mean(axis=0) == pytest.approx((500, 500), abs=20)


def test_faint_evidence_shows_but_looks_fainter_than_strong_evidence() -> None:
    mask = np.zeros((64, 64), bool)
    spot = square(64, 64, slice(20, 40), slice(20, 40)).astype(np.float32)
    heat = []
    for strength in (0.0, 0.08, 1.0):
        picture = draw_overlay(grey_image(64, 64), answer(mask, saliency=spot * np.float32(strength)))
        heat.append(np.ptp(np.asarray(picture, np.float32)[300:400, 930:1000], axis=2).mean())
    assert heat[0] == 0
    assert 20 < heat[1] < heat[2]


def test_boxes_and_points_add_ink_of_their_own() -> None:
    mask = square(64, 64, slice(20, 40), slice(20, 40))
    prompted = answer(
        mask,
        boxes=(Box(x0=10, y0=10, x1=50, y1=50),),
        points=Points(xy=np.array([[30, 30], [5, 5]], np.float32), labels=np.array([1, 0])),
    )
    plain = np.asarray(draw_overlay(grey_image(64, 64), answer(mask)), np.int16)
    inked = np.asarray(draw_overlay(grey_image(64, 64), prompted), np.int16)
    changed = np.argwhere((plain != inked).any(axis=2)) - (40, 16)
    assert changed.min(axis=0) == pytest.approx((47, 47), abs=3)
    assert changed.max(axis=0) == pytest.approx((500, 500), abs=6)


@settings(max_examples=15, deadline=None)
@given(st.integers(2, 90), st.integers(2, 90), st.text(max_size=300), st.booleans())
def test_every_size_and_prompt_gives_a_picture(height: int, width: int, prompt: str, found: bool) -> None:
    mask = np.zeros((height, width), bool)
    mask[0, 0] = found
    picture = draw_overlay(grey_image(height, width), answer(mask, prompt))
    assert picture.width >= 640
    assert max(picture.size) < 1600


@pytest.mark.parametrize("size", [(2, 4000), (4000, 2), (2, 2)])
def test_slivers_and_specks_give_a_picture_too(size: tuple[int, int]) -> None:
    picture = draw_overlay(grey_image(*size), answer(np.ones(size, bool)))
    assert max(picture.size) < 1600


def test_the_same_result_gives_the_same_picture() -> None:
    mask = square(50, 70, slice(10, 20), slice(30, 60))
    assert draw_overlay(grey_image(50, 70), answer(mask)) == draw_overlay(grey_image(50, 70), answer(mask))


def test_a_result_of_another_size_is_refused() -> None:
    with pytest.raises(ValueError, match="does not lie on"):
        draw_overlay(grey_image(50, 70), answer(np.zeros((70, 50), bool)))


def test_a_sheet_of_one_is_that_picture() -> None:
    picture = Image.new("RGB", (30, 20), "red")
    assert draw_sheet([picture]) == picture


@given(st.integers(1, 500))
def test_a_sheet_shows_at_most_twelve_with_the_first_and_the_last(count: int) -> None:
    chosen = sheet_choice(count)
    assert len(chosen) == min(count, 12)
    assert (chosen[0], chosen[-1]) == (0, count - 1)
    assert chosen == sorted(set(chosen))


def test_a_full_sheet_holds_every_picture_and_stays_small() -> None:
    pictures = [Image.new("RGB", (1324, 782), (100 + index, 0, 0)) for index in range(12)]
    sheet = np.asarray(draw_sheet(pictures))[..., 0]
    assert max(sheet.shape) <= SHEET_SIDE
    assert [index for index in range(12) if (sheet == 100 + index).sum() > 10_000] == list(range(12))


def test_a_sheet_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        draw_sheet([])
