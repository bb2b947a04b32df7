"""The contract of every network that learns from masks and texts.

    pixels --encode (frozen, once for an image)--> features --.
    texts ----------------------------------------------------+--> losses (training), probability (use)

Frozen towers are held outside of the module tree, in a tuple, so that weights, checkpoints and optimizers know the
trained parts alone; whoever builds the network puts them on the device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Self

import torch
from torch import Tensor, nn

from medclipsam.backbones.wordpieces import Unread

Features = Mapping[str, Tensor]
"""What frozen parts make of images, by name; the first dimension counts the images."""
STRONGEST = 0.005
"""Share of the pixels whose mean probability is the presence: less than the smallest lesions take."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Inputs:
    """Images, and rows that each ask one of them about one text."""

    pixels: Tensor
    """(I, 3, side, side) in [0, 1], grey images with three equal channels; (I, 0, side, side) in training where the
    network keeps features."""
    features: Features = field(default_factory=dict)
    """What `encode` made of the images; empty where the network has no frozen part of an image."""
    texts: tuple[str, ...]
    """The text of each of R rows."""
    image_of: Tensor
    """(R,) int64: which image each row asks about, in rising order."""

    def to(self, device: torch.device | str) -> Self:
        """The same on a device."""
        moved: dict[str, Any] = {
            name: value.to(device) for name, value in vars(self).items() if isinstance(value, Tensor)
        }
        features = {name: value.to(device) for name, value in self.features.items()}
        return replace(self, features=features, **moved)


@dataclass(frozen=True, eq=False, kw_only=True)
class Batch(Inputs):
    """The same with what is to be learned."""

    targets: tuple[str, ...]
    """The structure that each row is about, whatever sentence its text is."""
    masks: Tensor
    """(R, side, side) float32: 0 and 1."""
    present: Tensor
    """(R,) bool: False where the image does not show it, and the mask is empty."""


@dataclass(frozen=True, kw_only=True)
class Taught:
    """What the labelled rows of a run are about; a network may be built by it."""

    targets: tuple[str, ...]
    """Names of the structures, sorted."""
    texts: tuple[str, ...] = ()
    """Every text of the training rows, sorted."""
    coloured: bool = False
    """Whether every training image has colours."""


class SupervisedNetwork(nn.Module, ABC):
    """What training and use know of a network.

    `state_dict` is what is saved; frozen parts are not in it.
    """

    side: int
    """Height and width in pixels of the square that images enter."""
    reads_text: bool = True
    """Whether the text changes the answer; without, only taught texts are answered."""
    is_random: bool = False
    """Whether `probability` draws noise, so that several samples tell how sure it is."""
    wants_whole_images: bool = False
    """Whether all rows of an image come together, because its structures compete for pixels."""

    @property
    def frozen(self) -> Mapping[str, str]:
        """SHA-256 of each frozen file that has a say, by its key in the table of weights; empty where there is none."""
        return {}

    @property
    def encoding(self) -> str:
        """Stands for all that `encode` depends on beside the pixels; empty where the network keeps no features.

        Then `encode` is not asked, and images are augmented anew at each step.
        """
        return ""

    def encode(self, pixels: Tensor) -> Features:
        """(I, 3, side, side) in [0, 1] -> what no trained weight changes, kept for each augmented copy of an image.

        It runs once for a copy, without gradients, on the network's device. In training `pixels` are then empty:
        what the network needs of them is one of the features. None may be called `masks`.
        """
        return {}

    def learn_from(self, texts: Sequence[str]) -> None:
        """Called once before training with every text that it will see, for what can be encoded ahead."""

    @abstractmethod
    def losses(self, batch: Batch) -> Mapping[str, Tensor]:
        """Scalars by name; `loss` is what is descended, the others are logged."""

    def forward(self, batch: Batch) -> Mapping[str, Tensor]:
        """`losses`, under the name by which parallel training calls it."""
        return self.losses(batch)

    @abstractmethod
    def probability(self, inputs: Inputs, samples: int = 1, generator: torch.Generator | None = None) -> Tensor:
        """How likely each pixel is inside.

        Args:
            samples: how many draws of the noise.
            generator: of the noise, on the CPU; None leaves the noise out: each sample is the same.

        Returns:
            (samples, R, rows, columns) float32 in [0, 1] over the square, at any resolution.
        """

    def presence(self, probability: Tensor) -> Tensor:
        """(R, rows, columns) mean probabilities -> (R,) in [0, 1]: is it anywhere?"""
        flat = probability.flatten(1)
        return flat.topk(max(1, round(STRONGEST * flat.shape[1])), dim=1).values.mean(dim=1)

    def unread(self, text: str) -> Unread | None:
        """The part at the end of a text that is longer than the network reads; None if nothing."""
        return None
