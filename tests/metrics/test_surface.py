from __future__ import annotations

import numpy as np
import pytest
import surface_distance
from drawn_masks import disk, mask_pairs, picture
from hypothesis import given, settings
from hypothesis import strategies as st

from medclipsam.errors import BadInput
from medclipsam.metrics import assd, hd95, nsd
from medclipsam.metrics.surface import contour, surface_distances
from medclipsam.metrics.surface_elements import surface_elements

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
    assert round(nsd(predicted, reference, tolerance=2, method="points"), 3) == expected


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
    assert hd95(predicted, reference, spacing, "points") == pytest.approx(worse)
    assert assd(predicted, reference, spacing, "points") == pytest.approx(both.mean())
    unsure = np.isclose(both, tolerance).mean()
    assert abs(nsd(predicted, reference, tolerance, spacing, "points") - (both <= tolerance).mean()) <= unsure


@settings(max_examples=60)
@given(
    st.sampled_from([2, 3]).flatmap(
        lambda axes: st.tuples(mask_pairs(dimensions=axes, side=6), st.tuples(*[st.floats(0.2, 5)] * axes))
    ),
    st.floats(0, 6),
)
def test_by_area_all_three_are_those_of_the_package_of_the_definition(drawn, tolerance: float) -> None:
    (predicted, reference), spacing = drawn
    if not predicted.any() or not reference.any():
        return
    theirs = surface_distance.compute_surface_distances(reference, predicted, spacing)
    ways = [("distances_gt_to_pred", "surfel_areas_gt"), ("distances_pred_to_gt", "surfel_areas_pred")]
    distances, areas = (np.concatenate([theirs[way[part]] for way in ways]) for part in (0, 1))
    assert hd95(predicted, reference, spacing) == pytest.approx(
        surface_distance.compute_robust_hausdorff(theirs, 95), abs=1e-5
    ) or _on_the_edge(theirs, 0.95)
    assert assd(predicted, reference, spacing) == pytest.approx(np.average(distances, weights=areas), abs=1e-5)
    unsure = areas[np.isclose(distances, tolerance)].sum() / areas.sum()
    published = surface_distance.compute_surface_dice_at_tolerance(theirs, tolerance)
    assert abs(nsd(predicted, reference, tolerance, spacing) - published) <= unsure + 1e-6


def _on_the_edge(theirs: dict[str, np.ndarray], share: float) -> bool:
    """Whether the percentile lies between two pieces, so that rounding decides which of them it is."""
    shares = [np.cumsum(areas) / areas.sum() for areas in (theirs["surfel_areas_gt"], theirs["surfel_areas_pred"])]
    return any(np.isclose(each, share, atol=1e-6).any() for each in shares)


def test_by_area_a_surface_counts_by_its_size_and_not_by_how_many_voxels_sample_it() -> None:
    """A block of 25 x 40 x 40 mm, sampled by 5 x 1 x 0.5 mm and moved by a slice: four fifths of its sides stay, 3,200
    of 7,200 mm2, but most boundary voxels lie in the faces that move."""
    block = np.zeros((12, 60, 120), bool)
    block[3:8, 10:50, 20:100] = True
    by_area, by_points = (nsd(np.roll(block, 1, 0), block, 1.0, (5.0, 1.0, 0.5), how) for how in ("area", "points"))
    assert by_area == pytest.approx(3200 / 7200, abs=0.1)
    assert by_points < 0.2


@pytest.mark.parametrize(
    ("mask", "length"),
    [
        (picture("#"), 2 * np.hypot(2, 3)),
        (picture("##", "##"), 2 * np.hypot(2, 3) + 2 * (2 + 3)),
        (picture("#.", ".#"), 4 * np.hypot(2, 3)),
    ],
)
def test_the_contour_of_a_small_mask_has_the_length_of_its_drawing(mask: np.ndarray, length: float) -> None:
    there, sizes = surface_elements(mask, (2.0, 3.0))
    assert sizes[there].sum() == pytest.approx(length)
    assert sizes[~there].sum() == 0


def test_a_block_has_the_area_of_its_faces_less_what_the_edges_cut_off_and_a_hole_that_of_the_block() -> None:
    block = np.zeros((40, 40, 40), bool)
    block[5:35, 5:35, 5:35] = True
    there, sizes = surface_elements(block, (1.0, 1.0, 1.0))
    assert sizes[there].sum() == pytest.approx(6 * 29**2 + 12 * 29 * np.sqrt(1 / 2) + np.sqrt(3), rel=1e-6)
    hole = np.pad(~block, 1, constant_values=True)
    around, within = surface_elements(hole, (1.0, 1.0, 1.0)), surface_elements(np.ones((42, 42, 42), bool), (1.0,) * 3)
    assert around[1].sum() - within[1].sum() == pytest.approx(sizes.sum())


def test_a_method_that_is_not_known_is_refused() -> None:
    with pytest.raises(BadInput, match="'lines' is not known"):
        nsd(EMPTY, EMPTY, 2, method="lines")


@settings(max_examples=30)
@given(mask_pairs(dimensions=3, side=4), st.tuples(*[st.floats(0.5, 4)] * 3))
def test_volumes_are_measured_with_faces_for_sides(pair, spacing) -> None:
    predicted, reference = pair
    found = surface_distances(predicted, reference, spacing, "points")
    np.testing.assert_allclose(found.to_reference.distances, ways_by_hand(predicted, reference, spacing))
    np.testing.assert_allclose(found.to_predicted.distances, ways_by_hand(reference, predicted, spacing))


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
    assert nsd(left, picture(".....", "#....", "....."), tolerance=1.5, spacing=(7.0, 0.5), method="points") == 0


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
