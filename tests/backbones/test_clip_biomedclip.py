"""Does BiomedCLIP itself load from its own files, with the network off, and read text as it was trained?"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from hugging_face_port import to_hugging_face
from safetensors.torch import save_file

from medclipsam.backbones import architecture
from medclipsam.backbones.clip import ClipModel, load_clip

GOLDEN = "a chest x-ray with lymphadenopathy and pneumothorax"
GOLDEN_IDS = [2, 42, 6429, 65, 16, 4895, 1715, 19251, 1690, 18860, 3]
HUB_FILES = ("open_clip_config.json", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


pytestmark = pytest.mark.usefixtures("no_network")


@pytest.fixture
def folder(shared_weights: Path) -> Iterator[Path]:
    """What the hub's repository holds beside the weights: no config.json of the BERT. Gone after the test."""
    with tempfile.TemporaryDirectory() as made:
        for name in HUB_FILES:
            shutil.copy(shared_weights / "biomedclip" / name, made)
        yield Path(made)


def test_the_golden_sentence_has_its_golden_tokens(folder: Path) -> None:
    ids = architecture.Tokenizer(folder)([GOLDEN])
    assert ids.shape == (1, 256)
    assert ids[0, : len(GOLDEN_IDS)].tolist() == GOLDEN_IDS
    assert not ids[0, len(GOLDEN_IDS) :].any()


def test_text_over_256_tokens_is_cut_and_the_cut_is_told(folder: Path) -> None:
    tokenizer = architecture.Tokenizer(folder)
    sentence = "a medical breast ultrasound showing a mass "
    assert tokenizer.unread(sentence * 30) is None
    context, tokens = tokenizer.unread(sentence * 40) or (0, 0)
    assert (context, tokens) == (256, 2 + 40 * 7 - 256)


def random_biomedclip(folder: Path) -> ClipModel:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ClipModel(architecture.build(folder), architecture.Tokenizer(folder), identity="random")


def outputs(model: ClipModel) -> list[torch.Tensor]:
    pixels = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    return [model.upper(model.lower(pixels, 9), 9), model.encode_text([GOLDEN])]


@pytest.mark.slow
def test_the_whole_architecture_loads_in_both_layouts_and_gives_what_was_saved(folder: Path) -> None:
    original = random_biomedclip(folder)
    assert (original.side, original.grid, original.prefix_tokens) == (224, (14, 14), 1)
    assert (original.blocks, original.text_blocks) == (12, 12)
    assert sum(weight.numel() for weight in original.network.parameters()) == 195_902_721
    state = {name: tensor.clone() for name, tensor in original.network.state_dict().items()}
    expected = outputs(original)
    torch.save(state, folder / "open_clip_pytorch_model.bin")
    port = folder / "port.safetensors"
    save_file(to_hugging_face(state), port)
    del original, state
    for checkpoint in (None, port):
        found = outputs(load_clip(folder, checkpoint=checkpoint))
        assert all(torch.equal(ours, saved) for ours, saved in zip(found, expected, strict=True))


@pytest.mark.slow
def test_the_cut_of_the_whole_architecture_is_open_clips_own_forward(folder: Path) -> None:
    model = random_biomedclip(folder)
    pixels = torch.randn(1, 3, 224, 224, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        image = model.network.encode_image(pixels)
        text = model.network.encode_text(model._tokenizer([GOLDEN]))
    ours_image, ours_text = outputs(model)
    assert float((ours_image - image).abs().max() / image.abs().max()) < 1e-5
    assert float((ours_text - text).abs().max() / text.abs().max()) < 1e-5
    assert ours_image.shape == ours_text.shape == (1, 512)
