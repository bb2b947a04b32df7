"""How is any text drawn with a font that knows little more than ASCII? Fold what folds, name symbols, wrap, cut.

Pillow's built-in font is the same on every machine, so the same result gives the same picture; it holds few letters.

    "tumeur bénigne"  ->  tumeur benigne          (accents fold)
    "tumor 😀"        ->  tumor [grinning face]   (symbols are named)
    "опухоль"         ->  ???????                 (letters it lacks; the report holds the text as it was given)
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

ELLIPSIS = "..."


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
