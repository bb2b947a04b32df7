"""The embedded model's networks: a small dual encoder of image and text on LiteMedSAM's features.

One encoder pass serves the saliency and the mask: `lower` is LiteMedSAM's frozen encoder and the first blocks, `upper`
the remaining blocks and the pooled embedding, so that M2IB runs here as it does on BiomedCLIP. A light decoder turns
the last tokens into one embedding for each cell of a 64x64 grid; its cosine with the text is the dense map.

    encoding 64x64x256 -> features 64x64x128 --4x4--> tokens 16x16 -> blocks -> pooled --cosine with the text--> score
                             |          '----2x2----> cells 32x32  (finer)
                             '----------------------> cells 64x64  --cosine with the text--> dense map
    the strongest cells of the dense map -> presence, and the map's threshold

A tower may have an elder: the cells of an earlier training, on fewer targets, which answer beside it about those that
they know better (Hansen and Salamon, TPAMI 1990: networks that were trained apart err apart).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

GRID = 64
COARSE = 16
ENCODER_CHANNELS = 256
CHANNELS = 128
"""Principal axes of the encoder's channels that the tower reads."""
SENTENCE = 384
ELDER = 0.5
"""Share of an elder in the answer about a target that it knows."""


@dataclass(frozen=True, kw_only=True)
class CompactShape:
    """Sizes of the trained part; stored beside the weights."""

    width: int = 256
    """Channels of a token."""
    blocks: int = 3
    """Transformer blocks on the 16x16 tokens."""
    heads: int = 8
    """Attention heads of a block."""
    fine: int = 128
    """Channels of a cell of the 32x32 grid."""
    detail: int = 64
    """Channels of a cell of the 64x64 grid."""
    embedding: int = 128
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


class Presence(nn.Module):
    """Is it anywhere in the image? From the strongest cells of its map alone.

    It sees no text and no image, so that it can learn how much evidence is enough, but not which answers are common.
    The cosine of text and pooled image was tried beside the cells; on validation images it hid right ventricles.
    """

    STRONGEST = (32, 128, 512)
    """Cells whose mean similarity counts: a small spot, a lesion, an organ."""

    def __init__(self) -> None:
        super().__init__()
        self.judge = nn.Sequential(nn.Linear(len(self.STRONGEST), 32), nn.GELU(), nn.Linear(32, 1))

    def evidence(self, similarity: Tensor) -> Tensor:
        """Scaled cosines (B, K, 64, 64) -> (B, K, 3)."""
        ordered = similarity.flatten(2).topk(max(self.STRONGEST), dim=-1).values
        return torch.stack([ordered[..., :count].mean(-1) for count in self.STRONGEST], dim=-1)

    def forward(self, evidence: Tensor) -> Tensor:
        """(..., 3) -> logits (...)."""
        return self.judge(evidence).squeeze(-1)


