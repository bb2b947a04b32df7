"""Random variations of an image and its masks: how else this scan might have looked.

One affine warp takes the source to the encoder's frame (longest side = `side`, content at the top left, zeros behind
it, as LiteMedSAM was trained), so that nothing is resampled twice. Intensity changes imitate other windows, scanners,
inverted films, compression and colour casts; then come the marks of devices (`artifacts`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from medclipsam.backbones.letterbox import kept_aspect
from medclipsam.training.data.artifacts import View, burn_in, compress, random_view

FloatImage = NDArray[Any]
"""Single precision, (height, width, 3)."""
Masks = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Strength:
    """How far an augmented copy may move away from its source; zero everywhere gives the plain image."""

    rotation_degrees: float = 20.0
    """Largest turn either way."""
    quarter_turns: float = 0.15
    """Probability of a further turn by 90, 180 or 270 degrees (stored slices come in any orientation)."""
    flip: float = 0.5
    """Probability of a left-right mirror."""
    zoom: tuple[float, float] = (0.65, 1.6)
    """Range of the log-uniform scale of the content inside the frame."""
    aspect: float = 1.35
    """Largest stretch of width against height."""
    shift: float = 0.15
    """Largest displacement, in shares of the frame."""
    intensity: float = 1.0
    """Scale of all intensity changes."""
    single_channel: float = 0.15
    """Probability that one colour channel (or the mean) is repeated three times."""
    crush: float = 0.15
    """Probability of a window so narrow that the darkest and the brightest pixels become plain black or white."""
    darkest: float = 0.6
    """Largest share of the pixels that such a window makes black."""
    artifacts: float = 0.25
    """Probability of a black frame or a round view, and again of burned-in text."""


PLAIN = Strength(
    rotation_degrees=0,
    quarter_turns=0,
    flip=0,
    zoom=(1, 1),
    aspect=1,
    shift=0,
    intensity=0,
    single_channel=0,
    artifacts=0,
)


def augment(
    pixels: FloatImage, masks: Masks, side: int, strength: Strength, generator: np.random.Generator
) -> tuple[FloatImage, Masks]:
    """Draw one variation.

    Args:
        pixels: (height, width, 3) in [0, 1].
        masks: (targets, height, width), 0 or 1.
        side: edge of the square frame, in pixels.

    Returns:
        (side, side, 3) in [0, 1] and (targets, side, side).
    """
    matrix, (height, width) = _random_affine(pixels.shape[:2], side, strength, generator)
    content = _warp(pixels, matrix, (height, width))
    content = np.clip(_change_intensity(content, strength, generator), 0, 1)
    content, seen = _mark(content, strength.artifacts, generator)
    framed = np.zeros((side, side, 3), np.float32)
    framed[:height, :width] = rescale(content)
    framed_masks = np.zeros((len(masks), side, side), np.uint8)
    for target, mask in enumerate(masks):
        soft = cv2.warpAffine(mask.astype(np.float32), matrix, (width, height), flags=cv2.INTER_LINEAR)
        framed_masks[target, :height, :width] = (soft >= 0.5) & seen
    return framed, framed_masks


def _mark(pixels: FloatImage, probability: float, generator: np.random.Generator) -> tuple[FloatImage, View]:
    """Cover what a device would not show and write on the rest; also what is still seen, where masks may lie."""
    seen = np.ones(pixels.shape[:2], bool)
    if generator.random() < probability:
        seen = random_view(pixels.shape[:2], generator)
        pixels = pixels * seen[..., None]
    if generator.random() < probability:
        pixels = burn_in(pixels, generator)
    return pixels, seen


def _warp(pixels: FloatImage, matrix: NDArray[np.float64], size: tuple[int, int]) -> FloatImage:
    """Warp into `size`; what shrinks is averaged first, as an image is at inference."""
    shrink = np.sqrt(abs(np.linalg.det(matrix[:, :2])))
    if shrink < 1:
        height, width = (max(1, round(length * shrink)) for length in pixels.shape[:2])
        scale = np.array([width / pixels.shape[1], height / pixels.shape[0]])
        pixels = cv2.resize(pixels, (width, height), interpolation=cv2.INTER_AREA)
        matrix = np.column_stack([matrix[:, :2] / scale, matrix[:, 2] + matrix[:, :2] @ (0.5 / scale - 0.5)])
    return cv2.warpAffine(pixels, matrix, size[::-1], flags=cv2.INTER_LINEAR)


def rescale(pixels: FloatImage) -> FloatImage:
    """Stretch to [0, 1]; a constant image becomes zeros."""
    low, high = float(pixels.min()), float(pixels.max())
    return (pixels - low) / (high - low) if high > low else np.zeros_like(pixels)


def _random_affine(
    size: tuple[int, int], side: int, strength: Strength, generator: np.random.Generator
) -> tuple[NDArray[np.float64], tuple[int, int]]:
    """The source-to-frame matrix (2, 3) and the content's (height, width) inside the frame."""
    stretch = np.exp(generator.uniform(-1, 1) * np.log(strength.aspect))
    height, width = size[0] / np.sqrt(stretch), size[1] * np.sqrt(stretch)
    turns = generator.integers(1, 4) if generator.random() < strength.quarter_turns else 0
    if turns % 2:
        height, width = width, height
    longest = max(height, width)
    fit = side / longest
    content = kept_aspect(height, longest, side), kept_aspect(width, longest, side)
    angle = np.deg2rad(90 * turns + generator.uniform(-1, 1) * strength.rotation_degrees)
    zoom = fit * np.exp(generator.uniform(*np.log(strength.zoom)))
    mirror = -1 if generator.random() < strength.flip else 1
    scale = np.diag([mirror * zoom * np.sqrt(stretch), zoom / np.sqrt(stretch)])
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = turn @ scale
    centre = np.array([(size[1] - 1) / 2, (size[0] - 1) / 2])
    target = np.array([(content[1] - 1) / 2, (content[0] - 1) / 2])
    target = target + generator.uniform(-1, 1, 2) * strength.shift * side
    return np.column_stack([linear, target - linear @ centre]), content


