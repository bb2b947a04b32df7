"""How high must a cell rise to count? The threshold of each map, from its own strongest cells; learned last.

A map that is weak as a whole, of a structure at the edge of what was taught, still tells the place: one threshold for
all leaves it empty, and draws strong maps too wide. Four numbers are learned, on the validation split: the maps of
training images are too sure to learn them from. Every folder and target counts alike.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from medclipsam.training.calibration import Judged
from medclipsam.training.presence import fold

STEPS = 400
BATCH = 256
LEARNING_RATE = 2e-2
SOFTNESS = 0.4
"""Of the edge, in logits: how far from its threshold a cell still counts for a part."""


def fit_level(level: nn.Linear, judged: Sequence[Judged], seed: int = 0) -> list[Judged]:
    """Learn it from scratch, in place, by soft Dice of the maps whose target is there; the same cases with it."""
    bare = levelled(judged, level, sign=1)
    shown = [case for case in bare if case.logits is not None]
    evidence = torch.stack([case.evidence for case in shown]).float()
    maps, truth = _stacked(shown)
    mean, deviation = evidence.mean(dim=0), evidence.std(dim=0)
    weights = _weights(shown)
    generator = torch.Generator().manual_seed(seed)
    fresh = nn.Linear(level.in_features, 1)
    for parameter in fresh.parameters():
        nn.init.zeros_(parameter)
    optimizer = torch.optim.Adam(fresh.parameters(), LEARNING_RATE, weight_decay=1e-3)
    for _ in range(STEPS):
        rows = torch.randint(len(shown), (BATCH,), generator=generator)
        inside = ((maps[rows] - fresh((evidence[rows] - mean) / deviation)[..., None]) / SOFTNESS).sigmoid()
        loss = 1 - 2 * (inside * truth[rows]).sum((1, 2)) / (inside.sum((1, 2)) + truth[rows].sum((1, 2)))
        optimizer.zero_grad()
        ((loss * weights[rows]).sum() / weights[rows].sum()).backward()
        optimizer.step()
    fold(fresh, mean, deviation)
    level.load_state_dict(fresh.state_dict())
    return levelled(bare, level)


@torch.no_grad()
def levelled(judged: Sequence[Judged], level: nn.Linear, sign: int = -1) -> list[Judged]:
    """The same cases, each map above the threshold that `level` gives it; `sign` 1 puts it back."""
    return [
        case if case.logits is None else replace(case, logits=case.logits + sign * level(case.evidence))
        for case in judged
    ]


def _stacked(shown: Sequence[Judged]) -> tuple[Tensor, Tensor]:
    """Maps and masks, (n, 64, 64) each."""
    maps = [case.logits for case in shown if case.logits is not None]
    truth = [case.truth for case in shown if case.truth is not None]
    return torch.stack(maps).float(), torch.stack(truth).float()


def _weights(shown: Sequence[Judged]) -> Tensor:
    """(n,): every group counts alike, however many images it has."""
    groups = Counter(case.group for case in shown)
    return torch.tensor([1 / groups[case.group] for case in shown])
