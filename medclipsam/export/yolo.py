"""Writes masks as YOLO segmentation: a text file of outlines beside each image, and `data.yaml`.

    data.yaml                      names of the classes, a class for each prompt; where train and val lie
    images/train/NAME.jpg          the image
    labels/train/NAME.txt          a line for each part: class x y x y ..., by width and height; none: nothing found
    images/val, labels/val         the first of five folds, by groups

Each part is an object of its own, and its holes are reached by a channel of no width. Corners are pixels of the part, a
quarter of a pixel from their upper left corner: Ultralytics cuts coordinates off, supervision rounds them, then both
fill with OpenCV, and get the mask. Format: https://docs.ultralytics.com/datasets/segment/
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from medclipsam.errors import BadInput
from medclipsam.export.images import brought
from medclipsam.export.labelled import Labelled
from medclipsam.export.options import ExportOptions
from medclipsam.export.outlines import WITHIN, outlines
from medclipsam.export.pixels import LabelledImage, labelled_images
from medclipsam.export.splits import held_out
from medclipsam.export.tally import Tally
from medclipsam.io.atomic import write_atomic
from medclipsam.types import Progress

DATA = "data.yaml"
DIGITS = 8
"""Digits of coordinates: enough for images of a million pixels a side."""
PARTS = "YOLO has no holes and no masks of several parts: a part is an object, its holes are reached by a channel"
ONE_GROUP = "all scans are of one group, so that val in data.yaml is train"


def export_yolo(labelled: Labelled, folder: Path, options: ExportOptions, tally: Tally, tell: Progress) -> None:
    """Write images, labels and `data.yaml`.

    Args:
        labelled: what to write.
        folder: empty.
        options: what becomes of images, and how validation is chosen.
        tally: counts images and objects.
        tell: hears of the progress.

    Raises:
        BadInput: images that are referred to, which YOLO cannot.
        CannotWrite: see `medclipsam.io.atomic`.
    """
    if options.bring == "refer":
        raise BadInput("YOLO finds labels by the place of their image", "leave --in-place out, or take --link")
    numbers = {prompt: number for number, prompt in enumerate(labelled.prompts)}
    validation = held_out(labelled, options)
    for scan, each in labelled_images(labelled, options, tally, tell):
        part = "val" if scan.name in validation else "train"
        brought(scan, each, folder, f"images/{part}", options.bring)
        lines = list(_lines(each, numbers))
        write_atomic(folder / "labels" / part / f"{each.name}.txt", "".join(f"{line}\n" for line in lines))
        tally.written.update({"images": 1, "objects": len(lines)})
    write_atomic(folder / DATA, _data(numbers, "val" if validation else "train"))
    tally.note(PARTS)
    if not validation:
        tally.note(ONE_GROUP)


def _lines(each: LabelledImage, numbers: dict[str, int]) -> Iterator[str]:
    height, width = each.image.size
    for prompt, mask in each.masks.items():
        for outline in outlines(mask):
            corners = (outline + WITHIN) / (width, height)
            yield " ".join([str(numbers[prompt]), *(f"{side:.{DIGITS}f}" for side in corners.ravel().tolist())])


def _data(numbers: dict[str, int], validation: str) -> str:
    """A string of JSON is one of YAML too."""
    names = [f"  {number}: {json.dumps(prompt)}" for prompt, number in numbers.items()]
    return "\n".join(["train: images/train", f"val: images/{validation}", "names:", *names, ""])
