"""Makes one map of labels of several masks that may overlap.

labels     1, 2, ... for the prompts; of two masks the smaller lies on top, as a tumour on its organ, of equal ones the
           later prompt
regions    a label for each combination of prompts that occurs, so that no pixel is lost; nnU-Net learns each prompt as
           the region of all labels that hold it
ignored    pixels of which the run was not sure, above all; the highest label
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from medclipsam.errors import BadInput
from medclipsam.types import BoolArray

BACKGROUND, IGNORE = "background", "ignore"
MOST = 254
"""Labels beside background and ignored pixels, of 8 bits."""
MOST_REGIONS = 62
"""Prompts that may overlap: a combination is a bit for each, in 64 bits."""
Labels = NDArray[np.uint8]


class LabelMaps(Protocol):
    """A way to unite masks."""

    def learn(self, masks: Mapping[str, BoolArray]) -> None:
        """Hear of the masks of an image; all are to be heard of before any is written."""

    def united(self, masks: Mapping[str, BoolArray], sizes: Mapping[str, int]) -> Labels:
        """One map of labels of an image; `sizes` are those of the whole masks."""

    def facts(self) -> dict[str, Any]:
        """What `dataset.json` of nnU-Net says of the labels."""

    @property
    def highest(self) -> int:
        """The highest label that stands for prompts."""


class Layered:
    """A label for each prompt, the smaller mask on top.

    Args:
        prompts: in the order of their labels.

    Raises:
        BadInput: too many, or one that is called like what nnU-Net reserves.
    """

    def __init__(self, prompts: Sequence[str]) -> None:
        check_prompts(prompts)
        self.values = {prompt: number for number, prompt in enumerate(prompts, 1)}
        self.highest = len(prompts)

    def learn(self, masks: Mapping[str, BoolArray]) -> None:
        """Nothing is to be known."""

    def united(self, masks: Mapping[str, BoolArray], sizes: Mapping[str, int]) -> Labels:
        """See `LabelMaps`."""
        labels = np.zeros(next(iter(masks.values())).shape, np.uint8)
        for prompt in sorted((each for each in self.values if each in masks), key=lambda each: -sizes[each]):
            labels[masks[prompt]] = self.values[prompt]
        return labels

    def facts(self) -> dict[str, Any]:
        """See `LabelMaps`."""
        return {"labels": {BACKGROUND: 0, **self.values}}


class Regions:
    """A label for each combination of prompts.

    Args:
        prompts: their first labels are those that stand for one prompt alone.

    Raises:
        BadInput: see `Layered`.
    """

    def __init__(self, prompts: Sequence[str]) -> None:
        check_prompts(prompts, most=MOST_REGIONS)
        self._prompts = list(prompts)
        self._values = {1 << number: number + 1 for number in range(len(prompts))}
        """Label of each combination, which is a bit for each prompt."""
        self._pixels: Counter[int] = Counter()

    @property
    def highest(self) -> int:
        """See `LabelMaps`."""
        return len(self._values)

    def learn(self, masks: Mapping[str, BoolArray]) -> None:
        """See `LabelMaps`.

        Raises:
            BadInput: more combinations than there are labels.
        """
        for combination, count in zip(*np.unique(self._bits(masks), return_counts=True), strict=True):
            if combination:
                self._values.setdefault(int(combination), len(self._values) + 1)
                self._pixels[int(combination)] += int(count)
        if self.highest > MOST:
            raise BadInput(f"the prompts overlap in more than {MOST} ways", "choose some by --prompt")

    def united(self, masks: Mapping[str, BoolArray], sizes: Mapping[str, int]) -> Labels:
        """See `LabelMaps`."""
        bits = self._bits(masks)
        labels = np.zeros(bits.shape, np.uint8)
        for combination in np.unique(bits).tolist():
            labels[bits == combination] = self._values.get(combination, 0)
        return labels

    def _bits(self, masks: Mapping[str, BoolArray]) -> NDArray[np.int64]:
        """The combination of each pixel."""
        bits = np.zeros(next(iter(masks.values())).shape, np.int64)
        for number, prompt in enumerate(self._prompts):
            if prompt in masks:
                bits[masks[prompt]] |= 1 << number
        return bits

    def facts(self) -> dict[str, Any]:
        """See `LabelMaps`; regions are painted in this order, so the largest comes first."""
        ordered = sorted(range(len(self._prompts)), key=lambda number: -self._size(number))
        regions = {
            self._prompts[number]: [value for bits, value in self._values.items() if bits >> number & 1]
            for number in ordered
        }
        if self.highest == len(self._prompts):
            return {"labels": {BACKGROUND: 0, **{prompt: values[0] for prompt, values in regions.items()}}}
        return {
            "labels": {BACKGROUND: 0, **regions},
            "regions_class_order": [self._values[self._usual(number)] for number in ordered],
        }

    def _size(self, number: int) -> int:
        return sum(count for bits, count in self._pixels.items() if bits >> number & 1)

    def _usual(self, number: int) -> int:
        """The combination that most pixels of a prompt are of."""
        having = {bits: count for bits, count in self._pixels.items() if bits >> number & 1}
        return max(having, key=lambda bits: having[bits]) if having else 1 << number


def check_prompts(prompts: Sequence[str], most: int = MOST) -> None:
    """Refuse prompts that cannot be labels.

    Raises:
        BadInput: too many, or one of a name that is reserved.
    """
    if len(prompts) > most:
        raise BadInput(f"{len(prompts)} prompts are more than {most} labels", "choose some by --prompt")
    reserved = [prompt for prompt in prompts if prompt in (BACKGROUND, IGNORE)]
    if reserved:
        raise BadInput(f"{reserved[0]!r} means something else in a map of labels", "choose others by --prompt")
