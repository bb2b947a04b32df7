from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from medclipsam.config import Prompting
from medclipsam.errors import BadInput
from medclipsam.prompting.prompts import (
    MOST_BOXES,
    Prompts,
    box_around,
    boxes_for_components,
    points_from,
    prompts_from,
)
from medclipsam.types import BoolArray, Box, Points

masks = arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12))
margins = st.floats(0, 3)


def picture(*rows: str) -> BoolArray:
    return np.array([[letter == "#" for letter in row] for row in rows])


TWO = picture(
    "........",
    ".##.....",
    ".##...#.",
    ".##.....",
    "........",
)
EMPTY = np.zeros((4, 6), bool)


def generator() -> np.random.Generator:
    return np.random.default_rng(7)


def pixels_of(points: Points, label: int) -> set[tuple[float, ...]]:
    return {tuple(xy) for xy in points.xy[points.labels == label].tolist()}


def test_one_box_lies_around_all_components() -> None:
    assert box_around(TWO) == Box(x0=1, y0=1, x1=7, y1=4)


def test_each_component_has_its_box_and_the_largest_comes_first() -> None:
    assert boxes_for_components(TWO) == (Box(x0=1, y0=1, x1=3, y1=4), Box(x0=6, y0=2, x1=7, y1=3))
    assert boxes_for_components(TWO, at_most=1) == (Box(x0=1, y0=1, x1=3, y1=4),)


def test_a_box_ends_at_the_last_pixel_of_the_image() -> None:
    assert box_around(np.ones((5, 9), bool)) == Box(x0=0, y0=0, x1=8, y1=4)


def test_a_margin_grows_each_side_by_its_share_and_stops_at_the_image() -> None:
    assert box_around(TWO[:, :4], margin=0.5) == Box(x0=0, y0=0, x1=3, y1=4)
    wide = np.zeros((30, 40), bool)
    wide[10:14, 20:30] = True
    assert box_around(wide, margin=0.5) == Box(x0=15, y0=8, x1=35, y1=16)


def test_a_mask_of_one_pixel_in_the_far_corner_has_a_box_and_a_point() -> None:
    mask = np.zeros((3, 4), bool)
    mask[2, 3] = True
    assert box_around(mask) == Box(x0=3, y0=2, x1=3, y1=2)
    assert pixels_of(points_from(mask, 10, 0, generator()), 1) == {(3, 2)}


def test_an_empty_mask_has_no_prompts_of_any_kind() -> None:
    assert box_around(EMPTY) is None
    assert boxes_for_components(EMPTY) == ()
    assert points_from(EMPTY, 10, 10, generator()) is None
    for kind in ("box", "boxes", "points", "both"):
        assert prompts_from(EMPTY, Prompting(kind=kind, negatives=3), 0).empty


@given(masks, margins)
def test_the_box_holds_the_mask_and_lies_in_the_image(mask: BoolArray, margin: float) -> None:
    box = box_around(mask, margin)
    rows, columns = np.nonzero(mask)
    assert (box is None) == (rows.size == 0)
    if box is not None:
        height, width = mask.shape
        assert 0 <= box.x0 <= columns.min() <= columns.max() <= box.x1 <= width - 1
        assert 0 <= box.y0 <= rows.min() <= rows.max() <= box.y1 <= height - 1


@given(masks, margins)
def test_every_box_of_a_component_lies_in_the_box_around_all(mask: BoolArray, margin: float) -> None:
    around = box_around(mask, 0.0)
    for box in boxes_for_components(mask):
        assert around.x0 <= box.x0 <= box.x1 <= around.x1
        assert around.y0 <= box.y0 <= box.y1 <= around.y1
    assert len(boxes_for_components(mask, margin, at_most=2)) == min(2, len(boxes_for_components(mask)))


@given(masks)
def test_a_larger_margin_never_makes_a_smaller_box(mask: BoolArray) -> None:
    tight, wide = box_around(mask, 0.1), box_around(mask, 0.4)
    if tight is not None:
        assert wide.x0 <= tight.x0 <= tight.x1 <= wide.x1
        assert wide.y0 <= tight.y0 <= tight.y1 <= wide.y1


