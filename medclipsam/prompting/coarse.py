"""From a soft saliency map to the coarse mask that prompts SAM.

Source: Koleilat et al., MedCLIP-SAMv2, section 3.3 (Otsu, eq. 17; confidence of components, eq. 18-19); k-means, the
fixed threshold, the CRF and the largest components by area are the choices of the released code.

    saliency           foreground         components
    . 2 9 8 . 3        . . # # . .        . . A A . .
    . 7 9 8 . 4   ->   . # # # . .   ->   . A A A . .
    . . . . . 8        . . . . . #        . . . . . .      the largest, A, stays

A map without contrast says nothing about place: constant, empty and full maps all give an empty mask.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from medclipsam.config import Coarse
from medclipsam.errors import BadInput
from medclipsam.metrics.parts import Labels, labelled
from medclipsam.types import MASK_THRESHOLD, BoolArray, FloatArray

GREY_LEVELS = 256
SMALLEST_CONTRAST = 1 / (GREY_LEVELS - 1)
"""A map that spans less than one grey level of the reference's 8-bit maps counts as constant."""


def coarse_mask(saliency: FloatArray, settings: Coarse, pixels: FloatArray | None = None) -> BoolArray:
    """The coarse mask (height, width) of a saliency map.

    Args:
        saliency: (height, width) in [0, 1].
        settings: how to divide the map and which components to keep.
        pixels: (height, width, 3) in [0, 1]; the `crf` alone looks at them.

    Returns:
        A mask that is empty where the map is constant or where no component passes the settings.

    Raises:
        BadInput: a map that is not (height, width) in [0, 1], or `crf` without the image.
    """
    _check(saliency)
    if np.ptp(saliency) < SMALLEST_CONTRAST:
        return np.zeros(saliency.shape, bool)
    return keep_components(foreground(saliency, settings, pixels), saliency, settings)


def foreground(saliency: FloatArray, settings: Coarse, pixels: FloatArray | None = None) -> BoolArray:
    """The pixels (height, width) that the chosen method puts in the foreground; all components are still there.

    Raises:
        BadInput: `crf` without the image.
    """
    if settings.method == "crf":
        if pixels is None:
            raise BadInput("the CRF looks at the image, and no image was given", "choose otsu, kmeans or threshold")
        from medclipsam.prompting import crf  # noqa: PLC0415  (loads scipy, which takes longer than a mask)

        return crf.refined(saliency, pixels) > MASK_THRESHOLD
    if settings.copy_side:
        return _divided_copy(saliency, settings)
    return _divided(saliency, settings)


def _divided(saliency: FloatArray, settings: Coarse) -> BoolArray:
    if settings.method == "threshold":
        return saliency > settings.threshold
    divide = two_means_threshold if settings.method == "kmeans" else otsu_threshold
    return saliency > divide(saliency)


def _divided_copy(saliency: FloatArray, settings: Coarse) -> BoolArray:
    """As the released code does: the map is written with 8 bits, read again, made square, divided, and brought back."""
    written = np.rint(saliency * (GREY_LEVELS - 1)).astype(np.uint8)
    side = settings.copy_side
    copy = cv2.resize(written, (side, side), interpolation=cv2.INTER_NEAREST)
    divided = _divided(copy.astype(np.float32) / np.float32(GREY_LEVELS - 1), settings)
    height, width = saliency.shape
    return cv2.resize(divided.astype(np.uint8), (width, height), interpolation=cv2.INTER_NEAREST) > 0


def otsu_threshold(saliency: FloatArray) -> float:
    """Otsu's threshold on 256 grey levels between the least and the greatest value (paper eq. 17).

    Returns:
        The border between two grey levels: the foreground is above it. The one value of a constant map.
    """
    from skimage.filters import threshold_otsu  # noqa: PLC0415  (loads scipy, which takes longer than a mask)

    low, span = float(saliency.min()), float(np.ptp(saliency))
    if span == 0:
        return low
    levels = np.rint((saliency.astype(np.float64) - low) / span * (GREY_LEVELS - 1)).astype(np.int64)
    counts = np.bincount(levels.ravel(), minlength=GREY_LEVELS)
    last_background = int(threshold_otsu(hist=(counts, np.arange(GREY_LEVELS))))
    return low + (last_background + 0.5) / (GREY_LEVELS - 1) * span


