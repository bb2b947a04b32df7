"""The text-guided pixel decoder: coarse grids look at each other and at the texts, then pixels are built up from them.

    16 x 16: [self-attention, attention to texts, MLP] x rounds
       | up, + 32 x 32: [attention to texts, MLP] x rounds
                  | up, + 64 x 64: convolution -> pixel features

After the pixel decoder of tqdm (Pak et al., ECCV 2024), with plain attention in place of the deformable one. Texts
guide the two coarse grids, the deep representations; without texts the same decoder leaves that attention out.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Attention(nn.Module):
    """Multi-head attention with its norm before it, added to what asks."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm = nn.LayerNorm(width)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, asking: Tensor, asked: Tensor | None = None) -> Tensor:
        """(B, n, C) asks itself, or (B, m, C)."""
        normed = self.norm(asking)
        key, value = self.key_value(normed if asked is None else asked).chunk(2, dim=2)
        query, key, value = (
            part.unflatten(2, (self.heads, -1)).transpose(1, 2) for part in (self.query(normed), key, value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        return asking + self.out(mixed)


class Round(nn.Module):
    """One look: at itself (where the grid is small), at the texts (where it is guided), and an MLP."""

    def __init__(self, width: int, heads: int, *, itself: bool, guided: bool) -> None:
        super().__init__()
        self.itself = Attention(width, heads) if itself else None
        self.texts = Attention(width, heads) if guided else None
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, tokens: Tensor, texts: Tensor) -> Tensor:
        if self.itself is not None:
            tokens = self.itself(tokens)
        if self.texts is not None:
            tokens = self.texts(tokens, texts)
        return tokens + self.mlp(tokens)


class PixelDecoder(nn.Module):
    """Three grids of tokens, the coarsest first, to features of the finest.

    Args:
        grids: cells along a side of each grid.
        guided: whether the coarse grids look at the texts.
    """

    def __init__(self, width: int, heads: int, rounds: int, grids: tuple[int, int, int], *, guided: bool) -> None:
        super().__init__()
        self.grids = grids
        self.position = nn.Parameter(torch.randn(1, grids[0] ** 2, width) * 0.02)
        self.rounds = nn.ModuleList(
            nn.ModuleList(Round(width, heads, itself=level == 0, guided=guided) for _ in range(rounds))
            for level in range(2)
        )
        self.last = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=width), nn.Conv2d(width, width, 1), nn.GELU()
        )
        self.norm = nn.LayerNorm(width)

    def forward(self, levels: list[Tensor], texts: Tensor) -> Tensor:
        """Three of (B, grid * grid, C) and (B, K, C) -> (B, finest, finest, C)."""
        tokens = levels[0] + self.position
        for level, rounds in enumerate(self.rounds):
            for each in rounds:  # type: ignore[attr-defined]
                tokens = each(tokens, texts)
            tokens = _up(tokens, self.grids[level], self.grids[level + 1]) + levels[level + 1]
        cells = tokens.transpose(1, 2).unflatten(2, (self.grids[2], self.grids[2]))
        return self.norm((cells + self.last(cells)).permute(0, 2, 3, 1))


def _up(tokens: Tensor, grid: int, finer: int) -> Tensor:
    """(B, grid * grid, C) -> (B, finer * finer, C), bilinear."""
    cells = tokens.transpose(1, 2).unflatten(2, (grid, grid))
    return F.interpolate(cells, (finer, finer), mode="bilinear", align_corners=False).flatten(2).transpose(1, 2)
