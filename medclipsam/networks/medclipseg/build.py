"""Builds MedCLIPSeg on the towers that its settings name."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import torch

from medclipsam.backbones import architecture
from medclipsam.backbones.clip import fill, find_checkpoint
from medclipsam.backbones.layouts import to_open_clip
from medclipsam.errors import BadInput
from medclipsam.networks.contract import Taught
from medclipsam.networks.medclipseg.embedded import EmbeddedTowers, load_embedded
from medclipsam.networks.medclipseg.heads import FineHead, PaperHead
from medclipsam.networks.medclipseg.network import MedClipSeg
from medclipsam.networks.medclipseg.settings import MedClipSegSettings
from medclipsam.networks.medclipseg.towers import OpenClipTowers, Towers
from medclipsam.weights import digest, find, known
from medclipsam.weights.loading import load_state


def build(settings: MedClipSegSettings, taught: Taught, device: torch.device) -> MedClipSeg:
    """MedCLIPSeg with new adapters and a new head; `taught` makes no difference.

    Raises:
        BadInput: an adapter before a block that the towers do not have, or a square of another side.
        MissingWeights, WrongHash: see `medclipsam.weights.find`.
    """
    towers = (
        load_embedded(device, min(settings.layers))
        if settings.towers == "embedded"
        else load_open_clip(settings, device)
    )
    return assembled(settings, towers)


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


def _folder(settings: MedClipSegSettings) -> Path:
    """Where configuration, tokenizer and weights of the towers lie.

    Raises:
        BadInput: towers that no table of weights knows, and no folder.
    """
    if settings.folder:
        return Path(settings.folder)
    if settings.towers not in known():
        told = "open_clip_config.json, the tokenizer's files and the weights"
        raise BadInput(f"the weights of {settings.towers} are not fetched", f"give --set folder=FOLDER with {told}")
    return find(settings.towers).folder


def load_open_clip(settings: MedClipSegSettings, device: torch.device) -> OpenClipTowers:
    """The towers of an open_clip model, with their weights.

    Raises:
        BadInput: towers that see another square.
        MissingWeights, WrongHash: see `medclipsam.weights.find`.
    """
    folder = _folder(settings)
    checkpoint = find_checkpoint(folder)
    network = architecture.build(folder, draw=False)
    fill(network, to_open_clip(load_state(checkpoint)), checkpoint.name)
    towers = OpenClipTowers(
        network.to(device), architecture.Tokenizer(folder), {settings.towers: digest(checkpoint)}, settings.colours
    )
    if towers.side != settings.side:
        raise BadInput(f"these towers see {towers.side} pixels", f"use --set side={towers.side}")
    return towers
