"""Brings a scan into the square of bytes that a network sees, alike in training and in prediction.

    scan (height, width, 3) in [0, 1] --bicubic, antialiased--> (side, side, 3) bytes
    labels (height, width) 0, 1, 2    --nearest neighbour-----> (side, side)

Labels are never blended: the released code resizes masks bicubically and takes whatever is above 0, which makes them
grow by the ringing of the filter.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from medclipsam.backbones.geometry import Axis, Frame
from medclipsam.config import SquareFit
from medclipsam.types import FloatArray

Square = NDArray[np.uint8]
"""(side, side, 3)."""
Labels = NDArray[np.uint8]
"""0 background, 1 foreground, 2 ignored."""


def frame_for(size: tuple[int, int], side: int, fit: SquareFit) -> Frame:
    """The geometry between a scan of (height, width) and its square."""
    return Frame(kind=fit, size=size, side=side)


def to_square(pixels: FloatArray, frame: Frame) -> Square:
    """(height, width, 3) in [0, 1] to (side, side, 3) bytes."""
    levels = (frame.forward(pixels) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(levels.permute(1, 2, 0).numpy())


def labels_to_square(labels: Labels, frame: Frame) -> Labels:
    """(height, width) to (side, side): each pixel takes the label under its centre; 0 beside a letterboxed scan."""
    rows, columns = (_nearest(axis, frame.side) for axis in (frame.rows, frame.columns))
    inside = np.outer(rows >= 0, columns >= 0)
    return np.where(inside, labels[np.ix_(rows, columns)], 0).astype(np.uint8)


def standardised(square: Square) -> Tensor:
    """(3, side, side) float32, each channel of mean 0 and deviation 1 (nnU-Net's z-score); constant channels are 0."""
    pixels = torch.from_numpy(square).permute(2, 0, 1).float()
    return standardise(pixels)


def standardise(pixels: Tensor) -> Tensor:
    """The same of (3, height, width) numbers of any range."""
    centred = pixels - pixels.mean(dim=(1, 2), keepdim=True)
    return centred / centred.square().mean(dim=(1, 2), keepdim=True).sqrt().clamp(min=1e-6)


def _nearest(axis: Axis, side: int) -> NDArray[np.int64]:
    """(side,): the pixel of the scan under each pixel's centre, -1 where there is none."""
    place = (np.arange(side) + 0.5 - axis.offset) * axis.length / axis.content
    place = np.floor(place).astype(np.int64)
    return np.where((place >= 0) & (place < axis.length), place, -1)
