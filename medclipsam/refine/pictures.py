"""Pictures as the small network takes them: read once, kept as bytes, varied anew in each epoch.

What is random depends on the seed, the epoch and the picture's name alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from medclipsam.backbones.squares import Labels, Square, standardise, standardised
from medclipsam.refine.dataset import PictureSet
from medclipsam.runs.labels import FOREGROUND, IGNORE
from medclipsam.runtime import generator_for
from medclipsam.training.data.augment import Strength, augment
from medclipsam.training.data.sampling import Key

KEPT_IN_MEMORY = 4096
"""Squares; a gigabyte at 256 pixels."""
STRENGTH = Strength(rotation_degrees=15, quarter_turns=0, zoom=(0.8, 1.25), aspect=1.2, shift=0.1, single_channel=0)


class PictureExample(NamedTuple):
    """One picture, or a batch of them, as tensors."""

    pixels: Tensor
    """(..., 3, side, side), standardised."""
    labels: Tensor
    """(..., side, side): 0, 1, 2."""


class Pictures:
    """Pictures of a data set as a map-style dataset.

    Args:
        names: which.
        seed: of the variations.
        strength: None shows each picture as it is.
    """

    def __init__(self, data: PictureSet, names: Sequence[str], seed: int = 0, strength: Strength | None = None) -> None:
        self._data, self._names, self._seed, self._strength = data, names, seed, strength
        self._stored = lru_cache(maxsize=KEPT_IN_MEMORY)(self._read)

    def __len__(self) -> int:
        return len(self._names)

    def __getitem__(self, key: Key) -> PictureExample:
        """The picture of an (epoch, place)."""
        epoch, place = key
        square, labels = self._stored(self._names[place])
        if self._strength is None:
            return PictureExample(standardised(square), torch.from_numpy(labels.copy()))
        seed = generator_for(self._seed, f"picture {epoch} {self._names[place]}").initial_seed()
        return _varied(square, labels, self._strength, np.random.default_rng(seed))

    def _read(self, name: str) -> tuple[Square, Labels]:
        return self._data.square(name), self._data.labels(name)


def collate(examples: Sequence[PictureExample]) -> PictureExample:
    """Stack examples."""
    return PictureExample(*(torch.stack(parts) for parts in zip(*examples, strict=True)))


def _varied(square: Square, labels: Labels, strength: Strength, generator: np.random.Generator) -> PictureExample:
    """Foreground and ignored pixels move as two masks, so that no label is ever blended with another."""
    masks = np.stack([labels == FOREGROUND, labels == IGNORE]).astype(np.uint8)
    pixels, (foreground, ignored) = augment(square.astype(np.float32) / 255, masks, len(square), strength, generator)
    moved = np.where(ignored, np.uint8(IGNORE), foreground)
    return PictureExample(standardise(torch.from_numpy(pixels).permute(2, 0, 1)), torch.from_numpy(moved))
