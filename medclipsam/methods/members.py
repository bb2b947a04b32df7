"""One network of several that were kept of a run: what an ensemble asks of it, and the small U-Net."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from medclipsam.backbones.squares import Square, standardised
from medclipsam.backbones.unet import UNet
from medclipsam.errors import BadInput
from medclipsam.weights.loading import load_state


class Member(Protocol):
    """One network, whose weights can be exchanged."""

    def load(self, weights: Path) -> None:
        """Become another member."""

    def prepare(self, square: Square) -> Any:
        """What depends on the picture alone."""

    def probability(self, prepared: Any) -> Tensor:
        """(side, side) in [0, 1]."""


class UNetMember:
    """The small U-Net."""

    def __init__(self, widths: Sequence[int], device: torch.device) -> None:
        self._network = UNet(widths).to(device).eval()
        self._device = device

    def load(self, weights: Path) -> None:
        """See the contract."""
        exchange(self._network, weights)

    def prepare(self, square: Square) -> Tensor:
        """(1, 3, side, side) on the device."""
        return standardised(square)[None].to(self._device)

    def probability(self, prepared: Tensor) -> Tensor:
        """See the contract."""
        return torch.sigmoid(self._network(prepared)[0].float())


def exchange(network: nn.Module, weights: Path) -> None:
    """Give a network other weights.

    Raises:
        BadInput: weights of another network.
    """
    try:
        network.load_state_dict(load_state(weights))
    except RuntimeError as error:
        raise BadInput(f"{weights.name} is not of this network", "run medclipsam refine again") from error
