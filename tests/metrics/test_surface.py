from __future__ import annotations

import numpy as np
import pytest
from drawn_masks import disk, mask_pairs, picture
from hypothesis import given, settings
from hypothesis import strategies as st

from medclipsam.errors import BadInput
from medclipsam.metrics import assd, hd95, nsd
from medclipsam.metrics.surface import contour, surface_distances

EMPTY = np.zeros((4, 5), bool)
spacings = st.tuples(st.floats(0.2, 5), st.floats(0.2, 5))


def contour_by_hand(mask: np.ndarray) -> list[tuple[int, ...]]:
    """Pixels of the mask with a neighbour by a side that is outside of the mask or of the image."""
    found = []
    for place in np.argwhere(mask):
        steps = [sign * step for step in np.eye(mask.ndim, dtype=int) for sign in (-1, 1)]
        neighbours = [place + step for step in steps]
        beyond = [(near < 0).any() or (near >= mask.shape).any() for near in neighbours]
        if any(out or not mask[tuple(near)] for out, near in zip(beyond, neighbours, strict=True)):
            found.append(tuple(place))
    return found


def ways_by_hand(first: np.ndarray, second: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """From each contour pixel of the first mask, the least distance to all contour pixels of the second."""
    start, end = (np.array(contour_by_hand(mask), float).reshape(-1, first.ndim) * spacing for mask in (first, second))
    apart = np.sqrt(((start[:, None] - end[None]) ** 2).sum(-1))
    return apart.min(axis=1) if len(end) else np.full(len(start), np.inf)


@pytest.mark.parametrize(
    ("predicted", "reference", "expected"),
    [
        (disk(40, 120), disk(40, 124), 0.384),
        (disk(40, 120), disk(40, 130), 0.188),
        (disk(40, 128), disk(46, 128), 0.0),
        (disk(40, 128), disk(30, 128), 0.0),
        (disk(15, 120), disk(15, 130), 0.214),
        (disk(40, 120), disk(40, 120), 1.0),
        (disk(20, 60), disk(20, 180), 0.0),
    ],
)
def test_the_boundary_scores_of_disks_are_those_of_the_published_check(predicted, reference, expected: float) -> None:
    assert round(nsd(predicted, reference, tolerance=2), 3) == expected


@given(mask_pairs())
def test_the_contour_is_what_touches_the_outside_by_a_side(pair) -> None:
    mask, _ = pair
    assert [tuple(place) for place in np.argwhere(contour(mask))] == contour_by_hand(mask)


@given(mask_pairs(), spacings, st.floats(0, 6))
def test_all_three_agree_with_a_search_over_all_pairs_of_pixels(pair, spacing, tolerance: float) -> None:
    predicted, reference = pair
    there, back = ways_by_hand(predicted, reference, spacing), ways_by_hand(reference, predicted, spacing)
    if not there.size or not back.size:
        return
    both = np.concatenate([there, back])
    worse = max(np.percentile(there, 95), np.percentile(back, 95))
    assert hd95(predicted, reference, spacing) == pytest.approx(worse)
    assert assd(predicted, reference, spacing) == pytest.approx(both.mean())
    unsure = np.isclose(both, tolerance).mean()
    assert abs(nsd(predicted, reference, tolerance, spacing) - (both <= tolerance).mean()) <= unsure


@settings(max_examples=30)
@given(mask_pairs(dimensions=3, side=4), st.tuples(*[st.floats(0.5, 4)] * 3))
def test_volumes_are_measured_with_faces_for_sides(pair, spacing) -> None:
    predicted, reference = pair
    found = surface_distances(predicted, reference, spacing)
    np.testing.assert_allclose(found.to_reference, ways_by_hand(predicted, reference, spacing))
    np.testing.assert_allclose(found.to_predicted, ways_by_hand(reference, predicted, spacing))


@given(mask_pairs(), spacings)
def test_symmetric_bounded_and_perfect_for_equal_masks(pair, spacing) -> None:
    predicted, reference = pair
    assert 0 <= nsd(predicted, reference, 1.0, spacing) <= 1
    assert nsd(predicted, reference, 1.0, spacing) == nsd(reference, predicted, 1.0, spacing)
    for distance in (hd95, assd):
        assert distance(predicted, reference, spacing) == pytest.approx(distance(reference, predicted, spacing))
        assert distance(predicted, predicted, spacing) == 0
    assert nsd(predicted, predicted, 0.0, spacing) == 1


@given(mask_pairs(), st.floats(0, 4), st.floats(0, 4))
def test_a_larger_tolerance_never_lowers_the_score(pair, first: float, second: float) -> None:
    less, more = sorted((first, second))
    assert nsd(*pair, tolerance=less) <= nsd(*pair, tolerance=more)


@given(mask_pairs(), st.floats(0.1, 10))
def test_distances_grow_with_the_spacing(pair, factor: float) -> None:
    if pair[0].any() and pair[1].any():
        assert assd(*pair, spacing=(factor, factor)) == pytest.approx(factor * assd(*pair))
        assert hd95(*pair, spacing=(factor, factor)) == pytest.approx(factor * hd95(*pair))


def test_each_axis_has_its_own_spacing() -> None:
    left = picture("#....", ".....", ".....")
    assert hd95(left, picture("...#.", ".....", "....."), spacing=(7.0, 0.5)) == 1.5
    assert hd95(left, picture(".....", ".....", "#...."), spacing=(7.0, 0.5)) == 14.0
    assert nsd(left, picture("...#.", ".....", "....."), tolerance=1.5, spacing=(7.0, 0.5)) == 1
    assert nsd(left, picture(".....", "#....", "....."), tolerance=1.5, spacing=(7.0, 0.5)) == 0


def test_a_distance_equal_to_the_tolerance_is_within_it_despite_rounding() -> None:
    assert nsd(picture("#..."), picture("...#"), tolerance=0.3, spacing=(0.1, 0.1)) == 1


def test_one_far_pixel_in_fifty_hardly_moves_hd95_but_a_tenth_does() -> None:
    line = np.zeros((30, 100), bool)
    line[0] = True
    one, many = line.copy(), line.copy()
    one[20, 50] = True
    many[20, 40:60:2] = True
    assert hd95(one, line) == 0
    assert hd95(many, line) == 20


def test_two_empty_masks_agree_and_an_empty_one_is_infinitely_far() -> None:
    some = ~EMPTY
    assert (nsd(EMPTY, EMPTY, 2), hd95(EMPTY, EMPTY), assd(EMPTY, EMPTY)) == (1, 0, 0)
    for pair in ((EMPTY, some), (some, EMPTY)):
        assert (nsd(*pair, 2), hd95(*pair), assd(*pair)) == (0, np.inf, np.inf)


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 0.0), (1.0, -1.0), (1.0, np.nan), (np.inf, 1.0), (1.0, 1.0, 1.0)])
def test_a_spacing_that_is_none_is_refused(spacing) -> None:
    with pytest.raises(BadInput, match="spacing"):
        hd95(EMPTY, EMPTY, spacing)


@pytest.mark.parametrize("tolerance", [-1.0, np.nan, np.inf])
def test_a_tolerance_that_is_no_distance_is_refused(tolerance: float) -> None:
    with pytest.raises(BadInput, match="tolerance"):
        nsd(EMPTY, EMPTY, tolerance)


def test_masks_of_different_sizes_are_refused() -> None:
    with pytest.raises(BadInput, match="differ in size"):
        assd(EMPTY, EMPTY.T)
