"""Turns scans, masks and boxes into the data of napari's layers: (data, settings, kind), axes (slice, row, column).

scan     ->   image     scale in mm where it is known; moved to where the first pixel lies along the scan's own axes
masks    ->   labels    one layer for each prompt, of the image's shape, scale and place; 1 inside
boxes    ->   shapes    rectangles by the edges of pixels: napari's pixel 0 reaches from -0.5 to 0.5
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclipsam.io.source import ReadOptions
from medclipsam.napari_plugin.asking import Answer
from medclipsam.runs.pictures import Pictures, open_pictures
from medclipsam.types import MedImage

Layer = tuple[Any, dict[str, Any], str]
PATH = "medclipsam_path"
"""Where an image layer keeps the path of its scan."""
COLOURS = ("#009e73", "#e69f00", "#56b4e9", "#d55e00", "#cc79a7", "#f0e442", "#0072b2")
"""Told apart by the colour-blind (Okabe and Ito, 2008); those of the SEG."""
PLACED = ("scale", "translate", "rotate", "shear", "affine")
"""What of an image layer its labels and boxes share."""
OPACITY = 0.5


def image_layer(path: Path) -> Layer:
    """A scan as it is shown to the model.

    Raises:
        BadInput: a scan that cannot be read.
    """
    pictures = open_pictures(path, ReadOptions())
    images = list(pictures)
    colour = any((image.pixels != image.pixels[..., :1]).any() for image in images)
    shown = [image.pixels if colour else image.pixels[..., 0] for image in images]
    settings: dict[str, Any] = {
        "name": images[0].name if len(images) == 1 else path.name,
        "metadata": {PATH: str(path.absolute())},
        "rgb": colour,
        **_placed(pictures, images[0]),
    }
    if not colour:
        settings["contrast_limits"] = (0.0, 1.0)
    return np.stack(shown) if len(shown) > 1 else shown[0], settings, "image"


def answer_layers(answers: Sequence[Answer], shape: Sequence[int], like: dict[str, Any]) -> list[Layer]:
    """Labels and boxes of each prompt.

    Args:
        answers: of all prompts.
        shape: (height, width), or (slices, height, width), of the image layer.
        like: what of the image layer they share, see `PLACED`.
    """
    layers: list[Layer] = []
    for number, answer in enumerate(answers):
        colour = COLOURS[number % len(COLOURS)]
        named = {"name": answer.prompt if answer.found else f"{answer.prompt} (not found)", **like}
        layers.append((_labels(answer, shape), {**named, "opacity": OPACITY, "metadata": {"colour": colour}}, "labels"))
        rectangles = _rectangles(answer, flat=len(shape) == 2)
        if rectangles:
            drawn = {"shape_type": "rectangle", "edge_color": colour, "face_color": "transparent", "edge_width": 1}
            layers.append((rectangles, {**named, "name": f"{answer.prompt}: boxes", **drawn}, "shapes"))
    return layers


def _labels(answer: Answer, shape: Sequence[int]) -> NDArray[np.uint8]:
    labels = np.zeros(shape, np.uint8)
    for index, mask in answer.masks.items():
        if len(shape) == 2:
            labels[:] = mask
        else:
            labels[index] = mask
    return labels


def _rectangles(answer: Answer, *, flat: bool) -> list[NDArray[np.float64]]:
    """(4, 2) or, on a slice, (4, 3) corners each."""
    drawn = []
    for index, boxes in answer.boxes.items():
        for x0, y0, x1, y1 in boxes:
            corners = np.array([(y0, x0), (y0, x1), (y1, x1), (y1, x0)]) - 0.5
            drawn.append(corners if flat else np.column_stack([np.full(4, index), corners]))
    return drawn


def _placed(pictures: Pictures, first: MedImage) -> dict[str, Any]:
    """Scale and place, where the scan tells them."""
    if first.spacing_mm is None:
        return {}
    within, corner = _within(first)
    if len(pictures) == 1:
        return {"scale": first.spacing_mm, "translate": within}
    places = pictures.places_mm
    if places is None or corner is None:
        return {"scale": (1.0, *first.spacing_mm)}
    step = float(np.median(np.diff(places)))
    return {"scale": (abs(step), *first.spacing_mm), "translate": (places[0] * np.sign(step), *within)}


def _within(image: MedImage) -> tuple[tuple[float, float], NDArray[np.float64] | None]:
    """(where the first pixel lies along columns and rows, in mm; its place in the patient)."""
    if image.plane_lps is None:
        return (0.0, 0.0), None
    down, along, corner = image.plane_lps.T
    return (_share(down, corner), _share(along, corner)), corner


def _share(axis: NDArray[np.float64], corner: NDArray[np.float64]) -> float:
    return float(axis @ corner / np.linalg.norm(axis))
