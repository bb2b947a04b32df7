"""Measures a mask over the slices of a stack, from what `medclipsam.metrics.measure` finds on each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import reduce

import numpy as np

from medclipsam.metrics.measure import Diameters, ImageMeasures, Spread, slab_widths_mm


@dataclass(frozen=True, kw_only=True)
class StackMeasures:
    """What is measured over all slices."""

    voxels: int
    volume_mm3: float | None
    """None where the spacing, or the places of two slices, are not known."""
    slices: int
    """How many slices the mask is on."""
    diameters: Diameters | None
    """Those of the slice where the longest is longest."""
    centroid_lps_mm: tuple[float, float, float] | None
    values: Spread | None
    uncertainty: Spread | None


def measure_stack(slices: Mapping[str, ImageMeasures], places_mm: Sequence[float] | None) -> StackMeasures:
    """Put the measures of slices together.

    Args:
        slices: by name, in the order of their places.
        places_mm: where each of them lies along the stack; None where it is not known.
    """
    each = list(slices.values())
    widths = None if places_mm is None or len(each) < 2 else slab_widths_mm(places_mm)
    areas = [image.area_mm2 for image in each]
    known = None if widths is None or None in areas else np.array(areas, float) * widths
    return StackMeasures(
        voxels=sum(image.area_px for image in each),
        volume_mm3=None if known is None else float(known.sum()),
        slices=sum(image.area_px > 0 for image in each),
        diameters=_longest(slices),
        centroid_lps_mm=_centroid(each, np.array([image.area_px for image in each]) if known is None else known),
        values=_joined([image.values for image in each]),
        uncertainty=_joined([image.uncertainty for image in each]),
    )


def _longest(slices: Mapping[str, ImageMeasures]) -> Diameters | None:
    found = [replace(image.diameters, image=name) for name, image in slices.items() if image.diameters]
    return max(found, key=lambda diameters: diameters.longest, default=None)


def _centroid(each: Sequence[ImageMeasures], weights: np.ndarray) -> tuple[float, float, float] | None:
    filled = [number for number, image in enumerate(each) if image.area_px]
    places = [each[number].centroid_lps_mm for number in filled]
    if not filled or None in places:
        return None
    x, y, z = (float(mean) for mean in np.average(np.array(places, float), axis=0, weights=weights[filled]))
    return x, y, z


def _joined(spreads: Sequence[Spread | None]) -> Spread | None:
    found = [spread for spread in spreads if spread is not None]
    return reduce(Spread.joined, found) if found else None
