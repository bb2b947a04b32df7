"""A box that cuts a mask grows on the sides that cut, and on no other."""

from __future__ import annotations

import numpy as np

from medclipsam.prompting.growing import CutSides, cut_pixels, cut_sides, grown
from medclipsam.types import BoolArray, Box

BOX = Box(x0=10, y0=10, x1=29, y1=29)
"""It takes in the pixels 10 to 29 on both axes."""


def mask_of(rows: slice, columns: slice, size: tuple[int, int] = (40, 40)) -> BoolArray:
    mask = np.zeros(size, bool)
    mask[rows, columns] = True
    return mask


def test_a_mask_inside_its_box_is_not_cut() -> None:
    mask = mask_of(slice(11, 29), slice(11, 29))
    assert cut_sides(mask, BOX) == CutSides()
    assert grown(mask, (BOX,), 0.2) == (BOX,)


def test_each_side_counts_the_pixels_that_end_at_it() -> None:
    assert cut_sides(mask_of(slice(12, 20), slice(10, 25)), BOX) == CutSides(x0=8)
    assert cut_sides(mask_of(slice(10, 20), slice(12, 25)), BOX) == CutSides(y0=13)
    assert cut_sides(mask_of(slice(12, 20), slice(12, 30)), BOX) == CutSides(x1=8)
    assert cut_sides(mask_of(slice(12, 30), slice(12, 20)), BOX) == CutSides(y1=8)


def test_the_sides_that_cut_move_and_the_others_stay() -> None:
    mask = mask_of(slice(10, 20), slice(12, 30))
    assert grown(mask, (BOX,), 0.1) == (Box(x0=10, y0=10 - 1.9, x1=29 + 1.9, y1=29),)


def test_a_side_moves_by_a_pixel_at_least() -> None:
    small = Box(x0=10, y0=10, x1=14, y1=14)
    assert grown(mask_of(slice(10, 13), slice(11, 14)), (small,), 0.1)[0].y0 == 9


def test_a_round_outline_that_touches_a_side_is_not_cut() -> None:
    assert cut_sides(mask_of(slice(14, 16), slice(10, 25)), BOX) == CutSides()


def test_where_the_box_ends_with_the_image_nothing_is_cut() -> None:
    whole = Box(x0=0, y0=0, x1=39, y1=39)
    mask = mask_of(slice(0, 40), slice(0, 40))
    assert cut_sides(mask, whole) == CutSides()
    assert grown(mask, (whole,), 0.2) == (whole,)


def test_a_mask_that_goes_on_beyond_the_side_does_not_end_there() -> None:
    assert cut_sides(mask_of(slice(12, 20), slice(5, 25)), BOX) == CutSides()


def test_a_grown_box_stays_inside_the_image() -> None:
    box = Box(x0=2, y0=2, x1=37, y1=37)
    assert grown(mask_of(slice(10, 30), slice(2, 20)), (box,), 0.5) == (Box(x0=0, y0=2, x1=37, y1=37),)


def test_every_box_is_judged_for_itself() -> None:
    other = Box(x0=30, y0=30, x1=38, y1=38)
    mask = mask_of(slice(12, 20), slice(10, 25))
    assert grown(mask, (BOX, other), 0.1)[1] == other
    assert cut_pixels(mask, (BOX, other)) == 8
