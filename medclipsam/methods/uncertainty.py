"""Measures how sure an ensemble is: its mean probability, the entropy of that, and its members' disagreement.

    entropy             H(mean p)              in bits: 0 where all are sure of one thing, 1 where the mean is one half
    mutual information  H(mean p) - mean H(p)  in bits: the part of it that is disagreement (Houlsby et al., 2011)

MedCLIP-SAMv2, eq. 22, names the entropy of the mean. Values are absolute: no map is stretched to its own range, so maps
of different pictures can be compared.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from medclipsam.types import FloatArray


@dataclass(frozen=True, eq=False, kw_only=True)
class Maps:
    """What an ensemble says of each pixel; all (height, width) float32 in [0, 1]."""

    probability: FloatArray
    entropy: FloatArray
    """Bits."""
    information: FloatArray
    """Bits; at most the entropy."""


def binary_entropy(probability: Tensor) -> Tensor:
    """-p log2 p - (1 - p) log2 (1 - p); 0 at 0 and 1."""
    return (torch.special.entr(probability) + torch.special.entr(1 - probability)) / math.log(2)


class RunningMean:
    """Adds up the members' probabilities, one at a time, so that memory does not grow with their number."""

    def __init__(self) -> None:
        self._count = 0
        self._probability: Tensor | float = 0.0
        self._entropy: Tensor | float = 0.0

    def add(self, probability: Tensor) -> None:
        """Take one member's (height, width) in [0, 1]."""
        exact = probability.double()
        self._count += 1
        self._probability = self._probability + exact
        self._entropy = self._entropy + binary_entropy(exact)

    def maps(self) -> Tensor:
        """(3, height, width) float32: mean probability, its entropy, mutual information.

        Raises:
            ValueError: nothing was added.
        """
        if not isinstance(self._probability, Tensor):
            raise ValueError("an ensemble without members has no opinion")
        mean = self._probability / self._count
        entropy = binary_entropy(mean)
        information = (entropy - self._entropy / self._count).clamp(min=0)
        return torch.stack([mean, entropy, information]).float()
