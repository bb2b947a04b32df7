"""Reads the frames of a DICOM object: header first, limits, then one at a time through the standard's chain.

    header --limits--> frame's attributes --decode--> stored samples --display--> [0, 1]
                              \\--spacing--> mm

Nothing of the patient is put into names or warnings. The header, without pixels, stays in `MedImage.origin`, because
the writer of a DICOM SEG must repeat its patient and study; it is not shown when the origin is printed.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread, uid
from pydicom.dataset import Dataset

from medclipsam.errors import BadInput
from medclipsam.io.dicom.contrast import Contrast
from medclipsam.io.dicom.decoders import check_decoder, check_inflated, decode
from medclipsam.io.dicom.display import grey_values, shown, stretched_values, value_unit
from medclipsam.io.dicom.planes import plane_lps, towards_left
from medclipsam.io.dicom.spacing import frame_spacing
from medclipsam.io.dicom.suv import suv_factor
from medclipsam.io.dicom.values import frame_attributes, numbers, text
from medclipsam.io.limits import check_decoded, check_pixels
from medclipsam.io.members import Member
from medclipsam.io.source import ReadOptions, picture_name
from medclipsam.io.window import as_rgb
from medclipsam.types import MedImage

NAMES_BURNED_IN = "the file says that text, perhaps a name, is burned into the picture: it shows in overlays"
NAMES_PERHAPS = "pictures of this kind often have text, perhaps a name, burned in: it shows in overlays"
MOSAIC = (
    "a mosaic of Siemens: many slices side by side in one picture, where place and spacing of the file hold for none; "
    "convert it first, for example with dcm2niix"
)
_OFTEN_BURNED_IN = ("US", "IVUS", "ES", "XC", "GM", "OT", "SC", "RF")
_SMALLEST_FRAME_BYTES = 8
"""The item header alone of an encapsulated frame."""


@dataclass(frozen=True, eq=False, kw_only=True)
class DicomFrame:
    """The origin of a picture that was read from DICOM."""

    header: Dataset = field(repr=False)
    """The object without its pixels. It names the patient: never print, log or copy it."""
    index: int
    """0-based frame."""
    step_mm: float | None = None
    """Distance to the neighbouring slices of the series; None where it is not known."""


class DicomSource:
    """A DICOM object with one or more frames.

    The whole file is held while frames are read; they are decoded one at a time. Where no window says what is black
    and white, all frames have one contrast.

    Args:
        file: the object.
        name: the case id.
        options: how to read it.
        contrast: of the series that the object belongs to; its own unless given.

    Raises:
        BadInput: no picture, or one that is larger than a limit or than its file.
    """

    kind = "a DICOM image"
    unit = "frame"
    corners_lps = None
    places_mm = None

    def __init__(self, file: Member, name: str, options: ReadOptions, contrast: Contrast | None = None) -> None:
        self.name = name
        self._file = file
        self._options = options
        self._header = _header(file, name)
        self._whole: Dataset | None = None
        self.count = _check_header(self._header, file, name, options.max_pixels)
        self._contrast = contrast or Contrast(self.count, self.stretched_values)

    def image(self, index: int) -> MedImage:
        """One frame, decoded and shown."""
        attributes, stored = self._contrast.of(frame_attributes(self._header, index)), self._stored(index)
        values, window_warnings = shown(stored, attributes, self._options.window, self.name, self._contrast.stretch)
        pixels, constant = as_rgb(values)
        measured, unit = self._measured(stored, attributes)
        spacing_mm, spacing_warnings = frame_spacing(attributes)
        return MedImage(
            pixels=pixels,
            name=picture_name(self, index),
            format="dicom",
            spacing_mm=spacing_mm,
            origin=self.origin(index),
            warnings=(
                *_burned_in(self._header),
                *_mosaic(self._header),
                *window_warnings,
                *spacing_warnings,
                *constant,
            ),
            values=measured,
            values_unit=unit,
            plane_lps=plane_lps(self._header, index, spacing_mm),
            towards_left=towards_left(self._header, index),
        )

    def _measured(self, stored: NDArray[Any], attributes: Dataset) -> tuple[NDArray[Any] | None, str | None]:
        """(values to measure, their unit): of a PET that tells what it takes, SUV by body weight."""
        values, factor = grey_values(stored, attributes, self.name), suv_factor(self._header)
        if values is None or factor is None:
            return values, value_unit(attributes, self._header)
        return values * np.float64(factor), "SUVbw"

    def origin(self, index: int) -> DicomFrame:
        """What the writer of a mask needs of one frame."""
        return DicomFrame(header=self._header, index=index)

    def stretched_values(self, index: int) -> NDArray[Any]:
        """The values of a grey frame that its contrast is stretched over."""
        return stretched_values(self._stored(index), frame_attributes(self._header, index), self.name)

    def _stored(self, index: int) -> NDArray[Any]:
        return decode(self._pixels(), index, self.name)

    def _pixels(self) -> Dataset:
        if self._whole is None:
            with self._file.open() as stream:
                self._whole = dcmread(stream, force=True)
            _name_syntax(self._whole)
        _check_length(self._whole, self.name)
        return self._whole


def _header(file: Member, name: str) -> Dataset:
    """Everything before the pixels."""
    check_inflated(file, name)
    with file.open() as stream:
        header = dcmread(stream, stop_before_pixels=True, force=True)
    _name_syntax(header)
    return header


def _name_syntax(dataset: Dataset) -> None:
    """Give a data set without file meta information the transfer syntax that it was found to be read in."""
    dataset.ensure_file_meta()
    if dataset.file_meta.get("TransferSyntaxUID"):
        return
    implicit, little_endian = dataset.original_encoding
    native = uid.ExplicitVRLittleEndian if little_endian else uid.ExplicitVRBigEndian
    dataset.file_meta.TransferSyntaxUID = uid.ImplicitVRLittleEndian if implicit else native


def _check_header(header: Dataset, file: Member, name: str, max_pixels: int) -> int:
    """Hold every size against its limit and against the file; returns the number of frames."""
    if "Rows" not in header or "Columns" not in header:
        raise BadInput(f"{name}: {_what(header)} holds no picture", "give an image object")
    if text(header, "Modality") == "SEG":
        raise BadInput(f"{name}: is a segmentation, not a scan", "give the image that it was drawn on")
    height, width, samples, bits = (
        _count(header, word, name) for word in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated")
    )
    frames = _count(header, "NumberOfFrames", name) if header.get("NumberOfFrames") else 1
    check_pixels(name, height, width, max_pixels)
    total = frames * height * width * samples * bits // 8
    check_decoded(name, total)
    syntax = header.file_meta.TransferSyntaxUID
    check_decoder(syntax, name)
    least = frames * _SMALLEST_FRAME_BYTES if syntax.is_encapsulated else _native_bytes(header, total)
    if least > file.size and syntax != uid.DeflatedExplicitVRLittleEndian:
        raise BadInput(f"{name}: its pixels need {least:,} bytes, the file has {file.size:,}", "it is cut off")
    return frames


def _check_length(dataset: Dataset, name: str) -> None:
    """Native pixel data have to be as long as the header says."""
    if not any(dataset.get(word) for word in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
        raise BadInput(f"{name}: {_what(dataset)} holds no pixel data", "give an image object")
    if "PixelData" in dataset and not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        words = (int(dataset[word].value) for word in ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated"))
        needed = _native_bytes(dataset, int(dataset.get("NumberOfFrames") or 1) * math.prod(words) // 8)
        if len(dataset.PixelData) < needed:
            raise BadInput(f"{name}: {len(dataset.PixelData):,} of {needed:,} bytes of pixels", "the file is cut off")


def _native_bytes(dataset: Dataset, total: int) -> int:
    """YBR_FULL_422 stores two bytes for three samples."""
    return total * 2 // 3 if text(dataset, "PhotometricInterpretation") == "YBR_FULL_422" else total


def _count(header: Dataset, keyword: str, name: str) -> int:
    found = numbers(header, keyword)
    if len(found) != 1 or found[0] < 0 or found[0] != int(found[0]):
        raise BadInput(f"{name}: its {keyword} is not a count", "the file is damaged or no image")
    return int(found[0])


def _what(header: Dataset) -> str:
    """The kind of object, from the standard's own list of names."""
    declared = str(header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or "")
    known = str(uid.UID(declared).name)
    return known if known != declared else "this object"


def _mosaic(header: Dataset) -> tuple[str, ...]:
    return (MOSAIC,) if "MOSAIC" in text(header, "ImageType") else ()


def _burned_in(header: Dataset) -> tuple[str, ...]:
    declared = text(header, "BurnedInAnnotation")
    if declared == "YES":
        return (NAMES_BURNED_IN,)
    often = text(header, "Modality") in _OFTEN_BURNED_IN or "SCREEN SAVE" in text(header, "ImageType")
    captured = str(header.get("SOPClassUID") or "").startswith(uid.SecondaryCaptureImageStorage)
    return (NAMES_PERHAPS,) if not declared and (often or captured) else ()
