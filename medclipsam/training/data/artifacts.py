"""Marks that devices and archives leave on images: black frames, the round view of an endoscope, burned-in text.

None of them belongs to the patient, so that a model that learned from images with and without them should not mind.
"""

from __future__ import annotations

import string
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Image = NDArray[Any]
"""Single precision, (height, width, 3) in [0, 1]."""
View = NDArray[np.bool_]
"""(height, width): what is not covered."""

CORNERS = (6, 8, 10, 64)
"""Corners of the view: hexagon and octagon with cut corners, a decagon, and what looks like a circle."""


def random_view(size: tuple[int, int], generator: np.random.Generator) -> View:
    """The part of an image of (height, width) that a device shows; black around it."""
    return _round_view(size, generator) if generator.random() < 0.5 else _rectangular_view(size, generator)


def _rectangular_view(size: tuple[int, int], generator: np.random.Generator) -> View:
    """A frame of up to a sixth of the image on each side."""
    seen = np.zeros(size, bool)
    top, bottom, left, right = (generator.uniform(0, 1 / 6, 4) * np.array([size[0], size[0], size[1], size[1]])).astype(
        int
    )
    seen[top : size[0] - bottom, left : size[1] - right] = True
    return seen


def _round_view(size: tuple[int, int], generator: np.random.Generator) -> View:
    """A polygon around the centre, wider than the image's shorter side or a little narrower."""
    count = int(generator.choice(CORNERS))
    angles = np.pi * (2 * np.arange(count) + 1) / count
    radii = np.array(size[::-1]) / 2 * generator.uniform(0.95, 1.15, 2) / np.cos(np.pi / count)
    centre = np.array(size[::-1]) / 2 + generator.uniform(-0.04, 0.04, 2) * size[1]
    corners = centre + radii * np.column_stack([np.cos(angles), np.sin(angles)])
    seen = np.zeros(size, np.uint8)
    cv2.fillConvexPoly(seen, np.rint(corners).astype(np.int32), 1)
    return seen.astype(bool)


def burn_in(pixels: Image, generator: np.random.Generator) -> Image:
    """Write one to three short lines near a corner, in white, grey or yellow."""
    height, width = pixels.shape[:2]
    ink = np.zeros((height, width), np.uint8)
    scale = max(0.25, min(height, width) / 600) * generator.uniform(0.8, 1.6)
    colour = np.array([(1.0, 1.0, 1.0), (0.7, 0.7, 0.7), (1.0, 1.0, 0.2)][generator.integers(3)], np.float32)
    x, y = int(generator.choice([0.02, 0.7]) * width), int(generator.choice([0.08, 0.85]) * height)
    for line in range(int(generator.integers(1, 4))):
        letters = "".join(generator.choice(list(string.ascii_uppercase + string.digits + " :./"), 8))
        place = x, y + int(line * 30 * scale)
        cv2.putText(ink, letters, place, cv2.FONT_HERSHEY_SIMPLEX, scale, 255, 1, cv2.LINE_AA)
    share = ink[..., None].astype(np.float32) / 255
    return pixels * (1 - share) + colour * share


def compress(pixels: Image, quality: int) -> Image:
    """What JPEG of this quality (1 to 100) leaves of an image."""
    levels = _levels(pixels)
    written, packed = cv2.imencode(".jpg", levels, [cv2.IMWRITE_JPEG_QUALITY, quality])
    unpacked = cv2.imdecode(packed, cv2.IMREAD_COLOR) if written else None
    return (levels if unpacked is None else unpacked).astype(np.float32) / np.float32(255)


def _levels(pixels: Image) -> NDArray[np.uint8]:
    return np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
