"""Writes masks for labelme: a JSON file of shapes beside each image.

    masks      one shape for each prompt, a picture of its pixels: exact (labelme 5.3 and newer)
    polygons   outlines that can be pulled into shape, one for each part, holes by a channel of no width; the parts of
               one mask share a group

Format: https://github.com/wkentaro/labelme (`labelme/_label_file.py`).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from medclipsam.errors import BadInput
from medclipsam.export.images import brought
from medclipsam.export.labelled import Labelled
from medclipsam.export.options import ExportOptions, Shapes
from medclipsam.export.outlines import WITHIN, outlines
from medclipsam.export.pixels import LabelledImage, labelled_images
from medclipsam.export.tally import Tally
from medclipsam.io.atomic import write_atomic
from medclipsam.types import BoolArray, Progress

VERSION = "5.3.0"
"""The labelme whose files these are like: the first that has masks."""
BY_CHANNEL = "labelme has no holes in polygons: they are reached by a channel; --shapes masks keeps every pixel"


def export_labelme(labelled: Labelled, folder: Path, options: ExportOptions, tally: Tally, tell: Progress) -> None:
    """Write images and their shapes side by side.

    Args:
        labelled: what to write.
        folder: empty.
        options: shapes of masks, and what becomes of images.
        tally: counts images and shapes.
        tell: hears of the progress.

    Raises:
        BadInput: images that are referred to, which labelme looks for beside the shapes.
        CannotWrite: see `medclipsam.io.atomic`.
    """
    if options.bring == "refer":
        raise BadInput("labelme looks for images beside their shapes", "leave --in-place out, or take --link")
    if options.shapes == "polygons":
        tally.note(BY_CHANNEL)
    for scan, each in labelled_images(labelled, options, tally, tell):
        image = brought(scan, each, folder, "", options.bring)
        document = _document(each, image, options.shapes)
        write_atomic(folder / f"{each.name}.json", json.dumps(document, ensure_ascii=False, indent=1) + "\n")
        tally.written.update({"images": 1, "shapes": len(document["shapes"])})


def _document(each: LabelledImage, image: str, shapes: Shapes) -> dict[str, Any]:
    height, width = each.image.size
    drawn = _masks if shapes == "masks" else _polygons
    return {
        "version": VERSION,
        "flags": {},
        "shapes": [shape for number, prompt in enumerate(each.masks, 1) for shape in drawn(each, prompt, number)],
        "imagePath": image,
        "imageData": None,
        "imageHeight": height,
        "imageWidth": width,
    }


def _masks(each: LabelledImage, prompt: str, _: int) -> Iterator[dict[str, Any]]:
    mask = each.masks[prompt]
    if mask.any():
        places = np.argwhere(mask)
        (top, left), (bottom, right) = places.min(axis=0).tolist(), places.max(axis=0).tolist()
        inside = _packed(mask[top : bottom + 1, left : right + 1])
        yield _shape(prompt, [[left, top], [right, bottom]], "mask") | {"mask": inside}


def _polygons(each: LabelledImage, prompt: str, number: int) -> Iterator[dict[str, Any]]:
    for outline in outlines(each.masks[prompt]):
        yield _shape(prompt, (outline + WITHIN).tolist(), "polygon") | {"group_id": number}


def _shape(prompt: str, points: list[Any], kind: str) -> dict[str, Any]:
    return {
        "label": prompt,
        "points": points,
        "group_id": None,
        "description": "",
        "shape_type": kind,
        "flags": {},
        "mask": None,
    }


def _packed(mask: BoolArray) -> str:
    """A PNG of 0 and 1 in letters."""
    stream = BytesIO()
    Image.fromarray(mask.astype(np.uint8)).save(stream, "PNG", optimize=True)
    return base64.b64encode(stream.getvalue()).decode()
