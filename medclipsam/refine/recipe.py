"""Settings of training on pseudo-labels, with the source of every default, for all backends; no torch here.

`nnunet` is the paper's (MedCLIP-SAMv2, section 3.4.3; Zhao et al., MICCAI 2022): 600 epochs of 250 steps in 3 cycles,
rate 0.01, and the last 10 weights of each cycle make an ensemble of 30. `unet` is small, for machines without nnU-Net
or without a GPU; its numbers are ours. `embedded` trains the decoder of the embedded model further, the model that made
the labels; its numbers are ours too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from medclipsam.config import EnsembleBackend, SquareFit
from medclipsam.errors import BadInput
from medclipsam.training.recipes import TrainingRecipe, check_not_negative
from medclipsam.training.schedule import CycleRate, Cycles, EpochRate, Schedule


class Geometry(Protocol):
    """What of a recipe decides how labelled scans are stored and divided."""

    @property
    def side(self) -> int:
        """Side of the square that a scan is brought into, in pixels."""

    @property
    def fit(self) -> SquareFit:
        """How it enters the square."""

    @property
    def fold(self) -> int | None:
        """Fold that is held out, from 0; None: none is."""

    @property
    def folds(self) -> int:
        """How many there are."""

    @property
    def seed(self) -> int:
        """Decides which group lies in which fold."""


@dataclass(frozen=True, kw_only=True)
class RefineRecipe(TrainingRecipe):
    """Everything that decides what training on pseudo-labels computes.

    Raises:
        BadInput: numbers that contradict each other.
    """

    backend: EnsembleBackend = "unet"
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
    by_confidence: bool = False
    """Whether pictures are drawn in proportion to the confidence in their labels (ours), or all alike (paper)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_known("backend", EnsembleBackend)
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
class SelfTrainingRecipe(TrainingRecipe):
    """Everything that decides what training the embedded model on its own pseudo-labels computes; all numbers are ours.

    Raises:
        BadInput: numbers that contradict each other.
    """

    epochs: int = 1
    """Has no effect here: `steps` counts."""
    steps: int = 160
    """Number of optimizer steps of the run."""
    batch_size: int = 8
    """Number of encoded views in a step, over all processes."""
    learning_rate: float = 5e-4
    """Largest learning rate of AdamW, at the peak of the schedule."""
    warmup: float = 0.05
    """Share of all steps, 0 to 1, in which the learning rate rises."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; 0 does not clip."""
    ema: float = 0.97
    """Share of the running mean of the weights that a step keeps; the mean is validated and exported; 0 keeps none."""
    views: int = 2
    """Number of encodings of each picture: the plain one, and augmented copies with their labels moved alike."""
    feature_noise: float = 0.05
    """Standard deviation of the noise on the features of strong views, which are near 1 in size."""
    moved: float = 0.7
    """Share of strong views, 0 to 1, that are mirrored, zoomed and shifted as maps, on top of the augmented copies."""
    agreement_weight: float = 1.0
    """Weight of the agreement of strong with weak views, where labels are ignored, beside the loss of the labels."""
    stays_weight: float = 1.0
    """Weight by which the maps of other texts, and the presence of the prompt, stay as the teacher has them."""
    others: int = 4
    """Number of other texts in a step."""
    judged_every: int = 40
    """Number of steps between two looks at the held-out views; the best student is kept."""
    least: int = 16
    """Fewest labelled pictures that are learned from."""
    fold: int = 0
    """Number of the fold, from 0, that is held out to judge students by."""
    folds: int = 5
    """Number of folds; a group lies in one of them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_positive("steps", "views", "others", "judged_every", "least")
        check_not_negative(self, "feature_noise", "agreement_weight", "stays_weight")
        if self.epochs != 1:
            raise BadInput("self-training counts steps, not epochs", "use --set steps=N")
        if not 0 <= self.moved <= 1:
            raise BadInput(f"moved {self.moved} must be a share between 0 and 1")
        if self.folds < 2 or not 0 <= self.fold < self.folds:
            raise BadInput(f"there is no fold {self.fold} of {self.folds}", "give one from 0 on, of at least 2")

    @property
    def side(self) -> int:
        """Side of the square that LiteMedSAM sees, in pixels."""
        return 256

    @property
    def fit(self) -> SquareFit:
        """How LiteMedSAM sees a scan."""
        return "letterbox"


@dataclass(frozen=True, kw_only=True)
class Teacher:
    """What self-training starts from."""

    weights: str = ""
    """Run or file of the embedded model to go on from, which should be the one that made the labels; empty takes the
    package's."""
    features: str = ""
    """Folder where encoded views are kept, which runs may share; empty: in the run."""


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
EMBEDDED = SelfTrainingRecipe()
TEACHER = Teacher()
LABELLED_SCANS = LabelledScans()
RUN_OPTIONS = RefineOptions()
