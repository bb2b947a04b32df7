"""Writes masks as COCO: each mask an annotation, with all its parts and holes.

    rle        run lengths down the columns, as numbers: exact, read by pycocotools and what is built on it
    polygons   a line along the pixels' edges for each part, holes by a channel of no width: pycocotools fills them to
               the same pixels

Format: https://cocodataset.org/#format-data. The confidence of a mask stands in `score`, which COCO has for results.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from medclipsam import __version__
from medclipsam.errors import BadInput
from medclipsam.export.images import Bring, bring, images_of, is_plain, save_shown
from medclipsam.export.labelled import Labelled, LabelledScan
from medclipsam.io.atomic import write_atomic
from medclipsam.io.dicom.contours import polygons
from medclipsam.io.label_files import read_foreground
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.types import BoolArray, MedImage, Progress

Shapes = Literal["rle", "polygons"]
ANNOTATIONS = "annotations.json"
IMAGES = "images"
VOLUME = "the masks of a volume are one file"


def export_coco(labelled: Labelled, folder: Path, *, shapes: Shapes, how: Bring, tell: Progress) -> dict[str, int]:
    """Write `annotations.json`, and the images that are not referred to.

    Args:
        labelled: what to write.
        folder: empty or new.
        shapes: how masks are written.
        how: what becomes of pictures that other tools read as they are; all other images are written as PNG.
        tell: hears of the progress.

    Returns:
        How many images and annotations were written, and scans left out.

    Raises:
        BadInput: not one scan whose masks are pictures.
        CannotWrite: see `medclipsam.io.atomic`.
    """
    flat = [scan for scan in labelled.scans if _is_flat(scan)]
    if not flat:
        raise BadInput(VOLUME, "COCO holds 2-D images: export volumes with --to nnunet")
    written = _Document(labelled.prompts, folder, shapes, how)
    for done, scan in enumerate(flat):
        tell("exporting", done, len(flat))
        for number, image in images_of(scan, labelled.reading):
            written.add(scan, number, image)
    write_atomic(folder / ANNOTATIONS, json.dumps(written.content, ensure_ascii=False) + "\n")
    return {
        "images": len(written.images),
        "annotations": len(written.annotations),
        "scans left out": len(labelled.scans) - len(flat),
    }


class _Document:
    """What grows into `annotations.json`."""

    def __init__(self, prompts: Sequence[str], folder: Path, shapes: Shapes, how: Bring) -> None:
        self._numbers = {prompt: number for number, prompt in enumerate(prompts, 1)}
        self._folder, self._shapes, self._how = folder, shapes, how
        self.images: list[dict[str, Any]] = []
        self.annotations: list[dict[str, Any]] = []

    @property
    def content(self) -> dict[str, Any]:
        """All of it."""
        return {
            "info": {"description": f"Pseudo-labels of medclipsam {__version__}. {RESEARCH_USE_ONLY}"},
            "images": self.images,
            "annotations": self.annotations,
            "categories": [{"id": number, "name": prompt} for prompt, number in self._numbers.items()],
        }

    def add(self, scan: LabelledScan, number: str, image: MedImage) -> None:
        """An image and its masks."""
        height, width = image.size
        entry = {"id": len(self.images) + 1, "width": width, "height": height}
        self.images.append({**entry, "file_name": self._brought(scan, number, image)})
        for prompt, path in scan.masks[number].items():
            mask = read_foreground(path)
            _check_size(path, mask, image.size)
            if mask.any():
                known = {"id": len(self.annotations) + 1, "image_id": entry["id"], "category_id": self._numbers[prompt]}
                score = _score(scan.confidences.get(prompt))
                self.annotations.append({**known, **shape_of(mask, self._shapes), **score})

    def _brought(self, scan: LabelledScan, number: str, image: MedImage) -> str:
        """The image's file, brought where it is not referred to."""
        if not is_plain(scan, image):
            name = f"{IMAGES}/{scan.name}{number}.png"
            save_shown(image, self._folder / name)
            return name
        if self._how == "refer":
            return scan.file
        name = f"{IMAGES}/{scan.name}{scan.path.suffix}"
        bring(scan.path, self._folder / name, self._how)
        return name


def shape_of(mask: BoolArray, shapes: Shapes) -> dict[str, Any]:
    """What COCO says of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1
    if shapes == "rle":
        segmentation: Any = {"size": list(mask.shape), "counts": run_lengths(mask)}
    else:
        # COCO counts from the corner of the first pixel, the outlines from its centre
        segmentation = [(ring + 0.5).ravel().tolist() for ring in polygons(mask)]
    return {
        "segmentation": segmentation,
        "area": int(mask.sum()),
        "bbox": [int(side) for side in box],
        "iscrowd": 0,
    }


def run_lengths(mask: BoolArray) -> list[int]:
    """Lengths of the runs down the columns, one column after the other, the first of background."""
    pixels = mask.ravel(order="F")
    changes = np.flatnonzero(np.diff(pixels)) + 1
    edges = np.concatenate([[0], changes, [pixels.size]])
    lengths = np.diff(edges).tolist()
    return [0, *lengths] if pixels[0] else lengths


def _is_flat(scan: LabelledScan) -> bool:
    return all(path.suffix == ".png" for masks in scan.masks.values() for path in masks.values())


def _check_size(path: Path, mask: BoolArray, size: tuple[int, int]) -> None:
    if mask.shape != size:
        raise BadInput(f"{path.name} has {mask.shape} pixels, its scan {size}", "give the scans that were labelled")


def _score(confidence: float | None) -> dict[str, float]:
    return {} if confidence is None else {"score": round(confidence, 6)}
