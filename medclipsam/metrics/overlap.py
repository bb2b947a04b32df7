"""Overlap of two masks: Dice and IoU.

dice = 2 |A and B| / (|A| + |B|)        iou = |A and B| / |A or B|
"""

from __future__ import annotations

import numpy as np

from medclipsam.errors import BadInput
from medclipsam.types import BoolArray


def dice(predicted: BoolArray, reference: BoolArray) -> float:
    """Dice's coefficient in [0, 1] of two masks of one size; 1 where both are empty.

    Raises:
        BadInput: masks of different sizes or that are not boolean.
    """
    check_pair(predicted, reference)
    total = np.count_nonzero(predicted) + np.count_nonzero(reference)
    return 2 * np.count_nonzero(predicted & reference) / total if total else 1.0


def iou(predicted: BoolArray, reference: BoolArray) -> float:
    """Jaccard's index in [0, 1] of two masks of one size; 1 where both are empty.

    Raises:
        BadInput: masks of different sizes or that are not boolean.
    """
    check_pair(predicted, reference)
    union = np.count_nonzero(predicted | reference)
    return np.count_nonzero(predicted & reference) / union if union else 1.0


def check_pair(predicted: BoolArray, reference: BoolArray) -> None:
    """Refuse what cannot be compared pixel by pixel.

    Raises:
        BadInput: masks of different sizes or that are not boolean.
    """
    if predicted.shape != reference.shape:
        raise BadInput(f"masks of {predicted.shape} and {reference.shape} differ in size")
    if predicted.dtype != bool or reference.dtype != bool:
        raise BadInput(f"masks of {predicted.dtype} and {reference.dtype} are not boolean", "give mask > 0")
