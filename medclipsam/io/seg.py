"""How do masks become a DICOM SEG that a viewer lays over the scan? highdicom writes it; this says what it says.

    images of one DICOM series, or frames of one object     ->   referenced as sources, geometry repeated
    prompt 1: masks        ->   segment 1                        patient and study are repeated, because the
    prompt 2: masks        ->   segment 2 (may overlap 1)        standard says so: the file names the patient

The preamble is zero, identifiers are made from the content (the same masks give the same ones), and the description
says that the result is for research.
"""

from __future__ import annotations

import hashlib
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from copy import copy
from importlib.metadata import PackageNotFoundError, version
from io import BytesIO
from pathlib import Path
from typing import Literal

import highdicom
import numpy as np
from highdicom.seg import Segmentation, SegmentDescription
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes
from pydicom.uid import generate_uid

from medclipsam.errors import BadInput
from medclipsam.io.atomic import write_atomic
from medclipsam.io.dicom import DicomFrame
from medclipsam.io.dicom_values import text
from medclipsam.io.seg_codes import segment_code, short_text
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.types import BoolArray, MedImage

ALGORITHM = "medclipsam"
SERIES_NUMBER = 9000
"""Far above what scanners give, so that the series sorts behind the scan."""
_NEEDED = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
_PLACED = ("FrameOfReferenceUID", "ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing")
_MAY_BE_EMPTY = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName"),
)

SegKind = Literal["binary", "labelmap"]


def write_seg(
    images: Sequence[MedImage],
    masks: Mapping[str, Sequence[BoolArray]],
    path: Path,
    *,
    preset: str = "",
    kind: SegKind = "binary",
) -> Path:
    """Write the masks of several prompts on the images of one DICOM series as one segmentation object.

    Args:
        images: single-frame images of one series, or frames of one multi-frame object, as `read_image` gave them.
        masks: prompt -> one (height, width) mask for each image, in the order of `images`; masks may be empty.
        path: the file without its suffix; `.dcm` is added.
        preset: what made the masks; it goes into the algorithm identification.
        kind: `binary`: one bit plane for each prompt, overlaps kept; `labelmap`: one plane of numbers.

    Returns:
        The path with its suffix.

    Raises:
        BadInput: sources that are not DICOM, not of one series or lack what must be repeated, masks that do not fit,
            overlapping masks for a label map, or frames of a film that has no place in space.
        CannotWrite: see `medclipsam.io.atomic`.
    """
    frames = _frames(images)
    stack = _stack(images, masks, kind)
    sources, stack = _sources(frames, stack, images[0].name)
    try:
        content = _encoded(sources, stack, list(masks), preset, kind)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BadInput(
            f"{images[0].name}: lacks what a DICOM SEG must repeat of its source ({type(error).__name__})",
            "choose png or npy",
        ) from error
    return write_atomic(path.with_name(f"{path.name}.dcm"), content)


def _frames(images: Sequence[MedImage]) -> list[DicomFrame]:
    if not images:
        raise BadInput("a DICOM SEG needs at least one image")
    frames = []
    for image in images:
        if not isinstance(image.origin, DicomFrame):
            raise BadInput(f"{image.name}: is no DICOM image, so a DICOM SEG has no source", "choose png or npy")
        missing = [keyword for keyword in _NEEDED if not image.origin.header.get(keyword)]
        if missing:
            raise BadInput(f"{image.name}: lacks {missing[0]}, which a DICOM SEG must repeat", "choose png or npy")
        frames.append(image.origin)
    if len({frame.header.SeriesInstanceUID for frame in frames}) > 1:
        raise BadInput(f"{images[0].name}: the images are of different series", "write one DICOM SEG for each")
    return frames


def _stack(images: Sequence[MedImage], masks: Mapping[str, Sequence[BoolArray]], kind: SegKind) -> NDArray[np.bool_]:
    """(images, height, width, prompts)."""
    if not masks:
        raise BadInput("a DICOM SEG needs at least one prompt")
    for prompt, several in masks.items():
        if len(several) != len(images):
            raise BadInput(f"prompt {prompt[:40]!r} has {len(several)} masks for {len(images)} images")
        for image, mask in zip(images, several, strict=True):
            if mask.shape != image.size or image.size != images[0].size:
                raise BadInput(f"{image.name}: a mask of shape {mask.shape} does not fit an image of {image.size}")
    stack = np.stack([np.stack(list(several)) for several in masks.values()], axis=-1).astype(bool)
    if kind == "labelmap" and (stack.sum(axis=-1) > 1).any():
        raise BadInput("masks overlap, which a label map cannot hold", "choose binary")
    return stack


