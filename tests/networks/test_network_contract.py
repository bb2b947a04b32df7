"""Every supervised network keeps its contract: losses with gradients, probabilities of rows, settings that survive."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from tiny_towers import write_towers

from medclipsam.errors import BadInput
from medclipsam.networks.biclip_settings import BiclipSettings
from medclipsam.networks.contract import Batch, SupervisedNetwork, Taught
from medclipsam.networks.emclip_settings import EmClipSettings
from medclipsam.networks.medclipseg.settings import CLIP, MedClipSegSettings
from medclipsam.networks.registry import build, settings_as_dict, settings_from
from medclipsam.networks.settings import NetworkSettings, UNetSettings

NETWORKS_UNDER_TEST: dict[str, NetworkSettings] = {
    "unet": UNetSettings(side=32, widths=(4, 8, 16)),
    "biclip": BiclipSettings(side=32, widths=(4, 8, 16), seen=(4, 8)),
    "emclip": EmClipSettings(width=16, heads=2, rounds=1),
    "medclipseg": replace(CLIP, side=32, layers=(1, 2), adapter_width=16),
}
TAUGHT = Taught(targets=("square",), texts=("square",))
CPU = torch.device("cpu")


@pytest.fixture(scope="module", params=NETWORKS_UNDER_TEST)
def network(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> SupervisedNetwork:
    settings = NETWORKS_UNDER_TEST[request.param]
    if isinstance(settings, MedClipSegSettings):
        settings = replace(settings, folder=str(write_towers(tmp_path_factory.mktemp("towers"))))
    torch.manual_seed(0)
    made = build(settings, TAUGHT, CPU)
    made.learn_from(TAUGHT.texts)
    return made


def batch_for(network: SupervisedNetwork) -> Batch:
    """Two images, the first with a square; of the second nothing is there."""
    side = network.side
    pixels = torch.full((2, 3, side, side), 0.2)
    masks = torch.zeros(2, side, side)
    masks[0, 4:12, 4:12] = 1
    pixels[0, :, 4:12, 4:12] = 0.9
    return Batch(
        pixels=pixels,
        features=network.encode(pixels),
        texts=("square", "square"),
        image_of=torch.tensor([0, 1]),
        targets=("square", "square"),
        masks=masks,
        present=torch.tensor([True, False]),
    )


def test_the_loss_reaches_every_trained_weight_and_no_other(network: SupervisedNetwork) -> None:
    losses = network(batch_for(network))
    assert all(value.ndim == 0 and value.isfinite() for value in losses.values())
    losses["loss"].backward()
    trained = {name for name, weight in network.named_parameters() if weight.requires_grad}
    reached = {name for name, weight in network.named_parameters() if weight.grad is not None}
    assert trained == reached == {name for name, _ in network.named_parameters()}


def test_each_row_has_a_probability_of_each_pixel_and_a_presence(network: SupervisedNetwork) -> None:
    with torch.no_grad():
        probability = network.eval().probability(batch_for(network), samples=2)
    assert probability.shape[:2] == (2, 2)
    assert 0 <= probability.min() <= probability.max() <= 1
    assert torch.equal(probability[0], probability[1])
    assert network.presence(probability.mean(0)).shape == (2,)


@pytest.mark.parametrize("settings", NETWORKS_UNDER_TEST.values(), ids=NETWORKS_UNDER_TEST)
def test_settings_come_back_from_json(settings: NetworkSettings) -> None:
    import json

    assert settings_from(json.loads(json.dumps(settings_as_dict(settings)))) == settings


def test_a_network_of_another_version_is_refused_in_one_line() -> None:
    with pytest.raises(BadInput, match="no network 'oracle'"):
        settings_from({"kind": "oracle"})
    with pytest.raises(BadInput, match="of another version"):
        settings_from({"kind": "unet", "depth": 3})


def test_a_network_without_text_learns_one_structure() -> None:
    with pytest.raises(BadInput, match="reads no text"):
        build(UNetSettings(), Taught(targets=("liver", "spleen")), CPU)
