"""How large is the learning rate at each step? A linear rise, then half a cosine.

      1 |      .-'-.
        |    .'      '.
    floor|  .'          '-.___
          0  warmup       steps

A function of the step alone, so that a resumed run needs no state (warm-up: Goyal et al., 2017; cosine: Loshchilov and
Hutter, ICLR 2017).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from medclipsam.errors import BadInput


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
