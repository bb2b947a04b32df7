"""Every file of pydicom and pydicom-data: the SEG and the RT Structure Set of each open in programs of others."""

from __future__ import annotations

import shutil
import subprocess
import sys
from itertools import islice
from pathlib import Path

import highdicom
import numpy as np
import pytest
import transfer_syntaxes
from pydicom import dcmread

from medclipsam.errors import BadInput
from medclipsam.io import read_images, write_rtstruct, write_seg
from medclipsam.io.dicom.seg import SegKind, check_seg
from medclipsam.types import MedImage

FILES: dict[str, Path] = transfer_syntaxes.test_files()
MOST_FRAMES = 5
NO_ORIENTATION = "Plane Orientation (Patient) is missing"
"""Why dcmqi opens no SEG of a flat image: it has no place in the patient, and none is made up."""


def pictures(path: Path) -> list[MedImage]:
    try:
        return list(islice(read_images(path), MOST_FRAMES))
    except BadInput:
        pytest.skip("is refused as a scan")


def masks(images: list[MedImage]) -> list[np.ndarray]:
    """A box on each but the second, so that a slice is empty."""
    found = [np.zeros(image.size, bool) for image in images]
    for number, mask in enumerate(found):
        mask[mask.shape[0] // 4 : mask.shape[0] // 2 + 1, mask.shape[1] // 3 : mask.shape[1] // 2 + 1] = number != 1
    return found


def run(program: str | Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, *arguments], capture_output=True, text=True, errors="replace", check=False)


def check_dcmdump(path: Path) -> None:
    program = shutil.which("dcmdump")
    if program is None:
        pytest.skip("dcmdump is not installed (Debian: dcmtk)")
    ran = run(program, "-q", path)
    assert (ran.returncode, ran.stderr) == (0, "")


def check_dcmqi(path: Path, folder: Path) -> None:
    program = Path(sys.executable).with_name("segimage2itkimage")
    if not program.exists():
        pytest.skip("dcmqi is not installed")
    folder.mkdir()
    ran = run(program, "--inputDICOM", path, "--outputDirectory", folder, "-t", "nii")
    if "FrameOfReferenceUID" in dcmread(path, stop_before_pixels=True):
        assert ran.returncode == 0, ran.stderr
        assert list(folder.glob("*.nii.gz"))
    else:
        assert NO_ORIENTATION in ran.stdout + ran.stderr


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["binary", "labelmap", "fractional"])
@pytest.mark.parametrize("path", FILES.values(), ids=FILES)
def test_a_seg_opens_in_highdicom_dcmqi_and_dcmtk(tmp_path: Path, path: Path, kind: SegKind) -> None:
    images = pictures(path)
    try:
        check_seg(images[0], kind)
    except BadInput as error:
        pytest.skip(error.problem)
    drawn = masks(images)
    values = [mask.astype(np.float32) for mask in drawn]
    written = write_seg(images, {"liver": values}, tmp_path / "seg", kind=kind)
    found = highdicom.seg.segread(written)
    assert np.count_nonzero(found.pixel_array) == np.count_nonzero(drawn)
    check_dcmdump(written)
    check_dcmqi(written, tmp_path / "itk")


@pytest.mark.slow
@pytest.mark.parametrize("path", FILES.values(), ids=FILES)
def test_a_structure_set_opens_in_dcmtk_and_pydicom(tmp_path: Path, path: Path) -> None:
    images = pictures(path)
    try:
        written = write_rtstruct(images, {"liver": masks(images)}, tmp_path / "structures")
    except BadInput as error:
        pytest.skip(error.problem)
    assert len(dcmread(written).ROIContourSequence[0].ContourSequence) == len(images) - (len(images) > 1)
    check_dcmdump(written)
