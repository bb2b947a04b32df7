"""Settings of EM-CLIP; no torch here.

The paper (arXiv 2509.08570, 2025) has no public code, table or number that we could find: all of this is our design in
its spirit, from its abstract and from the works that it builds on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medclipsam.errors import BadInput
from medclipsam.networks.settings import NetworkSettings

TowerName = Literal["embedded", "biomedclip"]


@dataclass(frozen=True, kw_only=True)
class EmClipSettings(NetworkSettings):
    """Everything that decides what EM-CLIP computes.

    Raises:
        BadInput: numbers that contradict each other.
    """

    kind = "emclip"
    side: int = 256
    """Side of the square that images enter, in pixels: 256 for the embedded towers, 224 for BiomedCLIP."""
    towers: TowerName = "embedded"
    """Frozen encoders. embedded: LiteMedSAM and MiniLM, which come with the package. biomedclip: BiomedCLIP's."""
    towers_folder: str = ""
    """Folder of another open_clip model in place of BiomedCLIP; empty takes BiomedCLIP's weights."""
    aggregation: bool = True
    """Whether visual and text tokens are gathered around common centres (EM aggregation)."""
    text_decoder: bool = True
    """Whether the pixel decoder looks at the texts; without, each structure has a fixed filter."""
    width: int = 128
    """Number of channels of tokens, centres and pixel features."""
    heads: int = 8
    """Number of attention heads of the pixel decoder."""
    rounds: int = 2
    """Number of times that the pixel decoder looks at the texts on each of its two coarse grids."""
    bank: int = 16
    """Number of centres beside those of the texts, remembered from batch to batch."""
    momentum: float = 0.9
    """Share of the remembered centres that a batch leaves in place (EMANet: 0.9)."""
    iterations: int = 3
    """Number of EM iterations; gradients flow through the last (EMANet: 3, without gradients)."""
    temperature: float = 0.07
    """Temperature of the assignment of a token to a centre; a high one leaves all assignments alike."""
    score_weight: float = 0.4
    """Weight of the loss of the cosine map between pixels and texts."""
    compact_weight: float = 0.1
    """Weight of the loss that draws tokens to their centres and centres apart."""
    anchor_weight: float = 0.1
    """Weight of the loss that keeps each text's centre nearest to its own text."""

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("width", "heads", "rounds", "iterations", "temperature"):
            if not getattr(self, name) > 0:
                raise BadInput(f"{name} {getattr(self, name)} must be above zero")
        if self.width % self.heads:
            raise BadInput(f"{self.width} channels cannot be shared by {self.heads} heads", "use a multiple")
        if self.bank < 0 or not 0 <= self.momentum < 1:
            raise BadInput("bank must not be negative, and momentum a share from 0 to below 1")


EMCLIP = EmClipSettings()
EMCLIP_LIGHT = EmClipSettings(towers="biomedclip", side=224, width=256)