def _sources(frames: list[DicomFrame], stack: NDArray[np.bool_], name: str) -> tuple[list[Dataset], NDArray[np.bool_]]:
    """The data sets to reference, and one plane of the stack for each of their frames."""
    header = frames[0].header
    count = int(header.get("NumberOfFrames") or 1)
    if count == 1:
        return [_placed_or_flat(frame.header) for frame in frames], stack
    if any(frame.header is not header for frame in frames):
        raise BadInput(f"{name}: the frames are of different objects", "write one DICOM SEG for each")
    if not header.get("PerFrameFunctionalGroupsSequence") or not header.get("FrameOfReferenceUID"):
        raise BadInput(f"{name}: a film without place in space has no DICOM SEG here", "choose png or npy")
    whole = np.zeros((count, *stack.shape[1:]), bool)
    whole[[frame.index for frame in frames]] = stack
    return [_completed(header)], whole


def _placed_or_flat(header: Dataset) -> Dataset:
    """A single-frame source, without its frame of reference where it does not say where in it the image lies."""
    source = _completed(header)
    if not source.get("SliceThickness"):
        source.SliceThickness = source.get("SpacingBetweenSlices") or None
    if "FrameOfReferenceUID" in source and not all(source.get(keyword) for keyword in _PLACED):
        del source.FrameOfReferenceUID
    return source


def _completed(header: Dataset) -> Dataset:
    """A copy with empty values for what the standard lets be empty, which anonymisers often remove altogether."""
    source = copy(header)
    for keyword in _MAY_BE_EMPTY:
        if keyword not in source:
            setattr(source, keyword, "")
    if text(source, "PatientSex") not in ("M", "F", "O"):
        source.PatientSex = ""
    return source


@contextmanager
def _unspoken() -> Iterator[None]:
    """Keep what highdicom and pydicom remark on a source out of terminal and logs: it may quote the patient's name."""
    logger = logging.getLogger("highdicom")
    silent, spoken = logging.NullHandler(), logger.propagate
    logger.addHandler(silent)
    logger.propagate = False
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.propagate = spoken
        logger.removeHandler(silent)


def _encoded(sources: list[Dataset], stack: NDArray[np.bool_], prompts: list[str], preset: str, kind: SegKind) -> bytes:
    """The whole file."""
    stream = BytesIO()
    with _unspoken():
        segmentation = _segmentation(sources, stack, prompts, preset, kind)
        segmentation.SpecificCharacterSet = "ISO_IR 192"
        if segmentation.get("FrameOfReferenceUID") is None:
            segmentation.PatientOrientation = sources[0].get("PatientOrientation") or ""
        segmentation.save_as(stream)
    return stream.getvalue()


def _segmentation(
    sources: list[Dataset], stack: NDArray[np.bool_], prompts: list[str], preset: str, kind: SegKind
) -> Segmentation:
    release = _release()
    series, instance = _identifiers(sources, stack, prompts, preset, kind)
    return Segmentation(
        source_images=sources,
        pixel_array=stack,
        segmentation_type=kind.upper(),
        segment_descriptions=[
            _description(number, prompt, release, preset) for number, prompt in enumerate(prompts, start=1)
        ],
        series_instance_uid=series,
        series_number=SERIES_NUMBER,
        sop_instance_uid=instance,
        instance_number=1,
        manufacturer=ALGORITHM,
        manufacturer_model_name=ALGORITHM,
        software_versions=release,
        device_serial_number="none",
        content_description=RESEARCH_USE_ONLY,
        content_label="SEGMENTATION",
        series_description=f"{ALGORITHM}: {short_text(prompts[0])}"[:64],
        omit_empty_frames=bool(stack.any()),
    )


def _description(number: int, prompt: str, release: str, preset: str) -> SegmentDescription:
    code = segment_code(prompt)
    return SegmentDescription(
        segment_number=number,
        segment_label=short_text(prompt),
        segmented_property_category=code.category,
        segmented_property_type=code.type,
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=ALGORITHM,
            family=codes.DCM.ArtificialIntelligence,
            version=release,
            parameters={"preset": preset} if preset else None,
        ),
        anatomic_regions=list(code.regions) or None,
    )


def _identifiers(
    sources: list[Dataset], stack: NDArray[np.bool_], prompts: list[str], preset: str, kind: SegKind
) -> tuple[str, str]:
    """(series, instance) UIDs that depend on what is written and on nothing else."""
    content = hashlib.sha256(np.packbits(stack).tobytes()).hexdigest()
    facts = [*(str(source.SOPInstanceUID) for source in sources), *prompts, preset, kind, _release(), content]
    return generate_uid(entropy_srcs=["series", *facts]), generate_uid(entropy_srcs=["instance", *facts])


def _release() -> str:
    try:
        return version("medclipsam")
    except PackageNotFoundError:
        return "unknown"
