from __future__ import annotations

import numpy as np
import pytest
from drawn_masks import disk, mask_pairs
from hypothesis import given, settings
from skimage.measure import marching_cubes, mesh_surface_area

from medclipsam.errors import BadInput
from medclipsam.metrics import dice, nsd_slab
from medclipsam.metrics.slab import _surface_areas


@pytest.mark.parametrize(
    ("predicted", "reference", "expected"),
    [
        (disk(40, 120), disk(40, 124), (0.937, 0.980)),
        (disk(40, 120), disk(40, 130), (0.842, 0.889)),
        (disk(40, 128), disk(46, 128), (0.863, 0.912)),
        (disk(40, 128), disk(30, 128), (0.719, 0.775)),
        (disk(15, 120), disk(15, 130), (0.588, 0.704)),
        (disk(40, 120), disk(40, 120), (1.0, 1.0)),
        (disk(20, 60), disk(20, 180), (0.0, 0.0)),
    ],
)
def test_the_published_check_is_reproduced_to_three_decimals(predicted, reference, expected) -> None:
    assert (round(dice(predicted, reference), 3), round(nsd_slab(predicted, reference), 3)) == expected


@pytest.mark.parametrize("shape", ["disk", "square", "one pixel"])
def test_the_areas_are_those_of_an_independent_marching_cubes(shape: str) -> None:
    mask = {"disk": disk(9, 15, 15, 31), "square": np.ones((6, 9), bool), "one pixel": np.ones((1, 1), bool)}[shape]
    slab = np.pad(mask[..., None], 2).astype(float)
    vertices, faces, *_ = marching_cubes(slab, 0.5, method="lorensen")
    assert 2 * _surface_areas(mask).sum() == pytest.approx(mesh_surface_area(vertices, faces), rel=0.02)


@settings(max_examples=50)
@given(mask_pairs())
def test_symmetric_bounded_and_one_for_equal_masks(pair) -> None:
    predicted, reference = pair
    assert 0 <= nsd_slab(predicted, reference) <= 1
    assert nsd_slab(predicted, reference) == pytest.approx(nsd_slab(reference, predicted))
    assert nsd_slab(predicted, predicted, tolerance_px=0) == 1


def test_the_position_in_the_image_does_not_matter() -> None:
    first, second = disk(6, 8, 8, 40), disk(5, 10, 9, 40)
    moved = nsd_slab(np.roll(first, (11, 17), (0, 1)), np.roll(second, (11, 17), (0, 1)))
    assert moved == pytest.approx(nsd_slab(first, second))


def test_two_empty_masks_agree_and_an_empty_one_misses_all() -> None:
    empty = np.zeros((4, 4), bool)
    assert nsd_slab(empty, empty) == 1
    assert nsd_slab(empty, ~empty) == nsd_slab(~empty, empty) == 0


def test_volumes_and_senseless_tolerances_are_refused() -> None:
    with pytest.raises(BadInput, match="not 2-D"):
        nsd_slab(np.ones((2, 2, 2), bool), np.ones((2, 2, 2), bool))
    with pytest.raises(BadInput, match="tolerance"):
        nsd_slab(np.ones((2, 2), bool), np.ones((2, 2), bool), tolerance_px=-1)
