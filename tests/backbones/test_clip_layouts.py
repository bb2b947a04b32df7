"""Is every tensor found again under its other name?"""

from __future__ import annotations

import pytest
import torch
from hugging_face_port import to_hugging_face
from tiny_clip import biomed_folder
from torch import Tensor

from medclipsam.backbones import architecture
from medclipsam.backbones.layouts import to_open_clip
from medclipsam.errors import BadInput


@pytest.fixture(scope="module")
def state(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Tensor]:
    network = architecture.build(biomed_folder(tmp_path_factory.mktemp("layouts") / "model"))
    return {name: torch.randn_like(tensor) for name, tensor in network.state_dict().items()}


def test_there_and_back_is_the_same_state(state: dict[str, Tensor]) -> None:
    back = to_open_clip(to_hugging_face(state))
    assert back.keys() == state.keys()
    assert all(torch.equal(back[name], tensor) for name, tensor in state.items())


def test_the_port_has_the_names_and_shapes_of_clip_in_transformers(state: dict[str, Tensor]) -> None:
    port = to_hugging_face(state)
    assert port["vision_model.embeddings.class_embedding"].shape == (64,)
    assert port["vision_model.embeddings.position_embedding.weight"].shape == (101, 64)
    assert port["vision_model.embeddings.patch_embedding.bias"].shape == (64,)
    assert port["visual_projection.weight"].shape == (24, 64)
    assert port["text_projection.fc2.weight"].shape == (24, 28)
    query, key, value = state["visual.trunk.blocks.4.attn.qkv.weight"].chunk(3)
    prefix = "vision_model.encoder.layers.4.self_attn"
    assert torch.equal(port[f"{prefix}.q_proj.weight"], query)
    assert torch.equal(port[f"{prefix}.k_proj.weight"], key)
    assert torch.equal(port[f"{prefix}.v_proj.weight"], value)
    dense = state["text.transformer.encoder.layer.2.attention.output.dense.bias"]
    assert torch.equal(port["text_model.encoder.layers.2.self_attn.out_proj.bias"], dense)


def test_positions_that_newer_versions_compute_are_left_out(state: dict[str, Tensor]) -> None:
    port = to_hugging_face(state) | {"text_model.embeddings.position_ids": torch.arange(512)[None]}
    assert to_open_clip(port).keys() == state.keys()


def test_a_tensor_of_another_model_is_named(state: dict[str, Tensor]) -> None:
    with pytest.raises(BadInput, match=r"vision_model\.pre_layrnorm\.weight"):
        to_open_clip(to_hugging_face(state) | {"vision_model.pre_layrnorm.weight": torch.zeros(1)})


def test_a_missing_third_of_the_attention_is_named(state: dict[str, Tensor]) -> None:
    port = to_hugging_face(state)
    del port["vision_model.encoder.layers.3.self_attn.k_proj.bias"]
    with pytest.raises(BadInput, match=r"layers\.3\.self_attn\.k_proj\.bias"):
        to_open_clip(port)
