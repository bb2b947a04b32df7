"""Measures how well a predicted mask matches its reference: overlap, distance of the surfaces, and empty masks.

The policy for empty masks, in every function here:

    reference   predicted     dice, iou, nsd, nsd_slab     hd95, assd     counted as
    present     present       as defined                   as defined     compared
    present     empty         0                            infinite       missed
    empty       present       0                            infinite       false alarm
    empty       empty         1                            0              both empty

No value is ever NaN, and none is left out of a mean: one missed structure makes the mean distance infinite, so that
missing more can never look better. The median, the mean of the finite values and the number of infinite ones stand
beside it.
"""

from __future__ import annotations

from medclipsam.metrics.overlap import dice, iou, pooled_dice
from medclipsam.metrics.scores import METRICS, Outcome, Scores, score
from medclipsam.metrics.slab import nsd_slab
from medclipsam.metrics.statistics import Comparison, Summary, compare_paired, summarise
from medclipsam.metrics.surface import SurfaceMethod, assd, hd95, nsd

__all__ = [
    "METRICS",
    "Comparison",
    "Outcome",
    "Scores",
    "Summary",
    "SurfaceMethod",
    "assd",
    "compare_paired",
    "dice",
    "hd95",
    "iou",
    "nsd",
    "nsd_slab",
    "pooled_dice",
    "score",
    "summarise",
]
