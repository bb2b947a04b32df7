"""Writes `measurements.csv` of a folder: a row for each mask, or for the masks of a stack of slices together.

case,file,prompt,status,image,area_px,area_mm2,voxels,volume_mm3,...
v-1c9d6c7b,v.nii.gz,liver,done,,,,105,573.3,...            a volume
a-70e2c318,a.png,tumor,done,a-70e2c318,412,,,,...          an image
"""

from __future__ import annotations

import csv
from collections.abc import Iterable
from io import StringIO
from pathlib import Path

from medclipsam.io.atomic import write_atomic
from medclipsam.report import Report
from medclipsam.runs.manifest import Record

COLUMNS = (
    *("area_px", "area_mm2", "voxels", "volume_mm3", "slices", "parts"),
    *("longest_diameter", "perpendicular_diameter", "diameter_unit", "diameter_image"),
    *("centroid_x_px", "centroid_y_px", "centroid_left_mm", "centroid_back_mm", "centroid_head_mm"),
    *("value_mean", "value_std", "value_min", "value_max", "value_unit", "mean_uncertainty"),
)
"""Those that do not fit an image or a stack stay empty."""
_OF_THE_RECORD = ("case", "file", "prompt", "status")


def write_measurements(path: Path, records: Iterable[Record]) -> None:
    """Write the table; what was refused or failed has no row.

    Raises:
        CannotWrite: see `medclipsam.io.atomic`.
    """
    text = StringIO(newline="")
    table = csv.DictWriter(text, [*_OF_THE_RECORD, "image", *COLUMNS], lineterminator="\n")
    table.writeheader()
    for record in records:
        known = {name: getattr(record, name) for name in _OF_THE_RECORD}
        for row in record.measurements:
            table.writerow({**known, "image": row.get("image"), **flat(dict(row))})
    write_atomic(path, text.getvalue())


def flat(row: Report) -> Report:
    """What was measured, with one number or word in each column."""
    centroid, place, values = (row.get(key) or {} for key in ("centroid_px", "centroid_lps_mm", "values"))
    columns = {key: row.get(key) for key in COLUMNS}
    columns |= dict(zip(("centroid_x_px", "centroid_y_px"), centroid, strict=False))
    columns |= dict(zip(("centroid_left_mm", "centroid_back_mm", "centroid_head_mm"), place, strict=False))
    return columns | {f"value_{key}": value for key, value in dict(values).items()}
