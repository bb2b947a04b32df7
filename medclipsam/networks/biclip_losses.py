"""The losses of BiCLIP: mask, pseudo-image, consistency of two views, and the text told again.

    L = Dice + BCE + 0.1 |pseudo - lesion| + 0.05 (1 - cos(weak, strong)) + 0.07 (t - t again)^2

The text that the cycle aims at passes no gradient, as in the released code: it would learn to be easy to tell.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from medclipsam.networks.biclip_settings import BiclipSettings, CycleForm, StopGradient
from medclipsam.networks.losses import EACH_MAP, soft_dice

SMOOTH = 1e-5
"""Pixels added above and below in Dice (MONAI's default)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Imagined:
    """What the network makes of a text."""

    text: Tensor
    """(R, text_length): before the image was seen."""
    pseudo: Tensor
    """(R, 3, side, side) in [0, 1]."""
    retold: Tensor | None
    """(R, text_length): the text read back from the pseudo-image; None without cycle."""


@dataclass(frozen=True, eq=False, kw_only=True)
class TrainingPass:
    """All that the losses read of one training step."""

    logits: Tensor
    """(R, side, side), of the weak view."""
    truth: Tensor
    """(R, side, side): the masks, moved as the view."""
    imagined: Imagined
    lesion: Tensor
    """(R, 3, side, side): the image where the mask is and black elsewhere, not moved."""
    weak: Tensor | None
    """(R, 256): the U-Net's summary of the plain view; None without consistency."""
    strong: Tensor | None
    """(R, 256): the same of the photometrically changed view."""


def biclip_losses(seen: TrainingPass, settings: BiclipSettings) -> Mapping[str, Tensor]:
    """`loss`, and the parts that it sums, not weighted; parts without weight are left out."""
    parts = {
        "mask_loss": mask_loss(seen.logits.float(), seen.truth, bce_on_probs=settings.bce_on_probs),
        "pseudo_loss": (seen.imagined.pseudo.float() - seen.lesion).abs().mean(),
    }
    total = parts["mask_loss"] + settings.pseudo_weight * parts["pseudo_loss"]
    if seen.weak is not None and seen.strong is not None:
        parts["consistency_loss"] = consistency_loss(seen.weak.float(), seen.strong.float(), settings.stop_gradient)
        total = total + settings.consistency_weight * parts["consistency_loss"]
    if seen.imagined.retold is not None:
        parts["cycle_loss"] = cycle_loss(seen.imagined.retold.float(), seen.imagined.text.float(), settings.cycle)
        total = total + settings.cycle_weight * parts["cycle_loss"]
    return {"loss": total, **parts}


def mask_loss(logits: Tensor, truth: Tensor, *, bce_on_probs: bool) -> Tensor:
    """Soft Dice of each image plus cross-entropy, (R, side, side) each (MONAI's DiceCELoss of one channel).

    Args:
        bce_on_probs: take the probabilities for logits, as the released code does.
    """
    probability = logits.sigmoid()
    entropy = F.binary_cross_entropy_with_logits(probability if bce_on_probs else logits, truth)
    return soft_dice(probability, truth, EACH_MAP, SMOOTH).mean() + entropy


def consistency_loss(weak: Tensor, strong: Tensor, stop: StopGradient) -> Tensor:
    """One minus the mean cosine of two summaries (R, width); `stop` names the one that passes no gradient."""
    weak = weak.detach() if stop == "weak" else weak
    strong = strong.detach() if stop == "strong" else strong
    return 1 - F.cosine_similarity(weak, strong, dim=1).mean()


def cycle_loss(retold: Tensor, text: Tensor, form: CycleForm) -> Tensor:
    """Distance of two texts (R, length), mean over all numbers; the second passes no gradient."""
    difference = retold - text.detach()
    return difference.square().mean() if form == "squared" else difference.abs().mean()
