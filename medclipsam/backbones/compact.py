"""How does the embedded model see an image in the light of a text? A small dual encoder on LiteMedSAM's features.

One encoder pass serves the saliency and the mask: `lower` is LiteMedSAM's frozen encoder and the first blocks, `upper`
the remaining blocks and the pooled embedding, so that M2IB runs here as it does on BiomedCLIP. A light decoder turns
the last tokens into one embedding for each cell of a 32x32 grid; its cosine with the text is the dense map.

    features 32x32x256 --2x2--> tokens 16x16 -> blocks -> pooled embedding --- cosine with the text -> image-text score
          '----------------------- skip ---------------> cells 32x32 -------- cosine with the text -> logits -> presence
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GRID = 32
FEATURES = 256
SENTENCE = 384
EVIDENCE_CELLS = 8


@dataclass(frozen=True, kw_only=True)
class CompactShape:
    """Sizes of the trained part; stored beside the weights."""

    width: int = 256
    """Channels of a token."""
    blocks: int = 4
    """Transformer blocks on the 16x16 tokens."""
    heads: int = 8
    """Attention heads of a block."""
    fine: int = 128
    """Channels of a cell of the 32x32 grid."""
    embedding: int = 256
    """Length of the joint embedding."""

    def as_dict(self) -> dict[str, int]:
        return asdict(self)


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
        scores = query @ key.transpose(-2, -1) * (width // self.heads) ** -0.5
        mixed = scores.softmax(dim=-1).to(value.dtype) @ value
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


class CompactTower(nn.Module):
    """Image and text heads; everything that is trained."""

    def __init__(self, shape: CompactShape) -> None:
        super().__init__()
        self.shape = shape
        width, fine, joint = shape.width, shape.fine, shape.embedding
        self.enter = nn.Linear(4 * FEATURES, width)
        self.position = nn.Parameter(torch.randn(1, (GRID // 2) ** 2, width) * 0.02)
        self.blocks = nn.ModuleList(TransformerBlock(width, shape.heads) for _ in range(shape.blocks))
        self.norm = nn.LayerNorm(width)
        self.attention = nn.Linear(width, 1)
        self.pooled = nn.Linear(width, joint)
        self.unfold = nn.Linear(width, 4 * fine)
        self.skip = nn.Linear(FEATURES, fine)
        self.cells = nn.Sequential(CellBlock(fine), CellBlock(fine), nn.LayerNorm(fine), nn.Linear(fine, joint))
        self.text = nn.Sequential(nn.Linear(SENTENCE, 512), nn.GELU(), nn.Linear(512, joint))
        self.text_skip = nn.Linear(SENTENCE, joint)
        self.dense_scale = nn.Parameter(torch.tensor(2.5))
        self.dense_bias = nn.Parameter(torch.tensor(-4.0))
        self.presence = nn.Linear(2, 1)

    def reduce(self, encoding: Tensor) -> Tensor:
        """LiteMedSAM's (B, 256, 64, 64) -> the tower's features (B, 32, 32, 256)."""
        return F.avg_pool2d(encoding, encoding.shape[-1] // GRID).permute(0, 2, 3, 1)

    def tokens(self, features: Tensor, blocks: int) -> Tensor:
        """(B, 32, 32, 256) -> (B, 256, width) after the first `blocks` blocks."""
        batch = len(features)
        merged = features.view(batch, GRID // 2, 2, GRID // 2, 2, FEATURES).transpose(2, 3)
        tokens = self.enter(merged.reshape(batch, -1, 4 * FEATURES)) + self.position
        return self.advance(tokens, 0, blocks)

    def advance(self, tokens: Tensor, start: int, stop: int) -> Tensor:
        """Run blocks start..stop-1."""
        for block in self.blocks[start:stop]:
            tokens = block(tokens)
        return tokens

    def pool(self, tokens: Tensor) -> Tensor:
        """(B, 256, width) -> (B, embedding): attention pooling, not normalised."""
        tokens = self.norm(tokens)
        weights = self.attention(tokens).softmax(dim=1)
        return self.pooled((weights * tokens).sum(dim=1))

    def cell_embeddings(self, tokens: Tensor, features: Tensor) -> Tensor:
        """Last tokens (B, 256, width) and features -> (B, 32, 32, embedding), unit length."""
        batch, half = len(tokens), GRID // 2
        unfolded = self.unfold(self.norm(tokens)).view(batch, half, half, 2, 2, -1).transpose(2, 3)
        cells = unfolded.reshape(batch, GRID, GRID, -1) + self.skip(features)
        return F.normalize(self.cells(cells).float(), dim=-1)

    def embed_text(self, sentences: Tensor) -> Tensor:
        """(n, 384) sentence vectors -> (n, embedding), not normalised."""
        return self.text(sentences) + self.text_skip(sentences)

    def dense_logits(self, cells: Tensor, text: Tensor) -> Tensor:
        """Unit cells (B, 32, 32, D) and text (K, D) -> (B, K, 32, 32): does this cell show what the text names?"""
        cosine = torch.einsum("bhwd,kd->bkhw", cells, F.normalize(text.float(), dim=-1))
        return self.dense_scale.exp() * cosine + self.dense_bias

    def presence_logits(self, dense: Tensor, pooled: Tensor, text: Tensor) -> Tensor:
        """(B, K): is it anywhere in the image? From the strongest cells and the image-text cosine."""
        strongest = dense.flatten(2).topk(EVIDENCE_CELLS, dim=-1).values.mean(-1)
        overall = F.normalize(pooled.float(), dim=-1) @ F.normalize(text.float(), dim=-1).T
        return self.presence(torch.stack([strongest, 10 * overall], dim=-1)).squeeze(-1)
