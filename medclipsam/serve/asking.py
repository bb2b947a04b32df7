"""What is asked of a scan, as JSON: the same words, limits and defaults as the options of `medclipsam segment`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from medclipsam.errors import BadInput
from medclipsam.io.mask_formats import ScanFormat
from medclipsam.io.source import ReadOptions
from medclipsam.io.window import Window, parse_window
from medclipsam.runs.one_scan import ScanRequest
from medclipsam.types import NO_HINTS, Box, Hints, Points
from medclipsam.volume.rules import DEFAULT_MODE, VolumeMode

Axis = Literal["axial", "coronal", "sagittal", 0, 1, 2]
SegKind = Literal["binary", "labelmap", "fractional"]
Index = Annotated[int, Field(ge=0, le=2**31)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Case = Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
Text = Annotated[str, Field(max_length=200)]
MOST_HINTS = 200


class Strict(BaseModel):
    """A JSON object that knows its fields."""

    model_config = ConfigDict(extra="forbid")


class Click(Strict):
    """A point of a person's own, in pixels; whole numbers are pixel centres."""

    x: Number
    y: Number
    inside: bool = True
    """False: it lies outside the object."""


class Reading(Strict):
    """How a scan is read."""

    axis: Axis | None = None
    """Plane to slice a volume in."""
    series: Text | None = None
    """Which of several DICOM series."""
    window: Text | None = None
    """Display window, as `--window` of the command line."""

    def options(self) -> ReadOptions:
        """In the sandbox.

        Raises:
            BadInput: a window that is none.
        """
        return ReadOptions(axis=self.axis, window=_window(self.window), series=self.series, sandbox=True)


class Arriving(Reading):
    """How a scan that arrives is read for the first time."""

    case: Case | None = None
    """What results are called; by default what is harmless of the file's name, and a hash."""


class Ask(Reading):
    """What is asked of one scan."""

    scan: Annotated[str, Field(max_length=64)] | None = None
    """Id of a scan that was sent before."""
    path: Annotated[str, Field(max_length=4096)] | None = None
    """Path of a scan below a folder that the server was started with."""
    case: Case | None = None
    """What results are called; by default what is harmless of the file's name, and a hash."""
    prompts: Annotated[list[Annotated[str, Field(max_length=4000)]], Field(min_length=1, max_length=64)]
    """What to segment; `A|B` averages two wordings."""
    boxes: Annotated[list[tuple[Number, Number, Number, Number]], Field(max_length=MOST_HINTS)] = []
    """A person's own boxes by their edges in pixels: x0, y0, x1, y1."""
    points: Annotated[list[Click], Field(max_length=MOST_HINTS)] = []
    """A person's own points."""
    always: bool = False
    """Give a mask even where the answer is: not found."""
    image: Index | None = None
    """One image by its number, as `/v1/scans/ID/slices` counts them, whatever it is called."""
    slice: Index | None = None
    """One slice of a volume, from 0."""
    slices: tuple[Index, Index | None] | None = None
    """Slices from the first number up to but without the second; null: to the end."""
    frame: Index | None = None
    """One frame of a DICOM file or page of a TIFF, from 0."""
    frames: tuple[Index, Index | None] | None = None
    """Frames or pages, as `slices`."""
    every: bool = False
    """Every slice, frame or page, as is done where none are chosen."""
    volume_mode: VolumeMode = DEFAULT_MODE
    """How neighbouring slices are combined."""
    formats: Annotated[list[ScanFormat], Field(min_length=1, max_length=10)] = ["auto"]
    """Formats of the masks."""
    seg_type: SegKind = "binary"
    """Type of a DICOM SEG."""
    seg_per_prompt: bool = False
    """Write a DICOM SEG for each prompt."""
    seg_all_slices: bool = False
    """Keep slices without a mask in a DICOM SEG."""
    structured_report: bool = False
    """Write what was measured as DICOM SR beside each DICOM SEG."""
    save_stages: bool = False
    """Also write saliency and probability as 16-bit PNG."""
    overlays: bool = True
    """Draw the answers beside their evidence."""

    @property
    def hints(self) -> Hints:
        """The boxes and points.

        Raises:
            BadInput: corners in the wrong order.
        """
        if not (self.boxes or self.points):
            return NO_HINTS
        boxes = tuple(Box(x0=x0, y0=y0, x1=x1, y1=y1) for x0, y0, x1, y1 in self.boxes)
        return Hints(boxes=boxes, points=_points(self.points) if self.points else None)

    def request(self, scan: Path, case: str, folder: Path, *, unit: str, seed: int) -> ScanRequest:
        """The same as the command line makes of its options.

        Args:
            scan: where the scan lies.
            case: what its results are called.
            folder: where the answers go.
            unit: what the scan's images are called, for `image`.
            seed: of the loaded segmenter.

        Raises:
            BadInput: a box, window or choice of images that cannot be.
        """
        if self.image is not None and (self.slice, self.frame) != (None, None):
            raise BadInput("image, slice and frame exclude each other", "choose one")
        is_slice = unit == "slice"
        return ScanRequest(
            scan=scan,
            name=self.case or case,
            prompts=tuple(self.prompts),
            folder=folder,
            seed=seed,
            hints=self.hints,
            always=self.always,
            slice_index=self.image if is_slice and self.image is not None else self.slice,
            span=self.slices,
            frame=self.image if not is_slice and self.image is not None else self.frame,
            frame_span=self.frames,
            every=self.every,
            series=self.series,
            volume_mode=self.volume_mode,
            axis=self.axis,
            window=_window(self.window),
            sandbox=True,
            formats=tuple(self.formats),
            seg_kind=self.seg_type,
            seg_per_prompt=self.seg_per_prompt,
            seg_all_slices=self.seg_all_slices,
            structured_report=self.structured_report,
            save_stages=self.save_stages,
            overlays=self.overlays,
        )


def _window(text: str | None) -> Window:
    return None if text is None else parse_window(text)


def _points(clicks: list[Click]) -> Points:
    return Points(
        xy=np.array([(click.x, click.y) for click in clicks], np.float32),
        labels=np.array([int(click.inside) for click in clicks], np.int64),
    )
