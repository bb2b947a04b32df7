"""Describes one segment of a DICOM SEG: what it is, on which side of the patient, what made it (PS3.3 C.8.20.4)."""

from __future__ import annotations

from highdicom import AlgorithmIdentificationSequence
from highdicom.color import CIELabColor
from highdicom.seg import SegmentDescription
from highdicom.sr import CodedConcept
from pydicom.sr.codedict import codes
from pydicom.sr.coding import Code

from medclipsam.io.dicom.maker import ALGORITHM, colour, release, tracking_uid
from medclipsam.io.dicom.seg_codes import SegmentCode, segment_code, short_text
from medclipsam.types import Side


def describe_segment(number: int, prompt: str, side: Side | None, preset: str, series_uid: str) -> SegmentDescription:
    """The item of the Segment Sequence.

    Args:
        number: of the segment, from 1 on.
        prompt: what was asked.
        side: the patient's side that its masks were cut to; None where they were not.
        preset: what made the masks.
        series_uid: of the images that it lies on.
    """
    code = segment_code(prompt, side)
    description = SegmentDescription(
        segment_number=number,
        segment_label=short_text(prompt),
        segmented_property_category=code.category,
        segmented_property_type=code.type,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            name=ALGORITHM,
            family=codes.DCM.ArtificialIntelligence,
            version=release(),
            parameters={"preset": preset} if preset else None,
        ),
        tracking_uid=tracking_uid(series_uid, prompt),
        tracking_id=short_text(prompt),
        anatomic_regions=list(code.regions) or None,
        display_color=CIELabColor.from_rgb(*colour(number)),
    )
    _say_side(description, code)
    return description


def _say_side(description: SegmentDescription, code: SegmentCode) -> None:
    """Modify the type or the regions, which highdicom has no argument for."""
    if code.type_side is not None:
        (kind,) = description.SegmentedPropertyTypeCodeSequence
        kind.SegmentedPropertyTypeModifierCodeSequence = _one(code.type_side)
    if code.region_side is not None:
        for region in description.AnatomicRegionSequence:
            region.AnatomicRegionModifierSequence = _one(code.region_side)


def _one(code: Code) -> list[CodedConcept]:
    return [CodedConcept.from_code(code)]
