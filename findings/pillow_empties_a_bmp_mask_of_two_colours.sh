#!/usr/bin/env bash
# A mask saved as a BMP of 8 bits whose palette has two entries, black and white, is a valid file; Pillow itself writes one
# from a palette picture. Reading it back, Pillow 13.0.0 sees that the palette is black and white and takes the pixels for
# 1 bit each, although the header says 8: it makes a whole row of the first eighth of each, and a mask of indexes 0 and 1
# comes back empty or in stripes. No error, no warning; OpenCV reads the same file rightly. White first, or any other
# colour in the palette, is right too, so that of a folder of masks some are lost. Exits 0 while that is so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q pillow==13.0.0 numpy==2.4.6 opencv-python-headless==5.0.0.93
"$work/venv/bin/python" - "$work" <<'PY'
import sys
from pathlib import Path

import cv2
import numpy as np
import PIL
from PIL import Image

mask = np.zeros((64, 96), np.uint8)
mask[10:40, 20:70] = 1
read = {}
for name, palette in (("black_first", [0, 0, 0, 255, 255, 255]), ("white_first", [255, 255, 255, 0, 0, 0])):
    picture = Image.fromarray(mask if name == "black_first" else 1 - mask, "P")
    picture.putpalette(palette)
    path = Path(sys.argv[1]) / f"{name}.bmp"
    picture.save(path)
    with Image.open(path) as opened:
        mode, by_pillow = opened.mode, np.asarray(opened.convert("L")) > 0
    by_opencv = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 0
    read[name] = by_pillow
    bits = int.from_bytes(path.read_bytes()[28:30], "little")
    print(f"{name}: {bits} bits in the file; {mask.sum()} pixels drawn;", end=" ")
    print(f"Pillow {PIL.__version__} reads {by_pillow.sum()} (mode {mode}), OpenCV {cv2.__version__} {by_opencv.sum()}")
    assert bits == 8 and np.array_equal(by_opencv, mask > 0)
assert not read["black_first"].any()
assert np.array_equal(read["white_first"], mask > 0)
PY
