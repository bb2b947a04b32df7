"""The embedded model's networks: a small dual encoder of image and text on LiteMedSAM's features.

One encoder pass serves the saliency and the mask: `lower` is LiteMedSAM's frozen encoder and the first blocks, `upper`
the remaining blocks and the pooled embedding, so that M2IB runs here as it does on BiomedCLIP. A light decoder turns
the last tokens into one embedding for each cell of a 64x64 grid; its cosine with the text is the dense map. What is
smaller than such a cell is drawn with the pixels in view, on a grid twice as fine.

    encoding 64x64x256 -> features 64x64x128 --4x4--> tokens 16x16 -> blocks -> pooled --cosine with the text--> score
                             |          '----2x2----> cells 32x32  (finer)
                             '----------------------> cells 64x64  --cosine with the text--> dense map
    pixels 256x256x3 --2x2--> outline 128x128 (finer) --product with the text--> added to the dense map
                     --U-Net (pixel_network)----------product with the text--> added too, where there is one
    the strongest cells of the dense map -> presence, and the map's threshold
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medclipsam.backbones.cells import Refinement, TransformerBlock, idle, merged
from medclipsam.backbones.pixel_network import COLOURS, PixelNetwork, Sketched, doubled

GRID = 64
OUTLINE = 128
"""Cells of an outline, and of a finished map, along one side of the square."""
COARSE = 16
ENCODER_CHANNELS = 256
CHANNELS = 128
"""Principal axes of the encoder's channels that the tower reads."""
SENTENCE = 384


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
    outline: int = 32
    """Channels of a cell of the 128x128 grid."""
    pixels: tuple[int, ...] = ()
    """Channels of each level of the pixel network, the finest first; empty: there is none."""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Presence(nn.Module):
    """Is it anywhere in the image? From the strongest cells of its map alone.

    It sees no text and no image, so that it can learn how much evidence is enough, but not which answers are common.
    The cosine of text and pooled image was tried beside the cells; on validation images it hid right ventricles.
    """

    STRONGEST = (32, 128, 512)
    """Cells whose mean similarity counts: a small spot, a lesion, an organ."""

    def __init__(self, networks: int = 1) -> None:
        super().__init__()
        self.judge = nn.Sequential(nn.Linear(networks * len(self.STRONGEST), 32), nn.GELU(), nn.Linear(32, 1))

    def evidence(self, similarity: Tensor) -> Tensor:
        """Maps (..., 64, 64) -> (..., 3)."""
        ordered = similarity.flatten(-2).topk(max(self.STRONGEST), dim=-1).values
        return torch.stack([ordered[..., :count].mean(-1) for count in self.STRONGEST], dim=-1)

    def forward(self, evidence: Tensor) -> Tensor:
        """(..., 3 for each network) -> logits (...)."""
        return self.judge(evidence).squeeze(-1)


class Outline(nn.Module):
    """What the pixels add to a map: where a structure ends, and what is smaller than a cell.

    Untrained it adds nothing.
    """

    def __init__(self, shape: CompactShape) -> None:
        super().__init__()
        self.refine = Refinement(shape.detail, 4 * COLOURS, shape.outline, blocks=2)
        self.ask = nn.Linear(shape.embedding, shape.outline, bias=False)
        nn.init.zeros_(self.ask.weight)

    def forward(self, details: Tensor, pixels: Tensor) -> Tensor:
        """(B, 64, 64, detail) and pixels (B, 256, 256, 3) in [0, 1] -> (B, 128, 128, outline)."""
        return self.refine(details, merged(2 * pixels - 1, 2))

    def asked(self, text: Tensor) -> Tensor:
        """Texts (K, embedding) -> (K, outline): what each looks for in an outline."""
        return self.ask(F.normalize(text.float(), dim=-1)).float()


class Seen(NamedTuple):
    """Images as a tower sees them, before any text."""

    cells: Tensor
    """(B, 64, 64, embedding), unit length; behind them, where there is a pixel network, its cells."""
    outline: Tensor
    """(B, 128, 128, outline); behind it that of the pixel network."""

    def beside(self, sketched: Sketched | None) -> Seen:
        """The same images with what a pixel network sees of them; None: there is none."""
        if sketched is None:
            return self
        return Seen(*(torch.cat([own, drawn.float()], dim=-1) for own, drawn in zip(self, sketched, strict=True)))


