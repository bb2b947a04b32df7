"""How far a mask can be trusted, with nothing to measure it by: one number in [0, 1].

    agreement   2 sum(saliency * mask) / (sum(saliency) + sum(mask)): do text and mask speak of the same pixels?
    confidence  agreement ** exponent

Agreement is the soft Dice confidence of Borges et al. (arXiv 2402.10665): the Dice to be expected where the saliency is
a probability, as that of the embedded model. The exponent lies in confidence.json beside this module, with the weights
that it was fitted for; it brings the confidence as near as can be to the Dice of validation images of the embedded
preset (benchmarks/confidence.py, which also tells how well that holds on test images, and what SAM's own scores and the
presence would add). For other presets and other kinds of images the number orders masks and is no expected Dice.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Literal

import numpy as np

from medclipsam.types import BoolArray, FloatArray, Segmentation

Verdict = Literal["done", "doubtful", "not found"]
DIGITS = 4
"""Judged as it is written down, so that a record read back is judged alike."""
FITTED = "confidence.json"


@cache
def exponent() -> float:
    """What the agreement is raised to, above 0."""
    return float(json.loads(files("medclipsam.runs").joinpath(FITTED).read_text("utf-8"))["exponent"])


def confidence(result: Segmentation) -> float | None:
    """The confidence in a mask, in [0, 1], rounded to 4 digits; None where nothing was found."""
    if not result.found:
        return None
    return round(agreement(result.evidence, result.mask) ** exponent(), DIGITS)


def agreement(saliency: FloatArray, mask: BoolArray) -> float:
    """Soft Dice in [0, 1] of a saliency map in [0, 1] and a mask, both (height, width); 0 where one is empty."""
    inside = float(saliency[mask].sum(dtype=np.float64))
    total = float(saliency.sum(dtype=np.float64)) + float(np.count_nonzero(mask))
    return 2 * inside / total if inside else 0.0


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


def boundary_score(entropy: FloatArray, mask: BoolArray) -> float | None:
    """Entropy of the whole picture for each pixel of the mask's rim, in bits; None where the mask is empty.

    The released code divides by a rim counted 255 times over, and by zero where there is none. The rim is what a
    dilation by a 3 x 3 square adds.
    """
    from scipy.ndimage import binary_dilation  # noqa: PLC0415  (slow to load; only ensembles come here)

    rim = int(np.count_nonzero(binary_dilation(mask, np.ones((3, 3), bool)) & ~mask))
    return float(entropy.sum(dtype=np.float64)) / rim if mask.any() and rim else None
