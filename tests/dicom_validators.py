"""Programs that know DICOM and share no code with this project; a test that needs one skips where it is missing."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest


def errors_of(path: Path) -> list[str]:
    """What `dciodvfy` (dicom3tools by D. Clunie) finds wrong in an object."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy is not installed (Debian: dicom3tools)")
    ran = subprocess.run([program, path], capture_output=True, text=True, errors="replace", check=False)
    return [line for line in ran.stderr.splitlines() if line.startswith("Error")]


def segments_by_dcmqi(path: Path, folder: Path) -> list[nib.Nifti1Image]:
    """The segments of a SEG as volumes of 0 and their number, by dcmqi's `segimage2itkimage`; written into `folder`."""
    program = Path(sys.executable).with_name("segimage2itkimage")
    if not program.exists():
        pytest.skip("dcmqi is not installed")
    folder.mkdir()
    command = [program, "--inputDICOM", path, "--outputDirectory", folder, "-t", "nii"]
    subprocess.run(command, check=True, capture_output=True)
    return [nib.load(written) for written in sorted(folder.glob("*.nii.gz"), key=lambda one: int(one.name[:-7]))]


def image_by_plastimatch(path: Path, written: Path) -> Path:
    """The voxels of a DICOM object, as an image file."""
    _plastimatch("--input", path, "--output-img", written)
    return written


def _plastimatch(*arguments: str | Path) -> None:
    program = Path(sys.executable).with_name("plastimatch")
    if not program.exists():
        pytest.skip("plastimatch is not installed")
    subprocess.run([program, "convert", *arguments], check=True, capture_output=True)


def structures_by_plastimatch(path: Path, scan: Path, folder: Path) -> dict[str, nib.Nifti1Image]:
    """The ROIs of a structure set, filled on the voxels of the scan, by name; written into `folder`."""
    _plastimatch("--input", path, "--referenced-ct", scan, "--output-prefix", folder, "--prefix-format", "nii.gz")
    return {written.name.removesuffix(".nii.gz"): nib.load(written) for written in folder.iterdir()}


def centroid_lps(volume: nib.Nifti1Image) -> np.ndarray:
    """The middle of all voxels inside, in mm to the left, the back and the head, as DICOM counts."""
    inside = np.argwhere(np.asarray(volume.dataobj) > 0)
    right_anterior_superior = nib.affines.apply_affine(volume.affine, inside.mean(axis=0))
    return right_anterior_superior * (-1, -1, 1)
