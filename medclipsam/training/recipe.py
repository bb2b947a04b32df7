"""How is a CLIP fine-tuned, and where is each number from? Settings and two published recipes; no torch here.

The paper (MedCLIP-SAMv2, section 3.4.1) names the learning rate, the batch, the temperature and the betas; the released
script differs. What neither names is open_clip's default.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, get_args

from medclipsam.errors import BadInput

LossName = Literal["dhn-nce", "hn-nce", "dcl", "infonce", "dhn-nce-released"]
Precision = Literal["auto", "fp32", "bf16", "fp16"]


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """Everything that decides what a training run computes.

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
    floor: float = 0.0
    """Share of the peak at which the cosine ends (open_clip default)."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW (open_clip default for ViT)."""
    eps: float = 1e-6
    """AdamW (open_clip default for ViT)."""
    weight_decay: float = 0.1
    """AdamW; none on biases, norms and scales (open_clip default; not in the paper)."""
    clip_norm: float = 0.0
    """Largest gradient norm; 0 does not clip (open_clip default)."""
    precision: Precision = "auto"
    """Autocast; `auto`: bf16 or fp16 on CUDA, fp32 elsewhere (released script: fp16)."""
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
    seed: int = 0
    """Of order, crops and dropout (released script: 0)."""

    def __post_init__(self) -> None:
        for name, known in (("loss", get_args(LossName)), ("precision", get_args(Precision))):
            if getattr(self, name) not in known:
                raise BadInput(f"unknown {name} {getattr(self, name)!r}", f"choose one of {', '.join(known)}")
        positive = ("epochs", "batch_size", "learning_rate", "eps", "temperature")
        for name in positive:
            if not getattr(self, name) > 0:
                raise BadInput(f"{name} {getattr(self, name)} must be above zero")
        for name in ("beta", "chunk_size", "weight_decay", "clip_norm", "freeze_image_blocks", "freeze_text_blocks"):
            if not getattr(self, name) >= 0:
                raise BadInput(f"{name} {getattr(self, name)} must not be negative")
        for name in ("warmup", "floor"):
            if not 0 <= getattr(self, name) <= 1:
                raise BadInput(f"{name} {getattr(self, name)} must be a share between 0 and 1")
        if not 0 < self.crop_scale <= 1:
            raise BadInput(f"crop_scale {self.crop_scale} must be a share above 0 and up to 1")
        if self.batch_size < 2:
            raise BadInput(f"batch_size {self.batch_size} leaves no negatives", "use at least 2")

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)

    def changed(self, **settings: Any) -> Recipe:
        """A copy with other settings; those that are None are left as they are."""
        return replace(self, **{name: value for name, value in settings.items() if value is not None})


RECIPES: dict[str, Recipe] = {
    "paper": Recipe(),
    "released": Recipe(
        loss="dhn-nce-released", batch_size=16, learning_rate=1e-3, precision="fp16", crop_scale=0.9, warmup=0.02
    ),
}
"""`released` follows the shipped script (its warm-up: 1000 of about 47,600 steps), which is no way to treat a
pretrained ViT-B: the loss pulls hard negatives, the rate is a thousand times the paper's."""
