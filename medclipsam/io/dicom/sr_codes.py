"""Codes of what a structured report says was measured: names, derivations and UCUM units of the standard.

    area_mm2              ->   (42798000, SCT, "Area")                    mm2
    volume_mm3            ->   (118565006, SCT, "Volume")                 mm3, by sum of segmented voxels
    longest_diameter      ->   (103339001, SCT, "Long axis")              mm
    values of a CT        ->   (112031, DCM, "Attenuation Coefficient")   [hnsf'U], mean, deviation, least, largest
    parts                 ->   (PARTS, 99MEDCLIPSAM, "Number of connected parts")    1

Nothing is said in mm where the spacing is not known. Values of no known unit are told as stored values, without unit.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import isfinite
from types import MappingProxyType
from typing import NamedTuple

from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from medclipsam.io.dicom.seg_codes import PRIVATE_SCHEME
from medclipsam.metrics.measure import Diameters, ImageMeasures, Spread
from medclipsam.metrics.measure_stack import StackMeasures

Measures = ImageMeasures | StackMeasures
PARTS = CodedConcept("PARTS", PRIVATE_SCHEME, "Number of connected parts")
PIXELS = CodedConcept("PIXELS", PRIVATE_SCHEME, "Number of pixels")
UNCERTAINTY = CodedConcept("UNCERTAINTY", PRIVATE_SCHEME, "Mean entropy of the probability")
_STORED = CodedConcept("VALUE", PRIVATE_SCHEME, "Stored value after rescale")
_BIT = Code("bit", "UCUM", "bit")
_KINDS = MappingProxyType(
    {
        "HU": (codes.DCM.AttenuationCoefficient, codes.UCUM.HounsfieldUnit),
        "SUVbw": (codes.DCM.Suvbw, codes.cid85.StandardizedUptakeValueBodyWeight),
        "SUVbsa": (codes.DCM.Suvbsa, codes.cid85.StandardizedUptakeValueBodySurfaceArea),
        "SUVibw": (codes.DCM.Suvibw, codes.cid85.StandardizedUptakeValueIdealBodyWeight),
    }
)
"""Quantity and unit of the values; of lean body mass there are several formulas, and `SUVlbm` does not say which."""
_PROCEDURES = MappingProxyType(
    {
        "CT": codes.LN.CTUnspecifiedBodyRegion,
        "MR": codes.LN.MRIUnspecifiedBodyRegion,
        "PT": codes.LN.PETUnspecifiedBodyRegion,
        "NM": codes.LN.NMUnspecifiedBodyRegion,
        **dict.fromkeys(("CR", "DX", "MG", "RF", "XA"), codes.LN.XRUnspecifiedBodyRegion),
    }
)


class Number(NamedTuple):
    """One measured number."""

    name: Code | CodedConcept
    value: float
    unit: Code
    derivation: Code | None = None
    """Mean, deviation ... of many values."""
    method: Code | None = None
    image: str | None = None
    """The name of the slice that it was measured on, of a stack."""


def procedure_of(modality: str) -> Code:
    """The examination that is reported on, as far as the modality says it."""
    found: Code = _PROCEDURES.get(modality, codes.SCT.ImagingProcedure)
    return found


def numbers_of(measures: Measures, parts: int | None, unit: str | None, modality: str) -> list[Number]:
    """Everything that was measured and is finite, in the order of the report.

    Args:
        measures: of one image, or of the slices of a stack together.
        parts: connected parts; of a stack in 3-D.
        unit: of the values, where the file says so.
        modality: of the scan.
    """
    found = [*_extent(measures), *_diameters(measures.diameters), *_values(measures.values, unit, modality)]
    if parts is not None:
        found.append(Number(PARTS, parts, codes.UCUM.NoUnits))
    if measures.uncertainty is not None:
        found.append(Number(UNCERTAINTY, measures.uncertainty.mean, _BIT))
    return [number for number in found if isfinite(number.value)]


def _extent(measures: Measures) -> Iterator[Number]:
    if isinstance(measures, StackMeasures):
        yield Number(PIXELS, measures.voxels, codes.UCUM.NoUnits)
        if measures.volume_mm3 is not None:
            by_sum = codes.DCM.SumOfSegmentedVoxelMethodForVolume
            yield Number(codes.SCT.Volume, measures.volume_mm3, codes.UCUM.CubicMillimeter, method=by_sum)
        return
    yield Number(PIXELS, measures.area_px, codes.UCUM.NoUnits)
    if measures.area_mm2 is not None:
        yield Number(codes.SCT.Area, measures.area_mm2, codes.UCUM.SquareMillimeter)


def _diameters(found: Diameters | None) -> Iterator[Number]:
    """In mm only: the standard has no unit for pixels of unknown size."""
    if found is None or found.unit != "mm":
        return
    yield Number(codes.SCT.LongAxis, found.longest, codes.UCUM.Millimeter, image=found.image)
    yield Number(codes.SCT.ShortAxis, found.perpendicular, codes.UCUM.Millimeter, image=found.image)


def _values(spread: Spread | None, unit: str | None, modality: str) -> Iterator[Number]:
    if spread is None:
        return
    unknown = codes.DCM.MRSignalIntensity if modality == "MR" else _STORED
    name, told = _KINDS.get(unit or "", (unknown, codes.UCUM.NoUnits))
    derived = {
        codes.SCT.Mean: spread.mean,
        codes.SCT.StandardDeviation: spread.deviation,
        codes.SCT.Minimum: spread.least,
        codes.SCT.Maximum: spread.largest,
    }
    for derivation, value in derived.items():
        if value is not None:
            yield Number(name, value, told, derivation=derivation)
