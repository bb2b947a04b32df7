"""Small labelled data: grey images with a bright square at the left or right, or with none."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from medclipsam.training.registry import Request, config_of, find_method
from medclipsam.training.settings import changed

SIDE = 40
FEW: dict[str, Any] = {"epochs": 2, "batch_size": 4, "intensity": 0.0, "rotation": 0.0}
SMALL: dict[str, dict[str, Any]] = {
    "unet": FEW | {"side": 32, "widths": [4, 8, 16]},
    "medclipseg-clip": FEW | {"side": 32, "layers": [1, 2], "adapter_width": 16},
    "biclip-small": FEW | {"side": 32, "widths": [4, 8, 16]},
    "emclip-light": FEW | {"width": 16, "heads": 2, "rounds": 1, "copies": 1},
}
"""Settings of each network that learn in seconds."""
HEADER = ("image", "mask", "target", "text", "split", "group", "present")


def train_small(name: str, data: Path, out: Path, **settings: Any) -> Path:
    """Train a small network for a few steps; the folder of its run."""
    torch.set_num_threads(1)
    method = find_method(name)
    parts = changed(method.defaults(), SMALL[name] | settings)
    method.train(Request(data=data, out=out, parts=parts, config=config_of(name, parts), device="cpu"))
    return out


def write_squares(folder: Path, train: int = 12, val: int = 6, target: str = "square") -> Path:
    """`index.csv` beside its images; every third image has no square, and its sentence says so."""
    (folder / "images").mkdir(parents=True)
    (folder / "masks").mkdir()
    rows = [_write(folder, number, "train" if number < train else "val", target) for number in range(train + val)]
    return write_table(folder / "index.csv", rows)


def write_table(path: Path, rows: list[tuple[str, ...]]) -> Path:
    """A table of labelled rows."""
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([HEADER, *rows])
    return path


def drawn(number: int) -> tuple[np.ndarray, np.ndarray, str]:
    """(40, 40) bytes, the mask, and the sentence of an image."""
    random = np.random.default_rng(number)
    pixels = random.integers(40, 90, (SIDE, SIDE), dtype=np.uint8)
    mask = np.zeros((SIDE, SIDE), bool)
    if number % 3 == 2:
        return pixels, mask, "no square is seen"
    top, left = int(random.integers(4, 24)), 4 if number % 2 else 24
    mask[top : top + 12, left : left + 12] = True
    pixels[mask] = 230
    return pixels, mask, f"one bright square at the {'left' if number % 2 else 'right'}"


def _write(folder: Path, number: int, split: str, target: str) -> tuple[str, ...]:
    pixels, mask, text = drawn(number)
    image, label = f"images/s{number:02d}.png", f"masks/s{number:02d}.png"
    Image.fromarray(pixels).save(folder / image)
    Image.fromarray(mask.astype(np.uint8) * 255).save(folder / label)
    return image, label, target, text, split, f"p{number}", str(int(mask.any()))
