"""Takes the image towers of open_clip apart into embedding, blocks and head: two families, one interface.

    pixels --embed--> tokens --block 0--> ... --block L--> ... --last block--> tokens --head--> embedding

timm's VisionTransformer (BiomedCLIP's ViT-B/16) and open_clip's own differ in the names of their parts alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from open_clip.timm_model import TimmModel
from open_clip.transformer import VisionTransformer
from timm.models.vision_transformer import VisionTransformer as TimmTransformer
from torch import Tensor, nn

from medclipsam.backbones.class_row import class_row
from medclipsam.errors import BadInput

Step = Callable[[Tensor], Tensor]


@dataclass(frozen=True, eq=False, kw_only=True)
class VisionTower:
    """The parts of an image tower in the order in which they run."""

    side: int
    grid: tuple[int, int]
    prefix_tokens: int
    embed: Step
    """(B, 3, side, side) -> (B, prefix + rows * columns, width)."""
    blocks: Sequence[nn.Module]
    head: Step
    """(B, n, width) after the last block -> (B, D); n = 1 is enough where `reads_class_alone`."""
    patches: Step
    """(B, n, width) after the last block -> (B, rows * columns, D): every patch in the joint space."""
    reads_class_alone: bool
    """The embedding comes from the class token and no other."""

    def advance(self, tokens: Tensor, start: int, stop: int) -> Tensor:
        """Run blocks start..stop-1 on all tokens."""
        for block in self.blocks[start:stop]:
            tokens = block(tokens)
        return tokens

    def finish(self, tokens: Tensor, start: int) -> Tensor:
        """Run blocks from `start` on and the head; only the class row of the last block where that is all one reads."""
        last = len(self.blocks) - 1
        row = class_row(self.blocks[last]) if self.reads_class_alone and start <= last else None
        if row is None:
            return self.head(self.advance(tokens, start, last + 1))
        return self.head(row(self.advance(tokens, start, last)))


def vision_tower(visual: nn.Module) -> VisionTower:
    """Take an open_clip image tower apart.

    Raises:
        BadInput: it is no vision transformer, or its input is no square.
    """
    if isinstance(visual, TimmModel) and isinstance(visual.trunk, TimmTransformer):
        tower = _of_timm(visual, visual.trunk)
    elif isinstance(visual, VisionTransformer):
        tower = _of_open_clip(visual)
    else:
        raise BadInput(f"the image tower is a {type(visual).__name__}", "use a CLIP with a vision transformer")
    height, width = visual.image_size
    if height != width:
        raise BadInput(f"the image tower takes {width} x {height} pixels", "use a CLIP with a square input")
    return tower


def _of_timm(visual: TimmModel, trunk: TimmTransformer) -> VisionTower:
    def embed(pixels: Tensor) -> Tensor:
        return trunk.norm_pre(trunk.patch_drop(trunk._pos_embed(trunk.patch_embed(pixels))))

    def head(tokens: Tensor) -> Tensor:
        return visual.head(trunk.forward_head(trunk.norm(tokens)))

    def patches(tokens: Tensor) -> Tensor:
        return visual.head(trunk.fc_norm(trunk.norm(tokens[:, trunk.num_prefix_tokens :])))

    return VisionTower(
        side=visual.image_size[0],
        grid=tuple(trunk.patch_embed.grid_size),
        prefix_tokens=trunk.num_prefix_tokens,
        embed=embed,
        blocks=list(trunk.blocks),
        head=head,
        patches=patches,
        reads_class_alone=trunk.global_pool == "token",
    )


def _of_open_clip(visual: VisionTransformer) -> VisionTower:
    def head(tokens: Tensor) -> Tensor:
        pooled, _ = visual._pool(tokens)
        return pooled if visual.proj is None else pooled @ visual.proj

    def patches(tokens: Tensor) -> Tensor:
        normed = visual.ln_post(tokens[:, 1:])
        return normed if visual.proj is None else normed @ visual.proj

    return VisionTower(
        side=visual.image_size[0],
        grid=visual.grid_size,
        prefix_tokens=1,
        embed=visual._embeds,
        blocks=list(visual.transformer.resblocks),
        head=head,
        patches=patches,
        reads_class_alone=visual.attn_pool is None and visual.pool_type == "tok",
    )
