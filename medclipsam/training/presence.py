"""How much evidence is enough? The presence head alone, learned last, on the frozen maps of training images.

Beside the maps it would learn how sure of themselves half-learned maps are. Every folder and target that is there
counts alike, so that one with weak evidence is not given up for a large one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medclipsam.backbones.compact import Presence
from medclipsam.training.calibration import Judged

STEPS = 300
LEARNING_RATE = 1e-2
MISSING = 0.3
"""Weight of all targets that were searched for and are not there; those that are, and those that cannot be, weigh 1."""


def fit_presence(presence: Presence, judged: Sequence[Judged], seed: int = 0) -> None:
    """Learn the head from scratch, in place, from the evidence in `judged`."""
    torch.manual_seed(seed)
    fresh = Presence()
    evidence = torch.stack([case.evidence for case in judged]).float()
    mean, deviation = evidence.mean(dim=0), evidence.std(dim=0)
    there, weights = torch.tensor([float(case.present) for case in judged]), _weights(judged)
    optimizer = torch.optim.Adam(fresh.parameters(), LEARNING_RATE, weight_decay=1e-4)
    for _ in range(STEPS):
        loss = F.binary_cross_entropy_with_logits(fresh((evidence - mean) / deviation), there, weights, reduction="sum")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    fold(fresh.judge[0], mean, deviation)
    presence.load_state_dict(fresh.state_dict())


def _weights(judged: Sequence[Judged]) -> Tensor:
    """Each case's share of the loss."""
    groups = Counter(_kind(case) for case in judged)
    present = sum(kind not in ("missing", "elsewhere") for kind in groups)
    total = {"missing": MISSING, "elsewhere": 1.0}
    return torch.tensor([total.get(_kind(case), 1 / present) / groups[_kind(case)] for case in judged])


def _kind(case: Judged) -> str:
    return case.group if case.present else "missing" if case.missing else "elsewhere"


@torch.no_grad()
def fold(layer: nn.Module, mean: Tensor, deviation: Tensor) -> None:
    """Let a linear layer that learned standardised numbers take them as they are."""
    weight, bias = layer.get_parameter("weight"), layer.get_parameter("bias")
    weight.div_(deviation)
    bias.sub_(weight @ mean)
