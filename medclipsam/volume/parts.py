"""Finds the connected parts of a mask in 3-D and keeps the largest, slice by slice.

    slice 1    slice 2    slice 3
    A A . B    A . . B    A . . .      parts touch where pixels of neighbouring slices lie on each other
    A . . .    A . C .    . . C C      A 6, B 2, C 3 pixels   ->   the largest, and those at least half as large: A, C

Answers wait in a temporary file until the last slice was seen; pictures are read again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from tempfile import TemporaryFile
from typing import IO

import numpy as np
from numpy.typing import NDArray

from medclipsam.metrics.parts import labelled
from medclipsam.types import BoolArray, FloatArray, MedImage, Segmentation, Uncertainty
from medclipsam.volume.neighbours import Answered, with_mask

LEAST_SHARE = 0.5
"""Share of the largest part's volume: what is at least so large stays beside it, as the second lung does."""
_LEVELS = 65535


class Parts:
    """The connected parts of a mask that comes slice by slice (8 neighbours within a slice, 2 across).

    Args:
        least_overlap: share of the larger of two shapes on neighbouring slices that they have in common where they are
            one part; less is enough where neither has more in common with any other. By default any pixel is.
    """

    def __init__(self, least_overlap: float = 0.0) -> None:
        self._least_overlap = least_overlap
        self._parent: list[int] = []
        self._sizes: list[int] = []
        self._first: list[int] = []
        """For each slice the number of its first label."""
        self._stays: list[bool] = []
        self._before: NDArray[np.int64] = np.zeros((0, 0), np.int64)

    def add(self, mask: BoolArray) -> None:
        """Take the next slice, (height, width)."""
        labels, areas = labelled(mask)
        first = len(self._parent)
        self._first.append(first)
        self._parent += range(first, first + len(areas))
        self._sizes += areas.tolist()
        numbers = np.where(labels > 0, labels.astype(np.int64) + first - 1, -1)
        if self._before.shape == numbers.shape:
            self._join_overlapping(self._before, numbers)
        self._before = numbers

    @property
    def count(self) -> int:
        """How many parts were seen so far."""
        return len({self._root(number) for number in range(len(self._parent))})

    def finish(self, least_share: float = LEAST_SHARE) -> None:
        """Decide, once all slices were taken, which parts stay: those of at least this share of the largest's size."""
        volumes = [0] * len(self._parent)
        for number, size in enumerate(self._sizes):
            volumes[self._root(number)] += size
        least = least_share * max(volumes, default=0)
        self._stays = [volumes[self._root(number)] >= least for number in range(len(self._parent))]

    def largest(self, index: int, mask: BoolArray) -> BoolArray:
        """What of a slice stays.

        Args:
            index: the number of the slice.
            mask: as it was given to `add`.
        """
        labels, areas = labelled(mask)
        first = self._first[index]
        return np.asarray(np.array([False, *self._stays[first : first + len(areas)]])[labels])

    def _join_overlapping(self, before: NDArray[np.int64], after: NDArray[np.int64]) -> None:
        """Join shapes of neighbouring slices, whose pixels hold their numbers, -1 outside."""
        both = (before >= 0) & (after >= 0)
        pairs, shared = np.unique(np.stack([before[both], after[both]], axis=1), axis=0, return_counts=True)
        most: dict[int, int] = {}
        overlaps = [(one, other, count) for (one, other), count in zip(pairs.tolist(), shared.tolist(), strict=True)]
        for one, other, count in overlaps:
            most[one], most[other] = max(most.get(one, 0), count), max(most.get(other, 0), count)
        for one, other, count in overlaps:
            larger = max(self._sizes[one], self._sizes[other])
            if count >= self._least_overlap * larger or count == most[one] == most[other]:
                self._join(one, other)

    def _root(self, number: int) -> int:
        while self._parent[number] != number:
            self._parent[number] = self._parent[self._parent[number]]
            number = self._parent[number]
        return number

    def _join(self, one: int, other: int) -> None:
        one, other = sorted((self._root(one), self._root(other)))
        self._parent[other] = one


def largest_parts(slices: Iterable[Answered], again: Callable[[int], MedImage]) -> Iterator[Answered]:
    """Keep the largest parts of each prompt's mask.

    Args:
        slices: in the order of their places.
        again: reads the picture of the slice that came as number k once more.

    Returns:
        The slices, once all of them were seen; where the largest parts do not reach, nothing is found.
    """
    parts: list[Parts] = []
    waiting: list[list[Segmentation]] = []
    with TemporaryFile() as file:
        for answered in slices:
            parts = parts or [Parts() for _ in answered.results]
            for part, result in zip(parts, answered.results, strict=True):
                part.add(result.mask)
            waiting.append([_parked(result, file) for result in answered.results])
        for part in parts:
            part.finish()
        file.seek(0)
        for index, results in enumerate(waiting):
            whole = [_fetched(result, file) for result in results]
            kept = [part.largest(index, result.mask) for part, result in zip(parts, whole, strict=True)]
            settled = [with_mask(result, mask, result.probability) for result, mask in zip(whole, kept, strict=True)]
            yield Answered(again(index), settled)


def _parked(result: Segmentation, file: IO[bytes]) -> Segmentation:
    """The result with its maps in the file, in 65,536 steps, and its mask in bits."""
    for values in result.maps.values():
        np.save(file, (values * _LEVELS).round().astype(np.uint16), allow_pickle=False)
    np.save(file, np.packbits(result.mask), allow_pickle=False)
    np.save(file, np.array(result.mask.shape), allow_pickle=False)
    nothing: FloatArray = np.zeros((1, 1), np.float32)
    return _with_maps(result, dict.fromkeys(result.maps, nothing), nothing > 0)


def _fetched(result: Segmentation, file: IO[bytes]) -> Segmentation:
    maps = {name: np.load(file, allow_pickle=False).astype(np.float32) / _LEVELS for name in result.maps}
    bits, size = (np.load(file, allow_pickle=False) for _ in range(2))
    mask = np.unpackbits(bits, count=int(size.prod())).reshape(size).astype(bool)
    return _with_maps(result, maps, mask)


def _with_maps(result: Segmentation, maps: Mapping[str, FloatArray], mask: BoolArray) -> Segmentation:
    """The result with other maps of the same names, and another mask."""
    unsure = Uncertainty(entropy=maps["entropy"], information=maps["information"]) if result.uncertainty else None
    return replace(
        result, mask=mask, probability=maps["probability"], saliency=maps.get("saliency"), uncertainty=unsure
    )
