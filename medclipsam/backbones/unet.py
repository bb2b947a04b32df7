"""A U-Net (Ronneberger et al., MICCAI 2015), with the norm and activation of nnU-Net, or batch or group norm.

pixels -> [16] ---------------------------------> [16] -> logit
           halve                                 double
               [32] ---------------------> [32]
                   [64] -------------> [64]             each box: two 3 x 3 convolutions, each with
                       [128] ---> [128]                 a norm and a rectifier
                            [256]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NormKind = Literal["instance", "batch", "group"]
"""`instance`: with leaky ReLU, as in nnU-Net; `batch`: with ReLU; `group`: in groups of channels, with leaky ReLU."""
SLOPE = 0.01
"""Negative slope of the leaky ReLU (nnU-Net)."""
GROUPS = 8
"""Groups of channels that are normalised together; widths are multiples of it."""


class UNetLevels(nn.Module):
    """A picture to features on every level.

    Args:
        widths: channels of each level, the finest first; sides must be multiples of 2 ** (levels - 1).
        channels: of the picture.
        norm: after each convolution.
    """

    def __init__(self, widths: Sequence[int], channels: int, norm: NormKind) -> None:
        super().__init__()
        self.widths = tuple(widths)
        finer, coarser = self.widths[:-1], self.widths[1:]
        self.down = nn.ModuleList(_level(*pair, norm) for pair in zip((channels, *finer), self.widths, strict=True))
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(below, width, 2, 2) for below, width in zip(coarser, finer, strict=True)
        )
        self.up = nn.ModuleList(_level(2 * width, width, norm) for width in finer)

    def levels(self, pixels: Tensor) -> list[Tensor]:
        """(B, channels, height, width) -> (B, widths[n], height / 2 ** n, width / 2 ** n) of each level n."""
        found: list[Tensor] = []
        for level, down in enumerate(self.down):
            found.append(down(F.max_pool2d(found[-1], 2) if level else pixels))
        for level in reversed(range(len(self.grow))):
            found[level] = self.up[level](torch.cat([self.grow[level](found[level + 1]), found[level]], dim=1))
        return found


class UNet(UNetLevels):
    """A picture to one logit for each pixel; see `UNetLevels`."""

    def __init__(
        self, widths: Sequence[int] = (16, 32, 64, 128, 256), channels: int = 3, norm: NormKind = "instance"
    ) -> None:
        super().__init__(widths, channels, norm)
        self.head = nn.Conv2d(self.widths[0], 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, channels, height, width) -> (B, height, width) logits."""
        return self.logits(self.features(pixels))

    def logits(self, features: Tensor) -> Tensor:
        """(B, widths[0], height, width) -> (B, height, width)."""
        return self.head(features)[:, 0]

    def features(self, pixels: Tensor) -> Tensor:
        """(B, channels, height, width) -> (B, widths[0], height, width): what the head reads."""
        return self.levels(pixels)[0]


def _level(entering: int, width: int, norm: NormKind) -> nn.Sequential:
    return nn.Sequential(*_convolution(entering, width, norm), *_convolution(width, width, norm))


def _convolution(entering: int, width: int, norm: NormKind) -> tuple[nn.Module, ...]:
    convolution = nn.Conv2d(entering, width, 3, padding=1, bias=False)
    if norm == "batch":
        return convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)
    if norm == "group":
        return convolution, nn.GroupNorm(GROUPS, width), nn.LeakyReLU(SLOPE, inplace=True)
    return convolution, nn.InstanceNorm2d(width, affine=True), nn.LeakyReLU(SLOPE, inplace=True)
