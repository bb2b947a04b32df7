"""Geometry between the pixels of a scan and the square that a model sees, of CLIP, U-Nets and Segment Anything.

`Frame`: three ways in (MedCLIP-SAMv2 says "resized to 224 x 224"; the released code crops), one affine map for each
side of the scan, and its inverse, which brings the cells of a heat-map back:

    scan          squash      letterbox      crop
    +--------+    +----+       +----+        +----+
    |abcdefgh|    |a..h|       |a..h|      ab|cdef|gh
    |ijklmnop|    |i..p|       |0000|      ij|klmn|op
    +--------+    +----+       +----+        +----+

A pixel's centre at row i lies at (i + 1/2) * content / height + offset in the square, whose side runs from 0 to `side`.

`Framing` and `Placement`: an image, its prompts and its masks in the square of a Segment Anything model.

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
from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from medclipsam.backbones.letterbox import GREY_LEVEL, kept_aspect
from medclipsam.config import FitKind
from medclipsam.errors import BadInput
from medclipsam.types import FloatArray

Anchor = Literal["top-left", "centre"]
NARROWEST = 64
"""Longer side over shorter side beyond which a crop would see next to nothing."""
COLOUR_MEAN = (123.675 / 255, 116.28 / 255, 103.53 / 255)
COLOUR_DEVIATION = (58.395 / 255, 57.12 / 255, 57.375 / 255)


class Axis(NamedTuple):
    """One side of the scan in the square: `length` pixels become `content` pixels that start at `offset`."""

    length: int
    content: int
    offset: int


@dataclass(frozen=True, kw_only=True)
class Frame:
    """The geometry between a scan of `size` (height, width) and a square of `side` pixels.

    Raises:
        BadInput: `crop` of an image whose sides differ more than 64 times.
    """

    kind: FitKind
    """`squash`: both sides to `side`; `letterbox`: the longer one; `crop`: the shorter one, then the centre."""
    size: tuple[int, int]
    side: int
    anchor: Anchor = "top-left"
    """Where a letterboxed scan lies; the rest is zero."""

    def __post_init__(self) -> None:
        if self.kind == "crop" and max(self.size) > NARROWEST * min(self.size):
            height, width = self.size
            raise BadInput(f"{width} x {height} pixels is too narrow to crop", "use squash or letterbox")

    @property
    def rows(self) -> Axis:
        """The vertical side."""
        return self._axis(self.size[0])

    @property
    def columns(self) -> Axis:
        """The horizontal side."""
        return self._axis(self.size[1])

    def forward(self, pixels: ArrayLike | Tensor) -> Tensor:
        """Bring a scan into the square.

        Args:
            pixels: (height, width, 3) in [0, 1].

        Returns:
            (3, side, side) float32 in [0, 1]; bicubic with antialiasing, as open_clip resizes.

        Raises:
            BadInput: pixels of another size than the frame's.
        """
        channels_last = torch.as_tensor(pixels, dtype=torch.float32)
        if channels_last.shape != (*self.size, 3):
            raise BadInput(f"pixels of shape {tuple(channels_last.shape)} in a frame for {(*self.size, 3)}")
        rows, columns = self.rows, self.columns
        resized = F.interpolate(
            channels_last.permute(2, 0, 1)[None],
            (rows.content, columns.content),
            mode="bicubic",
            antialias=True,
        )
        return F.pad(resized[0].clamp(0, 1), self._padding(columns) + self._padding(rows))

    def inverse(self, heat: Tensor) -> Tensor:
        """Bring a map over the whole square, of any resolution, back onto the scan (bilinear).

        Args:
            heat: (..., rows, columns), such as (14, 14) cells or (224, 224) pixels.

        Returns:
            (..., height, width) float32; zero where a crop did not look.
        """
        heat = heat.float()
        for dim, axis in ((-2, self.rows), (-1, self.columns)):
            heat = _sample(heat, dim, self._positions(axis, heat.device))
        return heat

    def stretched(self, heat: Tensor) -> FloatArray:
        """Lay the square over the whole scan whatever way it came in, as the released code does after its crop.

        An object off the centre of an oblong scan lands further off it. The map is enlarged to the square, brought to
        [0, 1] there, and sampled at pixel corners.

        Args:
            heat: (rows, columns).

        Returns:
            (height, width); all zero for a map without features.
        """
        square = F.interpolate(heat.float()[None, None], (self.side, self.side), mode="bilinear")[0, 0]
        low, span = square.min(), square.max() - square.min()
        unit = ((square - low) / span if span > 0 else torch.zeros_like(square)).cpu().numpy()
        return np.asarray(cv2.resize(unit, self.size[::-1], interpolation=cv2.INTER_NEAREST), np.float32)

    def _axis(self, length: int) -> Axis:
        if self.kind == "squash":
            return Axis(length, self.side, 0)
        if self.kind == "crop":
            content = int(self.side * length / min(self.size))
            return Axis(length, content, -((content - self.side) // 2))
        content = kept_aspect(length, max(self.size), self.side)
        return Axis(length, content, (self.side - content) // 2 if self.anchor == "centre" else 0)

    def _padding(self, axis: Axis) -> tuple[int, int]:
        """What to add before and after; negative takes away."""
        return axis.offset, self.side - axis.content - axis.offset

    def _positions(self, axis: Axis, device: torch.device) -> Tensor:
        """(length,): where each pixel's centre lies, from 0 to 1 inside the square."""
        centres = torch.arange(axis.length, dtype=torch.float64, device="cpu") + 0.5
        inside = (centres * axis.content / axis.length + axis.offset) / self.side
        return inside.float().to(device)


def _sample(heat: Tensor, dim: int, positions: Tensor) -> Tensor:
    """Linear interpolation between the centres of cells along one side; zero outside [0, 1]."""
    cells = heat.shape[dim]
    place = (positions * cells - 0.5).clamp(0, cells - 1)
    before = place.floor().long()
    after = (before + 1).clamp(max=cells - 1)
    shape = [1] * heat.ndim
    shape[dim] = -1
    share = (place - before).view(shape)
    seen = ((positions >= 0) & (positions <= 1)).view(shape)
    blend = torch.lerp(heat.index_select(dim, before), heat.index_select(dim, after), share)
    return blend * seen


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
            content = kept_aspect(size[0], max(size), self.side), kept_aspect(size[1], max(size), self.side)
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
