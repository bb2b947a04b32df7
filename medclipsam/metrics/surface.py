"""Measures how far apart the surfaces of two masks are, by one of two definitions of a surface.

    area      the surface lies between pixels: pieces of lines, in volumes of planes, that count by their size (Nikolov
              et al., arXiv 1809.04430, and their package `surface-distance`); the default
    points    the surface is the mask's own pixels that touch the outside by a side; all count alike (MONAI's default)

Each piece or pixel looks for the nearest one of the other mask; beyond the image everything is outside.

    . . . . . .        . . . . . .
    . # # # # .        . o o o o .         nsd   share of the surface within the tolerance, both ways
    . # # # # .   ->   . o . . o .         hd95  95th percentile of the distances, the worse of the two ways
    . # # # # .        . o o o o .         assd  mean distance over the surfaces of both

On voxels of unequal sides the two part: `docs/metrics.md` has a table. HD95 and ASSD as Maier-Hein et al., Metrics
reloaded, 2024. Distances are in the unit of `spacing` (mm where it is in mm), in pixels without it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.metrics.overlap import check_pair
from medclipsam.metrics.surface_elements import surface_elements
from medclipsam.types import BoolArray

Distances = NDArray[np.float64]

ROUNDING = 1 + 1e-9
"""A distance of 3 x 0.1 mm is within a tolerance of 0.3 mm."""


SurfaceMethod = Literal["area", "points"]


def nsd(
    predicted: BoolArray,
    reference: BoolArray,
    tolerance: float,
    spacing: Sequence[float] | None = None,
    method: SurfaceMethod = "area",
) -> float:
    """Normalised surface distance in [0, 1]: the share of both surfaces that lies within `tolerance` of the other.

    1 where both masks are empty, 0 where one is.

    Raises:
        BadInput: masks that differ in size or are not boolean, a spacing or tolerance that is not usable.
    """
    return surface_distances(predicted, reference, spacing, method).nsd(tolerance)


def hd95(
    predicted: BoolArray,
    reference: BoolArray,
    spacing: Sequence[float] | None = None,
    method: SurfaceMethod = "area",
) -> float:
    """95th percentile of the Hausdorff distance; 0 where both masks are empty, infinite where one is.

    Raises:
        BadInput: masks that differ in size or are not boolean, or a spacing that is not usable.
    """
    return surface_distances(predicted, reference, spacing, method).hausdorff(95)


def assd(
    predicted: BoolArray,
    reference: BoolArray,
    spacing: Sequence[float] | None = None,
    method: SurfaceMethod = "area",
) -> float:
    """Average symmetric surface distance; 0 where both masks are empty, infinite where one is.

    Raises:
        BadInput: masks that differ in size or are not boolean, or a spacing that is not usable.
    """
    return surface_distances(predicted, reference, spacing, method).mean()


@dataclass(frozen=True, eq=False, kw_only=True)
class OneWay:
    """From each piece of one surface the way to the other surface."""

    distances: Distances
    """(pieces,); infinite where the other mask is empty."""
    sizes: Distances | None = None
    """(pieces,): lengths or areas; None where all pieces count alike."""

    def size(self, within: float = np.inf) -> float:
        """The size of the surface, as far as it is `within` this distance; where pieces count alike their number."""
        near = self.distances <= within
        return float(near.sum() if self.sizes is None else self.sizes[near].sum())

    def total(self) -> float:
        """The distances of all pieces, each times its size."""
        return float((self.distances if self.sizes is None else self.distances * self.sizes).sum())

    def percentile(self, percent: float) -> float:
        """The distance that a share of the surface does not exceed.

        Between pieces that count alike it is interpolated, else it is that of the piece that reaches the share, as
        `surface-distance` has it.
        """
        if self.sizes is None:
            return float(np.percentile(self.distances, percent))
        order = np.lexsort((self.sizes, self.distances))
        share = np.cumsum(self.sizes[order]) / self.sizes.sum()
        place = min(int(np.searchsorted(share, percent / 100)), len(order) - 1)
        return float(self.distances[order][place])


@dataclass(frozen=True, eq=False, kw_only=True)
class SurfaceDistances:
    """The ways between two surfaces, both ways."""

    to_reference: OneWay
    """From the surface of the predicted mask."""
    to_predicted: OneWay
    """From the surface of the reference."""

    def nsd(self, tolerance: float) -> float:
        """Share of both surfaces within `tolerance`.

        Raises:
            BadInput: a tolerance that is negative or not finite.
        """
        check_tolerance(tolerance)
        whole = sum(way.size() for way in self._ways)
        return sum(way.size(tolerance * ROUNDING) for way in self._ways) / whole if whole else 1.0

    def hausdorff(self, percentile: float) -> float:
        """The greater of the two one-way percentiles; 100 is the classical Hausdorff distance."""
        if all(way.distances.size for way in self._ways):
            return max(way.percentile(percentile) for way in self._ways)
        return max(float(way.distances.max(initial=0)) for way in self._ways)

    def mean(self) -> float:
        """Mean over the surfaces of both masks."""
        whole = sum(way.size() for way in self._ways)
        return sum(way.total() for way in self._ways) / whole if whole else 0.0

    @property
    def _ways(self) -> tuple[OneWay, OneWay]:
        return self.to_reference, self.to_predicted


def surface_distances(
    predicted: BoolArray,
    reference: BoolArray,
    spacing: Sequence[float] | None = None,
    method: SurfaceMethod = "area",
) -> SurfaceDistances:
    """The distances between two surfaces, both ways.

    Args:
        predicted: (height, width), or (slices, height, width).
        reference: the same size.
        spacing: the distance of neighbours along each axis, in mm; pixels where None.
        method: see the text of the module.

    Raises:
        BadInput: masks that differ in size, are not boolean or have other than 2 or 3 axes, or a spacing or method that
            is not usable.
    """
    check_pair(predicted, reference)
    steps = _steps(spacing, predicted.ndim)
    window = common_window(predicted, reference)
    if method == "points":
        found, expected = contour(predicted[window]), contour(reference[window])
        sizes: tuple[Distances | None, Distances | None] = None, None
    elif method == "area" and predicted.ndim in (2, 3):
        (found, found_sizes), (expected, expected_sizes) = (
            surface_elements(mask[window], steps) for mask in (predicted, reference)
        )
        sizes = found_sizes[found], expected_sizes[expected]
    else:
        raise BadInput(f"surface method {method!r} is not known for {predicted.ndim} axes", "choose area or points")
    return SurfaceDistances(
        to_reference=OneWay(distances=distance_to(expected, steps)[found], sizes=sizes[0]),
        to_predicted=OneWay(distances=distance_to(found, steps)[expected], sizes=sizes[1]),
    )


def contour(mask: BoolArray) -> BoolArray:
    """The pixels of the mask that have a neighbour by a side outside of it."""
    from scipy import ndimage  # noqa: PLC0415  (slow to load; who segments needs none)

    return mask & ~ndimage.binary_erosion(mask)


def distance_to(targets: BoolArray, steps: Sequence[float] | None = None) -> Distances:
    """The distance of each pixel to the nearest target; infinite where there is none."""
    if not targets.any():
        return np.full(targets.shape, np.inf)
    from scipy import ndimage  # noqa: PLC0415  (slow to load; who segments needs none)

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
