"""The place of a frame in the patient: position, orientation, pixel spacing, and the distance of slices.

    plain object      top level                              (PS3.3 C.7.6.2)
    enhanced object   shared or per-frame functional groups  (PS3.3 C.7.6.16.2)

A frame whose values are absent, not numbers, or no directions has no place: neither a SEG nor an RT Structure Set may
repeat them, because readers refuse the object then (ITK: "Bad direction, determinant is 0").
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset

from medclipsam.io.dicom.frames import DicomFrame
from medclipsam.io.dicom.planes import Vector, cosines, vector
from medclipsam.io.dicom.stacks import SAME_PLACE_MM, UNEVEN, normal_of
from medclipsam.io.dicom.values import frame_attributes, numbers

PLACE = ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_DEPTH = ("SliceThickness", "SpacingBetweenSlices")
_MACROS = ("PlanePositionSequence", "PlaneOrientationSequence", "PixelMeasuresSequence")


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where a frame lies (PS3.3 C.7.6.2.1.1)."""

    position: Vector
    """Centre of the first pixel in the patient, (x, y, z) in mm towards left, back and head."""
    orientation: Vector
    """Direction cosines of a row and of a column, 6 numbers."""
    spacing_mm: tuple[float, float]
    """Distance of rows and of columns."""
    thickness_mm: float | None
    """Slice Thickness, where the object says one."""
    step_mm: float | None
    """Distance to the neighbouring slices: of the series where it is known, else what the object itself says."""


def place_of(frame: DicomFrame) -> Place | None:
    """The place of a frame; None where its object does not say it, or not in numbers that can be used."""
    found = _attributes(frame)
    if missing_of_place(frame):
        return None
    position, rows_columns = numbers(found, "ImagePositionPatient"), numbers(found, "PixelSpacing")
    return Place(
        position=position,
        orientation=numbers(found, "ImageOrientationPatient"),
        spacing_mm=(rows_columns[0], rows_columns[1]),
        thickness_mm=_positive(found, "SliceThickness"),
        step_mm=frame.step_mm or _positive(found, "SpacingBetweenSlices"),
    )


def missing_of_place(frame: DicomFrame) -> str:
    """The first attribute of the place that a frame lacks, or has in a form that cannot be used; else empty."""
    found = _attributes(frame)
    spacing = vector(found, "PixelSpacing", 2)
    usable = {
        "ImagePositionPatient": vector(found, "ImagePositionPatient", 3) is not None,
        "ImageOrientationPatient": cosines(found) is not None,
        "PixelSpacing": spacing is not None and min(spacing) > 0,
    }
    return next((keyword for keyword, good in usable.items() if not good), "")


def is_film(frame: DicomFrame) -> bool:
    """Whether a frame is one of several of its object, and has no place: a cine loop, for one."""
    if int(frame.header.get("NumberOfFrames") or 1) == 1:
        return False
    # Without functional groups a position at the top level can hold for one frame at the most.
    return not frame.header.get("PerFrameFunctionalGroupsSequence") or bool(missing_of_place(frame))


def is_flat(frame: DicomFrame) -> bool:
    """Whether a frame is the only one of its object and has no place: no mask file can hold it and another."""
    return not is_film(frame) and bool(missing_of_place(frame))


def along_normal(places: Sequence[Place]) -> np.ndarray:
    """(n,): how far along the normal of the first plane each lies, in mm."""
    return np.array([place.position for place in places], float) @ normal_of(places[0].orientation)


def regular_step_mm(places: Sequence[Place]) -> float | None:
    """The distance of parallel planes on a regular grid, on which some may be missing; None of one, or of others."""
    at = np.sort(along_normal(places))
    steps = np.diff(at)
    steps = steps[steps > SAME_PLACE_MM]
    if not len(steps):
        return None
    counts = np.rint(steps / steps.min())
    step = float(steps.sum() / counts.sum())
    return step if (np.abs(steps - counts * step) <= UNEVEN * step).all() else None


def _attributes(frame: DicomFrame) -> Dataset:
    return frame_attributes(frame.header, frame.index, keywords=(*PLACE, *_DEPTH), macros=_MACROS)


def _positive(attributes: Dataset, keyword: str) -> float | None:
    found = numbers(attributes, keyword)
    return found[0] if len(found) == 1 and found[0] > 0 else None
