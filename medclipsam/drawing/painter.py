"""Paints what every picture of ours has: colours, contours, heat, and any text in a font of few letters.

Pillow's built-in font is the same on every machine, so the same result gives the same picture; it holds little more
than ASCII. What folds is folded, symbols are named, and lines wrap:

    "tumeur bénigne"  ->  tumeur benigne          (accents fold)
    "tumor 😀"        ->  tumor [grinning face]   (symbols are named)
    "опухоль"         ->  ???????                 (letters it lacks; the report holds the text as it was given)
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import ImageFont

from medclipsam.types import BoolArray, FloatArray

INK = (17, 20, 24)
PAPER = (236, 239, 241)
FADED = (144, 154, 164)
CONTOUR = (64, 255, 190)
FRAME = (255, 196, 61)
OUTSIDE = (255, 92, 92)
FOUND = (31, 138, 101)
NOT_FOUND = (122, 86, 32)
WIDE = 2.0
"""From this width over height on, panels stand one above the other."""
FAINTEST = 0.25
"""The hottest colour stands for the largest evidence, or for this where all of it is fainter."""
GAP = 4
"""Pixels between the panels of a small picture."""
ELLIPSIS = "..."

Bytes = NDArray[np.uint8]
Colour = tuple[int, int, int]
Font = ImageFont.FreeTypeFont | ImageFont.ImageFont


def fitted(size: tuple[int, int], side: int) -> tuple[int, int]:
    """(height, width) whose longer side is `side` pixels, in the aspect of `size`; no side is below 1."""
    scale = side / max(size)
    return max(round(size[0] * scale), 1), max(round(size[1] * scale), 1)


def resized(values: FloatArray, size: tuple[int, int], *, smooth: bool = False) -> FloatArray:
    """Values in [0, 1] at another (height, width): averaged when reduced, else between pixels, cubic if `smooth`."""
    enlarged = cv2.INTER_CUBIC if smooth else cv2.INTER_LINEAR
    how = cv2.INTER_AREA if _is_reduced(values.shape, size) else enlarged
    return np.clip(cv2.resize(np.ascontiguousarray(values, np.float32), size[::-1], interpolation=how), 0, 1)


def resized_mask(mask: BoolArray, size: tuple[int, int], *, smooth: bool = False) -> BoolArray:
    """A mask at another (height, width); when reduced, one pixel of it is enough to show."""
    share = resized(mask.astype(np.float32), size, smooth=smooth)
    return share > (0 if _is_reduced(mask.shape, size) else 0.5)


def outline(picture: Bytes, mask: BoolArray | Bytes, colour: Colour) -> None:
    """Draw the contour of a mask with a dark rim onto a picture of the same size, so that it shows on any ground."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    for line, thickness in ((INK, 4), (colour, 2)):
        cv2.drawContours(picture, contours, -1, line, thickness, cv2.LINE_AA)


def heat(values: FloatArray) -> FloatArray:
    """The inferno map, (height, width, 3) in [0, 1]: dark is low, yellow is high, and it reads in grey print too."""
    coloured = cv2.applyColorMap(to_bytes(values), cv2.COLORMAP_INFERNO)
    return coloured[..., ::-1].astype(np.float32) / np.float32(255)


def blend(base: FloatArray, colour: Colour, alpha: NDArray[Any]) -> FloatArray:
    """A picture in [0, 1] under a colour, as far as `alpha` (height, width) says."""
    weight = alpha[..., None].astype(np.float32)
    return base * (1 - weight) + np.array(colour, np.float32) / np.float32(255) * weight


def to_bytes(values: FloatArray) -> Bytes:
    """[0, 1] to 0..255."""
    return (np.clip(values, 0, 1) * 255).round().astype(np.uint8)


def joined(panels: Sequence[Bytes], *, below: bool = False) -> Bytes:
    """Panels of one size side by side, or one below the other, with a dark gap between them."""
    height, width = panels[0].shape[:2]
    gap = np.full((GAP, width, 3) if below else (height, GAP, 3), INK, np.uint8)
    parts = [part for panel in panels for part in (gap, panel)][1:]
    return np.concatenate(parts, axis=0 if below else 1)


def _is_reduced(before: tuple[int, ...], after: tuple[int, int]) -> bool:
    return after[0] < before[0] or after[1] < before[1]


@lru_cache(maxsize=8)
def font(size: int) -> Font:
    """Pillow's built-in font at `size` pixels."""
    return ImageFont.load_default(size)


def drawable(text: str) -> str:
    """`text` in letters that the built-in font has: folded where Unicode knows a plain form; see the figure above."""
    return "".join(_letters(character) for character in text)


def lines(text: str, size: int, width: float, most: int) -> list[str]:
    """Wrap `text` to `width` pixels, between words where possible; what passes `most` lines ends in an ellipsis.

    An empty text gives no line.
    """
    wrapped: list[str] = []
    rest = drawable(text).strip()
    while rest and len(wrapped) < most - 1:
        wrapped.append(_head(rest, size, width))
        rest = rest[len(wrapped[-1]) :].lstrip()
    return [*wrapped, _cut(rest, size, width)] if rest else wrapped


def _cut(text: str, size: int, width: float) -> str:
    """`text` where it fits one line, else its beginning and an ellipsis."""
    if font(size).getlength(text) <= width:
        return text
    return _head(text, size, width - font(size).getlength(ELLIPSIS)) + ELLIPSIS


def _head(text: str, size: int, width: float) -> str:
    """The longest beginning of `text` that fits one line, up to a space where there is one."""
    fits = _fitting(text, size, width)
    space = text.rfind(" ", 0, fits + 1)
    return text[: fits if fits == len(text) or space < 1 else space].rstrip() or text[:1]


def _fitting(text: str, size: int, width: float) -> int:
    """How many characters of `text` fit into `width` pixels, by bisection."""
    low, high = 0, len(text)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if font(size).getlength(text[:middle]) <= width else (low, middle - 1)
    return low


@lru_cache(maxsize=4096)
def _letters(character: str) -> str:
    if _has_glyph(character):
        return character
    folded = "".join(part for part in unicodedata.normalize("NFKD", character) if not unicodedata.combining(part))
    if folded and all(_has_glyph(part) for part in folded):
        return folded
    return _stand_in(character)


def _stand_in(character: str) -> str:
    match unicodedata.category(character):
        case "Pd":
            return "-"
        case "Cf" | "Mn" | "Me":
            return ""
        case "So":
            return f"[{unicodedata.name(character, 'symbol').lower()}]"
        case _:
            return "?"


def _has_glyph(character: str) -> bool:
    if character.isascii():
        return character.isprintable()
    return _shape(character) != _shape("\uffff")


def _shape(character: str) -> tuple[tuple[int, int], bytes]:
    mask = font(16).getmask(character)
    return mask.size, bytes(mask)
