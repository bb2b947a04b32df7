"""From patches and a sentence to mask logits: the paper's upscaling head, and one that also sees finer features.

    paper     14x14 unit patches --twice: x2, GELU, 3x3, norm--> 56x56            dot product with the sentence's
    fine      16x16 tokens --x2 + 32x32--> --x2 + 64x64--> --x2 + pixels--> 128   kernel at every place

The paper's block is EoMT's (Kerssies et al., CVPR 2025); names are those of the released checkpoints.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import TypeVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medclipsam.backbones.cells import Refinement, merged, unfolded
from medclipsam.backbones.compact import COARSE, CompactTower
from medclipsam.networks.contract import Inputs
from medclipsam.networks.medclipseg.embedded import features_of, pixels_of
from medclipsam.networks.medclipseg.towers import Widths

Part = TypeVar("Part", bound=nn.Module)
Beside = tuple[Tensor, ...]
"""What no noise changes, of each row: (R, ...)."""


class Head(nn.Module, ABC):
    """The contract of both."""

    def beside(self, inputs: Inputs) -> Beside:
        """What the head takes of an image beside its tokens, of each row."""
        return ()

    @abstractmethod
    def forward(self, tokens: Tensor, patches: Tensor, sentence: Tensor, beside: Beside) -> Tensor:
        """Logits of the mask.

        Args:
            tokens: (samples, R, n, width) after the last block.
            patches: (samples, R, rows * columns, joint).
            sentence: (samples, R, joint).

        Returns:
            (samples, R, rows, columns), of any resolution.
        """


class PaperHead(Head):
    """Unit patches, upscaled four times; logits are enlarged to the image's square."""

    def __init__(self, widths: Widths, side: int) -> None:
        super().__init__()
        self.grid, self.side = widths.grid, side
        self.mask_head = sentence_head(widths.joint, widths.joint)
        self.upscale = nn.Sequential(ScaleBlock(widths.joint), ScaleBlock(widths.joint))

    def forward(self, tokens: Tensor, patches: Tensor, sentence: Tensor, beside: Beside) -> Tensor:
        """See the contract: as many rows and columns as the square."""
        kernels = self.mask_head(F.normalize(sentence, dim=-1))
        parts = [
            self._logits(*each) for each in zip(patches, kernels, strict=True)
        ]  # maps are large: one sample at once
        return F.interpolate(torch.stack(parts), (self.side, self.side), mode="bilinear", align_corners=False)

    def _logits(self, patches: Tensor, kernels: Tensor) -> Tensor:
        """One sample: patches (R, rows * columns, joint) and kernels (R, joint) -> (R, 4 rows, 4 columns)."""
        maps = F.normalize(patches, dim=-1).transpose(1, 2).unflatten(2, self.grid)
        upscaled = self.upscale(maps)
        return torch.einsum("rcyx,rc->ryx", upscaled, kernels.to(upscaled.dtype)).float()


class FineHead(Head):
    """The embedded CLIP's own decoder, trained further, and a finer map that also sees the pixels.

    It starts as the embedded CLIP without its pixel network: the dense map for the sentence, without a correction.

    Args:
        tower: whose decoder is copied.
        edge: channels of the finer map.
    """

    def __init__(self, tower: CompactTower, edge: int = 16) -> None:
        super().__init__()
        joint, detail = tower.shape.embedding, tower.shape.detail
        self.grid = (COARSE, COARSE)
        self.middle, self.finest = _own(tower.middle), _own(tower.finest)
        self.cells = _own(tower.cells)
        self.scale = nn.Parameter(tower.dense_scale.detach().clone())
        self.bias = nn.Parameter(tower.dense_bias.detach().clone())
        self.mask_head = sentence_head(joint, joint + edge)
        self.pixels = nn.Sequential(nn.Conv2d(3, edge, 3, stride=2, padding=1), nn.GELU(), nn.Conv2d(edge, edge, 1))
        self.unfold = nn.Linear(detail, 4 * edge)
        self.mix = nn.Conv2d(edge, edge, 3, padding=1)
        for weight in list(self.mask_head.parameters())[-2:]:
            nn.init.zeros_(weight)

    def beside(self, inputs: Inputs) -> Beside:
        """What features at 32 and 64 cells a side, and pixels at 128, add to the cells there; channels last."""
        features = features_of(inputs)
        pixels = self.pixels(pixels_of(inputs) * 2 - 1).permute(0, 2, 3, 1)
        skips = self.middle.skip(merged(features, 2)), self.finest.skip(features), pixels
        chosen = inputs.image_of
        return skips if len(chosen) == len(features) else tuple(each[chosen] for each in skips)

    def forward(self, tokens: Tensor, patches: Tensor, sentence: Tensor, beside: Beside) -> Tensor:
        """See the contract: 128 rows and columns."""
        middle, fine, pixels = beside
        words = F.normalize(sentence.float(), dim=-1).flatten(0, 1)
        kernels = self.mask_head(words).float()
        joint = words.shape[-1]
        cells = _finer(self.middle, tokens.flatten(0, 1).unflatten(1, self.grid), middle)
        cells = _finer(self.finest, cells, fine)
        dense = self._dense(cells, F.normalize(words + kernels[:, :joint], dim=-1))
        edges = F.gelu(_beside(unfolded(self.unfold(cells)), pixels))
        edges = edges + F.gelu(self.mix(edges.permute(0, 3, 1, 2)).permute(0, 2, 3, 1))
        correction = (edges.flatten(1, 2) @ kernels[:, joint:, None].to(edges.dtype)).float()[..., 0]
        side = edges.shape[1]
        dense = F.interpolate(dense[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0]
        return (dense + correction.unflatten(1, (side, side))).unflatten(0, tokens.shape[:2])

    def _dense(self, cells: Tensor, words: Tensor) -> Tensor:
        """Cells (B, n, n, detail) and unit words (B, joint) -> (B, n, n): scaled cosines."""
        projected = self.cells(cells)
        length = projected.float().square().sum(dim=-1).clamp_min(1e-12).sqrt()
        product = (projected.flatten(1, 2) @ words[..., None].to(projected.dtype)).float().view(length.shape)
        return self.scale.exp() * product / length + self.bias


def _own(part: Part) -> Part:
    """A copy that is trained."""
    return copy.deepcopy(part).requires_grad_(True)


def _finer(refinement: Refinement, cells: Tensor, skip: Tensor) -> Tensor:
    """What a refinement makes of cells (samples * R, n, n, width) and the skip (R, 2n, 2n, out) of each row."""
    return refinement.blocks(_beside(unfolded(refinement.unfold(refinement.norm(cells))), skip))


def _beside(cells: Tensor, skip: Tensor) -> Tensor:
    """Add what each row's image says to all of its samples."""
    return (cells.reshape(-1, *skip.shape) + skip).flatten(0, 1)


class ScaleBlock(nn.Module):
    """(B, C, n, n) -> (B, C, 2n, 2n)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.ConvTranspose2d(width, width, 2, 2)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1, groups=width, bias=False)
        self.norm = ChannelNorm(width, eps=1e-6)

    def forward(self, maps: Tensor) -> Tensor:
        """Twice as fine."""
        return self.norm(self.conv2(F.gelu(self.conv1(maps))))


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of (B, C, rows, columns)."""

    def forward(self, maps: Tensor) -> Tensor:
        """The same shape."""
        return super().forward(maps.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def sentence_head(width: int, out: int) -> nn.Sequential:
    """Sentence (B, width) -> kernel (B, out) of the mask's dot product."""
    return nn.Sequential(nn.Linear(width, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, out))
