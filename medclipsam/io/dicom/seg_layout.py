"""Which frames a DICOM SEG holds, and what highdicom leaves to be said of them.

    one prompt, or a label map   every slice from the first to the last that is filled
    several prompts              each the slices on which it is filled
    all slices, on request       every slice that was segmented, for each prompt

A slice left out between others makes SimpleITK and plastimatch take every voxel for 1 x 1 x 1 mm.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from copy import deepcopy

import numpy as np
from pydicom.dataset import Dataset

from medclipsam.io.dicom.frames import DicomFrame
from medclipsam.io.dicom.places import along_normal, place_of
from medclipsam.types import BoolArray

_TEMPORAL_POSITION_INDEX = 0x00209128
_FRAME_CONTENT_SEQUENCE = 0x00209111


def kept(filled: BoolArray, frames: Sequence[DicomFrame], *, together: bool, everything: bool) -> BoolArray:
    """(prompts, pictures): which masks become frames; none where all are empty.

    Args:
        filled: (prompts, pictures): which masks are not empty.
        frames: of the pictures.
        together: whether the frames make one stack: of one prompt, or a label map.
        everything: keep all masks.
    """
    if everything or not filled.any():
        return np.full_like(filled, everything)
    if not together:
        return filled
    return np.broadcast_to(_between(np.asarray(filled.any(axis=0)), frames), filled.shape)


def _between(filled: BoolArray, frames: Sequence[DicomFrame]) -> BoolArray:
    """From the first to the last that is filled, in the order of their places, or of a film in that of its frames."""
    places = [place for frame in frames if (place := place_of(frame))]
    at = along_normal(places) if len(places) == len(frames) else np.array([frame.index for frame in frames], float)
    inside: BoolArray = (at >= at[filled].min()) & (at <= at[filled].max())
    return inside


def number_each_frame(segmentation: Dataset) -> None:
    """Move the number of the only segment from what all frames share to each frame: dwv and MONAI look there alone."""
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    if "SegmentIdentificationSequence" in shared:
        for group in segmentation.PerFrameFunctionalGroupsSequence:
            group.SegmentIdentificationSequence = deepcopy(shared.SegmentIdentificationSequence)
        del shared.SegmentIdentificationSequence


def spread_over_film(segmentation: Dataset, frames: Sequence[DicomFrame], masks: Iterable[tuple[int, int]]) -> None:
    """Give each mask of a film a frame of its own; highdicom knows a single frame without place.

    Args:
        segmentation: with one frame for each segment.
        frames: those of the film that were segmented.
        masks: (number of the segment, number of the picture) of each, in order; those of a label map have segment 1.
    """
    shared = segmentation.SharedFunctionalGroupsSequence[0]
    shared.pop("PixelMeasuresSequence", None)
    template = segmentation.PerFrameFunctionalGroupsSequence[0]
    groups = [_of_film(template, segment, frames[picture].index + 1) for segment, picture in masks]
    segmentation.PerFrameFunctionalGroupsSequence = groups
    segmentation.NumberOfFrames = len(groups)
    dimension = Dataset()
    dimension.DimensionOrganizationUID = segmentation.DimensionIndexSequence[0].DimensionOrganizationUID
    dimension.DimensionIndexPointer = _TEMPORAL_POSITION_INDEX
    dimension.FunctionalGroupPointer = _FRAME_CONTENT_SEQUENCE
    dimension.DimensionDescriptionLabel = "Temporal Position Index"
    segmentation.DimensionIndexSequence.append(dimension)


def _of_film(template: Dataset, segment: int, number: int) -> Dataset:
    """The functional groups of a segment on the frame of this number, from 1 on."""
    group = deepcopy(template)
    group.FrameContentSequence[0].DimensionIndexValues = [segment, number]
    group.FrameContentSequence[0].TemporalPositionIndex = number
    if "SegmentIdentificationSequence" in group:
        group.SegmentIdentificationSequence[0].ReferencedSegmentNumber = segment
    for derivation in group.DerivationImageSequence:
        for source in derivation.SourceImageSequence:
            source.ReferencedFrameNumber = number
    return group
