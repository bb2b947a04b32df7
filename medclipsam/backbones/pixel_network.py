"""What pixels alone show of a text: a U-Net for all texts, beside the maps on LiteMedSAM's features.

The frozen encoder's features never change for an image, and a map on them remembers its training images. This network
sees pixels that are moved and shaded anew at every step, and is right where those features are strange.

    pixels 256x256x3 --2x2--> U-Net -> 64x64  --------> cells 64x64 --product with the text--> map
                                    -> 128x128 -- mean --^    (presence and level hear this alone)
                                             '- the rest -> outline 128x128 --product with the text--> added to it
    text, as the tower embeds it --MLP--> what it looks for in both, times the share that this network counts by
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medclipsam.backbones.unet import UNetLevels

COLOURS = 3
WIDTHS = (24, 64, 96, 128, 160, 160)
"""Channels of each level of the one that comes with the package, the finest first."""
HIDDEN = 256
"""Channels of the text between its two layers."""
RARE = -3.0
"""Where the bias of a map begins: most cells show nothing of a text."""


class Sketched(NamedTuple):
    """Images as a pixel network sees them, before any text."""

    cells: Tensor
    """(B, 64, 64, widths[1] + widths[0]): the second level of the U-Net, and the means of the first."""
    outline: Tensor
    """(B, 128, 128, widths[0]): the first level, less its means."""


class Sought(NamedTuple):
    """What texts look for."""

    cells: Tensor
    """(K, widths[1] + widths[0])."""
    outline: Tensor
    """(K, widths[0])."""


class PixelNetwork(nn.Module):
    """Pixels and texts to maps.

    Args:
        widths: channels of each level of the U-Net, the finest first.
        embedding: length of a text.
    """

    def __init__(self, widths: Sequence[int], embedding: int) -> None:
        super().__init__()
        self.unet = UNetLevels(widths, 4 * COLOURS, "group")
        self.ask = nn.Sequential(nn.Linear(embedding, HIDDEN), nn.GELU(), nn.Linear(HIDDEN, widths[0] + widths[1]))
        self.bias = nn.Parameter(torch.tensor(RARE))
        self.share: Tensor
        """By which its maps count beside a tower's; 1 while it learns."""
        self.register_buffer("share", torch.ones(()))

    def sketch(self, pixels: Tensor) -> Sketched:
        """Pixels (B, 256, 256, 3) in [0, 1] -> everything that no text changes."""
        folded = F.pixel_unshuffle(2 * pixels.permute(0, 3, 1, 2) - 1, 2)
        # A norm of channels-last maps adds up in as many parts as there are threads.
        fine, coarse = (level.float() for level in self.unet.levels(folded.contiguous())[:2])
        with torch.autocast(pixels.device.type, enabled=False):  # what is left of near numbers needs all their digits
            means = F.avg_pool2d(fine, 2)
            cells, outline = torch.cat([coarse, means], dim=1), fine - doubled(means)
        return Sketched(cells.permute(0, 2, 3, 1), outline.permute(0, 2, 3, 1))

    def sought(self, text: Tensor) -> Sought:
        """Texts (K, embedding) -> what each looks for, times the share that it counts by."""
        fine, coarse = self.unet.widths[:2]
        asked = self.share * self.ask(F.normalize(text, dim=-1) * math.sqrt(text.shape[-1])).float()
        outline = asked[:, :fine] / math.sqrt(fine)
        return Sought(torch.cat([asked[:, fine:] / math.sqrt(coarse), outline], dim=-1), outline)

    def maps(self, cells: Tensor, sought: Sought) -> Tensor:
        """Cells (B, 64, 64, C) -> logits (B, K, 64, 64), times the share."""
        return torch.einsum("bhwd,kd->bkhw", cells.float(), sought.cells) + self.share * self.bias


def doubled(maps: Tensor) -> Tensor:
    """(B, C, height, width) -> (B, C, 2 height, 2 width), between the cells along straight lines."""
    return F.interpolate(maps, scale_factor=2.0, mode="bilinear", align_corners=False)
