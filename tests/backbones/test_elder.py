"""A tower and its elder: asked together about what the elder knows, and about all else the tower alone."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional as F

from medclipsam.backbones.compact import CHANNELS, ELDER, SENTENCE, CompactShape, CompactTower, Elder
from medclipsam.backbones.compact_clip import KnownTexts, load_tower, to_bytes
from medclipsam.backbones.tower import ensemble

SHAPE = CompactShape(width=32, blocks=1, heads=4, fine=16, detail=8, embedding=32)
KNOWN = torch.linalg.qr(torch.randn(SENTENCE, 3, generator=torch.Generator().manual_seed(0)))[0].T.contiguous()
"""Sentences at right angles: of target 0, of target 1, and of none."""


@pytest.fixture
def tower() -> CompactTower:
    """Knows two targets; its elder the second of them."""
    torch.manual_seed(0)
    tower = CompactTower(SHAPE, Elder(SHAPE, 1)).eval().requires_grad_(False)
    tower.know(KNOWN, torch.tensor([0, 1, -1]))
    tower.elder.named.fill_(1)
    tower.elder.meanings.copy_(F.normalize(torch.randn(1, 32), dim=-1))
    return tower


@pytest.fixture
def features() -> torch.Tensor:
    """Of two images."""
    return torch.randn(2, 64, 64, CHANNELS, generator=torch.Generator().manual_seed(1))


def alone(tower: CompactTower) -> CompactTower:
    """The same without an elder."""
    young = CompactTower(SHAPE).eval().requires_grad_(False)
    young.know(KNOWN, tower.named)
    young.load_state_dict({name: value for name, value in tower.state_dict().items() if not name.startswith("elder")})
    return young


def test_a_text_of_no_target_of_the_elder_is_answered_by_the_tower_alone(tower, features) -> None:
    young = alone(tower)
    found = tower.answer(tower.view(features), KnownTexts(tower).both(KNOWN[[0, 2]]))
    expected = young.answer(young.view(features), KnownTexts(young).both(KNOWN[[0, 2]]))
    assert all(torch.allclose(one, other, atol=1e-5) for one, other in zip(found, expected, strict=True))


def test_a_target_of_the_elder_is_answered_by_the_mean_of_both_maps_as_sure_as_each_is(tower, features) -> None:
    text, cells = KnownTexts(tower).both(KNOWN[[1]]), tower.view(features)
    assert text[:, 32:].norm() == pytest.approx(1, abs=1e-4)
    (own, mine), (older, theirs) = (
        alone(tower).answer(cells[..., :32], text[:, :32]),
        tower.elder.eyes.answer(cells[..., 32:], text[:, 32:]),
    )
    maps, presence = tower.answer(cells, text)
    weights = ELDER * theirs.sigmoid(), (1 - ELDER) * mine.sigmoid()
    share = (weights[0] / sum(weights))[..., None, None]
    assert torch.allclose(maps, share * older + (1 - share) * own, atol=1e-4)
    assert torch.allclose(presence, (mine + theirs) / 2, atol=1e-4)


def test_a_text_nearer_to_another_target_is_no_text_of_the_elder(tower) -> None:
    between = F.normalize(torch.stack([KNOWN[0] + 0.9 * KNOWN[1], 0.9 * KNOWN[0] + KNOWN[1]]), dim=-1)
    assert KnownTexts(tower).both(between)[:, 32:].norm(dim=-1).tolist() == pytest.approx([0, 1], abs=1e-4)


def test_several_wordings_of_a_target_ask_the_elder_as_much_as_one(tower, features) -> None:
    text, cells = KnownTexts(tower).both(KNOWN[[1]]), tower.view(features)
    one, several = tower.answer(cells, text), tower.answer(cells, ensemble(text.repeat(2, 1))[None])
    assert all(torch.allclose(first, second, atol=1e-4) for first, second in zip(one, several, strict=True))


def test_the_meaning_to_the_tower_does_not_depend_on_the_elder(tower) -> None:
    texts = KnownTexts(tower)
    assert torch.equal(texts.both(KNOWN)[:, :32], texts.read(KNOWN))
    young = KnownTexts(alone(tower))
    assert torch.equal(young.both(KNOWN), young.read(KNOWN))


def test_an_elder_is_stored_with_its_tower(tower, features, tmp_path: Path) -> None:
    path = tmp_path / "compact.safetensors"
    path.write_bytes(to_bytes(tower))
    loaded = load_tower(path)
    texts, again = KnownTexts(tower).both(KNOWN), KnownTexts(loaded).both(KNOWN)
    for one, other in zip(
        tower.answer(tower.view(features), texts), loaded.answer(loaded.view(features), again), strict=True
    ):
        assert torch.allclose(one, other, atol=0.1)
    assert loaded.elder.named.tolist() == [1]
