"""Settings of training runs with the source of every default: what all runs share, and CLIP's own; no torch here.

The docstring under a field is its help on the command line and its comment in a run's TOML (`training.settings`). The
paper (MedCLIP-SAMv2, section 3.4.1) names the learning rate, the batch, the temperature and the betas; the released
script differs. What neither names is open_clip's default.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self, get_args

from medclipsam.config import Precision
from medclipsam.errors import BadInput
from medclipsam.training.schedule import Schedule, WarmupCosine

LossName = Literal["dhn-nce", "hn-nce", "dcl", "infonce", "dhn-nce-released"]
OptimizerName = Literal["adamw", "muon"]


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """What the loop needs to know of any run.

    Raises:
        BadInput: numbers that contradict each other.
    """

    epochs: int
    """Number of passes over the training examples; has no effect where `steps` is given."""
    steps: int = 0
    """Number of optimizer steps of the run; 0 makes `epochs` passes."""
    batch_size: int
    """Number of examples in a step, over all processes."""
    optimizer: OptimizerName = "adamw"
    """Optimizer. adamw: of all parameters. muon: Muon for matrices, AdamW for the rest (Jordan et al. 2024)."""
    learning_rate: float
    """Largest learning rate of AdamW, at the peak of the schedule."""
    matrix_rate: float = 0.02
    """Largest learning rate of Muon (Jordan et al. 2024: 0.02); has no effect with adamw."""
    warmup: float = 0.0
    """Share of all steps, 0 to 1, in which the learning rate rises."""
    floor: float = 0.0
    """Share of the peak, 0 to 1, at which the cosine of the learning rate ends (open_clip default)."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW's decay of both moments (torch's default)."""
    eps: float = 1e-8
    """AdamW's term against division by zero (torch's default)."""
    weight_decay: float = 0.01
    """Weight decay; biases, norms and scales have none (torch's default)."""
    clip_norm: float = 0.0
    """Largest norm of the gradient; 0 does not clip (open_clip default)."""
    ema: float = 0.0
    """Share of the running mean of the weights that a step keeps; the mean is validated and exported; 0 keeps none."""
    precision: Precision = "auto"
    """Number format of matrix products. auto: bf16 or fp16 on CUDA, fp32 elsewhere (released script: fp16)."""
    seed: int = 0
    """Seed of order, augmentation, noise and dropout (released script: 0)."""

    def __post_init__(self) -> None:
        self._check_known("precision", Precision)
        self._check_known("optimizer", OptimizerName)
        self._check_positive("epochs", "batch_size", "learning_rate", "matrix_rate", "eps")
        check_not_negative(self, "steps", "weight_decay", "clip_norm")
        for name in ("warmup", "floor"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"{name} {getattr(self, name)} must be a share between 0 and 1")
        if not 0 <= self.ema < 1:
            raise BadInput(f"ema {self.ema} must be a share from 0 to below 1")

    def total(self, steps_per_epoch: int) -> int:
        """Number of steps of the run."""
        return self.steps or self.epochs * steps_per_epoch

    def schedule(self, steps_per_epoch: int) -> Schedule:
        """The rate of each step; here a warm-up and half a cosine."""
        steps = self.total(steps_per_epoch)
        return WarmupCosine(steps=steps, warmup=int(self.warmup * steps), floor=self.floor)

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def changed(self, **settings: Any) -> Self:
        """A copy with other settings; those that are None are left as they are."""
        return replace(self, **{name: value for name, value in settings.items() if value is not None})

    def _check_known(self, name: str, kinds: Any) -> None:
        if getattr(self, name) not in get_args(kinds):
            raise BadInput(f"unknown {name} {getattr(self, name)!r}", f"choose one of {', '.join(get_args(kinds))}")

    def _check_positive(self, *names: str) -> None:
        for name in names:
            if not getattr(self, name) > 0:
                raise BadInput(f"{name} {getattr(self, name)} must be above zero")


