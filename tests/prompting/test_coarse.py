from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from medclipsam.config import Coarse
from medclipsam.errors import BadInput
from medclipsam.prompting.coarse import (
    coarse_mask,
    keep_components,
    largest_components,
    otsu_threshold,
    two_means_threshold,
)
from medclipsam.types import BoolArray, FloatArray

GREY_LEVEL = 1 / 255
METHODS = ("otsu", "kmeans", "threshold")
ALL = Coarse(components=0)

masks = arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=9))


def picture(*rows: str) -> BoolArray:
    return np.array([[letter == "#" for letter in row] for row in rows])


def soft_map(seed: int, size: int = 96) -> FloatArray:
    """A smooth random map that spans [0, 1], as M2IB's are."""
    noise = np.random.default_rng(seed).normal(size=(size, size))
    smooth = ndimage.gaussian_filter(noise, 10.0)
    return ((smooth - smooth.min()) / np.ptp(smooth)).astype(np.float32)


def division_error(values: np.ndarray, threshold: float) -> float:
    parts = values[values <= threshold], values[values > threshold]
    return float(sum(((part - part.mean()) ** 2).sum() for part in parts if part.size))


def components_by_hand(mask: BoolArray) -> list[set[tuple[int, int]]]:
    """8-connected components by flooding, in reading order of their first pixels."""
    waiting = [(int(row), int(column)) for row, column in zip(*np.nonzero(mask), strict=True)]
    found = []
    while waiting:
        edge, component = [waiting[0]], {waiting[0]}
        while edge:
            row, column = edge.pop()
            near = {(row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)} & set(waiting) - component
            component |= near
            edge.extend(near)
        waiting = [pixel for pixel in waiting if pixel not in component]
        found.append(component)
    return found


def test_otsu_and_two_means_agree_within_three_grey_levels() -> None:
    gaps = [abs(otsu_threshold(soft_map(seed)) - two_means_threshold(soft_map(seed))) for seed in range(40)]
    assert max(gaps) <= 3 * GREY_LEVEL


def test_otsu_and_two_means_put_nearly_the_same_pixels_in_the_foreground() -> None:
    for seed in range(10):
        saliency = soft_map(seed)
        otsu, kmeans = (coarse_mask(saliency, replace(ALL, method=method)) for method in ("otsu", "kmeans"))
        assert np.mean(otsu != kmeans) < 0.018


@given(arrays.arrays(np.float32, st.integers(2, 25), elements=st.floats(0, 1, width=32)))
def test_two_means_is_the_best_of_all_divisions(values: np.ndarray) -> None:
    errors = [division_error(values.astype(np.float64), float(value)) for value in values]
    chosen = division_error(values.astype(np.float64), two_means_threshold(values[None]))
    assert chosen <= min(errors) + 1e-9


@pytest.mark.parametrize("method", METHODS)
def test_two_grey_values_are_told_apart(method: str) -> None:
    truth = picture(".##.", ".##.", "....")
    saliency = np.where(truth, 0.9, 0.1).astype(np.float32)
    assert np.array_equal(coarse_mask(saliency, replace(ALL, method=method)), truth)


@pytest.mark.parametrize("divide", [otsu_threshold, two_means_threshold])
def test_the_automatic_thresholds_follow_a_change_of_contrast(divide) -> None:
    saliency = soft_map(3)
    assert divide(0.2 + 0.5 * saliency) == pytest.approx(0.2 + 0.5 * divide(saliency), abs=GREY_LEVEL)


@pytest.mark.parametrize("method", [*METHODS, "crf"])
@pytest.mark.parametrize("value", [0.0, 0.5, 1.0])
def test_a_map_without_contrast_gives_an_empty_mask(method: str, value: float) -> None:
    mask = coarse_mask(np.full((7, 5), value, np.float32), Coarse(method=method), np.full((7, 5, 3), 0.5, np.float32))
    assert mask.shape == (7, 5)
    assert not mask.any()


