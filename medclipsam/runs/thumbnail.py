"""How does a person check thousands of masks? By small pictures without words: the page around them has the words.

    +----------+----------+
    | contour, | evidence |     two panels of at most 384 pixels; wide images one above the other
    | boxes    |          |
    +----------+----------+

A tenth of the time and space of `medclipsam.overlay`, whose colours it shares.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from medclipsam.overlay import CONTOUR, FAINTEST, FRAME, INK, WIDE
from medclipsam.types import BoolArray, FloatArray, MedImage, Segmentation

PANEL = 384
"""Largest side of a panel in pixels."""
GAP = 4
HEAT = 0.6
"""Share of the heat colour where the saliency is largest."""

Bytes = NDArray[np.uint8]


def draw_thumbnail(image: MedImage, result: Segmentation) -> Image.Image:
    """The answer and the evidence side by side.

    Args:
        image: (height, width) of any aspect.
        result: of the same size; where nothing was found there is no contour.
    """
    height, width = image.size
    scale = PANEL / max(height, width)
    size = max(round(width * scale), 1), max(round(height * scale), 1)
    grey = (_resized(image.pixels, size) * 255).round().astype(np.uint8)
    panels = _answer(grey, result, size), _evidence(grey, _resized(result.evidence, size))
    axis = 0 if width / height > WIDE else 1
    gap = np.full((GAP, size[0], 3) if axis == 0 else (size[1], GAP, 3), INK, np.uint8)
    return Image.fromarray(np.concatenate([panels[0], gap, panels[1]], axis=axis))


def _resized(values: FloatArray, size: tuple[int, int]) -> FloatArray:
    """Values in [0, 1] at (width, height); averaged when reduced."""
    how = cv2.INTER_AREA if size[0] < values.shape[1] else cv2.INTER_LINEAR
    return np.clip(cv2.resize(np.ascontiguousarray(values, np.float32), size, interpolation=how), 0, 1)


def _answer(base: Bytes, result: Segmentation, size: tuple[int, int]) -> Bytes:
    picture = base.copy()
    outlines, _ = cv2.findContours(_shown_mask(result.mask, size), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for colour, thickness in ((INK, 4), (CONTOUR, 2)):
        cv2.drawContours(picture, outlines, -1, colour, thickness, cv2.LINE_AA)
    for box in result.boxes:
        _draw_box(picture, box.edges, scale=(size[0] / result.mask.shape[1], size[1] / result.mask.shape[0]))
    return picture


def _shown_mask(mask: BoolArray, size: tuple[int, int]) -> Bytes:
    """When the picture is reduced, one pixel of the mask is enough to show."""
    share = _resized(mask.astype(np.float32), size)
    return (share > (0 if size[0] < mask.shape[1] else 0.5)).astype(np.uint8)


def _draw_box(picture: Bytes, edges: tuple[float, float, float, float], scale: tuple[float, float]) -> None:
    x0, y0, x1, y1 = (edge * scale[index % 2] for index, edge in enumerate(edges))
    cv2.rectangle(picture, (round(x0), round(y0)), (round(x1), round(y1)), FRAME, 1, cv2.LINE_AA)


def _evidence(base: Bytes, saliency: FloatArray) -> Bytes:
    """The image under the saliency, whose hottest colour is its largest value unless all of it is faint."""
    share = saliency / max(float(saliency.max()), FAINTEST)
    heat: Any = cv2.applyColorMap((share * 255).round().astype(np.uint8), cv2.COLORMAP_INFERNO)[..., ::-1]
    weight = (HEAT * share)[..., None]
    return (base * (1 - weight) + heat * weight).round().astype(np.uint8)
