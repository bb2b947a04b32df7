"""Settings of training on masks and texts, with the source of every default; no torch here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from medclipsam.errors import BadInput
from medclipsam.training.recipes import TrainingRecipe, check_not_negative

TextKind = Literal["sentence", "target", "both"]


@dataclass(frozen=True, kw_only=True)
class SupervisedRecipe(TrainingRecipe):
    """Everything that decides what training on masks and texts computes.

    Raises:
        BadInput: numbers that contradict each other.
    """

    epochs: int = 60
    """Number of passes over the training rows."""
    batch_size: int = 16
    """Number of rows in a step, over all processes; of images where a network wants all rows of an image together."""
    learning_rate: float = 1e-3
    """Largest learning rate of AdamW, at the peak of the schedule."""
    warmup: float = 0.02
    """Share of all steps, 0 to 1, in which the learning rate rises."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; 0 does not clip."""
    rotation: float = 20.0
    """Largest turn of an augmented image either way, in degrees (MedCLIPSeg: 20)."""
    flip: float = 0.0
    """Probability of a left-right mirror; sentences that name a side are wrong of a mirrored image."""
    zoom: float = 1.25
    """Largest magnification of an augmented image, and as a fraction the smallest; 1 changes nothing."""
    shift: float = 0.05
    """Largest displacement of an augmented image, in shares of the square."""
    intensity: float = 0.5
    """Strength of changes of window, gamma, noise and blur, 0 to 1; 0 changes nothing (MedCLIPSeg: 0)."""
    copies: int = 4
    """Number of augmented copies of each image whose frozen features are kept; has no effect on networks that have
    none, whose images are augmented anew at each step."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_positive("copies")
        check_not_negative(self, "rotation", "shift")
        if self.zoom < 1:
            raise BadInput(f"zoom {self.zoom} must be at least 1")
        for name in ("flip", "intensity"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"{name} {getattr(self, name)} must be a share between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class SupervisedData:
    """Which rows of the data are learned, and how they are read."""

    dataset: tuple[str, ...] = ()
    """Names in the column `dataset` whose rows are taken; empty takes all."""
    target: tuple[str, ...] = ()
    """Structures whose rows are taken; empty takes all. Names the one of a folder whose masks have no names."""
    text: TextKind = "sentence"
    """What a row's text is. sentence: its column `text`, where it has one; target: the short name of the structure;
    both: one or the other, drawn anew each time, and validation asks with both."""
    images: str = ""
    """Folder that the table's paths count from; empty takes the table's own."""
    val_share: float = 0.15
    """Share of the groups, 0 to below 1, to choose the weights by, where the table has no splits."""
    features: str = ""
    """Folder where features of frozen towers are kept, which runs may share; empty: in the run."""


DATA = SupervisedData()
UNET = SupervisedRecipe(flip=0.5)
"""It reads no text that could name a side."""
MEDCLIPSEG = SupervisedRecipe(
    epochs=100,
    batch_size=24,
    learning_rate=3e-4,
    warmup=0.0,
    floor=1 / 3,
    weight_decay=0.0,
    clip_norm=0.0,
    zoom=1.0,
    shift=0.0,
    intensity=0.0,
)
"""The paper's; Adam is AdamW without decay. The released rate falls from epoch to epoch, ours from step to step."""
MEDCLIPSEG_EMBEDDED = SupervisedRecipe(
    epochs=12, batch_size=16, learning_rate=4e-4, weight_decay=0.05, ema=0.95, precision="bf16", copies=2
)
"""Ours: of 4e-4, 1e-3 and 3e-3 the first was best on every third validation image of BUSI after 60 steps."""
BICLIP = SupervisedRecipe(
    epochs=150,
    learning_rate=1e-4,
    warmup=0.0,
    clip_norm=0.0,
    rotation=0.0,
    zoom=1.0,
    shift=0.0,
    intensity=0.0,
)
"""The released code's; image, pseudo-image and mask are augmented together by the network, not before it."""
BICLIP_SMALL = BICLIP.changed(epochs=40, learning_rate=1e-3)
"""For a network of a sixteenth of the weights, which starts from nothing and learns faster."""
EF_UNET = BICLIP.changed(epochs=100, batch_size=8)
"""The released code of EF-UNet."""
EMCLIP = SupervisedRecipe(
    epochs=30, batch_size=8, learning_rate=5e-4, warmup=0.05, weight_decay=1e-4, flip=0.5, copies=2
)
"""Ours; the structures' names tell no side."""
