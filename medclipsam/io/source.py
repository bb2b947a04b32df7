"""The contract of all readers: a source holds `count` images of one `unit` and gives each as a MedImage."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import numpy as np

from medclipsam.errors import BadInput
from medclipsam.io.limits import DEFAULT_MAX_PIXELS
from medclipsam.io.window import Window, check_window
from medclipsam.types import MedImage

Axis = Literal["axial", "coronal", "sagittal"] | int | None
NEIGHBOUR_STEPS = 1.5
PLANES = ("sagittal", "coronal", "axial")
"""By the world axis (right, anterior, superior) that runs through the plane."""


@dataclass(frozen=True, kw_only=True)
class ReadOptions:
    """How to read a file.

    Raises:
        BadInput: an axis, window or limit that no file can have.
    """

    axis: Axis = None
    """The axis that a volume's slices are stacked along: a plane's name or 0, 1, 2; None: the through-plane one."""
    window: Window = None
    """See `medclipsam.io.window`; None: what the file says, else percentiles."""
    max_pixels: int = DEFAULT_MAX_PIXELS
    """Largest number of pixels of one 2-D image."""
    series: str | None = None
    """Which of several DICOM series: a number in the list that a refusal shows, or Series Instance UID."""
    sandbox: bool = False
    """Decode in a child process, see `medclipsam.io.sandbox`; the pictures are the same."""

    def __post_init__(self) -> None:
        check_window(self.window)
        if self.axis is not None and self.axis not in (*PLANES, 0, 1, 2):
            raise BadInput(f"axis {self.axis!r} is not known", f"give {', '.join(PLANES)}, 0, 1 or 2")
        if self.max_pixels < 1:
            raise BadInput(f"max_pixels is {self.max_pixels}", "give a positive number")


class Source(Protocol):
    """An open file of pictures."""

    name: str
    """The case id."""
    kind: str
    """The format as a person calls it."""
    unit: str
    """`image`, `page`, `frame` or `slice`: what one picture is called."""
    count: int

    @property
    def places_mm(self) -> Sequence[float] | None:
        """Where each slice of a stack lies along the stack's direction; None where pictures are no stack."""

    @property
    def corners_lps(self) -> Sequence[Sequence[float]] | None:
        """Where the first pixel of each slice of a DICOM series lies in the patient; None of others, and unknown."""
        ...

    def image(self, index: int) -> MedImage:
        """The picture at a 0-based index below `count`."""
        ...

    def origin(self, index: int) -> Any:
        """What the writer of its mask needs, known without decoding it; also in the picture."""
        ...


def picture_name(source: Source, index: int) -> str:
    """The case id of one picture: the file's, with the number of the page, frame or slice where there are several."""
    return source.name if source.count == 1 else f"{source.name}-{source.unit[0]}{index:04d}"


def neighbour_gap(places_mm: Sequence[float]) -> float:
    """Slices that lie further apart than this, 1.5 times the usual distance, are not neighbours."""
    return NEIGHBOUR_STEPS * float(np.median(np.abs(np.diff(places_mm)))) if len(places_mm) > 1 else 0.0
