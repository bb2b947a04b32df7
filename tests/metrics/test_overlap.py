from __future__ import annotations

import numpy as np
import pytest
from drawn_masks import mask_pairs, picture
from hypothesis import given

from medclipsam.errors import BadInput
from medclipsam.metrics import dice, iou, pooled_dice

EMPTY = np.zeros((3, 4), bool)


def test_two_of_three_and_two_of_four_pixels_shared() -> None:
    first, second = picture("###.", "...."), picture(".###", "...#")
    assert dice(first, second) == pytest.approx(2 * 2 / (3 + 4))
    assert iou(first, second) == pytest.approx(2 / 5)


@pytest.mark.parametrize("metric", [dice, iou])
def test_two_empty_masks_agree_and_an_empty_one_misses_all(metric) -> None:
    assert metric(EMPTY, EMPTY) == 1
    assert metric(EMPTY, ~EMPTY) == metric(~EMPTY, EMPTY) == 0


@given(mask_pairs())
def test_overlap_is_symmetric_bounded_and_one_for_equal_masks_alone(pair) -> None:
    first, second = pair
    for metric in (dice, iou):
        assert metric(first, second) == metric(second, first)
        assert 0 <= metric(first, second) <= 1
        assert (metric(first, second) == 1) == np.array_equal(first, second)


@given(mask_pairs(dimensions=3, side=5))
def test_dice_and_iou_tell_the_same_of_volumes_too(pair) -> None:
    overlap = iou(*pair)
    assert dice(*pair) == pytest.approx(2 * overlap / (1 + overlap))


@pytest.mark.parametrize("metric", [dice, iou])
def test_what_cannot_be_compared_is_refused(metric) -> None:
    with pytest.raises(BadInput, match="differ in size"):
        metric(EMPTY, EMPTY.T)
    with pytest.raises(BadInput, match="not boolean"):
        metric(EMPTY.astype(float), EMPTY)


def test_pooled_dice_counts_pixels_where_the_mean_counts_images() -> None:
    large, small = (90, 100, 100), (0, 5, 5)
    assert pooled_dice(*zip(large, small, strict=True)) == pytest.approx(2 * 90 / 210)
    assert (0.9 + 0) / 2 < 2 * 90 / 210, "the mean of the two images' Dice is lower"


def test_pooled_dice_of_images_without_any_pixel_is_one_and_other_counts_are_refused() -> None:
    assert pooled_dice([0, 0], [0, 0], [0, 0]) == 1
    with pytest.raises(BadInput, match="2, 1 and 2 counts"):
        pooled_dice([1, 2], [3], [4, 5])
