"""A small open_clip model whose towers have as many blocks, as MedCLIPSeg needs them."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from medclipsam.backbones import architecture
from medclipsam.training.checkpoint import save_weights

MODEL = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 4, "width": 32, "head_width": 16, "patch_size": 8},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 4},
}


def write_towers(folder: Path) -> Path:
    """Two towers of four blocks, on 32 pixels in patches of 8, with random weights."""
    folder.mkdir(parents=True, exist_ok=True)
    described = {"model_cfg": MODEL, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.25] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(described))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        save_weights(folder / "open_clip_model.safetensors", architecture.build(folder).state_dict())
    return folder
