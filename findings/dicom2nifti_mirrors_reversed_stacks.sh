#!/usr/bin/env bash
# What surprises: in which order an enhanced CT or MR holds its frames "is up to the generating application" (PS3.3
# C.7.6.17), so a stack may be numbered (In-Stack Position Number) against the order of its frames. dicom2nifti 2.6.2 puts
# the voxels in the order of those numbers, but takes the affine from the positions of the first and the last frame of the
# file. The NIfTI of such a file is mirrored along the stack: axial slices have head and feet swapped, sagittal slices left
# and right. Its checks (orientation, orthogonality, slice increment) pass, and nothing is said. SimpleITK reads the same
# files rightly; so does dicom2nifti where the stack is numbered as the frames lie. Masks drawn on the NIfTI belong to the
# other side of the patient. Such files exist: ITK's pull request 208 on GitHub lists one, of sagittal slices.
# Exits 0 while that is so.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install -q dicom2nifti==2.6.2 SimpleITK==2.5.7 nibabel==5.4.2 pydicom==3.0.2 numpy==2.4.6
cat > show.py <<'PY'
from importlib.metadata import version
from pathlib import Path

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from dicom2nifti import convert_dicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import EnhancedMRImageStorage, ExplicitVRLittleEndian, generate_uid

FRAMES, STEP, LESION = 6, 20.0, 1  # the lesion is in the second frame of the file
PLANES = {"axial": (1, 0, 0, 0, 1, 0), "sagittal": (0, 1, 0, 0, 0, -1)}


def item(**values):
    made = Dataset()
    for name, value in values.items():
        setattr(made, name, value)
    return made


def enhanced_mr(path, plane, numbers):
    """Frames of 20 mm from -50 mm on along the normal of the plane, with the stack's numbers as given."""
    uid, normal = generate_uid(), np.cross(PLANES[plane][:3], PLANES[plane][3:])
    scan = item(
        SOPClassUID=EnhancedMRImageStorage, SOPInstanceUID=uid, StudyInstanceUID=generate_uid(), Modality="MR",
        SeriesInstanceUID=generate_uid(), FrameOfReferenceUID=generate_uid(), Manufacturer="Example", PatientID="1",
        PatientName="", PatientBirthDate="", PatientSex="", StudyDate="", StudyTime="", StudyID="", AccessionNumber="",
        ReferringPhysicianName="", PositionReferenceIndicator="", SeriesNumber=1, InstanceNumber=1,
        ImageType=["ORIGINAL", "PRIMARY", "VOLUME", "NONE"], NumberOfFrames=FRAMES, Rows=8, Columns=8, BitsAllocated=16,
        BitsStored=12, HighBit=11, PixelRepresentation=0, SamplesPerPixel=1, PhotometricInterpretation="MONOCHROME2",
    )
    organization = generate_uid()
    scan.DimensionOrganizationSequence = [item(DimensionOrganizationUID=organization)]
    scan.DimensionIndexSequence = [
        item(DimensionOrganizationUID=organization, DimensionIndexPointer=tag, FunctionalGroupPointer=0x00209111)
        for tag in (0x00209056, 0x00209057)  # stack, position in it
    ]
    scan.SharedFunctionalGroupsSequence = [item(
        PixelMeasuresSequence=[item(PixelSpacing=[20.0, 20.0], SliceThickness=STEP, SpacingBetweenSlices=STEP)],
        PlaneOrientationSequence=[item(ImageOrientationPatient=list(PLANES[plane]))],
    )]
    scan.PerFrameFunctionalGroupsSequence = [
        item(
            PlanePositionSequence=[item(ImagePositionPatient=[float(x) for x in normal * (STEP * frame - 50)])],
            FrameContentSequence=[item(StackID="1", InStackPositionNumber=number, DimensionIndexValues=[1, number])],
        )
        for frame, number in enumerate(numbers)
    ]
    pixels = np.zeros((FRAMES, 8, 8), np.uint16)
    pixels[LESION, 3:5, 3:5] = 1000
    scan.PixelData = pixels.tobytes()
    scan.file_meta = FileMetaDataset()
    scan.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    scan.save_as(path, enforce_file_format=True)
    return float(normal @ np.abs(normal)) * (STEP * LESION - 50)


def by_simpleitk(path, axis):
    image = sitk.ReadImage(str(path))
    slices = np.flatnonzero(sitk.GetArrayFromImage(image).any(axis=(1, 2)))
    return image.TransformIndexToPhysicalPoint((0, 0, int(slices[0])))[axis]


def by_dicom2nifti(folder, axis):
    convert_dicom.dicom_series_to_nifti(folder, "scan.nii.gz", reorient_nifti=False)
    image = nib.load("scan.nii.gz")
    voxel = np.argwhere(np.asarray(image.dataobj)).mean(axis=0)
    place = nib.affines.apply_affine(image.affine, voxel) * (-1, -1, 1)  # to DICOM's axes: left, posterior, head
    return float(place[axis])


print(f"dicom2nifti {version('dicom2nifti')}, SimpleITK {sitk.Version.VersionString()}")
found = {}
for plane, axis, towards in (("axial", 2, "head"), ("sagittal", 0, "left")):
    for order, numbers in (("as frames lie", range(1, FRAMES + 1)), ("against them", range(FRAMES, 0, -1))):
        folder = Path(f"{plane} {order}")
        folder.mkdir()
        truth = enhanced_mr(folder / "scan.dcm", plane, list(numbers))
        itk, nifti = by_simpleitk(folder / "scan.dcm", axis), by_dicom2nifti(str(folder), axis)
        found[plane, order] = (round(itk - truth, 3), round(nifti - truth, 3))
        print(f"{plane}, numbered {order}: the lesion lies {truth:+.0f} mm towards the {towards}, "
              f"SimpleITK {itk:+.0f} mm, dicom2nifti {nifti:+.0f} mm")
right = {each: off for each, off in found.items() if each[1] == "as frames lie"}
mirrored = {each: off for each, off in found.items() if each[1] == "against them"}
assert set(right.values()) == {(0.0, 0.0)}, "a stack numbered as its frames lie is read otherwise"
assert all(itk == 0 and abs(nifti) == 60 for itk, nifti in mirrored.values()), "reversed stacks are no longer mirrored"
PY
venv/bin/python show.py
