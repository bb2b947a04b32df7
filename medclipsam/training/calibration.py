"""Where do "this cell shows it" and "the image shows it" begin? Two thresholds, chosen on the validation split.

Training balances its classes, so its 0.5 is not the best place to decide. Both thresholds are moved into the biases of
the tower, so that 0.5 is the place to decide for everyone who uses it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from medclipsam.backbones.compact import CompactTower
from medclipsam.training import vocabulary
from medclipsam.training.embedded import Cache

SHIFTS = np.arange(-3.0, 3.01, 0.25)
LOST = 0.03
"""Share of true targets that the presence threshold may lose on the validation split."""
BATCH = 32


@dataclass(frozen=True)
class Judged:
    """One image asked for one text."""

    group: str
    """Folder and target, so that large folders do not outweigh small ones."""
    present: bool
    presence: float
    logits: Tensor | None
    """(64, 64) where the target is present."""
    truth: Tensor | None
    """(64, 64) bool."""


@torch.no_grad()
def judge(tower: CompactTower, cache: Cache, names: Sequence[str], sentences: Tensor) -> Iterator[Judged]:
    """Ask every image of the cache for its own targets and for those that it cannot show.

    Args:
        names: the targets.
        sentences: (len(names), 384): their short names.
    """
    text = tower.embed_text(sentences)
    for start in range(0, len(cache.examples), BATCH):
        rows = range(start, min(start + BATCH, len(cache.examples)))
        features = cache.features[start : start + BATCH].float()
        tokens = tower.tokens(features, tower.shape.blocks)
        dense = tower.dense_logits(tower.cell_embeddings(tokens, features), text)
        presence = tower.presence_logits(dense, tower.pool(tokens), text)
        fine = F.interpolate(dense, size=64, mode="bilinear", align_corners=False)
        for row, maps, scores in zip(rows, fine, presence, strict=True):
            yield from _judge_image(cache, row, names, maps, scores)


def _judge_image(cache: Cache, row: int, names: Sequence[str], maps: Tensor, scores: Tensor) -> Iterator[Judged]:
    example = cache.examples[row]
    body = vocabulary.BODY[example.dataset]
    for name, logits, score in zip(names, maps, scores.tolist(), strict=True):
        group = f"{example.dataset}: {name}"
        if name in example.targets:
            truth = cache.coverage(row, frozenset({name})) >= 0.5
            shown = bool(truth.any())
            yield Judged(group, shown, score, logits if shown else None, truth if shown else None)
        elif body not in vocabulary.concept(name).visible_in:
            yield Judged(group, False, score, None, None)


def calibrate(tower: CompactTower, judged: Sequence[Judged]) -> dict[str, float]:
    """Move both biases of the tower; says what was chosen and what it gives on these images."""
    shift, overlap = _best_dense_shift(judged)
    here = np.array([case.presence for case in judged if case.present])
    threshold = float(np.quantile(here, LOST))
    wrong = np.array([case.presence for case in judged if not case.present])
    with torch.no_grad():
        tower.dense_bias.add_(shift)
        tower.presence.bias.sub_(threshold + tower.presence.weight[0, 0] * shift)
    return {
        "dense_shift": shift,
        "box_iou": overlap,
        "presence_threshold": threshold,
        "lost": float((here < threshold).mean()),
        "rejected": float((wrong < threshold).mean()),
        "dice": macro_dice(judged, shift),
    }


def macro_dice(judged: Sequence[Judged], shift: float = 0.0) -> float:
    """Dice of the thresholded maps, mean over groups."""
    return float(np.mean([np.mean(values) for values in group_dice(judged, shift).values()]))


def group_dice(judged: Sequence[Judged], shift: float = 0.0) -> dict[str, list[float]]:
    """Dice of the thresholded maps of each group."""
    groups = defaultdict(list)
    for case in judged:
        if case.logits is not None and case.truth is not None:
            mask = case.logits + shift > 0
            groups[case.group].append(float(2 * (mask & case.truth).sum() / (mask.sum() + case.truth.sum())))
    return groups


def _best_dense_shift(judged: Sequence[Judged]) -> tuple[float, float]:
    """The shift whose boxes overlap the true boxes best: the map's purpose is the box that SAM gets."""
    results = []
    for shift in SHIFTS:
        groups = defaultdict(list)
        for case in judged:
            if case.logits is not None and case.truth is not None:
                groups[case.group].append(_box_iou(case.logits + shift > 0, case.truth))
        results.append(float(np.mean([np.mean(values) for values in groups.values()])))
    best = int(np.argmax(results))
    return float(SHIFTS[best]), results[best]


def _box_iou(first: Tensor, second: Tensor) -> float:
    if not first.any():
        return 0.0
    (top, left, bottom, right), other = _edges(first), _edges(second)
    height = min(bottom, other[2]) - max(top, other[0])
    width = min(right, other[3]) - max(left, other[1])
    shared = max(height, 0) * max(width, 0)
    union = (bottom - top) * (right - left) + (other[2] - other[0]) * (other[3] - other[1]) - shared
    return shared / union


def _edges(mask: Tensor) -> tuple[int, int, int, int]:
    rows, columns = mask.any(dim=1).nonzero(), mask.any(dim=0).nonzero()
    return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1
