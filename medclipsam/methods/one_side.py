"""Keeps of a mask what lies on one side of the patient: the left lung of both.

    DICOM and volumes   the file says which way the patient's left is (or does not: then the side is refused)
    pictures of lungs   by convention, a frontal chest film and a CT slice show the patient's left on the viewer's right

The middle is that of the body in the rows that the mask spans, moved to where the mask is thinnest near it: between
two lungs nothing is cut. A part of the mask that lies nearly whole on one side belongs to that side.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

import cv2
import numpy as np

from medclipsam.errors import BadInput
from medclipsam.sides import OneSide
from medclipsam.types import BoolArray, Box, FloatArray, MedImage, Segmentation, Side

BY_CONVENTION = re.compile(r"\b(lungs?|pulmonary|hemithorax)\b", re.IGNORECASE)
"""Structures whose pictures are shown alike: no view of them but from the front or from the feet is usual."""
IN_PLANE = 0.7
"""Least cosine between the patient's left and the plane of the image: less, and both sides lie behind each other."""
WHOLE = 0.85
"""Share of a part on one side from which it counts there as a whole."""
NEAR_MIDDLE = 0.12
"""How far from the body's middle the thinnest place of a mask is looked for, as a share of the body's width."""
BODY = 0.1
"""How much brighter than air a pixel of the body is."""
AIR = 5
"""Percentile of the brightness that is taken for air's: black, but for a CT in a window for lungs."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Leftward:
    """Where the patient's left is in an image."""

    coordinate: FloatArray
    """(height, width), in pixels, growing towards the patient's left."""
    known_from: str
    """What says so, for the report."""


def leftward(image: MedImage, structure: str, *, pointed: bool = False) -> Leftward | None:
    """Find out where the patient's left is; None where nobody knows and a person points at the place.

    Raises:
        BadInput: neither the file nor a convention says it, or the image is a view from the side.
    """
    told = _told(image)
    if told is None and image.format == "raster" and BY_CONVENTION.search(structure):
        columns = np.broadcast_to(np.arange(image.size[1], dtype=np.float32), image.size)
        return Leftward(coordinate=columns, known_from="by the convention of pictures of the chest")
    if pointed and (told is None or np.hypot(*told) < IN_PLANE):
        return None
    if told is None:
        raise BadInput(f"{image.name}: the file does not say which side is the patient's left", _WAY_OUT)
    if np.hypot(*told) < IN_PLANE:
        raise BadInput(f"{image.name}: this view shows left and right behind each other", _WAY_OUT)
    rows, columns = np.indices(image.size, np.float32)
    coordinate = (rows * told[0] + columns * told[1]) / np.float32(np.hypot(*told))
    return Leftward(coordinate=coordinate.astype(np.float32), known_from="as the file says")


_WAY_OUT = "leave the side out, or point with --box"


def on_side(answer: Segmentation, image: MedImage, asked: OneSide, left: Leftward, text: str) -> Segmentation:
    """The answer to a text that asks for one side: the part of the structure's mask and probability that lies there."""
    note = f"the patient's {asked.side} side: {left.known_from}"
    answer = replace(answer, prompt=text, side=asked.side, notes=(*answer.notes, note))
    if not answer.found:
        return answer
    there = side_of(answer.mask, image, left.coordinate, asked.side)
    mask = answer.mask & there
    probability = np.where(there, answer.probability, 0).astype(np.float32)
    if not mask.any():
        answer = replace(answer, mask=mask, probability=np.zeros_like(probability), boxes=(), points=None, scores=())
        return replace(answer, found=False, reason="other_side")
    kept = [_meets(mask, box) for box in answer.boxes]
    boxes = tuple(box for box, keep in zip(answer.boxes, kept, strict=True) if keep)
    scores = answer.scores
    if len(scores) == len(kept):
        scores = tuple(score for score, keep in zip(scores, kept, strict=True) if keep)
    return replace(answer, mask=mask, probability=probability, boxes=boxes, scores=scores)


def side_of(mask: BoolArray, image: MedImage, coordinate: FloatArray, side: Side) -> BoolArray:
    """(height, width): the pixels that count to a side of the patient."""
    beyond = coordinate > _middle(mask, image, coordinate)
    count, parts = cv2.connectedComponents(mask.astype(np.uint8), connectivity=8)
    left = beyond.copy()
    for part in range(1, count):
        share = float(beyond[parts == part].mean())
        if share >= WHOLE or share <= 1 - WHOLE:
            left[parts == part] = share >= WHOLE
    return left if side == "left" else ~left


def _middle(mask: BoolArray, image: MedImage, coordinate: FloatArray) -> float:
    """Where the patient's middle lies along the coordinate."""
    grey = image.pixels.max(axis=2)
    bright = (grey > np.percentile(grey, AIR) + BODY).astype(np.uint8)
    body = cv2.morphologyEx(bright, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8)).astype(bool) | mask
    across = np.ptp(coordinate[0]) > np.ptp(coordinate[:, 0])
    level = mask.any(axis=1, keepdims=True) if across else mask.any(axis=0, keepdims=True)
    where: FloatArray = coordinate[np.logical_and(body, level)]
    low, high = np.percentile(where, [1, 99])
    centre, width = (low + high) / 2, high - low
    bins = np.arange(centre - NEAR_MIDDLE * width, centre + NEAR_MIDDLE * width + 1)
    if len(bins) < 3:
        return float(centre)
    counts, _ = np.histogram(coordinate[mask], bins)
    places = (bins[:-1] + bins[1:]) / 2
    thinnest = places[counts == counts.min()]
    return float(thinnest[np.abs(thinnest - centre).argmin()])


def _meets(mask: BoolArray, box: Box) -> bool:
    x0, y0, x1, y1 = (max(0, round(edge)) for edge in box.edges)
    return bool(mask[y0 : y1 + 1, x0 : x1 + 1].any())


def _told(image: MedImage) -> tuple[float, float] | None:
    """How far one row and one column lead towards the patient's left, as cosines."""
    if image.towards_left is not None or image.plane_lps is None:
        return image.towards_left
    steps = image.plane_lps[:, :2]
    row, column = steps[0] / np.linalg.norm(steps, axis=0)
    return float(row), float(column)