class CompactTower(nn.Module):
    """Image and text heads; everything that is trained, and the axes that were fitted before."""

    def __init__(self, shape: CompactShape) -> None:
        super().__init__()
        self.shape = shape
        self.mean: Tensor
        self.axes: Tensor
        self.register_buffer("mean", torch.zeros(ENCODER_CHANNELS))
        self.register_buffer("axes", torch.eye(ENCODER_CHANNELS, CHANNELS))
        width, joint = shape.width, shape.embedding
        self.enter = nn.Linear(16 * CHANNELS, width)
        self.position = nn.Parameter(torch.randn(1, COARSE**2, width) * 0.02)
        self.blocks = nn.ModuleList(TransformerBlock(width, shape.heads) for _ in range(shape.blocks))
        self.middle = Refinement(width, 4 * CHANNELS, shape.fine, blocks=2)
        self.finest = Refinement(shape.fine, CHANNELS, shape.detail, blocks=1)
        self.cells = nn.Sequential(nn.LayerNorm(shape.detail), nn.Linear(shape.detail, joint))
        self.outline = Outline(shape)
        self.pixels: PixelNetwork | None = PixelNetwork(shape.pixels, joint) if shape.pixels else None
        self.dense_scale = nn.Parameter(torch.tensor(2.5))
        self.dense_bias = nn.Parameter(torch.tensor(-4.0))
        networks = 1 + bool(shape.pixels)
        self.presence = Presence(networks)
        self.level = silent(networks * len(Presence.STRONGEST))
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
        self.says_left: Tensor
        self.register_buffer("says_left", torch.zeros(SENTENCE))
        self.text = nn.Sequential(nn.Linear(SENTENCE, 512), nn.GELU(), nn.Linear(512, joint))
        self.text_skip = nn.Linear(SENTENCE, joint)

    def grow(self, blocks: int) -> None:
        """Add transformer blocks up to so many; they do nothing until they are trained."""
        added = [idle(TransformerBlock(self.shape.width, self.shape.heads)) for _ in range(len(self.blocks), blocks)]
        self.blocks.extend(added)
        self.shape = replace(self.shape, blocks=len(self.blocks))

    def take(self, pixels: PixelNetwork | None) -> None:
        """Have the maps of this pixel network added, by its share; None: of none. No head hears of it yet."""
        self.pixels = pixels
        self.shape = replace(self.shape, pixels=pixels.unet.widths if pixels else ())
        own = len(Presence.STRONGEST)
        self.presence.judge[0], self.level = (
            _hearing(layer, own, added=own * bool(pixels)) for layer in (self.presence.judge[0], self.level)
        )

    def know(self, sentences: Tensor, named: Tensor | None = None, sides: Tensor | None = None) -> None:
        """Take the sentences that were taught.

        Args:
            sentences: (n, 384).
            named: (n,): number of the one target that each names, -1 where it names none or several; None: not known.
            sides: (n,): 1 of a sentence that says left, -1 of one that says right, 0 of others; None: not known.
        """
        self.known = sentences.clone()
        self.named = torch.full((len(sentences),), -1.0) if named is None else named.float()
        self.says_left = torch.zeros(SENTENCE) if sides is None else says_left_of(sentences, sides)

    def reduce(self, encoding: Tensor) -> Tensor:
        """LiteMedSAM's (B, 256, 64, 64) -> the tower's features (B, 64, 64, 128)."""
        return (encoding.permute(0, 2, 3, 1) - self.mean) @ self.axes

    def view(self, features: Tensor, pixels: Tensor) -> Seen:
        """(B, 64, 64, 128) and (B, 256, 256, 3) in [0, 1] -> everything that no text changes."""
        return self.alone(features, pixels).beside(self.sketch(pixels))

    def alone(self, features: Tensor, pixels: Tensor) -> Seen:
        """The same without the pixel network."""
        return self.own(self.tokens(features, self.shape.blocks), features, pixels)

    def answer(self, seen: Seen, text: Tensor) -> tuple[Tensor, Tensor]:
        """What `view` gave and texts (K, embedding) -> maps (B, K, 128, 128) above their thresholds, presence logits
        (B, K)."""
        dense = self.dense_logits(seen.cells, text)
        return outlined(self.settled(dense), self.strokes(seen.outline, text)), self.presence_logits(dense)

    def tokens(self, features: Tensor, blocks: int) -> Tensor:
        """(B, 64, 64, 128) -> (B, 256, width) after the first `blocks` blocks."""
        tokens = self.enter(merged(features, GRID // COARSE).flatten(1, 2)) + self.position
        return self.advance(tokens, 0, blocks)

    def advance(self, tokens: Tensor, start: int, stop: int) -> Tensor:
        """Run blocks start..stop-1."""
        for block in self.blocks[start:stop]:
            tokens = block(tokens)
        return tokens

    def own(self, tokens: Tensor, features: Tensor, pixels: Tensor) -> Seen:
        """Last tokens (B, 256, width), features and pixels -> everything that no text changes, without the pixel
        network."""
        cells = self.middle(tokens.unflatten(1, (COARSE, COARSE)), merged(features, 2))
        details = self.finest(cells, features)
        return Seen(F.normalize(self.cells(details).float(), dim=-1), self.outline(details, pixels))

    def sketch(self, pixels: Tensor) -> Sketched | None:
        """What the pixel network sees in pixels (B, 256, 256, 3); None where there is none."""
        return None if self.pixels is None else self.pixels.sketch(pixels)

    def dense_logits(self, cells: Tensor, text: Tensor) -> Tensor:
        """Cells (B, 64, 64, C) and texts (K, embedding) -> (B, K, N, 64, 64): does this cell show what the text names?

        Of N networks, whose sum is the answer: the tower, and the pixel network where the cells have what it sees.
        """
        own, drawn = cells[..., : self.shape.embedding], cells[..., self.shape.embedding :]
        cosine = torch.einsum("bhwd,kd->bkhw", own, F.normalize(text.float(), dim=-1))
        dense = self.dense_scale.exp() * cosine + self.dense_bias
        if self.pixels is None or not drawn.shape[-1]:
            return dense[:, :, None]
        return torch.stack([dense, self.pixels.maps(drawn, self.pixels.sought(text))], dim=2)

    def asked(self, text: Tensor) -> Tensor:
        """Texts (K, embedding) -> (K, channels of `Seen.outline`): what each looks for in the outlines."""
        own = self.outline.asked(text)
        return own if self.pixels is None else torch.cat([own, self.pixels.sought(text).outline], dim=-1)

    def strokes(self, outline: Tensor, text: Tensor) -> Tensor:
        """(B, 128, 128, C) and texts (K, embedding) -> what is added to their maps (B, K, 128, 128)."""
        return torch.einsum("bhwd,kd->bkhw", outline.float(), self.asked(text)[:, : outline.shape[-1]])

    def evidence(self, dense: Tensor) -> Tensor:
        """Dense logits (B, K, N, 64, 64) -> (B, K, 3 N): what presence is judged by; no calibration of the map moves
        it."""
        bias = F.pad(self.dense_bias[None, None], (0, 0, 0, dense.shape[2] - 1))
        return (self.presence.evidence(dense) - bias).flatten(-2)

    def settled(self, dense: Tensor) -> Tensor:
        """(B, K, N, 64, 64) -> (B, K, 64, 64), their sum above each map's own threshold, which the strongest cells set:
        0 is where to decide."""
        return dense.sum(dim=2) - self.level(self.evidence(dense))[..., None]

    def presence_logits(self, dense: Tensor) -> Tensor:
        """Dense logits (B, K, N, 64, 64) -> (B, K): is it in the image?"""
        return self.presence(self.evidence(dense))

    def pool(self, tokens: Tensor) -> Tensor:
        """(B, 256, width) -> (B, embedding): attention pooling, not normalised."""
        tokens = self.norm(tokens)
        weights = self.attention(tokens).softmax(dim=1)
        return self.pooled((weights * tokens).sum(dim=1))

    def embed_text(self, sentences: Tensor) -> Tensor:
        """(n, 384) sentence vectors -> (n, embedding), not normalised."""
        turned = (sentences - self.sentence_mean) @ self.sentence_axes
        return self.text(turned) + self.text_skip(turned)


def says_left_of(sentences: Tensor, sides: Tensor) -> Tensor:
    """(384,): the direction along which sentences that say left lie near 1 and those that say right near -1.

    Ridge regression; those that say a side weigh together as much as all others. Zero where none says one.

    Args:
        sentences: (n, 384).
        sides: (n,), see `CompactTower.know`.
    """
    vectors, sides = F.normalize(sentences.double(), dim=-1), sides.double()
    others, said = int((sides == 0).sum()), int((sides != 0).sum())
    weights = torch.where(sides != 0, max(1, others) / max(1, said), 1.0)
    spread = (vectors.T * weights) @ vectors + torch.eye(SENTENCE, dtype=torch.float64, device=vectors.device)
    return torch.linalg.solve(spread, vectors.T @ (sides * weights)).float()


def silent(inputs: int) -> nn.Linear:
    """A linear layer to one number, which is 0 until it learns."""
    layer = nn.Linear(inputs, 1)
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def _hearing(layer: nn.Module, kept: int, added: int) -> nn.Linear:
    """A linear layer with its first inputs as they were, and others that count for nothing."""
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    hearing = nn.Linear(kept + added, len(bias), device=weight.device)
    hearing.load_state_dict({"weight": F.pad(weight[:, :kept], (0, added)), "bias": bias})
    return hearing.requires_grad_(weight.requires_grad)


def outlined(maps: Tensor, strokes: Tensor) -> Tensor:
    """Maps (..., 64, 64) on the finer grid, and what the outlines add: (..., 128, 128)."""
    return doubled(maps.flatten(0, -3)[:, None]).reshape(strokes.shape) + strokes


def strokes_of(pairs: Tensor, outline: Tensor, asked: Tensor) -> Tensor:
    """Strokes of some images and texts alone: pairs (B, K) of bool -> (number of them, 128, 128), in their order."""
    drawn = [torch.einsum("hwd,kd->khw", one, asked[chosen]) for one, chosen in zip(outline, pairs, strict=True)]
    return torch.cat(drawn)