@dataclass(frozen=True, kw_only=True)
class ClipRecipe(TrainingRecipe):
    """Everything that decides what fine-tuning a CLIP computes.

    Raises:
        BadInput: numbers that contradict each other.
    """

    loss: LossName = "dhn-nce"
    """Contrastive loss: dhn-nce (paper eq. 7-13), hn-nce, dcl, infonce; dhn-nce-released for parity with the script."""
    temperature: float = 0.6
    """Temperature that divides the cosines (paper section 3.4.1)."""
    beta: float = 0.15
    """Hardness of the negatives in both directions (paper section 3.4.1)."""
    detach_weights: bool = False
    """Whether the hardness weights pass no gradient (paper: they pass it)."""
    mask_identical: bool = False
    """Whether identical captions of one batch are no negatives of each other (paper: they are)."""
    epochs: int = 32
    """Number of passes over the training pairs (not in the paper; open_clip default)."""
    batch_size: int = 64
    """Number of pairs whose negatives are shared, over all processes (paper section 3.4.1)."""
    chunk_size: int = 0
    """Number of pairs in memory at once: less memory, more time, the same result; 0 takes a process's whole share."""
    learning_rate: float = 1e-6
    """Largest learning rate of AdamW, at the peak of the schedule (paper section 3.4.1)."""
    warmup: float = 0.05
    """Share of all steps, 0 to 1, in which the learning rate rises (not in the paper; a usual choice)."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's decay of both moments (open_clip default for ViT)."""
    eps: float = 1e-6
    """AdamW's term against division by zero (open_clip default for ViT)."""
    weight_decay: float = 0.1
    """Weight decay; biases, norms and scales have none (open_clip default; not in the paper)."""
    crop_scale: float = 1.0
    """Smallest share of the image's area that a random crop keeps; 1 crops nothing (paper: resize; script: 0.9)."""
    freeze_image: bool = False
    """Whether the image tower stays as it is."""
    freeze_text: bool = False
    """Whether the text tower stays as it is."""
    freeze_image_blocks: int = 0
    """Number of the image tower's lowest blocks that stay as they are, with the embeddings below them."""
    freeze_text_blocks: int = 0
    """Number of the text tower's lowest blocks that stay as they are, with the embeddings below them."""
    keep_map: bool = True
    """Whether the embedded model trains its pooling alone, so that its dense map stays as it is; other models have no
    such map."""

    def __post_init__(self) -> None:
        self._check_known("loss", LossName)
        super().__post_init__()
        self._check_positive("temperature")
        check_not_negative(self, "beta", "chunk_size", "freeze_image_blocks", "freeze_text_blocks")
        if not 0 < self.crop_scale <= 1:
            raise BadInput(f"crop_scale {self.crop_scale} must be a share above 0 and up to 1")
        if self.batch_size < 2:
            raise BadInput(f"batch_size {self.batch_size} leaves no negatives", "use at least 2")


@dataclass(frozen=True, kw_only=True)
class EmbeddedRecipe(TrainingRecipe):
    """Everything that decides what training the embedded model computes.

    Raises:
        BadInput: numbers that contradict each other.
    """

    epochs: int = 1
    """Has no effect here: images are drawn by their weights, and `steps` counts."""
    steps: int = 2800
    """Number of optimizer steps of the tower (ours: more gained little); 0 leaves that of the weights as it is."""
    pixel_steps: int = 2500
    """Number of optimizer steps of the pixel network, from scratch; where the tower of weights is left as it is, their
    network goes on, and stays where that made it no better on validation images. 0 has none, or leaves it as it is."""
    pixel_rate: float = 2.5e-3
    """Largest learning rate of the pixel network, by AdamW."""
    batch_size: int = 24
    """Number of images in a step, over all processes."""
    optimizer: OptimizerName = "muon"
    """Optimizer. adamw: of all parameters. muon: Muon for matrices, AdamW for the rest, which learns more in as many
    steps."""
    learning_rate: float = 1e-3
    """Largest learning rate of AdamW, which learns biases, norms, convolutions and scales."""
    matrix_rate: float = 4e-3
    """Largest learning rate of Muon, scaled to AdamW's size of step (Liu et al. 2025)."""
    warmup: float = 0.036
    """Share of all steps, 0 to 1, in which the learning rate rises (100 of 2800)."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's decay of both moments (open_clip default for ViT)."""
    weight_decay: float = 0.05
    """Weight decay; biases, norms and scales have none."""
    clip_norm: float = 1.0
    """Largest norm of the gradient; 0 does not clip."""
    ema: float = 0.995
    """Share of the running mean of the weights that a step keeps; the mean is validated and exported; 0 keeps none."""
    precision: Precision = "bf16"
    """Number format of matrix products; fp32 where bf16 takes longer. auto: bf16 or fp16 on CUDA, fp32
    elsewhere."""
    feature_noise: float = 0.05
    """Standard deviation of the noise on the features, which are near 1 in size."""
    moved: float = 0.5
    """Share of features, 0 to 1, that are mirrored, zoomed and shifted as maps, on top of the augmented copies."""
    sentence_noise: float = 0.004
    """Standard deviation of the noise on each of the 384 numbers of a sentence; ten times more drowns what tells left
    from right."""
    contrast_weight: float = 0.1
    """Weight of the contrast between images and captions beside the losses of maps and presence."""
    compiled: bool = False
    """Whether torch compiles the forward and backward pass first, which needs a C++ compiler: a minute that a long run
    gets back."""
    leave_out: tuple[str, ...] = ()
    """Targets and folders of the data that training never sees."""
    width: int = 256
    """Channels of a token, a multiple of 8, of a run from scratch; others keep what they go on from."""
    least_dice: float = 0.0
    """Dice on validation images, mean over its folders, from which a target is promised, 0 to below 1; all others, and
    what no validation image shows, are answered "never taught". 0 promises all."""
    blocks: int = 3
    """Transformer blocks of the tower; a run that goes on from fewer adds the rest, which do nothing at first, and one
    that goes on from more keeps them."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self._check_positive("width", "blocks", "pixel_rate")
        if self.width % 8:
            raise BadInput(f"width {self.width} is no multiple of 8", "its 8 attention heads share it")
        check_not_negative(self, "pixel_steps", "feature_noise", "sentence_noise", "contrast_weight")
        if not 0 <= self.least_dice < 1:
            raise BadInput(f"least_dice {self.least_dice} must be from 0 to below 1")
        if not 0 <= self.moved <= 1:
            raise BadInput(f"moved {self.moved} must be a share between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class EmbeddedData:
    """How the folder of data is read, and what training starts from."""

    corpus: str = ""
    """TOML with what each folder of the data shows and the words for each target; empty takes the package's own."""
    val_share: float = 0.15
    """Share of the groups, 0 to below 1, to choose the weights by, where index.csv has no splits."""
    features: str = ""
    """Folder where encoded images are kept, which runs may share; empty: in the run."""
    only: tuple[str, ...] = ()
    """Folders of the data (`dataset` in index.csv) that are read, and no others; empty reads all."""
    weights: str = ""
    """Run or file of the embedded model to go on from; empty starts from scratch."""
    encodings: int = 0
    """Most encodings of training images, each folder's share kept; 0 makes all copies that the corpus asks for. The
    pixel network needs none and sees every image."""
    series: int = 0
    """Number of the series of augmented copies and views, 0 or more: a run that goes on from weights learns little more
    from those that these have seen."""
    validation: int = 0
    """Most validation images of each folder, spread evenly; 0 takes all."""

    def __post_init__(self) -> None:
        check_not_negative(self, "encodings", "series", "validation")


