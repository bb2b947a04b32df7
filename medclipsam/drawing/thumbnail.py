"""Draws small pictures without words, for pages of thousands of masks: the page around them has the words.

    +----------+----------+
    | contour, | evidence |     two panels of at most 384 pixels; wide images one above the other
    | boxes    |          |
    +----------+----------+

A tenth of the time and space of `medclipsam.drawing.overlay`.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from medclipsam.drawing.painter import (
    CONTOUR,
    FAINTEST,
    FRAME,
    WIDE,
    Bytes,
    fitted,
    heat,
    joined,
    outline,
    resized,
    resized_mask,
    to_bytes,
)
from medclipsam.types import FloatArray, MedImage, Segmentation

PANEL = 384
"""Largest side of a panel in pixels."""
HEAT = 0.6
"""Share of the heat colour where the evidence is largest."""


def draw_thumbnail(image: MedImage, result: Segmentation) -> Image.Image:
    """The answer and the evidence side by side.

    Args:
        image: (height, width) of any aspect.
        result: of the same size; where nothing was found there is no contour.
    """
    size = fitted(image.size, PANEL)
    base = resized(image.pixels, size)
    panels = _answer(to_bytes(base), result), _evidence(base, resized(result.evidence, size))
    return Image.fromarray(joined(panels, below=image.size[1] / image.size[0] > WIDE))


def _answer(picture: Bytes, result: Segmentation) -> Bytes:
    height, width = picture.shape[:2]
    outline(picture, resized_mask(result.mask, (height, width)), CONTOUR)
    for box in result.boxes:
        _draw_box(picture, box.edges, scale=(width / result.mask.shape[1], height / result.mask.shape[0]))
    return picture


def _draw_box(picture: Bytes, edges: tuple[float, float, float, float], scale: tuple[float, float]) -> None:
    x0, y0, x1, y1 = (edge * scale[index % 2] for index, edge in enumerate(edges))
    cv2.rectangle(picture, (round(x0), round(y0)), (round(x1), round(y1)), FRAME, 1, cv2.LINE_AA)


def _evidence(base: FloatArray, evidence: FloatArray) -> Bytes:
    """The image under the evidence, whose hottest colour is its largest value unless all of it is faint."""
    share = evidence / np.float32(max(float(evidence.max()), FAINTEST))
    weight = (HEAT * share)[..., None]
    return to_bytes(base * (1 - weight) + heat(share) * weight)
