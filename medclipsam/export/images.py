"""Brings the images of an export: a file that other tools can read as it is, or a picture of what was segmented.

    copy     DIR/images/NAME.jpg      the scan's own file, byte for byte
    link     DIR/images/NAME.jpg  ->  the scan's own file
    refer    nothing is brought: the export tells the scan's own path below SCANS

Only PNG, JPEG and BMP files that hold one picture are brought so; all other images (slices, frames, pages, DICOM, those
that their EXIF turns) are written as PNG, as they were shown to the method.
"""

from __future__ import annotations

import shutil
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image

from medclipsam.export.labelled import LabelledScan
from medclipsam.export.options import Bring
from medclipsam.export.pixels import LabelledImage
from medclipsam.io.atomic import write_atomic
from medclipsam.io.pictures import ROTATED
from medclipsam.types import MedImage

PLAIN = (".png", ".jpg", ".jpeg", ".bmp")
"""Pictures that every tool reads."""


def brought(scan: LabelledScan, each: LabelledImage, root: Path, folder: str, how: Bring) -> str:
    """Bring one image.

    Args:
        scan: whose image it is.
        each: the image.
        root: of the export.
        folder: below the root, where the image goes; nothing: the root itself.
        how: what becomes of files that other tools read as they are.

    Returns:
        The image's path below the root; of one that is referred to, its path below the folder of scans.

    Raises:
        CannotWrite: see `medclipsam.io.atomic`.
        OSError: a disk that is full, or that knows no links.
    """
    if not _is_plain(scan, each):
        name = f"{folder}/{each.name}.png".lstrip("/")
        save_shown(each.image, root / name)
        return name
    if how == "refer":
        return scan.file
    name = f"{folder}/{each.name}{scan.path.suffix.lower()}".lstrip("/")
    bring(scan.path, root / name, how)
    return name


def _is_plain(scan: LabelledScan, each: LabelledImage) -> bool:
    """Whether the scan's own file shows what was segmented, as other tools read it."""
    plain = each.image.format == "raster" and scan.path.suffix.lower() in PLAIN
    return plain and not each.number and ROTATED not in each.image.warnings


def bring(source: Path, target: Path, how: Bring) -> None:
    """Copy a file, or link to it.

    Raises:
        OSError: a disk that is full, or that knows no links.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if how == "link":
        target.symlink_to(source.resolve())
    else:
        shutil.copyfile(source, target)


def save_shown(image: MedImage, target: Path, *, colours: bool = False) -> bool:
    """Write an image as it was shown to the method, in 8 bits, in the format of the suffix.

    Args:
        image: what to write.
        target: a .png or .tif.
        colours: write grey images in colours too.

    Returns:
        Whether it is in colours.

    Raises:
        CannotWrite: see `medclipsam.io.atomic`.
    """
    levels = np.rint(image.pixels * 255).astype(np.uint8)
    grey = not colours and bool((levels == levels[..., :1]).all())
    save_levels(levels[..., 0] if grey else levels, target)
    return not grey


def save_levels(levels: np.ndarray, target: Path) -> None:
    """Write (height, width) or (height, width, 3) 8-bit levels as .png or .tif.

    Raises:
        CannotWrite: see `medclipsam.io.atomic`.
    """
    stream = BytesIO()
    picture = Image.fromarray(levels)
    if target.suffix == ".tif":
        picture.save(stream, "TIFF", compression="tiff_deflate")
    else:
        picture.save(stream, "PNG")
    write_atomic(target, stream.getvalue())