@dataclass(frozen=True, kw_only=True)
class CaptionTable:
    """Where images and captions stand."""

    images: str = ""
    """Folder that the image names count from; empty takes the table's own."""
    image_column: str = ""
    """Name of the column of image files; empty finds the usual ones (image, filename, path ...)."""
    caption_column: str = ""
    """Name of the column of captions; empty finds the usual ones (caption, text, findings ...)."""
    group_column: str = ""
    """Name of the column of the case or patient, whose pairs are never split; empty finds the usual ones."""
    split_column: str = ""
    """Name of the column that says train, val or test; empty finds the usual ones."""
    val_share: float = 0.15
    """Share of the cases, 0 to below 1, to choose the weights by, where the table has no splits (paper: 0.15)."""


@dataclass(frozen=True, kw_only=True)
class StartingModel:
    """Which model training starts from."""

    preset: str = "medclip-samv2"
    """Name of the preset whose CLIP is trained."""
    weights: str = ""
    """Run folder, folder of an open_clip model, or checkpoint to start from; empty takes the preset's weights."""
    features: str = ""
    """Folder where the embedded model keeps what its frozen encoder saw, which runs may share; empty: in the run."""


@dataclass(frozen=True, kw_only=True)
class RunOptions:
    """What changes the course of a run but not its result."""

    save_every: int = 0
    """Number of steps between validations, each with a checkpoint; 0 saves after each epoch."""
    workers: int = 0
    """Number of processes that read images ahead; 0 reads in the training process."""
    tensorboard: bool = False
    """Whether to write event files for TensorBoard beside the log."""

    def __post_init__(self) -> None:
        check_not_negative(self, "save_every", "workers")


def check_not_negative(settings: object, *names: str) -> None:
    """Refuse settings whose named numbers are below zero.

    Raises:
        BadInput: names the first.
    """
    for name in names:
        if not getattr(settings, name) >= 0:
            raise BadInput(f"{name} {getattr(settings, name)} must not be negative")


CLIP_PAPER = ClipRecipe()
CLIP_RELEASED = ClipRecipe(
    loss="dhn-nce-released", batch_size=16, learning_rate=1e-3, precision="fp16", crop_scale=0.9, warmup=0.02
)
"""Follows the shipped script (its warm-up: 1000 of about 47,600 steps), which is no way to treat a pretrained ViT-B:
the loss pulls hard negatives, the rate is a thousand times the paper's."""
CLIP_EMBEDDED = ClipRecipe(learning_rate=1e-3)
"""The paper's but for the rate, which suits the few weights of a pooling instead of a whole ViT-B."""
CAPTION_TABLE = CaptionTable()
START_PAPER = StartingModel()
START_EMBEDDED = StartingModel(preset="embedded")
RUN_OPTIONS = RunOptions()
EMBEDDED = EmbeddedRecipe()
EMBEDDED_OPEN = EmbeddedRecipe(width=128, least_dice=0.5, pixel_steps=0)
"""For few images, from which many targets are not learned well enough to be promised; and a small file."""
EMBEDDED_DATA = EmbeddedData()
CLIP_RECIPES: dict[str, ClipRecipe] = {"paper": CLIP_PAPER, "released": CLIP_RELEASED, "embedded": CLIP_EMBEDDED}
"""The recipes by the names that `finetune --recipe` takes."""
