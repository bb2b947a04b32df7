#!/usr/bin/env bash
# A radiograph, a mammogram or a secondary capture has a Pixel Spacing and no Slice Thickness, because it has no slices.
# highdicom 0.28.2 writes a Segmentation of such an image without a word (its Pixel Measures hold the spacing alone, as
# PS3.3 C.7.6.16.2.1 allows where there is no frame of reference), and then refuses to open what it wrote: `segread` and
# `Segmentation.from_dataset` raise AttributeError "Sequence does not have the required attributes for a Pixel Measures
# Sequence". Whoever archives masks of radiographs finds out when they are read back. SimpleITK 2.5.7 cannot open it
# either, with or without thickness ("An invalid logic behavior occurred"): it wants an orientation beside a spacing. The
# same object without its Pixel Measures opens in both.
# Exits 0 while that is so.
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q highdicom==0.28.2 pydicom==3.0.2 SimpleITK==2.5.7
"$work/venv/bin/python" - "$work" <<'PY'
import sys
from pathlib import Path

import highdicom as hd
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sr.codedict import codes
from pydicom.uid import DigitalXRayImageStorageForPresentation, ExplicitVRLittleEndian, generate_uid

folder = Path(sys.argv[1])


def radiograph(**more: object) -> Dataset:
    image = Dataset()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.SOPClassUID, image.SOPInstanceUID = DigitalXRayImageStorageForPresentation, generate_uid()
    image.StudyInstanceUID, image.SeriesInstanceUID = generate_uid(), generate_uid()
    image.PatientName, image.PatientID, image.PatientBirthDate, image.PatientSex = "Phantom^A", "1", "", "O"
    image.StudyDate, image.StudyTime, image.StudyID, image.AccessionNumber = "20240101", "120000", "1", ""
    image.ReferringPhysicianName, image.Modality, image.SeriesNumber, image.InstanceNumber = "", "DX", 1, 1
    image.Rows, image.Columns, image.SamplesPerPixel, image.PhotometricInterpretation = 32, 48, 1, "MONOCHROME2"
    image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 12, 11, 0
    image.PatientOrientation = ["L", "F"]
    for keyword, value in more.items():
        setattr(image, keyword, value)
    return image


def opened(source: Dataset, name: str) -> tuple[str, str]:
    mask = np.zeros((1, 32, 48), np.uint8)
    mask[0, 5:15, 10:30] = 1
    segment = hd.seg.SegmentDescription(
        segment_number=1, segment_label="heart", segmented_property_category=codes.SCT.Organ,
        segmented_property_type=codes.SCT.Heart, algorithm_type="MANUAL",
    )
    seg = hd.seg.Segmentation(
        [source], mask, "BINARY", [segment], generate_uid(), 2, generate_uid(), 1, "maker", "model", "1", "1"
    )
    path = folder / f"{name}.dcm"
    seg.save_as(path)
    assert int(pydicom.dcmread(path).pixel_array.sum()) == 200
    try:
        hd.seg.segread(path)
        by_highdicom = "opens"
    except AttributeError as error:
        by_highdicom = f"AttributeError: {error}"
    try:
        by_itk = "opens" if int((sitk.GetArrayFromImage(sitk.ReadImage(str(path))) > 0).sum()) == 200 else "differs"
    except RuntimeError as error:
        by_itk = "RuntimeError: " + str(error).strip().splitlines()[-1]
    return by_highdicom, by_itk


spacing = [0.2, 0.2]
found = {
    "Pixel Spacing, no Slice Thickness": opened(radiograph(PixelSpacing=spacing), "spacing"),
    "both": opened(radiograph(PixelSpacing=spacing, SliceThickness=1), "both"),
    "neither": opened(radiograph(), "neither"),
}
print(f"highdicom {hd.__version__} writes, highdicom and SimpleITK {sitk.__version__} read a SEG of a radiograph with ...")
for case, (by_highdicom, by_itk) in found.items():
    print(f"  {case}: highdicom {by_highdicom} | SimpleITK {by_itk}")
assert found["Pixel Spacing, no Slice Thickness"][0].startswith("AttributeError"), found
assert found["Pixel Spacing, no Slice Thickness"][1].startswith("RuntimeError"), found
assert found["neither"] == ("opens", "opens"), found
PY
