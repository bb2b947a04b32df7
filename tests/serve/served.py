"""Scans to send to a server, and what of its answers can be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from bright import bright_square
from PIL import Image

from medclipsam.serve.answers import Limits

TOKEN = "a-token-of-the-tests"
LIMITS = Limits(queue=4, upload_bytes=2**20)


def picture(path: Path, side: int = 20) -> Path:
    """An image with a bright square."""
    Image.fromarray(bright_square(48, 64, 10, 20, side)).save(path)
    return path


def volume(path: Path) -> Path:
    """Five slices, of which three show a bright square that grows; 0.5 x 0.7 x 2 mm."""
    slices = np.stack([bright_square(24, 32, 4, 6, side) for side in (1, 8, 9, 10, 1)], axis=2)
    nibabel.Nifti1Image(slices.transpose(1, 0, 2).copy(), np.diag([0.5, 0.7, 2.0, 1.0])).to_filename(path)
    return path


def without_times(report: dict[str, Any]) -> dict[str, Any]:
    """A report without what differs between two runs."""
    images = [
        {**image, "results": [{**result, "seconds": None} for result in image["results"]]} for image in report["images"]
    ]
    written = {name: None if name.endswith(".dcm") else digest for name, digest in report["written"].items()}
    return {**report, "seconds": None, "images": images, "written": written}
