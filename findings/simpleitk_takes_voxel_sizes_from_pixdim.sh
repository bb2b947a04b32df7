#!/usr/bin/env bash
# A NIfTI file may give its place by an sform alone (qform_code 0). The standard says that the sform then is the whole
# transform, voxel sizes included, and that is what nibabel does. SimpleITK 2.5.7 takes the directions from the sform, but
# the voxel sizes from pixdim: where a tool wrote the sform and left pixdim at 1 1 1, the same 2 x 2 x 3 mm voxels become
# 1 x 1 x 1 mm, a structure of 12 ml has 1 ml, and the far corner lies 30 mm off. It says so in a line on stderr
# ("unexpected scales in sform"), not in an error, and a file that it saves again has lost the true sizes for good.
# Exits 0 while that is so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q SimpleITK==2.5.7 nibabel==5.4.2 numpy==2.4.6
"$work/venv/bin/python" - "$work" <<'PY'
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk

folder = Path(sys.argv[1])
mask = np.zeros((20, 20, 20), np.uint8)
mask[5:15, 5:15, 5:15] = 1
for code in (1, 2):
    image = nib.Nifti1Image(mask, None)
    image.header.set_sform(np.diag([2.0, 2.0, 3.0, 1.0]), code)
    image.header.set_qform(None, 0)
    image.header.set_xyzt_units("mm")
    nib.save(image, folder / "sform_only.nii")

    by_nibabel = nib.load(folder / "sform_only.nii")
    by_itk = sitk.ReadImage(str(folder / "sform_only.nii"))
    sitk.WriteImage(by_itk, str(folder / "again.nii"))
    ml = [float(abs(np.linalg.det(by_nibabel.affine[:3, :3]))) * mask.sum() / 1000,
          float(np.prod(by_itk.GetSpacing())) * sitk.GetArrayFromImage(by_itk).sum() / 1000]
    corners = [nib.affines.apply_affine(by_nibabel.affine, [15, 15, 15]),
               np.array(by_itk.TransformIndexToPhysicalPoint((15, 15, 15))) * (-1, -1, 1)]
    print(f"sform_code {code}, qform_code 0, pixdim 1 1 1, sform of 2 x 2 x 3 mm")
    print(f"  nibabel {nib.__version__}: voxels {by_nibabel.affine.diagonal()[:3]}, {ml[0]:g} ml, corner {corners[0]}")
    print(f"  SimpleITK {sitk.__version__}: voxels {by_itk.GetSpacing()}, {ml[1]:g} ml, corner {corners[1]}")
    print(f"  saved again by SimpleITK: {nib.load(folder / 'again.nii').affine.diagonal()[:3]}")
    assert ml == [12.0, 1.0], ml
    assert np.allclose(corners[0] - corners[1], [15, 15, 30]), corners
PY
