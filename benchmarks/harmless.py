"""Twelve changes of an image that should not matter, each with the masks moved along.

What a change hides (the corners outside an octagon, what a turn pushes out of the frame) is not asked for: the masks
lose it too. Strengths are fixed, so that a change is the same for all weights.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import cv2
import numpy as np

from medclipsam.training.data.artifacts import compress
from medclipsam.types import BoolArray, FloatArray, MedImage

BORDER = 0.15
"""Of the image's height and width, on each side."""
SHIFT = 0.1
"""By how much of the grey scale the window moves up: the darkest tenth becomes black."""
DEGREES = 10.0
QUALITY = 40
LINES = ("PAT 0417", "12 CM  GN 48")
Changed = tuple[FloatArray, BoolArray]
Array = np.ndarray[Any, Any]


def border(pixels: FloatArray, masks: BoolArray) -> Changed:
    """Black around the image."""
    rows, columns = (round(BORDER * length) for length in pixels.shape[:2])
    around = ((rows, rows), (columns, columns))
    return np.pad(pixels, (*around, (0, 0))), np.pad(masks, ((0, 0), *around))


def octagon(pixels: FloatArray, masks: BoolArray) -> Changed:
    """Black corners, as of an endoscope."""
    height, width = pixels.shape[:2]
    rows, columns = np.indices((height, width))
    from_middle = abs(rows - (height - 1) / 2) / (height / 2) + abs(columns - (width - 1) / 2) / (width / 2)
    seen = from_middle <= np.sqrt(2)
    return pixels * seen[..., None], masks & seen


def gamma(exponent: float) -> Callable[[FloatArray, BoolArray], Changed]:
    """Brighter below 1, darker above."""
    return lambda pixels, masks: ((pixels**exponent).astype(np.float32), masks)


def window_shift(pixels: FloatArray, masks: BoolArray) -> Changed:
    """The grey scale begins higher and is as wide as it was."""
    return np.clip(pixels - np.float32(SHIFT), 0, 1), masks


def inverted(pixels: FloatArray, masks: BoolArray) -> Changed:
    """White is black."""
    return 1 - pixels, masks


def jpeg(pixels: FloatArray, masks: BoolArray) -> Changed:
    """Compressed hard."""
    return compress(pixels, QUALITY), masks


def scaled(factor: float) -> Callable[[FloatArray, BoolArray], Changed]:
    """Smaller or larger; a mask takes the nearest pixel."""

    def change(pixels: FloatArray, masks: BoolArray) -> Changed:
        size = max(2, round(pixels.shape[1] * factor)), max(2, round(pixels.shape[0] * factor))
        how = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
        return cv2.resize(pixels, size, interpolation=how), _each(
            masks, lambda mask: cv2.resize(mask, size, interpolation=cv2.INTER_NEAREST_EXACT)
        )

    return change


def mirror(pixels: FloatArray, masks: BoolArray) -> Changed:
    """Left is right."""
    return np.ascontiguousarray(pixels[:, ::-1]), np.ascontiguousarray(masks[:, :, ::-1])


def turned(pixels: FloatArray, masks: BoolArray) -> Changed:
    """A small rotation about the middle, black around it."""
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D(((width - 1) / 2, (height - 1) / 2), DEGREES, 1)
    moved = cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_LINEAR)
    return moved, _each(masks, lambda mask: cv2.warpAffine(mask, matrix, (width, height), flags=cv2.INTER_NEAREST))


def text(pixels: FloatArray, masks: BoolArray) -> Changed:
    """Two white lines in the upper left corner."""
    height, width = pixels.shape[:2]
    ink = np.zeros((height, width), np.uint8)
    scale = max(0.3, min(height, width) / 500)
    for line, words in enumerate(LINES):
        place = int(0.02 * width), int(30 * scale * (line + 1))
        cv2.putText(ink, words, place, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, 1, cv2.LINE_AA)
    share = ink[..., None].astype(np.float32) / 255
    return pixels * (1 - share) + share, masks


def picture_of(image: MedImage, pixels: FloatArray) -> MedImage:
    """An image of its own that lies nowhere, as a person would give who has the changed picture alone."""
    shown = np.ascontiguousarray(np.clip(pixels, 0, 1), np.float32)
    return replace(image, pixels=shown, values=None, plane_lps=None, spacing_mm=None, towards_left=None)


def _each(masks: BoolArray, change: Callable[[Array], Array]) -> BoolArray:
    return np.stack([change(mask.astype(np.uint8)) > 0 for mask in masks])


CHANGES: Mapping[str, Callable[[FloatArray, BoolArray], Changed]] = {
    "black border of 15 %": border,
    "black octagon": octagon,
    "gamma 0.6": gamma(0.6),
    "gamma 1.6": gamma(1.6),
    "window shift": window_shift,
    "inverted": inverted,
    "JPEG 40": jpeg,
    "scale 0.5": scaled(0.5),
    "scale 2": scaled(2.0),
    "mirror": mirror,
    "turned by 10 degrees": turned,
    "burned-in text": text,
}
"""Name -> (pixels (height, width, 3) in [0, 1], masks (targets, height, width)) -> both, changed."""
