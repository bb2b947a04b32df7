"""Lets other people's programs read the DICOM masks that are written here, and writes down what they find.

python benchmarks/mask_readers.py   -> benchmarks/results/mask-readers.md, and docs/mask-readers.md by insert_tables.py

A mask of known volume and place stands on 7 slices of 1.0 x 0.8 mm, 3 mm apart. Needs the extra `dev`.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

import highdicom
import nibabel as nib
import numpy as np
import SimpleITK
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from medclipsam.io import read_images, write_rtstruct, write_seg
from medclipsam.types import BoolArray, MedImage

RESULT = Path(__file__).resolve().parent / "results" / "mask-readers.md"
SPACING_MM = np.array([3.0, 0.8, 1.0])
"""Of slices, rows and columns."""
ORIGIN_MM = np.array([40.0, -20.0, 10.0])
"""z, y and x of the first pixel, as all places here."""
SIZE = 40, 64
NEAR_ENOUGH_MM = 0.1
RUNS = 5
Found = tuple[float, NDArray[np.float64]]
"""(volume in ml, centroid in the patient in mm)."""


@dataclass(frozen=True)
class Case:
    """A file of masks."""

    name: str
    write: Callable[[list[MedImage], Path], Path]
    masks: tuple[str, ...] = ("0110100",)
    """Of each prompt: on which slices it stands."""
    size: tuple[int, int] = SIZE
    segmented: tuple[int, int] = (0, 7)
    """Slices of the series, from the first number on, up to but without the second."""


def stored(names: Sequence[str], kind: str = "binary", **options: bool) -> Callable[[list[MedImage], Path], Path]:
    """A SEG of these masks."""

    def write(images: list[MedImage], path: Path) -> Path:
        masks = {f"organ {number}": drawn(name, images, number) for number, name in enumerate(names)}
        return write_seg(images, masks, path, kind=kind, **options)  # type: ignore[arg-type]

    return write


def structures(images: list[MedImage], path: Path) -> Path:
    """An RT Structure Set of one mask."""
    return write_rtstruct(images, {"organ 0": drawn("0110100", images, 0)}, path)


def box(size: tuple[int, int], number: int) -> BoolArray:
    """A rectangle; those of several prompts lie apart."""
    mask = np.zeros(size, bool)
    mask[5:17, 6 + 20 * number : 22 + 20 * number] = True
    return mask


def drawn(slices: str, images: Sequence[MedImage], number: int) -> list[BoolArray]:
    """The rectangle on some slices."""
    return [box(image.size, number) & (each == "1") for image, each in zip(images, slices, strict=True)]


TWO = ("0110100", "0011000")
CASES = (
    Case("SEG, one prompt", stored(("0110100",))),
    Case("SEG, one prompt, `--seg-all-slices`", stored(("0110100",), all_slices=True)),
    Case("SEG, one prompt, one slice of a series", stored(("1",)), ("1",), segmented=(3, 4)),
    Case("SEG, one prompt, 37 x 41 pixels", stored(("0110100",)), size=(37, 41)),
    Case("SEG, two prompts", stored(TWO), TWO),
    Case("SEG, label map of two prompts", stored(TWO, "labelmap"), TWO),
    Case("SEG, probabilities", stored(("0110100",), "fractional")),
    Case("RT Structure Set", structures),
)


def truth(case: Case) -> Found:
    """What a right reader finds in all masks together."""
    first = case.segmented[0]
    voxels = [
        (first + k, *place)
        for number, name in enumerate(case.masks)
        for k, each in enumerate(name)
        if each == "1"
        for place in np.argwhere(box(case.size, number))
    ]
    return len(voxels) * SPACING_MM.prod() / 1000, ORIGIN_MM + np.mean(voxels, axis=0) * SPACING_MM


def scan(folder: Path, size: tuple[int, int]) -> list[MedImage]:
    """The series that the masks lie on."""
    folder.mkdir()
    for number in range(7):
        header = Dataset()
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.SOPClassUID, header.SOPInstanceUID = CTImageStorage, f"1.2.3.{number + 1}"
        header.StudyInstanceUID, header.SeriesInstanceUID, header.FrameOfReferenceUID = "1.2.4", "1.2.5", "1.2.6"
        header.PatientName, header.Modality, header.InstanceNumber = "Phantom^Synthetic", "CT", number + 1
        z, y, x = ORIGIN_MM + SPACING_MM * (number, 0, 0)
        header.ImagePositionPatient, header.ImageOrientationPatient = [x, y, z], [1, 0, 0, 0, 1, 0]
        header.PixelSpacing, header.SliceThickness = list(SPACING_MM[1:]), 2.5
        header.WindowCenter, header.WindowWidth = 500, 1000
        header.Rows, header.Columns = size
        header.SamplesPerPixel, header.PhotometricInterpretation, header.PixelRepresentation = 1, "MONOCHROME2", 0
        header.BitsAllocated, header.BitsStored, header.HighBit = 16, 12, 11
        header.PixelData = np.arange(size[0] * size[1], dtype=np.uint16).tobytes()
        header["PixelData"].VR = "OW"
        header.save_as(folder / f"{number}.dcm", enforce_file_format=True)
    return list(read_images(folder))


def by_highdicom(path: Path, folder: Path) -> Found:
    """Segment by segment, as volumes."""
    seg = highdicom.seg.segread(path)
    parts = []
    for segment in [item.SegmentNumber for item in seg.SegmentSequence if item.SegmentNumber > 0]:
        volume = seg.get_volume(segment_numbers=[segment], allow_missing_positions=True)
        inside = np.argwhere(np.asarray(volume.array)[..., 0] > 0)
        places = np.asarray(volume.map_indices_to_reference(inside))[:, ::-1]
        parts.append((len(inside) * float(np.prod(volume.spacing)) / 1000, places.mean(axis=0)))
    return together(parts)


def by_dcmqi(path: Path, folder: Path) -> Found:
    """A file for each segment."""
    _run("segimage2itkimage", "--inputDICOM", path, "--outputDirectory", folder, "-t", "nii")
    return together([of_nifti(written) for written in sorted(folder.glob("*.nii.gz"))])


def by_simpleitk(path: Path, folder: Path) -> Found:
    """One image."""
    return of_itk(path)


def by_plastimatch(path: Path, folder: Path) -> Found:
    """One image; of contours those of the first structure."""
    if dcmread(path, stop_before_pixels=True).Modality == "RTSTRUCT":
        scan = ("--referenced-ct", path.parent / "scan")
        _run("plastimatch", "convert", "--input", path, *scan, "--output-prefix", folder, "--prefix-format", "mha")
        return of_itk(next(folder.glob("*.mha")))
    _run("plastimatch", "convert", "--input", path, "--output-img", folder / "x.mha")
    return of_itk(folder / "x.mha")


def by_dcm2niix(path: Path, folder: Path) -> Found:
    """A file for each of what it takes for a series."""
    _run("dcm2niix", "-s", "y", "-z", "n", "-f", "%j_%s", "-o", folder, path)
    return together([of_nifti(written) for written in sorted(folder.glob("*.nii"))])


READERS = {
    "highdicom": by_highdicom,
    "dcmqi": by_dcmqi,
    "SimpleITK": by_simpleitk,
    "plastimatch": by_plastimatch,
    "dcm2niix": by_dcm2niix,
}


def _run(program: str, *arguments: str | Path) -> None:
    subprocess.run([Path(sys.executable).with_name(program), *arguments], check=True, capture_output=True)


def of_itk(path: Path) -> Found:
    """Of all that is not 0."""
    image = SimpleITK.ReadImage(str(path))
    inside = np.argwhere(SimpleITK.GetArrayFromImage(image) > 0)
    k, j, i = inside.mean(axis=0)
    x, y, z = image.TransformContinuousIndexToPhysicalPoint((i, j, k))
    return len(inside) * float(np.prod(image.GetSpacing())) / 1000, np.array([z, y, x])


def of_nifti(path: Path) -> Found:
    """Of all that is not 0.

    Raises:
        ValueError: there is nothing.
    """
    image = nib.load(path)
    inside = np.argwhere(np.asarray(image.dataobj) > 0)
    if not len(inside):
        raise ValueError(f"{path.name} is empty")
    right, anterior, superior = nib.affines.apply_affine(image.affine, inside[:, :3].mean(axis=0))
    volume = len(inside) * float(np.prod(image.header.get_zooms()[:3])) / 1000
    return volume, np.array([superior, -anterior, -right])


def together(parts: Sequence[Found]) -> Found:
    """Of several masks."""
    total = sum(volume for volume, _ in parts)
    return total, np.asarray(sum(volume * place for volume, place in parts) / total)


def verdict(reader: Callable[[Path, Path], Found], path: Path, folder: Path, expected: Found) -> str:
    """How near a reader comes; the first of several runs that is not right, for some results change between them."""
    said = "right"
    for number in range(RUNS):
        if said == "right":
            said = _one_verdict(reader, path, folder / str(number), expected)
    return said


def _one_verdict(reader: Callable[[Path, Path], Found], path: Path, folder: Path, expected: Found) -> str:
    folder.mkdir(parents=True)
    try:
        volume, place = reader(path, folder)
    except Exception:
        return "does not open it"
    away = float(np.linalg.norm(place - expected[1]))
    if abs(volume / expected[0] - 1) < 1e-4 and away < NEAR_ENOUGH_MM:
        return "right"
    if abs(volume / expected[0] - 1) < 0.01 and away < 1:
        return "within 1 % of the volume"
    return f"{volume:.2f} of {expected[0]:.2f} ml, {away:.0f} mm off"


def row(case: Case, folder: Path) -> list[str]:
    """What each reader makes of a file."""
    images = scan(folder / "scan", case.size)[slice(*case.segmented)]
    path = case.write(images, folder / "mask")
    readers = enumerate(READERS.values())
    return [case.name, *(verdict(reader, path, folder / str(number), truth(case)) for number, reader in readers)]


def table() -> str:
    """All files and readers."""
    rows = [["file", *(f"{name} {version(name)}" for name in READERS)], ["---"] * (len(READERS) + 1)]
    for case in CASES:
        with TemporaryDirectory() as folder:
            rows.append(row(case, Path(folder)))
    return "\n".join(f"| {' | '.join(cells)} |" for cells in rows)


if __name__ == "__main__":
    RESULT.write_text(table() + "\n", encoding="utf-8")
    print(RESULT.read_text(encoding="utf-8"))
