"""How is a network trained on pseudo-labels, and where is each number from? Settings of both backends; no torch here.

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
    """`unet`: the small one of `medclipsam.backbones.unet`, with AdamW; `nnunet`: the real one, with its SGD."""
    epochs: int = 60
    batch_size: int = 16
    """Pictures in a step (`unet`; nnU-Net plans its own)."""
    learning_rate: float = 1e-3
    """Peak of each cycle."""
    cycles: int = 3
    """Cycles of equal length (paper: 3)."""
    keep: int = 10
    """Weights kept of each cycle (paper: 10)."""
    rate: CycleRate = "restarts"
    """See `medclipsam.training.schedule.Cycles`; `released` is almost constant."""
    plateau: float = 0.8
    """Share of a cycle after which the rate falls no further (released trainer: 0.8; its command line: 0.5)."""
    side: int = 256
    """Pictures are brought into a square of so many pixels (released code: 256)."""
    fit: SquareFit = "squash"
    """How (released code: squash)."""
    fold: int | None = None
    """The fold that is held out and scored after each epoch; None: train on all (paper: all)."""
    folds: int = 5
    """How many there are; a group lies in one of them (nnU-Net: 5)."""
    steps_per_epoch: int = 250
    """Number of steps in an epoch (`nnunet`; `unet` takes one pass over the pictures)."""
    memory_gb: float | None = None
    """GPU memory that nnU-Net plans for; None: its own default."""
    widths: tuple[int, ...] = (16, 32, 64, 128, 256)
    """Channels of each level (`unet`)."""

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


RECIPES: dict[str, RefineRecipe] = {
    "unet": RefineRecipe(),
    "nnunet": RefineRecipe(backend="nnunet", epochs=600, learning_rate=0.01, weight_decay=3e-5),
}
