"""Freezes parts of a CLIP: a whole tower, or its embeddings and lowest blocks.

embeddings | block 0 | block 1 | ... | norm, head        blocks=2 keeps everything left of `...`
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from open_clip.model import CustomTextCLIP
from torch import nn

from medclipsam.backbones.texttower import text_tower
from medclipsam.backbones.vision import vision_tower
from medclipsam.errors import BadInput
from medclipsam.training.recipes import ClipRecipe

EMBEDDINGS = (
    *("conv1.", "class_embedding", "positional_embedding", "ln_pre."),
    *("trunk.patch_embed.", "trunk.cls_token", "trunk.pos_embed", "trunk.reg_token", "trunk.norm_pre."),
    *("transformer.embeddings.", "token_embedding."),
)
"""How the names of what comes before the blocks begin, in open_clip's, timm's and transformers' towers."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Tower:
    """One half of a dual encoder, as far as freezing goes."""

    parameters: Sequence[nn.Parameter]
    """All of them."""
    embeddings: Sequence[nn.Parameter] = ()
    """Those before the blocks."""
    blocks: Sequence[nn.Module] = ()
    """Lowest first."""

    def freeze(self, *, whole: bool, blocks: int) -> None:
        """Keep everything, or the embeddings and the lowest blocks.

        Raises:
            BadInput: there are not so many blocks.
        """
        if blocks > len(self.blocks):
            raise BadInput(f"{blocks} blocks of a tower with {len(self.blocks)} cannot be frozen", "freeze fewer")
        for weight in [*(self.parameters if whole else ()), *(self.lowest(blocks) if blocks else ())]:
            weight.requires_grad_(False)

    def lowest(self, blocks: int) -> list[nn.Parameter]:
        """The parameters before the blocks, and those of the lowest ones."""
        return [*self.embeddings, *(weight for block in self.blocks[:blocks] for weight in block.parameters())]


@dataclass(frozen=True, eq=False, kw_only=True)
class Towers:
    """Both halves."""

    image: Tower
    text: Tower

    def freeze(self, recipe: ClipRecipe) -> None:
        """Keep what the recipe says.

        Raises:
            BadInput: it says more blocks than there are.
        """
        self.image.freeze(whole=recipe.freeze_image, blocks=recipe.freeze_image_blocks)
        self.text.freeze(whole=recipe.freeze_text, blocks=recipe.freeze_text_blocks)


def open_clip_towers(network: CustomTextCLIP) -> Towers:
    """The towers of an open_clip model.

    Raises:
        BadInput: towers of a kind that `backbones.clip` does not know.
    """
    return Towers(
        image=_tower(network.visual, vision_tower(network.visual).blocks),
        text=_tower(network.text, text_tower(network.text).blocks),
    )


def _tower(module: nn.Module, blocks: Sequence[nn.Module]) -> Tower:
    named = dict(module.named_parameters())
    embeddings = [weight for name, weight in named.items() if name.startswith(EMBEDDINGS)]
    return Tower(parameters=list(named.values()), embeddings=embeddings, blocks=blocks)
