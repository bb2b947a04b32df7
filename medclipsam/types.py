"""The values that travel between the modules: frozen, and validated when made.

    file -> MedImage -> (Hints: Box, Points) -> Segmentation -> file

Axis order is (row, column) for arrays and (x, y) = (column, row) for boxes and points, in pixels of the native image.
A click means a pixel and a box means the borders between pixels, so that each counts in its own way:

    Points   whole numbers at pixel centres    the first pixel is (0, 0), the last (width - 1, height - 1)
    Box      whole numbers at pixel edges      the first pixel reaches from (0, 0) to (1, 1)
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from medclipsam.errors import BadInput

FloatArray = NDArray[np.float32]
BoolArray = NDArray[np.bool_]
Progress = Callable[[str, int, int], None]
"""Called with the stage, how much of it is done, and how much there is (0: not known)."""

MASK_THRESHOLD = 0.5
"""Probability above which a pixel is in a mask."""

Side = Literal["left", "right"]
"""A side of the patient."""

NothingFound = Literal[
    "below_threshold", "absent", "wrong_body", "never_taught", "no_region", "sam_empty", "neighbours", "other_side"
]
WHY_NOTHING: Mapping[NothingFound, str] = MappingProxyType(
    {
        "below_threshold": "presence is below the threshold",
        "absent": "the model knows it and does not see it here",
        "wrong_body": "the image shows another part of the body",
        "never_taught": "the model was never taught it",
        "no_region": "the evidence marks no region",
        "sam_empty": "Segment Anything drew no mask where it was asked",
        "neighbours": "the other slices speak against it",
        "other_side": "it lies on the patient's other side alone",
    }
)
"""Why nothing was found, in words."""


@dataclass(frozen=True, eq=False, kw_only=True)
class MedImage:
    """One 2-D image in display range, and what is needed to write a mask that lies on it.

    Raises:
        BadInput: not (height, width, 3), smaller than 2 pixels on a side, or values that are not finite in [0, 1].
    """

    pixels: FloatArray
    """(height, width, 3) in [0, 1], after rescale, window and inversion; grey images have three equal channels."""
    name: str
    """A case id that is safe as a file name and says nothing of the patient: cleaned stem plus short hash."""
    format: str = "array"
    """What it was read from: `dicom`, `nifti`, `nrrd`, `mha`, `mgz`, `raster`, `npy` or `array`."""
    spacing_mm: tuple[float, float] | None = None
    """Distance of rows and of columns in mm; None where the file does not say."""
    origin: Any = None
    """What the reader keeps for the writer of the mask (a NIfTI header and slice, a DICOM data set)."""
    warnings: tuple[str, ...] = ()
    """What a person should know about how this file was read."""
    values: NDArray[Any] | None = field(default=None, repr=False)
    """(height, width) of the file after its own rescale, of a PET as SUV where it tells what that takes; before window
    and inversion; None of colours."""
    values_unit: str | None = None
    """`HU`, `SUVbw` ... where the file says so."""
    plane_lps: NDArray[np.float64] | None = field(default=None, repr=False)
    """(3, 3): takes (row, column, 1) to mm towards left, back and head; None where the file does not say."""
    towards_left: tuple[float, float] | None = None
    """How far one row down and one column on lead towards the patient's left, as cosines; None where the file does not
    say. A film that lies nowhere in space may still say it (DICOM's Patient Orientation)."""

    def __post_init__(self) -> None:
        shape = self.pixels.shape
        if len(shape) != 3 or shape[2] != 3:
            raise BadInput(f"{self.name}: an image of shape {shape} is not (height, width, 3)")
        if min(shape[:2]) < 2:
            raise BadInput(f"{self.name}: {shape[1]} x {shape[0]} pixels is too small to segment")
        if not np.isfinite(self.pixels).all():
            raise BadInput(f"{self.name}: the image holds NaN or infinite values")
        if self.pixels.min() < 0 or self.pixels.max() > 1:
            raise BadInput(f"{self.name}: pixel values lie outside [0, 1]")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) in pixels."""
        return self.pixels.shape[0], self.pixels.shape[1]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of size and pixels: the identity that caches and random generators use."""
        content = hashlib.sha256(repr(self.pixels.shape).encode())
        content.update(np.ascontiguousarray(self.pixels, np.float32).tobytes())
        return content.hexdigest()


@dataclass(frozen=True, kw_only=True)
class Box:
    """A rectangle by its edges, which lie between pixels: column i reaches from x = i to x = i + 1.

    The box around columns 3 to 5 has x0 = 3 and x1 = 6, as in COCO, segment-anything and the released MedCLIP-SAMv2.
    As there, `clipped` ends a box at (width - 1, height - 1), so that no box takes in all of the last row or column.

    Raises:
        BadInput: corners that are not finite or not in order.
    """

    x0: float
    y0: float
    x1: float
    y1: float

    def __post_init__(self) -> None:
        if not all(np.isfinite(edge) for edge in self.edges):
            raise BadInput(f"box {self.edges} has a corner that is not a number")
        if self.x0 > self.x1 or self.y0 > self.y1:
            raise BadInput(f"box {self.edges} has its corners in the wrong order", "give x0,y0,x1,y1")

    @property
    def edges(self) -> tuple[float, float, float, float]:
        """(x0, y0, x1, y1)."""
        return self.x0, self.y0, self.x1, self.y1

    def clipped(self, size: tuple[int, int]) -> Box:
        """The part inside an image of (height, width), at most up to (width - 1, height - 1).

        Raises:
            BadInput: no part lies inside.
        """
        height, width = size
        if self.x1 < 0 or self.y1 < 0 or self.x0 > width - 1 or self.y0 > height - 1:
            raise BadInput(f"box {self.edges} lies outside the image of {width} x {height} pixels")
        return Box(
            x0=max(self.x0, 0.0), y0=max(self.y0, 0.0), x1=min(self.x1, width - 1.0), y1=min(self.y1, height - 1.0)
        )


