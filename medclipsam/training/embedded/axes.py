"""The axes along which encodings are turned and rounded to 8 bits: half the channels, and nearly all that they say."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from medclipsam.backbones.compact import CHANNELS, CompactTower

DEVIATIONS = 6.0
"""Where 8 bits end, in standard deviations of a channel."""


@dataclass(frozen=True)
class Axes:
    """The principal axes of the encoder's channels, and the steps of 8 bits along each."""

    mean: Tensor
    """(256,)."""
    matrix: Tensor
    """(256, CHANNELS), orthonormal columns."""
    step: Tensor
    """(CHANNELS,): one level of 8 bits."""

    @classmethod
    def fitted(cls, encodings: Iterable[Tensor]) -> Axes:
        """From (1, 256, 64, 64) encodings of a few images."""
        cells = torch.cat([encoding.flatten(2)[0].T for encoding in encodings]).double()
        mean = cells.mean(dim=0)
        covariance = (cells - mean).T @ (cells - mean) / len(cells)
        variances, directions = torch.linalg.eigh(covariance)
        chosen = variances.argsort(descending=True)[:CHANNELS]
        step = DEVIATIONS / 127 * variances[chosen].clamp_min(1e-12).sqrt()
        return cls(mean.float(), directions[:, chosen].float().contiguous(), step.float())

    @classmethod
    def of(cls, tower: CompactTower) -> Axes:
        """Those that a trained tower reads along."""
        gain = tower.axes.norm(dim=0)
        return cls(tower.mean.clone(), tower.axes / gain, DEVIATIONS / 127 / gain.square())

    @property
    def gain(self) -> Tensor:
        """(CHANNELS,): brings strong and weak axes nearer to each other, which learns faster; halfway to white."""
        return (self.step * 127 / DEVIATIONS).rsqrt()

    @property
    def levels(self) -> Tensor:
        """(CHANNELS,): what one step of the 8 bits is worth to the tower."""
        return self.step * self.gain

    @property
    def digest(self) -> str:
        """Stands for all three."""
        parts = (self.mean, self.matrix, self.step)
        return hashlib.sha256(b"".join(part.cpu().numpy().tobytes() for part in parts)).hexdigest()

    def rounded(self, encoding: Tensor) -> Tensor:
        """(1, 256, 64, 64) -> (64, 64, CHANNELS) in int8."""
        turned = (encoding[0].permute(1, 2, 0).cpu() - self.mean) @ self.matrix
        return (turned / self.step).round().clamp(-127, 127).to(torch.int8)
