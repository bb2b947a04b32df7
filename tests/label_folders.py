"""Small folders of pseudo-labels for what looks through them, made by the bright method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from bright import BrightSegmenter, bright_square
from PIL import Image

from medclipsam.runs import LabelRequest, label_folder


def silent(*_: object) -> None:
    """Progress that nobody hears."""


def labelled(folder: Path, *prompts: str, count: int = 4, **asked: Any) -> tuple[Path, Path]:
    """(LABELS, SCANS) of some pictures, each with its square at another place and of another brightness."""
    scans, labels = folder / "scans", folder / "labels"
    if not scans.exists():
        scans.mkdir()
        for number in range(count):
            pixels = bright_square(40, 60, top=2 + 2 * number, left=5, side=8 + number)
            Image.fromarray(pixels).save(scans / f"case_{number}.png")
    request = LabelRequest(**{"source": scans, "output": labels, "prompts": prompts or ("tumor",), **asked})
    label_folder(request, BrightSegmenter, silent)
    return labels, scans


def drawn(*, top: int) -> np.ndarray:
    """A mask of 5 x 6 pixels on a picture of 40 x 60."""
    mask = np.zeros((40, 60), bool)
    mask[top : top + 5, 30:36] = True
    return mask
