"""Turns squares of bytes into what networks take: values stretched to [0, 1] over the image, zeros beside it.

As LiteMedSAM was trained; augmented copies in training are stretched likewise.
"""

from __future__ import annotations

import torch
from torch import Tensor

from medclipsam.backbones.geometry import Frame
from medclipsam.backbones.squares import Square


def as_pixels(square: Square, frame: Frame) -> Tensor:
    """(side, side, 3) bytes -> (3, side, side) float32 in [0, 1]; a constant image becomes zeros."""
    pixels = torch.from_numpy(square).permute(2, 0, 1).float()
    rows, columns = (slice(axis.offset, axis.offset + axis.content) for axis in (frame.rows, frame.columns))
    content = pixels[:, rows, columns]
    low, high = content.min(), content.max()
    filled = torch.zeros_like(pixels)
    if high > low:
        filled[:, rows, columns] = (content - low) / (high - low)
    return filled
