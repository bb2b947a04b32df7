"""Plain TIFF files with tags that Pillow does not write: which end is white, orientation, alpha of 16 bits."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np

SHORT, LONG = 3, 4
MIN_IS_WHITE, MIN_IS_BLACK, RGB = 0, 1, 2
UNASSOCIATED_ALPHA = 2


def tiff(path: Path, samples: np.ndarray, photometric: int, orientation: int = 1) -> Path:
    """Write (height, width) or (height, width, 3 or 4) unsigned or floating samples in one strip, uncompressed."""
    height, width, channels = (*samples.shape, 1)[:3]
    data = samples.astype(samples.dtype.newbyteorder("<")).tobytes()
    bits, kind = samples.dtype.itemsize * 8, 3 if samples.dtype.kind == "f" else 1
    tags: dict[int, tuple[int, list[int]]] = {
        256: (LONG, [width]),
        257: (LONG, [height]),
        258: (SHORT, [bits] * channels),
        259: (SHORT, [1]),
        262: (SHORT, [photometric]),
        273: (LONG, [8]),
        274: (SHORT, [orientation]),
        277: (SHORT, [channels]),
        278: (LONG, [height]),
        279: (LONG, [len(data)]),
        339: (SHORT, [kind] * channels),
    }
    if channels == 4:
        tags[338] = SHORT, [UNASSOCIATED_ALPHA]
    path.write_bytes(_file(data, tags))
    return path


def _file(data: bytes, tags: dict[int, tuple[int, list[int]]]) -> bytes:
    """The header, the strip, and the directory with what does not fit into it."""
    data += b"\0" * (len(data) % 2)
    start = 8 + len(data)
    behind = start + 2 + 12 * len(tags) + 4
    entries, rest = b"", b""
    for tag, (kind, values) in sorted(tags.items()):
        raw = struct.pack(f"<{len(values)}{'H' if kind == SHORT else 'I'}", *values)
        if len(raw) > 4:
            rest, raw = rest + raw, struct.pack("<I", behind + len(rest))
        entries += struct.pack("<HHI", tag, kind, len(values)) + raw.ljust(4, b"\0")
    return b"II*\0" + struct.pack("<I", start) + data + struct.pack("<H", len(tags)) + entries + bytes(4) + rest
