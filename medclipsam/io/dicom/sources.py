"""What a DICOM SEG or RTSTRUCT repeats of the scan that it lies on, complete and without what is wrong.

    slices of one series             ->   each is referenced, its place in the patient repeated
    frames of one enhanced object    ->   the object is referenced, with its frames
    frames of a film, a flat image   ->   referenced; without place in space, so neither has the SEG (no RTSTRUCT)

Patient and study are repeated as far as the standard demands, so what is made here names the patient; age, weight,
comments and the like are not. What an anonymiser took away stays empty; placed slices without a frame of reference get
one of their own.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path
from typing import Any, Protocol

from numpy.typing import NDArray
from pydicom.datadict import keyword_for_tag
from pydicom.dataset import Dataset
from pydicom.uid import generate_uid

from medclipsam.errors import BadInput
from medclipsam.io.dicom.frames import DicomFrame
from medclipsam.io.dicom.maker import unspoken
from medclipsam.io.dicom.places import is_flat, place_of
from medclipsam.io.dicom.values import text
from medclipsam.types import MedImage

WAY_OUT = "choose png or npy"
_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_MAY_BE_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName"),
)
OF_THE_PATIENT = (
    *("PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "PatientBirthDate"),
    *("PatientSex", "PatientSpeciesDescription", "PatientSpeciesCodeSequence", "PatientBreedDescription"),
    *("PatientBreedCodeSequence", "BreedRegistrationSequence", "ResponsiblePerson", "ResponsibleOrganization"),
)
_FORGOTTEN_OF_THE_STUDY = (
    *("PhysiciansOfRecord", "PhysiciansOfRecordIdentificationSequence", "NameOfPhysiciansReadingStudy"),
    *(
        "PhysiciansReadingStudyIdentificationSequence",
        "AdmittingDiagnosesDescription",
        "AdmittingDiagnosesCodeSequence",
    ),
    *("ReasonForVisit", "RequestingService", "ServiceEpisodeID", "ServiceEpisodeDescription", "AdmissionID"),
)
"""May be left out, and tell of the patient more than an archive needs to file the object."""
_ESCAPE = "\x1b$)A"
_TEXT = ("PN", "LO", "SH", "ST", "LT", "UC", "UT")
_GROUPS_OF_TEXT = (0x0008, 0x0010, 0x0012, 0x0020, 0x0032, 0x0040)
_WRITTEN = {
    "PatientSex": ("", re.compile("[MFO]?")),
    "PatientBirthDate": (".", re.compile(r"(\d{8})?")),
    "StudyDate": (".", re.compile(r"(\d{8})?")),
    "StudyTime": (":", re.compile(r"(\d{2}|\d{4}|\d{6}(\.\d{1,6})?)?")),
}
"""What may stand between digits in files from before DICOM, and how the value is written now (PS3.5 6.2)."""


class SourceFrames:
    """The frames that one object refers to, as their pictures come; all masks of a picture come before the next."""

    def __init__(self) -> None:
        self.all: list[DicomFrame] = []
        self.name = ""
        self.size = (0, 0)
        """(height, width) of each."""

    def take(self, image: MedImage, shape: tuple[int, ...]) -> bool:
        """Take the picture that a mask was drawn on; whether it is a new one.

        Raises:
            BadInput: a picture that goes not with the others, or a mask of another shape.
        """
        frame = source_frame(image)
        if not self.all:
            self.name, self.size = image.name, image.size
        elif frame is self.all[-1]:
            self._check(image, shape)
            return False
        else:
            check_together(self.all[0], frame, image.name)
        self._check(image, shape)
        self.all.append(frame)
        return True

    def _check(self, image: MedImage, shape: tuple[int, ...]) -> None:
        if shape != image.size or image.size != self.size:
            raise BadInput(f"{image.name}: a mask of shape {shape} does not fit an image of {image.size}")


class Gathered(Protocol):
    """Masks that become one object."""

    def add(self, image: MedImage, prompt: str, values: NDArray[Any]) -> None:
        """Take what one prompt gave on one picture; all prompts of a picture come before the next picture."""

    def write(self, path: Path) -> Path:
        """Write all; the path with its suffix `.dcm`."""


def written(
    gathered: Gathered, images: Sequence[MedImage], masks: Mapping[str, Sequence[NDArray[Any]]], path: Path
) -> Path:
    """Write masks that are all there already: prompt -> one for each image.

    Raises:
        BadInput, CannotWrite: as `gathered` says.
    """
    for prompt, several in masks.items():
        if len(several) != len(images):
            raise BadInput(f"prompt {prompt[:40]!r} has {len(several)} masks for {len(images)} images")
    for index, image in enumerate(images):
        for prompt, several in masks.items():
            gathered.add(image, prompt, several[index])
    return gathered.write(path)


@contextmanager
def repeating(name: str, missing: str = "") -> Iterator[None]:
    """A source that lacks what must be repeated is the person's to mend, whatever the libraries say of it.

    Args:
        name: the case id to speak of.
        missing: an attribute that is known to be missing or unusable, for the message.

    Raises:
        BadInput: in place of what they raise.
    """
    try:
        with unspoken():
            yield
    except (AttributeError, IndexError, KeyError, NotImplementedError, TypeError, ValueError) as error:
        said = f"lacks what a DICOM mask must repeat of its source ({type(error).__name__})"
        if missing and isinstance(error, ValueError):
            said = f"has no usable {missing}, which a DICOM mask must repeat"
        raise BadInput(f"{name}: {said}", WAY_OUT) from error


def source_frame(image: MedImage) -> DicomFrame:
    """The DICOM frame that an image was read from.

    Raises:
        BadInput: it is no DICOM image, or one without the identifiers that must be repeated.
    """
    if not isinstance(image.origin, DicomFrame):
        raise BadInput(f"{image.name}: is no DICOM image, so a DICOM mask has no source", WAY_OUT)
    with repeating(image.name):
        missing = [keyword for keyword in _NEEDED if not image.origin.header.get(keyword)]
    if missing:
        raise BadInput(f"{image.name}: lacks {missing[0]}, which a DICOM mask must repeat", WAY_OUT)
    return image.origin


def check_together(first: DicomFrame, other: DicomFrame, name: str) -> None:
    """Refuse a second frame that cannot be in one file with the first.

    Raises:
        BadInput: of another series, another object with frames, or without place.
    """
    if first.header.SeriesInstanceUID != other.header.SeriesInstanceUID:
        raise BadInput(f"{name}: the images are of different series", "write one file for each")
    if int(first.header.get("NumberOfFrames") or 1) > 1 and first.header.SOPInstanceUID != other.header.SOPInstanceUID:
        raise BadInput(f"{name}: the frames are of different objects", "write one file for each")
    if is_flat(first):
        raise BadInput(f"{name}: the images do not say where they lie in the patient", "write one file for each")
    if (place_of(first) is None) != (place_of(other) is None):
        raise BadInput(f"{name}: some of the images say where they lie, and some do not", "write one file for each")


def with_reference_frame(source: Dataset) -> Dataset:
    """Placed slices without a frame of reference get one that they share with nothing but their series."""
    if not source.get("FrameOfReferenceUID"):
        source.FrameOfReferenceUID = generate_uid(entropy_srcs=["frame of reference", str(source.SeriesInstanceUID)])
        source.PositionReferenceIndicator = ""
    return source


def completed(header: Dataset) -> Dataset:
    """A copy that says nothing wrong: empty or mended where anonymisers and old scanners left something out or odd."""
    source = without(deepcopy(header), *_FORGOTTEN_OF_THE_STUDY)
    # Text is decoded by the source's own character sets and written in this one. highdicom refuses some that stand in
    # many files: an empty first value before an extension (Japanese and Korean names), and an extension alone.
    _take_escapes_out(source)
    source.SpecificCharacterSet = "ISO_IR 192"
    for tag in [tag for tag in source.keys() if tag.group == 0x0010]:  # noqa: SIM118  values may be broken
        if keyword_for_tag(tag) not in OF_THE_PATIENT:
            del source[tag]
    for keyword in _MAY_BE_EMPTY:
        if keyword not in source:
            setattr(source, keyword, "")
    for keyword, (separator, pattern) in _WRITTEN.items():
        said = str(source[keyword].value or "").strip().replace(separator, "")
        setattr(source, keyword, said if pattern.fullmatch(said) else "")
    if text(source, "PatientIdentityRemoved") == "YES" and "DeidentificationMethodCodeSequence" not in source:
        source.DeidentificationMethod = source.get("DeidentificationMethod") or "not stated in the source"
    return source


def _take_escapes_out(source: Dataset) -> None:
    """Take the escape sequences of GB 2312 (`ISO 2022 IR 58`, PS3.5 K.2) out of text; pydicom 3.0 leaves them in."""
    characters = source.get("SpecificCharacterSet") or ()
    if "ISO 2022 IR 58" not in ([characters] if isinstance(characters, str) else characters):
        return
    for tag in [tag for tag in source.keys() if tag.group in _GROUPS_OF_TEXT]:  # noqa: SIM118  values may be broken
        element = source[tag]
        if element.VR in _TEXT and _ESCAPE in str(element.value):
            element.value = str(element.value).replace(_ESCAPE, "")


def without(source: Dataset, *keywords: str) -> Dataset:
    """The same data set, with these attributes taken out."""
    for keyword in keywords:
        source.pop(keyword, None)
    return source
