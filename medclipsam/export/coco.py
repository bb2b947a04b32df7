"""Writes masks as COCO: each mask an annotation, with all its parts and holes.

    masks      run lengths down the columns, as numbers: exact, read by pycocotools and what is built on it
    polygons   a line along the pixels' edges for each part, holes by a channel of no width: pycocotools fills them to
               the same pixels

Format: https://cocodataset.org/#format-data. The confidence of a mask stands in `score`, which COCO has for results.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medclipsam import __version__
from medclipsam.export.images import brought
from medclipsam.export.labelled import Labelled, LabelledScan
from medclipsam.export.options import ExportOptions, Shapes
from medclipsam.export.pixels import LabelledImage, labelled_images
from medclipsam.export.tally import Tally
from medclipsam.io.atomic import write_atomic
from medclipsam.io.dicom.contours import polygons
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.types import BoolArray, Progress

ANNOTATIONS = "annotations.json"
IMAGES = "images"
DIGITS = 6
"""Digits of confidences."""


def export_coco(labelled: Labelled, folder: Path, options: ExportOptions, tally: Tally, tell: Progress) -> None:
    """Write `annotations.json`, and the images that are not referred to.

    Args:
        labelled: what to write.
        folder: empty.
        options: shapes of masks, and what becomes of images.
        tally: counts images and annotations.
        tell: hears of the progress.

    Raises:
        CannotWrite: see `medclipsam.io.atomic`.
    """
    written = _Document(labelled.prompts)
    for scan, each in labelled_images(labelled, options, tally, tell):
        written.add(scan, each, brought(scan, each, folder, IMAGES, options.bring), options.shapes)
    write_atomic(folder / ANNOTATIONS, json.dumps(written.content, ensure_ascii=False) + "\n")
    tally.written.update({"images": len(written.images), "annotations": len(written.annotations)})


class _Document:
    """What grows into `annotations.json`."""

    def __init__(self, prompts: Sequence[str]) -> None:
        self._numbers = {prompt: number for number, prompt in enumerate(prompts, 1)}
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

    def add(self, scan: LabelledScan, each: LabelledImage, file: str, shapes: Shapes) -> None:
        """An image and its masks."""
        height, width = each.image.size
        entry = {"id": len(self.images) + 1, "width": width, "height": height}
        self.images.append({**entry, "file_name": file})
        for prompt, mask in each.masks.items():
            if mask.any():
                known = {"id": len(self.annotations) + 1, "image_id": entry["id"], "category_id": self._numbers[prompt]}
                score = _score(scan.confidences.get(prompt))
                self.annotations.append({**known, **shape_of(mask, shapes), **score})


def shape_of(mask: BoolArray, shapes: Shapes) -> dict[str, Any]:
    """What COCO says of a mask that is not empty."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = columns[0], rows[0], columns[-1] - columns[0] + 1, rows[-1] - rows[0] + 1
    if shapes == "masks":
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


def _score(confidence: float | None) -> dict[str, float]:
    return {} if confidence is None else {"score": round(confidence, DIGITS)}