class CompactCells(nn.Module):
    """From features to one embedding for each cell, and what these say of the embedding of a text."""

    def __init__(self, shape: CompactShape) -> None:
        super().__init__()
        self.shape = shape
        width, joint = shape.width, shape.embedding
        self.enter = nn.Linear(16 * CHANNELS, width)
        self.position = nn.Parameter(torch.randn(1, COARSE**2, width) * 0.02)
        self.blocks = nn.ModuleList(TransformerBlock(width, shape.heads) for _ in range(shape.blocks))
        self.middle = Refinement(width, 4 * CHANNELS, shape.fine, blocks=2)
        self.finest = Refinement(shape.fine, CHANNELS, shape.detail, blocks=1)
        self.cells = nn.Sequential(nn.LayerNorm(shape.detail), nn.Linear(shape.detail, joint))
        self.dense_scale = nn.Parameter(torch.tensor(2.5))
        self.dense_bias = nn.Parameter(torch.tensor(-4.0))
        self.presence = Presence()
        self.level = nn.Linear(len(Presence.STRONGEST), 1)
        for parameter in self.level.parameters():
            nn.init.zeros_(parameter)

    def view(self, features: Tensor) -> Tensor:
        """(B, 64, 64, 128) -> (B, 64, 64, embedding), unit length: everything that no text changes."""
        return self.cell_embeddings(self.tokens(features, self.shape.blocks), features)

    def answer(self, cells: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """Cells of `view` and texts (K, embedding) -> maps (B, K, 64, 64) above their thresholds, presence logits
        (B, K)."""
        dense = self.dense_logits(cells, text)
        return self.settled(dense), self.presence_logits(dense)

    def tokens(self, features: Tensor, blocks: int) -> Tensor:
        """(B, 64, 64, 128) -> (B, 256, width) after the first `blocks` blocks."""
        tokens = self.enter(merged(features, GRID // COARSE).flatten(1, 2)) + self.position
        return self.advance(tokens, 0, blocks)

    def advance(self, tokens: Tensor, start: int, stop: int) -> Tensor:
        """Run blocks start..stop-1."""
        for block in self.blocks[start:stop]:
            tokens = block(tokens)
        return tokens

    def cell_embeddings(self, tokens: Tensor, features: Tensor) -> Tensor:
        """Last tokens (B, 256, width) and features -> (B, 64, 64, embedding), unit length."""
        cells = self.middle(tokens.unflatten(1, (COARSE, COARSE)), merged(features, 2))
        return F.normalize(self.cells(self.finest(cells, features)).float(), dim=-1)

    def dense_logits(self, cells: Tensor, text: Tensor) -> Tensor:
        """Unit cells (B, 64, 64, D) and text (K, D) -> (B, K, 64, 64): does this cell show what the text names?"""
        cosine = torch.einsum("bhwd,kd->bkhw", cells, F.normalize(text.float(), dim=-1))
        return self.dense_scale.exp() * cosine + self.dense_bias

    def evidence(self, dense: Tensor) -> Tensor:
        """Dense logits (B, K, 64, 64) -> (B, K, 3): what presence is judged by; no calibration of the map moves it."""
        return self.presence.evidence(dense - self.dense_bias)

    def settled(self, dense: Tensor) -> Tensor:
        """(B, K, 64, 64) -> the same above each map's own threshold, which its strongest cells set: 0 is where to
        decide."""
        return dense - self.level(self.evidence(dense))[..., None]

    def presence_logits(self, dense: Tensor) -> Tensor:
        """Dense logits (B, K, 64, 64) -> (B, K): is it in the image?"""
        return self.presence(self.evidence(dense))


class Elder(nn.Module):
    """Cells of an earlier training, and the texts that they are asked about."""

    def __init__(self, shape: CompactShape, count: int) -> None:
        super().__init__()
        self.eyes = CompactCells(shape)
        self.named: Tensor
        self.meanings: Tensor
        self.register_buffer("named", torch.zeros(count))
        """(n,): numbers of its targets, as in `CompactTower.named`."""
        self.register_buffer("meanings", torch.zeros(count, shape.embedding))
        """(n, embedding), unit length: what their names mean to it."""


class CompactTower(CompactCells):
    """Image and text heads; everything that is trained, and the axes that were fitted before."""

    def __init__(self, shape: CompactShape, elder: Elder | None = None) -> None:
        super().__init__(shape)
        width, joint = shape.width, shape.embedding
        self.mean: Tensor
        self.axes: Tensor
        self.register_buffer("mean", torch.zeros(ENCODER_CHANNELS))
        self.register_buffer("axes", torch.eye(ENCODER_CHANNELS, CHANNELS))
        self.norm = nn.LayerNorm(width)
        self.attention = nn.Linear(width, 1)
        self.pooled = nn.Linear(width, joint)
        self.sentence_mean: Tensor
        self.sentence_axes: Tensor
        self.register_buffer("sentence_mean", torch.zeros(SENTENCE))
        self.register_buffer("sentence_axes", torch.eye(SENTENCE))
        self.known: Tensor
        self.named: Tensor
        self.register_buffer("known", torch.zeros(0, SENTENCE))
        self.register_buffer("named", torch.zeros(0))
        self.text = nn.Sequential(nn.Linear(SENTENCE, 512), nn.GELU(), nn.Linear(512, joint))
        self.text_skip = nn.Linear(SENTENCE, joint)
        self.elder = elder

    def know(self, sentences: Tensor, named: Tensor | None = None) -> None:
        """Take the sentences that were taught.

        Args:
            sentences: (n, 384).
            named: (n,): number of the one target that each names, -1 where it names none or several; None: not known.
        """
        self.known = sentences.clone()
        self.named = torch.full((len(sentences),), -1.0) if named is None else named.float()

    def reduce(self, encoding: Tensor) -> Tensor:
        """LiteMedSAM's (B, 256, 64, 64) -> the tower's features (B, 64, 64, 128)."""
        return (encoding.permute(0, 2, 3, 1) - self.mean) @ self.axes

    def pool(self, tokens: Tensor) -> Tensor:
        """(B, 256, width) -> (B, embedding): attention pooling, not normalised."""
        tokens = self.norm(tokens)
        weights = self.attention(tokens).softmax(dim=1)
        return self.pooled((weights * tokens).sum(dim=1))

    def embed_text(self, sentences: Tensor) -> Tensor:
        """(n, 384) sentence vectors -> (n, embedding), not normalised."""
        turned = (sentences - self.sentence_mean) @ self.sentence_axes
        return self.text(turned) + self.text_skip(turned)

    def view(self, features: Tensor) -> Tensor:
        """See `CompactCells.view`; with an elder (B, 64, 64, 2 embedding), its cells behind one's own."""
        own = super().view(features)
        return own if self.elder is None else torch.cat([own, self.elder.eyes.view(features)], dim=-1)

    def answer(self, cells: Tensor, text: Tensor) -> tuple[Tensor, Tensor]:
        """See `CompactCells.answer`; with an elder the mean of both, its share as long as the text's second half.

        A map counts as much as who drew it believes that the target is there.

        Args:
            cells: of `view`.
            text: (K, embedding) or, with an elder, (K, 2 embedding), the second half as long as the first or shorter.
        """
        if self.elder is None:
            return super().answer(cells, text)
        (own, others), (mine, theirs) = cells.chunk(2, dim=-1), text.chunk(2, dim=-1)
        (drawn, there), (older, earlier) = super().answer(own, mine), self.elder.eyes.answer(others, theirs)
        share = ELDER * (theirs.norm(dim=-1) / mine.norm(dim=-1)).clamp(max=1)
        weight = share * earlier.sigmoid()
        weight = weight / (weight + (1 - share) * there.sigmoid())
        return torch.lerp(drawn, older, weight[..., None, None]), torch.lerp(there, earlier, share.expand_as(there))


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
