"""BiCLIP: its size, its losses one by one, where gradients stop; image, pseudo-image and mask stay together."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from medclipsam.backbones.frozen_texts import FrozenTexts
from medclipsam.errors import BadInput
from medclipsam.networks.biclip import Biclip
from medclipsam.networks.biclip_losses import biclip_losses, consistency_loss, cycle_loss, mask_loss
from medclipsam.networks.biclip_settings import BICLIP, BICLIP_SMALL, EF_UNET, BiclipSettings
from medclipsam.networks.contract import Batch
from medclipsam.networks.views import Reach, Warp, motion_kernels, photometric

TINY = replace(BICLIP_SMALL, side=32, widths=(4, 8, 16), seen=(4, 8))
LIKELY, UNLIKELY = math.log(3), -math.log(3)
"""Logits of 3/4 and 1/4."""


def texts(width: int = 6) -> FrozenTexts:
    """Each text as its length, in a direction of its first letter."""

    def read(some: list[str]) -> Tensor:
        rows = [[len(text) * ((ord(text[0]) + place) % 5 + 1) / 10 for place in range(width)] for text in some]
        return torch.tensor(rows)

    return FrozenTexts(read, width, {})  # type: ignore[arg-type]


def network(settings: BiclipSettings = TINY) -> Biclip:
    torch.manual_seed(0)
    return Biclip(settings, texts())


def batch(side: int = 32) -> Batch:
    """Two images, three rows: a bright square and two questions, a dark image and one."""
    pixels, masks = torch.full((2, 3, side, side), 0.2), torch.zeros(3, side, side)
    pixels[0, :, 8:20, 6:18] = 0.9
    masks[0, 8:20, 6:18] = 1
    return Batch(
        pixels=pixels,
        texts=("one lump", "no lump", "nothing"),
        image_of=torch.tensor([0, 0, 1]),
        targets=("lump",) * 3,
        masks=masks,
        present=torch.tensor([True, False, False]),
    )


def millions(network: torch.nn.Module) -> float:
    return sum(weight.numel() for weight in network.parameters()) / 1e6


@pytest.fixture(scope="module")
def whole() -> Biclip:
    """At full size."""
    return Biclip(BICLIP, texts(768))


def test_biclip_has_the_published_number_of_trainable_parameters(whole: Biclip) -> None:
    assert millions(whole) == pytest.approx(33.932140, abs=1e-6)


def test_each_part_has_its_published_size(whole: Biclip) -> None:
    parts = {"unet": 31.04, "text": 1.22, "refiner": 1.43, "seen": 0.15, "retell": 0.07, "generator": 0.0027}
    assert {name: millions(getattr(whole, name)) for name in parts} == pytest.approx(parts, abs=0.005)
    assert millions(whole.project) == pytest.approx(0.017, abs=0.0005)  # type: ignore[arg-type]


def test_ef_unet_is_biclip_without_refiner_cycle_and_consistency() -> None:
    small = replace(EF_UNET, side=32, widths=(4, 8, 16))
    assert set(dict(Biclip(small, texts()).named_children())) == {"unet", "text", "generator"}


def test_refining_twice_is_refining_the_refined_text_with_the_same_weights() -> None:
    once, twice = network(), network(replace(TINY, refine_steps=2))
    twice.load_state_dict(once.state_dict())
    text, images = torch.randn(2, TINY.text_length), torch.rand(2, 3, 32, 32)
    assert torch.allclose(twice.refined(text, images), once.refined(once.refined(text, images), images))
    assert not torch.allclose(twice.refined(text, images), once.refined(text, images))


def test_the_mask_loss_is_dice_of_each_image_plus_cross_entropy() -> None:
    logits = torch.tensor([[[LIKELY, UNLIKELY]], [[UNLIKELY, UNLIKELY]]])
    truth = torch.tensor([[[1.0, 0.0]], [[1.0, 1.0]]])
    dice = (1 - 1.5 / 2 + 1 - 1 / 2.5) / 2
    entropy = -(math.log(0.75) * 2 + math.log(0.25) * 2) / 4
    assert mask_loss(logits, truth, bce_on_probs=False).item() == pytest.approx(dice + entropy, abs=1e-4)


def test_the_released_cross_entropy_takes_probabilities_for_logits() -> None:
    logits, truth = torch.tensor([[[LIKELY, UNLIKELY]]]), torch.tensor([[[1.0, 0.0]]])
    twice = [1 / (1 + math.exp(-0.75)), 1 / (1 + math.exp(-0.25))]
    entropy = -(math.log(twice[0]) + math.log(1 - twice[1])) / 2
    assert mask_loss(logits, truth, bce_on_probs=True).item() == pytest.approx(1 - 1.5 / 2 + entropy, abs=1e-4)


def test_consistency_is_one_minus_the_cosine() -> None:
    weak, strong = torch.tensor([[1.0, 0.0], [1.0, 0.0]]), torch.tensor([[2.0, 0.0], [0.0, 3.0]])
    assert consistency_loss(weak, strong, "none").item() == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("stop", "reached"), [("strong", [True, False]), ("weak", [False, True]), ("none", [True, True])]
)
def test_consistency_stops_its_gradient_in_the_named_view(stop: str, reached: list[bool]) -> None:
    views = [torch.randn(2, 4, requires_grad=True) for _ in range(2)]
    consistency_loss(*views, stop).backward()  # type: ignore[arg-type]
    assert [view.grad is not None and bool(view.grad.any()) for view in views] == reached


@pytest.mark.parametrize(("form", "value"), [("squared", 5.0), ("absolute", 2.0)])
def test_the_cycle_compares_with_a_text_that_it_does_not_move(form: str, value: float) -> None:
    text, retold = torch.tensor([[1.0, 1.0]], requires_grad=True), torch.tensor([[2.0, 4.0]], requires_grad=True)
    loss = cycle_loss(retold, text, form)  # type: ignore[arg-type]
    loss.backward()
    assert (loss.item(), text.grad) == (value, None)
    assert retold.grad is not None


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({}, {"mask": 1, "pseudo": 0.1, "consistency": 0.05, "cycle": 0.07}),
        ({"consistency_weight": 0.0}, {"mask": 1, "pseudo": 0.1, "cycle": 0.07}),
        ({"cycle_weight": 0.0, "pseudo_weight": 0.3}, {"mask": 1, "pseudo": 0.3, "consistency": 0.05}),
    ],
)
def test_the_loss_is_the_weighted_sum_of_the_parts_that_the_settings_name(
    changes: dict[str, float], parts: dict[str, float]
) -> None:
    found = network(replace(TINY, **changes)).train().losses(batch())  # type: ignore[arg-type]
    assert set(found) == {"loss", *(f"{name}_loss" for name in parts)}
    total = sum(weight * found[f"{name}_loss"] for name, weight in parts.items())
    assert torch.allclose(found["loss"], torch.as_tensor(total))


def test_the_pseudo_image_aims_at_the_lesion_and_nothing_around_it() -> None:
    seen = network().training_pass(batch())
    assert seen.lesion[0, 0, 10, 10].item() == pytest.approx(0.9)
    assert (seen.lesion[0].sum(), seen.lesion[1:].any()) == (pytest.approx(0.9 * 144 * 3), False)


def reached(settings: BiclipSettings, part: str) -> set[str]:
    """The children of the network that the gradient of one loss reaches."""
    trained = network(settings).train()
    biclip_losses(trained.training_pass(batch()), settings)[part].backward()
    with_gradient = [
        name for name, weight in trained.named_parameters() if weight.grad is not None and weight.grad.any()
    ]
    return {name.partition(".")[0] for name in with_gradient}


READING = {"text", "seen", "refiner", "generator"}


def test_the_mask_trains_what_reads_the_text_for_the_pseudo_image_is_not_detached() -> None:
    assert reached(TINY, "mask_loss") == READING | {"unet"}


def test_the_pseudo_image_trains_only_what_draws_it() -> None:
    assert reached(TINY, "pseudo_loss") == READING


def test_the_cycle_trains_what_draws_and_what_tells_again() -> None:
    assert reached(TINY, "cycle_loss") == READING | {"retell"}


@pytest.mark.parametrize("stop", ["strong", "weak", "none"])
def test_consistency_trains_the_summary_and_all_before_it(stop: str) -> None:
    assert reached(replace(TINY, stop_gradient=stop), "consistency_loss") == READING | {"unet", "project"}  # type: ignore[arg-type]


def test_the_released_strong_view_is_seen_without_gradients() -> None:
    seen = network(replace(TINY, stop_gradient="strong")).train().training_pass(batch())
    assert seen.weak is not None and seen.weak.requires_grad
    assert seen.strong is not None and not seen.strong.requires_grad


def test_a_warp_keeps_image_pseudo_image_and_mask_pixel_on_pixel() -> None:
    torch.manual_seed(1)
    masks = torch.zeros(16, 32, 32)
    masks[:, 6:22, 10:18] = 1
    warp = Warp.drawn(16, Reach(moved=0.9, rotation=30, shift=0.1, zoom=(0.8, 1.2)), masks.device)
    moved, picture = warp.masks(masks), warp.images(masks[:, None].expand(-1, 3, -1, -1))
    assert set(moved.unique().tolist()) == {0.0, 1.0}
    assert not torch.equal(moved, masks)
    assert (
        (picture[:, 0] > 0.5) != (moved > 0.5)
    ).float().mean() < 0.02  # a few pixels of the outline round differently
    assert torch.equal(picture[:, 0], picture[:, 2])


def test_a_warp_that_moves_nothing_only_mirrors() -> None:
    torch.manual_seed(0)
    image = torch.arange(64.0).view(1, 1, 8, 8).expand(32, -1, -1, -1)
    moved = Warp.drawn(32, Reach(moved=0, rotation=30, shift=0.1, zoom=(0.8, 1.2)), image.device).images(image)
    wanted = [image[0], image[0].flip(1), image[0].flip(2), image[0].flip(1, 2)]
    found = [[torch.allclose(each, like, atol=1e-3) for like in wanted] for each in moved]
    assert all(sum(row) == 1 for row in found)
    assert all(any(column) for column in zip(*found, strict=True))


def test_the_photometric_view_stays_an_image_and_changes_it() -> None:
    torch.manual_seed(0)
    images = torch.rand(8, 3, 16, 16)
    changed = photometric(images)
    assert changed.shape == images.shape and changed.min() >= 0 and changed.max() <= 1
    assert all(not torch.allclose(before, after) for before, after in zip(images, changed, strict=True))


def test_a_motion_kernel_is_a_line_that_sums_to_one() -> None:
    flat, upright = motion_kernels(5, torch.tensor([0.0, 90.0]), torch.zeros(2))
    assert torch.allclose(flat, torch.tensor([[0.0] * 5] * 2 + [[0.2] * 5] + [[0.0] * 5] * 2))
    assert torch.allclose(upright, flat.T)


def test_an_answer_does_not_depend_on_its_company() -> None:
    trained = network().eval()
    together = trained.probability(batch())
    whole = batch()
    alone = replace(whole, pixels=whole.pixels[1:], texts=("nothing",), image_of=torch.tensor([0]))
    assert together.shape == (1, 3, 32, 32)
    assert torch.allclose(trained.probability(alone)[0, 0], together[0, 2], atol=1e-6)


def test_the_text_changes_the_answer() -> None:
    told = network().eval().probability(batch())[0]
    assert not torch.equal(told[0], told[1])


def test_a_few_steps_teach_where_the_square_is_and_that_a_dark_image_has_none() -> None:
    trained, whole = network(replace(TINY, widths=(4, 8), moved=0, consistency_weight=0)).train(), batch()
    seen = replace(whole, texts=("a lump", "a lump"), image_of=torch.tensor([0, 1]), masks=whole.masks[[0, 2]])
    optimizer = torch.optim.AdamW(trained.parameters(), lr=1e-2)
    for _ in range(40):
        optimizer.zero_grad()
        trained.losses(seen)["loss"].backward()
        optimizer.step()
    found, truth = trained.eval().probability(seen)[0] > 0.5, seen.masks > 0.5
    assert (found[0] & truth[0]).sum() / (found[0] | truth[0]).sum() > 0.7
    assert not found[1].any()


def test_a_square_that_cannot_be_halved_is_refused_in_one_line() -> None:
    with pytest.raises(BadInput, match="cannot be halved"):
        replace(BICLIP, side=200)
