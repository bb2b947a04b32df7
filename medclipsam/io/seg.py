"""How do masks become a DICOM SEG that a viewer lays over the scan? highdicom writes it; this says what it says.

    images of one DICOM series, or frames of one object     ->   referenced as sources, geometry repeated
    prompt 1: masks        ->   segment 1                        (`medclipsam.io.dicom_sources`)
    prompt 2: masks        ->   segment 2 (may overlap 1)

The preamble is zero, identifiers are made from the content (the same masks give the same ones), and the description
says that the result is for research. The file names the patient, because the standard says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, Literal

import highdicom
import numpy as np
from highdicom.color import CIELabColor
from highdicom.seg import Segmentation, SegmentDescription
from highdicom.sr import CodedConcept
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from medclipsam.errors import BadInput
from medclipsam.io.atomic import write_atomic
from medclipsam.io.dicom_maker import ALGORITHM, SERIES_NUMBER, SUFFIX, colour, content_uids, release
from medclipsam.io.dicom_sources import SourceFrames, is_film, repeating, seg_sources, written
from medclipsam.io.seg_codes import segment_code, short_text
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.types import BoolArray, FloatArray, MedImage

MOST = 255
"""Stands for the probability 1 in a fractional SEG."""
SegKind = Literal["binary", "labelmap", "fractional"]
Values = BoolArray | FloatArray


def write_seg(
    images: Sequence[MedImage],
    masks: Mapping[str, Sequence[Values]],
    path: Path,
    *,
    preset: str = "",
    kind: SegKind = "binary",
) -> Path:
    """Write the masks of several prompts on the images of one DICOM series as one segmentation object.

    Args:
        images: single-frame images of one series, frames of one enhanced object, or one frame of a film,
            as `read_image` gave them.
        masks: prompt -> one (height, width) mask for each image, in the order of `images`; masks may be empty.
        path: the file without its suffix; `.dcm` is added.
        preset: what made the masks; it goes into the algorithm identification.
        kind: `binary`: one bit plane for each prompt, overlaps kept; `labelmap`: one plane of numbers;
            `fractional`: probabilities in [0, 1] in place of masks, kept in 255 steps.

    Returns:
        The path with its suffix.

    Raises:
        BadInput: sources that are not DICOM, not of one series or lack what must be repeated, masks that do not fit,
            or overlapping masks for a label map.
        CannotWrite: see `medclipsam.io.atomic`.
    """
    return written(SegMasks(kind=kind, preset=preset), images, masks, path)


def check_seg(image: MedImage, kind: SegKind = "binary") -> None:
    """Say early whether masks of an image can be written as DICOM SEG, by writing one to memory.

    Raises:
        BadInput: they cannot.
    """
    point = np.zeros(image.size, np.float32 if kind == "fractional" else bool)
    point[0, 0] = 1
    gathered = SegMasks(kind=kind)
    gathered.add(image, "check", point)
    gathered.encoded()


class SegMasks:
    """The masks of one object, gathered picture by picture; bits are packed, so that a long series stays small.

    Args:
        kind: see `write_seg`.
        preset: what makes the masks.
    """

    def __init__(self, *, kind: SegKind = "binary", preset: str = "") -> None:
        self._kind = kind
        self._preset = preset
        self._sources = SourceFrames()
        self._planes: dict[str, list[NDArray[np.uint8]]] = {}
        self._taken: BoolArray = np.zeros((0, 0), bool)

    def add(self, image: MedImage, prompt: str, values: Values) -> None:
        """Take what one prompt gave on one picture; all prompts of a picture come before the next picture.

        Raises:
            BadInput: a picture that goes not with the others, values that do not fit it, or an overlap in a label map.
        """
        if self._sources.take(image, values.shape):
            self._taken = np.zeros(image.size, bool)
        self._planes.setdefault(prompt, []).append(self._packed(values))

    def write(self, path: Path) -> Path:
        """Write all as one object; the path with its suffix `.dcm`.

        Raises:
            BadInput: there is nothing to write, or the sources lack what must be repeated.
            CannotWrite: see `medclipsam.io.atomic`.
        """
        return write_atomic(path.with_name(f"{path.name}{SUFFIX}"), self.encoded())

    def encoded(self) -> bytes:
        """The whole file.

        Raises:
            BadInput: as `write` says.
        """
        if not self._sources.all:
            raise BadInput("a DICOM SEG needs at least one image and one prompt")
        if any(len(planes) != len(self._sources.all) for planes in self._planes.values()):
            raise ValueError("not every prompt was asked of every picture")
        with repeating(self._sources.name):
            return self._encoded(seg_sources(self._sources.all))

    def _packed(self, values: Values) -> NDArray[np.uint8]:
        if self._kind == "fractional":
            return np.rint(values.astype(np.float32) * MOST).astype(np.uint8)
        mask = values.astype(bool)
        if self._kind == "labelmap":
            if (mask & self._taken).any():
                raise BadInput("masks overlap, which a label map cannot hold", "choose binary")
            self._taken |= mask
        return np.packbits(mask)

    def _unpacked(self, plane: NDArray[np.uint8]) -> NDArray[Any]:
        if self._kind == "fractional":
            return plane.astype(np.float32) / np.float32(MOST)
        return (
            np.unpackbits(plane, count=self._sources.size[0] * self._sources.size[1])
            .reshape(self._sources.size)
            .astype(bool)
        )

    def _stack(self) -> NDArray[Any]:
        """(planes, height, width) of segment numbers where no two segments overlap, else (..., segments).

        Of an enhanced object every frame is a plane, for highdicom knows them by their order.
        """
        header = self._sources.all[0].header
        enhanced = bool(header.get("PerFrameFunctionalGroupsSequence"))
        places = [frame.index for frame in self._sources.all] if enhanced else range(len(self._sources.all))
        count = int(header.get("NumberOfFrames") or 1) if enhanced else len(self._sources.all)
        if self._kind != "fractional":
            labels = np.zeros((count, *self._sources.size), np.uint16 if len(self._planes) > 255 else np.uint8)
            if self._paint(labels, places):
                return labels
        kind = np.float32 if self._kind == "fractional" else bool
        stack = np.zeros((count, *self._sources.size, len(self._planes)), kind)
        for number, planes in enumerate(self._planes.values()):
            for place, plane in zip(places, planes, strict=True):
                stack[place, ..., number] = self._unpacked(plane)
        return stack

    def _paint(self, labels: NDArray[Any], places: Sequence[int]) -> bool:
        """Number the pixels by their segment; False as soon as one has two."""
        for number, planes in enumerate(self._planes.values(), start=1):
            for place, plane in zip(places, planes, strict=True):
                mask = self._unpacked(plane)
                if labels[place][mask].any():
                    return False
                labels[place][mask] = number
        return True

    def _encoded(self, sources: list[Dataset]) -> bytes:
        segmentation = self._segmentation(sources)
        segmentation.SpecificCharacterSet = "ISO_IR 192"
        segmentation.ContentCreatorName = ""
        if segmentation.get("FrameOfReferenceUID") is None:
            segmentation.PatientOrientation = sources[0].get("PatientOrientation") or ""
        if is_film(self._sources.all[0].header):
            _name_frame(segmentation, self._sources.all[0].index + 1)
        stream = BytesIO()
        segmentation.save_as(stream)
        return stream.getvalue()

    def _segmentation(self, sources: list[Dataset]) -> Segmentation:
        prompts = list(self._planes)
        stack = self._stack()
        series, instance = self._identifiers(sources)
        return Segmentation(
            source_images=sources,
            pixel_array=stack,
            segmentation_type=self._kind.upper(),
            segment_descriptions=[_description(n, prompt, self._preset) for n, prompt in enumerate(prompts, start=1)],
            series_instance_uid=series,
            series_number=SERIES_NUMBER,
            sop_instance_uid=instance,
            instance_number=1,
            manufacturer=ALGORITHM,
            manufacturer_model_name=ALGORITHM,
            software_versions=release(),
            device_serial_number="none",
            content_description=RESEARCH_USE_ONLY,
            content_label="SEGMENTATION",
            series_description=f"{ALGORITHM}: {short_text(prompts[0])}"[:64],
            omit_empty_frames=bool(stack.any()),
        )

    def _identifiers(self, sources: list[Dataset]) -> tuple[str, str]:
        """(series, instance) UIDs that depend on what is written and on nothing else."""
        content = hashlib.sha256()
        for planes in self._planes.values():
            for plane in planes:
                content.update(plane.tobytes())
        facts = [
            *(str(source.SOPInstanceUID) for source in sources),
            *(str(frame.index) for frame in self._sources.all),
            *self._planes,
            *(self._preset, self._kind, content.hexdigest()),
        ]
        return content_uids(facts)


def _description(number: int, prompt: str, preset: str) -> SegmentDescription:
    code = segment_code(prompt)
    description = SegmentDescription(
        segment_number=number,
        segment_label=short_text(prompt),
        segmented_property_category=code.category,
        segmented_property_type=code.type,
        algorithm_type="AUTOMATIC",
        algorithm_identification=highdicom.AlgorithmIdentificationSequence(
            name=ALGORITHM,
            family=codes.DCM.ArtificialIntelligence,
            version=release(),
            parameters={"preset": preset} if preset else None,
        ),
        anatomic_regions=list(code.regions) or None,
        display_color=CIELabColor.from_rgb(*colour(number)),
    )
    if code.side is not None:
        _add_side(description, CodedConcept.from_code(code.side))
    return description


def _add_side(description: SegmentDescription, side: CodedConcept) -> None:
    """Left or right of the region, or where there is none of what the segment is."""
    if "AnatomicRegionSequence" in description:
        description.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [side]
    else:
        description.SegmentedPropertyTypeCodeSequence[0].SegmentedPropertyTypeModifierCodeSequence = [side]


def _name_frame(segmentation: Segmentation, number: int) -> None:
    """Say which frame of a film was segmented, which highdicom does not where it has no place."""
    segmentation.SharedFunctionalGroupsSequence[0].pop("PixelMeasuresSequence", None)
    for group in segmentation.PerFrameFunctionalGroupsSequence:
        for derivation in group.DerivationImageSequence:
            for source in derivation.SourceImageSequence:
                source.ReferencedFrameNumber = number
