"""Reads the two masks of a case as they are compared: one structure, one place, one size.

files -> labels -> turned alike -> the structure's mask -> resized where that is asked for
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.evaluate.masks import LabelFile, MaskFile, read_labels
from medclipsam.evaluate.measuring import Measuring
from medclipsam.evaluate.pairs import Masks
from medclipsam.types import BoolArray


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which values of the two files are the structure; None takes the one that there is."""

    reference: tuple[int, ...] | None = None
    predicted: tuple[int, ...] | None = None


ONE_LABEL = Choice()


def read_pair(
    predicted: Masks | None, reference: Masks, measuring: Measuring, choice: Choice = ONE_LABEL
) -> tuple[MaskFile, MaskFile]:
    """The masks of a case as they are measured, of one size where that is asked for; an absent prediction is empty.

    Raises:
        SeveralLabels: a file holds several labels and none is chosen.
        BadInput: a mask that cannot be read, or two that lie in different places.
    """
    expected = labels_of(reference, measuring.foreground_above)
    if predicted is None:
        mask = expected.mask(choice.reference)
        return replace(mask, mask=np.zeros_like(mask.mask)), mask
    found = labels_of(predicted, measuring.foreground_above)
    if found.grid is not None or expected.grid is not None:
        found, expected = _laid_alike(found, expected, predicted, measuring)
    inside, truth = found.mask(choice.predicted), expected.mask(choice.reference)
    if measuring.resize:
        inside = replace(inside, mask=resized(inside.mask, truth.mask.shape, corners=measuring.resize == "corners"))
    return _without(inside, expected, measuring), truth


@lru_cache(maxsize=2)
def labels_of(masks: Masks, above: int | None = None) -> LabelFile:
    """What the files of one mask hold together; the two last are remembered, for those who ask for label after label.

    Raises:
        SeveralLabels: one of several files holds several labels.
        BadInput: a file that cannot be read, or files of different sizes.
    """
    files = [read_labels(path, above) for path in masks.paths]
    if len(files) == 1 and masks.slices is None:
        return files[0]
    first = files[0]
    inside = [file.mask().mask for file in files]
    if any(mask.shape != first.values.shape for mask in inside):
        raise BadInput(f"{first.name} and {files[-1].name} belong to one case and differ in size")
    if masks.slices is None:
        held = {label for file in files for label in file.labels}
        value = np.uint32(held.pop() if len(held) == 1 else 1)
        return replace(first, values=np.logical_or.reduce(inside) * value, soft=False)
    stack = np.zeros((max(masks.slices) + 1, *first.values.shape), bool)
    stack[list(masks.slices)] = inside
    return LabelFile(name=first.name, values=stack)


def resized(mask: BoolArray, shape: tuple[int, ...], *, corners: bool = False) -> BoolArray:
    """A mask (height, width) on another number of pixels, each as the nearest one was; others are left as they are.

    Args:
        mask: what is resized.
        shape: what it is resized to.
        corners: find the nearest pixel from the corners of the new ones, as OpenCV's `INTER_NEAREST` and with it the
            released code of MedCLIP-SAMv2 does: a shift of half a step. Else from their centres.
    """
    if mask.ndim != 2 or len(shape) != 2 or mask.shape == shape:
        return mask
    if corners:
        import cv2  # noqa: PLC0415  (for the paper's protocol alone)

        moved: NDArray[Any] = cv2.resize(mask.astype(np.uint8), shape[::-1], interpolation=cv2.INTER_NEAREST)
        return moved.astype(bool)
    rows, columns = (_nearest(new, old) for new, old in zip(shape, mask.shape, strict=True))
    return mask[np.ix_(rows, columns)]


def _nearest(new: int, old: int) -> NDArray[np.int64]:
    """The old pixel that each new pixel's centre lies in; a centre on a border belongs to the later one."""
    return (2 * np.arange(new, dtype=np.int64) + 1) * old // (2 * new)


def _laid_alike(
    found: LabelFile, expected: LabelFile, predicted: Masks, measuring: Measuring
) -> tuple[LabelFile, LabelFile]:
    """Two volumes in one order of voxels; a picture and a volume turned as the picture is, that has no orientation.

    Raises:
        BadInput: two volumes in different places, or a picture of which nobody knows how it lies.
    """
    from medclipsam.evaluate.placement import laid_upon  # noqa: PLC0415  (for volumes alone)
    from medclipsam.evaluate.turning import as_shown, is_shown_as_stored, refuse_unknown  # noqa: PLC0415

    if found.grid is not None and expected.grid is not None:
        return laid_upon(found, expected), expected
    picture, volume = (found, expected) if found.grid is None else (expected, found)
    shown = measuring.pictures == "as-shown" or (predicted.as_shown and found is picture)
    if not shown and measuring.pictures is None and not is_shown_as_stored(volume):
        raise refuse_unknown(picture.name, volume.name)
    turned = as_shown(volume, predicted.axis) if shown else replace(volume, grid=None)
    return (_as_deep(found, turned), turned) if found is picture else (turned, expected)


def _as_deep(stack: LabelFile, volume: LabelFile) -> LabelFile:
    """A stack of slices with empty ones behind the last that has a file."""
    missing = len(volume.values) - len(stack.values)
    if stack.values.ndim != 3 or volume.values.ndim != 3 or missing <= 0:
        return stack
    return replace(stack, values=np.pad(stack.values, ((0, missing), (0, 0), (0, 0))))


def _without(found: MaskFile, expected: LabelFile, measuring: Measuring) -> MaskFile:
    """What was found outside of the pixels that the reference says to ignore."""
    ignored: Collection[int] = measuring.names.ignored if measuring.names else ()
    if not ignored or found.mask.shape != expected.values.shape:
        return found
    return replace(found, mask=found.mask & ~np.isin(expected.values, list(ignored)))
