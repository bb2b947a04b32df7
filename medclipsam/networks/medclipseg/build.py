"""Builds MedCLIPSeg on the towers that its settings name."""

from __future__ import annotations

from functools import partial

import torch

from medclipsam.errors import BadInput
from medclipsam.networks.contract import Taught
from medclipsam.networks.medclipseg.embedded import EmbeddedTowers, load_embedded
from medclipsam.networks.medclipseg.heads import FineHead, PaperHead
from medclipsam.networks.medclipseg.network import MedClipSeg
from medclipsam.networks.medclipseg.settings import MedClipSegSettings
from medclipsam.networks.medclipseg.towers import Towers


def build(settings: MedClipSegSettings, taught: Taught, device: torch.device) -> MedClipSeg:
    """MedCLIPSeg with new adapters and a new head; `taught` makes no difference.

    Raises:
        BadInput: an adapter before a block that the towers do not have, or a square of another side.
        MissingWeights, WrongHash: see `medclipsam.weights.find`.
    """
    if settings.towers == "embedded":
        return assembled(settings, load_embedded(device, min(settings.layers)))
    from medclipsam.networks.medclipseg.open_clip_towers import load_open_clip  # noqa: PLC0415  (open_clip loads slowly)

    return assembled(settings, load_open_clip(settings, device))


def assembled(settings: MedClipSegSettings, towers: Towers) -> MedClipSeg:
    """MedCLIPSeg on loaded towers.

    Raises:
        BadInput: an adapter before a block that the towers do not have.
    """
    blocks = towers.widths.blocks
    if max(settings.layers) >= blocks:
        raise BadInput(f"there is no block {max(settings.layers)}", f"the towers have 0 to {blocks - 1}")
    if isinstance(towers, EmbeddedTowers):
        return MedClipSeg(settings, towers, partial(FineHead, towers.tower))
    return MedClipSeg(settings, towers, partial(PaperHead, towers.widths, settings.side))
