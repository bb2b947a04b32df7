"""Settings of BiCLIP and of EF-UNet, its ancestor, with the source of every default; no torch here.

Where the paper and the released code differ, the paper's form is the default and the code's an option.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from medclipsam.errors import BadInput
from medclipsam.networks.settings import NetworkSettings

StopGradient = Literal["strong", "weak", "none"]
CycleForm = Literal["squared", "absolute"]
SHRINK = 8
"""How much smaller than the image the square is that a text is laid out on."""


@dataclass(frozen=True, kw_only=True)
class BiclipSettings(NetworkSettings):
    """Everything that decides what BiCLIP computes; the sizes are the released code's (arXiv 2603.00156).

    Raises:
        BadInput: a side that cannot be halved often enough, or a part without the one that it needs.
    """

    kind = "biclip"
    side: int = 224
    """Side of the square that images enter, in pixels (released code: 224)."""
    fit: Literal["squash", "letterbox"] = "squash"
    """How an image enters the square. squash: stretched (released code); letterbox: its shape kept, zeros beside it."""
    widths: tuple[int, ...] = (64, 128, 256, 512, 1024)
    """Number of channels at each level of the U-Net, the finest first."""
    seen: tuple[int, int] = (64, 256)
    """Number of channels of the two convolutions that see the image for the text refiner."""
    told: tuple[int, int] = (32, 64)
    """Number of channels of the two convolutions that read the text back from the pseudo-image."""
    text_weights: str = ""
    """Folder of a BERT in the layout of CXR-BERT (config.json, model.safetensors, tokenizer.json); empty takes MiniLM,
    which comes with the package."""
    refine_steps: int = 1
    """Times that the text is refined by the image (abstract: iteratively; released code: 1); 0 leaves it as it is."""
    pseudo_weight: float = 0.1
    """Weight of the distance between the pseudo-image and the lesion (released code: 0.1)."""
    consistency_weight: float = 0.05
    """Weight of the consistency of two views (released code: 0.05); 0 leaves the second view out."""
    cycle_weight: float = 0.07
    """Weight of the text told again from the pseudo-image (released code: 0.07); 0 leaves it out."""
    stop_gradient: StopGradient = "none"
    """Which view passes no gradient of the consistency. none: both pass it (paper). strong: the changed view passes
    none (released code), which takes a third less time. weak: the plain view passes none."""
    cycle: CycleForm = "squared"
    """Distance of a text from the text told again. squared: mean square (paper). absolute: mean size (released code).
    """
    bce_on_probs: bool = False
    """Whether cross-entropy takes probabilities for logits, a slip of the released code that weakens it."""
    moved: float = 0.7
    """Probability, 0 to 1, that image, pseudo-image and mask are turned, shifted and zoomed (released code: 0.7)."""
    joint_rotation: float = 20.0
    """Largest turn either way, in degrees (released code: 20)."""
    joint_shift: float = 0.1
    """Largest displacement along each axis, as a share of the side (released code: 0.1)."""
    joint_zoom: tuple[float, float] = (0.8, 1.2)
    """Range of the scale (released code: 0.8 to 1.2)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        step = max(SHRINK, 2 ** (len(self.widths) - 1))
        if self.side % step:
            raise BadInput(f"a square of {self.side} pixels cannot be halved often enough", f"use a multiple of {step}")
        weights = ("refine_steps", "pseudo_weight", "consistency_weight", "cycle_weight")
        for name in (*weights, "joint_rotation", "joint_shift"):
            if getattr(self, name) < 0:
                raise BadInput(f"{name} {getattr(self, name)} must not be negative")
        if not 0 <= self.moved <= 1:
            raise BadInput(f"moved {self.moved} must be a share between 0 and 1")
        if not 0 < self.joint_zoom[0] <= self.joint_zoom[1]:
            raise BadInput(f"joint_zoom {self.joint_zoom} is no range of scales", "give the smaller first, above 0")

    @property
    def text_length(self) -> int:
        """Length of a text within the network: one number for each cell of the square that it is laid out on."""
        return (self.side // SHRINK) ** 2


BICLIP = BiclipSettings()
BICLIP_SMALL = BiclipSettings(side=128, widths=(16, 32, 64, 128, 256), seen=(16, 64), told=(8, 16))
"""Trains on a CPU."""
EF_UNET = replace(
    BICLIP,
    refine_steps=0,
    consistency_weight=0.0,
    cycle_weight=0.0,
    moved=0.5,
    joint_rotation=90.0,
    joint_shift=0.125,
    joint_zoom=(0.5, 1.5),
)
"""With the augmentation of its own released code."""
EF_UNET_SMALL = replace(BICLIP_SMALL, refine_steps=0, consistency_weight=0.0, cycle_weight=0.0)
"""With BiCLIP's augmentation, so that the parts alone make the difference."""
