"""Finds the parts of a mask: pixels that touch by a side or a corner belong together."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medclipsam.types import BoolArray

Labels = NDArray[np.int32]


def labelled(mask: BoolArray) -> tuple[Labels, NDArray[np.int64]]:
    """The 8-connected components of a mask (height, width): labels from 1 in reading order, and the area of each."""
    count, labels = cv2.connectedComponents(np.ascontiguousarray(mask, np.uint8), connectivity=8, ltype=cv2.CV_32S)
    labels = _in_reading_order(labels, count - 1)
    return labels, np.bincount(labels.ravel(), minlength=count)[1:]


def _in_reading_order(labels: NDArray[Any], count: int) -> Labels:
    """The same components numbered by their first pixels; OpenCV numbers them as blocks or strips of it find them."""
    first = np.full(count + 1, -1)
    first[labels.ravel()[::-1]] = np.arange(labels.size)[::-1]  # of equal indices the last one assigned stays
    renumbered = np.zeros(count + 1, np.int32)
    renumbered[1 + np.argsort(first[1:])] = np.arange(1, count + 1)
    return renumbered[labels]
