"""The "NSD" of the MedCLIP-SAM papers: a surface distance of a flat slab, to compare with their tables only.

The released evaluation hands a 2-D mask to a 3-D surface metric as a slab one voxel thick. Its top and bottom are
surface too, so every pixel of the mask counts, and the score is an area overlap with a tolerance: a disk that misses
every contour pixel by 4 px still scores 0.91. `nsd` is the boundary score.

Between the slab and the empty space above it, a cube of eight voxel centres has 0 to 4 of them inside, all on one face.
Marching cubes cuts its edges half way; these are the areas of the cuts (Lorensen and Cline, 1987):

    # .    corner    triangle of side sqrt(1/2)                             sqrt(3) / 8
    # #    edge      rectangle 1 x sqrt(1/2)                                sqrt(1/2)
    # .
    . #    diagonal  two corners                                            sqrt(3) / 4
    # #
    # .    three     half a square and two slanted triangles                1/2 + 3 sqrt(3) / 8
    # #
    # #    face      square                                                 1
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.metrics.overlap import check_pair
from medclipsam.metrics.surface import ROUNDING, check_tolerance, common_window, distance_to
from medclipsam.types import BoolArray

TOLERANCE_PX = 2.0
"""The released evaluation's tolerance."""

CORNER = np.sqrt(3) / 8
AREAS: Sequence[float] = (0, CORNER, np.sqrt(1 / 2), 1 / 2 + 3 * CORNER, 1)
"""By the number of voxels inside; two on a diagonal have 2 * CORNER instead."""


def nsd_slab(predicted: BoolArray, reference: BoolArray, tolerance_px: float = TOLERANCE_PX) -> float:
    """Surface Dice in [0, 1] of two masks (height, width) taken as slabs one voxel thick, voxels being cubes.

    1 where both masks are empty, 0 where one is.

    Raises:
        BadInput: masks that differ in size, are not boolean or not 2-D, or a tolerance that is not usable.
    """
    check_pair(predicted, reference)
    check_tolerance(tolerance_px)
    if predicted.ndim != 2:
        raise BadInput(f"masks of shape {predicted.shape} are not 2-D, and the slab is defined for those alone")
    window = common_window(predicted, reference)
    found, expected = _surface_areas(predicted[window]), _surface_areas(reference[window])
    if not (predicted.any() or reference.any()):
        return 1.0
    near_expected = distance_to(expected > 0) <= tolerance_px * ROUNDING
    near_found = distance_to(found > 0) <= tolerance_px * ROUNDING
    near = found[near_expected].sum() + expected[near_found].sum()
    far = found[~near_expected].sum() + expected[~near_found].sum()
    return float(near / (near + far))


def _surface_areas(mask: BoolArray) -> NDArray[np.float64]:
    """The area of the slab's upper surface around each meeting point of four pixels; the lower one is the same."""
    inside = np.pad(mask, 1).astype(np.int64)
    upper_left, upper_right = inside[:-1, :-1], inside[:-1, 1:]
    lower_left, lower_right = inside[1:, :-1], inside[1:, 1:]
    count = upper_left + upper_right + lower_left + lower_right
    diagonal = (count == 2) & (upper_left == lower_right)
    return np.where(diagonal, 2 * CORNER, np.asarray(AREAS)[count])
