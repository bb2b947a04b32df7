"""EM-CLIP: assignments that mean something, centres in the texts' order, gradients, and one map for each text."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from medclipsam.backbones.frozen_texts import FrozenTexts
from medclipsam.errors import BadInput
from medclipsam.networks.aggregation import EmAggregation
from medclipsam.networks.contract import Batch
from medclipsam.networks.emclip import EmClip, intra_class_variance
from medclipsam.networks.emclip_settings import EMCLIP, EmClipSettings
from medclipsam.networks.towers import Towers

SIDE, CHANNELS = 32, 6
TINY = replace(EMCLIP, side=SIDE, width=16, heads=2, rounds=1, bank=4)
DISC, CUP = "optic disc", "optic cup"


def towers() -> Towers:
    """A frozen convolution on 8 x 8 cells and its means; texts are random vectors of their letters."""
    generator = torch.Generator().manual_seed(0)
    filters = torch.randn(CHANNELS, 3, 4, 4, generator=generator)

    def read(some: list[str]) -> Tensor:
        return torch.stack([torch.randn(5, generator=torch.Generator().manual_seed(len(text))) for text in some])

    def encode(pixels: Tensor) -> Mapping[str, Tensor]:
        return {"cells": F.conv2d(pixels, filters, stride=4)}

    def levels(kept: Mapping[str, Tensor]) -> list[Tensor]:
        cells = kept["cells"]
        grids = (F.avg_pool2d(cells, 4), F.avg_pool2d(cells, 2), cells)
        return [grid.flatten(2).transpose(1, 2) for grid in grids]

    texts = FrozenTexts(read, 5, {})  # type: ignore[arg-type]
    return Towers(
        side=SIDE, channels=(CHANNELS,) * 3, grids=(2, 4, 8), encode=encode, levels=levels, texts=texts, hashes={}
    )


def network(settings: EmClipSettings = TINY) -> EmClip:
    torch.manual_seed(0)
    return EmClip(settings, towers(), (CUP, DISC))


def batch() -> Batch:
    """Two images: in each a grey disc with a white cup in it, elsewhere."""
    pixels, masks = (
        0.1 * torch.rand(2, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(1)),
        torch.zeros(4, 32, 32),
    )
    for image, (top, left) in enumerate([(4, 4), (12, 8)]):
        masks[2 * image, top + 4 : top + 12, left + 4 : left + 12] = 1
        masks[2 * image + 1, top : top + 16, left : left + 16] = 1
        pixels[image] += 0.3 * masks[2 * image + 1] + 0.5 * masks[2 * image]
    return Batch(
        pixels=pixels,
        texts=(CUP, DISC) * 2,
        image_of=torch.tensor([0, 0, 1, 1]),
        targets=(CUP, DISC) * 2,
        masks=masks,
        present=torch.ones(4, dtype=torch.bool),
    )


def trained(settings: EmClipSettings = TINY, steps: int = 80) -> EmClip:
    found = network(settings).train()
    optimizer = torch.optim.AdamW(found.parameters(), lr=5e-3)
    for _ in range(steps):
        optimizer.zero_grad()
        found.losses(batch())["loss"].backward()
        optimizer.step()
    return found.eval()


@pytest.fixture(scope="module")
def learned() -> EmClip:
    return trained()


def test_after_training_assignments_are_not_alike_and_centres_not_one(learned: EmClip) -> None:
    for each in learned.answer(learned.encode(batch().pixels)).assignments:
        assert each.entropy() < 0.9
        assert each.cosine() < 0.9


def test_a_high_temperature_leaves_every_assignment_alike() -> None:
    """The failure that a low temperature and centres at right angles prevent."""
    torch.manual_seed(0)
    block = EmAggregation(8, bank=4, momentum=0.9, iterations=3, temperature=100.0)
    found = block.assign(torch.randn(1, 20, 8), torch.randn(1, 2, 8))
    assert found.entropy() > 0.99
    assert found.cosine() > 0.9


def test_shares_sum_to_one_and_tokens_and_centres_have_unit_length() -> None:
    torch.manual_seed(0)
    found = EmAggregation(8, bank=4, momentum=0.9, iterations=3, temperature=0.1).assign(
        torch.randn(2, 20, 8), torch.randn(2, 3, 8)
    )
    assert found.shares.shape == (2, 23, 7)
    for one in (found.shares.sum(dim=2), found.tokens.norm(dim=2), found.centres.norm(dim=2)):
        assert torch.allclose(one, torch.ones_like(one), atol=1e-5)


def test_two_clouds_of_tokens_find_a_centre_each() -> None:
    clouds = torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]).repeat_interleave(10, dim=0)
    tokens = clouds + 0.05 * torch.randn(20, 4, generator=torch.Generator().manual_seed(0))
    block = EmAggregation(4, bank=0, momentum=0.9, iterations=5, temperature=0.1)
    found = block.assign(tokens[None], torch.tensor([[[1.0, 0, 0, 0], [0, 1.0, 0, 0]]]))
    assert found.shares[0, :20].argmax(dim=1).tolist() == [0] * 10 + [1] * 10


def test_centres_and_maps_follow_the_order_of_the_texts(learned: EmClip) -> None:
    features, order = learned.encode(batch().pixels), torch.tensor([1, 0, 2])
    plain, swapped = learned.answer(features), learned.answer(features, learned.names[order])
    assert torch.allclose(swapped.logits, plain.logits[:, [1, 0]], atol=1e-4)
    for before, after in zip(plain.assignments, swapped.assignments, strict=True):
        assert torch.allclose(after.centres[:, :3], before.centres[:, order], atol=1e-5)
        assert torch.allclose(after.centres[:, 3:], before.centres[:, 3:], atol=1e-5)


def test_the_bank_moves_in_training_alone() -> None:
    found = network().train()
    block = found.aggregation[0]  # type: ignore[index]
    before = block.bank.clone()
    found.eval().answer(found.encode(batch().pixels))
    assert torch.equal(block.bank, before)
    found.train().answer(found.encode(batch().pixels))
    assert not torch.equal(block.bank, before)
    assert torch.allclose(block.bank.norm(dim=1), torch.ones(4))


def test_one_image_answers_all_structures_and_a_cup_lies_inside_its_disc(learned: EmClip) -> None:
    found = F.interpolate(learned.probability(batch())[0][None], (SIDE, SIDE))[0] > 0.5
    for mask, truth in zip(found, batch().masks > 0.5, strict=True):
        assert (mask & truth).sum() / (mask | truth).sum() > 0.6
    assert (found[0] & ~found[1]).sum() < 0.05 * found[0].sum()


@pytest.mark.parametrize("aggregation", [True, False])
@pytest.mark.parametrize("text_decoder", [True, False])
def test_gradients_reach_every_trained_weight_and_no_other(aggregation: bool, text_decoder: bool) -> None:
    found = network(replace(TINY, aggregation=aggregation, text_decoder=text_decoder)).train()
    whole = batch()
    pixels = whole.pixels.requires_grad_()
    found.losses(whole)["loss"].backward()
    assert {name for name, weight in found.named_parameters() if weight.grad is None} == set()
    assert pixels.grad is None


def test_switches_leave_their_parts_out() -> None:
    neither = network(replace(TINY, aggregation=False, text_decoder=False))
    assert neither.aggregation is None
    assert not any("text" in name for name, _ in neither.named_parameters())
    assert set(neither.train().losses(batch())) == {"loss", "dice_loss", "entropy_loss"}
    both = set(network().train().losses(batch()))
    assert both >= {"score_loss", "compact_loss", "anchor_loss", "entropy", "centre_cosine"}


def test_a_structure_that_is_not_labelled_in_an_image_teaches_nothing_there() -> None:
    whole = batch()
    one = replace(
        whole,
        texts=(CUP,),
        targets=(CUP,),
        image_of=torch.tensor([1]),
        masks=whole.masks[2:3],
        present=torch.tensor([True]),
    )
    found = network(replace(TINY, aggregation=False, text_decoder=False)).train()
    found.losses(one)["loss"].backward()
    gradient = found.reader.filters.weight.grad
    assert gradient is not None and gradient.any(dim=1).tolist() == [True, False]


def test_a_prompt_is_answered_by_the_structure_that_it_names_and_no_other_is_invented() -> None:
    found = network()
    assert (found.structure("Optic Cup"), found.structure(DISC)) == (0, 1)
    with pytest.raises(BadInput, match="learned optic cup, optic disc, not 'spleen'"):
        found.structure("spleen")


def test_kept_features_give_the_answer_of_the_pixels() -> None:
    found, whole = network().eval(), batch()
    kept = replace(whole, pixels=whole.pixels[:0], features=found.encode(whole.pixels))
    assert torch.equal(found.probability(kept), found.probability(whole))
    assert found.encoding


def test_another_square_than_the_towers_is_refused_in_one_line() -> None:
    with pytest.raises(BadInput, match="squares of 32 pixels"):
        EmClip(replace(TINY, side=64), towers(), (CUP,))


def test_variance_within_a_structure_is_0_for_one_vector_and_1_for_opposite_ones() -> None:
    pixels, inside = torch.tensor([[1.0, 0.0], [2.0, 0.0], [-1.0, 0.0]]), torch.tensor([True, True, False])
    assert intra_class_variance(pixels, inside) == pytest.approx(0)
    assert intra_class_variance(pixels[[0, 2]], inside[:2]) == pytest.approx(1)
