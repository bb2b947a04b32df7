"""Small DICOM series for tests: an asymmetric phantom, any orientation, tilt, gap or twin, and where it truly lies."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import permutations, product
from pathlib import Path
from typing import Any

import numpy as np
from dicom_files import dicom
from pydicom.uid import CTImageStorage

SHAPE = (3, 23, 38)
"""(slices, height, width): no two sides alike, so that a swap of axes shows."""
SPACING_MM = (0.7, 0.9)
STEP_MM = 5.0
ORIGIN = np.array([-12.0, 31.0, 7.0])

Cosines = tuple[tuple[float, ...], tuple[float, ...]]

RIGHT_ANGLES: tuple[Cosines, ...] = tuple(
    (tuple(np.eye(3)[row] * a), tuple(np.eye(3)[column] * b))
    for row, column in permutations(range(3), 2)
    for a, b in product((1.0, -1.0), repeat=2)
)
"""The 24 planes whose rows and columns run along the patient's axes; both directions of stacking make 48."""
OBLIQUE: tuple[Cosines, ...] = (
    ((0.8, 0.6, 0.0), (-0.36, 0.48, 0.8)),
    ((-0.8, -0.6, 0.0), (-0.36, 0.48, 0.8)),
    ((0.6, -0.64, 0.48), (0.8, 0.48, -0.36)),
)


def phantom(slices: int = SHAPE[0]) -> np.ndarray:
    """(slices, 23, 38) int16: bright (above 500) off every centre, in all slices but the first."""
    volume = np.zeros((slices, *SHAPE[1:]), np.int16)
    for number in range(1, slices):
        volume[number, 3 : 5 + min(number, 6) * 2, 20:34] = 700
    return volume


def ct_header(
    number: int, cosines: Sequence[float], corner_mm: Sequence[float], uid: str = "1.2.3.200"
) -> dict[str, Any]:
    """What a CT slice says of itself; instances of a series count from 1."""
    return {
        "SOPClassUID": CTImageStorage,
        "SOPInstanceUID": f"{uid}.{number}",
        "StudyInstanceUID": "1.2.3.100",
        "SeriesInstanceUID": uid,
        "FrameOfReferenceUID": "1.2.3.300",
        "PositionReferenceIndicator": "",
        "Modality": "CT",
        "SeriesNumber": 1,
        "InstanceNumber": number,
        "ImageType": ["ORIGINAL", "PRIMARY", "AXIAL"],
        "RescaleSlope": 1,
        "RescaleIntercept": 0,
        "WindowCenter": 400,
        "WindowWidth": 800,
        "PixelSpacing": list(SPACING_MM),
        "SliceThickness": STEP_MM,
        "ImageOrientationPatient": list(cosines),
        "ImagePositionPatient": list(corner_mm),
    }


def series(
    folder: Path,
    cosines: Cosines = ((1, 0, 0), (0, 1, 0)),
    *,
    volume: np.ndarray | None = None,
    at_mm: Sequence[float] | None = None,
    tilt: float = 0.0,
    uid: str = "1.2.3.200",
    names: Iterable[str] | None = None,
    **attributes: Any,
) -> list[Path]:
    """Write slices; every attribute may be replaced, or removed by None.

    Args:
        folder: made where it is not there.
        cosines: of rows and of columns.
        volume: (slices, height, width); the phantom unless given.
        at_mm: where each slice lies along the normal.
        tilt: how far each slice is moved along its columns for each mm along the normal.
        uid: of the series; instances count up from it.
        names: of the files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    planes = phantom() if volume is None else volume
    row, column = (np.array(each, float) for each in cosines)
    places = np.arange(len(planes)) * STEP_MM if at_mm is None else np.asarray(at_mm)
    paths = []
    for number, (plane, mm, name) in enumerate(
        zip(planes, places, names or (f"IM{n}" for n in range(len(planes))), strict=False), 1
    ):
        cosines_told = [float(f"{x:.9f}") for x in (*row, *column)]
        known = ct_header(number, cosines_told, _position(mm, row, column, tilt), uid)
        paths.append(dicom(folder / name, plane, **(known | attributes)))
    return paths


def _position(mm: float, row: np.ndarray, column: np.ndarray, tilt: float) -> list[float]:
    return [float(f"{x:.6f}") for x in ORIGIN + np.cross(row, column) * mm + column * tilt * mm]


def true_centroid_mm(
    volume: np.ndarray, cosines: Cosines, at_mm: Sequence[float] | None = None, tilt: float = 0.0
) -> np.ndarray:
    """(x, y, z) of all bright voxels in the patient, from what was asked of `series` and nothing else."""
    row, column = (np.array(each, float) for each in cosines)
    k, i, j = np.nonzero(volume > 500)
    mm = np.asarray(np.arange(len(volume)) * STEP_MM if at_mm is None else at_mm)[k][:, None]
    in_plane = column * i[:, None] * SPACING_MM[0] + row * j[:, None] * SPACING_MM[1]
    points = ORIGIN + np.cross(row, column) * mm + column * tilt * mm + in_plane
    return np.asarray(points.mean(axis=0))
