"""Measures a mask: area, volume, parts, diameters, centroid, and the values of the scan inside it.

    area        pixels, and mm2 where the spacing is known
    volume      areas times slab widths: a slice stands for half the way to each neighbour, by its real position, so
                that gaps between slices count and slice thickness does not
    parts       that touch by sides or corners
    diameters   of the largest part of one slice: the longest distance between points of its outline, and the longest
                chord at a right angle to it (long and short axis of RECIST 1.1); the outline runs half a pixel outside
                the outermost pixel centres
    centroid    mean of the pixel centres; in the patient in mm towards left, back and head (LPS, as DICOM and ITK)
    values      mean, standard deviation (n - 1, as ITK), least and largest of the stored values

Lengths are in mm where the spacing is known, else in pixels. Of an empty mask areas, volumes and parts are 0, the rest
is None.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medclipsam.metrics.parts import labelled
from medclipsam.types import BoolArray, FloatArray

_MIDDLES_OF_SIDES = np.array([(1, 0), (-1, 0), (0, 1), (0, -1)])
"""In half pixels from the centre of a pixel."""

Points = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Diameters:
    """Long and short axis of one part."""

    longest: float
    perpendicular: float
    unit: str
    """`mm` or `px`."""
    image: str | None = None
    """The name of the slice on which they were measured, of a stack."""


@dataclass(frozen=True, kw_only=True)
class Spread:
    """Statistics of values inside a mask; they can be joined with those of other slices."""

    count: int
    mean: float
    squares: float
    """Sum of the squared differences from the mean."""
    least: float
    largest: float

    @property
    def deviation(self) -> float | None:
        """Standard deviation with n - 1; None of a single value."""
        return math.sqrt(self.squares / (self.count - 1)) if self.count > 1 else None

    def joined(self, other: Spread) -> Spread:
        """The spread of both together (Chan, Golub, LeVeque, 1979)."""
        count, apart = self.count + other.count, other.mean - self.mean
        return Spread(
            count=count,
            mean=self.mean + apart * other.count / count,
            squares=self.squares + other.squares + apart**2 * self.count * other.count / count,
            least=min(self.least, other.least),
            largest=max(self.largest, other.largest),
        )


@dataclass(frozen=True, kw_only=True)
class ImageMeasures:
    """What is measured on one image or slice."""

    area_px: int
    area_mm2: float | None
    parts: int
    diameters: Diameters | None
    centroid_px: tuple[float, float] | None
    """(x, y)."""
    centroid_lps_mm: tuple[float, float, float] | None
    values: Spread | None
    uncertainty: Spread | None


def measure_image(
    mask: BoolArray,
    *,
    spacing_mm: Sequence[float] | None = None,
    plane_lps: NDArray[np.float64] | None = None,
    values: NDArray[Any] | None = None,
    uncertainty: FloatArray | None = None,
) -> ImageMeasures:
    """Measure the mask of one image.

    Args:
        mask: (height, width).
        spacing_mm: distance of rows and of columns; None where it is not known.
        plane_lps: (3, 3), takes (row, column, 1) to mm towards left, back and head; None where it is not known.
        values: (height, width) of the scan, after its rescale.
        uncertainty: (height, width) of the method.
    """
    area_px = int(mask.sum())
    labels, areas = labelled(mask)
    rows_columns = np.argwhere(mask).mean(axis=0) if area_px else None
    return ImageMeasures(
        area_px=area_px,
        area_mm2=None if spacing_mm is None else area_px * spacing_mm[0] * spacing_mm[1],
        parts=len(areas),
        diameters=_diameters(labels, spacing_mm) if area_px else None,
        centroid_px=None if rows_columns is None else (float(rows_columns[1]), float(rows_columns[0])),
        centroid_lps_mm=None if rows_columns is None or plane_lps is None else _placed(plane_lps, rows_columns),
        values=_spread(mask, values),
        uncertainty=_spread(mask, uncertainty),
    )


def diameters_of(part: BoolArray, spacing: Sequence[float] = (1.0, 1.0)) -> tuple[float, float]:
    """(longest distance between points of the outline, longest chord at a right angle to it) of a mask of one part.

    Args:
        part: (height, width), not empty.
        spacing: distance of rows and of columns; results are in its unit.
    """
    corners = _hull(part, spacing)
    apart = np.linalg.norm(corners[:, None] - corners, axis=-1)
    first, second = np.unravel_index(apart.argmax(), apart.shape)
    along = (corners[second] - corners[first]) / apart[first, second]
    turned = corners @ np.column_stack([along, (-along[1], along[0])])
    return float(apart[first, second]), max(_chord(turned, place) for place in turned[:, 0])


def slab_widths_mm(places_mm: Sequence[float]) -> NDArray[np.float64]:
    """How much of a stack each slice stands for: half the way to each neighbour, at the ends as much outwards.

    Args:
        places_mm: where the slices lie along their common normal, in order; at least two.
    """
    steps = np.abs(np.diff(places_mm))
    before, after = np.append(steps[:1], steps), np.append(steps, steps[-1:])
    return np.asarray((before + after) / 2)


def _diameters(labels: NDArray[Any], spacing_mm: Sequence[float] | None) -> Diameters:
    largest = 1 + int(np.bincount(labels.ravel())[1:].argmax())
    longest, perpendicular = diameters_of(labels == largest, spacing_mm or (1.0, 1.0))
    return Diameters(longest=longest, perpendicular=perpendicular, unit="mm" if spacing_mm else "px")


def _hull(part: BoolArray, spacing: Sequence[float]) -> Points:
    """Corners of the convex hull of the outline, in order; only pixels at the ends of rows can be on it."""
    rows = np.flatnonzero(part.any(axis=1))
    left, right = part[rows].argmax(axis=1), part.shape[1] - 1 - part[rows, ::-1].argmax(axis=1)
    ends = np.concatenate([np.column_stack([rows, left]), np.column_stack([rows, right])])
    outline = (2 * ends[:, None] + _MIDDLES_OF_SIDES).reshape(-1, 2)  # whole numbers, which OpenCV compares exactly
    corners = cv2.convexHull(outline.astype(np.int32), returnPoints=False).ravel()
    return np.asarray(outline[corners] / 2 * np.asarray(spacing))


def _chord(corners: Points, place: float) -> float:
    """How long the cut through a convex polygon at a place of its first axis is."""
    start, end = corners, np.roll(corners, -1, axis=0)
    cut = (np.minimum(start[:, 0], end[:, 0]) <= place) & (place <= np.maximum(start[:, 0], end[:, 0]))
    start, end = start[cut], end[cut]
    run = end[:, 0] - start[:, 0]
    share = np.divide(place - start[:, 0], run, out=np.zeros_like(run), where=run != 0)
    heights = np.concatenate([start[:, 1] + share * (end[:, 1] - start[:, 1]), end[run == 0, 1]])
    return float(np.ptp(heights))


def _placed(plane_lps: NDArray[np.float64], rows_columns: NDArray[np.float64]) -> tuple[float, float, float]:
    x, y, z = (float(number) for number in plane_lps @ (*rows_columns, 1.0))
    return x, y, z


def _spread(mask: BoolArray, values: NDArray[Any] | None) -> Spread | None:
    if values is None or not mask.any():
        return None
    inside = values[mask].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        mean = float(inside.mean())
        squares = float(((inside - mean) ** 2).sum())  # infinite for absurd values of damaged files
    return Spread(
        count=inside.size,
        mean=mean,
        squares=squares,
        least=float(inside.min()),
        largest=float(inside.max()),
    )
