"""The geometry between the pixels of a scan, the model's square and the cells of its heat-map.

Three ways in (MedCLIP-SAMv2 says "resized to 224 x 224"; the released code crops), one affine map for each side of the
scan, and its inverse:

    scan          squash      letterbox      crop
    +--------+    +----+       +----+        +----+
    |abcdefgh|    |a..h|       |a..h|      ab|cdef|gh
    |ijklmnop|    |i..p|       |0000|      ij|klmn|op
    +--------+    +----+       +----+        +----+

A pixel's centre at row i lies at (i + 1/2) * content / height + offset in the square, whose side runs from 0 to `side`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn import functional as F

from medclipsam.config import FitKind
from medclipsam.errors import BadInput
from medclipsam.types import FloatArray

Anchor = Literal["top-left", "centre"]
NARROWEST = 64
"""Longer side over shorter side beyond which a crop would see next to nothing."""


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
        reference = max(self.size) if self.kind == "letterbox" else min(self.size)
        if self.kind == "crop":
            content = int(self.side * length / reference)
            return Axis(length, content, -((content - self.side) // 2))
        content = max(1, round(self.side * length / reference))
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