def two_means_threshold(saliency: FloatArray) -> float:
    """The border of the best of all divisions into two clusters, by sorting: what k-means with k = 2 searches for.

    Returns:
        The middle of the two centroids: the foreground is above it. The one value of a constant map.
    """
    values = np.sort(saliency.ravel().astype(np.float64))
    before = np.flatnonzero(np.diff(values) > 0) + 1
    if before.size == 0:
        return float(values[0])
    sums, total, count = np.cumsum(values)[before - 1], values.sum(), values.size
    below, above = sums / before, (total - sums) / (count - before)
    between_variance = before * (count - before) * (above - below) ** 2
    best = int(np.argmax(between_variance))
    return float(below[best] + above[best]) / 2


def keep_components(mask: BoolArray, saliency: FloatArray, settings: Coarse) -> BoolArray:
    """The 8-connected components that pass: large enough, then by confidence (eq. 18-19) or the largest by area."""
    labels, areas = labelled(mask)
    sums = _sums(labels, saliency, len(areas))
    chosen = by_area(areas)
    chosen = chosen[areas[chosen] >= settings.min_share * mask.size]
    chosen = chosen[sums[chosen] >= settings.min_relative * sums.max(initial=0)]
    if settings.min_confidence is not None:
        chosen = chosen[(sums / areas)[chosen] > settings.min_confidence]
    else:
        chosen = _largest(chosen, areas, settings.components, ties=settings.keep_ties)
    return _painted(labels, chosen, len(areas))


def largest_components(mask: BoolArray, count: int, *, ties: bool = False) -> BoolArray:
    """The `count` largest 8-connected components of a mask (height, width); all where there are fewer.

    Args:
        mask: any mask.
        count: at least 1.
        ties: also those as large as the smallest that is kept, as the released code does; else exactly `count`.
    """
    labels, areas = labelled(mask)
    return _painted(labels, _largest(by_area(areas), areas, count, ties=ties), len(areas))


def outer_contours(mask: BoolArray) -> int:
    """How many outer contours a mask (height, width) has: its 8-connected parts, without those in another's hole."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    return len(contours)


def _largest(chosen: NDArray[np.int64], areas: NDArray[np.int64], count: int, *, ties: bool) -> NDArray[np.int64]:
    """The first `count` of components that are sorted by area, and with `ties` the equals of the last; 0: all."""
    if ties and 0 < count < chosen.size:
        return chosen[areas[chosen] >= areas[chosen[count - 1]]]
    return chosen[: count or None]


def by_area(areas: NDArray[np.int64]) -> NDArray[np.int64]:
    """Indices of components, the largest first; of equal ones the first in reading order."""
    return np.argsort(-areas, kind="stable")


def _painted(labels: Labels, chosen: NDArray[np.int64], count: int) -> BoolArray:
    kept = np.zeros(count + 1, bool)
    kept[chosen + 1] = True
    return kept[labels]


def _sums(labels: Labels, saliency: FloatArray, count: int) -> NDArray[np.float64]:
    """The saliency of each component, summed; over its area it is the confidence (eq. 18)."""
    return np.bincount(labels.ravel(), weights=saliency.ravel(), minlength=count + 1)[1:].astype(np.float64)


def _check(saliency: FloatArray) -> None:
    if saliency.ndim != 2 or saliency.size == 0:
        raise BadInput(f"a saliency map of shape {saliency.shape} is not (height, width)")
    if not (np.isfinite(saliency).all() and saliency.min() >= 0 and saliency.max() <= 1):
        raise BadInput("the saliency map holds values that are not finite in [0, 1]")
