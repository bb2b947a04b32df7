"""Images and masks as the network's square takes them: read once, kept as bytes, varied by a seed.

scan, mask --read--> square of bytes, content at the top left --varied--> (3, side, side) in [0, 1], (side, side)
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from medclipsam.backbones.geometry import Frame
from medclipsam.backbones.squares import Labels, Square, frame_for, labels_to_square, to_square
from medclipsam.config import SquareFit
from medclipsam.errors import BadInput
from medclipsam.io import read_image
from medclipsam.io.label_files import read_foreground
from medclipsam.methods.supervised import is_coloured
from medclipsam.networks.frames import as_pixels
from medclipsam.training.data.augment import Strength, augment
from medclipsam.training.supervised.recipe import SupervisedRecipe
from medclipsam.training.supervised.rows import LabelledRow

KEPT_IN_MEMORY = 2048
"""Squares; half a gigabyte at 256 pixels."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Labelled:
    """An image and one mask in the square."""

    square: Square
    mask: Labels
    """(side, side): 0 and 1."""
    frame: Frame
    coloured: bool
    """Whether the image has colours."""


class Squares:
    """Reads rows, and remembers those read lately.

    Args:
        side: of the square, in pixels.
        fit: how an image enters it.
    """

    def __init__(self, side: int, fit: SquareFit) -> None:
        self._side, self._fit = side, fit
        self.geometry = f"{side} {fit}"
        self.read = lru_cache(maxsize=KEPT_IN_MEMORY)(self._read)

    def _read(self, row: LabelledRow) -> Labelled:
        """Decode a row's image and mask.

        Raises:
            BadInput: one cannot be read, the mask holds several labels, or their sizes differ.
        """
        image = read_image(row.image)
        mask = read_foreground(row.mask)
        if mask.shape != image.size:
            sizes = f"{mask.shape[::-1]} and {image.size[::-1]}".replace(", ", " x ").replace("(", "").replace(")", "")
            raise BadInput(f"mask {row.mask.name} and image {row.image.name} differ in size: {sizes}", "mend the mask")
        frame = frame_for(image.size, self._side, self._fit)
        return Labelled(
            square=to_square(image.pixels, frame),
            mask=labels_to_square(mask.astype(np.uint8), frame),
            frame=frame,
            coloured=is_coloured(image.pixels),
        )


def plain(square: Square, frame: Frame) -> Tensor:
    """(3, side, side) as at use."""
    return as_pixels(square, frame)


def varied(
    square: Square, masks: Labels, frame: Frame, strength: Strength, generator: np.random.Generator
) -> tuple[Tensor, Tensor]:
    """One variation: (3, side, side) in [0, 1] and masks (n, side, side) uint8.

    Args:
        masks: (n, side, side); all move as the image does.
    """
    content = slice(0, frame.rows.content), slice(0, frame.columns.content)
    pixels = square[content].astype(np.float32) / 255
    moved, moved_masks = augment(pixels, masks[(slice(None), *content)], len(square), strength, generator)
    return torch.from_numpy(moved).permute(2, 0, 1), torch.from_numpy(moved_masks)


def strength_of(recipe: SupervisedRecipe) -> Strength:
    """How far variations go."""
    return Strength(
        rotation_degrees=recipe.rotation,
        quarter_turns=0,
        flip=recipe.flip,
        zoom=(1 / recipe.zoom, recipe.zoom),
        aspect=1 + (recipe.zoom - 1) / 2,
        shift=recipe.shift,
        intensity=recipe.intensity,
        single_channel=0,
    )
