#!/usr/bin/env bash
# What surprises: slicerio 1.4.0, 3D Slicer's Python package for segmentation files, advises to find segments by coded terms
# ("strongly recommended" over names), and says that two codes match when scheme and value do. Of an anatomic region's
# modifier it compares neither: it looks at the first two letters of the scheme, "S" and "C" of "SCT". Left and right are
# such modifiers: `extract_segments`, asked for the mass of the right adrenal gland, gives that of the left as well or
# instead, under the name of whichever comes first in the file, and asked for both sides it leaves the first one empty. No
# error, no warning. The modifier of a type ("left" of the gland itself) is compared rightly.
# Lesions are measured on, and models trained with, the wrong side. Choose by name or ID, or compare the codes by hand.
# Exits 0 while that is so.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install -q slicerio==1.4.0 pynrrd==1.1.3 numpy==2.4.6
cat > show.py <<'PY'
from importlib.metadata import version

import numpy as np
import slicerio

MASS = {"category": ["SCT", "49755003", "Morphologically Altered Structure"], "type": ["SCT", "4147007", "Mass"]}
GLAND = {"category": ["SCT", "123037004", "Anatomical Structure"], "type": ["SCT", "23451007", "Adrenal gland"]}
SIDES = {"right": ["SCT", "24028007", "Right"], "left": ["SCT", "7771000", "Left"]}


def mass(side):
    return {**MASS, "anatomicRegion": ["SCT", "23451007", "Adrenal gland"], "anatomicRegionModifier": SIDES[side]}


def gland(side):
    return {**GLAND, "typeModifier": SIDES[side]}


def counted(segmentation):
    values, numbers = np.unique(segmentation["voxels"], return_counts=True)
    return {int(v): int(n) for v, n in zip(values, numbers) if v}


def written(name, term):
    """A file of a structure of 8 voxels on the right and of one of 27 on the left, read back."""
    voxels = np.zeros((20, 12, 8), np.uint8)
    voxels[2:4, 4:6, 3:5] = 1
    voxels[14:17, 4:7, 3:6] = 2
    segments = [
        {"id": side, "name": side, "labelValue": value, "layer": 0, "terminology": {"contextName": "terms", **term(side)}}
        for value, side in enumerate(SIDES, 1)
    ]
    made = {"voxels": voxels, "ijkToLPS": np.eye(4), "containedRepresentationNames": ["Binary labelmap"],
            "masterRepresentation": "Binary labelmap", "referenceImageExtentOffset": [0, 0, 0], "segments": segments}
    slicerio.write_segmentation(name, made)
    return slicerio.read_segmentation(name)


print("slicerio", version("slicerio"))
masses, glands = written("masses.seg.nrrd", mass), written("glands.seg.nrrd", gland)
print("in each file: 8 voxels on the right, 27 on the left")
taken = {}
for side in SIDES:
    extracted = slicerio.extract_segments(masses, [(mass(side), 1)])
    taken[side] = counted(extracted)[1], extracted["segments"][0]["name"]
    print(f"mass of the {side} adrenal gland: {taken[side][0]} voxels, named {taken[side][1]!r}")
only_left = {**masses, "voxels": np.where(masses["voxels"] == 2, 2, 0), "segments": masses["segments"][1:]}
wrong = counted(slicerio.extract_segments(only_left, [(mass("right"), 1)]))
print(f"mass of the right adrenal gland, of a file with the left one alone: {wrong.get(1)} voxels")
both = counted(slicerio.extract_segments(masses, [(mass("right"), 1), (mass("left"), 2)]))
print(f"both masses, right as 1 and left as 2: voxels of each label {both}")
organs = counted(slicerio.extract_segments(glands, [(gland("right"), 1), (gland("left"), 2)]))
print(f"both glands, right as 1 and left as 2: voxels of each label {organs}")
assert taken == {"right": (35, "right"), "left": (35, "right")}, "the sides of a region are told apart now"
assert wrong == {1: 27}, "the left mass is no longer taken for the right one"
assert both == {2: 35}, "both sides keep their labels now"
assert organs == {1: 8, 2: 27}, "the sides of an organ are no longer told apart"
PY
venv/bin/python show.py
