"""The file by which the run of a supervised network is known: how it is built, what it learned, how well, from what.

RUN/network.json          settings, thresholds, what was taught, figures, SHA-256 of the weights, versions
    network.safetensors   the trained parts alone; frozen towers are named by their hashes
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from medclipsam.methods.run_file import RunFile

FILE, WEIGHTS = "network.json", "network.safetensors"


@dataclass(frozen=True, kw_only=True)
class NetworkFile(RunFile):
    """What `network.json` says."""

    name: ClassVar[str] = FILE
    made_by: ClassVar[str] = "medclipsam train"
    network: Mapping[str, Any]
    """Kind and settings; see `medclipsam.networks.registry.settings_from`."""
    targets: tuple[str, ...]
    """Names of the structures that were taught."""
    texts: tuple[str, ...]
    """Every text of the training rows."""
    coloured: bool
    """Whether every training image had colours."""
    presence_threshold: float
    """Presence from which on a structure is found."""
    sha256: str
    """SHA-256 of the weights."""
    frozen: Mapping[str, str]
    """SHA-256 of each frozen file that has a say."""
    figures: Mapping[str, float]
    """Figures of the validation images, with these weights."""
    learned_from: Mapping[str, Any]
    """How many images and rows, and their hash."""

    @property
    def hashes(self) -> Mapping[str, str]:
        """That of the weights."""
        return {WEIGHTS: self.sha256}
