"""The contract of a pair of image and text encoders on which a saliency method can work.

The image tower is cut in two, so that what does not change runs once:

    pixels --lower--> tokens after block `layer` --upper--> embedding
                      (once for an image)        (many times, with noise and gradients)

Blocks are counted from 0. Every model of `backbones` that explains itself keeps to `ImageTextModel`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F

from medclipsam.backbones.wordpieces import Unread
from medclipsam.config import FitKind
from medclipsam.errors import BadInput
from medclipsam.types import MedImage


class ImageTextModel(Protocol):
    """Two towers into one space, frozen, in evaluation mode."""

    side: int
    """Height and width in pixels of the square that the image tower sees."""
    grid: tuple[int, int]
    """(rows, columns) of image tokens."""
    prefix_tokens: int
    """Tokens before the grid's: 1 where there is a class token."""
    blocks: int
    """Blocks of the image tower."""
    device: torch.device
    identity: str
    """SHA-256 of the weights, or a name where they are random."""

    def prepare(self, image: MedImage, fit: FitKind) -> Tensor:
        """(3, side, side), normalised as the tower was trained."""

    def tokens(self, image: MedImage, fit: FitKind, layer: int) -> Tensor:
        """(1, prefix + rows * columns, width): `lower` of one image; a model that shares an encoder asks it once."""

    def lower(self, pixels: Tensor, layer: int) -> Tensor:
        """(B, 3, side, side) -> (B, prefix + rows * columns, width): up to and with block `layer`; no gradient."""

    def upper(self, tokens: Tensor, layer: int) -> Tensor:
        """(B, prefix + rows * columns, width) after block `layer` -> (B, D), not normalised; gradients flow."""

    def encode_text(self, prompts: Sequence[str]) -> Tensor:
        """(n, D), not normalised; what else is in the list changes nothing."""

    def unread(self, prompt: str) -> Unread | None:
        """What `encode_text` leaves out at the end of a prompt that is longer than its context; None if nothing."""


def checked_layer(layer: int, blocks: int) -> int:
    """The same layer, if the tower has it.

    Raises:
        BadInput: it has not.
    """
    if not 0 <= layer < blocks:
        raise BadInput(f"layer {layer} of a tower with {blocks} blocks", f"choose 0 to {blocks - 1}")
    return layer


def images_at_once(device: torch.device) -> int:
    """How many images share one pass.

    One on the CPU: a matrix product may round otherwise when its operands are larger, and the same scan must give the
    same bits whatever else is in the batch. Many on a GPU, which is idle with one.
    """
    return 1 if device.type == "cpu" else 8


def ensemble(embeddings: Tensor) -> Tensor:
    """One embedding for several wordings of a prompt (MedCLIP-SAMv2, P4 and P5).

    Args:
        embeddings: (K, D), K >= 1, of any length.

    Returns:
        (D,) of unit length: each is normalised, so that none outweighs another, then averaged and normalised.

    Raises:
        BadInput: K = 0.
    """
    if not len(embeddings):
        raise BadInput("an ensemble of no prompts", "give at least one")
    return F.normalize(F.normalize(embeddings, dim=-1).mean(dim=0), dim=-1)
