"""Which ways are there to decide on a volume? One table of names, for the command line and for Python.

    slices     each slice on its own
    vote       found is what a slice and its neighbours say by majority
    smooth     vote, and each slice's probability leans on its neighbours'
    largest    smooth, and of the parts in 3-D the largest alone (and those at least half as large)

No array library here: the command line reads its choices from this module.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from medclipsam.errors import BadInput

VolumeMode = Literal["slices", "vote", "smooth", "largest"]


@dataclass(frozen=True, kw_only=True)
class VolumeRule:
    """How slices inform each other.

    Raises:
        BadInput: a share outside [0, 1).
    """

    vote: bool = False
    """Found is what the slice and its neighbours say by majority; at the ends of a stack the slice alone."""
    share: float = 0.0
    """Weight of the neighbours' mean probability in a slice's own."""
    largest: bool = False
    """Keep the largest parts in 3-D alone."""

    def __post_init__(self) -> None:
        if not 0 <= self.share < 1:
            raise BadInput(f"the neighbours' share is {self.share}", "give a number from 0 to below 1")


RULES: dict[VolumeMode, VolumeRule] = {
    "slices": VolumeRule(),
    "vote": VolumeRule(vote=True),
    "smooth": VolumeRule(vote=True, share=0.34),
    "largest": VolumeRule(vote=True, share=0.34, largest=True),
}
DEFAULT_MODE: VolumeMode = "smooth"
"""Chosen on validation volumes by benchmarks/volumes.py."""


def volume_rule(mode: str) -> VolumeRule:
    """The rule of a mode.

    Raises:
        BadInput: there is none of that name.
    """
    for known in get_args(VolumeMode):
        if mode == known:
            return RULES[known]
    raise BadInput(f"volume mode {mode[:20]!r} is not known", f"choose one of {', '.join(get_args(VolumeMode))}")
