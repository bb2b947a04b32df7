"""Reads size and depth of a compressed frame from its codestream, before a decoder allocates what it says.

JPEG, JPEG-LS    FFD8 ... FFCn | length | precision | height | width | components
JPEG 2000        FF4F FF51     | length | Rsiz | Xsiz Ysiz XOsiz YOsiz | tiles ... | components
"""

from __future__ import annotations

import struct
from typing import NamedTuple

_START_OF_IMAGE = b"\xff\xd8"
_SIZ = b"\xff\x4f\xff\x51"
_NOT_FRAMES = (0xC4, 0xC8, 0xCC)
_JPEG_LS_FRAME = 0xF7
_SCAN = 0xDA
_STANDALONE = (0x01, *range(0xD0, 0xD9))


class Codestream(NamedTuple):
    """What the header of a codestream says."""

    size: tuple[int, int, int]
    """(height, width, components)."""
    bits: int
    """Precision of a sample."""


def read_codestream(frame: bytes) -> Codestream | None:
    """The header of a JPEG, JPEG-LS or JPEG 2000 codestream; None where it is not found."""
    if frame.startswith(_START_OF_IMAGE):
        return _jpeg(frame)
    start = frame.find(_SIZ, 0, 4096)
    return _jpeg_2000(frame[start : start + 43]) if start >= 0 else None


def _jpeg(frame: bytes) -> Codestream | None:
    at = 2
    while at + 10 <= len(frame) and frame[at] == 0xFF:
        marker = frame[at + 1]
        if marker == 0xFF:
            at += 1
        elif marker in _STANDALONE:
            at += 2
        elif marker == _SCAN:
            return None
        elif marker == _JPEG_LS_FRAME or (0xC0 <= marker <= 0xCF and marker not in _NOT_FRAMES):
            bits, height, width, components = struct.unpack(">BHHB", frame[at + 4 : at + 10])
            return Codestream((height, width, components), bits)
        else:
            at += 2 + max(2, int.from_bytes(frame[at + 2 : at + 4], "big"))
    return None


def _jpeg_2000(siz: bytes) -> Codestream | None:
    if len(siz) < 43:
        return None
    right, bottom, left, top = struct.unpack(">IIII", siz[8:24])
    components = int.from_bytes(siz[40:42], "big")
    return Codestream((bottom - top, right - left, components), (siz[42] & 0x7F) + 1)
