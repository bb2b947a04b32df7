"""How well does a predicted mask match its reference? Overlap, distance of the contours, and what to do with emptiness.

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

from medclipsam.metrics.overlap import dice, iou
from medclipsam.metrics.scores import METRICS, Outcome, Scores, score
from medclipsam.metrics.slab import nsd_slab
from medclipsam.metrics.statistics import Comparison, Summary, compare_paired, summarise
from medclipsam.metrics.surface import assd, hd95, nsd

__all__ = [
    "METRICS",
    "Comparison",
    "Outcome",
    "Scores",
    "Summary",
    "assd",
    "compare_paired",
    "dice",
    "hd95",
    "iou",
    "nsd",
    "nsd_slab",
    "score",
    "summarise",
]
