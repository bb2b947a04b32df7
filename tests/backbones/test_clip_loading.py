"""Do the files that users have become the model that wrote them, with the network off and nothing run?"""

from __future__ import annotations

import hashlib
import logging
from argparse import Namespace
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from hugging_face_port import to_hugging_face
from safetensors.torch import save_file
from tiny_clip import biomed_folder, open_clip_folder, random_clip
from torch import Tensor

from medclipsam.backbones import architecture
from medclipsam.backbones.clip import ClipModel, load_clip
from medclipsam.errors import BadInput, MissingWeights

PROMPTS = ["a breast tumor", "lung"]


pytestmark = pytest.mark.usefixtures("no_network")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return biomed_folder(tmp_path / "model")


@pytest.fixture
def original(folder: Path) -> ClipModel:
    return random_clip(folder, seed=4)


def state_of(model: ClipModel) -> dict[str, Tensor]:
    return {name: tensor.clone() for name, tensor in model.network.state_dict().items()}


def same(one: ClipModel, other: ClipModel) -> bool:
    pixels = torch.randn(1, 3, one.side, one.side, generator=torch.Generator().manual_seed(0))
    images = torch.equal(one.upper(one.lower(pixels, 1), 1), other.upper(other.lower(pixels, 1), 1))
    return images and torch.equal(one.encode_text(PROMPTS), other.encode_text(PROMPTS))


def test_safetensors_in_the_folder_are_loaded(folder: Path, original: ClipModel) -> None:
    save_file(state_of(original), folder / "open_clip_model.safetensors")
    assert same(load_clip(folder), original)


def test_a_torch_file_in_the_folder_is_loaded_and_named_by_its_hash(folder: Path, original: ClipModel) -> None:
    path = folder / "open_clip_pytorch_model.bin"
    torch.save(state_of(original) | {"text.transformer.embeddings.position_ids": torch.arange(512)[None]}, path)
    loaded = load_clip(folder)
    assert same(loaded, original)
    assert loaded.identity == hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod.", "model."])
def test_a_training_checkpoint_is_loaded(prefix: str, folder: Path, original: ClipModel, tmp_path: Path) -> None:
    state = {prefix + name: tensor for name, tensor in state_of(original).items()}
    torch.save({"epoch": 3, "name": "run", "state_dict": state, "optimizer": {"lr": 1e-6}}, tmp_path / "epoch_3.pt")
    assert same(load_clip(folder, checkpoint=tmp_path / "epoch_3.pt"), original)


@pytest.mark.parametrize("suffix", ["safetensors", "bin"])
def test_the_hugging_face_port_is_loaded(suffix: str, folder: Path, original: ClipModel, tmp_path: Path) -> None:
    port = to_hugging_face(state_of(original))
    path = tmp_path / f"pytorch_model.{suffix}"
    save_file(port, path) if suffix == "safetensors" else torch.save(port, path)
    assert same(load_clip(folder, checkpoint=path), original)


def test_a_model_of_open_clip_whose_text_tower_has_no_prefix_is_loaded(tmp_path: Path) -> None:
    folder = open_clip_folder(tmp_path / "model")
    original = random_clip(folder, seed=2)
    beside = {name.removeprefix("text."): tensor for name, tensor in state_of(original).items()}
    torch.save(beside, folder / "open_clip_pytorch_model.bin")
    assert same(load_clip(folder), original)


def test_a_folder_as_the_hub_has_it_lacks_the_shape_of_the_text_tower(folder: Path) -> None:
    (folder / "config.json").unlink()
    network = architecture.build(folder, draw=False)
    assert network.text.config.num_hidden_layers == 12
    assert network.text.config.vocab_size == 30522


def test_loading_draws_no_random_number(folder: Path, original: ClipModel) -> None:
    save_file(state_of(original), folder / "open_clip_model.safetensors")
    before = torch.get_rng_state()
    load_clip(folder)
    assert torch.equal(torch.get_rng_state(), before)


def test_loading_leaves_logging_as_it_was(folder: Path, original: ClipModel, caplog: pytest.LogCaptureFixture) -> None:
    save_file(state_of(original), folder / "open_clip_model.safetensors")
    before = list(logging.root.handlers), list(logging.root.filters)
    caplog.clear()
    load_clip(folder)
    assert (logging.root.handlers, logging.root.filters) == before
    assert not caplog.records


def test_a_pickle_with_more_than_tensors_is_refused(folder: Path, tmp_path: Path) -> None:
    torch.save({"state_dict": {"a": torch.zeros(1)}, "options": Namespace(rate=1)}, tmp_path / "run.pt")
    with pytest.raises(BadInput, match="refused"):
        load_clip(folder, checkpoint=tmp_path / "run.pt")


def damaged(change: Callable[[dict[str, Tensor]], object], original: ClipModel, path: Path) -> Path:
    state = state_of(original)
    change(state)
    save_file(state, path)
    return path


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda state: state.pop("visual.trunk.cls_token"), "lacks visual.trunk.cls_token"),
        (lambda state: state.update({"visual.extra": torch.zeros(1)}), "no place for visual.extra"),
        (lambda state: state.update({"visual.trunk.norm.bias": torch.zeros(3)}), r"norm.bias is \(3,\), not \(64,\)"),
    ],
)
def test_weights_that_do_not_fit_are_refused(
    change: Callable[[dict[str, Tensor]], object], message: str, folder: Path, original: ClipModel, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match=message):
        load_clip(folder, checkpoint=damaged(change, original, tmp_path / "other.safetensors"))


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (("open_clip_config.json",), "open_clip_config"),
        (("tokenizer.json", "vocab.txt"), "tokenizer"),
        (("open_clip_model.safetensors",), "holds no weights"),
    ],
)
def test_a_missing_file_is_named(missing: tuple[str, ...], message: str, folder: Path, original: ClipModel) -> None:
    save_file(state_of(original), folder / "open_clip_model.safetensors")
    for name in missing:
        (folder / name).unlink(missing_ok=True)
    with pytest.raises(MissingWeights, match=message):
        load_clip(folder)


def test_a_damaged_tokenizer_is_refused(folder: Path) -> None:
    (folder / "tokenizer.json").write_text("{")
    with pytest.raises(BadInput, match="tokenizer"):
        architecture.Tokenizer(folder)


def test_a_checkpoint_that_is_not_there_is_named(folder: Path) -> None:
    with pytest.raises(MissingWeights, match=r"nothing\.pt"):
        load_clip(folder, checkpoint=folder / "nothing.pt")


@pytest.mark.parametrize("content", ["{", "[]", '{"model_cfg": {}}', '{"model_cfg": {"text_cfg": 1, "vision_cfg": 2}}'])
def test_a_broken_configuration_is_refused(content: str, folder: Path) -> None:
    (folder / "open_clip_config.json").write_text(content)
    with pytest.raises(BadInput, match="open_clip_config"):
        architecture.build(folder)


def test_a_tower_that_is_no_transformer_is_refused(folder: Path) -> None:
    config = (folder / "open_clip_config.json").read_text()
    (folder / "open_clip_config.json").write_text(config.replace("test_vit", "test_resnet"))
    with pytest.raises(BadInput, match="image tower"):
        ClipModel(architecture.build(folder), architecture.Tokenizer(folder), identity="random")
