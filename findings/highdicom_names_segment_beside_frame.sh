#!/usr/bin/env bash
# A measurement report (SR, TID 1410) names the frame of a Segmentation that it measures. PS3.3 table 10-3 (Image SOP
# Instance Reference Macro) wants the Referenced Segment Number only where the Referenced Frame Number is not present.
# highdicom 0.28.2 demands both in `ReferencedSegmentationFrame` and writes both, also into reports of binary
# segmentations, whose frames belong to one segment each; `dciodvfy` calls each such report in error ("Shall not be
# present when ReferencedFrameNumber is present"), and archives that validate what they take refuse it. Taking the segment
# number out of the finished item mends it, and highdicom reads the report as before.
# Exits 0 while that is so; with dicom3tools installed it asks dciodvfy too.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q highdicom==0.28.2 pydicom==3.0.2
"$work/venv/bin/python" - "$work" <<'PY'
import sys
from pathlib import Path

import highdicom as hd
from pydicom import dcmread, examples
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import SegmentationStorage

source = dcmread(examples.get_path("ct"))
segmentation = Dataset()
segmentation.update({element.tag: element for element in source if element.tag.group in (0x0010, 0x0020)})
segmentation.SOPClassUID, segmentation.SOPInstanceUID = SegmentationStorage, hd.UID()
segmentation.SeriesInstanceUID = hd.UID()
for keyword in ("StudyDate", "StudyTime", "AccessionNumber", "ReferringPhysicianName"):
    setattr(segmentation, keyword, source.get(keyword, ""))


def report(*, mended: bool) -> Path:
    region = hd.sr.ReferencedSegmentationFrame(
        segmentation.SOPClassUID, segmentation.SOPInstanceUID, 1, 1,
        hd.sr.SourceImageForSegmentation(source.SOPClassUID, source.SOPInstanceUID),
    )
    if mended:
        del region[0].ReferencedSOPSequence[0].ReferencedSegmentNumber
    group = hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=hd.sr.TrackingIdentifier(hd.UID(), "liver"),
        referenced_segment=region,
        finding_type=codes.SCT.Liver,
        measurements=[hd.sr.Measurement(codes.SCT.Area, 12.5, codes.UCUM.SquareMillimeter)],
    )
    observer = hd.sr.ObserverContext(
        codes.DCM.Device, hd.sr.DeviceObserverIdentifyingAttributes(hd.UID(), name="phantom")
    )
    content = hd.sr.MeasurementReport(
        hd.sr.ObservationContext(observer_device_context=observer), codes.LN.CTUnspecifiedBodyRegion, [group],
        title=codes.DCM.ImagingMeasurementReport,
    )
    document = hd.sr.Comprehensive3DSR(
        [segmentation, source], content[0], hd.UID(), 1, hd.UID(), 1, "maker", is_complete=True
    )
    path = Path(sys.argv[1]) / f"{'mended' if mended else 'written'}.dcm"
    document.save_as(path, enforce_file_format=True)
    return path


def reference(path: Path) -> Dataset:
    (group,) = hd.sr.srread(path).content.get_planar_roi_measurement_groups()
    return group.referenced_segmentation_frame[0].ReferencedSOPSequence[0]


print("highdicom", hd.__version__)
written, mended = reference(report(mended=False)), reference(report(mended=True))
print("written: frame", written.ReferencedFrameNumber, "and segment", written.ReferencedSegmentNumber)
print("mended: frame", mended.ReferencedFrameNumber, "alone; highdicom reads it")
assert "ReferencedFrameNumber" in written and "ReferencedSegmentNumber" in written
assert "ReferencedSegmentNumber" not in mended
PY
if command -v dciodvfy >/dev/null; then
    said="Shall not be present when ReferencedFrameNumber is present"
    dciodvfy "$work/written.dcm" 2>&1 | grep "$said"
    ! dciodvfy "$work/mended.dcm" 2>&1 | grep "$said"
fi
