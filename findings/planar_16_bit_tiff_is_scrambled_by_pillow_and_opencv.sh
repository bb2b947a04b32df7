#!/usr/bin/env bash
# Microscopes and ImageJ write channels plane by plane (PlanarConfiguration 2), and tifffile does so by default for an array
# of (3, height, width). With 8 bits a channel everybody reads that. With 16 bits a channel both Pillow 13.0.0 and OpenCV
# 5.0.0 return a picture of the right size and the wrong pixels, without an error or a warning: Pillow takes each byte of
# a plane for a pixel, OpenCV mixes the planes. So two independent libraries agree that the file "opens", and a mask or an
# image of such a file is garbage. tifffile reads it back exactly. Exits 0 while that is so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q pillow==13.0.0 numpy==2.4.6 opencv-python-headless==5.0.0.93 tifffile==2026.3.3
"$work/venv/bin/python" - "$work" <<'PY'
import sys
from pathlib import Path

import cv2
import numpy as np
import PIL
import tifffile
from PIL import Image

inside = np.zeros((60, 90), bool)
inside[10:40, 20:60] = True
for bits in (8, 16):
    kind = np.dtype(f"u{bits // 8}")
    planes = np.stack([inside * np.iinfo(kind).max] * 3).astype(kind)
    path = Path(sys.argv[1]) / f"{bits}.tif"
    tifffile.imwrite(path, planes, photometric="rgb", planarconfig="separate")
    found = {
        f"tifffile {tifffile.__version__}": np.moveaxis(tifffile.imread(path), 0, -1),
        f"Pillow {PIL.__version__}": np.asarray(Image.open(path)),
        f"OpenCV {cv2.__version__}": cv2.imread(str(path), cv2.IMREAD_UNCHANGED),
    }
    print(f"{bits} bits a channel, {inside.sum()} white pixels stored")
    right = [np.array_equal((picture > 0).all(axis=-1), inside) for picture in found.values()]
    for (name, picture), is_right in zip(found.items(), right, strict=True):
        wrong = ((picture > 0).any(axis=-1) != inside).sum()
        print(f"  {name}: shape {picture.shape}, {'right' if is_right else f'{wrong} of {inside.size} pixels wrong'}")
    assert right == ([True] * 3 if bits == 8 else [True, False, False])
PY
