"""Measures the overlap of two masks: Dice and IoU; and of many pairs of masks as if they were one.

dice = 2 |A and B| / (|A| + |B|)        iou = |A and B| / |A or B|
"""

from __future__ import annotations

from collections.abc import Sequence

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


def pooled_dice(overlaps: Sequence[int], predicted: Sequence[int], references: Sequence[int]) -> float:
    """Dice in [0, 1] of the pixels of all images together; 1 where no image has any in either mask.

    Large structures weigh more here than small ones, and one image hardly counts: it is another figure than the mean of
    each image's Dice, and often higher. Some papers (BiCLIP, LanGuideMedSeg) report this one, through torchmetrics'
    default `average="micro"`; the tables of others (LViT, nnU-Net) hold the mean over images.

    Args:
        overlaps: pixels of each image that are in both masks.
        predicted: pixels of each predicted mask.
        references: pixels of each reference.

    Raises:
        BadInput: not one number of each kind for each image.
    """
    if not len(overlaps) == len(predicted) == len(references):
        raise BadInput(f"{len(overlaps)}, {len(predicted)} and {len(references)} counts are not of the same images")
    total = sum(predicted) + sum(references)
    return 2 * sum(overlaps) / total if total else 1.0


def check_pair(predicted: BoolArray, reference: BoolArray) -> None:
    """Refuse what cannot be compared pixel by pixel.

    Raises:
        BadInput: masks of different sizes or that are not boolean.
    """
    if predicted.shape != reference.shape:
        raise BadInput(f"masks of {predicted.shape} and {reference.shape} differ in size")
    if predicted.dtype != bool or reference.dtype != bool:
        raise BadInput(f"masks of {predicted.dtype} and {reference.dtype} are not boolean", "give mask > 0")
