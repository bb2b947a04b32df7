"""Losses of masks that several tasks share: soft Dice (Milletari et al., 3DV 2016)."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor


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
