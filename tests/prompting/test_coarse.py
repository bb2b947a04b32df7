from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from scipy import ndimage

from medclipsam.config import Coarse, preset
from medclipsam.errors import BadInput
from medclipsam.metrics.parts import labelled
from medclipsam.prompting.coarse import (
    coarse_mask,
    keep_components,
    largest_components,
    otsu_threshold,
    outer_contours,
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


def by_the_released_code(saliency: FloatArray) -> BoolArray:
    """The steps of the released k-means, on the file that it writes between two of its programs."""
    cluster = pytest.importorskip("sklearn.cluster")
    written = cv2.imdecode(cv2.imencode(".png", saliency * 255)[1], cv2.IMREAD_GRAYSCALE) / 255
    small = cv2.resize(written, (256, 256), interpolation=cv2.INTER_NEAREST).reshape(-1, 1)
    kmeans = cluster.KMeans(n_clusters=2, n_init=10, random_state=10).fit(small)
    above = (kmeans.labels_ == np.argmax(kmeans.cluster_centers_)).reshape(256, 256).astype(np.uint8)
    above = cv2.resize(above, saliency.shape[::-1], interpolation=cv2.INTER_NEAREST)
    _, labels, stats, _ = cv2.connectedComponentsWithStats(above)
    return np.isin(labels, 1 + np.flatnonzero(stats[1:, cv2.CC_STAT_AREA] == stats[1:, cv2.CC_STAT_AREA].max()))


@pytest.mark.parametrize("size", [(96, 96), (500, 333), (190, 700)])
def test_the_released_preset_divides_the_map_as_the_released_code_does(size: tuple[int, int]) -> None:
    settings = preset("medclip-samv2-released").coarse
    for seed in range(3):
        saliency = cv2.resize(soft_map(seed, 14), size[::-1], interpolation=cv2.INTER_LINEAR)
        mask, expected = coarse_mask(saliency, settings), by_the_released_code(saliency)
        assert np.mean(mask != expected) < 0.01
        for axis in (0, 1):
            ends, known = (np.flatnonzero(each.any(axis=axis))[[0, -1]] for each in (mask, expected))
            assert np.abs(ends - known).max() <= 1 + max(size) / 256


def test_a_map_is_divided_on_a_square_copy_whose_pixels_are_taken_at_corners() -> None:
    saliency = np.zeros((4, 6), np.float32)
    saliency[:, 3:] = [0.2, 1.0, 1.0]
    copied = coarse_mask(saliency, Coarse(method="threshold", threshold=0.5, copy_side=2))
    assert copied[0].tolist() == [False] * 6  # of three columns each the first is looked at: 0 and 0.2
    assert (
        coarse_mask(saliency, Coarse(method="threshold", threshold=0.1, copy_side=2))[0].tolist()
        == [False] * 3 + [True] * 3
    )


def test_the_copy_has_eight_bits() -> None:
    saliency = np.array([[0.0, 0.3001, 0.3019], [0.0, 0.0, 1.0]], np.float32)
    settings = Coarse(method="threshold", threshold=0.3015, components=0)
    assert coarse_mask(saliency, settings)[0].tolist() == [False, False, True]
    copied = coarse_mask(saliency, replace(settings, copy_side=6))
    assert copied[0].tolist() == [False, True, True]  # 0.3001 and 0.3019 are both written as 77, which is 0.30196


def test_equals_of_the_last_component_are_kept_where_the_released_code_keeps_them() -> None:
    mask, flat = picture("##.##.#", "##.##.."), np.ones((2, 7), np.float32)
    first, both = picture("##.....", "##....."), picture("##.##..", "##.##..")
    assert np.array_equal(keep_components(mask, flat, Coarse(components=1)), first)
    assert np.array_equal(keep_components(mask, flat, Coarse(components=1, keep_ties=True)), both)
    assert np.array_equal(largest_components(mask, 1), first)
    assert np.array_equal(largest_components(mask, 1, ties=True), both)
    assert np.array_equal(largest_components(mask, 3, ties=True), mask)


def test_outer_contours_are_counted_and_parts_in_holes_are_not() -> None:
    ring = picture("#####..", "#...#..", "#.#.#.#", "#...#..", "#####..")
    assert outer_contours(ring) == 2
    assert outer_contours(picture("#..", ".#.", "..#")) == 1
    assert outer_contours(np.zeros((3, 3), bool)) == 0
    assert outer_contours(np.ones((3, 3), bool)) == 1


def test_the_crf_without_the_image_is_refused() -> None:
    with pytest.raises(BadInput, match="no image was given"):
        coarse_mask(soft_map(1), Coarse(method="crf"))


def test_the_map_is_left_as_it_was() -> None:
    saliency = soft_map(5)
    before = saliency.copy()
    for method in METHODS:
        coarse_mask(saliency, Coarse(method=method))
    assert np.array_equal(saliency, before)


@given(arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=24)))
def test_components_are_numbered_by_their_first_pixels_in_reading_order(mask: BoolArray) -> None:
    labels, areas = labelled(mask)
    assert [set(zip(*np.nonzero(labels == number), strict=True)) for number in range(1, len(areas) + 1)] == (
        components_by_hand(mask)
    )
    assert areas.tolist() == [len(component) for component in components_by_hand(mask)]
