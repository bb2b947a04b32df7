"""Finds masks that end at a straight side of the box that SAM was asked with, and grows that side.

The evidence drew the box, so its side is a guess. A mask that ends there along a run of pixels was cut by the guess,
not by the image. Where the box ends with the image there is nothing to move to.

    . . . . . . .
    . +-----+ . .
    . |# # #| . .        the upper and the right side grow
    . |. # #| . .
    . +-----+ . .
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor

import numpy as np

from medclipsam.types import BoolArray, Box

MOST_GROWTHS = 3
"""How often a box may grow; each time SAM's decoder is asked once more."""
LEAST_RUN_PX = 3
"""A shorter run of pixels at a side is where a round outline touches it."""
LEAST_RUN = 0.05
"""The same as a share of that side, for large boxes."""


@dataclass(frozen=True, kw_only=True)
class CutSides:
    """Mask pixels in straight runs at the left, upper, right and lower side of a box; 0 where a side cuts nothing."""

    x0: int = 0
    y0: int = 0
    x1: int = 0
    y1: int = 0

    @property
    def pixels(self) -> int:
        """All of them."""
        return self.x0 + self.y0 + self.x1 + self.y1


def cut_sides(mask: BoolArray, box: Box) -> CutSides:
    """Where a mask (height, width) ends at a side of a box that is no border of the image.

    A box takes in the pixels from `floor(x0)` to `ceil(x1)`, as `methods.zeroshot.inside` does. A mask that goes on
    beyond a side does not end there.
    """
    height, width = mask.shape
    first, last = (floor(box.x0), floor(box.y0)), (min(ceil(box.x1), width - 1), min(ceil(box.y1), height - 1))
    rows, columns = slice(first[1], last[1] + 1), slice(first[0], last[0] + 1)
    return CutSides(
        x0=_cut(mask[rows], first[0], -1),
        y0=_cut(mask[:, columns].T, first[1], -1),
        x1=_cut(mask[rows], last[0], 1),
        y1=_cut(mask[:, columns].T, last[1], 1),
    )


def cut_pixels(mask: BoolArray, boxes: Sequence[Box]) -> int:
    """How many pixels of a mask lie in straight runs at the sides of boxes: what a person sees as a cut."""
    return sum(cut_sides(mask, box).pixels for box in boxes)


def grown(mask: BoolArray, boxes: Sequence[Box], share: float) -> tuple[Box, ...]:
    """The boxes, each side that cuts the mask moved outwards by this share of the box's extent; at least by one pixel.

    Equal to `boxes` where none cuts it.
    """
    return tuple(_grown(box, cut_sides(mask, box), mask.shape[:2], share) for box in boxes)


def _grown(box: Box, cut: CutSides, size: tuple[int, int], share: float) -> Box:
    if not cut.pixels:
        return box
    wide, high = max(1.0, share * (box.x1 - box.x0)), max(1.0, share * (box.y1 - box.y0))
    return Box(
        x0=box.x0 - wide * bool(cut.x0),
        y0=box.y0 - high * bool(cut.y0),
        x1=box.x1 + wide * bool(cut.x1),
        y1=box.y1 + high * bool(cut.y1),
    ).clipped(size)


def _cut(mask: BoolArray, column: int, outwards: int) -> int:
    """Pixels in runs that are long enough, in a column beyond which the mask does not go on."""
    beyond = column + outwards
    if not 0 <= beyond < mask.shape[1]:
        return 0
    ends = mask[:, column] & ~mask[:, beyond]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], ends, [False]]).astype(np.int8)))
    runs = edges[1::2] - edges[::2]
    return int(runs[runs >= max(LEAST_RUN_PX, LEAST_RUN * len(ends))].sum())
