"""What the server answers, as the OpenAPI text tells it."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, Field

from medclipsam.serve.asking import Ask, Strict


class Problem(BaseModel):
    """Why there is no answer."""

    problem: str
    """What was found."""
    remedy: str
    """What to do about it; empty where the problem says it."""


class Health(BaseModel):
    """The server is there."""

    status: str


class Version(BaseModel):
    """What runs here."""

    version: str
    notice: str
    method: str
    preset: str
    device: str
    takes_hints: bool
    """Whether boxes can be given."""
    takes_points: bool
    """Whether points can be given."""
    most_upload_bytes: int
    queue: int
    """Requests that may wait or be worked on together."""
    waiting: int
    """Requests that wait or are worked on now."""
    folders: int
    """Folders below which a path may be asked for."""


class Target(BaseModel):
    """Something that the embedded model was taught."""

    target: str
    images: list[str]
    """Kinds of images that it was taught on."""
    dice: float | None
    """Mean Dice on test images of the sources that it was mostly taught on; null where none were measured."""
    dice_elsewhere: float | None
    """Mean Dice on test images of other hospitals; null where none were measured."""


class Size(BaseModel):
    """In pixels."""

    height: int
    width: int


class ScanInfo(BaseModel):
    """A scan that can be asked about."""

    id: str
    case: str
    """What its results are called."""
    format: str
    unit: str
    """What one image is called: `image`, `page`, `frame` or `slice`."""
    count: int
    """Number of images; they are counted from 0."""
    size: Size
    """Height and width of the first image."""
    spacing_mm: list[float] | None
    """Distance of rows and of columns in mm; null where the file does not say."""
    is_volume: bool
    """Whether the images are slices of one stack."""
    warnings: list[str]


class Named(Strict):
    """A scan by its path."""

    path: Annotated[str, Field(max_length=4096)]


class ResultFile(BaseModel):
    """One file of an answer."""

    name: str
    bytes: int
    media_type: str
    url: str


class AnswerInfo(BaseModel):
    """What was found."""

    id: str
    scan: str
    """Id of the scan, for further prompts."""
    report: dict[str, Any]
    """As `report.json`; its schema lies in docs/schemas."""
    files: list[ResultFile]
    kept_s: float
    """How long the files stay without use, in seconds."""


class RunAnswer(BaseModel):
    """One answer of a run over a folder."""

    file: str
    prompt: str | None
    status: str
    confidence: float | None
    reason: str | None
    picture: str | None
    """Address of its picture."""


class RunInfo(BaseModel):
    """How far a run over a folder is."""

    number: int
    name: str
    """Name of the output folder."""
    done: int
    total: int | None
    """Number of answers that there will be; null where it is not known yet."""
    counts: dict[str, int]
    rate: float | None
    """Answers in a second of late."""
    seconds_left: float | None
    seconds_since: float | None
    """Seconds since the last record."""
    finished: bool
    latest: list[RunAnswer]
    refusals: list[RunAnswer]


_FILES = {"type": "array", "minItems": 1, "items": {"type": "string", "format": "binary"}}
SCAN_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "multipart/form-data": {"schema": {"type": "object", "required": ["files"], "properties": {"files": _FILES}}},
        "application/json": {"schema": Named.model_json_schema()},
    },
}
SEGMENT_BODY: dict[str, Any] = {
    "required": True,
    "content": {
        "application/json": {"schema": {"$ref": "#/components/schemas/Ask"}},
        "multipart/form-data": {
            "schema": {
                "type": "object",
                "required": ["files", "request"],
                "properties": {
                    "files": _FILES,
                    "request": {"type": "string", "description": "JSON of an Ask, without scan and path."},
                },
            }
        },
    },
}
ASK_SCHEMA = Ask.model_json_schema(ref_template="#/components/schemas/{model}")
