"""Layers of the embedded model on tokens and on channels-last cells, and cells from one grid to another."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class TransformerBlock(nn.Module):
    """Pre-norm self-attention and MLP."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, tokens: Tensor) -> Tensor:
        tokens = tokens + self._attend(self.norm1(tokens))
        return tokens + self.mlp(self.norm2(tokens))

    def _attend(self, tokens: Tensor) -> Tensor:
        batch, length, width = tokens.shape
        qkv = self.qkv(tokens).view(batch, length, 3, self.heads, width // self.heads)
        query, key, value = qkv.permute(2, 0, 3, 1, 4)
        mixed = F.scaled_dot_product_attention(query, key, value)
        return self.proj(mixed.transpose(1, 2).reshape(batch, length, width))


class CellBlock(nn.Module):
    """A ConvNeXt block (Liu et al., CVPR 2022) on channels-last cells."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, cells: Tensor) -> Tensor:
        mixed = self.mix(cells.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return cells + self.mlp(self.norm(mixed))


class Refinement(nn.Module):
    """Cells of one grid -> cells of the grid twice as fine, with the features that lie there."""

    def __init__(self, width: int, features: int, out_width: int, blocks: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.unfold = nn.Linear(width, 4 * out_width)
        self.skip = nn.Linear(features, out_width)
        self.blocks = nn.Sequential(*(CellBlock(out_width) for _ in range(blocks)))

    def forward(self, cells: Tensor, features: Tensor) -> Tensor:
        """(B, n, n, width) and (B, 2n, 2n, features) -> (B, 2n, 2n, out_width)."""
        return self.blocks(unfolded(self.unfold(self.norm(cells))) + self.skip(features))


def idle(block: TransformerBlock) -> TransformerBlock:
    """The block with nothing to add to its tokens."""
    for last in (block.proj, block.mlp[-1]):
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
    return block


def unfolded(cells: Tensor) -> Tensor:
    """(B, n, n, 4 C) -> (B, 2n, 2n, C): each cell becomes four."""
    batch, side = cells.shape[:2]
    return cells.view(batch, side, side, 2, 2, -1).transpose(2, 3).reshape(batch, 2 * side, 2 * side, -1)


def merged(features: Tensor, size: int) -> Tensor:
    """(B, n, n, C) -> (B, n / size, n / size, size * size * C): neighbours side by side."""
    batch, side, _, channels = features.shape
    count = side // size
    patches = features.view(batch, count, size, count, size, channels).transpose(2, 3)
    return patches.reshape(batch, count, count, size * size * channels)
