"""Says what an embedded model was taught and how well it finds that, from the table that lies beside its weights.

Training writes `targets.json` with what was taught; `benchmarks/accuracy.py` adds the figures, of test images alone.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import Any

from medclipsam.errors import BadInput
from medclipsam.weights.table import OPEN, embedded_folder, lookup

TARGETS = "targets.json"
FOLDERS = MappingProxyType({"compact": "", "compact-open": OPEN})
"""Where the table of each model lies that comes with the package, below their folder."""


@dataclass(frozen=True, kw_only=True)
class Figure:
    """How well a target is found on some images that show it."""

    dice: float
    """Mean Dice."""
    found: float
    """Share of the images on which it is found."""
    n: int
    """Number of images."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One thing that the embedded model can find."""

    target: str
    images: tuple[str, ...]
    """Kinds of images that it was taught on."""
    home: Figure | None = None
    """On test images of the sources that it was mostly taught on; None where there are none."""
    elsewhere: Figure | None = None
    """On test images of other sources; None where there are none."""

    @property
    def dice(self) -> float | None:
        """At home."""
        return self.home.dice if self.home else None

    @property
    def dice_elsewhere(self) -> float | None:
        """On other sources."""
        return self.elsewhere.dice if self.elsewhere else None


@cache
def known_targets(key: str = "compact") -> tuple[Target, ...]:
    """Those of a model that comes with the package, by name."""
    return read_targets(embedded_folder() / FOLDERS[key] / TARGETS)


def targets_of(settings: Mapping[str, Any], weights: Mapping[str, str]) -> tuple[Target, ...]:
    """Those of the model that computes, where it is one that comes with the package; of any other nothing.

    Args:
        settings: of its preset.
        weights: the hash of each file in use, by its key.
    """
    clip = str(settings.get("clip"))
    return known_targets(clip) if clip in FOLDERS and weights.get(clip) == lookup(clip).sha256 else ()


def targets_beside(weights: Path) -> tuple[Target, ...] | None:
    """Those of a person's own weights; None where no table lies beside them.

    Args:
        weights: a file, or the folder of a run.

    Raises:
        BadInput: the file is no such table.
    """
    path = (weights if weights.is_dir() else weights.parent) / TARGETS
    return read_targets(path) if path.is_file() else None


def read_targets(path: Path) -> tuple[Target, ...]:
    """Read what `to_text` wrote.

    Raises:
        BadInput: the file is no such table.
    """
    try:
        return tuple(_target(**row) for row in json.loads(path.read_text("utf-8")))
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise BadInput(f"{path.name} is no table of targets", "`medclipsam train embedded` writes it") from error


def _target(*, target: str, images: list[str], home: Any = None, elsewhere: Any = None) -> Target:
    figures = {name: Figure(**given) if given else None for name, given in (("home", home), ("elsewhere", elsewhere))}
    return Target(target=str(target), images=tuple(map(str, images)), **figures)


def to_text(targets: Iterable[Target]) -> str:
    """The targets by name, as JSON."""
    rows = [asdict(each) for each in sorted(targets, key=lambda each: each.target)]
    return json.dumps(rows, indent=1, ensure_ascii=False) + "\n"
