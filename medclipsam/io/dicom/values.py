"""Reads what a DICOM object says of one of its frames; plain and enhanced objects answer alike.

    top level  <  Shared Functional Groups  <  Per-Frame Functional Groups          (PS3.3 C.7.6.16)

Values that are no numbers are not trusted: where they only describe, they count as absent.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from pydicom.dataset import Dataset

_KEYWORDS = (
    *("ModalityLUTSequence", "RescaleIntercept", "RescaleSlope", "RescaleType"),
    *("VOILUTSequence", "WindowCenter", "WindowWidth", "VOILUTFunction", "PresentationLUTShape"),
    *("PixelSpacing", "ImagerPixelSpacing", "NominalScannedPixelSpacing", "EstimatedRadiographicMagnificationFactor"),
    "PixelSpacingCalibrationType",
    *("SequenceOfUltrasoundRegions", "PixelPaddingValue", "PixelPaddingRangeLimit"),
    *("PhotometricInterpretation", "BitsStored", "PixelRepresentation", "Modality", "PixelPresentation"),
    *(
        f"{segmented}{colour}PaletteColorLookupTable{part}"
        for colour in ("Red", "Green", "Blue")
        for segmented, part in (("", "Descriptor"), ("", "Data"), ("Segmented", "Data"))
    ),
)
_MACROS = (
    *("PixelMeasuresSequence", "FrameVOILUTSequence", "PixelValueTransformationSequence"),
    *("FramePixelDataPropertiesSequence", "XRayGeometrySequence"),
)


def frame_attributes(
    header: Dataset, index: int, *, keywords: Sequence[str] = _KEYWORDS, macros: Sequence[str] = _MACROS
) -> Dataset:
    """What holds for the frame at a 0-based index, flat as in a single-frame object.

    Args:
        header: the object.
        index: of the frame.
        keywords: the attributes that are asked for; those of spacing and display unless others are named.
        macros: the functional groups that they stand in.
    """
    flat = Dataset()
    flat.set_original_encoding(*header.original_encoding)
    for source in (header, *_macros(header, index, macros)):
        for keyword in keywords:
            if keyword in source:
                flat.add(source[keyword])
    return flat


def numbers(dataset: Dataset, keyword: str) -> tuple[float, ...]:
    """The finite numbers of an attribute; () where it is absent, empty, or not all numbers."""
    try:
        value = dataset.get(keyword)
        several = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        found = tuple(float(one) for one in several if one not in (None, ""))
    except (ValueError, TypeError, OverflowError):
        return ()
    return found if all(math.isfinite(one) for one in found) else ()


def text(dataset: Dataset, keyword: str) -> str:
    """A code string in upper case; empty where it is absent."""
    return str(dataset.get(keyword) or "").strip().upper()


def _macros(header: Dataset, index: int, macros: Sequence[str]) -> Iterator[Dataset]:
    shared = header.get("SharedFunctionalGroupsSequence") or []
    frames = header.get("PerFrameFunctionalGroupsSequence") or []
    for group in (*shared[:1], *frames[index : index + 1]):
        for macro in macros:
            yield from (group.get(macro) or [])[:1]
