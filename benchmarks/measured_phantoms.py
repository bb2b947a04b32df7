"""Write phantoms of known size as DICOM series, read and measure them as scans, and hold the measures against geometry.

python benchmarks/measured_phantoms.py

Area, volume and diameters of ellipses, boxes and ellipsoids, on square and oblong pixels, in axial and oblique
planes, with slices that lie evenly, far apart, or with a gap. What a measure may miss is the error of the pixel itself:

    diameters   one diagonal of a pixel
    area        the outline times half a diagonal of a pixel
    volume      that for each slice times what the slice stands for, and half a step at each end times the largest area

The program stops where a measure misses more. It writes benchmarks/results/measured-phantoms.md, which insert_tables.py
puts into docs/metrics.md.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

from medclipsam.io.source import ReadOptions
from medclipsam.metrics.measure import ImageMeasures
from medclipsam.metrics.measure_stack import StackMeasures, measure_stack
from medclipsam.report import measures_of
from medclipsam.runs.pictures import open_pictures
from medclipsam.types import MedImage, Segmentation

RESULT = Path(__file__).parent / "results" / "measured-phantoms.md"
FIELD_MM = 64.0
PLANES = {
    "axial": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    "oblique": ((0.8, 0.6, 0.0), (-0.36, 0.48, 0.8)),
}
OFF_CENTRE_MM = (0.21, -0.34, 0.4)
"""No phantom lies on the grid: across rows, across columns, across slices."""
INSIDE = 700
HEAD = (
    *("phantom", "pixel (mm)", "plane", "slices", "area (mm2)", "volume (ml)", "longest (mm)", "perpendicular (mm)"),
    "largest miss, of what the pixels explain",
)
TURN = 0.4
"""In radians, within the plane."""


@dataclass(frozen=True)
class Shape:
    """A body of known size around the origin; u and v are its own axes in the plane."""

    name: str
    u_mm: float
    v_mm: float
    depth_mm: float
    is_round: bool
    is_deep: bool = True
    """Whether its section shrinks towards its ends, as an ellipsoid's."""

    def section(self, depth_mm: float) -> float:
        """How large the section at a depth is, as a share of the largest length."""
        if abs(depth_mm) > self.depth_mm / 2:
            return 0.0
        return math.sqrt(1 - (2 * depth_mm / self.depth_mm) ** 2) if self.is_round and self.is_deep else 1.0

    def inside(self, u: np.ndarray, v: np.ndarray, depth_mm: float) -> np.ndarray:
        """Which points of a plane are inside."""
        share = self.section(depth_mm)
        if not share:
            return np.zeros(u.shape, bool)
        x, y = 2 * u / (self.u_mm * share), 2 * v / (self.v_mm * share)
        return x**2 + y**2 <= 1 if self.is_round else np.maximum(abs(x), abs(y)) <= 1

    def area(self, share: float) -> float:
        """Of a section."""
        return (math.pi / 4 if self.is_round else 1) * self.u_mm * self.v_mm * share**2

    def outline(self, share: float) -> float:
        """Length of a section's outline; of an ellipse by Ramanujan."""
        a, b = self.u_mm * share / 2, self.v_mm * share / 2
        return math.pi * (3 * (a + b) - math.sqrt((3 * a + b) * (a + 3 * b))) if self.is_round else 4 * (a + b)

    @property
    def volume(self) -> float:
        """Of the whole."""
        return self.area(1) * self.depth_mm * (2 / 3 if self.is_round and self.is_deep else 1)

    def diameters(self, share: float) -> tuple[float, float]:
        """(longest, the longest chord at a right angle to it) of a section."""
        u, v = self.u_mm * share, self.v_mm * share
        if self.is_round:
            return u, v
        diagonal = math.hypot(u, v)
        return diagonal, u * v / diagonal * 2 if u == v else v * diagonal / u


SHAPES = (
    Shape("elliptic cylinder 40 x 20 mm, 24 mm deep", 40, 20, 24, is_round=True, is_deep=False),
    Shape("box 36 x 15 mm, 24 mm deep", 36, 15, 24, is_round=False),
    Shape("ellipsoid 40 x 24 x 30 mm", 40, 24, 30, is_round=True),
)
PIXELS = ((0.5, 0.5), (0.4, 1.5))
STACKS = {
    "every 2 mm": np.arange(-24.0, 25.0, 2.0),
    "every 5 mm": np.arange(-25.0, 26.0, 5.0),
    "2 mm, with a gap of 6": np.concatenate([np.arange(-24.0, 1.0, 2.0), np.arange(6.0, 25.0, 2.0)]),
}


@dataclass(frozen=True)
class Row:
    """One phantom: for each measure (found, true, what the pixel allows)."""

    shape: str
    pixel_mm: tuple[float, float]
    plane: str
    slices: str
    measures: dict[str, tuple[float, float, float]]

    @property
    def misses(self) -> dict[str, float]:
        """How far each measure is off, as a share of what is allowed."""
        return {name: abs(found - true) / allowed for name, (found, true, allowed) in self.measures.items()}


def rows() -> Iterator[Row]:
    """Every phantom, measured."""
    for shape, pixel, slices, plane in product(SHAPES, PIXELS, STACKS, PLANES):
        yield row(shape, pixel, slices, plane)


