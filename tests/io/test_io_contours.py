"""Contours: filled again, they give the mask; a part is one polygon, however many holes it has."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from skimage.draw import polygon2mask

from medclipsam.io.dicom.contours import Ring, polygons


def drawn(text: str) -> np.ndarray:
    """A mask from rows of `x` and `.`, parted by spaces."""
    return np.array([[letter == "x" for letter in row] for row in text.split()])


def filled(rings: list[Ring], size: tuple[int, ...]) -> np.ndarray:
    """How many polygons hold each pixel's centre, by scikit-image."""
    return np.sum([np.zeros(size, int), *(polygon2mask(size, ring[:, ::-1]).astype(int) for ring in rings)], axis=0)


@given(hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=12)), st.integers(1, 3))
def test_every_mask_comes_back_with_no_pixel_in_two_polygons(mask: np.ndarray, magnified: int) -> None:
    mask = np.kron(mask, np.ones((magnified, magnified))) > 0
    np.testing.assert_array_equal(filled(polygons(mask), mask.shape), mask)


@pytest.mark.parametrize(
    ("picture", "corners"),
    [
        ("...", []),
        (".. x.", [4]),
        ("xxxx xxxx xxxx", [8]),
        ("xx.. ..xx", [6, 6]),
        ("xxxxx x...x x.x.x x...x xxxxx", [8 + 8 + 3, 4]),
    ],
    ids=["nothing", "a pixel", "all of it", "parts that touch at a corner", "an island in a hole"],
)
def test_a_part_is_one_polygon_without_needless_corners(picture: str, corners: list[int]) -> None:
    assert [len(ring) for ring in polygons(drawn(picture))] == corners


def test_a_line_lies_half_a_pixel_outside_the_outermost_centres() -> None:
    (ring,) = polygons(drawn("..... .xxx. .xxx. ....."))
    assert (ring.min(axis=0).tolist(), ring.max(axis=0).tolist()) == ([0.5, 0.5], [3.5, 2.5])


def test_the_channel_to_a_hole_runs_between_two_rows() -> None:
    (ring,) = polygons(drawn("xxxxxx xxx.xx xxxxxx"))
    doubled = [(x, y) for x, y in ring.tolist() if ring.tolist().count([x, y]) == 2]
    assert sorted(set(doubled)) == [(-0.5, 0.5), (3.0, 0.5)]
