"""Reads a DICOM series as slices: headers once, to put them in order, then one slice at a time.

    folder | zip | enhanced object  -->  planes  -->  stacks  --choose-->  Stack  --image(k)-->  slice k

Slices are read in their native plane, never resampled. What is kept of each is a few numbers (`Plane`), so memory does
not grow with their pixels; each `MedImage.origin` is the `DicomFrame` that a DICOM SEG refers to.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.io.dicom.contrast import MEDIAN_WINDOW, Contrast
from medclipsam.io.dicom.frames import DicomFrame, DicomSource
from medclipsam.io.dicom.planes import Plane, planes_of
from medclipsam.io.dicom.stacks import Stack, choose, stacks_of
from medclipsam.io.limits import check_decoded, check_pixels
from medclipsam.io.members import Member
from medclipsam.io.source import PLANES, ReadOptions, picture_name
from medclipsam.types import MedImage

_INDEX_FILE = "DICOMDIR"
_BYTES_PER_PIXEL = 2


class SeriesSource:
    """One stack of slices of one DICOM series.

    Args:
        members: the files; those that are no DICOM images are passed over, and a warning says how many.
        name: the case id.
        options: `series` chooses among several.

    Raises:
        BadInput: no images, several stacks and none chosen, or slices that cannot be put in order.
    """

    kind = "a DICOM series"
    unit = "slice"

    def __init__(self, members: Sequence[Member], name: str, options: ReadOptions) -> None:
        self.name = name
        self._options = options
        found = [planes_of(member) for member in members]
        planes = [plane for several in found for plane in several]
        if not planes:
            raise BadInput(
                f"{name}: none of its {len(members):,} files is a DICOM image",
                "give the folder or zip of a DICOM series; for a folder of other scans there is pseudolabel",
            )
        self._stack = choose(stacks_of(planes), options.series, name)
        _check(self._stack, name, options)
        self.count = len(self._stack.planes)
        self.places_mm = self._stack.places_mm
        self._step_mm = _usual_step_mm(self.places_mm)
        positions = [plane.position for plane in self._stack.planes if plane.position is not None]
        self.corners_lps = positions if len(positions) == self.count else None
        others = sum(not several and _counts(member) for member, several in zip(members, found, strict=True))
        passed_over = (f"{others} files that are no DICOM images were passed over",) if others else ()
        self._warnings = (*self._stack.warnings, *passed_over)
        self._open: tuple[Member | None, DicomSource | None] = (None, None)
        windows = [plane.window for plane in self._stack.planes]
        self._contrast = Contrast(self.count, self._stretched_values, windows if options.window is None else ())
        if self._contrast.window is not None:
            self._warnings = (*self._warnings, MEDIAN_WINDOW)

    def image(self, index: int) -> MedImage:
        """One slice; nothing of a single-frame object is kept."""
        plane = self._stack.planes[index]
        image = self._object(plane, index).image(plane.frame)
        if image.size != plane.size:
            raise BadInput(f"{image.name}: the file was changed meanwhile", "try again")
        return replace(
            image,
            name=picture_name(self, index),
            origin=replace(image.origin, step_mm=self._step_mm),
            warnings=(*self._warnings, *image.warnings),
        )

    def origin(self, index: int) -> DicomFrame:
        """What the writer of a mask needs of one slice."""
        plane = self._stack.planes[index]
        return replace(self._object(plane, index).origin(plane.frame), step_mm=self._step_mm)

    def _stretched_values(self, index: int) -> NDArray[Any]:
        plane = self._stack.planes[index]
        return self._object(plane, index).stretched_values(plane.frame)

    def _object(self, plane: Plane, index: int) -> DicomSource:
        """The object that holds a plane; one with several frames stays open for the next."""
        member, source = self._open
        if source is None or member is not plane.member:
            source = DicomSource(plane.member, picture_name(self, index), self._options, self._contrast)
            self._open = (plane.member, source) if plane.several else (None, None)
        return source


def in_space(file: Member) -> bool:
    """Whether an object is a stack of slices: every frame says where it lies, and what shares a place is told apart."""
    try:
        planes = planes_of(file)
        return all(plane.placed for plane in planes) and bool(stacks_of(planes))
    except BadInput:
        return False


def _usual_step_mm(places_mm: Sequence[float] | None) -> float | None:
    """The distance of most neighbours; None of a single slice, and where places are not known."""
    return None if places_mm is None or len(places_mm) < 2 else round(float(np.median(np.diff(places_mm))), 6)


def _counts(member: Member) -> bool:
    """Whether a file that holds no image is worth a word: the index of a medium is not."""
    return PurePosixPath(member.place).name.upper() != _INDEX_FILE


def _check(stack: Stack, name: str, options: ReadOptions) -> None:
    height, width = stack.planes[0].size
    check_pixels(name, height, width, options.max_pixels)
    check_decoded(name, height * width * len(stack.planes) * _BYTES_PER_PIXEL)
    if options.axis is not None and options.axis != stack.plane:
        known = [plane for plane in PLANES if plane == stack.plane]
        raise BadInput(
            f"{name}: its slices are {stack.plane or 'of unknown plane'}, and others would have to be resampled",
            f"choose {known[0]} or leave the axis out" if known else "leave the axis out",
        )
