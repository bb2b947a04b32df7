"""What a DICOM SEG repeats of its sources' geometry, made complete and consistent before highdicom copies it.

    slices of one series            ->   a data set for each, all with one orientation, thickness and slice spacing
    frames of one enhanced object   ->   the object, with what its frames share in the shared functional groups
    frames of a film, a flat image  ->   without place: no frame of reference, no position

A placed source has to say (or let work out) how thick its slices are: Slice Thickness is type 1C in the Pixel Measures
macro (PS3.3 C.7.6.16.2.1), and highdicom reads no SEG that lacks it.
"""

from __future__ import annotations

from collections.abc import Sequence

from pydicom.dataset import Dataset

from medclipsam.errors import BadInput
from medclipsam.io.dicom.frames import DicomFrame
from medclipsam.io.dicom.places import Place, is_film, place_of, regular_step_mm
from medclipsam.io.dicom.sources import WAY_OUT, completed, with_reference_frame, without

_SPACING_TOLERANCE = 1e-3
"""Largest relative difference of the pixel spacings of slices in one SEG, which has one for all."""


def seg_sources(frames: Sequence[DicomFrame], name: str) -> list[Dataset]:
    """The data sets that a SEG of these frames references: one for each slice, or the one object of all frames.

    Raises:
        BadInput: placed frames that do not say how thick they are, or differ in their pixel spacing.
    """
    if is_film(frames[0]):
        return [_flat_film(frames[0].header)]
    places = [place for frame in frames if (place := place_of(frame))]
    if len(places) < len(frames):
        return [_flat(frame.header) for frame in frames]
    measures = _measures(places, name)
    if frames[0].header.get("PerFrameFunctionalGroupsSequence"):
        return [_shared(frames[0].header, places[0], measures)]
    return [_placed(frame.header, places[0], measures) for frame in frames]


def _measures(places: Sequence[Place], name: str) -> Dataset:
    """Pixel spacing, thickness and slice spacing of all (PS3.3 C.7.6.16.2.1).

    Where slices stand on a grid, its step is the spacing, whatever the headers say. A slice alone has the spacing of
    its series, else its own thickness: readers take 1 mm where there is none, and highdicom writes 1 mm for one plane.
    """
    first = places[0]
    for place in places:
        for one, other in zip(place.spacing_mm, first.spacing_mm, strict=True):
            if abs(one - other) > _SPACING_TOLERANCE * other:
                raise BadInput(f"{name}: its slices differ in Pixel Spacing ({other:g} and {one:g} mm)", WAY_OUT)
    step = regular_step_mm(places) or first.step_mm
    thickness = first.thickness_mm or step
    if thickness is None:
        raise BadInput(f"{name}: lacks SliceThickness, and nothing says how far apart its slices lie", WAY_OUT)
    measures = Dataset()
    measures.PixelSpacing = list(first.spacing_mm)
    measures.SliceThickness = thickness
    measures.SpacingBetweenSlices = round(step or thickness, 6)
    return measures


def _placed(header: Dataset, first: Place, measures: Dataset) -> Dataset:
    """A slice; the cosines of parallel slices may differ in their last digits, and highdicom wants them the same."""
    source = with_reference_frame(completed(header))
    source.ImageOrientationPatient = list(first.orientation)
    source.update(measures)
    return source


def _shared(header: Dataset, first: Place, measures: Dataset) -> Dataset:
    """An enhanced object; many give each frame a copy of what all share, and highdicom looks at the shared one only."""
    source = with_reference_frame(completed(header))
    orientation = Dataset()
    orientation.ImageOrientationPatient = list(first.orientation)
    shared = (source.get("SharedFunctionalGroupsSequence") or [Dataset()])[0]
    shared.PixelMeasuresSequence = [measures]
    shared.PlaneOrientationSequence = [orientation]
    for group in source.PerFrameFunctionalGroupsSequence:
        if "PlanePositionSequence" not in group and "PlanePositionSequence" in shared:
            group.PlanePositionSequence = shared.PlanePositionSequence
    source.SharedFunctionalGroupsSequence = [shared]
    return source


def _flat(header: Dataset) -> Dataset:
    """An image without place, and without its spacing: highdicom opens no SEG that has one without thickness, and
    SimpleITK none that has one without orientation."""
    source = without(completed(header), "FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient")
    return without(source, "PixelSpacing", "SliceThickness", "SpacingBetweenSlices")


def _flat_film(header: Dataset) -> Dataset:
    """A film as highdicom takes an object of one frame without place."""
    source = _flat(header)
    source.pop("PerFrameFunctionalGroupsSequence", None)
    source.NumberOfFrames = 1
    shared = Dataset()
    shared.PixelMeasuresSequence = [Dataset()]
    source.SharedFunctionalGroupsSequence = [shared]
    return source
