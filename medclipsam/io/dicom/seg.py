"""Writes masks as a DICOM SEG that a viewer lays over the scan, with highdicom.

    images of one DICOM series, or frames of one object     ->   referenced as sources, geometry repeated
    prompt 1: masks        ->   segment 1                        (`medclipsam.io.dicom.seg_sources`)
    prompt 2: masks        ->   segment 2 (may overlap 1)        frames: `medclipsam.io.dicom.seg_layout`

The preamble is zero, identifiers are made from the content (the same masks give the same ones), and the description
says that the result is for research. The file names the patient, because the standard says so.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Literal

import numpy as np
from highdicom.seg import Segmentation
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medclipsam.errors import BadInput
from medclipsam.io.atomic import atomic_path
from medclipsam.io.dicom.maker import ALGORITHM, SERIES_NUMBER, SUFFIX, content_uids, release
from medclipsam.io.dicom.places import is_film, missing_of_place
from medclipsam.io.dicom.seg_codes import short_text
from medclipsam.io.dicom.seg_layout import kept, number_each_frame, spread_over_film
from medclipsam.io.dicom.seg_planes import Frame, Planes
from medclipsam.io.dicom.seg_segments import describe_segment
from medclipsam.io.dicom.seg_sources import seg_sources
from medclipsam.io.dicom.sources import SourceFrames, repeating, written
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.sides import DecidedSides
from medclipsam.types import BoolArray, FloatArray, MedImage, Side

SegKind = Literal["binary", "labelmap", "fractional"]
Values = BoolArray | FloatArray


def write_seg(
    images: Sequence[MedImage],
    masks: Mapping[str, Sequence[Values]],
    path: Path,
    *,
    preset: str = "",
    kind: SegKind = "binary",
    all_slices: bool = False,
    sides: Mapping[str, Side] | None = None,
) -> Path:
    """Write the masks of several prompts on the images of one DICOM series as one segmentation object.

    Args:
        images: single-frame images of one series, or frames of one object, as `read_image` gave them.
        masks: prompt -> one (height, width) mask for each image, in the order of `images`; masks may be empty.
        path: the file without its suffix; `.dcm` is added.
        preset: what made the masks; it goes into the algorithm identification.
        kind: `binary`: one bit plane for each prompt, overlaps kept; `labelmap`: one plane of numbers;
            `fractional`: probabilities in [0, 1] in place of masks, kept in 255 steps.
        all_slices: keep the slices on which nothing was found too, see `medclipsam.io.dicom.seg_layout`.
        sides: prompt -> the patient's side that its masks were cut to; its segment then bears the code of that side.

    Returns:
        The path with its suffix.

    Raises:
        BadInput: sources that are not DICOM, not of one series or lack what must be repeated, masks that do not fit,
            or overlapping masks for a label map.
        CannotWrite: see `medclipsam.io.atomic`.
    """
    decided = DecidedSides()
    for prompt, side in (sides or {}).items():
        decided.add(prompt, side)
    gathered = SegMasks(kind=kind, preset=preset, all_slices=all_slices, sides=decided)
    return written(gathered, images, masks, path)


def check_seg(image: MedImage, kind: SegKind = "binary") -> None:
    """Say early whether masks of an image can be written as DICOM SEG, by writing one to memory.

    Raises:
        BadInput: they cannot.
    """
    point = np.zeros(image.size, np.float32 if kind == "fractional" else bool)
    point[0, 0] = 1
    gathered = SegMasks(kind=kind)
    gathered.add(image, "check", point)
    gathered.save(BytesIO())


class SegMasks:
    """The masks of one object, gathered picture by picture, in memory that does not grow with their number.

    Args:
        kind: see `write_seg`.
        preset: what makes the masks.
        all_slices: see `write_seg`.
        sides: of the prompts, known when all pictures are there.
    """

    def __init__(
        self,
        *,
        kind: SegKind = "binary",
        preset: str = "",
        all_slices: bool = False,
        sides: DecidedSides | None = None,
    ) -> None:
        self._kind = kind
        self._preset = preset
        self._all_slices = all_slices
        self._sides = sides or DecidedSides()
        self._sources = SourceFrames()
        self._planes = Planes(fractional=kind == "fractional")
        self._taken: BoolArray = np.zeros((0, 0), bool)
        self._overlapping: set[int] = set()
        """Numbers of the pictures on which two masks meet."""

    def add(self, image: MedImage, prompt: str, values: Values) -> None:
        """Take what one prompt gave on one picture; all prompts of a picture come before the next picture.

        Raises:
            BadInput: a picture that goes not with the others, values that do not fit it, or an overlap in a label map.
        """
        if self._sources.take(image, values.shape):
            self._taken = np.zeros(image.size, bool)
        if self._kind == "fractional":
            self._planes.put(prompt, values)
            return
        mask = values.astype(bool)
        if (mask & self._taken).any():
            self._overlapping.add(len(self._sources.all) - 1)
        if self._overlapping and self._kind == "labelmap":
            raise BadInput("masks overlap, which a label map cannot hold", "choose binary")
        self._taken |= mask
        self._planes.put(prompt, mask)

    def write(self, path: Path) -> Path:
        """Write all as one object; the path with its suffix `.dcm`.

        Raises:
            BadInput: there is nothing to write, or the sources lack what must be repeated.
            CannotWrite: see `medclipsam.io.atomic`.
        """
        target = path.with_name(f"{path.name}{SUFFIX}")
        with atomic_path(target) as temporary, temporary.open("wb") as file:
            self.save(file)
        return target

    def save(self, file: IO[bytes]) -> None:
        """Write all into an open file.

        Raises:
            BadInput: as `write` says.
        """
        if not self._sources.all:
            raise BadInput("a DICOM SEG needs at least one image and one prompt")
        if any(self._planes.count(prompt) != len(self._sources.all) for prompt in self._planes.prompts):
            raise ValueError("not every prompt was asked of every picture")
        with repeating(self._sources.name, missing_of_place(self._sources.all[0])), TemporaryFile() as pixels:
            segmentation = self._described(seg_sources(self._sources.all, self._sources.name))
            self._write_pixels(segmentation, pixels)
            pixels.seek(0)
            segmentation.Rows, segmentation.Columns = self._sources.size
            segmentation["PixelData"].value = pixels
            segmentation.save_as(file)

    def _described(self, sources: list[Dataset]) -> Segmentation:
        """The object with the pixels of a stand-in."""
        segmentation = self._segmentation(sources)
        segmentation.SpecificCharacterSet = "ISO_IR 192"
        segmentation.ContentCreatorName = ""
        if segmentation.get("FrameOfReferenceUID") is None:
            segmentation.PatientOrientation = sources[0].get("PatientOrientation") or ""
        if self._is_film:
            spread_over_film(segmentation, self._sources.all, self._film_masks())
        number_each_frame(segmentation)
        return segmentation

    @property
    def _is_film(self) -> bool:
        return is_film(self._sources.all[0])

    def _kept(self) -> BoolArray:
        prompts, pictures = self._planes.prompts, range(len(self._sources.all))
        filled = np.array([[self._planes.filled(prompt, picture) for picture in pictures] for prompt in prompts])
        together = len(prompts) == 1 or self._kind == "labelmap"
        return kept(filled, self._sources.all, together=together, everything=self._all_slices)

    def _film_masks(self) -> list[tuple[int, int]]:
        """(number of the segment, number of the picture) of each frame of a film's SEG; all where all are empty."""
        chosen = self._kept()
        chosen = chosen if chosen.any() else ~chosen
        segments = chosen.any(axis=0, keepdims=True) if self._kind == "labelmap" else chosen
        return [(int(segment) + 1, int(picture)) for segment, picture in np.argwhere(segments)]

    def _write_pixels(self, segmentation: Segmentation, file: IO[bytes]) -> None:
        """The frames that highdicom laid out, each as large as its picture."""
        frames = self._laid_out(segmentation)
        if self._kind == "labelmap":
            dtype = np.uint16 if segmentation.BitsAllocated == 16 else np.uint8
            self._planes.write_numbers((plane for _, plane in frames), file, dtype)
        else:
            self._planes.write(frames, file)

    def _laid_out(self, segmentation: Segmentation) -> Iterator[Frame]:
        """The prompt of each frame (of a label map any), and the number of the picture that it lies on; None where it
        lies on a frame of an enhanced object that was not asked, which happens where all is empty."""
        prompts, shared = self._planes.prompts, segmentation.SharedFunctionalGroupsSequence[0]
        pictures = enumerate(self._sources.all)
        numbers = {_told(frame.header.SOPInstanceUID, frame.index + 1): number for number, frame in pictures}
        for group in segmentation.PerFrameFunctionalGroupsSequence:
            segment: int = 1
            picture: int | None = 0
            if self._kind != "labelmap":
                segment = _macro("SegmentIdentificationSequence", group, shared).ReferencedSegmentNumber
            if len(numbers) > 1:
                source = _macro("DerivationImageSequence", group, shared).SourceImageSequence[0]
                picture = numbers.get(_told(source.ReferencedSOPInstanceUID, source.get("ReferencedFrameNumber") or 1))
            yield prompts[segment - 1], picture

    def _stand_in(self, places: Sequence[int], count: int) -> NDArray[Any]:
        """Small planes that are empty, and overlap, where the true ones do: (planes, side, side), of a label map with
        numbers of segments, else (..., segments)."""
        prompts = self._planes.prompts
        side = math.isqrt(len(prompts)) + 1
        planes = np.zeros((count, side * side, len(prompts)), np.float32 if self._kind == "fractional" else bool)
        for number, plane in np.argwhere(self._kept()):
            planes[places[plane], number, number] = 1
        for plane in self._overlapping:
            planes[places[plane], -1] += np.array([self._planes.filled(prompt, plane) for prompt in prompts])
        stacked = planes.reshape(count, side, side, len(prompts))
        if self._kind != "labelmap":
            return stacked
        numbers = np.arange(1, len(prompts) + 1, dtype=np.uint16 if len(prompts) > 255 else np.uint8)
        return (stacked * numbers).max(axis=-1)

    def _segmentation(self, sources: list[Dataset]) -> Segmentation:
        """By highdicom, which needs all pixels at once."""
        prompts = self._planes.prompts
        series, instance = self._identifiers(sources)
        small = self._stand_in(*self._planes_of_source(sources[0]))
        for source in sources:
            source.Rows, source.Columns = small.shape[1:3]
        return Segmentation(
            source_images=sources,
            pixel_array=small,
            segmentation_type=self._kind.upper(),
            segment_descriptions=[
                describe_segment(number, prompt, self._sides.of(prompt), self._preset, sources[0].SeriesInstanceUID)
                for number, prompt in enumerate(prompts, start=1)
            ],
            series_instance_uid=series,
            series_number=SERIES_NUMBER,
            sop_instance_uid=instance,
            instance_number=1,
            manufacturer=ALGORITHM,
            manufacturer_model_name=ALGORITHM,
            software_versions=release(),
            device_serial_number="none",
            content_description=RESEARCH_USE_ONLY,
            content_label="SEGMENTATION",
            series_description=f"{ALGORITHM}: {short_text(prompts[0])}"[:64],
            omit_empty_frames=bool(small.any()),
        )

    def _planes_of_source(self, source: Dataset) -> tuple[Sequence[int], int]:
        """(the plane of each picture, how many planes there are) as highdicom counts: it knows the frames of an
        enhanced object by their order, and of a film a single one."""
        frames = self._sources.all
        if self._is_film:
            return [0] * len(frames), 1
        if source.get("PerFrameFunctionalGroupsSequence"):
            return [frame.index for frame in frames], int(source.get("NumberOfFrames") or 1)
        return range(len(frames)), len(frames)

    def _identifiers(self, sources: list[Dataset]) -> tuple[str, str]:
        """(series, instance) UIDs that depend on what is written and on nothing else."""
        facts = [
            *(str(source.SOPInstanceUID) for source in sources),
            *(str(frame.index) for frame in self._sources.all),
            *self._planes.prompts,
            *map(self._planes.digest, self._planes.prompts),
            *(self._preset, self._kind),
            *["all slices"] * self._all_slices,
            *(f"{prompt}: {side}" for prompt in self._planes.prompts if (side := self._sides.of(prompt))),
        ]
        return content_uids(facts)


def _told(instance: str, frame: int) -> str:
    """A picture by its object and the number of its frame, from 1 on."""
    return f"{instance} {frame}"


def _macro(keyword: str, group: Dataset, shared: Dataset) -> Dataset:
    """What holds for a frame: its own, or what all frames share."""
    found: Dataset = (group.get(keyword) or shared[keyword].value)[0]
    return found
