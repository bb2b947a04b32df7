"""Losses of masks that several tasks share: soft Dice (Milletari et al., 3DV 2016) and cross-entropy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import Tensor
from torch.nn import functional as F

EACH_MAP = (1, 2)
"""Dimensions of (R, rows, columns) over which Dice of each map is summed."""


def soft_dice(probability: Tensor, truth: Tensor, dims: Sequence[int] | None = None, smooth: float = 1.0) -> Tensor:
    """One minus the Dice of probabilities and a mask.

    Args:
        probability: (...) in [0, 1].
        truth: (...) of the same shape: 0 and 1, or shares of a cell.
        dims: dimensions that are summed over, such as (1, 2) for a loss of each map; None: all.
        smooth: pixels added above and below, so that there is a value where both are empty.

    Returns:
        What is left of the shape; a scalar where all is summed.
    """
    over = tuple(range(probability.ndim)) if dims is None else tuple(dims)
    overlap = 2 * (probability * truth).sum(over) + smooth
    return 1 - overlap / (probability.sum(over) + truth.sum(over) + smooth)


def mask_losses(logits: Tensor, masks: Tensor, dice: float = 0.5, entropy: float = 0.5) -> Mapping[str, Tensor]:
    """Soft Dice of each map and cross-entropy of all pixels, and their weighted sum as `loss`.

    Args:
        logits: (R, rows, columns).
        masks: (R, side, side): 0 and 1.
        dice: weight of soft Dice.
        entropy: weight of cross-entropy.
    """
    truth = masks_like(logits, masks)
    parts = {
        "dice_loss": soft_dice(logits.float().sigmoid(), truth, EACH_MAP).mean(),
        "entropy_loss": F.binary_cross_entropy_with_logits(logits.float(), truth),
    }
    return {"loss": dice * parts["dice_loss"] + entropy * parts["entropy_loss"], **parts}


def masks_like(logits: Tensor, masks: Tensor) -> Tensor:
    """Masks (R, side, side) at the size of the logits (R, rows, columns): the mean of the pixels under each."""
    if masks.shape[1:] == logits.shape[1:]:
        return masks
    return F.interpolate(masks[:, None], logits.shape[1:], mode="area")[:, 0]
