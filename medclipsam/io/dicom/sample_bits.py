"""Finds the bits of a stored sample that hold the pixel, apart from overlays and from empty bits.

    Bits Allocated 16, Bits Stored 12, High Bit 11      ....pppp pppppppp     as the standard wants it (PS3.5 8.1.1)
    Bits Allocated 16, Bits Stored 12, High Bit 15      pppppppp pppp....     left-justified, in files from before
    overlay bits above the pixel                        oooopppp pppppppp     retired, and left in many code streams

A header that contradicts its samples is refused: a picture of the wrong bits looks like noise, or black.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray
from pydicom.dataset import Dataset

from medclipsam.errors import BadInput
from medclipsam.io.dicom.codestream import Codestream
from medclipsam.io.dicom.values import numbers

WAY_OUT = "ask who wrote the file which of them is right"


@dataclass(frozen=True, kw_only=True)
class SampleBits:
    """Where in a sample the pixel stands, counted from the lowest bit."""

    start: int
    end: int
    """The first bit after it."""
    wide: int
    """How many bits its values may need, by all that the header says."""
    overlays: frozenset[int] = frozenset()
    """Positions of overlay bits."""

    def of(self, samples: NDArray[Any], name: str) -> NDArray[Any]:
        """The pixels of decoded samples, signed ones with their sign.

        Raises:
            BadInput: bits below the pixel that are neither empty nor an overlay, or values that do not fit.
        """
        if samples.dtype.kind not in "iu":
            return samples
        below = sum(1 << bit for bit in range(self.start) if bit not in self.overlays)
        if below and (samples & samples.dtype.type(below)).any():
            raise BadInput(f"{name}: its High Bit and Bits Stored contradict its samples", WAY_OUT)
        # Shifted to the top and back: bits above the pixel fall off, and the sign of signed samples is spread.
        above = max(samples.dtype.itemsize * 8 - self.end, 0)
        pixels: NDArray[Any] = (samples << above) >> (above + self.start) if above or self.start else samples
        if self.wide < self.end - self.start and _bits(pixels) > self.wide:
            raise BadInput(f"{name}: its High Bit and Bits Stored contradict its samples", WAY_OUT)
        return pixels


def sample_bits(dataset: Dataset, header: Codestream | None) -> SampleBits:
    """Where the pixel stands in the samples of a data set.

    Args:
        dataset: it says Bits Stored and High Bit; without a High Bit the pixel is right-justified.
        header: of the codestream, where the samples stand in one.
    """
    allocated = int(dataset.BitsAllocated)
    stored = int((numbers(dataset, "BitsStored") or (allocated,))[0])
    said = int((numbers(dataset, "HighBit") or (stored - 1,))[0]) + 1
    # A coder of no more bits than are stored has taken the pixel out of its place; a High Bit that leaves no room for
    # the pixel can say no more than how large its values are.
    coded = header is not None and header.bits <= stored
    end = stored if coded or not stored <= said <= allocated else said
    wide = said if 0 < said < stored else stored
    return SampleBits(start=end - stored, end=end, wide=wide, overlays=_overlay_bits(dataset))


def _bits(pixels: NDArray[Any]) -> int:
    """How many bits the values need, with that of the sign where they are signed."""
    least, most = int(pixels.min(initial=0)), int(pixels.max(initial=0))
    return max(most.bit_length(), (-least - 1).bit_length() if least < 0 else 0) + int(pixels.dtype.kind == "i")


def _overlay_bits(dataset: Dataset) -> frozenset[int]:
    """Positions of the overlays that stand in the samples (PS3.3 C.9.2, retired)."""
    groups = {tag.group for tag in dataset.keys() if 0x6000 <= tag.group < 0x6020}  # noqa: SIM118  values may be broken
    inside = (group for group in groups if dataset.get((group, 0x0100)) and dataset[group, 0x0100].value != 1)
    found = (dataset.get((group, 0x0102)) for group in inside)
    return frozenset(int(element.value) for element in found if element is not None)
