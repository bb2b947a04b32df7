"""Small open_clip models for several tests, on disk as users have them.

`biomed_folder` is a timm vision transformer and a BERT, `open_clip_folder` open_clip's own two towers.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
from transformers import BertConfig, BertTokenizerFast

from medclipsam.backbones import architecture
from medclipsam.backbones.clip import ClipModel

WORDS = [
    "[PAD]",
    "[UNK]",
    "[CLS]",
    "[SEP]",
    "[MASK]",
    "a",
    "breast",
    "brain",
    "tumor",
    "lung",
    "with",
    "mass",
    "##es",
    "!",
]
NORMALISATION = {"mean": [0.48145466, 0.4578275, 0.40821073], "std": [0.26862954, 0.26130258, 0.27577711]}


def biomed_folder(folder: Path, vision: str = "test_vit") -> Path:
    """BiomedCLIP's layout: timm trunk of 6 blocks on 160 pixels in patches of 16, BERT of 3 layers, MLP projection."""
    write_bert(folder)
    text = {
        "hf_model_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
        "hf_tokenizer_name": "microsoft/BiomedNLP-BiomedBERT-base-uncased-abstract",
        "hf_proj_type": "mlp",
        "hf_pooler_type": "cls_last_hidden_state_pooler",
        "context_length": 32,
    }
    trunk = {"timm_model_name": vision, "timm_pool": "", "timm_proj": "linear", "image_size": 160}
    return _write_config(folder, {"embed_dim": 24, "vision_cfg": trunk, "text_cfg": text})


def open_clip_folder(folder: Path) -> Path:
    """open_clip's own towers: 5 blocks on 64 pixels in patches of 8, causal text tower of 3 blocks, QuickGELU."""
    folder.mkdir(parents=True, exist_ok=True)
    vision = {"image_size": 64, "layers": 5, "width": 48, "head_width": 16, "patch_size": 8}
    text = {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 3}
    return _write_config(folder, {"embed_dim": 24, "quick_gelu": True, "vision_cfg": vision, "text_cfg": text})


def write_bert(folder: Path) -> None:
    """Shape and tokenizer of a small BERT."""
    folder.mkdir(parents=True, exist_ok=True)
    shape = BertConfig(
        vocab_size=len(WORDS), hidden_size=32, num_hidden_layers=3, num_attention_heads=2, intermediate_size=48
    )
    shape.save_pretrained(folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n", "utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)


def random_clip(folder: Path, seed: int = 0) -> ClipModel:
    """The model of a folder with random weights, large enough that images and words differ."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = architecture.build(folder)
        with torch.no_grad():
            for weight in network.parameters():
                weight.add_(0.05 * torch.randn_like(weight))
    return ClipModel(network, architecture.Tokenizer(folder), identity=f"random {seed}")


def _write_config(folder: Path, model: dict[str, object]) -> Path:
    content = {"model_cfg": model, "preprocess_cfg": NORMALISATION}
    (folder / "open_clip_config.json").write_text(json.dumps(content), "utf-8")
    return folder
