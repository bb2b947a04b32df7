"""Lays the two definitions of a surface beside each other, and beside the package of the one, on drawn bodies.

python benchmarks/surface_methods.py   -> benchmarks/results/surface-methods.md, and docs/metrics.md by insert_tables.py

Needs `surface-distance` (extra `dev`).
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import surface_distance
from numpy.typing import NDArray

from medclipsam.metrics import SurfaceMethod, hd95, nsd
from medclipsam.types import BoolArray

RESULT = Path(__file__).resolve().parent / "results" / "surface-methods.md"
TOLERANCE_MM = 2.0
FIELD_MM = 60.0
Triple = tuple[float, float, float]
REFERENCE: tuple[Triple, Triple] = (30.0, 30.0, 30.0), (20.0, 20.0, 20.0)
BODIES: dict[str, tuple[Triple, Triple]] = {
    "2 mm larger all around": ((30.0, 30.0, 30.0), (22.0, 22.0, 22.0)),
    "moved 5 mm across the slices": ((35.0, 30.0, 30.0), (20.0, 20.0, 20.0)),
    "moved 3 mm within them": ((30.0, 33.0, 30.0), (20.0, 20.0, 20.0)),
    "flatter: 15 x 22 x 20 mm": ((30.0, 30.0, 30.0), (15.0, 22.0, 20.0)),
}
"""Ellipsoids by centre and half axes in mm: across the slices, down, right."""
SPACINGS: tuple[Triple, ...] = ((1.0, 1.0, 1.0), (5.0, 1.0, 0.5))
COLUMNS = ("prediction", "voxel (mm)", *(f"{metric} {by}" for metric in ("NSD", "HD95") for by in ("area", "points")))


def ellipsoid(spacing: Triple, centre: Triple, half_axes: Triple) -> BoolArray:
    """The voxels whose centres are inside, in a cube of `FIELD_MM`."""
    axes = [(np.arange(round(FIELD_MM / step)) + 0.5) * step for step in spacing]
    grid: list[NDArray[np.float64]] = list(np.meshgrid(*axes, indexing="ij"))
    parts = [((mm - middle) / half) ** 2 for mm, middle, half in zip(grid, centre, half_axes, strict=True)]
    return np.asarray(sum(parts) <= 1)


def row(name: str, spacing: Triple) -> list[str]:
    """Both metrics by both definitions.

    Raises:
        ValueError: by area we do not say what the package says.
    """
    truth, found = ellipsoid(spacing, *REFERENCE), ellipsoid(spacing, *BODIES[name])
    methods: tuple[SurfaceMethod, ...] = ("area", "points")
    overlaps = [nsd(found, truth, TOLERANCE_MM, spacing, method) for method in methods]
    farthest = [hd95(found, truth, spacing, method) for method in methods]
    theirs = surface_distance.compute_surface_distances(truth, found, spacing)
    published = (
        surface_distance.compute_surface_dice_at_tolerance(theirs, TOLERANCE_MM),
        surface_distance.compute_robust_hausdorff(theirs, 95),
    )
    if not np.allclose((overlaps[0], farthest[0]), published, atol=1e-4):
        raise ValueError(f"{name}, {spacing}: {overlaps[0]}, {farthest[0]} are not {published}")
    voxel = " x ".join(f"{step:g}" for step in spacing)
    return [name, voxel, *(f"{value:.3f}" for value in overlaps), *(f"{value:.2f}" for value in farthest)]


def table() -> Iterator[str]:
    """The lines of the table."""
    yield f"| {' | '.join(COLUMNS)} |"
    yield "|---|---|" + "---:|" * (len(COLUMNS) - 2)
    for spacing in SPACINGS:
        for name in BODIES:
            yield f"| {' | '.join(row(name, spacing))} |"


def main() -> None:
    RESULT.write_text("\n".join(table()) + "\n")


if __name__ == "__main__":
    main()
