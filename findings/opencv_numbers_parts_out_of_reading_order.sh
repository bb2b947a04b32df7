#!/usr/bin/env bash
# "Keep the largest component, of equal ones the first" is a step of most segmentation pipelines. SciPy's and
# scikit-image's `label` number components by their first pixel in reading order, so that the first is the topmost.
# OpenCV's `connectedComponents` (5.0.0.93, 8-connectivity) joins blocks of 2 x 2 pixels and numbers by block: a part that
# begins in row 0 gets label 2 where another begins in row 1 further left. Its documentation promises no order. The
# masks are the same sets, but whoever moves from one library to the other for speed, as many do, keeps another of two
# equal lesions, boxes another one, and gets other label maps: 4 of 5 random masks of 12 x 12 pixels are numbered
# differently. Renumber by the first pixel (np.unique(..., return_index=True)) before anything depends on the order.
# Exits 0 while that is so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q numpy==2.4.6 scipy==1.17.1 opencv-python-headless==5.0.0.93
"$work/venv/bin/python" - <<'PY'
import sys

import cv2
import numpy as np
import scipy
from scipy import ndimage

EIGHT = np.ones((3, 3))


def by_opencv(mask):
    return cv2.connectedComponents(mask, connectivity=8)[1]


def by_scipy(mask):
    return ndimage.label(mask, EIGHT)[0]


def largest(labels):
    """The largest part; of equal ones the first."""
    return labels == 1 + np.bincount(labels.ravel())[1:].argmax()


mask = np.array([[0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]], np.uint8)
print(f"opencv {cv2.__version__}, scipy {scipy.__version__}, numpy {np.__version__}")
print(f"two lesions of one pixel:\n{mask}\nscipy:\n{by_scipy(mask)}\nopencv:\n{by_opencv(mask)}")
kept = [np.argwhere(largest(label(mask)))[0].tolist() for label in (by_scipy, by_opencv)]
print(f"the first of the largest: (row, column) {kept[0]} with scipy, {kept[1]} with opencv")

random = np.random.default_rng(0)
masks = [(random.random((12, 12)) < 0.2).astype(np.uint8) for _ in range(200)]
other = sum(not np.array_equal(by_scipy(one), by_opencv(one)) for one in masks)
print(f"of {len(masks)} random masks {other} are numbered differently")
sys.exit(0 if kept[0] != kept[1] and other > len(masks) / 2 else 1)
PY
