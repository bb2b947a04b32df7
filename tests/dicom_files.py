"""Small true DICOM files for tests: one builder, any attribute replaced or removed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, SecondaryCaptureImageStorage, generate_uid

PLANTED = ("DOE^JANE", "PID-4711", "19700131", "ACC-0815")
"""A name, an id, a date and an accession number that must appear in no output."""


def dicom(path: Path, samples: np.ndarray, *, syntax: str = ExplicitVRLittleEndian, **attributes: Any) -> Path:
    """Write `samples` as (height, width), (height, width, 3) or (frames, height, width[, 3])."""
    dataset = dicom_dataset(samples, syntax=syntax, **attributes)
    dataset.save_as(path, enforce_file_format=True)
    return path


def dicom_dataset(samples: np.ndarray, *, syntax: str = ExplicitVRLittleEndian, **attributes: Any) -> Dataset:
    frames = samples.ndim == 4 or (samples.ndim == 3 and samples.shape[-1] != 3)
    height, width = samples.shape[1:3] if frames else samples.shape[:2]
    colour = samples.ndim == (4 if frames else 3)
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.SOPClassUID = SecondaryCaptureImageStorage
    dataset.SOPInstanceUID = generate_uid(entropy_srcs=["medclipsam test"])
    dataset.PatientName, dataset.PatientID, dataset.StudyDate, dataset.AccessionNumber = PLANTED
    dataset.Modality = "MR"
    dataset.Rows, dataset.Columns = height, width
    dataset.SamplesPerPixel = 3 if colour else 1
    dataset.PhotometricInterpretation = "RGB" if colour else "MONOCHROME2"
    if colour:
        dataset.PlanarConfiguration = 0
    dataset.BitsAllocated = dataset.BitsStored = samples.dtype.itemsize * 8
    dataset.HighBit = dataset.BitsStored - 1
    dataset.PixelRepresentation = int(samples.dtype.kind == "i")
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    content = samples.astype(samples.dtype.newbyteorder(order)).tobytes()
    dataset.PixelData = content + bytes(len(content) % 2)
    dataset["PixelData"].VR = "OW" if samples.dtype.itemsize > 1 else "OB"
    for keyword, value in attributes.items():
        if value is None:
            dataset.pop(keyword, None)
        else:
            setattr(dataset, keyword, value)
    return dataset


def encapsulated(frames: list[bytes]) -> bytes:
    return encapsulate([frame + bytes(len(frame) % 2) for frame in frames])


def item(**attributes: Any) -> Dataset:
    made = Dataset()
    for keyword, value in attributes.items():
        setattr(made, keyword, value)
    return made