@dataclass(frozen=True, eq=False, kw_only=True)
class Points:
    """Clicks on an image.

    Raises:
        BadInput: shapes that do not fit, coordinates that are not finite, or labels other than 0 and 1.
    """

    xy: FloatArray
    """(n, 2): x and y in pixels; whole numbers are pixel centres."""
    labels: NDArray[np.int64]
    """(n,): 1 inside the object, 0 outside."""

    def __post_init__(self) -> None:
        if self.xy.ndim != 2 or self.xy.shape[1] != 2 or self.labels.shape != (len(self.xy),):
            raise BadInput(f"points of shape {self.xy.shape} with labels {self.labels.shape}")
        if not np.isfinite(self.xy).all() or not np.isin(self.labels, (0, 1)).all():
            raise BadInput("points need finite coordinates and labels 0 or 1")

    def __len__(self) -> int:
        return len(self.xy)


@dataclass(frozen=True, eq=False, kw_only=True)
class Hints:
    """What a person points at, in place of what the text alone would give; empty hints are no hints."""

    boxes: tuple[Box, ...] = ()
    points: Points | None = None

    def __bool__(self) -> bool:
        return bool(self.boxes) or self.points is not None

    def check_inside(self, size: tuple[int, int]) -> None:
        """Refuse what points at nothing.

        Raises:
            BadInput: a box without any part, or a point, inside an image of (height, width).
        """
        height, width = size
        for box in self.boxes:
            box.clipped(size)
        if self.points is None:
            return
        inside = ((self.points.xy >= 0) & (self.points.xy <= np.array([width - 1, height - 1]))).all(axis=1)
        if not inside.all():
            x, y = self.points.xy[~inside][0]
            raise BadInput(f"point ({x:g}, {y:g}) lies outside the image of {width} x {height} pixels")


NO_HINTS = Hints()


@dataclass(frozen=True, kw_only=True)
class Familiar:
    """Whether a model was taught what a text names."""

    taught: bool
    nearest: tuple[str, ...] = ()
    """Taught targets whose words are nearest to the text, the nearest first."""
    named: str | None = None
    """The one target that the text names; None where another is nearly as near."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Uncertainty:
    """How sure several networks, or several passes of one, are of each pixel; both (height, width), in bits, in [0, 1].

    Values are absolute: no map is stretched to its own range, so maps of different images can be compared.
    """

    entropy: FloatArray
    """Entropy of the mean probability: 0 where all are sure of one thing, 1 where the mean is one half."""
    information: FloatArray
    """Mutual information: the part of the entropy that is disagreement (Houlsby et al., 2011)."""


@dataclass(frozen=True, eq=False, kw_only=True)
class Segmentation:
    """What a method answers to one image and one text; what a method does not have is None.

    Raises:
        ValueError: arrays that do not share one size, or a mask where nothing was found.
    """

    prompt: str
    mask: BoolArray
    """(height, width); all False where nothing was found."""
    probability: FloatArray
    """(height, width) in [0, 1]."""
    found: bool
    """False is an answer: the text names nothing that the model sees here."""
    saliency: FloatArray | None = None
    """(height, width) in [0, 1]: where the text finds its evidence."""
    presence: float | None = None
    """Confidence in [0, 1] that the image shows what the text names."""
    uncertainty: Uncertainty | None = None
    side: Side | None = None
    """The patient's side that the mask was cut to; None where the whole structure is meant, or words alone say it."""
    reason: NothingFound | None = None
    """Why nothing was found; None where something was, and where the method does not say."""
    boxes: tuple[Box, ...] = ()
    points: Points | None = None
    scores: tuple[float, ...] = ()
    """SAM's own estimate of IoU for each prompt."""
    notes: tuple[str, ...] = ()
    """What a person should know about how the answer came about, such as a text that was cut."""
    seconds: Mapping[str, float] = field(default_factory=dict)
    """Wall time of each stage."""

    def __post_init__(self) -> None:
        shapes = {values.shape for values in (self.mask, *self.maps.values())}
        if len(shapes) > 1:
            raise ValueError(f"shapes differ: {', '.join(map(str, sorted(shapes)))}")
        if not self.found and self.mask.any():
            raise ValueError("a segmentation that found nothing has an empty mask")
        if self.found and self.reason:
            raise ValueError(f"a segmentation that found something has no reason {self.reason!r} for nothing")

    @property
    def maps(self) -> dict[str, FloatArray]:
        """Every map that the method has, by name; (height, width) in [0, 1]."""
        unsure = self.uncertainty
        known = {
            "saliency": self.saliency,
            "probability": self.probability,
            "entropy": unsure.entropy if unsure else None,
            "information": unsure.information if unsure else None,
        }
        return {name: values for name, values in known.items() if values is not None}

    @property
    def evidence(self) -> FloatArray:
        """The map to look at: the saliency, of a method that has none the probability."""
        return self.probability if self.saliency is None else self.saliency

    @property
    def box(self) -> Box | None:
        """One box around all boxes; None where there is none."""
        if not self.boxes:
            return None
        edges = np.array([box.edges for box in self.boxes])
        x0, y0 = edges[:, :2].min(axis=0).tolist()
        x1, y1 = edges[:, 2:].max(axis=0).tolist()
        return Box(x0=x0, y0=y0, x1=x1, y1=y1)

    @property
    def area_px(self) -> int:
        """Number of pixels in the mask."""
        return int(self.mask.sum())
