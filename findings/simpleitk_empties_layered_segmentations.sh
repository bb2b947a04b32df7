#!/usr/bin/env bash
# What surprises: where two segments overlap, 3D Slicer saves a .seg.nrrd with an axis of layers. SimpleITK reads the layers
# as components of a pixel, and when it is asked for a label type, as in `ReadImage(path, sitkUInt8)`, it takes two
# components for grey and transparency and multiplies them: both segments are gone, the mask is empty, and nothing is said.
# With three layers it makes a brightness of red, green and blue: some voxels stay, as one label.
# A person who measures or trains on such files sees "no lesion" for every case with overlapping segments.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install -q SimpleITK==2.5.7 pynrrd==1.1.3 slicerio==1.4.0 numpy==2.4.6
cat > show.py <<'PY'
import nrrd
import numpy as np
import SimpleITK as sitk
import slicerio

layers = np.zeros((2, 8, 8, 4), np.uint8)
layers[0, 1:5, 1:5, 1:3] = 1
layers[1, 3:7, 3:7, 1:3] = 1
header = {
    "space": "left-posterior-superior",
    "space directions": np.vstack([[np.nan] * 3, np.eye(3)]),
    "space origin": [0.0, 0.0, 0.0],
    "kinds": ["list", "domain", "domain", "domain"],
}
for number, name in enumerate(("organ", "lesion")):
    header |= {f"Segment{number}_ID": f"Segment_{number + 1}", f"Segment{number}_Name": name}
    header |= {f"Segment{number}_LabelValue": "1", f"Segment{number}_Layer": str(number)}
    header |= {f"Segment{number}_Extent": "0 7 0 7 0 3", f"Segment{number}_Color": "1 0 0"}
header["Segmentation_ContainedRepresentationNames"] = "Binary labelmap|"
nrrd.write("overlap.seg.nrrd", layers, header)
segments = slicerio.read_segmentation("overlap.seg.nrrd")["segments"]
print("SimpleITK", sitk.Version.VersionString())
print("slicerio reads the segments", [(each["name"], each["layer"], each["labelValue"]) for each in segments])
print("voxels in the file:", int((layers[0] > 0).sum()), "and", int((layers[1] > 0).sum()))
plain = sitk.ReadImage("overlap.seg.nrrd")
print("read as it is:", plain.GetPixelIDTypeAsString(), plain.GetNumberOfComponentsPerPixel(), "components")
labels = sitk.GetArrayFromImage(sitk.ReadImage("overlap.seg.nrrd", sitk.sitkUInt8))
print("read as sitkUInt8:", labels.shape, "values", np.unique(labels).tolist(), "voxels", int((labels > 0).sum()))
assert plain.GetNumberOfComponentsPerPixel() == 2, "layers are no components any more"
assert not labels.any(), "something is kept now"
PY
venv/bin/python show.py
