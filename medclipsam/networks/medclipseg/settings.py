"""Settings of MedCLIPSeg with the source of every default; no torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medclipsam.errors import BadInput
from medclipsam.networks.settings import NetworkSettings

TowersName = Literal["biomedclip", "unimedclip", "clip", "embedded"]
DiceName = Literal["image", "rowwise"]
ContrastName = Literal["paper", "released"]
ColourOrder = Literal["rgb", "bgr"]
LastBlock = Literal["whole", "values"]


@dataclass(frozen=True, kw_only=True)
class MedClipSegSettings(NetworkSettings):
    """MedCLIPSeg: which towers, how they are adapted, and what is minimised.

    Raises:
        BadInput: numbers that contradict each other.
    """

    kind = "medclipseg"
    side: int = 224
    """Side of the square that images enter, in pixels (released code: 224; the embedded towers: 256)."""
    fit: Literal["squash", "letterbox"] = "squash"
    """How an image enters the square. squash: stretched (released code); letterbox: shape kept, zeros beside it."""
    towers: TowersName = "biomedclip"
    """Frozen towers. biomedclip; unimedclip and clip (OpenAI's ViT-B/16), from `folder`; embedded: the package's."""
    folder: str = ""
    """Folder of an open_clip model in place of the named towers' own weights; empty takes those."""
    layers: tuple[int, ...] = (1, 2, 3, 4, 5, 6, 7, 8, 9, 10)
    """Blocks, from 0, before which an adapter stands (paper: 1 to 10; the embedded towers: 1 and 2)."""
    adapter_width: int = 256
    """Width in which image and text tokens meet (paper: 256)."""
    beta: float = 2.35
    """Weight of a logit's deviation against it; 0 is plain attention (paper: 2.35)."""
    gate: float = 0.0
    """Start of the gates' logit (released code: 0; for Covid-19 -0.02)."""
    silent_start: bool = False
    """Whether adapters begin by adding nothing (paper: they begin at random; the embedded towers: silent)."""
    noise: bool = True
    """Whether values are drawn; without, the network is the paper's deterministic MedCLIPSeg."""
    mask_pads: bool = True
    """Whether padding of a text is left out (released code: it is attended, 256 tokens wide)."""
    last_block: LastBlock = "whole"
    """Patches of the last image block. whole: its output; values: its values alone (released code, for clip)."""
    colours: ColourOrder = "rgb"
    """Order of the colours that the towers see (released code: bgr)."""
    dice: DiceName = "image"
    """Soft Dice. image: of each image (paper); rowwise: of each row of pixels but the first (what the released code
    computes)."""
    contrast: ContrastName = "paper"
    """Targets of the contrast. paper: softmax of the texts' likeness; released: rows normalised first, texts not."""
    dice_weight: float = 0.5
    """Weight of soft Dice (paper: 0.5 for both parts of the mask's loss)."""
    entropy_weight: float = 0.5
    """Weight of cross-entropy (paper: 0.5)."""
    contrast_weight: float = 0.1
    """Weight of the soft contrast between patches and texts (paper: 0.1)."""
    temperature: float = 0.2
    """Temperature of the contrast (paper: 0.2)."""
    samples_at_once: int = 6
    """Draws that share a pass on a CPU, which changes time and memory alone; on a GPU all share one."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.layers or min(self.layers) < 0 or len(set(self.layers)) < len(self.layers):
            raise BadInput(f"layers {list(self.layers)} are no blocks", "name each block once, from 0")
        for name in ("adapter_width", "temperature", "samples_at_once"):
            if not getattr(self, name) > 0:
                raise BadInput(f"{name} {getattr(self, name)} must be above zero")
        for name in ("beta", "dice_weight", "entropy_weight", "contrast_weight"):
            if getattr(self, name) < 0:
                raise BadInput(f"{name} {getattr(self, name)} must not be negative")


BIOMEDCLIP = MedClipSegSettings()
UNIMEDCLIP = MedClipSegSettings(towers="unimedclip")
CLIP = MedClipSegSettings(towers="clip")
RELEASED = MedClipSegSettings(towers="unimedclip", mask_pads=False, colours="bgr", dice="rowwise", contrast="released")
EMBEDDED = MedClipSegSettings(
    towers="embedded", side=256, fit="letterbox", layers=(1, 2), adapter_width=128, silent_start=True
)
