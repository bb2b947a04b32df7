"""Draws a mask as closed outlines through the centres of its outermost pixels, holes by a channel of no width.

    . . . . . .        one outline for each part: along its outer pixels, from there along a row of the part to the
    . x x x x .        pixels around a hole, around it, and back
    . x . . x .
    . x x x x .        filled with their own line, as readers of YOLO and labelme do (OpenCV, Pillow), they are the mask

COCO counts from the edges of pixels, see `medclipsam.io.dicom.contours`; here a corner is a pixel that is inside.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclipsam.types import BoolArray

Outline = NDArray[Any]
"""(n, 2) whole numbers: columns and rows of pixels in order; the first is not repeated."""
WITHIN = 0.25
"""Added to a corner: readers that cut coordinates off and readers that round them get the same pixel."""
FEWEST = 3
"""Corners of an outline: readers take shorter ones for something else, so those of a pixel or two repeat themselves."""


def outlines(mask: BoolArray) -> list[Outline]:
    """One outline for each part of a (height, width) mask, pixels that touch at a corner together."""
    import cv2  # noqa: PLC0415

    rings, tree = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    parents = [] if tree is None else tree[0][:, 3].tolist()
    found = []
    for number, parent in enumerate(parents):
        if parent < 0:
            holes = [rings[hole][:, 0] for hole, above in enumerate(parents) if above == number]
            found.append(_closed(rings[number][:, 0], holes))
    return found


def _closed(outer: Outline, holes: list[Outline]) -> Outline:
    """The outer line with all holes; what lies to the left of a hole's leftmost pixel is joined before it."""
    whole = outer
    for hole in sorted((_from_leftmost(hole) for hole in holes), key=lambda ring: int(ring[0, 0])):
        gate = _gate(whole, hole[0])
        whole = np.concatenate([whole[: gate + 1], hole, hole[:1], whole[gate:]])
    return _padded(_corners(whole))


def _from_leftmost(ring: Outline) -> Outline:
    return np.roll(ring, -int(ring[:, 0].argmin()), axis=0)


def _gate(ring: Outline, corner: Any) -> int:
    """The nearest point to the left on the same row: all pixels up to there are of the part."""
    x, y = corner.tolist()
    on_row = np.flatnonzero((ring[:, 1] == y) & (ring[:, 0] <= x))
    return int(on_row[ring[on_row, 0].argmax()])


def _corners(ring: Outline) -> Outline:
    """Without repeated points and points along straight lines; where the line turns back on itself the point stays."""
    ring = ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)] if len(ring) > 1 else ring
    before, after = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    straight = before[:, 0] * after[:, 1] == before[:, 1] * after[:, 0]
    return ring[~(straight & ((before * after).sum(axis=1) > 0))]


def _padded(ring: Outline) -> Outline:
    return ring if len(ring) >= FEWEST else ring[np.arange(FEWEST) % len(ring)]
