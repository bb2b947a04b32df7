"""The losses of MedCLIPSeg beside the mask's: soft contrast between patches and texts, and Dice row by row.

    S = mean patch . text / t        G = softmax(text . text / t), no gradient
    loss = (CE(S, G) + CE(S', G')) / 2                                             MedCLIPSeg, section 3.4

The released code leaves the texts at their own length and brings each row of the likeness to length 1 before the
softmax, which makes the targets nearly flat.
"""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F

SMOOTH = 1e-5
"""Added above and below in Dice row by row (the default of MONAI, which the released code uses)."""


def soft_contrast(patches: Tensor, texts: Tensor, temperature: float, *, released: bool = False) -> Tensor:
    """The loss of a batch.

    Args:
        patches: (B, P, D), of any length; each is normalised, and their mean is not.
        texts: (B, D), of any length.
        released: the released form.
    """
    means = F.normalize(patches.float(), dim=-1).mean(dim=1)
    words = texts.float() if released else F.normalize(texts.float(), dim=-1)
    targets = soft_targets(words.detach(), temperature, released=released)
    likeness = means @ words.T / temperature
    return (_cross_entropy(likeness, targets) + _cross_entropy(likeness.T, targets.T)) / 2


def soft_targets(words: Tensor, temperature: float, *, released: bool = False) -> Tensor:
    """(B, D) -> (B, B): how alike the texts are, each row a distribution."""
    alike = words @ words.T / temperature
    return (F.normalize(alike, dim=-1) if released else alike).softmax(dim=-1)


def _cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    return -(targets * logits.log_softmax(dim=-1)).sum(dim=-1).mean()


def rowwise_dice(probability: Tensor, truth: Tensor) -> Tensor:
    """One minus Dice of each row of pixels but the first, mean over rows and maps (B, rows, columns).

    The released code hands maps without a channel to MONAI's Dice, which takes the rows for channels and the first of
    them for background. A row without foreground then costs nearly 1 unless its probabilities are nearly 0.
    """
    probability, truth = probability[:, 1:], truth[:, 1:]
    overlap = 2 * (probability * truth).sum(dim=-1) + SMOOTH
    return (1 - overlap / (probability.sum(dim=-1) + truth.sum(dim=-1) + SMOOTH)).mean()
