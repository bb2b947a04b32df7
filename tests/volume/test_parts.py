"""Parts in 3-D: the same as labelling the whole volume at once, without ever holding it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage
from stacks import drawn, stack

from medclipsam.types import MedImage
from medclipsam.volume.parts import Parts, largest_parts

STRUCTURE = np.zeros((3, 3, 3), bool)
STRUCTURE[1], STRUCTURE[:, 1, 1] = True, True
"""8 neighbours within a slice, the pixels right above and below."""


def kept(volume: np.ndarray, least_share: float = 0.5, least_overlap: float = 0.0) -> np.ndarray:
    parts = Parts(least_overlap)
    for mask in volume:
        parts.add(mask)
    parts.finish(least_share)
    return np.stack([parts.largest(index, mask) for index, mask in enumerate(volume)])


@given(
    arrays(bool, st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 6))),
    st.sampled_from([0.01, 0.5, 1.0]),
)
def test_slice_by_slice_is_as_labelling_the_whole(volume: np.ndarray, least_share: float) -> None:
    labels, _ = ndimage.label(volume, STRUCTURE)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    stays = np.flatnonzero((sizes >= least_share * sizes.max()) & (sizes > 0))
    assert np.array_equal(kept(volume, least_share), np.isin(labels, stays))


def test_two_parts_that_meet_in_a_later_slice_are_one() -> None:
    volume = np.array([[[1, 0, 1, 0, 0, 1]], [[1, 0, 1, 0, 0, 0]], [[1, 1, 1, 0, 0, 0]]], bool)
    assert kept(volume).sum() == 7


@pytest.mark.parametrize(("least_overlap", "stays"), [(0.0, 17), (0.2, 17), (0.3, 13)])
def test_what_hangs_by_little_where_a_shape_parts_is_none_of_it(least_overlap: float, stays: int) -> None:
    volume = np.array(
        [[[1, 1, 1, 1, 1, 0, 0]], [[1, 1, 1, 1, 1, 0, 0]], [[1, 1, 1, 0, 1, 1, 1]], [[0] * 6 + [1]]], bool
    )
    assert kept(volume, 0.5, least_overlap).sum() == stays


def test_a_tip_is_part_of_what_it_is_the_tip_of() -> None:
    volume = np.array([[[1, 1, 1, 1, 1, 1, 1]], [[0, 0, 0, 1, 0, 0, 0]]], bool)
    assert kept(volume, 0.5, least_overlap=0.9).sum() == 8


def again(number: int) -> MedImage:
    return MedImage(pixels=np.full((2, 6, 3), number / 100, np.float32), name=f"again{number}")


def test_small_parts_go_and_a_second_of_half_the_size_stays() -> None:
    rows = ["xxx...", "xxx...", ".xx..x", "......", "xx.xx.", "xx.x.."]
    slices = list(largest_parts(stack(rows), again))
    assert drawn(slices) == ["xxx...", "xxx...", ".xx...", "......", "xx....", "xx...."]
    assert [each.image.name for each in slices] == [f"again{number}" for number in range(6)]


def test_a_slice_without_a_large_part_is_not_found() -> None:
    gone = list(largest_parts(stack(["xxxx", "xxxx", "....", "x..."]), lambda _: again(0)))[3].results[0]
    assert (gone.found, gone.area_px, gone.box) == (False, 0, None)


def test_what_waits_comes_back_as_it_was() -> None:
    before = stack(["xx?...", "xx?...", "xxx..."])
    for one, other in zip(before, largest_parts(before, again), strict=True):
        was, now = one.results[0], other.results[0]
        assert np.array_equal(was.mask, now.mask)
        np.testing.assert_allclose(was.probability, now.probability, atol=1 / 65535)
        np.testing.assert_allclose(was.saliency, now.saliency, atol=1 / 65535)
        assert (was.prompt, was.presence, was.boxes, was.found) == (now.prompt, now.presence, now.boxes, now.found)


@pytest.mark.parametrize("rows", [[], ["...."], ["----", "----"]])
def test_nothing_stays_nothing(rows: list[str]) -> None:
    assert drawn(largest_parts(stack(rows), again)) == ["...."] * len(rows)