def _change_intensity(pixels: FloatImage, strength: Strength, generator: np.random.Generator) -> FloatImage:
    pixels = _drop_colour(pixels, strength.single_channel, generator)
    if strength.intensity == 0:
        return pixels
    pixels = _change_tone(pixels, strength, generator)
    return _change_texture(pixels, strength.intensity, generator)


def _drop_colour(pixels: FloatImage, probability: float, generator: np.random.Generator) -> FloatImage:
    if generator.random() >= probability:
        return pixels
    choice = generator.integers(4)
    grey = pixels.mean(axis=2) if choice == 3 else pixels[..., choice]
    return np.repeat(grey[..., None], 3, axis=2)


def _change_tone(pixels: FloatImage, strength: Strength, generator: np.random.Generator) -> FloatImage:
    """Window, crushed blacks and whites, gamma, inversion and colour cast."""
    amount = strength.intensity
    if generator.random() < strength.crush * amount:
        pixels = _crush(pixels, strength.darkest, generator)
    elif generator.random() < 0.7:
        low, high = np.sort(generator.uniform([-0.15, 0.7], [0.15, 1.15]) * amount + (1 - amount) * np.array([0, 1]))
        pixels = np.clip((pixels - low) / (high - low), 0, 1)
    if generator.random() < 0.7:
        pixels = np.power(pixels, np.exp(generator.uniform(-0.7, 0.7) * amount))
    if generator.random() < 0.08 * amount:
        pixels = 1 - pixels
    if generator.random() < 0.5 and _is_coloured(pixels):
        pixels = pixels * (1 + generator.uniform(-0.2, 0.2, 3) * amount)
    return pixels.astype(np.float32)


def _crush(pixels: FloatImage, darkest: float, generator: np.random.Generator) -> FloatImage:
    """A window so narrow that a part of the darkest and of the brightest pixels becomes plain black or white."""
    dark = generator.uniform(0.05, darkest)
    bright = generator.uniform(0.0, min(0.2, (1 - dark) / 2))
    low, high = np.quantile(pixels, [dark, 1 - bright])
    return np.clip((pixels - low) / max(high - low, 0.05), 0, 1)


def _is_coloured(pixels: FloatImage) -> bool:
    return bool(np.ptp(pixels, axis=2).max() > 0.05)


def _change_texture(pixels: FloatImage, amount: float, generator: np.random.Generator) -> FloatImage:
    """Blur, lost resolution, speckle and sensor noise, local contrast, compression."""
    if generator.random() < 0.25:
        pixels = cv2.GaussianBlur(pixels, (0, 0), generator.uniform(0.4, 1.6) * amount)
    if generator.random() < 0.2:
        pixels = _lose_resolution(pixels, generator.uniform(0.35, 0.8))
    if generator.random() < 0.3:
        pixels = pixels + generator.normal(0, generator.uniform(0.01, 0.05) * amount, pixels.shape[:2])[..., None]
    if generator.random() < 0.2:
        pixels = pixels * generator.normal(1, generator.uniform(0.05, 0.2) * amount, pixels.shape[:2])[..., None]
    if generator.random() < 0.2:
        pixels = _equalise_locally(pixels, generator.uniform(1, 4))
    if generator.random() < 0.25:
        pixels = compress(pixels, int(generator.integers(25, 90)))
    return pixels.astype(np.float32)


def _lose_resolution(pixels: FloatImage, factor: float) -> FloatImage:
    height, width = pixels.shape[:2]
    size = max(1, int(width * factor)), max(1, int(height * factor))
    small = cv2.resize(pixels, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR), np.float32)


def _equalise_locally(pixels: FloatImage, clip_limit: float) -> FloatImage:
    equaliser = cv2.createCLAHE(clipLimit=clip_limit, tileGridSize=(8, 8))
    levels = np.rint(np.clip(pixels, 0, 1) * 255).astype(np.uint8)
    channels = [equaliser.apply(np.ascontiguousarray(levels[..., channel])) for channel in range(levels.shape[2])]
    return np.stack(channels, axis=2).astype(np.float32) / np.float32(255)