def test_the_box_of_a_mirrored_mask_is_the_mirrored_box() -> None:
    mask = np.zeros((20, 31), bool)
    mask[4:9, 6:11] = True
    assert box_around(mask.T) == Box(x0=4, y0=6, x1=9, y1=11)


@given(masks, st.integers(0, 12), st.integers(0, 12), st.integers(0, 99))
def test_positive_points_lie_inside_and_negative_points_outside(mask, count: int, negatives: int, seed: int) -> None:
    points = points_from(mask, count, negatives, np.random.default_rng(seed))
    area = int(mask.sum())
    if area == 0 or count == 0:
        assert points is None
        return
    inside, outside = pixels_of(points, 1), pixels_of(points, 0)
    assert len(inside) == min(count, area)
    assert len(outside) == min(negatives, mask.size - area)
    assert len(points) == len(inside) + len(outside)
    assert all(mask[int(y), int(x)] for x, y in inside)
    assert not any(mask[int(y), int(x)] for x, y in outside)


def test_the_same_seed_draws_the_same_points_and_another_seed_others() -> None:
    mask = np.ones((40, 40), bool)
    first, again, other = (prompts_from(mask, Prompting(kind="points"), seed).points.xy for seed in (3, 3, 4))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, other)


def test_points_are_drawn_from_all_of_the_mask() -> None:
    mask = np.zeros((4, 4), bool)
    mask[1, :3] = True
    drawn = [next(iter(pixels_of(points_from(mask, 1, 0, np.random.default_rng(seed)), 1))) for seed in range(60)]
    assert set(drawn) == {(0, 1), (1, 1), (2, 1)}


@pytest.mark.parametrize(
    ("kind", "boxes", "has_points"), [("box", 1, False), ("boxes", 2, False), ("points", 0, True), ("both", 1, True)]
)
def test_the_kind_decides_what_sam_is_asked_with(kind: str, boxes: int, has_points: bool) -> None:
    prompts = prompts_from(TWO, Prompting(kind=kind), 0)
    assert len(prompts.boxes) == boxes
    assert (prompts.points is not None) == has_points
    assert not prompts.empty


@pytest.mark.parametrize("kind", ["box", "boxes", "points", "both"])
def test_parts_are_the_contours_of_the_coarse_mask_whatever_it_is_asked_with(kind: str) -> None:
    assert prompts_from(TWO, Prompting(kind=kind), 0).parts == 2


def test_a_persons_own_boxes_are_as_many_parts() -> None:
    boxes = Box(x0=0, y0=0, x1=2, y1=2), Box(x0=3, y0=1, x1=6, y1=4), Box(x0=5, y0=1, x1=6, y1=2)
    assert prompts_from(TWO, Prompting(), 0, boxes=boxes).parts == 3
    assert (
        prompts_from(TWO, Prompting(), 0, points=Points(xy=np.ones((2, 2), np.float32), labels=np.ones(2))).parts == 1
    )


def test_hundreds_of_specks_give_a_bounded_number_of_boxes() -> None:
    specks = np.zeros((40, 40), bool)
    specks[::2, ::2] = True
    assert len(prompts_from(specks, Prompting(kind="boxes"), 0).boxes) == MOST_BOXES


def test_a_persons_own_box_replaces_the_mask() -> None:
    own = Box(x0=-3, y0=1, x1=5, y1=2)
    assert prompts_from(TWO, Prompting(kind="both"), 0, boxes=(own,)) == Prompts(boxes=(Box(x0=0, y0=1, x1=5, y1=2),))


def test_a_persons_own_points_replace_the_mask_even_where_it_is_empty() -> None:
    own = Points(xy=np.array([[5, 3]], np.float32), labels=np.array([1]))
    prompts = prompts_from(EMPTY, Prompting(), 0, points=own)
    assert prompts.points is own
    assert prompts.boxes == ()


def test_a_persons_own_box_or_point_outside_the_image_is_refused() -> None:
    with pytest.raises(BadInput, match="outside the image of 8 x 5"):
        prompts_from(TWO, Prompting(), 0, boxes=(Box(x0=9, y0=0, x1=12, y1=2),))
    with pytest.raises(BadInput, match=r"point \(2, 5\) lies outside"):
        prompts_from(TWO, Prompting(), 0, points=Points(xy=np.array([[2, 5]], np.float32), labels=np.array([1])))
