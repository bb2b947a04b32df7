"""Settings of training on pseudo-labels, with the source of every default, for both backends; no torch here.

`nnunet` is the paper's (MedCLIP-SAMv2, section 3.4.3; Zhao et al., MICCAI 2022): 600 epochs of 250 steps in 3 cycles,
rate 0.01, and the last 10 weights of each cycle make an ensemble of 30. `unet` is small, for machines without nnU-Net
or without a GPU; its numbers are ours.
"""

from __future__ import annotations

from dataclasses import dataclass

from medclipsam.config import RefineBackend, SquareFit
from medclipsam.errors import BadInput
from medclipsam.training.recipes import TrainingRecipe
from medclipsam.training.schedule import CycleRate, Cycles, EpochRate, Schedule


@dataclass(frozen=True, kw_only=True)
class RefineRecipe(TrainingRecipe):
    """Everything that decides what training on pseudo-labels computes.

    Raises:
        BadInput: numbers that contradict each other.
    """

    backend: RefineBackend = "unet"
    """Network. unet: the small one of this package, with AdamW; nnunet: the real nnU-Net, with its SGD."""
    epochs: int = 60
    """Number of epochs (paper, nnunet: 600; unet: 60)."""
    batch_size: int = 16
    """Number of pictures in a step of unet; nnU-Net plans its own."""
    learning_rate: float = 1e-3
    """Learning rate at the start of each cycle (nnunet: 0.01, its default; unet: 0.001)."""
    cycles: int = 3
    """Number of learning-rate cycles (warm restarts) of equal length (paper: 3)."""
    keep: int = 10
    """Number of weights that the end of each cycle adds to the ensemble (paper: 10)."""
    rate: CycleRate = "restarts"
    """Learning rate within a cycle. restarts: falls in every cycle; released: stays near its peak, as the script's."""
    plateau: float = 0.8
    """Share of a cycle, 0 to 1, after which the rate stays as it is (released trainer: 0.8; its command: 0.5)."""
    side: int = 256
    """Side of the square network input, in pixels (released code: 256)."""
    fit: SquareFit = "squash"
    """How a scan enters the square. squash: stretched (released code); letterbox: its shape kept, zeros beside it."""
    fold: int | None = None
    """Number of the fold, from 0, that is held out and scored after each epoch; not set: train on all (paper: all)."""
    folds: int = 5
    """Number of cross-validation folds; a group lies in one of them (nnU-Net: 5)."""
    steps_per_epoch: int = 250
    """Number of steps in an epoch of nnunet (its default: 250); unet takes one pass over the pictures."""
    memory_gb: float | None = None
    """GPU memory that nnU-Net plans for, in GB; not set: its own default."""
    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    """Number of channels at each level of unet."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_known("backend", RefineBackend)
        self._check_known("fit", SquareFit)
        self._check_positive("steps_per_epoch")
        if self.steps:
            raise BadInput("refining counts epochs, not steps", "set epochs")
        if self.folds < 2 or not 0 <= (self.fold or 0) < self.folds:
            raise BadInput(f"there is no fold {self.fold} of {self.folds}", "give one from 0 on, of at least 2")
        step = 2 ** (len(self.widths) - 1)
        if self.side < 16 or self.side % step:
            raise BadInput(f"a square of {self.side} pixels cannot be halved often enough", f"use a multiple of {step}")
        _ = self.plan

    @property
    def plan(self) -> Cycles:
        """Cycles, rates, and the epochs whose weights are kept."""
        return Cycles(epochs=self.epochs, count=self.cycles, keep=self.keep, rate=self.rate, plateau=self.plateau)

    def schedule(self, steps_per_epoch: int) -> Schedule:
        """The rate of each step."""
        return EpochRate(cycles=self.plan, steps_per_epoch=steps_per_epoch)


@dataclass(frozen=True, kw_only=True)
class LabelledScans:
    """Which labels are learned, and where their scans are."""

    images: str = ""
    """Folder or table of scans that `medclipsam pseudolabel` was given."""
    prompt: str | None = None
    """Prompt whose masks are learned; not set: the only one that the labels have."""
    skip_absent: bool = False
    """Whether to leave out scans in which nothing was found; else they are learned as empty masks."""
    reviewed: bool = False
    """Whether to learn from masks that a person accepted or corrected (`medclipsam review`), and from no others."""
    groups: str = ""
    """CSV with a column `file` and one that names the patient, whose scans stay together; empty: each scan alone."""
    group_column: str = "group"
    """Name of the column of that table that names the patient."""


@dataclass(frozen=True, kw_only=True)
class RefineOptions:
    """What changes the course of a run but not its result."""

    workers: int = 0
    """Number of processes that read pictures ahead; 0 reads in the training process."""


UNET = RefineRecipe()
NNUNET = RefineRecipe(backend="nnunet", epochs=600, learning_rate=0.01, weight_decay=3e-5)
LABELLED_SCANS = LabelledScans()
RUN_OPTIONS = RefineOptions()
