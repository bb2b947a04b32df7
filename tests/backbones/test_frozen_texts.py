"""The frozen text encoders: CXR-BERT's layout as transformers reads it, MiniLM, and what a folder can lack."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer
from transformers import BertConfig, BertModel, BertTokenizerFast

from medclipsam.backbones.frozen_texts import CONTEXT, load_frozen_texts
from medclipsam.backbones.tower import Unread
from medclipsam.errors import BadInput, MissingWeights

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "left", "lung", "infected", "area", "two", "##s"]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small BERT with random weights, its tensors named as in CXR-BERT's checkpoint: `bert.` before, heads beside."""
    folder = tmp_path_factory.mktemp("cxr-bert")
    torch.manual_seed(0)
    shape = BertConfig(
        vocab_size=len(WORDS), hidden_size=24, num_hidden_layers=4, num_attention_heads=3, intermediate_size=48
    )
    shape.save_pretrained(folder)
    state = {f"bert.{name}": value.contiguous() for name, value in BertModel(shape).state_dict().items()}
    save_file(
        state | {"cls_projection_head.dense_to_output.weight": torch.zeros(128, 128)}, folder / "model.safetensors"
    )
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", "utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    return folder


@torch.no_grad()
def test_a_text_is_the_mean_over_all_32_places_of_layers_one_two_and_last(folder: Path) -> None:
    shape = BertConfig.from_pretrained(folder)
    bert = BertModel(shape).eval()
    state = torch.nn.Module.state_dict(bert)
    from safetensors.torch import load_file

    saved = load_file(folder / "model.safetensors")
    bert.load_state_dict({name: saved[f"bert.{name}"] for name in state})
    tokens = BertTokenizerFast.from_pretrained(folder)(
        ["two infected areas left lung"], padding="max_length", max_length=CONTEXT, return_tensors="pt"
    )
    hidden = bert(**tokens, output_hidden_states=True).hidden_states
    expected = torch.stack([hidden[1], hidden[2], hidden[4]]).mean(dim=(0, 2))
    texts = load_frozen_texts(str(folder), CPU)
    assert texts.width == 24
    assert torch.allclose(texts.encode(["two infected areas left lung"]), expected, atol=1e-5)


def test_a_text_of_many_words_is_cut_at_32_pieces(folder: Path) -> None:
    texts = load_frozen_texts(str(folder), CPU)
    long, longer = "lung " * 40, "lung " * 40 + "left " * 40
    assert torch.equal(texts.encode([long]), texts.encode([longer]))
    assert texts.unread(long) == Unread(CONTEXT, 10)
    assert texts.unread("left lung") is None


def test_the_company_of_a_text_changes_nothing(folder: Path) -> None:
    together = load_frozen_texts(str(folder), CPU).encode(["left lung", "two infected areas"])
    assert torch.equal(load_frozen_texts(str(folder), CPU).encode(["two infected areas"])[0], together[1])


def test_without_a_folder_minilm_reads_and_its_file_is_named() -> None:
    texts = load_frozen_texts("", CPU)
    assert texts.encode(["breast tumor"]).shape == (1, texts.width) == (1, 384)
    assert set(texts.hashes) == {"minilm"}


def test_a_folder_without_weights_says_which_files_it_lacks(tmp_path: Path) -> None:
    with pytest.raises(MissingWeights, match=r"lacks config\.json, model\.safetensors, tokenizer\.json"):
        load_frozen_texts(str(tmp_path), CPU)


def test_a_folder_of_another_network_is_refused_in_one_line(folder: Path, tmp_path: Path) -> None:
    save_file({"weight": torch.zeros(2)}, tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_text('{"hidden_size": "wide"}')
    Tokenizer.from_file(str(folder / "tokenizer.json")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(BadInput, match="no BERT in the layout"):
        load_frozen_texts(str(tmp_path), CPU)
