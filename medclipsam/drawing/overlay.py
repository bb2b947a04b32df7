"""Draws one picture of a result: the answer, the evidence, and what was asked.

    +-------------------+-------------------+
    | answer            | evidence          |
    | image, contour,   | image under the   |
    | box, points       | saliency          |
    +-------------------+-------------------+
    | "breast tumor"                        |
    | FOUND  presence 0.83 ...  research use|
    +---------------------------------------+

Wide images stand one above the other. The image keeps its aspect; small ones are enlarged, huge ones reduced without
losing a single-pixel mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from medclipsam.drawing.painter import (
    CONTOUR,
    FADED,
    FAINTEST,
    FOUND,
    FRAME,
    INK,
    NOT_FOUND,
    OUTSIDE,
    PAPER,
    WIDE,
    Bytes,
    Colour,
    blend,
    font,
    heat,
    lines,
    resized,
    resized_mask,
    to_bytes,
)
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.types import WHY_NOTHING, BoolArray, Box, FloatArray, MedImage, Points, Segmentation

PANEL = 640
"""Largest side of a panel in pixels; a wide image gets twice the width."""
NARROWEST = 640
"""Least width of a picture, so that a sliver of an image still has a caption."""
GAP = 12
MARGIN = 16
SMOOTH = 3
"""Lines are drawn this many times larger and reduced."""
SHEET_MOST = 12
SHEET_SIDE = 2560


def draw_overlay(image: MedImage, result: Segmentation) -> Image.Image:
    """The picture of one result.

    Args:
        image: (height, width) of any aspect.
        result: of the same size; where nothing was found, the picture says so and shows the saliency alone.

    Raises:
        ValueError: sizes that differ.
    """
    if result.mask.shape != image.size:
        raise ValueError(f"a mask of {result.mask.shape} does not lie on an image of {image.size}")
    view = _View.of(image.size)
    base = resized(image.pixels, view.size, smooth=True)
    answer = _labelled(_answer(base, result, view), "answer")
    hottest = max(float(result.evidence.max()), FAINTEST)
    evidence = _evidence(base, resized(result.evidence / np.float32(hottest), view.size, smooth=True))
    evidence = _labelled(evidence, "evidence for the text", hottest)
    body = _grid([answer, evidence], columns=1 if view.wide else 2)
    caption = _caption(result, image.spacing_mm, max(body.width, NARROWEST))
    return _framed(_stacked([body, caption]))


def sheet_choice(count: int) -> list[int]:
    """Which of `count` pictures a sheet shows: at most 12, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, SHEET_MOST)).round().astype(int)).tolist()


