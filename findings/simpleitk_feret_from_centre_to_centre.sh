#!/usr/bin/env bash
# What surprises: the Feret diameter of SimpleITK's LabelShapeStatisticsImageFilter runs from pixel centre to pixel centre,
# while its bounding box, its area and its volume count whole pixels. A lesion that is 10 pixels long measures 9, a single
# pixel 0. With slices or pixels of several millimetres that decides about RECIST 1.1: a node of two pixels of 8 mm is 16 mm
# long (measurable from 15 mm on) and reads 8 mm. regionprops of scikit-image measures the outline and gives 10.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install -q SimpleITK==2.5.7 scikit-image==0.26.0 numpy==2.4.6
cat > show.py <<'PY'
import numpy as np
import SimpleITK as sitk
from skimage.measure import regionprops


def by_simpleitk(mask, spacing):
    image = sitk.GetImageFromArray(mask)
    image.SetSpacing(spacing)
    statistics = sitk.LabelShapeStatisticsImageFilter()
    statistics.ComputeFeretDiameterOn()
    statistics.Execute(image)
    return statistics.GetFeretDiameter(1), statistics.GetBoundingBox(1)[2], statistics.GetPhysicalSize(1)


print("SimpleITK", sitk.Version.VersionString())
found = {}
for length, spacing in ((10, (1.0, 1.0)), (1, (1.0, 1.0)), (2, (8.0, 8.0))):
    mask = np.zeros((5, 16), np.uint8)
    mask[2, 2 : 2 + length] = 1
    feret, box, area = by_simpleitk(mask, spacing)
    found[length] = feret
    outline = regionprops(mask)[0].feret_diameter_max
    print(f"{length} pixels of {spacing[0]} mm: Feret {feret} mm, box {box * spacing[0]} mm, area {area} mm2, "
          f"scikit-image {outline * spacing[0]:.2f} mm")
assert found == {10: 9.0, 1: 0.0, 2: 8.0}, "Feret diameters are no longer from centre to centre"
PY
venv/bin/python show.py
