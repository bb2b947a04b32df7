"""Writes masks as a DICOM RT Structure Set: closed planar contours in the patient, slice by slice (PS3.3 A.19).

    pixel (x, y) of a slice   ->   position + x * column spacing * row direction + y * row spacing * column direction
    prompt 1: masks           ->   ROI 1, its name the prompt, a contour for each part of each slice
    prompt 2: masks           ->   ROI 2 (may overlap 1)

Holes are joined to the outer line by a keyhole (`medclipsam.io.dicom.contours`), which every reader understands. A
prompt that is found nowhere is an ROI without contours. Every source is referenced. What a SEG says of patient, maker
and purpose is said here too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ImplicitVRLittleEndian, RTStructureSetStorage, generate_uid

from medclipsam.errors import BadInput
from medclipsam.io.atomic import write_atomic
from medclipsam.io.dicom.contours import polygons
from medclipsam.io.dicom.frames import DicomFrame
from medclipsam.io.dicom.maker import ALGORITHM, SERIES_NUMBER, SUFFIX, colour, content_uids, release
from medclipsam.io.dicom.places import is_film, missing_of_place, place_of
from medclipsam.io.dicom.seg_codes import short_text
from medclipsam.io.dicom.sources import (
    OF_THE_PATIENT,
    WAY_OUT,
    SourceFrames,
    completed,
    repeating,
    source_frame,
    with_reference_frame,
    written,
)
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.types import BoolArray, MedImage

_OF_THE_STUDY = (
    *("StudyInstanceUID", "StudyDate", "StudyTime", "ReferringPhysicianName", "StudyID", "AccessionNumber"),
    *("PatientIdentityRemoved", "DeidentificationMethod", "DeidentificationMethodCodeSequence"),
)
_STUDY_CLASS = "1.2.840.10008.3.1.2.3.1"
"""Detached Study Management: retired, and still what PS3.3 C.8.8.5 asks for."""
_CONTOUR_DATA = 0x30060050


def write_rtstruct(
    images: Sequence[MedImage], masks: Mapping[str, Sequence[BoolArray]], path: Path, *, preset: str = ""
) -> Path:
    """Write the masks of several prompts on the images of one DICOM series as one RT Structure Set.

    Args:
        images: single-frame images of one series, or frames of one enhanced object, as `read_image` gave them.
        masks: prompt -> one (height, width) mask for each image, in the order of `images`; masks may be empty.
        path: the file without its suffix; `.dcm` is added.
        preset: what made the masks; it is told in the description of each ROI.

    Returns:
        The path with its suffix.

    Raises:
        BadInput: sources that are not DICOM, not of one series or do not say where they lie, or masks that do not fit.
        CannotWrite: see `medclipsam.io.atomic`.
    """
    return written(Structures(preset=preset), images, masks, path)


def check_rtstruct(image: MedImage) -> None:
    """Say early whether masks of an image can be written as RT Structure Set.

    Raises:
        BadInput: they cannot.
    """
    gathered = Structures()
    gathered.add(image, "check", np.ones(image.size, bool))
    gathered.encoded()


@dataclass(frozen=True)
class _Contour:
    """A closed polygon in the patient."""

    source: int
    """The number of its frame among the sources."""
    points: int
    text: str
    """x, y and z of each point in mm, as DICOM writes numbers."""


class Structures:
    """The masks of one structure set, gathered picture by picture; only their contours are kept.

    Args:
        preset: what makes the masks.
    """

    def __init__(self, *, preset: str = "") -> None:
        self._preset = preset
        self._sources = SourceFrames()
        self._rois: dict[str, list[_Contour]] = {}

    def add(self, image: MedImage, prompt: str, mask: BoolArray) -> None:
        """Take what one prompt found on one picture; all prompts of a picture come before the next picture.

        Raises:
            BadInput: a picture that goes not with the others or does not say where it lies, or a mask that does not
                fit it.
        """
        to_patient = _to_patient(source_frame(image), image.name)
        self._sources.take(image, mask.shape)
        number = len(self._sources.all) - 1
        contours = self._rois.setdefault(prompt, [])
        for ring in polygons(mask.astype(bool)):
            contours.append(_Contour(number, len(ring), _numbers(to_patient(ring))))

    def write(self, path: Path) -> Path:
        """Write all as one object; the path with its suffix `.dcm`.

        Raises:
            BadInput: there is nothing to write, or the sources lack what must be repeated.
            CannotWrite: see `medclipsam.io.atomic`.
        """
        return write_atomic(path.with_name(f"{path.name}{SUFFIX}"), self.encoded())

    def encoded(self) -> bytes:
        """The whole file. Implicit VR, for explicit VR has no room for contours of many points (PS3.5 7.1.2).

        Raises:
            BadInput: as `write` says.
        """
        if not self._sources.all:
            raise BadInput("an RT Structure Set needs at least one image and one prompt")
        with repeating(self._sources.name):
            content = self._content()
            content.file_meta = _file_meta(content)
            stream = BytesIO()
            content.save_as(stream, enforce_file_format=True)
            return stream.getvalue()

    def _content(self) -> Dataset:
        source = with_reference_frame(completed(self._sources.all[0].header))
        content = _headed(source)
        content.SeriesInstanceUID, content.SOPInstanceUID = self._identifiers()
        content.SeriesDescription = f"{ALGORITHM}: {short_text(next(iter(self._rois)))}"[:64]
        reference = source.FrameOfReferenceUID
        content.FrameOfReferenceUID = reference
        content.PositionReferenceIndicator = source.get("PositionReferenceIndicator") or ""
        content.ReferencedFrameOfReferenceSequence = [self._scan(source, reference)]
        rois = list(enumerate(self._rois.items(), 1))
        content.StructureSetROISequence = [self._named(number, prompt, reference) for number, (prompt, _) in rois]
        content.ROIContourSequence = [self._drawn(number, contours) for number, (_, contours) in rois]
        content.RTROIObservationsSequence = [_observed(number) for number, _ in rois]
        return content

    def _identifiers(self) -> tuple[str, str]:
        contours = (f"{each.source} {each.text}" for several in self._rois.values() for each in several)
        frames = (f"{frame.header.SOPInstanceUID} {frame.index}" for frame in self._sources.all)
        return content_uids(["structures", self._preset, *self._rois, *frames, *contours])

    def _scan(self, source: Dataset, reference: str) -> Dataset:
        """The scan that the contours lie on: its study, its series, and every image of it that was asked."""
        series = _item(
            SeriesInstanceUID=source.SeriesInstanceUID,
            ContourImageSequence=[_image(frame) for frame in self._sources.all],
        )
        study = _item(
            ReferencedSOPClassUID=_STUDY_CLASS,
            ReferencedSOPInstanceUID=source.StudyInstanceUID,
            RTReferencedSeriesSequence=[series],
        )
        return _item(FrameOfReferenceUID=reference, RTReferencedStudySequence=[study])

    def _named(self, number: int, prompt: str, reference: str) -> Dataset:
        made = f"{ALGORITHM} {release()}" + f", preset {self._preset}" * bool(self._preset)
        return _item(
            ROINumber=number,
            ReferencedFrameOfReferenceUID=reference,
            ROIName=short_text(prompt),
            ROIGenerationAlgorithm="AUTOMATIC",
            ROIGenerationDescription=made[:64],
        )

    def _drawn(self, number: int, contours: Sequence[_Contour]) -> Dataset:
        drawn = _item(ROIDisplayColor=list(colour(number)), ReferencedROINumber=number)
        if contours:
            drawn.ContourSequence = [self._contour(each) for each in contours]
        return drawn

    def _contour(self, contour: _Contour) -> Dataset:
        item = _item(
            ContourImageSequence=[_image(self._sources.all[contour.source])],
            ContourGeometricType="CLOSED_PLANAR",
            NumberOfContourPoints=contour.points,
        )
        item.add(DataElement(_CONTOUR_DATA, "DS", contour.text, already_converted=True))
        return item


def _headed(source: Dataset) -> Dataset:
    """Patient and study of the scan, and what is said of every structure set that is made here."""
    content = Dataset()
    for keyword in (*OF_THE_PATIENT, *_OF_THE_STUDY):
        if keyword in source:
            content.add(source[keyword])
    now = datetime.now()
    described = _item(
        SpecificCharacterSet="ISO_IR 192",
        SOPClassUID=RTStructureSetStorage,
        Modality="RTSTRUCT",
        SeriesNumber=SERIES_NUMBER,
        InstanceNumber=1,
        OperatorsName="",
        Manufacturer=ALGORITHM,
        ManufacturerModelName=ALGORITHM,
        SoftwareVersions=release(),
        StructureSetLabel=ALGORITHM,
        StructureSetDescription=RESEARCH_USE_ONLY,
        StructureSetDate=now.strftime("%Y%m%d"),
        StructureSetTime=now.strftime("%H%M%S"),
    )
    content.update(described)
    return content


def _observed(number: int) -> Dataset:
    return _item(ObservationNumber=number, ReferencedROINumber=number, RTROIInterpretedType="", ROIInterpreter="")


def _file_meta(content: Dataset) -> FileMetaDataset:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = content.SOPClassUID
    meta.MediaStorageSOPInstanceUID = content.SOPInstanceUID
    meta.TransferSyntaxUID = ImplicitVRLittleEndian
    meta.ImplementationClassUID = generate_uid(entropy_srcs=[ALGORITHM])
    meta.ImplementationVersionName = f"{ALGORITHM} {release()}"[:16]
    return meta


def _image(frame: DicomFrame) -> Dataset:
    """A reference to a slice, or to the frame of an object of many."""
    reference = _item(
        ReferencedSOPClassUID=frame.header.SOPClassUID, ReferencedSOPInstanceUID=frame.header.SOPInstanceUID
    )
    if int(frame.header.get("NumberOfFrames") or 1) > 1:
        reference.ReferencedFrameNumber = frame.index + 1
    return reference


def _item(**values: object) -> Dataset:
    item = Dataset()
    for keyword, value in values.items():
        setattr(item, keyword, value)
    return item


def _numbers(points: NDArray[np.float64]) -> str:
    """In steps of 1e-6 mm, at most 16 letters each."""
    return "\\".join(f"{value:.6f}".rstrip("0").rstrip(".")[:16] for value in points.ravel().tolist())


@dataclass(frozen=True, eq=False)
class _ToPatient:
    """From pixels of a frame to mm in the patient (PS3.3 C.7.6.2.1.1)."""

    position: NDArray[np.float64]
    steps: NDArray[np.float64]
    """(2, 3): one pixel along a row, and along a column."""

    def __call__(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n, 2) -> (n, 3)."""
        return self.position + xy @ self.steps


def _to_patient(frame: DicomFrame, name: str) -> _ToPatient:
    if is_film(frame):
        raise BadInput(f"{name}: the frames of a film have no place in space, so contours have none", WAY_OUT)
    place = place_of(frame)
    if place is None:
        unsaid = f"does not say where it lies in the patient (no usable {missing_of_place(frame)})"
        raise BadInput(f"{name}: {unsaid}, so contours have no place", WAY_OUT)
    along_row, along_column = np.reshape(place.orientation, (2, 3))
    rows_mm, columns_mm = place.spacing_mm
    return _ToPatient(np.array(place.position), np.array([along_row * columns_mm, along_column * rows_mm]))
