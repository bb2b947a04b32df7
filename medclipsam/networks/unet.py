"""The plain U-Net as a supervised network: it looks at the image alone, and answers for the structure that it learned.

Cross-entropy and soft Dice of each image, in equal parts.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from medclipsam.backbones.unet import UNet
from medclipsam.errors import BadInput
from medclipsam.networks.contract import Batch, Inputs, SupervisedNetwork, Taught
from medclipsam.networks.losses import mask_losses
from medclipsam.networks.settings import UNetSettings


def build(settings: UNetSettings, taught: Taught, device: torch.device) -> PlainUNet:
    """A U-Net for one structure.

    Raises:
        BadInput: several structures, which it could not tell apart.
    """
    if len(taught.targets) > 1:
        told = ", ".join(taught.targets[:3])
        raise BadInput(f"a U-Net reads no text, and the data hold {told}", "choose one with --set target=NAME")
    return PlainUNet(settings)


class PlainUNet(SupervisedNetwork):
    """Image -> probability."""

    reads_text = False

    def __init__(self, settings: UNetSettings) -> None:
        super().__init__()
        self.side = settings.side
        self.network = UNet(settings.widths)

    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """See the contract."""
        return mask_losses(self.logits(batch), batch.masks)

    def probability(self, inputs: Inputs, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """See the contract."""
        return self.logits(inputs).float().sigmoid().expand(samples, -1, -1, -1)

    def logits(self, inputs: Inputs) -> Tensor:
        """(R, side, side)."""
        return self.network(standardised(inputs.pixels))[inputs.image_of]


def standardised(pixels: Tensor) -> Tensor:
    """(I, 3, height, width) with each channel of mean 0 and deviation 1 (nnU-Net's z-score); flat channels are 0."""
    centred = pixels - pixels.mean(dim=(2, 3), keepdim=True)
    return centred / centred.square().mean(dim=(2, 3), keepdim=True).sqrt().clamp(min=1e-6)
