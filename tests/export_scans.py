"""Scans for exports: pictures and volumes whose bright masks have several parts and holes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import SimpleITK as sitk  # noqa: N813
from PIL import Image

from medclipsam.export.tally import Tally

Labelling = Callable[..., Path]
Exporting = Callable[..., tuple[Path, Tally]]
SIZE = (40, 60)
PICTURES = ("a.png", "siteA/DOE_JANE.png", "b.jpg")


def silent(*_: object) -> None:
    """Progress that nobody hears."""


def ring(top: int) -> np.ndarray:
    """Two bright parts, one of them with a hole."""
    pixels = np.full((*SIZE, 3), 10, np.uint8)
    pixels[top : top + 9, 4:16] = 240
    pixels[top + 3 : top + 6, 7:12] = 10
    pixels[-4:-1, -6:-2] = 240
    return pixels


def bright(path: Path) -> np.ndarray:
    """What the method finds on a picture."""
    return np.asarray(Image.open(path).convert("L")) > 127


def write_volume(path: Path, first: int = 4) -> np.ndarray:
    """An oblique volume of 4 slices with a bright block on two of them; its voxels (slice, row, column)."""
    turned = np.linalg.qr(np.random.default_rng(5).normal(size=(3, 3)))[0]
    voxels = np.zeros((4, 20, 30), np.float32)
    voxels[1:3, first:9, 8:14] = 1
    image = sitk.GetImageFromArray(voxels)
    image.SetSpacing((0.5, 2.0, 3.0))
    image.SetDirection((turned * np.sign(np.linalg.det(turned))).ravel().tolist())
    image.SetOrigin((3.0, -4.0, 5.0))
    sitk.WriteImage(image, str(path))
    return voxels