def test_less_contrast_than_one_grey_level_counts_as_none() -> None:
    assert not coarse_mask(soft_map(0) * 0.9 * GREY_LEVEL, Coarse()).any()
    assert coarse_mask(soft_map(0) * 3 * GREY_LEVEL, Coarse()).any()


def test_a_single_bright_pixel_is_a_mask_of_one_pixel() -> None:
    saliency = np.zeros((6, 6), np.float32)
    saliency[2, 4] = 1.0
    assert np.argwhere(coarse_mask(saliency, Coarse())).tolist() == [[2, 4]]


@given(masks, st.integers(1, 5))
def test_exactly_the_largest_components_are_kept_and_ties_go_to_the_first_in_reading_order(mask, count: int) -> None:
    expected = sorted(components_by_hand(mask), key=len, reverse=True)[:count]
    kept = keep_components(mask, np.ones(mask.shape, np.float32), Coarse(components=count))
    assert np.array_equal(kept, largest_components(mask, count))
    assert set(zip(*(axis.tolist() for axis in np.nonzero(kept)), strict=True)) == set().union(*expected)


@given(masks)
def test_zero_components_means_all_of_them(mask: BoolArray) -> None:
    assert np.array_equal(keep_components(mask, np.ones(mask.shape, np.float32), ALL), mask)


def test_pixels_that_touch_by_a_corner_are_one_component() -> None:
    diagonal = picture("#..", ".#.", "..#")
    assert np.array_equal(keep_components(diagonal, np.ones((3, 3), np.float32), Coarse(components=1)), diagonal)


def test_confidence_keeps_each_component_whose_mean_saliency_is_above_it() -> None:
    saliency = np.array([[0.9, 0.9, 0, 0.6, 0.5, 0.7], [0.1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0.95, 0]], np.float32)
    mask = picture("##.###", "#.....", "....#.")
    settings = Coarse(min_confidence=0.62, components=1)
    assert np.array_equal(keep_components(mask, saliency, settings), picture("##....", "#.....", "....#."))


def test_components_that_are_weak_beside_the_strongest_are_dropped() -> None:
    saliency = np.array([[0.9, 0.9, 0, 0.6, 0.5, 0.7], [0.1, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0.95, 0]], np.float32)
    mask = picture("##.###", "#.....", "....#.")
    kept = keep_components(mask, saliency, replace(ALL, min_relative=0.6))
    assert np.array_equal(kept, picture("##.###", "#.....", "......"))


def test_components_under_the_least_share_of_the_image_are_dropped() -> None:
    mask = picture("##...", "#...#")
    kept = keep_components(mask, np.ones(mask.shape, np.float32), replace(ALL, min_share=0.2))
    assert np.array_equal(kept, picture("##...", "#...."))


def test_nothing_is_left_where_no_component_passes() -> None:
    saliency = np.where(picture("#....", "....."), 1.0, 0.0).astype(np.float32)
    assert not coarse_mask(saliency, Coarse(min_share=0.5)).any()
    assert not coarse_mask(saliency, Coarse(min_confidence=1.0)).any()


@pytest.mark.parametrize(
    "saliency",
    [
        np.zeros((2, 2, 3), np.float32),
        np.zeros((0, 4), np.float32),
        np.array([[0, np.nan]], np.float32),
        np.array([[0, 1.5]], np.float32),
        np.array([[-0.1, 1]], np.float32),
    ],
)
def test_what_is_no_saliency_map_is_refused(saliency: np.ndarray) -> None:
    with pytest.raises(BadInput, match="saliency map"):
        coarse_mask(saliency, Coarse())


def test_the_crf_without_the_image_is_refused() -> None:
    with pytest.raises(BadInput, match="no image was given"):
        coarse_mask(soft_map(1), Coarse(method="crf"))


def test_the_map_is_left_as_it_was() -> None:
    saliency = soft_map(5)
    before = saliency.copy()
    for method in METHODS:
        coarse_mask(saliency, Coarse(method=method))
    assert np.array_equal(saliency, before)