def row(shape: Shape, pixel_mm: tuple[float, float], slices: str, plane: str) -> Row:
    """One phantom, written, read and measured."""
    with TemporaryDirectory() as folder:
        write_series(Path(folder), shape, pixel_mm, PLANES[plane], STACKS[slices])
        each, whole = measured(Path(folder))
    return Row(shape.name, pixel_mm, plane, slices, held(shape, pixel_mm, STACKS[slices], each, whole))


def write_series(
    folder: Path,
    shape: Shape,
    pixel_mm: tuple[float, float],
    cosines: tuple[tuple[float, ...], tuple[float, ...]],
    places_mm: np.ndarray,
) -> None:
    """A CT series with the phantom in its middle."""
    row, column = (np.array(each) for each in cosines)
    sides = tuple(round(FIELD_MM / step) for step in pixel_mm)
    y, x = np.meshgrid(*(np.arange(side) * step for side, step in zip(sides, pixel_mm, strict=True)), indexing="ij")
    y, x = y - FIELD_MM / 2 - OFF_CENTRE_MM[0], x - FIELD_MM / 2 - OFF_CENTRE_MM[1]
    u, v = x * math.cos(TURN) + y * math.sin(TURN), y * math.cos(TURN) - x * math.sin(TURN)
    for number, place in enumerate(places_mm):
        plane = shape.inside(u, v, place - OFF_CENTRE_MM[2]).astype(np.int16) * INSIDE
        corner = np.cross(row, column) * place - (row + column) * FIELD_MM / 2
        dataset = _slice(plane, pixel_mm, number)
        dataset.ImageOrientationPatient = [*row, *column]
        dataset.ImagePositionPatient = [round(float(each), 6) for each in corner]
        dataset.save_as(folder / f"{number:03d}.dcm", enforce_file_format=True)


def _slice(plane: np.ndarray, pixel_mm: tuple[float, float], number: int) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = CTImageStorage, f"1.2.3.4.{number + 1}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = "1.2.3.1", "1.2.3.2"
    dataset.Modality, dataset.RescaleSlope, dataset.RescaleIntercept = "CT", 1, 0
    dataset.Rows, dataset.Columns = plane.shape
    dataset.PixelSpacing, dataset.SliceThickness = list(pixel_mm), 1
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit, dataset.PixelRepresentation = 15, 1
    dataset.PixelData = plane.tobytes()
    return dataset


def measured(folder: Path) -> tuple[list[ImageMeasures], StackMeasures]:
    """What is measured on each slice, and on all together."""
    pictures = open_pictures(folder, ReadOptions(window=(INSIDE / 2, INSIDE)))
    each = {image.name: measures_of(image, _found(image)) for image in pictures}
    return list(each.values()), measure_stack(each, pictures.places_mm)


def _found(image: MedImage) -> Segmentation:
    mask = np.asarray(image.values) > INSIDE / 2
    return Segmentation(prompt="phantom", mask=mask, probability=mask.astype(np.float32), found=bool(mask.any()))


def held(
    shape: Shape,
    pixel_mm: tuple[float, float],
    places_mm: np.ndarray,
    each: Sequence[ImageMeasures],
    whole: StackMeasures,
) -> dict[str, tuple[float, float, float]]:
    """(found, true, allowed) of the measures."""
    shares = [shape.section(place - OFF_CENTRE_MM[2]) for place in places_mm]
    widest = int(np.argmax(shares))
    diagonal = math.hypot(*pixel_mm)
    steps = np.diff(places_mm)
    stands_for = (np.append(steps[:1], steps) + np.append(steps, steps[-1:])) / 2
    rim = sum(shape.outline(share) * width for share, width in zip(shares, stands_for, strict=True)) * diagonal / 2
    ends = shape.area(1) * float(steps.max())
    longest, perpendicular = shape.diameters(shares[widest])
    found = whole.diameters
    if found is None or whole.volume_mm3 is None:
        raise SystemExit("a phantom was not measured")
    area = each[widest].area_mm2
    return {
        "area": (float(area or 0), shape.area(shares[widest]), shape.outline(shares[widest]) * diagonal / 2),
        "volume": (whole.volume_mm3, shape.volume, rim + ends),
        "longest": (found.longest, longest, diagonal),
        "perpendicular": (found.perpendicular, perpendicular, diagonal),
    }


def table(found: Sequence[Row]) -> str:
    """Markdown: phantoms whose numbers are alike in both planes share a line."""
    planes: dict[tuple[str, ...], list[str]] = {}
    for row in found:
        numbers = [
            f"{measure / (1000 if name == 'volume' else 1):.1f} ({true / (1000 if name == 'volume' else 1):.1f})"
            for name, (measure, true, _) in row.measures.items()
        ]
        largest = max(row.misses.values())
        cells = (row.shape, f"{row.pixel_mm[0]} x {row.pixel_mm[1]}", row.slices, *numbers, f"{largest:.2f}")
        planes.setdefault(cells, []).append(row.plane)
    lines = [f"| {' | '.join(HEAD)} |", "|---|---|---|---|---:|---:|---:|---:|---:|"]
    for (shape, pixel, *rest), named in planes.items():
        lines.append(f"| {' | '.join((shape, pixel, ', '.join(named), *rest))} |")
    return "\n".join(lines)


def main() -> None:
    found = list(rows())
    for row in found:
        wrong = [name for name, share in row.misses.items() if share > 1]
        if wrong:
            raise SystemExit(f"{row} misses more than its pixels explain: {wrong}")
    RESULT.write_text(table(found) + "\n")


if __name__ == "__main__":
    main()
