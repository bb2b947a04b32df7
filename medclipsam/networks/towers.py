"""Frozen pairs of image and text encoders for networks that learn on top of them: three grids of features, the coarsest
first, and a vector for each text.

    embedded:   LiteMedSAM 64 x 64 x 256, and its means over 2 x 2 and 4 x 4 cells; MiniLM 384
    biomedclip: ViT-B/16 tokens after blocks 11, 8 and 5 on 14 x 14; PubMedBERT 512
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from medclipsam.backbones.frozen_texts import FrozenTexts, load_frozen_texts
from medclipsam.backbones.sam_loading import load_sam
from medclipsam.errors import BadInput

LITE_MEDSAM, BIOMEDCLIP = "lite-medsam", "biomedclip"
TAPS = (11, 8, 5)
"""0-based blocks of a ViT-B whose tokens are read, the deepest first."""
KEPT = torch.float16
"""Number format in which features are kept between encoding and training."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Towers:
    """A pair of frozen encoders."""

    side: int
    """Side of the square that the image encoder sees."""
    channels: tuple[int, int, int]
    """Channels of each grid, the coarsest first."""
    grids: tuple[int, int, int]
    """Cells along a side of each grid, as the decoder works on it."""
    encode: Callable[[Tensor], Mapping[str, Tensor]]
    """(I, 3, side, side), each stretched to [0, 1] -> what is kept, by name."""
    levels: Callable[[Mapping[str, Tensor]], list[Tensor]]
    """What is kept -> three of (I, grid * grid, channels)."""
    texts: FrozenTexts
    hashes: Mapping[str, str]
    """SHA-256 of each file that has a say, by name."""


def embedded_towers(device: torch.device) -> Towers:
    """LiteMedSAM and MiniLM, which come with the package."""
    sam, texts = load_sam(LITE_MEDSAM, device=device), load_frozen_texts("", device)

    def encode(pixels: Tensor) -> Mapping[str, Tensor]:
        alone = [sam.encode(image[None]) for image in pixels]  # their company would change the last bits
        return {"neck": torch.cat(alone).to(KEPT)}

    def levels(kept: Mapping[str, Tensor]) -> list[Tensor]:
        neck = kept["neck"].float()
        grids = (F.avg_pool2d(neck, 4), F.avg_pool2d(neck, 2), neck)
        return [grid.flatten(2).transpose(1, 2) for grid in grids]

    return Towers(
        side=256,
        channels=(256, 256, 256),
        grids=(16, 32, 64),
        encode=encode,
        levels=levels,
        texts=texts,
        hashes={LITE_MEDSAM: sam.sha256, **texts.hashes},
    )


def clip_towers(folder: str, device: torch.device) -> Towers:
    """BiomedCLIP, or the open_clip model of a folder.

    Raises:
        BadInput: an image tower of too few blocks, or whose grid is no square.
        MissingWeights, WrongHash: see `medclipsam.weights.find`.
    """
    from medclipsam.backbones.clip import load_clip, open_clip_files  # noqa: PLC0415  (slow to load, rarely needed)

    where, checkpoint = open_clip_files(BIOMEDCLIP, Path(folder) if folder else None)
    clip = load_clip(where, checkpoint=checkpoint, device=device)
    if clip.blocks < len(TAPS) or clip.grid[0] != clip.grid[1]:
        raise BadInput(f"an image tower of {clip.blocks} blocks on {clip.grid} cells", "use a ViT on a square")
    taps = tuple(min(tap, clip.blocks - 1 - place) for place, tap in enumerate(TAPS))
    texts = FrozenTexts(clip.encode_text, clip.encode_text(["a"]).shape[1], {BIOMEDCLIP: clip.identity})
    width = clip.lower(torch.zeros(1, 3, clip.side, clip.side), 0).shape[2]
    grid = clip.grid[0]

    def encode(pixels: Tensor) -> Mapping[str, Tensor]:
        normed = clip.normalised(pixels)
        return {f"block{tap}": clip.lower(normed, tap)[:, clip.prefix_tokens :].to(KEPT) for tap in taps}

    def levels(kept: Mapping[str, Tensor]) -> list[Tensor]:
        return [_enlarged(kept[f"block{tap}"].float(), grid, times) for tap, times in zip(taps, (1, 2, 4), strict=True)]

    return Towers(
        side=clip.side,
        channels=(width, width, width),
        grids=(grid, 2 * grid, 4 * grid),
        encode=encode,
        levels=levels,
        texts=texts,
        hashes=texts.hashes,
    )


def _enlarged(tokens: Tensor, grid: int, times: int) -> Tensor:
    """(I, grid * grid, C) on a grid that is finer by `times`, bilinear."""
    if times == 1:
        return tokens
    cells = tokens.transpose(1, 2).unflatten(2, (grid, grid))
    finer = F.interpolate(cells, scale_factor=times, mode="bilinear", align_corners=False)
    return finer.flatten(2).transpose(1, 2)
