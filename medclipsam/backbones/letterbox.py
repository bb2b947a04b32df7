"""The geometry of LiteMedSAM's square without torch, for engines that need none.

    native (height, width) --resize, stretch values, pad--> (1, 3, side, side) --> cells of a map, logits of a mask
           ^                                                                              |
           +-------------------- enlarge, cut the padding off, resize -------------------+

Tests hold it to `Framing`, `Placement` and `Frame` of `backbones.geometry`, which do the same with torch.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from medclipsam.types import Box, FloatArray

GREY_LEVEL = 1 / 255
"""A smaller range than one step of an 8-bit image is rounding, and is not stretched to the whole."""


def kept_aspect(length: float, longest: float, side: int) -> int:
    """How many pixels a side takes where the longest one takes `side`, by Segment Anything's rounding: halves go up.

    One rule for all: the embedded model sees an image as its encoder lays it, in training as in use, and its map comes
    back by a `Frame`.
    """
    return max(1, int(length * (side / longest) + 0.5))


@dataclass(frozen=True, kw_only=True)
class Letterbox:
    """Where an image of `size` (height, width) lies in a square of `side` pixels: at the top left, aspect kept."""

    size: tuple[int, int]
    side: int

    @property
    def content(self) -> tuple[int, int]:
        """(height, width) that the image takes in the square."""
        longest = max(self.size)
        return kept_aspect(self.size[0], longest, self.side), kept_aspect(self.size[1], longest, self.side)

    def fill(self, pixels: FloatArray) -> FloatArray:
        """(height, width, 3) in [0, 1] -> (1, 3, side, side), smallest value 0 and largest 1, zeros behind the image.

        Areas are averaged where the image shrinks; it is bilinear where it grows.
        """
        (height, width), (rows, columns) = self.content, self.size
        how = cv2.INTER_AREA if height <= rows and width <= columns else cv2.INTER_LINEAR
        resized = cv2.resize(np.ascontiguousarray(pixels, np.float32), (width, height), interpolation=how)
        resized = resized.clip(pixels.min(), pixels.max())
        low = resized.min()
        square = np.zeros((1, 3, self.side, self.side), np.float32)
        square[0, :, :height, :width] = ((resized - low) / max(resized.max() - low, GREY_LEVEL)).transpose(2, 0, 1)
        return square

    def edges(self, boxes: Sequence[Box]) -> FloatArray:
        """(n, 4): boxes, cut to the image, by their edges in the square."""
        native = np.array([box.clipped(self.size).edges for box in boxes]).reshape(-1, 2, 2)
        scale = np.array([self.content[1] / self.size[1], self.content[0] / self.size[0]])
        return (native * scale).astype(np.float32).reshape(-1, 4)

    def masks(self, logits: FloatArray) -> FloatArray:
        """(n, h, w) logits over the whole square -> (n, height, width) over the image, bilinear."""
        (height, width), native = self.content, self.size[::-1]
        enlarged = (_resized(one, (self.side, self.side))[:height, :width] for one in logits)
        return np.stack([_resized(one, native) for one in enlarged])

    def cells(self, heat: FloatArray) -> FloatArray:
        """(rows, columns) of a map over the whole square -> (height, width) over the image, bilinear."""
        rows, columns = (_places(*each, self.side, heat.shape[0]) for each in zip(self.size, self.content, strict=True))
        return _blend(_blend(heat, *rows).T, *columns).T


def _resized(values: FloatArray, size: tuple[int, int]) -> FloatArray:
    """To (width, height)."""
    if values.shape == size[::-1]:
        return values
    return np.asarray(cv2.resize(np.ascontiguousarray(values), size, interpolation=cv2.INTER_LINEAR), np.float32)


def _places(
    length: int, content: int, side: int, cells: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """For each pixel of one side the cell before it, the cell after it, and the share of the latter."""
    inside = (np.arange(length) + 0.5) * content / length / side
    place = (inside.astype(np.float32) * cells - 0.5).clip(0, cells - 1)
    before = np.floor(place).astype(np.int64)
    return before, np.minimum(before + 1, cells - 1), (place - before).astype(np.float32)


def _blend(
    heat: FloatArray, before: NDArray[np.int64], after: NDArray[np.int64], share: NDArray[np.float32]
) -> FloatArray:
    blended: FloatArray = heat[before] + share[:, None] * (heat[after] - heat[before])
    return blended
