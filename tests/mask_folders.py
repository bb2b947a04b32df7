"""Folders of drawn masks, for tests of what measures them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image


def folder(path: Path, **masks: np.ndarray) -> Path:
    """A folder of PNG masks; `x__y` names `x/y.png`."""
    for name, mask in masks.items():
        file = path / f"{name.replace('__', '/')}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(mask.astype(np.uint8) * 255).save(file)
    return path