def draw_sheet(overlays: Sequence[Image.Image]) -> Image.Image:
    """Several pictures as one, in columns of four.

    Raises:
        ValueError: no picture at all.
    """
    if not overlays:
        raise ValueError("a sheet needs at least one picture")
    sheet = _grid(overlays, columns=-(-len(overlays) // 4))
    sheet.thumbnail((SHEET_SIDE, SHEET_SIDE), Image.Resampling.LANCZOS)
    return sheet


@dataclass(frozen=True)
class _View:
    """From pixels of the image to pixels of the picture."""

    size: tuple[int, int]
    scale: tuple[float, float]
    wide: bool

    @classmethod
    def of(cls, size: tuple[int, int]) -> _View:
        height, width = size
        wide = width / height > WIDE
        scale = min((2 * PANEL + GAP if wide else PANEL) / width, PANEL / height)
        shown = max(round(height * scale), 1), max(round(width * scale), 1)
        return cls(size=shown, scale=(shown[0] / height, shown[1] / width), wide=wide)

    def centre(self, x: float, y: float) -> tuple[float, float]:
        """Where the centre of pixel (x, y) lies in the picture."""
        return self.edge(x + 0.5, y + 0.5)

    def edge(self, x: float, y: float) -> tuple[float, float]:
        """Where the upper left corner of pixel (x, y) lies in the picture."""
        return x * self.scale[1], y * self.scale[0]


def _answer(base: FloatArray, result: Segmentation, view: _View) -> Image.Image:
    mask = resized_mask(result.mask, view.size, smooth=True)
    tinted = blend(base, CONTOUR, 0.16 * mask)
    picture = Image.fromarray(_outlined(tinted, mask, blur=min(0.6 * min(view.scale), 1.5)))
    return _with_prompts(picture, result.boxes, result.points, view)


def _outlined(base: FloatArray, mask: BoolArray, blur: float) -> Bytes:
    """A contour of about three pixels with a dark rim, so that it shows on black and on white.

    Args:
        base: (height, width, 3) in [0, 1].
        mask: (height, width).
        blur: standard deviation in pixels that takes the steps of enlarged pixels out of the line.
    """
    if not mask.any() or mask.all():
        return to_bytes(base)
    distance = np.abs(cv2.GaussianBlur(_distance(mask) - _distance(~mask), (0, 0), blur))
    rimmed = blend(base, INK, 0.7 * np.clip(4.0 - distance, 0, 1))
    return to_bytes(blend(rimmed, CONTOUR, np.clip(2.5 - distance, 0, 1)))


def _distance(mask: BoolArray) -> FloatArray:
    """Distance of each pixel of the mask to the nearest one outside it, exact, in pixels; 0 outside."""
    return cv2.distanceTransform(mask.view(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE).astype(np.float32)


def _evidence(base: FloatArray, saliency: FloatArray) -> Image.Image:
    grey = base.mean(axis=2, keepdims=True).repeat(3, axis=2) * 0.75
    alpha = 0.72 * np.clip(saliency * 1.6, 0, 1)[..., None]
    return Image.fromarray(to_bytes(grey * (1 - alpha) + heat(saliency) * alpha))


def _with_prompts(picture: Image.Image, boxes: Sequence[Box], points: Points | None, view: _View) -> Image.Image:
    if not boxes and not points:
        return picture
    layer = Image.new("RGBA", (picture.width * SMOOTH, picture.height * SMOOTH))
    pen = ImageDraw.Draw(layer)
    for box in boxes:
        _dashed_box(pen, [SMOOTH * value for value in (*view.edge(box.x0, box.y0), *view.edge(box.x1, box.y1))])
    for (x, y), label in zip(points.xy, points.labels, strict=True) if points else ():
        _dot(pen, [SMOOTH * value for value in view.centre(float(x), float(y))], CONTOUR if label else OUTSIDE)
    return Image.alpha_composite(picture.convert("RGBA"), layer.reduce(SMOOTH)).convert("RGB")


def _dashed_box(pen: ImageDraw.ImageDraw, edges: Sequence[float]) -> None:
    x0, y0, x1, y1 = edges
    for start, end in (((x0, y0), (x1, y0)), ((x1, y0), (x1, y1)), ((x1, y1), (x0, y1)), ((x0, y1), (x0, y0))):
        pen.line([start, end], fill=(*INK, 150), width=4 * SMOOTH)
    for start, end in (((x0, y0), (x1, y0)), ((x0, y1), (x1, y1)), ((x0, y0), (x0, y1)), ((x1, y0), (x1, y1))):
        for a, b in _dashes(start, end):
            pen.line([a, b], fill=(*FRAME, 255), width=2 * SMOOTH)


def _dashes(
    start: tuple[float, float], end: tuple[float, float]
) -> list[tuple[tuple[float, float], tuple[float, float]]]:
    """An odd number of equal pieces, every second one drawn, so that both corners are inked."""
    origin, way = np.array(start), np.subtract(end, start)
    pieces = 2 * (int(np.hypot(*way) / (18 * SMOOTH))) + 1
    cuts = [tuple((origin + way * k / pieces).tolist()) for k in range(pieces + 1)]
    return [(cuts[k], cuts[k + 1]) for k in range(0, pieces, 2)]


def _dot(pen: ImageDraw.ImageDraw, centre: Sequence[float], colour: Colour) -> None:
    for radius, fill in ((6, INK), (4, colour)):
        x, y = centre
        pen.ellipse([x - radius * SMOOTH, y - radius * SMOOTH, x + radius * SMOOTH, y + radius * SMOOTH], fill=fill)


def _labelled(panel: Image.Image, label: str, hottest: float | None = None) -> Image.Image:
    """A panel under its label; with `hottest` a key of the heat colours, from 0 to that value."""
    strip = Image.new("RGB", (panel.width, 24), INK)
    pen = ImageDraw.Draw(strip)
    pen.text((0, 4), label, font=font(14), fill=FADED)
    if hottest is not None and panel.width >= 400:
        key = Image.fromarray(to_bytes(heat(np.tile(np.linspace(0, 1, 96, dtype=np.float32), (8, 1)))))
        strip.paste(key, (panel.width - 96 - 38, 9))
        pen.text((panel.width - 96 - 44, 4), "0", font=font(14), fill=FADED, anchor="ra")
        pen.text((panel.width, 4), f"{hottest:.2f}", font=font(14), fill=FADED, anchor="ra")
    return _stacked([strip, panel])


def _caption(result: Segmentation, spacing_mm: tuple[float, float] | None, width: int) -> Image.Image:
    asked = lines(f'"{result.prompt}"', size=24, width=width, most=2)
    facts = lines(_facts(result, spacing_mm), size=15, width=width - 118, most=3)
    top = 10 + 30 * len(asked)
    strip = Image.new("RGB", (width, top + 22 * len(facts) + 24), INK)
    pen = ImageDraw.Draw(strip)
    for row, line in enumerate(asked):
        pen.text((0, 4 + 30 * row), line, font=font(24), fill=PAPER)
    _badge(pen, (0, top), found=result.found)
    for row, line in enumerate(facts):
        pen.text((118, top + 3 + 22 * row), line, font=font(15), fill=PAPER)
    pen.text((width, strip.height), RESEARCH_USE_ONLY, font=font(12), fill=FADED, anchor="rd")
    return strip


def _badge(pen: ImageDraw.ImageDraw, corner: tuple[int, int], found: bool) -> None:
    x, y = corner
    pen.rounded_rectangle([x, y, x + 104, y + 22], radius=11, fill=FOUND if found else NOT_FOUND)
    pen.text((x + 52, y + 11), "FOUND" if found else "NOT FOUND", font=font(13), fill=PAPER, anchor="mm")


def _facts(result: Segmentation, spacing_mm: tuple[float, float] | None) -> str:
    facts = [] if result.presence is None else [f"presence {result.presence:.2f}"]
    if result.scores:
        facts.append(f"SAM score {max(result.scores):.2f}")
    facts.append(f"area {result.area_px:,} px")
    if spacing_mm:
        facts.append(f"{result.area_px * spacing_mm[0] * spacing_mm[1]:,.1f} sq mm")
    if result.reason:
        facts.append(WHY_NOTHING[result.reason])
    return "    ".join(facts)


def _grid(pictures: Sequence[Image.Image], columns: int) -> Image.Image:
    """Pictures in a grid, `columns` to a row, each cell as large as the largest."""
    width, height = max(picture.width for picture in pictures), max(picture.height for picture in pictures)
    rows = -(-len(pictures) // columns)
    sheet = Image.new("RGB", (columns * (width + GAP) - GAP, rows * (height + GAP) - GAP), INK)
    for index, picture in enumerate(pictures):
        sheet.paste(picture, ((index % columns) * (width + GAP), (index // columns) * (height + GAP)))
    return sheet


def _stacked(pictures: Sequence[Image.Image]) -> Image.Image:
    sheet = Image.new("RGB", (max(picture.width for picture in pictures), sum(p.height for p in pictures)), INK)
    y = 0
    for picture in pictures:
        sheet.paste(picture, ((sheet.width - picture.width) // 2, y))
        y += picture.height
    return sheet


def _framed(picture: Image.Image) -> Image.Image:
    frame = Image.new("RGB", (picture.width + 2 * MARGIN, picture.height + 2 * MARGIN), INK)
    frame.paste(picture, (MARGIN, MARGIN))
    return frame
