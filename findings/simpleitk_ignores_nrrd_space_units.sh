#!/usr/bin/env bash
# What surprises: SimpleITK turns the units of a NIfTI header into millimetres, but ignores `space units` of a NRRD header.
# The same volume with voxels of 0.5 x 0.5 x 3 mm, said in micrometres, has a spacing of 0.5 mm as NIfTI and of 500 mm as
# NRRD: volumes come out 1e9 times too large, with no warning. `space units` is part of the format
# (https://teem.sourceforge.net/nrrd/format.html#spaceunits); microscopes and micro-CT write it.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install -q SimpleITK==2.5.7 pynrrd==1.1.3 nibabel==5.4.2 numpy==2.4.6
cat > show.py <<'PY'
import nibabel as nib
import nrrd
import numpy as np
import SimpleITK as sitk

voxels, um = np.zeros((4, 5, 6), np.int16), np.diag([500.0, 500.0, 3000.0])
place = {"space": "LPS", "space directions": um, "space origin": [0.0, 0.0, 0.0]}
nrrd.write("volume.nrrd", voxels, {**place, "space units": ["um", "um", "um"]})
image = nib.Nifti1Image(voxels, np.diag([500.0, 500.0, 3000.0, 1.0]))
image.header.set_xyzt_units("micron")
nib.save(image, "volume.nii")
as_nifti, as_nrrd = (sitk.ReadImage(name).GetSpacing() for name in ("volume.nii", "volume.nrrd"))
print("SimpleITK", sitk.Version.VersionString())
print("spacing of the NIfTI in micrometres:", as_nifti)
print("spacing of the NRRD in micrometres: ", as_nrrd)
assert np.allclose(as_nifti, (0.5, 0.5, 3.0)), "the NIfTI is no longer converted"
assert np.allclose(as_nrrd, (500.0, 500.0, 3000.0)), "the NRRD is converted now"
PY
venv/bin/python show.py
