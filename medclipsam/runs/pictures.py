"""Opens a scan and reads the images of it that are asked for, one at a time.

path --open--> Source (all images) --choose--> Pictures: some of them, in order, each readable again by its number
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medclipsam.errors import BadInput
from medclipsam.io.naming import case_name
from medclipsam.io.reading import chosen, open_source, picture
from medclipsam.io.source import ReadOptions, Source
from medclipsam.types import MedImage

Span = tuple[int, int | None]
"""From the first number on, up to but without the second; None: to the end."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which images of a scan are asked for; all, unless some are named.

    Raises:
        BadInput: several choices at once.
    """

    slice_index: int | None = None
    """0-based slice of a volume."""
    span: Span | None = None
    """Slices of a volume."""
    frame: int | None = None
    """0-based frame of a multi-frame DICOM file, or page of a TIFF."""
    frame_span: Span | None = None
    """Frames or pages."""
    every: bool = False
    """Every slice, frame or page, as is done where none are chosen."""

    def __post_init__(self) -> None:
        choices = self.slice_index, self.frame, self.span, self.frame_span, True if self.every else None
        if sum(choice is not None for choice in choices) > 1:
            raise BadInput("slices, frames and all of them exclude each other", "choose one")

    @property
    def as_stored(self) -> bool:
        """Whether frames are counted as the file stores them, not as slices in the order of their places."""
        return self.frame is not None or self.frame_span is not None

    def of(self, source: Source) -> range:
        """The images of a source that are asked for.

        Raises:
            BadInput: images that the source does not have.
        """
        if self.span is not None or self.frame_span is not None:
            return self._spanned(source)
        if self.frame is None and self.slice_index is None:
            return range(source.count)
        index = chosen(source, self.frame, self.slice_index)
        return range(index, index + 1)

    def _spanned(self, source: Source) -> range:
        span, option = (self.span, "slices") if source.unit == "slice" else (self.frame_span, "frame")
        if span is None:
            raise BadInput(f"{source.name}: is {source.kind}, made of {source.unit}s", f"choose some by --{option} A:B")
        start, stop = span
        some = range(start, source.count if stop is None else min(stop, source.count))
        if not some:
            raise BadInput(f"{source.name}: has {source.count} {source.unit}s, none of them chosen", "choose others")
        return some


ALL = Choice()


class Pictures:
    """Images of one open scan; iterating reads them in order, one in memory at a time.

    Args:
        source: the open scan.
        indices: the images that are asked for.
        name: what they are called in place of the source's own name.
    """

    def __init__(self, source: Source, indices: Sequence[int], name: str) -> None:
        self._source, self._indices, self._name = source, indices, name
        places = source.places_mm
        self.places_mm = None if places is None else tuple(places[index] for index in indices)
        """Where they lie along the stack; None where they are no stack."""
        corners = source.corners_lps
        self.corners_lps = None if corners is None else [corners[index] for index in indices]
        """See `medclipsam.io.source.Source`."""

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[MedImage]:
        return map(self.read, range(len(self)))

    def thinned(self, nth: int) -> tuple[Pictures, list[int]]:
        """Every `nth` of them, the last too, and the numbers that they have among all.

        Raises:
            BadInput: they are no stack of slices, or the number is not positive.
        """
        if nth < 1:
            raise BadInput(f"every {nth}th slice", "give a number from 1")
        if not self.is_volume:
            raise BadInput("these images are no stack of slices: nothing lies between them", "leave --every-nth out")
        numbers = sorted({*range(0, len(self), nth), len(self) - 1})
        return Pictures(self._source, [self._indices[number] for number in numbers], self._name), numbers

    @property
    def is_volume(self) -> bool:
        """Whether they are slices of one stack."""
        return self.places_mm is not None and len(self) > 1

    def read(self, number: int) -> MedImage:
        """The image that comes as this number, from 0.

        Raises:
            BadInput: it cannot be decoded, or it is the only one and shows nothing.
        """
        image = picture(self._source, self._indices[number])
        if len(self) == 1 and image.pixels.min() == image.pixels.max():
            raise BadInput(f"{image.name}: every pixel has the same value", "give an image that shows something")
        if self._name == self._source.name:
            return image
        return replace(image, name=self._name + image.name.removeprefix(self._source.name))


def open_pictures(path: Path, options: ReadOptions, choice: Choice = ALL, name: str | None = None) -> Pictures:
    """Open a scan without decoding it, and choose.

    Args:
        path: a file; or the folder or zip of a DICOM series.
        options: how to read it.
        choice: which of its images.
        name: the case id that its images are called by; None: the one of the file.

    Raises:
        BadInput: a scan that cannot be used, or a choice that it does not offer.
    """
    source = open_source(path, options, as_stored=choice.as_stored)
    return Pictures(source, choice.of(source), name or case_name(path))
