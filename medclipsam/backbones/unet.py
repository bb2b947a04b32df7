"""A small U-Net (Ronneberger et al., MICCAI 2015; norm and activation as in nnU-Net).

pixels -> [16] ---------------------------------> [16] -> logit
           halve                                 double
               [32] ---------------------> [32]
                   [64] -------------> [64]             each box: two 3 x 3 convolutions, each with
                       [128] ---> [128]                 instance norm and leaky ReLU
                            [256]
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.01
"""Negative slope of the leaky ReLU (nnU-Net)."""


class UNet(nn.Module):
    """A picture to one logit for each pixel.

    Args:
        widths: channels of each level, the finest first; sides must be multiples of 2 ** (levels - 1).
        channels: of the picture.
    """

    def __init__(self, widths: Sequence[int] = (16, 32, 64, 128, 256), channels: int = 3) -> None:
        super().__init__()
        self.widths = tuple(widths)
        finer, coarser = self.widths[:-1], self.widths[1:]
        self.down = nn.ModuleList(_level(*pair) for pair in zip((channels, *finer), self.widths, strict=True))
        self.grow = nn.ModuleList(
            nn.ConvTranspose2d(below, width, 2, 2) for below, width in zip(coarser, finer, strict=True)
        )
        self.up = nn.ModuleList(_level(2 * width, width) for width in finer)
        self.head = nn.Conv2d(self.widths[0], 1, 1)

    def forward(self, pixels: Tensor) -> Tensor:
        """(B, channels, height, width) -> (B, height, width) logits."""
        seen: list[Tensor] = []
        for level, down in enumerate(self.down):
            pixels = down(F.max_pool2d(pixels, 2) if level else pixels)
            seen.append(pixels)
        for level in reversed(range(len(self.grow))):
            pixels = self.up[level](torch.cat([self.grow[level](pixels), seen[level]], dim=1))
        return self.head(pixels)[:, 0]


def _level(entering: int, width: int) -> nn.Sequential:
    return nn.Sequential(*_convolution(entering, width), *_convolution(width, width))


def _convolution(entering: int, width: int) -> tuple[nn.Module, ...]:
    norm = nn.InstanceNorm2d(width, affine=True)
    return nn.Conv2d(entering, width, 3, padding=1, bias=False), norm, nn.LeakyReLU(SLOPE, inplace=True)
