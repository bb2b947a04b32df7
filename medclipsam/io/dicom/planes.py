"""Reads where each picture of a DICOM file lies, and what it belongs with, from headers alone.

    IM0001 (one frame)          ->   Plane(series, position, orientation, size, marks)
    ENH01  (enhanced, n frames) ->   n planes, from its functional groups (PS3.3 C.7.6.16.2.3 and .4)
    DICOMDIR, report, notes.txt ->   none: no picture

A `Plane` holds a few numbers, so that a series of thousands costs little; the rest of a header is read again when its
picture is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np
from numpy.typing import NDArray
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.uid import UID

from medclipsam.errors import BadInput
from medclipsam.io.dicom.decoders import check_inflated
from medclipsam.io.dicom.values import frame_attributes, numbers, text
from medclipsam.io.members import Member
from medclipsam.io.naming import array_name
from medclipsam.io.sniff import HEAD_BYTES, by_content

MAX_FRAMES = 20_000
"""Largest number of frames of one object."""
_MARKS = (
    *("ImageType", "FrameType", "AcquisitionNumber", "EchoTime", "EchoNumbers", "EffectiveEchoTime"),
    *("TemporalPositionIdentifier", "TemporalPositionIndex", "TriggerTime", "NominalCardiacTriggerDelayTime"),
    *("DiffusionBValue", "StackID", "ContrastBolusAgent", "InversionTime", "FlipAngle", "RepetitionTime"),
)
"""What tells pictures at one place apart: phases, echoes, diffusion weights, magnitude and phase."""
_SHOWN = ("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence")
_PLACED = ("ImagePositionPatient", "ImageOrientationPatient")
_MACROS = (
    *("PlanePositionSequence", "PlaneOrientationSequence", "FrameContentSequence", "MREchoSequence"),
    *("MRDiffusionSequence", "CardiacSynchronizationSequence", "MRImageFrameTypeSequence", "CTImageFrameTypeSequence"),
    "FrameVOILUTSequence",
)
_OF_THE_OBJECT = (
    *("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "FrameOfReferenceUID", "InstanceNumber", "Modality"),
    *("Rows", "Columns", "NumberOfFrames", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
_ORTHONORMAL_TOLERANCE = 0.01
_TO_LEFT = {"L": 1.0, "R": -1.0}

Vector = tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Plane:
    """One frame of one object."""

    member: Member = field(repr=False)
    frame: int
    """0-based, in its object."""
    several: bool
    """Whether its object has more frames."""
    series: str
    """Series Instance UID; an object that has none is a series of its own."""
    instance: str
    """SOP Instance UID; may be empty."""
    reference: str
    """Frame of Reference UID; may be empty."""
    modality: str
    size: tuple[int, int]
    """(height, width)."""
    number: int | None
    """Instance Number."""
    localizer: bool
    position: Vector | None
    """Centre of the first pixel in the patient, (x, y, z) in mm towards left, back and head."""
    orientation: Vector | None
    """Direction cosines of a row and of a column, 6 numbers."""
    window: tuple[float, float] | None = None
    """(centre, width) of its first window, where that is what shows it; else None."""
    marks: tuple[str, ...] = ()
    """The values of `_MARKS`."""

    @property
    def placed(self) -> bool:
        """Whether it says where it lies."""
        return self.position is not None and self.orientation is not None


def planes_of(member: Member) -> list[Plane]:
    """The pictures of one file; none where it is not DICOM or holds no picture.

    Raises:
        BadInput: a DICOM file that is damaged.
    """
    with member.open() as stream:
        if by_content(stream.read(HEAD_BYTES)) != "dicom":
            return []
    label = array_name(PurePosixPath(member.place).stem)
    try:
        check_inflated(member, label)
        with member.open() as stream:
            wanted = [*_OF_THE_OBJECT, *_MARKS, *_PLACED, *_SHOWN]
            return list(_planes(dcmread(stream, stop_before_pixels=True, specific_tags=wanted, force=True), member))
    except (BadInput, MemoryError):
        raise
    except Exception as error:
        raise BadInput(
            f"{label}: is a damaged DICOM file ({type(error).__name__})", "take it out, or fetch it again"
        ) from error


def _planes(header: Dataset, member: Member) -> Iterator[Plane]:
    sides = *numbers(header, "Rows"), *numbers(header, "Columns")
    if text(header, "Modality") == "SEG":
        return
    if len(sides) != 2:
        _check_no_image(header)
        return
    frames = int(header.get("NumberOfFrames") or 1)
    if frames > MAX_FRAMES:
        raise BadInput(f"an object claims {frames:,} frames, more than {MAX_FRAMES:,}", "split it")
    instance = str(header.get("SOPInstanceUID") or "")
    in_space = frames == 1 or _in_groups(header)
    for frame in range(frames):
        attributes = frame_attributes(header, frame, keywords=(*_MARKS, *_PLACED, *_SHOWN), macros=_MACROS)
        yield Plane(
            member=member,
            frame=frame,
            several=frames > 1,
            series=str(header.get("SeriesInstanceUID") or instance or member.place),
            instance=instance,
            reference=str(header.get("FrameOfReferenceUID") or ""),
            modality=text(header, "Modality")[:4],
            size=(int(sides[0]), int(sides[1])),
            number=_whole(header, "InstanceNumber"),
            localizer="LOCALIZER" in _words(attributes, "ImageType"),
            position=vector(attributes, "ImagePositionPatient", 3) if in_space else None,
            orientation=cosines(attributes),
            window=_window(attributes),
            marks=tuple(" ".join(_words(attributes, keyword)) for keyword in _MARKS),
        )


def _check_no_image(header: Dataset) -> None:
    """An object without rows and columns is a report, a plan, an index; one that calls itself an image is cut off."""
    declared = header.get("SOPClassUID") or header.file_meta.get("MediaStorageSOPClassUID") or ""
    if "Image Storage" in UID(str(declared)).name:
        raise EOFError


def vector(attributes: Dataset, keyword: str, length: int) -> Vector | None:
    """The numbers of an attribute; None where they are not so many."""
    found = numbers(attributes, keyword)
    return found if len(found) == length else None


def cosines(attributes: Dataset) -> Vector | None:
    """Directions of a row and of a column: two unit vectors at a right angle; None where they are not nearly that."""
    found = vector(attributes, "ImageOrientationPatient", 6)
    if found is None:
        return None
    row, column = np.array(found[:3]), np.array(found[3:])
    products = np.array([row @ row - 1, column @ column - 1, row @ column])
    return found if (np.abs(products) < _ORTHONORMAL_TOLERANCE).all() else None


def plane_lps(header: Dataset, frame: int, spacing_mm: tuple[float, float] | None) -> NDArray[np.float64] | None:
    """(3, 3) that takes (row, column, 1) of a frame to mm in the patient (PS3.3 C.7.6.2.1.1); None if unknown."""
    if spacing_mm is None or not (int(header.get("NumberOfFrames") or 1) == 1 or _in_groups(header)):
        return None
    attributes = frame_attributes(header, frame, keywords=_PLACED, macros=_MACROS)
    position, directions = vector(attributes, "ImagePositionPatient", 3), cosines(attributes)
    if position is None or directions is None:
        return None
    along_row, along_column = np.array(directions[:3]), np.array(directions[3:])
    return np.column_stack([along_column * spacing_mm[0], along_row * spacing_mm[1], position])


def towards_left(header: Dataset, frame: int) -> tuple[float, float] | None:
    """How far a row down and a column on lead to the patient's left: cosines of the frame, else Patient Orientation
    (PS3.3 C.7.6.1.1.1), whose first letter is the main direction; None where neither says."""
    directions = cosines(frame_attributes(header, frame, keywords=_PLACED, macros=_MACROS))
    if directions is not None:
        return directions[3], directions[0]
    letters = _words(header, "PatientOrientation")
    if len(letters) != 2 or not all(letters):
        return None
    along_row, along_column = (_TO_LEFT.get(word[0], 0.0) for word in letters)
    return along_column, along_row


def _in_groups(header: Dataset) -> bool:
    """Whether each frame of an object has functional groups, which say where it lies."""
    return "PerFrameFunctionalGroupsSequence" in header


def _window(attributes: Dataset) -> tuple[float, float] | None:
    """Another function than the linear one, and a look-up table, are shown as each file says."""
    centres, widths = numbers(attributes, "WindowCenter"), numbers(attributes, "WindowWidth")
    linear = text(attributes, "VOILUTFunction") in ("", "LINEAR") and not attributes.get("VOILUTSequence")
    return (centres[0], widths[0]) if linear and centres and widths and widths[0] > 0 else None


def _whole(header: Dataset, keyword: str) -> int | None:
    found = numbers(header, keyword)
    return int(found[0]) if found else None


def _words(attributes: Dataset, keyword: str) -> Sequence[str]:
    value = attributes.get(keyword)
    if value is None:
        return []
    return [str(each).strip().upper() for each in value] if isinstance(value, MultiValue) else [str(value).upper()]
