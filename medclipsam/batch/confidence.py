"""How far can a mask be trusted, with nothing to measure it by? One number in [0, 1] from three witnesses.

    contrast   (inside - outside) / (inside + outside) of the mean saliency: does the evidence lie in the mask?
    SAM        its own estimate of IoU, the mean over its prompts: does the contour follow an edge?
    presence   does the image show what the text names at all?

    confidence = (contrast * SAM * presence) ** (1/3)

The geometric mean is 0 where one of them is 0: no witness makes up for another. Contrast is a ratio (Michelson), so a
faint map is judged by its shape; that it is faint is presence's to say. The number orders masks, so that a person
checks the worst first; it is neither a probability nor an expected Dice.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Literal

import numpy as np

from medclipsam.types import BoolArray, FloatArray, Segmentation

Verdict = Literal["done", "doubtful", "not found"]
DIGITS = 4
"""Judged as it is written down, so that a record read back is judged alike."""


def confidence(result: Segmentation) -> float | None:
    """The confidence in a mask, in [0, 1], rounded to 4 digits; None where nothing was found.

    A method without scores of its own is judged by contrast and presence.
    """
    if not result.found:
        return None
    witnesses = [contrast(result.saliency, result.mask), float(np.clip(result.presence, 0, 1))]
    if result.scores:
        witnesses.append(float(np.clip(np.mean(result.scores), 0, 1)))
    return round(prod(witnesses) ** (1 / len(witnesses)), DIGITS)


def contrast(saliency: FloatArray, mask: BoolArray) -> float:
    """How far the mean saliency inside the mask exceeds that outside, as a share of their sum, in [0, 1].

    Args:
        saliency: (height, width) in [0, 1].
        mask: (height, width).

    Returns:
        0 where the mask is empty or everything, where there is no saliency, and where more of it lies outside.
    """
    if mask.all() or not mask.any():
        return 0.0
    inside, outside = (float(saliency[part].mean(dtype=np.float64)) for part in (mask, ~mask))
    return max(0.0, (inside - outside) / (inside + outside)) if inside + outside > 0 else 0.0


def combined(areas: Sequence[int], confidences: Sequence[float | None]) -> float | None:
    """The confidence of several pictures of one file: the mean of those with a mask, weighted by area.

    None where no picture has one.
    """
    found = [(area, sure) for area, sure in zip(areas, confidences, strict=True) if sure is not None]
    if not found:
        return None
    return round(float(np.average([sure for _, sure in found], weights=[area for area, _ in found])), DIGITS)


def judge(sure: float | None, least: float) -> Verdict:
    """What becomes of a mask with this confidence, where `least` is asked for."""
    if sure is None:
        return "not found"
    return "done" if sure >= least else "doubtful"
