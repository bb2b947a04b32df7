#!/usr/bin/env bash
# A TIFF may say by its Orientation tag (274) that it is to be shown turned by 90 degrees; slide scanners, film digitisers
# and cameras write it. Pillow 13.0.0 turns such a file when it loads it. But opened by its name, an uncompressed one of
# 8 or 16 grey bits, with a palette or with an alpha channel is mapped into memory with the width of the turned picture
# before it is turned: the pixels come out sheared into each other, in the wrong shape, without an error or a warning. The
# same bytes from a stream, or with any compression, are right, and so is OpenCV. Width and height of `size` differ before
# and after `load`. Exits 0 while that is so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q pillow==13.0.0 numpy==2.4.6
"$work/venv/bin/python" - "$work" <<'PY'
import struct
import sys
from io import BytesIO
from pathlib import Path

import numpy as np
import PIL
from PIL import Image

ROWS, COLUMNS, TURN_RIGHT = 3, 4, 6
stored = np.arange(ROWS * COLUMNS, dtype="<u2").reshape(ROWS, COLUMNS) * 100
right = np.rot90(stored, -1)


def plain_tiff(orientation: int) -> bytes:
    """One strip of 16-bit grey, uncompressed; TIFF 6.0, baseline tags."""
    data = stored.tobytes()
    tags = [(256, 4, COLUMNS), (257, 4, ROWS), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 8),
            (274, 3, orientation), (277, 3, 1), (278, 4, ROWS), (279, 4, len(data))]
    entries = b"".join(struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


path = Path(sys.argv[1]) / "turned.tif"
path.write_bytes(plain_tiff(TURN_RIGHT))
by_name, by_stream = np.asarray(Image.open(path)), np.asarray(Image.open(BytesIO(path.read_bytes())))
print("Pillow", PIL.__version__)
print("as it should be shown:\n", right)
print("opened as a stream:\n", by_stream)
print("opened by its name:\n", by_name)
assert np.array_equal(by_stream, right)
assert by_name.shape == (ROWS, COLUMNS) and not np.array_equal(by_name, right)
path.write_bytes(plain_tiff(1))
assert np.array_equal(np.asarray(Image.open(path)), stored)
PY
