"""Makes the report of a run: one JSON object that lets another person repeat and check it.

    report                 settings, weights with hashes, seed, versions, notice
      images[]             case, size, spacing, SHA-256 of the pixels, warnings of the reader
        results[]          prompt, found, presence, area, measurements, box, points, scores, saliency, seconds, files
      volumes[]            of a stack of slices: for each prompt volume, parts, diameters, centroid, values

Measurements are plain numbers, None where nothing is known:

    image and result   -> measures_of       -> image_row       of one image or slice
    slices of a stack  -> measure_stack     -> stack_row       of the whole

It holds no name, number or date of a patient and no folder of the machine: files are named relative to the report.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata
from math import isfinite
from pathlib import PurePath
from typing import Any

import numpy as np

from medclipsam import __version__
from medclipsam.metrics.measure import Diameters, ImageMeasures, Spread, measure_image
from medclipsam.metrics.measure_stack import StackMeasures
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.types import BoolArray, FloatArray, MedImage, Points, Segmentation

SCHEMA = 1
"""Raised when a field changes its meaning or goes."""
DIGITS = 7
"""Significant digits of measurements."""
PACKAGES = (
    "numpy",
    "open_clip_torch",
    "pydicom",
    "nibabel",
    "scipy",
    "segment-anything",
    "tokenizers",
    "torch",
    "transformers",
)
"""What can change a number."""

Report = dict[str, Any]


def make_report(
    settings: Mapping[str, Any], images: Sequence[Report], *, seed: int, seconds: Mapping[str, float]
) -> Report:
    """The whole report.

    Args:
        settings: what `MethodInfo.as_dict` says: method, preset, weights with hashes, device.
        images: one `image_record` for each image.
        seed: the seed of the run.
        seconds: wall time of the stages that belong to no single result.
    """
    return {
        "notice": RESEARCH_USE_ONLY,
        "schema": SCHEMA,
        **_plain(settings),
        "seed": seed,
        "versions": versions(),
        "seconds": _timings(seconds),
        "images": list(images),
    }


def image_record(image: MedImage, results: Sequence[Report]) -> Report:
    """What the report says of one image and its `result_record`s."""
    return {
        "case": image.name,
        "format": image.format,
        "size": {"height": image.size[0], "width": image.size[1]},
        "spacing_mm": list(image.spacing_mm) if image.spacing_mm else None,
        "sha256": image.digest,
        "warnings": list(image.warnings),
        "results": list(results),
    }


def result_record(
    image: MedImage, result: Segmentation, files: Mapping[str, str], measures: ImageMeasures | None = None
) -> Report:
    """What the report says of one prompt on one image.

    Args:
        image: gives the spacing; without one `area_mm2` is None.
        result: where nothing was found, area 0 and `box` None.
        files: what was written, by role, relative to the report.
        measures: what was measured on the mask; None: it is measured now.
    """
    return {
        "prompt": result.prompt,
        "found": result.found,
        "reason": result.reason,
        "presence": result.presence,
        "area_px": result.area_px,
        "area_mm2": area_mm2(image, result),
        "measurements": image_row(measures or measures_of(image, result), image.values_unit),
        "box": list(result.box.edges) if result.box else None,
        "boxes": [list(box.edges) for box in result.boxes],
        "points": _points(result.points),
        "sam_scores": [float(score) for score in result.scores],
        **{name: _summary(values, result.mask) for name, values in result.maps.items()},
        "notes": list(result.notes),
        "seconds": _timings(result.seconds),
        "files": dict(files),
    }


def area_mm2(image: MedImage, result: Segmentation) -> float | None:
    """Area of the mask in square millimetres; None where the spacing is unknown."""
    if image.spacing_mm is None:
        return None
    return result.area_px * image.spacing_mm[0] * image.spacing_mm[1]


def versions() -> dict[str, str]:
    """Versions of Python, the system, and the packages that can change a number."""
    return {
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "medclipsam": __version__,
        **{name: metadata.version(name) for name in PACKAGES},
    }


def to_json(report: Report) -> str:
    """The report as text, one field a line, every language as it is.

    Raises:
        ValueError: a NaN or infinite number.
    """
    return json.dumps(report, indent=2, ensure_ascii=False, allow_nan=False)


def measures_of(image: MedImage, result: Segmentation) -> ImageMeasures:
    """What is measured on the mask of one prompt on one image."""
    return measure_image(
        result.mask,
        spacing_mm=image.spacing_mm,
        plane_lps=image.plane_lps,
        values=image.values,
        uncertainty=None if result.uncertainty is None else result.uncertainty.entropy,
    )


def image_row(measures: ImageMeasures, unit: str | None = None) -> Report:
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
        "centroid_px": _coordinates(measures.centroid_px),
        "centroid_lps_mm": _coordinates(measures.centroid_lps_mm),
        **_values(measures.values, unit),
        "mean_uncertainty": _rounded(measures.uncertainty.mean if measures.uncertainty else None),
    }


def stack_row(measures: StackMeasures, unit: str | None = None, parts: int | None = None) -> Report:
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
        "centroid_lps_mm": _coordinates(measures.centroid_lps_mm),
        **_values(measures.values, unit),
        "mean_uncertainty": _rounded(measures.uncertainty.mean if measures.uncertainty else None),
    }


def _points(points: Points | None) -> list[Report]:
    if points is None:
        return []
    return [
        {"x": float(x), "y": float(y), "inside": bool(label)}
        for (x, y), label in zip(points.xy, points.labels, strict=True)
    ]


def _summary(values: FloatArray, mask: BoolArray) -> dict[str, float | None]:
    """Largest and mean value, and the mean inside the mask; None where the mask is empty."""
    inside = float(values[mask].mean(dtype=np.float64)) if mask.any() else None
    return {"max": float(values.max()), "mean": float(values.mean(dtype=np.float64)), "mean_in_mask": inside}


def _timings(seconds: Mapping[str, float]) -> dict[str, float]:
    return {stage: round(float(value), 4) for stage, value in seconds.items()}


def _plain(value: Any) -> Any:
    """JSON's types only; of a path the last part, so that no folder of the machine is told."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.name if isinstance(value, PurePath) else value


def _diameters(found: Diameters | None) -> Report:
    return {
        "longest_diameter": _rounded(found.longest if found else None),
        "perpendicular_diameter": _rounded(found.perpendicular if found else None),
        "diameter_unit": found.unit if found else None,
    }


def _values(spread: Spread | None, unit: str | None) -> Report:
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


def _coordinates(numbers: tuple[float, ...] | None) -> list[float | None] | None:
    return None if numbers is None else [_rounded(number) for number in numbers]


def _rounded(number: float | None) -> float | None:
    """None too where absurd numbers of a damaged file have no finite result: JSON knows no infinity."""
    return None if number is None or not isfinite(number) else float(f"{number:.{DIGITS}g}")
