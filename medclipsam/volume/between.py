"""Draws the masks of slices that were not asked, between two that were, by their shapes.

    asked     1  .  .  4  .  .  7     every 3rd slice and the last
    distance  to the mask's edge, inside positive, is interpolated along the stack; the mask is where it is positive

Source: Raya and Udupa, "Shape-based interpolation of multidimensional objects", IEEE TMI 1990. A mask that has none
beside it on the next slice that was asked shrinks to nothing on the way there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import cv2
import numpy as np

from medclipsam.types import BoolArray, FloatArray, MedImage, Segmentation
from medclipsam.volume.neighbours import Answered

NOTE = "slices between those that were asked (--every-nth) have interpolated masks"
Keep = Callable[[Answered, int], None]


class Between:
    """Hands on the slices that were asked, and those between them, in the order of the stack.

    Args:
        keep: takes each slice with its answers, and its number in the stack.
        asked: the numbers of the slices that are asked, the first and the last of the stack among them.
        places: where every slice of the stack lies.
        read: gives the picture of a slice.
    """

    def __init__(
        self, keep: Keep, asked: Sequence[int], places: Sequence[float], read: Callable[[int], MedImage]
    ) -> None:
        self._keep, self._asked, self._places, self._read = keep, asked, places, read
        self._before: tuple[int, Answered] | None = None

    def __call__(self, answered: Answered, number: int) -> None:
        """Take the answers of the slice that was asked as this number."""
        index = self._asked[number]
        for between in self._filled(answered, index):
            self._keep(*between)
        self._keep(answered, index)
        self._before = index, answered

    def _filled(self, answered: Answered, index: int) -> Iterator[tuple[Answered, int]]:
        if self._before is None:
            return
        start, before = self._before
        whole = self._places[index] - self._places[start]
        for number in range(start + 1, index):
            share = (self._places[number] - self._places[start]) / whole if whole else 0.5
            pairs = zip(before.results, answered.results, strict=True)
            yield Answered(self._read(number), [interpolated(*pair, share) for pair in pairs]), number


def interpolated(one: Segmentation, other: Segmentation, share: float) -> Segmentation:
    """The answer between two slices of one size, `share` of the way from one to the other, in [0, 1]."""
    if one.mask.shape != other.mask.shape:
        return one if share < 0.5 else other
    mask = blended_shape(one.mask, other.mask, share)
    saliency = presence = None
    if one.saliency is not None and other.saliency is not None:
        saliency = _mixed(one.saliency, other.saliency, share)
    if one.presence is not None and other.presence is not None:
        presence = (1 - share) * one.presence + share * other.presence
    return Segmentation(
        prompt=one.prompt,
        mask=mask,
        probability=_mixed(one.probability, other.probability, share),
        found=bool(mask.any()),
        saliency=saliency,
        presence=presence,
        side=one.side if one.side == other.side else None,
        reason=None if mask.any() else one.reason or other.reason,
        notes=(NOTE,),
    )


def blended_shape(one: BoolArray, other: BoolArray, share: float) -> BoolArray:
    """The mask (height, width) `share` of the way from one to the other."""
    if not (one.any() or other.any()):
        return np.zeros_like(one)
    first, second = _signed_distance(one), _signed_distance(other)
    first = first if one.any() else np.full_like(second, -second.max())
    second = second if other.any() else np.full_like(first, -first.max())
    return np.asarray((1 - share) * first + share * second > 0)


def _signed_distance(mask: BoolArray) -> FloatArray:
    """(height, width): pixels to the mask's edge, positive inside; the image's own edge is none."""
    farthest = sum(mask.shape)  # where there is no edge, OpenCV's distances are without bound
    inside, outside = (
        cv2.distanceTransform(part.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE).clip(max=farthest)
        for part in (mask, ~mask)
    )
    return np.asarray(inside - outside, np.float32)


def _mixed(one: FloatArray, other: FloatArray, share: float) -> FloatArray:
    return np.asarray((1 - share) * one + share * other, np.float32)
