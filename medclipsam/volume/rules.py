"""The ways to decide on a volume: one table of names, for the command line and for Python.

    slices     each slice on its own
    agree      a mask that meets no neighbour's is dropped; a slice that lacks between two that meet is asked again
    smooth     agree, and each slice's probability leans on its neighbours'
    largest    agree, and of the parts in 3-D the largest alone (and those at least half as large)
    stack      the evidence of all slices is settled before a mask is drawn, by a method that can; then agree

No array library here: the command line reads its choices from this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medclipsam.errors import BadInput

VolumeMode = Literal["slices", "agree", "smooth", "largest", "stack"]


@dataclass(frozen=True, kw_only=True)
class VolumeRule:
    """How slices inform each other.

    Raises:
        BadInput: a share outside [0, 1).
    """

    agree: bool = False
    """What stands alone goes, and what lacks between two that agree is asked for again."""
    share: float = 0.0
    """Weight of the neighbours' mean probability in a slice's own."""
    largest: bool = False
    """Keep the largest parts in 3-D alone."""

    settle: bool = False
    """Settle the evidence among slices before masks are drawn (`medclipsam.volume.settling`), where the method can."""

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise BadInput(f"the neighbours' share is {self.share}", "give a number from 0 to below 1")


RULES: dict[VolumeMode, VolumeRule] = {
    "slices": VolumeRule(),
    "agree": VolumeRule(agree=True),
    "smooth": VolumeRule(agree=True, share=0.34),
    "largest": VolumeRule(agree=True, largest=True),
    "stack": VolumeRule(agree=True, settle=True),
}
DEFAULT_MODE: VolumeMode = "stack"
"""On validation stacks of hearts and brains better than `agree` for each target; `largest` is better still of organs of
which there is one, and loses a second lesion (benchmarks/volumes.py, split `val`). A method that cannot settle evidence
does what `agree` does."""
