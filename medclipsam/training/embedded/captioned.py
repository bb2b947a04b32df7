"""The embedded model as it is fine-tuned on captions, without losing its map.

    image --LiteMedSAM, lowest blocks--> tokens | highest blocks, pooling -> embedding
    caption ------ MiniLM -------------> vector | text head --------------> embedding
         frozen: computed once, kept            | learns, or part of it

The dense map stands on the same blocks and text head. By default (`ClipRecipe.keep_map`) the pooling alone learns, and
not a bit of the map changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from torch import Tensor, nn

from medclipsam.backbones.compact import CompactTower
from medclipsam.backbones.compact_clip import to_bytes
from medclipsam.errors import BadInput
from medclipsam.io.atomic import write_atomic
from medclipsam.training.data.captions import Pair
from medclipsam.training.data.feature_cache import digest_of_weights
from medclipsam.training.embedded.frozen_pairs import FrozenPairs, Lowest
from medclipsam.training.recipes import ClipRecipe
from medclipsam.training.tasks.freezing import Tower, Towers
from medclipsam.weights import lookup

ENTRANCE = ("enter.", "position")
"""How the names of the tower's parameters before the blocks begin."""
POOLING = ("attention.", "pooled.")
"""Names of the weights that lead to the image's embedding and to nothing of the map."""
IMAGE = (*ENTRANCE, "blocks.", "norm.", *POOLING)
TEXT = ("text.", "text_skip.")


class CompactEncoder:
    """The embedded CLIP on its way to be trained.

    Args:
        tower: learns nothing until `freeze` has said what does.
    """

    def __init__(self, tower: CompactTower) -> None:
        self.tower = tower.requires_grad_(False)
        self._frozen = 0
        self._image = Tower(
            parameters=self._named(IMAGE), embeddings=self._named(ENTRANCE), blocks=list(self.tower.blocks)
        )
        self._text = Tower(parameters=self._named(TEXT))

    def freeze(self, recipe: ClipRecipe) -> None:
        """Let learn what the recipe says: the pooling, or all that makes the two embeddings.

        Raises:
            BadInput: crops, for which each image would have to be encoded anew, or more blocks than there are.
        """
        if recipe.crop_scale != 1:
            raise BadInput("the embedded model cannot train on crops", "use --set crop_scale=1")
        for weight in self._named(POOLING if recipe.keep_map else (*IMAGE, *TEXT)):
            weight.requires_grad_(True)
        Towers(image=self._image, text=self._text).freeze(recipe)
        whole = recipe.keep_map or recipe.freeze_image
        self._frozen = len(self.tower.blocks) if whole else recipe.freeze_image_blocks

    def pairs(self, pairs: Sequence[Pair], recipe: ClipRecipe) -> FrozenPairs:
        """Pairs as the part of the tower that learns takes them; nothing about them is random."""
        return FrozenPairs(pairs, self._lowest())

    def encode_image(self, kept: Tensor) -> Tensor:
        """What `pairs` gives of images -> (B, embedding), not normalised."""
        every, frozen = len(self.tower.blocks), self._frozen
        tokens = self.tower.advance(kept, frozen, every) if frozen else self.tower.tokens(kept, every)
        return self.tower.pool(tokens)

    def export(self, folder: Path) -> None:
        """Write the tower as the preset has it."""
        write_atomic(folder / lookup("compact").file, to_bytes(self.tower))

    def _lowest(self) -> Lowest:
        """Tokens after the frozen blocks, or the features that enter the tower where none is frozen."""
        tower, blocks = self.tower, self._frozen
        weights = [*tower.buffers(), *(self._image.lowest(blocks) if blocks else ())]

        def run(encoding: Tensor) -> Tensor:
            features = tower.reduce(encoding)
            return tower.tokens(features, blocks) if blocks else features

        return Lowest(run=run, digest=f"{blocks} blocks {digest_of_weights(weights)}")

    def _named(self, prefixes: tuple[str, ...]) -> list[nn.Parameter]:
        return [weight for name, weight in self.tower.named_parameters() if name.startswith(prefixes)]
