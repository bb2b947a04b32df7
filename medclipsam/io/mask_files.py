"""Writes the mask files of a scan, each when its format allows: with each picture, or once at the end.

png, npy    CASE_PROMPT_mask.png       one for each picture and prompt, at once
nifti       CASE_PROMPT_mask.nii.gz    one for each prompt, at the end: all slices on the voxels of the source;
                                       nrrd, mha (MetaImage) and mgz (FreeSurfer) likewise
seg.nrrd    CASE.seg.nrrd              one for all, at the end: a segmentation of 3D Slicer, each prompt a segment
seg         CASE_seg.dcm               one for all, at the end: each prompt a segment (or CASE_PROMPT_seg.dcm each)
rtstruct    CASE_rtstruct.dcm          one for all, at the end: the contours of each prompt
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from medclipsam.io.atomic import suffixed
from medclipsam.io.mask_formats import ScanFormat
from medclipsam.io.masks import MaskFormat, write_mask
from medclipsam.io.naming import prompt_slug
from medclipsam.io.volumes.masks import (
    SLICER_SUFFIX,
    VolumeFormat,
    write_volume_mask,
)
from medclipsam.io.volumes.masks import SUFFIXES as VOLUME_SUFFIXES
from medclipsam.io.volumes.stacked import Corners, StackedMasks
from medclipsam.sides import DecidedSides
from medclipsam.types import BoolArray, FloatArray, MedImage, Segmentation

if TYPE_CHECKING:
    from medclipsam.io.dicom.seg import SegKind
    from medclipsam.io.dicom.sources import Gathered


class Names(Protocol):
    """Where the files of a run go."""

    def of(self, image: MedImage | None, prompt: str | None, word: str) -> Path:
        """The path of a file, without its suffix.

        Args:
            image: the one that it belongs to; None: to the whole scan.
            prompt: the one that it belongs to; None: to all.
            word: what it is: `mask`, `seg`, `rtstruct`, or nothing where the suffix says it.
        """


class FlatNames:
    """Names of the files of one scan, side by side in one folder: CASE_PROMPT_mask, CASE_seg.

    Args:
        folder: where they go.
        case: the case id of the scan.
    """

    def __init__(self, folder: Path, case: str) -> None:
        self._folder, self._case = folder, case

    def of(self, image: MedImage | None, prompt: str | None, word: str) -> Path:
        """See `Names`."""
        parts = (image.name if image else self._case, prompt_slug(prompt) if prompt else "", word)
        return self._folder / "_".join(filter(None, parts))


@dataclass(frozen=True, kw_only=True)
class SegOptions:
    """How the masks of a scan become DICOM SEG."""

    kind: SegKind = "binary"
    """See `medclipsam.io.dicom.seg.write_seg`."""
    per_prompt: bool = False
    """Write a file for each prompt, for tools that know a single segment (SimpleITK, dcm2niix)."""
    all_slices: bool = False
    """Keep the slices on which nothing was found too."""

    @property
    def unused(self) -> tuple[str, ...]:
        """What to tell a person who asked for a kind of DICOM SEG where none is written."""
        given = {
            f"--seg-type {self.kind}": self.kind != "binary",
            "--seg-per-prompt": self.per_prompt,
            "--seg-all-slices": self.all_slices,
        }
        asked = [option for option, is_given in given.items() if is_given]
        return (f"no DICOM SEG is written, so {' and '.join(asked)} changed nothing",) if asked else ()


@dataclass(frozen=True, kw_only=True)
class WrittenSeg:
    """A DICOM SEG, and what it holds."""

    path: Path
    prompts: tuple[str, ...]
    """In the order of its segments."""
    sides: DecidedSides
    """Which of them were cut to a side of the patient."""
    origins: Mapping[str, Any]
    """Those of its images by their names, in their order."""


class MaskFiles:
    """The masks of one run, one way for each format.

    Args:
        names: where they go.
        formats: as `medclipsam.io.mask_formats.formats_for` gives them.
        whole: whether all pictures of the scan come; else the one that comes stands for itself.
        seg: how a DICOM SEG is written.
        corners: of all slices of a DICOM series, see `medclipsam.io.source.Source`.
        preset: what makes the masks, told in a SEG or RTSTRUCT.
    """

    def __init__(
        self,
        names: Names,
        formats: Sequence[ScanFormat],
        *,
        whole: bool,
        seg: SegOptions | None = None,
        corners: Corners | None = None,
        preset: str = "",
    ) -> None:
        self._ways: dict[ScanFormat, _Way] = {}
        for format in formats:
            if format == "seg":
                self._ways[format] = _Seg(names, whole, seg or SegOptions(), preset)
            elif format == "rtstruct":
                self._ways[format] = _Structures(names, whole, preset)
            elif format == "seg.nrrd":
                self._ways[format] = _Slicer(names, whole, corners)
            elif format in VOLUME_SUFFIXES and whole:
                self._ways[format] = _Volume(names, cast(VolumeFormat, format), corners)
            else:
                self._ways[format] = _Alone(names, cast(MaskFormat, format))

    def add(self, image: MedImage, result: Segmentation) -> dict[str, Path]:
        """Take one result; its files, which may be written later: `mask` and, of further formats, `mask_FORMAT`.

        Raises:
            BadInput: a mask that cannot be in one file with the others.
            CannotWrite: see `medclipsam.io.atomic`.
        """
        paths = {format: way.add(image, result) for format, way in self._ways.items()}
        first = next(iter(paths))
        return {"mask" if format == first else f"mask_{format}": path for format, path in paths.items()}

    def finish(self) -> None:
        """Write what waited for all results.

        Raises:
            BadInput, CannotWrite: as `add` says.
        """
        for way in self._ways.values():
            way.finish()

    @property
    def segs(self) -> Iterator[WrittenSeg]:
        """Every DICOM SEG; they are there once all is finished."""
        for way in self._ways.values():
            if isinstance(way, _Seg):
                yield from way.written()


class _Way(Protocol):
    def add(self, image: MedImage, result: Segmentation) -> Path: ...

    def finish(self) -> None: ...


class _Alone:
    """A file for each picture and prompt."""

    def __init__(self, names: Names, format: MaskFormat) -> None:
        self._names, self._format = names, format

    def add(self, image: MedImage, result: Segmentation) -> Path:
        return write_mask(image, result.mask, self._names.of(image, result.prompt, "mask"), format=self._format)

    def finish(self) -> None:
        """Nothing waits."""


class _Volume:
    """A file for each prompt, with the masks of all slices."""

    def __init__(self, names: Names, format: VolumeFormat, corners: Corners | None) -> None:
        self._names, self._format = names, format
        self._masks, self._paths = StackedMasks(corners), dict[str, Path]()

    def add(self, image: MedImage, result: Segmentation) -> Path:
        path = self._paths.setdefault(result.prompt, self._names.of(None, result.prompt, "mask"))
        self._masks.add(image, result.prompt, result.mask)
        return suffixed(path, VOLUME_SUFFIXES[self._format])

    def finish(self) -> None:
        for prompt, masks in self._masks.prompts.items():
            write_volume_mask(self._masks.volume, masks, self._paths[prompt], format=self._format)


class _Slicer:
    """A file for all prompts, with the masks of all slices; of a part of them, for each slice."""

    def __init__(self, names: Names, whole: bool, corners: Corners | None) -> None:
        self._names, self._whole, self._corners = names, whole, corners
        self._files: dict[Path, StackedMasks] = {}
        self._sides: dict[Path, DecidedSides] = {}

    def add(self, image: MedImage, result: Segmentation) -> Path:
        path = self._names.of(None if self._whole else image, None, "")
        self._files.setdefault(path, StackedMasks(self._corners)).add(image, result.prompt, result.mask)
        self._sides.setdefault(path, DecidedSides()).add(result.prompt, result.side)
        return suffixed(path, SLICER_SUFFIX)

    def finish(self) -> None:
        from medclipsam.io.volumes.seg_nrrd import write_seg_nrrd  # noqa: PLC0415

        for path, stacked in self._files.items():
            write_seg_nrrd(stacked.volume, stacked.prompts, path, self._sides[path])


class _Objects(ABC):
    """A DICOM file for all prompts and pictures; of a part of the pictures, or of flat images, for each picture."""

    word: str
    """What its name ends with."""

    def __init__(self, names: Names, whole: bool) -> None:
        self._names, self._whole = names, whole
        self._objects: dict[Path, Gathered] = {}
        self._prompts: dict[Path, dict[str, None]] = {}
        self._sides: dict[Path, DecidedSides] = {}
        self._origins: dict[Path, dict[str, Any]] = {}

    def add(self, image: MedImage, result: Segmentation) -> Path:
        from medclipsam.io.dicom.maker import SUFFIX  # noqa: PLC0415
        from medclipsam.io.dicom.places import is_flat  # noqa: PLC0415

        alone = not self._whole or is_flat(image.origin)
        path = self._names.of(image if alone else None, self._part(result.prompt), self.word)
        if path not in self._objects:
            self._sides[path] = DecidedSides()
            self._objects[path] = self._empty(self._sides[path])
        self._objects[path].add(image, result.prompt, self._values(result))
        self._sides[path].add(result.prompt, result.side)
        self._prompts.setdefault(path, {})[result.prompt] = None
        self._origins.setdefault(path, {})[image.name] = image.origin
        return suffixed(path, SUFFIX)

    def finish(self) -> None:
        for path, masks in self._objects.items():
            masks.write(path)

    def written(self) -> Iterator[WrittenSeg]:
        """What each file holds."""
        from medclipsam.io.dicom.maker import SUFFIX  # noqa: PLC0415

        for path, origins in self._origins.items():
            yield WrittenSeg(
                path=suffixed(path, SUFFIX),
                prompts=tuple(self._prompts[path]),
                sides=self._sides[path],
                origins=origins,
            )

    def _part(self, prompt: str) -> str | None:
        """The prompt, where it has a file of its own."""
        return None

    @abstractmethod
    def _empty(self, sides: DecidedSides) -> Gathered:
        """What gathers the masks of one file; the sides of its prompts are known when it is written."""

    def _values(self, result: Segmentation) -> NDArray[Any]:
        return result.mask


class _Seg(_Objects):
    word = "seg"

    def __init__(self, names: Names, whole: bool, options: SegOptions, preset: str) -> None:
        super().__init__(names, whole)
        self._options, self._preset = options, preset

    def _part(self, prompt: str) -> str | None:
        return prompt if self._options.per_prompt else None

    def _empty(self, sides: DecidedSides) -> Gathered:
        from medclipsam.io.dicom.seg import SegMasks  # noqa: PLC0415

        options = self._options
        return SegMasks(kind=options.kind, preset=self._preset, all_slices=options.all_slices, sides=sides)

    def _values(self, result: Segmentation) -> NDArray[Any]:
        return seg_values(result, self._options.kind)


class _Structures(_Objects):
    word = "rtstruct"

    def __init__(self, names: Names, whole: bool, preset: str) -> None:
        super().__init__(names, whole)
        self._preset = preset

    def _empty(self, sides: DecidedSides) -> Gathered:
        from medclipsam.io.dicom.rtstruct import Structures  # noqa: PLC0415

        return Structures(preset=self._preset)


def seg_values(result: Segmentation, kind: SegKind) -> BoolArray | FloatArray:
    """What a SEG keeps of a result: its mask; a fractional one its probability, which is 0 where nothing was found."""
    if kind != "fractional":
        return result.mask
    return result.probability if result.found else np.zeros_like(result.probability)
