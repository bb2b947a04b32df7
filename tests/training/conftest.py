"""A small random CLIP in open_clip's layout, and sixteen drawn images whose captions say what they show."""

from __future__ import annotations

import csv
import json
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from medclipsam.backbones import architecture
from medclipsam.training.checkpoint import save_weights

ARCHITECTURE = {
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "head_width": 32, "patch_size": 8},
        "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 2},
    },
    "preprocess_cfg": {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]},
}
SHAPES = ("round", "square")
PLACES = ("left", "right")
SHADES = ("bright", "dark")
SIZES = ("large", "small")


@pytest.fixture(scope="session")
def tiny_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An open_clip folder: two towers of two blocks and width 64, random weights."""
    folder = tmp_path_factory.mktemp("tiny-clip")
    (folder / "open_clip_config.json").write_text(json.dumps(ARCHITECTURE))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = architecture.build(folder)
    save_weights(folder / "open_clip_model.safetensors", network.state_dict())
    return folder


@pytest.fixture(scope="session")
def drawn_captions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`captions.csv` beside the images that it names: one nodule each, all different."""
    folder = tmp_path_factory.mktemp("drawn")
    (folder / "images").mkdir()
    rows = []
    for number, (shape, place, shade, size) in enumerate(product(SHAPES, PLACES, SHADES, SIZES)):
        name = f"images/case{number:02d}.png"
        draw(shape, place, shade, size).save(folder / name)
        rows.append((name, f"A {size} {shade} {shape} nodule in the {place} lung field", f"case{number:02d}"))
    with (folder / "captions.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("image", "caption", "case"), *rows])
    return folder / "captions.csv"


def draw(shape: str, place: str, shade: str, size: str) -> Image.Image:
    """One grey image of 48 x 40 pixels with some noise."""
    noise = np.random.default_rng(len(shape + place + shade + size)).integers(110, 140, (40, 48), dtype=np.uint8)
    image = Image.fromarray(noise)
    centre, radius = (12 if place == "left" else 36, 20), 9 if size == "large" else 4
    corners = [centre[0] - radius, centre[1] - radius, centre[0] + radius, centre[1] + radius]
    pen = ImageDraw.Draw(image)
    (pen.ellipse if shape == "round" else pen.rectangle)(corners, fill=240 if shade == "bright" else 15)
    return image
