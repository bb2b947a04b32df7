"""How far apart are the contours of two masks?

The contour is the mask's own pixels that touch the outside by a side; beyond the image everything is outside.
Each contour pixel looks for the nearest contour pixel of the other mask; all contour pixels count alike.

    . . . . . .        . . . . . .
    . # # # # .        . o o o o .         nsd   share of contour pixels within the tolerance, both ways
    . # # # # .   ->   . o . . o .         hd95  95th percentile of the distances, the worse of the two ways
    . # # # # .        . o o o o .         assd  mean distance over the contour pixels of both

Sources: Nikolov et al., arXiv 1809.04430 (NSD); Maier-Hein et al., Metrics reloaded, 2024 (HD95, ASSD). Distances are
in the unit of `spacing` (mm where it is in mm), in pixels without it. Volumes work alike, with faces for sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from medclipsam.errors import BadInput
from medclipsam.metrics.overlap import check_pair
from medclipsam.types import BoolArray

Distances = NDArray[np.float64]

ROUNDING = 1 + 1e-9
"""A distance of 3 x 0.1 mm is within a tolerance of 0.3 mm."""


def nsd(predicted: BoolArray, reference: BoolArray, tolerance: float, spacing: Sequence[float] | None = None) -> float:
    """Normalised surface distance in [0, 1]: the share of both contours that lies within `tolerance` of the other.

    1 where both masks are empty, 0 where one is.

    Raises:
        BadInput: masks that differ in size or are not boolean, a spacing or tolerance that is not usable.
    """
    return surface_distances(predicted, reference, spacing).nsd(tolerance)


def hd95(predicted: BoolArray, reference: BoolArray, spacing: Sequence[float] | None = None) -> float:
    """95th percentile of the Hausdorff distance; 0 where both masks are empty, infinite where one is.

    Raises:
        BadInput: masks that differ in size or are not boolean, or a spacing that is not usable.
    """
    return surface_distances(predicted, reference, spacing).hausdorff(95)


def assd(predicted: BoolArray, reference: BoolArray, spacing: Sequence[float] | None = None) -> float:
    """Average symmetric surface distance; 0 where both masks are empty, infinite where one is.

    Raises:
        BadInput: masks that differ in size or are not boolean, or a spacing that is not usable.
    """
    return surface_distances(predicted, reference, spacing).mean()


@dataclass(frozen=True, eq=False, kw_only=True)
class SurfaceDistances:
    """For each contour pixel of one mask the way to the other contour; infinite where the other mask is empty."""

    to_reference: Distances
    """(contour pixels of the predicted mask,)."""
    to_predicted: Distances
    """(contour pixels of the reference,)."""

    def nsd(self, tolerance: float) -> float:
        """Share of all contour pixels within `tolerance`.

        Raises:
            BadInput: a tolerance that is negative or not finite.
        """
        check_tolerance(tolerance)
        distances = self._both_ways()
        return float(np.mean(distances <= tolerance * ROUNDING)) if distances.size else 1.0

    def hausdorff(self, percentile: float) -> float:
        """The greater of the two one-way percentiles; 100 is the classical Hausdorff distance."""
        if not self._both_present():
            return float(self._both_ways().max(initial=0))
        return float(max(np.percentile(way, percentile) for way in (self.to_reference, self.to_predicted)))

    def mean(self) -> float:
        """Mean over the contour pixels of both masks."""
        distances = self._both_ways()
        return float(distances.mean()) if distances.size else 0.0

    def _both_ways(self) -> Distances:
        return np.concatenate([self.to_reference, self.to_predicted])

    def _both_present(self) -> bool:
        return self.to_reference.size > 0 and self.to_predicted.size > 0


def surface_distances(
    predicted: BoolArray, reference: BoolArray, spacing: Sequence[float] | None = None
) -> SurfaceDistances:
    """The distances between two contours, both ways.

    Args:
        predicted: (height, width), or (slices, height, width).
        reference: the same size.
        spacing: the distance of neighbours along each axis, in mm; pixels where None.

    Raises:
        BadInput: masks that differ in size or are not boolean, or a spacing that is not usable.
    """
    check_pair(predicted, reference)
    steps = _steps(spacing, predicted.ndim)
    window = common_window(predicted, reference)
    found, expected = contour(predicted[window]), contour(reference[window])
    return SurfaceDistances(
        to_reference=distance_to(expected, steps)[found], to_predicted=distance_to(found, steps)[expected]
    )


def contour(mask: BoolArray) -> BoolArray:
    """The pixels of the mask that have a neighbour by a side outside of it."""
    return mask & ~ndimage.binary_erosion(mask)


def distance_to(targets: BoolArray, steps: Sequence[float] | None = None) -> Distances:
    """The distance of each pixel to the nearest target; infinite where there is none."""
    if not targets.any():
        return np.full(targets.shape, np.inf)
    return ndimage.distance_transform_edt(~targets, sampling=steps)


def common_window(predicted: BoolArray, reference: BoolArray) -> tuple[slice, ...]:
    """The smallest window that holds both masks: no contour and no way between contours lies outside of it."""
    either = predicted | reference
    if not either.any():
        return tuple(slice(0, 0) for _ in either.shape)
    bounds = ((axis.min(), axis.max()) for axis in np.nonzero(either))
    return tuple(slice(int(first), int(last) + 1) for first, last in bounds)


def check_tolerance(tolerance: float) -> None:
    """Refuse what is no distance.

    Raises:
        BadInput: a tolerance that is negative or not finite.
    """
    if not 0 <= tolerance < np.inf:
        raise BadInput(f"a tolerance of {tolerance} is not a distance")


def _steps(spacing: Sequence[float] | None, axes: int) -> tuple[float, ...]:
    steps = tuple(spacing) if spacing is not None else (1.0,) * axes
    if len(steps) != axes or not all(0 < step < np.inf for step in steps):
        raise BadInput(f"spacing {steps} does not give a distance for each of {axes} axes")
    return steps
