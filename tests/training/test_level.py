"""The threshold of a map is learned from its strongest cells, and 0 is the place to decide afterwards."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from medclipsam.backbones.compact import CompactShape, CompactTower, Presence
from medclipsam.training.embedded.calibration import Judged, macro_dice
from medclipsam.training.embedded.heads import fit_level

TOWER = CompactTower(CompactShape(width=32, blocks=1, heads=4, fine=16, detail=8, embedding=32)).requires_grad_(False)


def hills(level: nn.Linear | None = None, count: int = 60) -> list[Judged]:
    """Hills of many heights, each of which counts above half of its own; `level` is taken off, as a tower does."""
    generator = np.random.default_rng(0)
    axis = torch.linspace(-1, 1, 64)
    cases = []
    for _ in range(count):
        width, height = generator.uniform(0.15, 0.4), generator.uniform(3, 12)
        hill = torch.exp(-(axis[:, None].square() + axis.square()) / (2 * width**2))
        maps, truth = height * hill - 2, hill > 0.5
        evidence = Presence().evidence(maps[None, None])[0, 0]
        maps = maps - level(evidence).detach() if level else maps
        cases.append(Judged("folder: hill", "hill.png", True, False, 0.0, evidence, maps, truth))
    return cases


def best_single(cases: list[Judged]) -> float:
    return max(macro_dice(cases, float(shift)) for shift in np.arange(-4, 4, 0.25))


def test_each_map_gets_the_threshold_of_its_own_height() -> None:
    level = nn.Linear(3, 1)
    for parameter in level.parameters():
        nn.init.zeros_(parameter)
    fit_level(level, hills())
    assert macro_dice(hills(level)) > 0.93 > best_single(hills()) + 0.1


def test_learning_again_starts_from_the_bare_maps() -> None:
    first, again = nn.Linear(3, 1), nn.Linear(3, 1)
    for parameter in first.parameters():
        nn.init.zeros_(parameter)
    fit_level(first, hills())
    again.load_state_dict(first.state_dict())
    fit_level(again, hills(again))
    assert torch.allclose(first.weight, again.weight, atol=1e-3)
    assert torch.allclose(first.bias, again.bias, atol=1e-3)


def test_a_tower_that_learned_no_level_leaves_its_maps_alone() -> None:
    dense = torch.randn(2, 3, 1, 64, 64)
    assert torch.equal(TOWER.settled(dense), dense[:, :, 0])


def test_the_level_is_of_the_map_and_not_of_its_calibration() -> None:
    tower = CompactTower(TOWER.shape).requires_grad_(False)
    nn.init.constant_(tower.level.weight, 0.3)
    dense = torch.randn(1, 2, 1, 64, 64)
    before = tower.settled(dense)
    tower.dense_bias.add_(1.5)
    assert torch.allclose(tower.settled(dense + 1.5), before + 1.5, atol=1e-5)
