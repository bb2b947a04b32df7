"""MedCLIPSeg on the package's own towers: it begins as the embedded CLIP, and trains nothing that is frozen."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from medclipsam.networks.contract import Batch, Inputs, Taught
from medclipsam.networks.medclipseg.build import build
from medclipsam.networks.medclipseg.embedded import EmbeddedTowers, features_of
from medclipsam.networks.medclipseg.network import MedClipSeg
from medclipsam.networks.medclipseg.settings import EMBEDDED

TEXT = "one small oval tumor at the top left"


@pytest.fixture(scope="module")
def network() -> MedClipSeg:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    return build(EMBEDDED, Taught(targets=("tumor",)), torch.device("cpu")).eval()


@pytest.fixture(scope="module")
def inputs(network: MedClipSeg) -> Inputs:
    rows, columns = torch.meshgrid(torch.linspace(-1, 1, 256), torch.linspace(-1, 1, 256), indexing="ij")
    pixels = (0.5 + 0.2 * torch.sin(9 * rows) * torch.cos(7 * columns)).expand(1, 3, -1, -1).clone()
    pixels[:, :, 80:140, 90:150] = 0.1
    return Inputs(pixels=pixels, features=network.encode(pixels), texts=(TEXT,), image_of=torch.tensor([0]))


@torch.no_grad()
def test_before_training_it_is_the_embedded_clips_dense_map(network: MedClipSeg, inputs: Inputs) -> None:
    towers = network.towers
    assert isinstance(towers, EmbeddedTowers)
    tower, features = towers.tower, features_of(inputs)
    cells = tower.alone(features, torch.zeros(1, 256, 256, 3)).cells
    words = towers.start_text([TEXT], 0, padded=False)
    read = words.tokens
    for block in range(1, towers.widths.blocks):
        read = towers.text_block(block, read, words)
    dense = tower.dense_logits(cells, towers.sentence(read, words))[:, :, 0]
    expected = F.interpolate(dense, (128, 128), mode="bilinear", align_corners=False).sigmoid()
    assert network.probability(inputs) == pytest.approx(expected.numpy(), abs=0.05)


def test_features_are_small_and_say_what_they_depend_on(network: MedClipSeg, inputs: Inputs) -> None:
    assert sum(each.nbytes for each in inputs.features.values()) < 2**20
    assert all(digest in network.encoding for digest in list(network.frozen.values())[:2])


def test_gradients_reach_adapters_and_head_alone(network: MedClipSeg, inputs: Inputs) -> None:
    masks = torch.zeros(1, 256, 256)
    masks[0, 80:140, 90:150] = 1
    batch = Batch(**vars(inputs), targets=("tumor",), masks=masks, present=torch.tensor([True]))
    network.train()(batch)["loss"].backward()
    network.eval()
    assert [name for name, weight in network.named_parameters() if weight.grad is None] == []
    towers = network.towers
    assert isinstance(towers, EmbeddedTowers)
    assert all(weight.grad is None for weight in towers.tower.parameters())
