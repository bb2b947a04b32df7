"""BERT text towers: dropout repeats in chunks and after a stop; BiomedCLIP at full size trains and then segments."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import BertConfig, BertTokenizerFast
from typed import typed

from medclipsam.backbones import architecture
from medclipsam.backbones.clip import load_clip
from medclipsam.backbones.geometry import SEGMENT_ANYTHING
from medclipsam.backbones.sam import PromptableSegmenter
from medclipsam.backbones.sam_networks import VIT_B, plain_vit
from medclipsam.methods import loading
from medclipsam.training.checkpoint import save_weights
from medclipsam.training.data.captions import read_captions
from medclipsam.training.journal import read_journal
from medclipsam.training.loop import fit, train_mode
from medclipsam.training.recipes import ClipRecipe
from medclipsam.training.tasks.encoders import DualEncoder, open_clip_encoder
from medclipsam.training.tasks.finetune_clip import FinetuneClip
from medclipsam.weights import digest

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


def train(encoder: DualEncoder, captions: Path, recipe: ClipRecipe, out: Path, **how) -> list[float]:
    pairs = read_captions(captions).pairs[:8]
    fit(FinetuneClip(encoder, pairs, (), recipe), recipe, out, device="cpu", **how)
    return [entry["loss"] for entry in read_journal(out / "log.jsonl") if entry["kind"] == "train"]


def test_dropout_goes_on_to_the_same_bits_after_a_stop(tiny_bert_clip, drawn_captions, tmp_path):
    recipe = ClipRecipe(learning_rate=1e-3, batch_size=4, chunk_size=3, epochs=3, precision="bf16")
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
        recipe = ClipRecipe(freeze_text=frozen)
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


def random_sam(key: str, **options) -> PromptableSegmenter:
    """ViT-B with all its blocks in the place of the preset's ViT-H, on a square of half the edge: 0.4 of 2.6 GB."""
    network = plain_vit(replace(VIT_B, side=512))
    return PromptableSegmenter(network, replace(SEGMENT_ANYTHING, side=512), name=key, sha256="0" * 64, **options)


def finetune_in_a_process_of_its_own(*arguments: object) -> int:
    """Run the command; the most memory that it held, in bytes."""
    command = [sys.executable, "-m", "medclipsam", "finetune", *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0
    return usage.ru_maxrss * 1024


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="memory is counted as Linux does")
def test_biomedclip_at_full_size_goes_through_finetune_and_segment(
    random_biomedclip, drawn_captions, tmp_path, monkeypatch
):
    run, scan = tmp_path / "run", drawn_captions.parent / "images" / "case00.png"
    settings = ["--batch-size", 4, "--chunk-size", 2, "--epochs", 1, "--lr", 1e-4, "--precision", "bf16"]
    settings += ["--freeze-image-blocks", 6, "--freeze-text-blocks", 6, "--device", "cpu"]
    held = finetune_in_a_process_of_its_own(drawn_captions, "--weights", random_biomedclip, *settings, "-o", run)
    assert held < 4e9  # nearly 5 where nothing is frozen
    log = read_journal(run / "log.jsonl")
    assert [entry["step"] for entry in log if entry["kind"] == "train"] == [1, 2, 3]
    shutil.rmtree(run / "checkpoints")
    before, trained = load_clip(random_biomedclip), load_clip(run)
    assert (trained.side, trained.blocks, trained.text_blocks) == (224, 12, 12)
    assert not torch.allclose(before.encode_text(["pneumothorax"]), trained.encode_text(["pneumothorax"]))
    del before, trained
    monkeypatch.setattr(loading, "load_sam", random_sam)
    asked = ["segment", scan, "-p", "pneumothorax", "--preset", "medclip-samv2", "--weights", run, "--device", "cpu"]
    result = typed(*asked, "-o", tmp_path / "out", "--json")
    assert result.exit_code == 0, result.output
    report = json.loads(result.stdout)
    assert report["weights"]["biomedclip"] == digest(run / "model.safetensors")
    (answer,) = report["images"][0]["results"]
    with Image.open(tmp_path / "out" / answer["files"]["mask"]) as mask, Image.open(scan) as image:
        assert mask.size == image.size
