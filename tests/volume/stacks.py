"""Stacks of answers drawn by hand: a row of characters is a slice."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from medclipsam.prompting.prompts import box_around
from medclipsam.types import MedImage, Segmentation
from medclipsam.volume.neighbours import Answered


def answered(number: int, probability: Sequence[float] | np.ndarray, *, found: bool = True) -> Answered:
    """A slice of 2 x n pixels whose rows have these probabilities."""
    row = np.asarray(probability, np.float32)
    values = np.stack([row, row]) if found else np.zeros((2, len(row)), np.float32)
    mask = values > 0.5
    box = box_around(mask)
    result = Segmentation(
        prompt="liver",
        mask=mask,
        probability=values,
        saliency=values,
        found=bool(mask.any()),
        presence=0.9 if found else 0.1,
        boxes=(box,) if box else (),
    )
    pixels = np.full((*values.shape, 3), number / 100, np.float32)
    return Answered(MedImage(pixels=pixels, name=f"s{number}"), [result])


def stack(rows: Iterable[str]) -> list[Answered]:
    """`x` is 0.9, `.` is 0.1, `?` is 0.4; a slice of `-` alone is one where nothing was found."""
    known = {"x": 0.9, ".": 0.1, "?": 0.4, "-": 0.0}
    return [answered(n, [known[c] for c in row], found="-" not in row) for n, row in enumerate(rows)]


def drawn(slices: Iterable[Answered]) -> list[str]:
    """The masks as rows."""
    return ["".join(".x"[int(inside)] for inside in each.results[0].mask[0]) for each in slices]
