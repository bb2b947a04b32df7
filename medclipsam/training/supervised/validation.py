"""Measures a network on validation rows: Dice, found rates, and the presence from which on a structure is found.

presence of each row --threshold between present and absent rows--> found or not --> Dice (1 where rightly nothing)
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn import functional as F

from medclipsam.metrics.overlap import dice
from medclipsam.networks.contract import Batch, SupervisedNetwork
from medclipsam.training.supervised.examples import Examples, collate
from medclipsam.types import MASK_THRESHOLD, BoolArray, FloatArray


@dataclass(frozen=True, eq=False, kw_only=True)
class Validated:
    """What the network says of one validation row."""

    presence: float
    present: bool
    dice: float
    """Dice of the mask, whatever the presence."""
    is_empty: bool
    """Whether no pixel of the mask is inside."""
    probability: FloatArray
    """(side, side)."""
    truth: BoolArray
    """(side, side)."""


def validated(network: SupervisedNetwork, examples: Examples) -> Iterator[Validated]:
    """Ask about every row, each image by itself and without noise."""
    device = next(network.parameters()).device
    for place in range(len(examples)):
        with torch.autocast("cpu", enabled=False):  # it cannot stack half precision
            batch = collate([examples[0, place]]).to(device)
        mean = network.probability(batch).float()[0]
        presence = network.presence(mean).cpu()
        yield from _rows(batch, _to_side(mean, network.side).cpu(), presence)


def figures_of(rows: Sequence[Validated], threshold: float) -> dict[str, float]:
    """Mean Dice of all rows and of the present ones, and the found rates; empty without rows."""
    if not rows:
        return {}
    found = [row.presence >= threshold and not row.is_empty for row in rows]
    scores = [_score(row, is_found) for row, is_found in zip(rows, found, strict=True)]
    figures = {"dice": _mean(scores)}
    for name, is_present in (("present", True), ("absent", False)):
        chosen = [place for place, row in enumerate(rows) if row.present == is_present]
        if chosen:
            figures[f"dice_{name}"] = _mean([scores[place] for place in chosen])
            figures[f"found_{name}"] = _mean([float(found[place]) for place in chosen])
    return figures


def presence_threshold(rows: Sequence[Validated]) -> float:
    """The presence that parts present from absent rows best, by the mean of both rates: the middle of the widest gap.

    0 where no row is absent: then only an empty mask is "not found".
    """
    present = sorted(row.presence for row in rows if row.present)
    absent = sorted(row.presence for row in rows if not row.present)
    if not present or not absent:
        return 0.0
    gaps = list(pairwise(sorted({0.0, *present, *absent, 1.0})))
    low, high = max(gaps, key=lambda gap: (_rate(present, absent, gap[1]), gap[1] - gap[0]))
    return (low + high) / 2


def _rate(present: Sequence[float], absent: Sequence[float], threshold: float) -> float:
    kept = sum(each >= threshold for each in present) / len(present)
    return kept + sum(each < threshold for each in absent) / len(absent)


def _score(row: Validated, is_found: bool) -> float:
    if is_found:
        return row.dice
    return 0.0 if row.present else 1.0


def _rows(batch: Batch, probability: Tensor, presence: Tensor) -> Iterator[Validated]:
    truths = batch.masks.bool().cpu().numpy()
    for row, truth in enumerate(truths):
        likely = probability[row].numpy()
        mask = likely > MASK_THRESHOLD
        yield Validated(
            presence=float(presence[row]),
            present=bool(truth.any()),
            dice=dice(mask, truth),
            is_empty=not mask.any(),
            probability=likely,
            truth=truth,
        )


def _to_side(probability: Tensor, side: int) -> Tensor:
    """(R, rows, columns) -> (R, side, side)."""
    return F.interpolate(probability[:, None], (side, side), mode="bilinear", align_corners=False)[:, 0]


def _mean(values: Sequence[float]) -> float:
    return float(torch.tensor(values, dtype=torch.float64).mean())
