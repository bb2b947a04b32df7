"""Measures one pair of masks, and says whether the structure was found at all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from medclipsam.metrics.overlap import dice, iou
from medclipsam.metrics.slab import nsd_slab
from medclipsam.metrics.surface import SurfaceMethod, surface_distances
from medclipsam.types import BoolArray

Outcome = Literal["compared", "missed", "false alarm", "both empty"]

METRICS = ("dice", "iou", "nsd", "nsd_slab", "hd95", "assd")
"""The measured fields of `Scores`; the last two are distances, where less is better."""


@dataclass(frozen=True, kw_only=True)
class Scores:
    """One predicted mask against its reference; the empty cases follow the policy of `medclipsam.metrics`."""

    dice: float
    iou: float
    nsd: float
    nsd_slab: float | None
    """For comparison with the MedCLIP-SAM papers only; None for volumes."""
    hd95: float
    assd: float
    predicted_px: int
    reference_px: int

    @property
    def outcome(self) -> Outcome:
        """Which row of the policy for empty masks holds."""
        if self.reference_px:
            return "compared" if self.predicted_px else "missed"
        return "false alarm" if self.predicted_px else "both empty"


def score(
    predicted: BoolArray,
    reference: BoolArray,
    tolerance: float = 2.0,
    spacing: Sequence[float] | None = None,
    method: SurfaceMethod = "area",
) -> Scores:
    """All metrics of a pair (height, width), or (slices, height, width).

    Args:
        predicted: boolean.
        reference: boolean, of the same size.
        tolerance: for `nsd`, in the unit of `spacing`; `nsd_slab` keeps the papers' 2 px.
        spacing: the distance of neighbours along each axis in mm; pixels where None.
        method: what a surface is for `nsd`, `hd95` and `assd`, see `medclipsam.metrics.surface`.

    Raises:
        BadInput: masks that differ in size or are not boolean, a spacing or tolerance that is not usable.
    """
    distances = surface_distances(predicted, reference, spacing, method)
    return Scores(
        dice=dice(predicted, reference),
        iou=iou(predicted, reference),
        nsd=distances.nsd(tolerance),
        nsd_slab=nsd_slab(predicted, reference) if predicted.ndim == 2 else None,
        hd95=distances.hausdorff(95),
        assd=distances.mean(),
        predicted_px=int(np.count_nonzero(predicted)),
        reference_px=int(np.count_nonzero(reference)),
    )
