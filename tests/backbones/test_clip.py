"""Is the cut model the whole model, whatever the batch and the tower?"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tiny_clip import biomed_folder, open_clip_folder, random_clip
from torch import Tensor

from medclipsam.backbones.clip import ClipModel
from medclipsam.backbones.tower import ensemble
from medclipsam.errors import BadInput
from medclipsam.types import MedImage

FOLDERS = {"timm": biomed_folder, "open_clip": open_clip_folder}
PROMPTS = ["a breast tumor", "brain tumor with mass masses !", "!", "lung"]


@pytest.fixture(scope="module", params=FOLDERS)
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ClipModel:
    return random_clip(FOLDERS[request.param](tmp_path_factory.mktemp("models") / request.param))


def pixels(model: ClipModel, count: int = 2, seed: int = 1) -> Tensor:
    return torch.randn(count, 3, model.side, model.side, generator=torch.Generator().manual_seed(seed))


def relative(ours: Tensor, expected: Tensor) -> float:
    return float((ours - expected).abs().max() / expected.abs().max())


def test_what_is_cut_off_a_long_prompt_is_told_to_the_token(model: ClipModel) -> None:
    context = model._tokenizer(["lung"]).shape[1]
    assert context in {32, 77}
    full = " ".join(["lung"] * (context - 2))
    assert model.unread("lung") is None
    assert model.unread(full) is None
    assert model.unread(f"{full} lung lung lung") == (context, 3)
    assert torch.equal(model.encode_text([f"{full} lung"]), model.encode_text([f"{full} tumor"]))


def test_lower_and_upper_together_are_the_whole_image_tower(model: ClipModel) -> None:
    with torch.no_grad():
        whole = model.network.encode_image(pixels(model))
    for layer in range(model.blocks):
        assert relative(model.upper(model.lower(pixels(model), layer), layer), whole) < 1e-5


def test_the_class_row_has_the_gradient_of_the_whole_block(model: ClipModel) -> None:
    last = model.blocks - 1
    tokens = model.lower(pixels(model), last - 1)
    direction = torch.randn(24, generator=torch.Generator().manual_seed(3))
    gradients = []
    for finish in (model.upper, lambda given, layer: model._vision.head(model._vision.advance(given, last, last + 1))):
        given_tokens = tokens.clone().requires_grad_()
        (finish(given_tokens, last - 1) @ direction).sum().backward()
        gradients.append(given_tokens.grad)
    assert relative(gradients[0], gradients[1]) < 1e-4


@pytest.mark.parametrize("vision", ["test_vit2", "test_vit3"])
def test_towers_that_pool_all_tokens_run_whole(vision: str, tmp_path: Path) -> None:
    model = random_clip(biomed_folder(tmp_path / vision, vision))
    assert not model._vision.reads_class_alone
    with torch.no_grad():
        whole = model.network.encode_image(pixels(model))
    assert relative(model.upper(model.lower(pixels(model), 2), 2), whole) < 1e-5


def test_tokens_are_the_prefix_and_the_grid(model: ClipModel) -> None:
    tokens = model.lower(pixels(model, 3), 0)
    assert tokens.shape[:2] == (3, model.prefix_tokens + model.grid[0] * model.grid[1])
    assert model.grid == (model.side // 16, model.side // 16) or model.grid == (model.side // 8, model.side // 8)


def test_other_images_in_the_batch_change_no_bit(model: ClipModel) -> None:
    both = model.lower(pixels(model, 5), 2)
    alone = torch.cat([model.lower(image[None], 2) for image in pixels(model, 5)])
    assert torch.equal(both, alone)


def test_text_is_encoded_as_open_clip_encodes_it(model: ClipModel) -> None:
    with torch.no_grad():
        whole = model.network.encode_text(model._tokenizer(PROMPTS))
    assert relative(model.encode_text(PROMPTS), whole) < 1e-5


def test_other_prompts_in_the_list_change_no_bit(model: ClipModel) -> None:
    alone = torch.cat([model.encode_text([prompt]) for prompt in PROMPTS])
    assert torch.equal(model.encode_text(PROMPTS), alone)
    assert torch.equal(model.encode_text(PROMPTS[::-1]), alone.flip(0))


def test_padding_is_hidden_from_a_prompt(model: ClipModel) -> None:
    ids = model._tokenizer(PROMPTS)
    with torch.no_grad():
        padded = model._text.encode(model._text.trimmed(ids))
        alone = torch.cat([model._text.encode(model._text.trimmed(row[None])) for row in ids])
    assert relative(padded, alone) < 1e-5


def test_no_prompts_give_no_embeddings(model: ClipModel) -> None:
    assert model.encode_text([]).shape == (0, 24)


def test_a_prompt_longer_than_the_context_is_cut(model: ClipModel) -> None:
    long = model.encode_text(["a breast tumor " * 500])
    assert torch.isfinite(long).all()
    assert torch.equal(long, model.encode_text(["a breast tumor " * 501]))


@pytest.mark.parametrize("layer", [-1, 99])
def test_a_layer_that_is_not_there_is_refused(model: ClipModel, layer: int) -> None:
    tokens = model.lower(pixels(model), 0)
    for cut in (
        lambda: model.lower(pixels(model), layer),
        lambda: model.upper(tokens, layer),
    ):
        with pytest.raises(BadInput, match=f"layer {layer}"):
            cut()


def test_weights_are_frozen_and_in_evaluation(model: ClipModel) -> None:
    assert not any(weight.requires_grad for weight in model.network.parameters())
    assert not any(part.training for part in model.network.modules())


def test_an_image_is_normalised_as_the_configuration_says(model: ClipModel) -> None:
    grey = MedImage(pixels=np.full((40, 60, 3), 0.5, np.float32), name="grey")
    square = model.prepare(grey, "squash")
    assert square.shape == (3, model.side, model.side)
    expected = (0.5 - torch.tensor([0.48145466, 0.4578275, 0.40821073])) / torch.tensor(
        [0.26862954, 0.26130258, 0.27577711]
    )
    assert torch.allclose(square.mean(dim=(1, 2)), expected, atol=1e-5)
    assert torch.allclose(model.prepare(grey, "letterbox")[:, 0, 0], square[:, 0, 0], atol=1e-5)
    assert float(model.prepare(grey, "letterbox")[0, -1, 0]) == pytest.approx(-0.48145466 / 0.26862954)


@settings(max_examples=20)
@given(lengths=st.lists(st.floats(1e-3, 1e3), min_size=1, max_size=5))
def test_no_wording_outweighs_another_in_an_ensemble(lengths: list[float]) -> None:
    directions = torch.randn(len(lengths), 8, generator=torch.Generator().manual_seed(len(lengths)))
    together = ensemble(directions * torch.tensor(lengths)[:, None])
    assert torch.allclose(together, ensemble(directions), atol=1e-5)
    assert float(together.norm()) == pytest.approx(1, abs=1e-5)


def test_an_ensemble_of_two_axes_lies_between_them() -> None:
    assert ensemble(torch.tensor([[3.0, 0.0], [0.0, 0.1]])).tolist() == pytest.approx([0.5**0.5, 0.5**0.5])


def test_an_ensemble_of_nothing_is_refused() -> None:
    with pytest.raises(BadInput, match="no prompts"):
        ensemble(torch.zeros(0, 8))
