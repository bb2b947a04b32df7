"""Says what was measured on masks as reports, records and tables show it: plain numbers, None where nothing is known.

image and result   -> measures_of       -> image_row       of one image or slice
slices of a stack  -> measure_stack     -> stack_row       of the whole
"""

from __future__ import annotations

from typing import Any

from medclipsam.metrics.measure import Diameters, ImageMeasures, Spread, measure_image
from medclipsam.metrics.measure_stack import StackMeasures
from medclipsam.types import MedImage, Segmentation

DIGITS = 7
"""Significant digits that are written."""

Row = dict[str, Any]


def measures_of(image: MedImage, result: Segmentation) -> ImageMeasures:
    """What is measured on the mask of one prompt on one image."""
    return measure_image(
        result.mask,
        spacing_mm=image.spacing_mm,
        plane_lps=image.plane_lps,
        values=image.values,
        uncertainty=None if result.uncertainty is None else result.uncertainty.entropy,
    )


def image_row(measures: ImageMeasures, unit: str | None = None) -> Row:
    """The measures of one image.

    Args:
        measures: what was measured.
        unit: of the stored values, where the file says so.
    """
    return {
        "area_px": measures.area_px,
        "area_mm2": _rounded(measures.area_mm2),
        "parts": measures.parts,
        **_diameters(measures.diameters),
        "centroid_px": _place(measures.centroid_px),
        "centroid_lps_mm": _place(measures.centroid_lps_mm),
        **_values(measures.values, unit),
        "mean_uncertainty": _rounded(measures.uncertainty.mean if measures.uncertainty else None),
    }


def stack_row(measures: StackMeasures, unit: str | None = None, parts: int | None = None) -> Row:
    """The measures of a stack of slices.

    Args:
        measures: what was measured.
        unit: of the stored values, where the file says so.
        parts: number of parts in 3-D.
    """
    found = measures.diameters
    return {
        "voxels": measures.voxels,
        "volume_mm3": _rounded(measures.volume_mm3),
        "slices": measures.slices,
        "parts": parts,
        **_diameters(found),
        "diameter_image": None if found is None else found.image,
        "centroid_lps_mm": _place(measures.centroid_lps_mm),
        **_values(measures.values, unit),
        "mean_uncertainty": _rounded(measures.uncertainty.mean if measures.uncertainty else None),
    }


def _diameters(found: Diameters | None) -> Row:
    return {
        "longest_diameter": _rounded(found.longest if found else None),
        "perpendicular_diameter": _rounded(found.perpendicular if found else None),
        "diameter_unit": found.unit if found else None,
    }


def _values(spread: Spread | None, unit: str | None) -> Row:
    if spread is None:
        return {"values": None}
    return {
        "values": {
            "mean": _rounded(spread.mean),
            "std": _rounded(spread.deviation),
            "min": _rounded(spread.least),
            "max": _rounded(spread.largest),
            "unit": unit,
        }
    }


def _place(numbers: tuple[float, ...] | None) -> list[float | None] | None:
    return None if numbers is None else [_rounded(number) for number in numbers]


def _rounded(number: float | None) -> float | None:
    return None if number is None else float(f"{number:.{DIGITS}g}")
