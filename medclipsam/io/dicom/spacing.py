"""Reads how far apart a DICOM frame's rows and columns are in mm, where the object says so; never a guess.

Pixel Spacing                                    in the patient (PS3.3 10.7.1), unless it repeats that of the detector
Sequence of Ultrasound Regions, units of cm      in the patient (PS3.3 C.8.5.5)
Imager Pixel Spacing / magnification             in the patient, estimated (PS3.3 C.8.7.1): with a warning
Imager Pixel Spacing, Nominal Scanned Spacing    at the detector or film: with a warning
"""

from __future__ import annotations

import math

import numpy as np
from pydicom.dataset import Dataset

from medclipsam.io.dicom.values import numbers

ESTIMATED = "the spacing in the patient is estimated: that of the detector by the magnification in the file"
AT_DETECTOR = "the spacing holds at the detector or film: lengths and areas in the patient are smaller"
SEVERAL_SCALES = "the ultrasound regions have different scales: no spacing in mm"
UNUSABLE = "the spacing in the file is not usable: no spacing in mm"
_OF_THE_DETECTOR = ("ImagerPixelSpacing", "NominalScannedPixelSpacing")
_TWO_DIMENSIONAL = 1
_CENTIMETRES = 3
_LARGEST_MM = 1000.0

Spacing = tuple[float, float] | None


def frame_spacing(attributes: Dataset) -> tuple[Spacing, tuple[str, ...]]:
    """((row spacing, column spacing) in mm or None, what a person should know of it).

    Args:
        attributes: of one frame, see `medclipsam.io.dicom.values.frame_attributes`.
    """
    if attributes.get("SequenceOfUltrasoundRegions"):
        return _of_regions(attributes)
    if "PixelSpacing" in attributes and not _is_the_detectors(attributes):
        return _checked(numbers(attributes, "PixelSpacing"))
    for keyword in _OF_THE_DETECTOR:
        if keyword in attributes:
            return _projected(attributes, keyword)
    return None, ()


def _is_the_detectors(attributes: Dataset) -> bool:
    """Whether Pixel Spacing repeats the detector's, which says that nothing was calibrated (PS3.3 10.7.1.1)."""
    if attributes.get("PixelSpacingCalibrationType"):
        return False
    spacing, others = numbers(attributes, "PixelSpacing"), [numbers(attributes, word) for word in _OF_THE_DETECTOR]
    return any(len(spacing) == len(other) == 2 and np.allclose(spacing, other, rtol=1e-4, atol=0) for other in others)


def _checked(spacing: tuple[float, ...], *warned: str) -> tuple[Spacing, tuple[str, ...]]:
    if len(spacing) == 2 and all(0 < side < _LARGEST_MM for side in spacing):
        return (spacing[0], spacing[1]), warned
    return None, (UNUSABLE,)


def _projected(attributes: Dataset, keyword: str) -> tuple[Spacing, tuple[str, ...]]:
    spacing = numbers(attributes, keyword)
    magnification = numbers(attributes, "EstimatedRadiographicMagnificationFactor")
    if keyword == "ImagerPixelSpacing" and len(magnification) == 1 and magnification[0] >= 1:
        return _checked(tuple(side / magnification[0] for side in spacing), ESTIMATED)
    return _checked(spacing, AT_DETECTOR)


def _of_regions(attributes: Dataset) -> tuple[Spacing, tuple[str, ...]]:
    """The scale that all calibrated two-dimensional regions share."""
    scales = {scale for region in attributes.SequenceOfUltrasoundRegions if (scale := _region_scale(region))}
    if not scales:
        return None, ()
    first = next(iter(scales))
    if any(not math.isclose(a, b, rel_tol=1e-3) for scale in scales for a, b in zip(scale, first, strict=True)):
        return None, (SEVERAL_SCALES,)
    return _checked(min(scales))


def _region_scale(region: Dataset) -> tuple[float, ...] | None:
    formats = numbers(region, "RegionSpatialFormat")
    units = (*numbers(region, "PhysicalUnitsYDirection"), *numbers(region, "PhysicalUnitsXDirection"))
    deltas = (*numbers(region, "PhysicalDeltaY"), *numbers(region, "PhysicalDeltaX"))
    if formats != (_TWO_DIMENSIONAL,) or units != (_CENTIMETRES, _CENTIMETRES) or len(deltas) != 2:
        return None
    return tuple(abs(delta) * 10 for delta in deltas)
