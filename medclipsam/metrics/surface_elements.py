"""Sizes of the pieces that the surface of a mask is made of: lengths in a plane, areas in a volume.

A piece lies where 2 x 2 pixels (2 x 2 x 2 voxels) meet of which some are inside. Marching squares (cubes) cuts the
edges between inside and outside half way; what it draws there is the piece.

    . .          # .            # #          # .
    # .   corner # .   side     # .          . #   two corners

Source: Nikolov et al., arXiv 1809.04430, and their package `surface-distance`. Of five and more voxels inside the piece
is that of the outside, as there, so that a hole has the surface of the block that would fill it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from itertools import product
from math import hypot

import numpy as np
from numpy.typing import NDArray

from medclipsam.types import BoolArray

HALF = 4
"""Voxels of a cube's eight; with more inside, the piece is that of the outside."""
Sizes = NDArray[np.float64]


def surface_elements(mask: BoolArray, steps: Sequence[float]) -> tuple[BoolArray, Sizes]:
    """Where pieces of the surface lie, and how large each is.

    Args:
        mask: (height, width) or (slices, height, width); beyond it everything is outside.
        steps: distance of neighbours along each axis.

    Returns:
        Whether there is a piece, and its length or area, at each point where pixels meet: one point more along each
        axis than the mask has pixels.
    """
    inside = np.pad(mask, 1)
    codes = np.zeros([side - 1 for side in inside.shape], np.uint8)
    for bit, corner in enumerate(_corners(mask.ndim)):
        place = tuple(slice(first, first + side) for first, side in zip(corner, codes.shape, strict=True))
        codes |= inside[place].astype(np.uint8) << bit
    sizes = _sizes(tuple(float(step) for step in steps))
    return (codes > 0) & (codes < len(sizes) - 1), sizes[codes]


def _corners(axes: int) -> list[tuple[int, ...]]:
    """The pixels that meet at a point, in the order of their bits."""
    return list(product((0, 1), repeat=axes))


@lru_cache(maxsize=16)
def _sizes(steps: tuple[float, ...]) -> Sizes:
    """The size of the piece for each code."""
    codes = range(2**2 ** len(steps))
    piece = _length if len(steps) == 2 else _area
    return np.array([piece(_inside(code, len(steps)), steps) for code in codes])


def _inside(code: int, axes: int) -> BoolArray:
    """Which pixels around a point are inside: an array with 2 along each axis."""
    bits: BoolArray = np.array([code >> bit & 1 for bit in range(2**axes)], bool)
    return bits.reshape((2,) * axes)


def _length(inside: BoolArray, steps: tuple[float, ...]) -> float:
    """The contour's length among 2 x 2 pixels."""
    count = int(inside.sum())
    corner = 0.5 * hypot(*steps)
    if count in (0, 4):
        return 0.0
    if count != 2:
        return corner
    if inside[0, 0] == inside[1, 1]:
        return 2 * corner
    return steps[0] if inside[0, 0] == inside[1, 0] else steps[1]


def _area(inside: BoolArray, steps: tuple[float, ...]) -> float:
    """The surface's area among 2 x 2 x 2 voxels (Lorensen and Cline, 1987)."""
    from skimage.measure import marching_cubes, mesh_surface_area  # noqa: PLC0415  (slow to load, for volumes alone)

    if inside.all() or not inside.any():
        return 0.0
    fewer = inside if int(inside.sum()) <= HALF else ~inside
    values: NDArray[np.float32] = np.asarray(fewer, np.float32)
    vertices, faces, _, _ = marching_cubes(values, 0.5, spacing=steps, method="lorensen")
    return float(mesh_surface_area(vertices, faces))
