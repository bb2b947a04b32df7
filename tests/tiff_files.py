"""Plain TIFF files that Pillow does not write: which end is white, orientation, byte order, planes, 16-bit colours."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

SHORT, LONG = 3, 4
MIN_IS_WHITE, MIN_IS_BLACK, RGB = 0, 1, 2
UNASSOCIATED_ALPHA = 2
Tags = dict[int, tuple[int, list[int]]]


def tiff(
    path: Path,
    samples: np.ndarray,
    photometric: int,
    orientation: int = 1,
    *,
    big_endian: bool = False,
    planes: bool = False,
) -> Path:
    """Write (height, width) or (height, width, 3 or 4) unsigned or floating samples, uncompressed.

    Args:
        path: the file.
        samples: as they are to be stored.
        photometric: one of the constants above.
        orientation: tag 274.
        big_endian: the byte order of Motorola.
        planes: a strip for each channel instead of one for all.
    """
    height, width, channels = (*samples.shape, 1)[:3]
    order = ">" if big_endian else "<"
    stored = np.moveaxis(samples, -1, 0) if planes else samples
    data = np.ascontiguousarray(stored).astype(samples.dtype.newbyteorder(order)).tobytes()
    strips = channels if planes else 1
    each = len(data) // strips
    tags: Tags = {
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [samples.dtype.itemsize * 8] * channels),
        259: (SHORT, [1]),
        262: (SHORT, [photometric]),
        273: (LONG, [8 + strip * each for strip in range(strips)]),
        274: (SHORT, [orientation]),
        277: (SHORT, [channels]),
        278: (LONG, [height]),
        279: (LONG, [each] * strips),
        284: (SHORT, [2 if planes else 1]),
        339: (SHORT, [3 if samples.dtype.kind == "f" else 1] * channels),
    }
    if channels == 4:
        tags[338] = SHORT, [UNASSOCIATED_ALPHA]
    path.write_bytes(_file(data, tags, order))
    return path


def _file(data: bytes, tags: Tags, order: str) -> bytes:
    """The header, the strips, and the directory with what does not fit into it."""
    data += b"\0" * (len(data) % 2)
    start = 8 + len(data)
    behind = start + 2 + 12 * len(tags) + 4
    entries, rest = b"", b""
    for tag, (kind, values) in sorted(tags.items()):
        raw = struct.pack(f"{order}{len(values)}{'H' if kind == SHORT else 'I'}", *values)
        if len(raw) > 4:
            rest, raw = rest + raw, struct.pack(f"{order}I", behind + len(rest))
        entries += struct.pack(f"{order}HHI", tag, kind, len(values)) + raw.ljust(4, b"\0")
    mark = (b"MM" if order == ">" else b"II") + struct.pack(f"{order}HI", 42, start)
    return mark + data + struct.pack(f"{order}H", len(tags)) + entries + bytes(4) + rest
