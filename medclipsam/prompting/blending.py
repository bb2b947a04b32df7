"""Puts SAM's mask and the map that prompted it together, and lets the map alone answer where both disagree."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil, floor

import numpy as np

from medclipsam.types import MASK_THRESHOLD, Box, FloatArray


def blended(drawn: FloatArray, saliency: FloatArray, share: float, least: float = 0.0) -> FloatArray:
    """The probability (height, width): the union of SAM's masks, and the saliency map with its share beside them.

    Args:
        least: overlap of both below which SAM drew something else than what the map shows, and the map stands alone.
    """
    if not share:
        return drawn
    stands_alone = bool(least) and _overlap(drawn, saliency) < least
    return saliency if stands_alone else (1 - share) * drawn + share * saliency


def _overlap(one: FloatArray, other: FloatArray) -> float:
    """Intersection over union of what two maps mark."""
    first, second = one > MASK_THRESHOLD, other > MASK_THRESHOLD
    return float((first & second).sum() / max(1, (first | second).sum()))


def inside(saliency: FloatArray, boxes: Sequence[Box]) -> FloatArray:
    """The map inside the boxes, zero elsewhere: what gave no prompt gives no mask. Without boxes all of it.

    The pixels beyond the last edge count too: a box that was cut at (width - 1, height - 1) means the last ones.
    """
    if not boxes:
        return saliency
    kept = np.zeros_like(saliency)
    for box in boxes:
        rows, columns = slice(floor(box.y0), ceil(box.y1) + 1), slice(floor(box.x0), ceil(box.x1) + 1)
        kept[rows, columns] = saliency[rows, columns]
    return kept
