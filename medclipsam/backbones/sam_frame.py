"""The geometry between an image and the square of a Segment Anything model, for the image, prompts and masks.

    native (height, width) --resize, normalise, pad--> side x side --model--> low-resolution logits
           ^                                                                        |
           +------------- enlarge to the side, cut the padding off, resize ---------+

Three conventions: Segment Anything keeps the aspect and uses Meta's colour mean and deviation; MedSAM squashes and
stretches the values to [0, 1]; LiteMedSAM keeps the aspect and stretches the values. Padding: zeros, bottom and right.

An image that is enlarged s times has a pixel's left edge at s x and its centre at s (x + 1/2) - 1/2. The originals map
every coordinate by s x: right for boxes, which are edges, and (s - 1) / 2 off the middle of a pixel that was clicked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from medclipsam.types import FloatArray

COLOUR_MEAN = (123.675 / 255, 116.28 / 255, 103.53 / 255)
COLOUR_DEVIATION = (58.395 / 255, 57.12 / 255, 57.375 / 255)
GREY_LEVEL = 1 / 255
"""A smaller range than one step of an 8-bit image is rounding, and is not stretched to the whole."""


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where one image lies inside the square."""

    size: tuple[int, int]
    """(height, width) of the native image."""
    content: tuple[int, int]
    """(height, width) that it takes in the square, from the top left."""
    side: int

    def edges_to_square(self, xy: FloatArray) -> FloatArray:
        """(..., 2) corners of boxes, native to the square's x and y; whole numbers are pixel edges (see `Box`)."""
        return (xy * self._scale).astype(np.float32)

    def centres_to_square(self, xy: FloatArray) -> FloatArray:
        """(..., 2) points, native to the square's x and y; whole numbers are pixel centres (see `Points`)."""
        return ((xy + 0.5) * self._scale - 0.5).astype(np.float32)

    @property
    def _scale(self) -> NDArray[np.float64]:
        """(2,): how many times the image is enlarged along x and y."""
        return np.array([self.content[1] / self.size[1], self.content[0] / self.size[0]])

    def to_native(self, logits: Tensor) -> Tensor:
        """(n, 1, h, w) logits over the whole square -> (n, height, width) over the native image, bilinear."""
        height, width = self.content
        enlarged = _resize(logits, (self.side, self.side))[..., :height, :width]
        return _resize(enlarged, self.size)[:, 0]


@dataclass(frozen=True, kw_only=True)
class Framing:
    """The convention of one family of models."""

    side: int
    keep_aspect: bool
    """True: the longest side fills the square, zeros behind it. False: squash."""
    values: Literal["colour", "stretch"]
    """`colour`: Meta's mean and deviation; `stretch`: smallest value to 0, largest to 1."""
    resampling: Literal["bilinear", "bicubic", "area"] = "bilinear"
    """With a low-pass filter where the image shrinks; `area` averages there, and is bilinear where it grows."""

    def place(self, size: tuple[int, int]) -> Placement:
        """Where an image of (height, width) would lie."""
        content = (self.side, self.side)
        if self.keep_aspect:
            scale = self.side / max(size)
            content = max(1, int(size[0] * scale + 0.5)), max(1, int(size[1] * scale + 0.5))
        return Placement(size=size, content=content, side=self.side)

    def fill(self, pixels: FloatArray) -> Tensor:
        """(height, width, 3) in [0, 1] -> (1, 3, side, side); stretching turns a constant image into zeros."""
        height, width = self.place((pixels.shape[0], pixels.shape[1])).content
        image = self._resample(np.ascontiguousarray(pixels, np.float32), (height, width))
        image = self._normalise(image.clamp(float(pixels.min()), float(pixels.max())))
        return F.pad(image, (0, self.side - width, 0, self.side - height))

    def _resample(self, pixels: FloatArray, size: tuple[int, int]) -> Tensor:
        """(1, 3, height, width)."""
        is_area = self.resampling == "area"
        if is_area and size[0] <= pixels.shape[0] and size[1] <= pixels.shape[1]:
            averaged = cv2.resize(pixels, size[::-1], interpolation=cv2.INTER_AREA)
            return torch.from_numpy(averaged).permute(2, 0, 1)[None]
        image = torch.from_numpy(pixels).permute(2, 0, 1)[None]
        mode = "bilinear" if is_area else self.resampling
        return F.interpolate(image, size, mode=mode, antialias=True, align_corners=False)

    def _normalise(self, image: Tensor) -> Tensor:
        if self.values == "colour":
            mean, deviation = torch.tensor([COLOUR_MEAN, COLOUR_DEVIATION])[:, :, None, None]
            return (image - mean) / deviation
        return (image - image.min()) / (image.max() - image.min()).clamp_min(GREY_LEVEL)


SEGMENT_ANYTHING = Framing(side=1024, keep_aspect=True, values="colour")
"""Kirillov et al., ICCV 2023."""
MEDSAM = Framing(side=1024, keep_aspect=False, values="stretch", resampling="bicubic")
"""Ma et al., Nature Communications 2024."""
LITE_MEDSAM = Framing(side=256, keep_aspect=True, values="stretch", resampling="area")
"""bowang-lab, 2024. Trained on area averages: lungs in their true box gain 0.01 Dice over a bilinear filter; enlarging,
which OpenCV's area mode does in blocks, loses 0.3."""


def _resize(logits: Tensor, size: tuple[int, int]) -> Tensor:
    if logits.shape[-2:] == size:
        return logits
    return F.interpolate(logits, size, mode="bilinear", align_corners=False)
