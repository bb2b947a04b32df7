"""Says what the embedded model was taught, from the figures that its training wrote beside the weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache

from medclipsam.weights.table import embedded_folder

FIGURES = "compact.json"


@dataclass(frozen=True, kw_only=True)
class Target:
    """One thing that the embedded model can find."""

    target: str
    images: tuple[str, ...]
    """Kinds of images that show it."""
    dice: float
    """Mean Dice on validation images, of the kind where it is worst."""


@lru_cache(maxsize=1)
def known_targets() -> tuple[Target, ...]:
    """All of them, by name."""
    figures = json.loads((embedded_folder() / FIGURES).read_text("utf-8"))
    by_target: dict[str, dict[str, float]] = {}
    for group, dice in figures["validation"]["dice_by_group"].items():
        images, _, target = group.partition(": ")
        by_target.setdefault(target, {})[images.replace("_", " ")] = dice
    return tuple(
        Target(target=target, images=tuple(sorted(found)), dice=round(min(found.values()), 3))
        for target, found in sorted(by_target.items())
    )
