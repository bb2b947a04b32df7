"""DHN-NCE against the published numbers, against the formula written naively, and in its gradients."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from medclipsam.errors import BadInput
from medclipsam.training.losses import HardNegativeLoss, ReleasedLoss, contrastive_loss, identical, pair_cosines

COSINES = torch.tensor([[0.8, 0.5, 0.1], [0.3, 0.7, 0.2], [0.0, 0.6, 0.9]], dtype=torch.float64)
EXACT = {"rel": 0, "abs": 1e-9}


def random_cosines(pairs: int, seed: int) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    image, text = torch.randn(2, pairs, 8, generator=generator, dtype=torch.float64)
    return pair_cosines(image, text)


def gradient(loss: HardNegativeLoss | ReleasedLoss, cosines: Tensor) -> Tensor:
    """With respect to the scaled cosines, as the papers write it."""
    scaled = (cosines / loss.temperature).requires_grad_()
    loss.of_cosines(scaled * loss.temperature).backward()
    assert scaled.grad is not None
    return scaled.grad


def naive_rows(cosines: Tensor, temperature: float, beta: float) -> Tensor:
    """Equations 7 to 10 of the paper, term by term."""
    losses = []
    for i in range(len(cosines)):
        others = [j for j in range(len(cosines)) if j != i]
        spread = sum(math.exp(beta * cosines[i, k] / temperature) for k in others)
        weight = {j: len(others) * math.exp(beta * cosines[i, j] / temperature) / spread for j in others}
        negatives = sum(math.exp(cosines[i, j] / temperature) * weight[j] for j in others)
        losses.append(-cosines[i, i] / temperature + math.log(negatives))
    return torch.stack(losses)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("dhn-nce", -0.2431934935),
        ("dhn-nce-released", -1.7161082938),
        ("dcl", -0.2639261335),
        ("infonce", 1.2823984484),
    ],
)
def test_the_published_vector_is_met_to_nine_digits(name, value):
    assert contrastive_loss(name).of_cosines(COSINES).item() == pytest.approx(value, abs=5.1e-11, rel=0)


def test_every_row_of_the_published_vector_is_met():
    loss = HardNegativeLoss()
    rows, columns = loss.image_rows(COSINES), loss.text_rows(COSINES)
    assert rows.tolist() == pytest.approx([-0.069695, -0.052346, -0.152729], abs=5.1e-7)
    assert columns.tolist() == pytest.approx([-0.350118, 0.447654, -0.552346], abs=5.1e-7)


@settings(deadline=None)
@given(st.integers(2, 9), st.integers(0, 10_000), st.floats(0.05, 2), st.floats(0, 2))
def test_the_stable_form_equals_the_naive_formula(pairs, seed, temperature, beta):
    cosines = random_cosines(pairs, seed)
    loss = HardNegativeLoss(temperature=temperature, beta_image=beta, beta_text=2 * beta)
    torch.testing.assert_close(loss.image_rows(cosines), naive_rows(cosines, temperature, beta), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(
        loss.text_rows(cosines), naive_rows(cosines.T, temperature, 2 * beta), rtol=1e-9, atol=1e-9
    )


def test_without_hardness_dhn_nce_is_dcl_and_hn_nce_is_infonce():
    cosines = random_cosines(7, 1)
    for hard, easy in (("dhn-nce", "dcl"), ("hn-nce", "infonce")):
        without = contrastive_loss(hard, beta=0).of_cosines(cosines).item()
        assert without == pytest.approx(contrastive_loss(easy).of_cosines(cosines).item(), **EXACT)


def test_infonce_is_cross_entropy_in_both_directions():
    cosines, right = random_cosines(6, 2), torch.arange(6)
    cross_entropy = torch.nn.functional.cross_entropy
    expected = cross_entropy(cosines / 0.6, right) + cross_entropy(cosines.T / 0.6, right)
    assert contrastive_loss("infonce").of_cosines(cosines).item() == pytest.approx(expected.item(), **EXACT)


def test_hn_nce_puts_the_positive_back_beside_the_weighted_negatives():
    cosines = random_cosines(5, 3)
    decoupled = naive_rows(cosines, 0.6, 0.15) + cosines.diagonal() / 0.6
    expected = (decoupled.exp() + (cosines.diagonal() / 0.6).exp()).log() - cosines.diagonal() / 0.6
    coupled = HardNegativeLoss(positive_weight=1).image_rows(cosines)
    torch.testing.assert_close(coupled, expected, rtol=1e-9, atol=1e-9)


def test_the_gradient_is_the_difference_of_two_softmaxes():
    cosines, beta = random_cosines(8, 4), 0.3
    loss = HardNegativeLoss(beta_image=beta, beta_text=beta)
    hidden = (cosines / 0.6).masked_fill(torch.eye(8, dtype=torch.bool), -math.inf)
    one_way = [(1 + beta) * ((1 + beta) * x).softmax(1) - beta * (beta * x).softmax(1) for x in (hidden, hidden.T)]
    expected = (one_way[0] + one_way[1].T - 2 * torch.eye(8)) / 8
    torch.testing.assert_close(gradient(loss, cosines), expected, rtol=0, atol=1e-9)


def test_detached_weights_never_pull_a_negative():
    cosines = random_cosines(12, 5)
    off_diagonal = ~torch.eye(12, dtype=torch.bool)
    through = gradient(HardNegativeLoss(temperature=0.1, beta_image=2, beta_text=2), cosines)
    detached = gradient(HardNegativeLoss(temperature=0.1, beta_image=2, beta_text=2, detach_weights=True), cosines)
    assert through[off_diagonal].min() < 0
    assert detached[off_diagonal].min() >= 0


def test_detached_weights_change_the_gradient_and_not_the_value():
    cosines = random_cosines(6, 6)
    plain, detached = contrastive_loss("dhn-nce"), contrastive_loss("dhn-nce", detach_weights=True)
    assert detached.of_cosines(cosines).item() == pytest.approx(plain.of_cosines(cosines).item(), **EXACT)
    assert not torch.allclose(gradient(plain, cosines), gradient(detached, cosines))


def test_the_paper_pushes_a_planted_hard_negative_and_the_released_form_pulls_it():
    cosines = random_cosines(16, 7) * 0.1 + 0.7 * torch.eye(16)
    cosines[3, 5] = 0.75
    paper, released = gradient(HardNegativeLoss(), cosines), gradient(ReleasedLoss(), cosines)
    assert paper[3, 5] == paper.max() > 0
    assert released[3, 5] < 0
    assert released[0, 1] > 0
    assert paper[3, 3] < 10 * released[3, 3] < 0


def test_the_released_gradient_is_the_stated_one():
    cosines, pairs, beta = random_cosines(9, 8), 9, 0.15
    scaled = cosines / 0.6
    off_diagonal = ~torch.eye(pairs, dtype=torch.bool)
    expected = torch.zeros_like(scaled)
    for x, turn in ((scaled, lambda y: y), (scaled.T, lambda y: y.T)):
        normaliser = 1 + (x.exp() * off_diagonal).sum(1, keepdim=True)
        expected += turn((1 + beta) / pairs**2 - x.exp() / normaliser / pairs)
    torch.testing.assert_close(
        gradient(ReleasedLoss(), cosines)[off_diagonal], expected[off_diagonal], rtol=0, atol=1e-9
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("name", ["dhn-nce", "hn-nce", "dcl", "infonce", "dhn-nce-released"])
def test_half_precision_is_raised_and_stays_finite_for_equal_and_opposite_embeddings(name, dtype):
    image = torch.tensor([[1.0, 0], [1, 0], [-1, 0]], dtype=dtype, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        loss = contrastive_loss(name, temperature=0.01)(image, image.detach().flip(0))
    loss.backward()
    assert loss.dtype == torch.float32
    assert torch.isfinite(loss)
    assert image.grad is not None
    assert torch.isfinite(image.grad).all()


def test_a_masked_pair_is_no_negative():
    keys = torch.tensor([4, 9, 4, 7])
    cosines = random_cosines(4, 9)
    masked = HardNegativeLoss().image_rows(cosines, identical(keys))
    without = [row for row in range(4) if row != 2]
    assert masked[0].item() == pytest.approx(naive_rows(cosines[without][:, without], 0.6, 0.15)[0].item(), **EXACT)
    assert masked[1].item() == pytest.approx(naive_rows(cosines, 0.6, 0.15)[1].item(), **EXACT)


def test_a_batch_of_one_caption_only_has_no_loss_and_no_gradient():
    image = torch.randn(3, 4, requires_grad=True)
    loss = contrastive_loss("dhn-nce")(image, torch.randn(3, 4), identical(torch.zeros(3, dtype=torch.int64)))
    loss.backward()
    assert loss.item() == 0
    assert image.grad is not None
    assert image.grad.abs().max() == 0


def test_the_length_of_an_embedding_does_not_matter():
    image, text = torch.randn(2, 5, 6, dtype=torch.float64)
    loss = contrastive_loss("dhn-nce")
    assert loss(7 * image, 0.2 * text).item() == pytest.approx(loss(image, text).item(), **EXACT)


@pytest.mark.parametrize(
    ("image", "text"), [(torch.ones(1, 4), torch.ones(1, 4)), (torch.ones(3, 4), torch.ones(2, 4))]
)
def test_embeddings_that_are_no_batch_of_pairs_are_refused(image, text):
    with pytest.raises(BadInput):
        contrastive_loss("dhn-nce")(image, text)


@pytest.mark.parametrize("settings", [{"temperature": 0.0}, {"beta": -1.0}, {"temperature": float("nan")}])
def test_settings_without_meaning_are_refused(settings):
    with pytest.raises(BadInput):
        contrastive_loss("dhn-nce", **settings)


def test_an_unknown_loss_names_the_known_ones():
    with pytest.raises(BadInput, match="hn-nce"):
        contrastive_loss("triplet")  # type: ignore[arg-type]


def test_the_released_form_cannot_mask():
    with pytest.raises(BadInput, match="dhn-nce"):
        contrastive_loss("dhn-nce-released").of_cosines(COSINES, torch.eye(3, dtype=torch.bool))
