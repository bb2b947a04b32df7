"""Degrades test images on purpose: motion blur, low-dose noise, gamma, each at five strengths.

Images are first made 224 pixels long, so that a strength means the same for all, and level 0 is that alone. Noise of
140, 120 and 110 and blurs up to 9 are those that BiCLIP's tables name; their formulae are not published, so these are
ours: photon counting (Poisson), and the mean along a line whose angle is drawn for each image.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace

import cv2
import numpy as np

from medclipsam.types import BoolArray, FloatArray, MedImage

SIDE = 224
STRENGTHS: Mapping[str, tuple[float, ...]] = {
    "motion-blur": (3, 5, 7, 9, 13),
    "low-dose": (140, 120, 110, 60, 30),
    "gamma": (0.5, 0.7, 1.4, 2.0, 3.0),
}
"""Length of the line in pixels; photons of a white pixel; exponent."""


def corrupted(image: MedImage, kind: str, level: int) -> MedImage:
    """A copy, 224 pixels long, degraded.

    Args:
        kind: a key of `STRENGTHS`.
        level: 1 to 5 for its strengths in their order; 0 only changes the size.

    Raises:
        ValueError: no such kind or level.
    """
    if kind not in STRENGTHS or not 0 <= level <= len(STRENGTHS[kind]):
        raise ValueError(f"no corruption {kind!r} at level {level}")
    pixels = _reduced(image.pixels)
    if level:
        generator = np.random.default_rng(int(hashlib.sha256(f"{kind} {image.name}".encode()).hexdigest()[:16], 16))
        pixels = degrade(pixels, kind, STRENGTHS[kind][level - 1], generator)
    return replace(image, pixels=pixels, values=None, plane_lps=None, spacing_mm=None)


def degrade(pixels: FloatArray, kind: str, strength: float, generator: np.random.Generator) -> FloatArray:
    """One corruption of an image (height, width, 3) in [0, 1]."""
    if kind == "motion-blur":
        kernel = line_kernel(int(strength), generator.uniform(-180, 180))
        changed = cv2.filter2D(pixels, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    elif kind == "low-dose":
        grey = pixels.mean(axis=2)
        noise = generator.poisson(strength * grey) / strength - grey
        changed = pixels + noise[..., None]  # one field for the three channels, as of a grey scan
    else:
        changed = pixels**strength
    return np.clip(changed, 0, 1).astype(np.float32)


def line_kernel(length: int, degrees: float) -> FloatArray:
    """The mean along a line of so many pixels: (length, length), its sum is 1."""
    kernel = np.zeros((length, length), np.float32)
    kernel[length // 2] = 1
    middle = (length - 1) / 2
    turned = cv2.warpAffine(kernel, cv2.getRotationMatrix2D((middle, middle), degrees, 1), (length, length))
    return np.asarray(turned / turned.sum(), np.float32)


def laid_back(mask: BoolArray, size: tuple[int, int]) -> BoolArray:
    """A mask of a reduced image in the size (height, width) of the original."""
    return cv2.resize(mask.astype(np.uint8), (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT) > 0


def _reduced(pixels: FloatArray) -> FloatArray:
    height, width = pixels.shape[:2]
    scale = SIDE / max(height, width)
    size = max(2, round(width * scale)), max(2, round(height * scale))
    return np.clip(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), 0, 1).astype(np.float32)
