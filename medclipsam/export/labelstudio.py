"""Writes masks for Label Studio: tasks with predictions to import, and the labelling interface that shows them.

    tasks.json          a task for each image: its address, and what was found as a prediction of this version
    label_config.xml    the interface: a brush, or polygons, with a label for each prompt
    images/NAME.jpg     the images; Label Studio serves them as local files, below the folder that holds this export

    masks       brush strokes of every pixel, in Label Studio's run lengths (thi.ng's rle-pack of RGBA)
    polygons    outlines along the pixels' edges in percent of the image, one for each part, holes by a channel

Format: https://labelstud.io/guide/predictions
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

import numpy as np

from medclipsam import __version__
from medclipsam.errors import BadInput
from medclipsam.export.images import brought
from medclipsam.export.labelled import Labelled, LabelledScan
from medclipsam.export.options import ExportOptions, Shapes
from medclipsam.export.pixels import LabelledImage, labelled_images
from medclipsam.export.tally import Tally
from medclipsam.io.atomic import write_atomic
from medclipsam.io.dicom.contours import polygons
from medclipsam.io.dicom.maker import colour
from medclipsam.types import BoolArray, Progress

TASKS, CONFIG, IMAGES = "tasks.json", "label_config.xml", "images"
FROM, TO = "label", "image"
"""Names of the interface's control and of the image that it lies on."""
CHANNELS = 4
"""Label Studio keeps a mask as RGBA, all four alike."""
WORD = 8
"""Bits of a value."""
RUNS = (3, 4, 8, 16)
"""Bits of the four lengths that a run may have."""
SERVED = (
    "Label Studio shows the images with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and the folder above {folder} as "
    "LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT"
)
BY_CHANNEL = "Label Studio has no holes in polygons: they are reached by a channel; --shapes masks keeps every pixel"


def export_labelstudio(labelled: Labelled, folder: Path, options: ExportOptions, tally: Tally, tell: Progress) -> None:
    """Write tasks, the interface, and images.

    Args:
        labelled: what to write.
        folder: empty; `options.called` is what it will be called.
        options: shapes of masks, and what becomes of images.
        tally: counts tasks and what was found.
        tell: hears of the progress.

    Raises:
        BadInput: images that are referred to, while they lie where Label Studio cannot know.
        CannotWrite: see `medclipsam.io.atomic`.
    """
    if options.bring == "refer":
        raise BadInput("Label Studio serves images below one folder", "leave --in-place out, or take --link")
    tasks = []
    for scan, each in labelled_images(labelled, options, tally, tell):
        image = brought(scan, each, folder, IMAGES, options.bring)
        tasks.append(_task(scan, each, f"{options.called}/{image}", options.shapes))
        tally.written.update({"tasks": 1, "regions": len(tasks[-1]["predictions"][0]["result"])})
    write_atomic(folder / TASKS, json.dumps(tasks, ensure_ascii=False) + "\n")
    write_atomic(folder / CONFIG, _interface(labelled.prompts, options.shapes))
    tally.note(SERVED.format(folder=options.called))
    if options.shapes == "polygons":
        tally.note(BY_CHANNEL)


def _task(scan: LabelledScan, each: LabelledImage, image: str, shapes: Shapes) -> dict[str, Any]:
    results = [result for prompt in each.masks for result in _results(scan, each, prompt, shapes)]
    scores = [result["score"] for result in results if "score" in result]
    prediction = {"model_version": f"medclipsam {__version__}", "result": results}
    return {
        "data": {"image": f"/data/local-files/?d={quote(image)}"},
        "predictions": [prediction | ({"score": min(scores)} if scores else {})],
    }


def _results(scan: LabelledScan, each: LabelledImage, prompt: str, shapes: Shapes) -> Iterator[dict[str, Any]]:
    mask, score = each.masks[prompt], scan.confidences.get(prompt)
    if not mask.any():
        return
    height, width = each.image.size
    kind = _kind(shapes)
    if shapes == "masks":
        values: list[dict[str, Any]] = [{"format": "rle", "rle": packed_runs(mask)}]
    else:
        percent = 100 / np.array([width, height])
        values = [{"points": ((ring + 0.5) * percent).tolist(), "closed": True} for ring in polygons(mask)]
    for number, value in enumerate(values, 1):
        yield {
            "id": f"{each.name}-{list(each.masks).index(prompt) + 1}-{number}",
            "from_name": FROM,
            "to_name": TO,
            "type": kind,
            "original_width": width,
            "original_height": height,
            "image_rotation": 0,
            "value": {**value, kind: [prompt]},
        } | ({} if score is None else {"score": round(score, 6)})


def _kind(shapes: Shapes) -> str:
    return "brushlabels" if shapes == "masks" else "polygonlabels"


def packed_runs(mask: BoolArray) -> list[int]:
    """The bytes of a (height, width) mask as Label Studio packs it, row by row; 255 is inside.

    Source: https://github.com/thi-ng/umbrella, packages/rle-pack: number of values (32 bits), bits of a value less one
    (5), of each length less one (4 each); then for each run a 1, which length (2), the length less one, the value.
    """
    values = mask.ravel()
    edges = np.concatenate([[0], np.flatnonzero(np.diff(values)) + 1, [values.size]])
    bits = [f"{values.size * CHANNELS:032b}", f"{WORD - 1:05b}", *(f"{size - 1:04b}" for size in RUNS)]
    for start, stop in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        bits += _run((stop - start) * CHANNELS, f"{255 * int(values[start]):0{WORD}b}")
    return np.packbits(np.frombuffer("".join(bits).encode(), np.uint8) - ord("0")).tolist()


def _run(length: int, value: str) -> Iterator[str]:
    most = 2 ** RUNS[-1]
    while length > 0:
        some = min(length, most)
        number = next(number for number, size in enumerate(RUNS) if some <= 2**size)
        yield f"1{number:02b}{some - 1:0{RUNS[number]}b}{value}"
        length -= some


def _interface(prompts: Sequence[str], shapes: Shapes) -> str:
    control = "BrushLabels" if shapes == "masks" else "PolygonLabels"
    labels = [
        f'    <Label value={quoteattr(prompt)} background="#{bytes(colour(number)).hex()}"/>'
        for number, prompt in enumerate(prompts, 1)
    ]
    lines = [
        "<View>",
        f'  <Image name="{TO}" value="$image"/>',
        f'  <{control} name="{FROM}" toName="{TO}">',
        *labels,
        f"  </{control}>",
        "</View>",
        "",
    ]
    return "\n".join(lines)
