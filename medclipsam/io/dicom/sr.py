"""Writes what was measured on masks as a DICOM structured report that refers to their SEG (TID 1500, PS3.16).

    SEG, measures   ->   Imaging Measurement Report
                           slices of a stack   a volumetric group for each prompt (TID 1411) on its segment
                           one image, a film   a planar group for each prompt and image (TID 1410) on its frames
                           found nowhere       a group without region (TID 1501): nothing but 0 pixels

Patient, study and sources are those of the SEG. Identifiers are made from the content, and each group bears the
tracking identifier of its segment. The report is complete but verified by nobody, and says that it is for research.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import highdicom.sr as templates
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from medclipsam.io.atomic import atomic_path
from medclipsam.io.dicom.frames import DicomFrame
from medclipsam.io.dicom.maker import ALGORITHM, REPORT_NUMBER, SUFFIX, content_uids, release, tracking_uid, unspoken
from medclipsam.io.dicom.seg_codes import segment_code, short_text
from medclipsam.io.dicom.sr_codes import Measures, Number, numbers_of, procedure_of
from medclipsam.metrics.measure_stack import StackMeasures
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.types import Side

_OBSERVER = generate_uid(entropy_srcs=["observer", ALGORITHM])

_Group = (
    templates.VolumetricROIMeasurementsAndQualitativeEvaluations
    | templates.PlanarROIMeasurementsAndQualitativeEvaluations
    | templates.MeasurementsAndQualitativeEvaluations
)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What was measured for one prompt, on one image or on the slices of a stack together."""

    prompt: str
    measures: Measures
    parts: int | None
    """Connected parts; of a stack in 3-D."""
    unit: str | None
    """Unit of the values, where the file says so."""
    frame: DicomFrame | None = None
    """The image; None of a stack."""
    side: Side | None = None
    """The patient's side that the mask was cut to."""


def write_sr(
    seg: Path, findings: Sequence[Finding], path: Path, *, slices: dict[str, DicomFrame] | None = None, preset: str = ""
) -> Path:
    """Write what was measured on the masks of a SEG as a Comprehensive 3D SR.

    Args:
        seg: the file of the SEG; its segments are the prompts of the findings, in their order.
        findings: what was measured.
        path: the file without its suffix; `.dcm` is added.
        slices: the images of a stack by name, so that diameters tell theirs.
        preset: what made the masks.

    Returns:
        The path with its suffix.

    Raises:
        CannotWrite: see `medclipsam.io.atomic`.
    """
    target = path.with_name(f"{path.name}{SUFFIX}")
    header = dcmread(seg, stop_before_pixels=True)
    with unspoken():
        report = _Report(header, slices or {}, preset).document(findings)
        with atomic_path(target) as temporary:
            report.save_as(temporary, enforce_file_format=True)
    return target


