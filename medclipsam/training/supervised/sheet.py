"""Draws `val.png`: some validation images with the contours of truth and answer, so that a person sees early.

Green is the truth, orange the answer; below each image stand its Dice and presence.
"""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from medclipsam.drawing.painter import font
from medclipsam.io.atomic import write_atomic
from medclipsam.training.supervised.validation import Validated
from medclipsam.types import MASK_THRESHOLD, BoolArray

MOST, COLUMNS, PANEL, STRIP = 12, 4, 256, 22
TRUTH, ANSWER = (90, 210, 90), (255, 140, 40)
Bytes = NDArray[np.uint8]


def chosen_places(count: int) -> list[int]:
    """At most twelve, spread evenly over all rows."""
    return sorted({round(place) for place in np.linspace(0, count - 1, min(count, MOST))}) if count else []


def write_sheet(path: Path, pixels: Sequence[Bytes], rows: Sequence[Validated]) -> None:
    """Write the sheet; nothing where there are no rows.

    Args:
        pixels: (side, side, 3) bytes of each row's image.

    Raises:
        CannotWrite: see `medclipsam.io.atomic`.
    """
    if not rows:
        return
    panels = [_panel(square, row) for square, row in zip(pixels, rows, strict=True)]
    columns = min(COLUMNS, len(panels))
    lines = -(-len(panels) // columns)
    sheet = Image.new("RGB", (columns * PANEL, lines * (PANEL + STRIP)))
    for place, panel in enumerate(panels):
        sheet.paste(panel, (place % columns * PANEL, place // columns * (PANEL + STRIP)))
    stream = BytesIO()
    sheet.save(stream, "PNG")
    write_atomic(path, stream.getvalue())


def _panel(square: Bytes, row: Validated) -> Image.Image:
    drawn = cv2.resize(square, (PANEL, PANEL), interpolation=cv2.INTER_LINEAR)
    for mask, colour in ((row.truth, TRUTH), (row.probability > MASK_THRESHOLD, ANSWER)):
        cv2.drawContours(drawn, _contours(mask), -1, colour, 1, cv2.LINE_AA)
    panel = Image.new("RGB", (PANEL, PANEL + STRIP))
    panel.paste(Image.fromarray(drawn), (0, 0))
    told = f"Dice {row.dice:.2f}" if row.present else "not there"
    ImageDraw.Draw(panel).text(
        (4, PANEL + 3), f"{told}, presence {row.presence:.2f}", font=font(14), fill=(220, 220, 220)
    )
    return panel


def _contours(mask: BoolArray) -> Sequence[NDArray[np.int32]]:
    enlarged = cv2.resize(mask.astype(np.uint8), (PANEL, PANEL), interpolation=cv2.INTER_NEAREST)
    found, _ = cv2.findContours(enlarged, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    return [np.asarray(contour, np.int32) for contour in found]
