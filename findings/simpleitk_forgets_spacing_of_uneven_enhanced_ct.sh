#!/usr/bin/env bash
# What surprises: an enhanced CT whose frames do not lie evenly (one slice was left out, or was lost on the way) is read by
# SimpleITK 2.5.7 with a spacing of 1 x 1 x 1 mm. Pixel Spacing, which has nothing to do with the missing slice, is gone with
# the distance of the slices, and nothing is raised or logged; the origin is right, so that the volume looks placed. With
# evenly lying frames the same file is read with all three numbers. The same slices as single files keep their pixel
# spacing, get the mean distance, and a warning is logged. Areas of such a file are wrong by the square of the pixel
# spacing, here by a factor of two, diameters and volumes likewise, and away from the first voxel a mask lies elsewhere.
# Exits 0 while that is so.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install -q SimpleITK==2.5.7 pydicom==3.0.2 numpy==2.4.6
cat > show.py <<'PY'
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedCTImageStorage, ExplicitVRLittleEndian, generate_uid

SPACING, STEP, SIDE = 0.7, 5.0, 16
PLANE = [1, 0, 0, 0, 1, 0]
EVEN, UNEVEN = (100.0, 105.0, 110.0, 115.0, 120.0), (100.0, 105.0, 110.0, 120.0)  # mm along the table


def item(**values):
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def scan(kind, count):
    uid = generate_uid()
    made = item(
        SOPClassUID=kind, SOPInstanceUID=uid, StudyInstanceUID=STUDY, SeriesInstanceUID=SERIES, Modality="CT",
        FrameOfReferenceUID=FRAME, Manufacturer="Example", PatientID="1", PatientName="", PatientBirthDate="",
        PatientSex="", StudyDate="", StudyTime="", StudyID="", AccessionNumber="", ReferringPhysicianName="",
        PositionReferenceIndicator="", SeriesNumber=1, InstanceNumber=1, Rows=SIDE, Columns=SIDE, BitsAllocated=16,
        ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], BitsStored=16, HighBit=15, PixelRepresentation=1,
        SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2", RescaleIntercept=0, RescaleSlope=1,
        PixelData=np.zeros((count, SIDE, SIDE), np.int16).tobytes(),
    )
    made.file_meta = FileMetaDataset()
    made.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    return made


def enhanced(path, places):
    made = scan(EnhancedCTImageStorage, len(places))
    made.NumberOfFrames = len(places)
    organization = generate_uid()
    made.DimensionOrganizationSequence = [item(DimensionOrganizationUID=organization)]
    made.DimensionIndexSequence = [
        item(DimensionOrganizationUID=organization, DimensionIndexPointer=tag, FunctionalGroupPointer=0x00209111)
        for tag in (0x00209056, 0x00209057)  # stack, position in it
    ]
    made.SharedFunctionalGroupsSequence = [item(
        PixelMeasuresSequence=[item(PixelSpacing=[SPACING, SPACING], SliceThickness=STEP)],
        PlaneOrientationSequence=[item(ImageOrientationPatient=PLANE)],
        PixelValueTransformationSequence=[item(RescaleIntercept=0, RescaleSlope=1, RescaleType="HU")],
    )]
    made.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[-50.0, -60.0, place])],
            FrameContentSequence=[item(StackID="1", InStackPositionNumber=n, DimensionIndexValues=[1, n])],
        )
        for n, place in enumerate(places, start=1)
    ]
    made.save_as(path, enforce_file_format=True)
    return sitk.ReadImage(str(path))


def single(folder, places):
    folder.mkdir()
    for n, place in enumerate(places, start=1):
        made = scan(CTImageStorage, 1)
        made.InstanceNumber = n
        made.PixelSpacing, made.SliceThickness = [SPACING, SPACING], STEP
        made.ImageOrientationPatient, made.ImagePositionPatient = PLANE, [-50.0, -60.0, place]
        made.save_as(folder / f"{n}.dcm", enforce_file_format=True)
    return sitk.ReadImage(sitk.ImageSeriesReader.GetGDCMSeriesFileNames(str(folder)))


def told(name, image):
    spacing, origin = (tuple(round(value, 3) for value in each) for each in (image.GetSpacing(), image.GetOrigin()))
    print(f"{name}: {image.GetSize()[2]} slices, spacing {spacing} mm, origin {origin} mm")
    return spacing, origin


STUDY, SERIES, FRAME = (generate_uid() for _ in range(3))
print(f"SimpleITK {sitk.Version.VersionString()}, pixel spacing {SPACING} mm, first slice at (-50, -60, 100) mm")
even = told("enhanced, slices every 5 mm", enhanced(Path("even.dcm"), EVEN))
uneven = told("enhanced, one slice missing", enhanced(Path("uneven.dcm"), UNEVEN))
SERIES = generate_uid()
files = told("single files, one slice missing", single(Path("files"), UNEVEN))
assert even == ((SPACING, SPACING, STEP), (-50.0, -60.0, 100.0)), "an even stack is read otherwise"
assert files[0][:2] == (SPACING, SPACING) and files[1] == (-50.0, -60.0, 100.0), "single files are read otherwise"
assert uneven == ((1.0, 1.0, 1.0), (-50.0, -60.0, 100.0)), "the spacing is kept now"
PY
venv/bin/python show.py