class _Report:
    """One report on one SEG."""

    def __init__(self, seg: Dataset, slices: dict[str, DicomFrame], preset: str) -> None:
        self._seg, self._slices, self._preset = seg, slices, preset
        self._sources = list(_sources(seg))
        self._modality = ""

    def document(self, findings: Sequence[Finding]) -> Dataset:
        """The whole object."""
        self._modality = _modality(findings, self._slices)
        numbers: dict[str, int] = {}
        for finding in findings:
            numbers.setdefault(finding.prompt, len(numbers) + 1)
        groups = [self._group(finding, numbers[finding.prompt]) for finding in findings]
        content = templates.MeasurementReport(
            observation_context=templates.ObservationContext(observer_device_context=_observer()),
            procedure_reported=procedure_of(self._modality),
            imaging_measurements=groups,
            title=codes.DCM.ImagingMeasurementReport,
        )
        series, instance = content_uids(["measurements", str(self._seg.SOPInstanceUID), *map(_told, findings)])
        report = templates.Comprehensive3DSR(
            evidence=[self._seg, *self._sources],
            content=content[0],
            series_instance_uid=series,
            series_number=REPORT_NUMBER,
            sop_instance_uid=instance,
            instance_number=1,
            manufacturer=ALGORITHM,
            manufacturer_model_name=ALGORITHM,
            software_versions=release(),
            is_complete=True,
            series_description=f"{ALGORITHM}: measurements"[:64],
        )
        report.SpecificCharacterSet = "ISO_IR 192"
        return report

    def _group(self, finding: Finding, segment: int) -> _Group:
        """TID 1411 of a stack, 1410 of an image, 1501 where there is no region."""
        if isinstance(finding.measures, StackMeasures):
            return templates.VolumetricROIMeasurementsAndQualitativeEvaluations(
                referenced_segment=self._segment(segment), **self._said(finding)
            )
        frames = self._frames(segment, finding.frame)
        if not frames or not finding.measures.area_px:
            return templates.MeasurementsAndQualitativeEvaluations(**self._said(finding))
        region = templates.ReferencedSegmentationFrame(
            sop_class_uid=self._seg.SOPClassUID,
            sop_instance_uid=self._seg.SOPInstanceUID,
            frame_number=frames,
            segment_number=segment,
            source_image=self._source(finding.frame),
        )
        if "SegmentIdentificationSequence" in _groups(self._seg):
            # A frame of a binary SEG is of one segment, and PS3.3 10.3 says one or the other; highdicom writes both.
            del region[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
        return templates.PlanarROIMeasurementsAndQualitativeEvaluations(
            referenced_segment=region, **self._said(finding)
        )

    def _said(self, finding: Finding) -> dict[str, Any]:
        """What every kind of group says."""
        code = segment_code(finding.prompt, finding.side)
        found = numbers_of(finding.measures, finding.parts, finding.unit, self._modality)
        return {
            "tracking_identifier": templates.TrackingIdentifier(
                tracking_uid(self._sources[0].SeriesInstanceUID, finding.prompt), short_text(finding.prompt)
            ),
            "finding_category": code.category,
            "finding_type": code.type,
            "finding_sites": [templates.FindingSite(place, laterality=code.side) for place in code.places] or None,
            "algorithm_id": templates.AlgorithmIdentification(
                name=ALGORITHM,
                version=release(),
                parameters=[*([f"preset: {self._preset}"] if self._preset else []), RESEARCH_USE_ONLY],
            ),
            "measurements": [self._measurement(number) for number in found],
        }

    def _measurement(self, number: Number) -> templates.Measurement:
        frame = self._slices.get(number.image or "")
        return templates.Measurement(
            name=number.name,
            value=float(f"{number.value:.7g}"),
            unit=number.unit,
            derivation=number.derivation,
            method=number.method,
            referenced_images=None if frame is None else [_image(templates.SourceImageForMeasurement, frame)],
        )

    def _segment(self, number: int) -> templates.ReferencedSegment:
        return templates.ReferencedSegment(
            sop_class_uid=self._seg.SOPClassUID,
            sop_instance_uid=self._seg.SOPInstanceUID,
            segment_number=number,
            source_series=templates.SourceSeriesForSegmentation(self._sources[0].SeriesInstanceUID),
        )

    def _frames(self, segment: int, frame: DicomFrame | None) -> list[int]:
        """Numbers of the SEG's frames, from 1 on, that hold a segment on an image."""
        shared = self._seg.SharedFunctionalGroupsSequence[0]
        found = []
        for number, group in enumerate(self._seg.PerFrameFunctionalGroupsSequence, start=1):
            held = _macro("SegmentIdentificationSequence", group, shared)
            derived = _macro("DerivationImageSequence", group, shared)
            if (held is None or held.ReferencedSegmentNumber == segment) and _is_of(derived, frame):
                found.append(number)
        return found

    def _source(self, frame: DicomFrame | None) -> templates.SourceImageForSegmentation:
        if frame is None:
            raise ValueError("a planar finding has an image")
        return _image(templates.SourceImageForSegmentation, frame)


def _observer() -> templates.ObserverContext:
    return templates.ObserverContext(
        observer_type=codes.DCM.Device,
        observer_identifying_attributes=templates.DeviceObserverIdentifyingAttributes(
            uid=_OBSERVER, name=ALGORITHM, manufacturer_name=ALGORITHM, model_name=ALGORITHM
        ),
    )


def _sources(seg: Dataset) -> Iterator[Dataset]:
    """The images that a SEG lies on, as evidence names them."""
    for series in seg.ReferencedSeriesSequence:
        for item in series.ReferencedInstanceSequence:
            source = Dataset()
            source.StudyInstanceUID, source.SeriesInstanceUID = seg.StudyInstanceUID, series.SeriesInstanceUID
            source.SOPClassUID, source.SOPInstanceUID = item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID
            yield source


def _modality(findings: Sequence[Finding], slices: dict[str, DicomFrame]) -> str:
    frames = [*slices.values(), *(finding.frame for finding in findings if finding.frame)]
    return str(frames[0].header.get("Modality") or "") if frames else ""


def _told(finding: Finding) -> str:
    """A finding as a fact that identifiers depend on."""
    return f"{finding.prompt} {finding.measures} {finding.parts} {finding.unit}"


def _groups(seg: Dataset) -> Dataset:
    """What the first frame says of itself, or shares with all others."""
    together = Dataset()
    together.update(seg.SharedFunctionalGroupsSequence[0])
    together.update(seg.PerFrameFunctionalGroupsSequence[0])
    return together


def _macro(keyword: str, group: Dataset, shared: Dataset) -> Dataset | None:
    found = group.get(keyword) or shared.get(keyword)
    return found[0] if found else None


def _is_of(derived: Dataset | None, frame: DicomFrame | None) -> bool:
    """Whether a frame of the SEG was drawn on an image; of a SEG that does not say, each was."""
    if derived is None or frame is None:
        return True
    return any(
        source.ReferencedSOPInstanceUID == frame.header.SOPInstanceUID
        and (source.get("ReferencedFrameNumber") or frame.index + 1) == frame.index + 1
        for source in derived.SourceImageSequence
    )


def _image(kind: Any, frame: DicomFrame) -> Any:
    """A reference to an image, with the number of its frame where the object has several."""
    several = int(frame.header.get("NumberOfFrames") or 1) > 1
    return kind(frame.header.SOPClassUID, frame.header.SOPInstanceUID, [frame.index + 1] if several else None)
