"""BERT text towers: dropout repeats in chunks and after a stop, and BiomedCLIP goes through at full size."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from transformers import BertConfig, BertTokenizerFast

from medclipsam.backbones import architecture
from medclipsam.backbones.clip import load_clip
from medclipsam.training.captions import read_captions
from medclipsam.training.checkpoint import save_weights
from medclipsam.training.encoders import DualEncoder, open_clip_encoder
from medclipsam.training.finetune import FinetuneClip
from medclipsam.training.journal import read_journal
from medclipsam.training.loop import fit, train_mode
from medclipsam.training.recipe import Recipe

WORDS = ("a", "large", "small", "bright", "dark", "round", "square", "nodule", "in", "the", "left", "right", "lung")


def write_random_weights(folder: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_weights(folder / "model.safetensors", architecture.build(folder).state_dict())


@pytest.fixture(scope="module")
def tiny_bert_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A ViT and a BERT of two blocks, with a vocabulary of its own."""
    folder = tmp_path_factory.mktemp("tiny-bert-clip")
    text = {"hf_model_name": "tiny", "hf_tokenizer_name": "tiny", "hf_proj_type": "mlp", "context_length": 24}
    config = {
        "model_cfg": {
            "embed_dim": 16,
            "vision_cfg": {"image_size": 16, "layers": 1, "width": 32, "head_width": 16, "patch_size": 8},
            "text_cfg": text | {"hf_pooler_type": "cls_last_hidden_state_pooler"},
        },
        "preprocess_cfg": {"mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5]},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    (folder / "vocab.txt").write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    shape = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
    BertConfig(vocab_size=5 + len(WORDS), **shape).save_pretrained(folder)
    write_random_weights(folder)
    return folder


def train(encoder: DualEncoder, captions: Path, recipe: Recipe, out: Path, **how) -> list[float]:
    pairs = read_captions(captions).pairs[:8]
    fit(FinetuneClip(encoder, pairs, (), recipe), recipe, out, device="cpu", **how)
    return [entry["loss"] for entry in read_journal(out / "log.jsonl") if entry["kind"] == "train"]


def test_dropout_goes_on_to_the_same_bits_after_a_stop(tiny_bert_clip, drawn_captions, tmp_path):
    recipe = Recipe(learning_rate=1e-3, batch_size=4, chunk_size=3, epochs=3, precision="bf16")
    train(open_clip_encoder(tiny_bert_clip), drawn_captions, recipe, tmp_path / "whole")

    def stop(entry):
        if entry["step"] == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train(open_clip_encoder(tiny_bert_clip), drawn_captions, recipe, tmp_path / "stopped", observer=stop)
    train(open_clip_encoder(tiny_bert_clip), drawn_captions, recipe, tmp_path / "stopped", resume=True)
    whole, stopped = (load_file(tmp_path / name / "model.safetensors") for name in ("whole", "stopped"))
    assert all(torch.equal(whole[name], stopped[name]) for name in whole)
    assert not torch.equal(
        whole["text.proj.0.weight"], load_clip(tiny_bert_clip).network.state_dict()["text.proj.0.weight"]
    )


def test_dropout_is_at_work_and_off_in_a_frozen_tower(tiny_bert_clip, drawn_captions):
    pairs = read_captions(drawn_captions).pairs[:4]
    for frozen in (False, True):
        recipe = Recipe(freeze_text=frozen)
        task = FinetuneClip(open_clip_encoder(tiny_bert_clip), pairs, (), recipe)
        batch = task.collate([task.data[0, place] for place in range(4)])
        train_mode(task.model)
        losses = {task.loss(task.model, batch)[0].item() for _ in range(3)}
        assert (len(losses) == 1) is frozen


@pytest.fixture
def random_biomedclip(shared_weights: Path, tmp_path: Path):
    """BiomedCLIP's architecture and tokenizer with random weights; gigabytes that are gone afterwards."""
    folder = tmp_path / "biomedclip"
    shutil.copytree(shared_weights / "biomedclip", folder)
    folder.chmod(0o755)
    write_random_weights(folder)
    yield folder
    shutil.rmtree(tmp_path)


@pytest.mark.slow
def test_biomedclip_at_full_size_trains_saves_and_loads(random_biomedclip, drawn_captions, tmp_path):
    recipe = Recipe(batch_size=4, chunk_size=2, epochs=1, learning_rate=1e-4, precision="bf16")
    losses = train(open_clip_encoder(random_biomedclip), drawn_captions, recipe, tmp_path / "run")
    assert len(losses) == 2
    shutil.rmtree(tmp_path / "run" / "checkpoints")
    before = load_clip(random_biomedclip).encode_text(["pneumothorax"])
    trained = load_clip(tmp_path / "run")
    after = trained.encode_text(["pneumothorax"])
    assert (trained.side, trained.blocks, tuple(after.shape)) == (224, 12, (1, 512))
    assert after.isfinite().all()
    assert not torch.allclose(before, after)
