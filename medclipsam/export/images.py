"""Brings the images of an export: a file that other tools can read as it is, or a picture of what was segmented."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from medclipsam.errors import BadInput
from medclipsam.export.labelled import LabelledScan
from medclipsam.io.atomic import write_atomic
from medclipsam.io.pictures import ROTATED
from medclipsam.io.source import ReadOptions
from medclipsam.runs.pictures import open_pictures
from medclipsam.types import MedImage

Bring = Literal["refer", "copy", "link"]
PLAIN = (".png", ".jpg", ".jpeg", ".bmp")
"""Pictures that every tool reads."""


def images_of(scan: LabelledScan, reading: ReadOptions) -> Iterator[tuple[str, MedImage]]:
    """The images of a scan that have masks, by their number as in `LabelledScan.masks`.

    Raises:
        BadInput: a scan that cannot be read.
    """
    pictures = open_pictures(scan.path, reading, name="scan")
    for index in range(len(pictures)):
        image = pictures.read(index)
        number = image.name.removeprefix("scan")
        if number in scan.masks:
            yield number, image


def is_plain(scan: LabelledScan, image: MedImage) -> bool:
    """Whether the scan's own file shows what was segmented, as other tools read it."""
    return scan.path.suffix.lower() in PLAIN and set(scan.masks) == {""} and ROTATED not in image.warnings


def bring(source: Path, target: Path, how: Bring) -> None:
    """Copy a file, or link to it.

    Raises:
        CannotWrite: see `medclipsam.io.atomic`.
        OSError: a disk that is full, or that knows no links.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if how == "link":
        target.unlink(missing_ok=True)
        target.symlink_to(source.resolve())
    else:
        shutil.copyfile(source, target)


def save_shown(image: MedImage, target: Path, *, colours: bool = False) -> None:
    """Write an image as it was shown to the method, in 8 bits; grey ones as grey unless `colours` are wanted.

    Raises:
        CannotWrite: see `medclipsam.io.atomic`.
    """
    levels = np.rint(image.pixels * 255).astype(np.uint8)
    grey = not colours and bool((levels == levels[..., :1]).all())
    stream = BytesIO()
    Image.fromarray(levels[..., 0] if grey else levels).save(stream, "PNG")
    write_atomic(target, stream.getvalue())


def check_new(folder: Path) -> None:
    """Refuse to mix an export with something else.

    Raises:
        BadInput: a folder that holds files.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise BadInput(f"{folder} is not an empty folder", "choose another folder for the export")
