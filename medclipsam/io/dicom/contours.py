"""Draws a mask as polygons: closed lines halfway between pixels inside and outside, holes by a keyhole.

    . . . . . .        one polygon: the outer line, along a channel of no width to the hole, around it, and back
    . x x x x .        (PS3.3 C.8.8.6.3); what lies within a hole is a polygon of its own
    . x . . x .
    . x x x x .        a pixel is inside where its centre is: filled again, the polygons give the mask

Pixels that touch at a corner alone are apart. The channel runs between two rows, so that no centre lies on it.
"""

from __future__ import annotations

from functools import reduce

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, label
from skimage.measure import find_contours

from medclipsam.types import BoolArray

Ring = NDArray[np.float64]
"""(n, 2): x and y of the corners in pixels, in order; the first is not repeated."""


def polygons(mask: BoolArray) -> list[Ring]:
    """The polygons of a (height, width) mask, one for each part; none of an empty mask.

    Pixel centres have whole coordinates, corners lie half a pixel between two of them.
    """
    parts, _ = label(mask)
    found = []
    for number, place in enumerate(find_objects(parts), 1):
        corner = place[1].start, place[0].start
        outer, holes = _rings(parts[place] == number)
        found.append(reduce(_joined, holes, outer) + corner)
    return found


def _rings(part: BoolArray) -> tuple[Ring, list[Ring]]:
    """The outer line of a connected part, and those of its holes from top to bottom, each from its first corner on."""
    lines = find_contours(np.pad(part, 1).astype(np.uint8), 0.5)
    rings = sorted((_from_first(_corners(line[:-1, ::-1] - 1)) for line in lines), key=lambda ring: _order(ring[0]))
    return rings[0], rings[1:]


def _corners(line: Ring) -> Ring:
    """Without the points along straight lines."""
    before, after = line - np.roll(line, 1, axis=0), np.roll(line, -1, axis=0) - line
    return line[before[:, 0] * after[:, 1] != before[:, 1] * after[:, 0]]


def _from_first(ring: Ring) -> Ring:
    """Beginning with the leftmost of the topmost corners."""
    return np.roll(ring, -int(np.lexsort(ring.T)[0]), axis=0)


def _order(corner: Ring) -> tuple[float, float]:
    x, y = corner.tolist()
    return y, x


def _joined(ring: Ring, hole: Ring) -> Ring:
    """A ring with a channel from a hole's first corner to the left, to the ring itself or a hole joined before."""
    side, gate = _gate(ring, hole[0])
    joined = np.concatenate([ring[: side + 1], gate, hole, hole[:1], gate, ring[side + 1 :]])
    return joined[(joined != np.roll(joined, 1, axis=0)).any(axis=1)]


def _gate(ring: Ring, corner: Ring) -> tuple[int, Ring]:
    """(number of the side of a ring that lies next to the left of a corner, (1, 2) the place on it)."""
    x, y = corner
    ends = np.roll(ring, -1, axis=0)
    low, high = np.minimum(ring[:, 1], ends[:, 1]), np.maximum(ring[:, 1], ends[:, 1])
    sides = np.flatnonzero((low <= y) & (y <= high) & (low < high))
    begins, slopes = ring[sides], (ends[sides] - ring[sides])
    at = begins[:, 0] + (y - begins[:, 1]) / slopes[:, 1] * slopes[:, 0]
    nearest = int(np.where(at < x, at, -np.inf).argmax())
    return int(sides[nearest]), np.array([[at[nearest], y]])
