"""Writes docs/schemas: what `report.json` and each line of `manifest.jsonl` hold, as JSON Schema (draft 2020-12).

    python benchmarks/write_schemas.py

The manifest's comes from the dataclasses that write it, the report's from the models below; tests hold both against
reports and manifests of real runs.
"""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from medclipsam.runs import manifest
from medclipsam.types import WHY_NOTHING

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "schemas"
DRAFT = "https://json-schema.org/draft/2020-12/schema"
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=0)]
Seconds = Annotated[float, Field(ge=0)]
Pair = Annotated[list[float], Field(min_length=2, max_length=2)]
Place = Annotated[list[float], Field(min_length=3, max_length=3)]
Edges = Annotated[list[float], Field(min_length=4, max_length=4)]
Reason = Literal[tuple(WHY_NOTHING)]  # type: ignore[valid-type]


class Closed(BaseModel):
    """An object that knows its fields."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)


class Size(Closed):
    """Size in pixels."""

    height: Annotated[int, Field(ge=2)]
    width: Annotated[int, Field(ge=2)]


class Values(Closed):
    """The stored values inside the mask."""

    mean: float | None
    std: float | None
    min: float | None
    max: float | None
    unit: str | None
    """`HU`, `SUVbw` ... where the file says so."""


class Measured(Closed):
    """What images and stacks have in common."""

    parts: Count | None
    """Number of connected parts."""
    longest_diameter: float | None
    perpendicular_diameter: float | None
    """Longest diameter at right angles to it."""
    diameter_unit: Literal["mm", "px"] | None
    centroid_lps_mm: Place | None
    """Centroid towards left, back and head in mm; null where the file does not say where it lies."""
    values: Values | None
    mean_uncertainty: float | None


class ImageMeasures(Measured):
    """What was measured on the mask of one image."""

    area_px: Count
    area_mm2: float | None
    centroid_px: Pair | None
    """Centroid as x, y."""


class StackMeasures(Measured):
    """What was measured on the masks of a stack of slices together."""

    prompt: str
    voxels: Count
    volume_mm3: float | None
    slices: Count
    """Number of slices with a mask."""
    diameter_image: str | None
    """Case id of the slice with the longest diameter."""


class Map(Closed):
    """A map in [0, 1]."""

    max: Share
    mean: Share
    mean_in_mask: Share | None


class Point(Closed):
    """A point in pixels."""

    x: float
    y: float
    inside: bool


class Result(Closed):
    """What one prompt found on one image."""

    prompt: str
    found: bool
    reason: Reason | None
    """Why nothing was found."""
    presence: Share | None
    """Confidence that the image shows what the text names."""
    area_px: Count
    area_mm2: float | None
    measurements: ImageMeasures
    box: Edges | None
    """One box around all boxes: x0, y0, x1, y1 by its edges in pixels."""
    boxes: list[Edges]
    points: list[Point]
    sam_scores: list[float]
    """Segment Anything's own estimates of IoU."""
    saliency: Map | None = None
    probability: Map
    entropy: Map | None = None
    information: Map | None = None
    notes: list[str]
    seconds: dict[str, Seconds]
    files: dict[str, str]
    """Names of files by their role: mask, mask_FORMAT, overlay, saliency, probability."""


class Image(Closed):
    """One image, slice, frame or page."""

    case: str
    format: Literal["dicom", "nifti", "nrrd", "mha", "mgz", "raster", "npy", "array"]
    size: Size
    spacing_mm: Pair | None
    """Distance of rows and of columns in mm."""
    sha256: Digest
    """SHA-256 of size and pixels as the model saw them."""
    warnings: list[str]
    results: list[Result]


class Report(Closed):
    """`report.json`, and what `medclipsam segment --json` prints."""

    notice: str
    schema_: Annotated[Literal[1], Field(alias="schema")]
    """Raised when a field changes its meaning or goes."""
    method: str
    preset: dict[str, Any]
    """Every setting; `name` is what a person calls it."""
    weights: dict[str, Digest]
    """SHA-256 of each file of weights that has a say."""
    device: str
    precision: str | None = None
    seed: Count
    versions: dict[str, str]
    seconds: dict[str, Seconds]
    images: list[Image]
    volume_mode: Literal["slices", "agree", "smooth", "largest", "stack"] | None = None
    every_nth: int | None = None
    """Distance of the slices that were asked; 1: each."""
    """How neighbouring slices were combined; of stacks alone."""
    volumes: list[StackMeasures] | None = None
    """Measurements of each prompt over all slices; of stacks alone."""
    written: dict[str, Digest]
    """SHA-256 of each other file of the folder, by its name; a later run on the same scan replaces them."""


def report_schema() -> dict[str, Any]:
    """The schema of `report.json`."""
    return {"$schema": DRAFT, **_without_titles(Report.model_json_schema(by_alias=True))}


def manifest_schema() -> dict[str, Any]:
    """The schema of a line of `manifest.jsonl`."""
    found = _without_titles(TypeAdapter(manifest.Record).json_schema(mode="serialization"))
    number = {"const": manifest.SCHEMA, "description": "Raised when a field changes its meaning or goes."}
    for schema, source in ((found, manifest.Record), (found["$defs"]["Picture"], manifest.Picture)):
        for name, text in _docstrings(source).items():
            schema["properties"][name]["description"] = text
        schema["required"] = list(schema["properties"])
        schema["additionalProperties"] = False
        schema["description"] = str(source.__doc__).partition("\n")[0]
    found["properties"] = {"schema": number, **found["properties"]}
    found["required"].insert(0, "schema")
    return {"$schema": DRAFT, **found}


def _docstrings(source: type) -> dict[str, str]:
    """The docstrings of the fields of a dataclass."""
    (body,) = ast.parse(inspect.getsource(source)).body
    pairs = zip(body.body, body.body[1:], strict=False)  # type: ignore[attr-defined]
    return {
        field.target.id: " ".join(text.value.value.split())
        for field, text in pairs
        if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant)
    }


def _without_titles(schema: Any) -> Any:
    """Titles and defaults say nothing that the names do not."""
    if isinstance(schema, list):
        return [_without_titles(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {key: value for key, value in schema.items() if key == "properties" or key not in ("title", "default")}
    return {
        key: {name: _without_titles(each) for name, each in value.items()}
        if key == "properties"
        else _without_titles(value)
        for key, value in kept.items()
    }


def schemas() -> dict[str, str]:
    """The text of each file by its name."""
    made = {"report.schema.json": report_schema(), "manifest.schema.json": manifest_schema()}
    return {name: json.dumps(schema, indent=2) + "\n" for name, schema in made.items()}


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, text in schemas().items():
        (FOLDER / name).write_text(text)
