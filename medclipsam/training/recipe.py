"""How is a model trained, and where is each number from? What every run sets, CLIP's own, two recipes; no torch here.

The paper (MedCLIP-SAMv2, section 3.4.1) names the learning rate, the batch, the temperature and the betas; the released
script differs. What neither names is open_clip's default.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self, get_args

from medclipsam.config import Precision
from medclipsam.errors import BadInput
from medclipsam.training.schedule import Schedule, WarmupCosine

LossName = Literal["dhn-nce", "hn-nce", "dcl", "infonce", "dhn-nce-released"]


@dataclass(frozen=True, kw_only=True)
class TrainingRecipe:
    """What the loop needs to know of any run.

    Raises:
        BadInput: numbers that contradict each other.
    """

    epochs: int
    """Passes over the training examples."""
    batch_size: int
    """Examples in a step, over all processes."""
    learning_rate: float
    """Peak of the schedule."""
    warmup: float = 0.0
    """Share of all steps in which the rate rises."""
    floor: float = 0.0
    """Share of the peak at which the cosine ends (open_clip default)."""
    betas: tuple[float, float] = (0.9, 0.999)
    """AdamW (torch's default)."""
    eps: float = 1e-8
    """AdamW (torch's default)."""
    weight_decay: float = 0.01
    """AdamW; none on biases, norms and scales (torch's default)."""
    clip_norm: float = 0.0
    """Largest gradient norm; 0 does not clip (open_clip default)."""
    precision: Precision = "auto"
    """Autocast; `auto`: bf16 or fp16 on CUDA, fp32 elsewhere (released script: fp16)."""
    seed: int = 0
    """Of order, augmentation and dropout (released script: 0)."""

    def __post_init__(self) -> None:
        self._check_known("precision", Precision)
        self._check_positive("epochs", "batch_size", "learning_rate", "eps")
        self._check_not_negative("weight_decay", "clip_norm")
        for name in ("warmup", "floor"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"{name} {getattr(self, name)} must be a share between 0 and 1")

    def schedule(self, steps_per_epoch: int) -> Schedule:
        """The rate of each step; here a warm-up and half a cosine."""
        steps = self.epochs * steps_per_epoch
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

    def _check_not_negative(self, *names: str) -> None:
        for name in names:
            if not getattr(self, name) >= 0:
                raise BadInput(f"{name} {getattr(self, name)} must not be negative")


@dataclass(frozen=True, kw_only=True)
class Recipe(TrainingRecipe):
    """Everything that decides what fine-tuning a CLIP computes.

    Raises:
        BadInput: numbers that contradict each other.
    """

    loss: LossName = "dhn-nce"
    """Paper eq. 7-13."""
    temperature: float = 0.6
    """Paper section 3.4.1."""
    beta: float = 0.15
    """Hardness in both directions (paper section 3.4.1)."""
    detach_weights: bool = False
    """Let no gradient pass through the hardness weights (paper: it passes)."""
    mask_identical: bool = False
    """Do not push identical captions of one batch apart (paper: pushes them)."""
    epochs: int = 32
    """Passes over the training pairs (not in the paper; open_clip default)."""
    batch_size: int = 64
    """Pairs whose negatives are shared, over all processes (paper section 3.4.1)."""
    chunk_size: int = 0
    """Pairs that a process holds in memory at once; 0: its whole share. Changes time, not results (`chunks`)."""
    learning_rate: float = 1e-6
    """Peak of the schedule (paper section 3.4.1)."""
    warmup: float = 0.05
    """Share of all steps in which the rate rises (not in the paper; a usual choice)."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW (open_clip default for ViT)."""
    eps: float = 1e-6
    """AdamW (open_clip default for ViT)."""
    weight_decay: float = 0.1
    """AdamW; none on biases, norms and scales (open_clip default; not in the paper)."""
    crop_scale: float = 1.0
    """Smallest share of the image's area that a random crop keeps; 1 crops nothing (paper: resize; script: 0.9)."""
    freeze_image: bool = False
    """Keep the image tower as it is."""
    freeze_text: bool = False
    """Keep the text tower as it is."""
    freeze_image_blocks: int = 0
    """Keep the image tower's embeddings and its lowest blocks, this many."""
    freeze_text_blocks: int = 0
    """Keep the text tower's embeddings and its lowest blocks, this many."""
    keep_map: bool = True
    """Of the embedded model, train the pooling alone, so that its dense map stays as it is; others have no such map."""

    def __post_init__(self) -> None:
        self._check_known("loss", LossName)
        super().__post_init__()
        self._check_positive("temperature")
        self._check_not_negative("beta", "chunk_size", "freeze_image_blocks", "freeze_text_blocks")
        if not 0 < self.crop_scale <= 1:
            raise BadInput(f"crop_scale {self.crop_scale} must be a share above 0 and up to 1")
        if self.batch_size < 2:
            raise BadInput(f"batch_size {self.batch_size} leaves no negatives", "use at least 2")


RECIPES: dict[str, Recipe] = {
    "paper": Recipe(),
    "released": Recipe(
        loss="dhn-nce-released", batch_size=16, learning_rate=1e-3, precision="fp16", crop_scale=0.9, warmup=0.02
    ),
    "embedded": Recipe(learning_rate=1e-3),
}
"""`embedded`: the paper's but for the rate, which suits the few weights of a pooling instead of a whole ViT-B.
`released` follows the shipped script (its warm-up: 1000 of about 47,600 steps), which is no way to treat a
pretrained ViT-B: the loss pulls hard negatives, the rate is a thousand times the paper's."""
