"""Does Grad-CAM weigh channels by their gradient, behind the same face as M2IB?"""

from __future__ import annotations

from pathlib import Path

import torch
from tiny_clip import open_clip_folder, random_clip
from torch import Tensor

from medclipsam.prompting.gradcam import GradCam


class Weighted:
    """Four tokens of two channels and no class token: the embedding adds the tokens up."""

    side, grid, prefix_tokens, blocks = 4, (2, 2), 0, 3
    device, identity = torch.device("cpu"), "weighted"

    def upper(self, tokens: Tensor, layer: int) -> Tensor:
        return tokens.sum(dim=1)


def test_a_map_follows_the_channels_that_raise_the_score() -> None:
    tokens = torch.tensor([[[4.0, 0.0], [0.0, 4.0], [2.0, 0.0], [0.0, 2.0]]])
    maps = GradCam().explain(Weighted(), tokens, torch.tensor([[1.0, 0.0]]))
    assert maps.tolist() == [[[1, 0], [0.5, 0]]]


def test_the_layer_before_the_last_is_the_default() -> None:
    assert GradCam().layer_in(Weighted()) == 1
    assert GradCam(layer=2).layer_in(Weighted()) == 2


def test_other_images_in_the_batch_change_no_bit(tmp_path: Path) -> None:
    model = random_clip(open_clip_folder(tmp_path / "model"))
    pixels = torch.randn(3, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    explainer = GradCam()
    tokens, text = model.lower(pixels, explainer.layer_in(model)), model.encode_text(["lung", "brain", "a mass"])
    together = explainer.explain(model, tokens, text)
    alone = [explainer.explain(model, tokens[[row]], text[[row]]) for row in range(3)]
    assert torch.equal(together, torch.cat(alone))
    assert together.amax() == 1
