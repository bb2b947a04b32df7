"""Reads scans with their masks as arrays, one image at a time, whatever file the masks are in.

a picture, a page, a frame   <-- its own mask file
a slice of a volume          <-- its own mask file, or its plane of the volume that holds the masks of all slices
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.export.labelled import Labelled, LabelledScan
from medclipsam.export.options import ExportOptions, Kind
from medclipsam.export.tally import Tally
from medclipsam.io.label_files import read_foreground, read_label_values
from medclipsam.io.source import ReadOptions
from medclipsam.io.volumes.source import VolumeSlice
from medclipsam.io.volumes.stacked import slice_number, volume_of
from medclipsam.runs.labels import IGNORE
from medclipsam.runs.pictures import Pictures, open_pictures
from medclipsam.runs.reading import spoken
from medclipsam.types import BoolArray, MedImage, Progress

FLAT = (".png", ".npy")
"""Suffixes of masks that lie on an image; others are volumes."""
ABSENT = "nothing was found"
_STEM = "scan"
"""What images are called while they are read; their numbers follow it."""


@dataclass(frozen=True, eq=False, kw_only=True)
class LabelledImage:
    """One image of a scan and its masks."""

    name: str
    """The scan's name in the export, with the number of the slice, frame or page where there are several."""
    number: str
    """What follows the scan's name: nothing, or such as `-s0003`."""
    image: MedImage
    masks: Mapping[str, BoolArray]
    """(height, width) of each prompt; empty where nothing was found."""
    ignored: BoolArray
    """(height, width): pixels of which the run was not sure; none where it wrote no training labels."""


class OpenScan:
    """A scan with its masks, open for reading.

    Args:
        scan: what to read.
        reading: how it was read when it was labelled.

    Raises:
        BadInput: it cannot be read.
    """

    def __init__(self, scan: LabelledScan, reading: ReadOptions) -> None:
        self.scan = scan
        self.pictures: Pictures = open_pictures(scan.path, reading, name=_STEM)
        self._volumes: dict[Path, NDArray[Any]] = {}

    @cached_property
    def first(self) -> MedImage:
        """Its first image."""
        return self.pictures.read(0)

    @cached_property
    def kind(self) -> Kind:
        """Whether it is a volume file or a series of slices, or pictures."""
        if not isinstance(self.first.origin, VolumeSlice) and not self.pictures.is_volume:
            return "pictures"
        placed = isinstance(self.first.origin, VolumeSlice) or self.first.plane_lps is not None
        return "volumes" if placed else "pictures"

    def images(self, *, whole: bool = False) -> Iterator[LabelledImage]:
        """Its images in order, without those that lack the mask of a prompt.

        Args:
            whole: give those too, without that mask, so that no slice of a volume is missing.

        Raises:
            BadInput: an image or mask that cannot be read, or that do not fit each other.
        """
        for index in range(len(self.pictures)):
            if whole or index not in self.scan.withheld:
                yield self._labelled(self.pictures.read(index) if index else self.first)

    def _labelled(self, image: MedImage) -> LabelledImage:
        number = image.name.removeprefix(_STEM)
        chosen = self.scan.chosen.items()
        masks = {prompt: self._united(each.masks, image, number) for prompt, each in chosen}
        ignored = np.zeros(image.size, bool)
        for _, each in chosen:
            if each.labels:
                ignored |= self._ignored(each.labels, image, number)
        return LabelledImage(name=self.scan.name + number, number=number, image=image, masks=masks, ignored=ignored)

    def _united(self, files: Mapping[str, Sequence[Path]], image: MedImage, number: str) -> BoolArray:
        """One mask of all files of a prompt."""
        mask = np.zeros(image.size, bool)
        for path in files.get(number) or files.get("", ()):
            mask |= self._plane(path, image, read_foreground)
        return mask

    def _ignored(self, labels: Mapping[str, Path], image: MedImage, number: str) -> BoolArray:
        """Where the labels say so; an image without labels was not believed."""
        path = labels.get(number) or labels.get("")
        if path is None:
            return np.ones(image.size, bool)
        return np.asarray(self._plane(path, image, lambda path: read_label_values(path).values) == IGNORE)

    def _plane(self, path: Path, image: MedImage, read: Callable[[Path], NDArray[Any]]) -> NDArray[Any]:
        """(height, width) values of a file of masks or labels on an image."""
        if path.suffix in FLAT:
            return _checked(read(path), path, image.size)
        volume = volume_of(image, self.pictures.corners_lps)
        if path not in self._volumes:
            self._volumes[path] = _checked(read(path).T, path, volume.grid.shape)
        plane = np.take(self._volumes[path], slice_number(volume, image), axis=volume.axis)
        return volume.view.show(plane)


def labelled_images(
    labelled: Labelled, options: ExportOptions, tally: Tally, tell: Progress
) -> Iterator[tuple[LabelledScan, LabelledImage]]:
    """All images of all scans that are wanted; a scan that cannot be read is left out and counted.

    Args:
        labelled: what there is.
        options: which of it is wanted.
        tally: hears of what is left out.
        tell: hears of the progress.
    """
    for scan in open_scans(labelled, tally, tell):
        try:
            for each in scan.images():
                if options.skip_absent and not any(mask.any() for mask in each.masks.values()):
                    tally.leave_out("image", ABSENT)
                else:
                    yield scan.scan, each
        except BadInput as error:
            tally.leave_out("scan", spoken(error, scan.scan.path))
        for _ in scan.scan.withheld:
            tally.leave_out("image", "doubtful")


def open_scans(labelled: Labelled, tally: Tally, tell: Progress) -> Iterator[OpenScan]:
    """All scans, opened; one that cannot be opened is left out and counted."""
    for done, scan in enumerate(labelled.scans):
        tell("exporting", done, len(labelled.scans))
        try:
            opened = OpenScan(scan, labelled.reading)
            _ = opened.first
        except BadInput as error:
            tally.leave_out("scan", spoken(error, scan.path))
            continue
        yield opened


def of_kind(labelled: Labelled, kind: Kind, tally: Tally) -> Labelled:
    """The scans of one kind alone; others are counted, and prompts that were asked of them alone go too."""
    scans = []
    for opened in open_scans(labelled, tally, lambda *_: None):
        if opened.kind == kind:
            scans.append(opened.scan)
        else:
            tally.leave_out("scan", f"of the kind {opened.kind}")
    asked = [prompt for prompt in labelled.prompts if any(prompt in scan.chosen for scan in scans)]
    return replace(labelled, scans=scans, prompts=asked)


def for_each_scan(labelled: Labelled, tally: Tally, tell: Progress, write: Callable[[OpenScan], None]) -> None:
    """Write each scan; one that cannot be read, or that the layout cannot hold, is left out and counted."""
    for scan in open_scans(labelled, tally, tell):
        try:
            write(scan)
        except BadInput as error:
            tally.leave_out("scan", spoken(error, scan.scan.path))


def _checked(values: NDArray[Any], path: Path, shape: tuple[int, ...]) -> NDArray[Any]:
    """Values in the shape of what they lie on; a volume of one slice may be stored flat."""
    if values.size != prod(shape) or (values.ndim == len(shape) and values.shape != shape):
        raise BadInput(f"{path.name} is of shape {values.shape}, its scan of {shape}", "give its own scans")
    return values.reshape(shape, order="F") if values.ndim != len(shape) else values
