"""The learning rate of each step: a rise and half a cosine, or cycles, each of which starts anew.

      1 |      .-'-.                       1 |:        :         :
        |    .'      '.                      | '.      '.        '.
    floor|  .'          '-.___               |   '-.__   '-.__     '-.__
          0  warmup       steps              0     kept      kept       kept

Functions of the step alone, so that a resumed run needs no state (warm-up: Goyal et al., 2017; cosine: Loshchilov and
Hutter, ICLR 2017; cycles whose last weights make an ensemble: Zhao et al., MICCAI 2022).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Protocol, get_args

from medclipsam.errors import BadInput

CycleRate = Literal["restarts", "released"]


class Schedule(Protocol):
    """The learning rate over a run."""

    def factor(self, step: int) -> float:
        """What the peak is multiplied by at the 0-based step."""


@dataclass(frozen=True, kw_only=True)
class WarmupCosine:
    """Factor on the peak learning rate.

    Raises:
        BadInput: a warm-up that is longer than the run.
    """

    steps: int
    """Optimizer steps in the whole run."""
    warmup: int = 0
    """Steps until the peak; 0 starts at the peak."""
    floor: float = 0.0
    """Factor at the end."""

    def __post_init__(self) -> None:
        if not 0 <= self.warmup <= self.steps:
            raise BadInput(f"a warm-up of {self.warmup} steps does not fit into {self.steps} steps")

    def factor(self, step: int) -> float:
        """For the 0-based step; the first step of a warm-up is above zero, and past the end it stays at the floor."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        share = min(1.0, (step - self.warmup) / max(1, self.steps - self.warmup))
        return self.floor + (1 - self.floor) * 0.5 * (1 + math.cos(math.pi * share))


@dataclass(frozen=True, kw_only=True)
class Cycles:
    """Epochs in equal cycles; weights of the end of each are kept, and together they are an ensemble.

    Raises:
        BadInput: epochs that the cycles do not divide, or more kept weights than a cycle has.
    """

    epochs: int
    count: int = 3
    """Cycles (MedCLIP-SAMv2, section 3.4.3)."""
    keep: int = 10
    """Weights kept of each cycle (the same)."""
    rate: CycleRate = "restarts"
    """`restarts`: falls within each cycle, and the next begins at the peak. `released`: what the published code does,
    which divides by all epochs in place of the cycle's: with 600 epochs and 3 cycles the rate stays above 0.76."""
    plateau: float = 0.8
    """Share of a cycle after which the rate falls no further (Zhao et al.: gamma)."""
    exponent: float = 0.9
    """Exponent of the polynomial fall (nnU-Net)."""

    def __post_init__(self) -> None:
        if self.rate not in get_args(CycleRate):
            raise BadInput(f"unknown rate {self.rate!r}", f"choose one of {', '.join(get_args(CycleRate))}")
        if self.epochs < 1 or self.count < 1 or self.epochs % self.count:
            problem = f"{self.epochs} epochs are not {self.count} equal cycles"
            raise BadInput(problem, "choose a multiple, or fewer --cycles")
        if not 1 <= self.keep < max(2, self.length):
            raise BadInput(f"a cycle of {self.length} epochs has no {self.keep} weights to keep", "keep fewer")
        if not 0 < self.plateau <= 1:
            raise BadInput(f"plateau {self.plateau} must be a share above 0 and up to 1")

    @property
    def length(self) -> int:
        """Epochs of one cycle."""
        return self.epochs // self.count

    @property
    def kept(self) -> tuple[int, ...]:
        """The 0-based epochs after which weights are kept.

        As released: the `keep` epochs before the last of each cycle. 600 epochs, 3 cycles, 10 each: 189 to 198,
        389 to 398, 589 to 598. A cycle of a single epoch keeps that one.
        """
        last = max(1, self.length - 1)
        return tuple(
            start + epoch
            for start in range(0, self.epochs, self.length)
            for epoch in range(max(0, last - self.keep), last)
        )

    def factor(self, epoch: int) -> float:
        """What the peak is multiplied by in the 0-based epoch; 1 at the start of each cycle, never 0 below it."""
        fallen = min(epoch % self.length, self.plateau * self.length)
        return (1 - fallen / (self.length if self.rate == "restarts" else self.epochs)) ** self.exponent


@dataclass(frozen=True, kw_only=True)
class EpochRate:
    """A rate that changes from epoch to epoch, as one of the steps."""

    cycles: Cycles
    steps_per_epoch: int

    def factor(self, step: int) -> float:
        """That of the 0-based step's epoch."""
        return self.cycles.factor(step // self.steps_per_epoch)
