"""Settles the evidence of a stack before a mask is drawn: neighbours are mixed in, and parts are judged in 3-D.

    slice     1      2      3      4      5      6
    own       lung   lung   -      lung   gas    neck        each as it looks alone
    mixed     lung   lung   lung   lung   lung   neck        its own logits, and some of each neighbour's
    parts     A      A      A      A      A      B           B is small beside A: nothing is drawn on 6

A part counts by its size in the whole stack, not by its share of a slice: the tip of an organ beside a large other half
stays, and what looks like the organ on a few slices goes. Slices on which the text alone was not seen are drawn where a
part goes on through them from one slice that shows it to the next. Maps of 128 x 128 cells are kept, never encodings or
pictures.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from medclipsam.io.source import neighbour_gap
from medclipsam.methods.contract import Weighed
from medclipsam.metrics.parts import labelled
from medclipsam.types import BoolArray, FloatArray
from medclipsam.volume.parts import Parts

OWN_SHARE = 0.75
"""Weight of a slice's own logits; each neighbour has half of the rest, and where there is none the slice has that too.
By the evidence alone, in maps of 64 x 64 cells (benchmarks/settling.py), the best of 0.33 to 1 that costs no target of
two validation stacks of the heart 0.001; on a chest CT of thin slices 0.5 is a little better, on the heart's thick ones
it is worse."""
LEAST_PART = 0.1
"""Share of the largest part's size in 3-D from which a part counts. Small, so that a lesion is not lost beside a larger
one; bowel gas beside the lungs of a chest CT is smaller still."""
LEAST_OVERLAP = 0.2
"""Share of the larger of two shapes on neighbouring slices that they have in common where they are one part; less is
enough where neither has more in common with any other. An organ changes little from slice to slice; gas in the stomach
touches a lung on one. By the evidence alone (benchmarks/settling.py) the least of 0.1 to 0.4 that parts these two on
chest_ct_002, and on validation stacks of hearts and gliomas no worse than none."""
UNDIVIDED = frozenset(
    {"heart", "left ventricle", "liver", "myocardium", "prostate", "right ventricle", "spleen", "urinary bladder"}
)
"""Prompts for what a body has one of, in one piece: a small part that lies apart is something else. Other words, as
`accessory spleen`, may mean several."""
LEAST_UNDIVIDED = 0.5
"""The same as `LEAST_PART` for these: of an organ that missed slices cut in two, the smaller piece stays only where it
is at least half as large as the other. Chosen on validation stacks of the heart (docs/accuracy.md, Volumes)."""


@dataclass(frozen=True, eq=False)
class _Kept:
    """What is kept of a slice: its cells, or None where the prompt failed on it."""

    weighed: Weighed | None
    joins_before: bool


class Settling:
    """The evidence for one prompt on a stack, taken slice by slice and settled when all were seen.

    Args:
        places_mm: where the slices lie along the stack; slices beside a gap are no neighbours.
        own_share: see `OWN_SHARE`.
        least_part: see `LEAST_PART` and `least_part_of`.
        least_overlap: see `LEAST_OVERLAP`.
    """

    def __init__(
        self,
        places_mm: Sequence[float],
        *,
        own_share: float = OWN_SHARE,
        least_part: float = LEAST_PART,
        least_overlap: float = LEAST_OVERLAP,
    ) -> None:
        gap = neighbour_gap(places_mm)
        self._joined = [False, *(abs(after - before) <= gap for before, after in pairwise(places_mm))]
        self._own_share, self._least_part = own_share, least_part
        self._slices: list[_Kept] = []
        self._parts = Parts(least_overlap)
        self._through: dict[int, BoolArray] = {}
        """The cells, of slices that were doubted alone, by which a part goes on through them."""

    def add(self, weighed: Weighed | None) -> None:
        """Take the next slice; None where the prompt failed on it."""
        before = self._slices[-1].weighed if self._slices else None
        alike = weighed is not None and before is not None and weighed.size == before.size
        self._slices.append(_Kept(weighed, alike and self._joined[len(self._slices)]))

    def finish(self) -> None:
        """Judge the parts, once all slices were taken."""
        shown = [index for index, each in enumerate(self._slices) if each.weighed and not each.weighed.doubt]
        for before, after in pairwise(shown):
            self._through |= self._going_on(before, after)
        for index in range(len(self._slices)):
            self._parts.add(self._marked(index, self._mixed(index)))
        self._parts.finish(self._least_part)

    def settled(self, index: int) -> Weighed | None:
        """The evidence of a slice after its neighbours were heard; None where the prompt failed on it.

        Cells of parts that do not count speak against the text as much as they spoke for it. Where a slice marked
        something and nothing of it counts, the answer is that the other slices speak against it.
        """
        own = self._slices[index].weighed
        if own is None:
            return own
        mixed = self._mixed(index)
        kept = self._parts.largest(index, self._marked(index, mixed))
        if own.doubt and not kept.any():
            return own
        cells = replace(own.cells, logits=np.where(kept, mixed, -np.abs(mixed)))
        refused = not kept.any() and bool((own.cells.logits > 0).any())
        return replace(own, cells=cells, settled=True, doubt="neighbours" if refused else None)

    def _going_on(self, before: int, after: int) -> dict[int, BoolArray]:
        """For the doubted slices between two that show the text: cells that join both; none where they do not."""
        between = range(before + 1, after)
        if not between or not all(self._slices[index].joins_before for index in range(before + 1, after + 1)):
            return {}
        found, ends = {}, [self._marked(index, self._mixed(index)) for index in (before, after)]
        reached = ends[0]
        for index in between:
            reached = found[index] = touching(self._mixed(index) > 0, reached)
        reached = ends[1]
        for index in reversed(between):
            reached = found[index] = touching(found[index], reached)
        return found if reached.any() else {}

    def _mixed(self, index: int) -> FloatArray:
        """(rows, columns): the logits of a slice with its neighbours'."""
        this = self._slices[index].weighed
        if this is None:
            return np.zeros((1, 1), np.float32)
        own, share = this.cells.logits, self._own_share
        before = self._slices[index - 1].weighed if self._slices[index].joins_before else None
        is_last = index + 1 == len(self._slices)
        after = None if is_last or not self._slices[index + 1].joins_before else self._slices[index + 1].weighed
        apart = [each.cells.logits - own for each in (before, after) if each is not None]
        return np.asarray(own + (1 - share) / 2 * sum(apart), np.float32)

    def _marked(self, index: int, mixed: FloatArray) -> BoolArray:
        """The cells that show the text; of a doubted slice those by which a part goes on through it."""
        if index in self._through:
            return self._through[index]
        own = self._slices[index].weighed
        return np.asarray(mixed > 0) & bool(own and not own.doubt)


def least_part_of(prompt: str) -> float:
    """The least part that counts of what a prompt names; several wordings, separated by `|`, must agree."""
    wordings = {wording.strip().lower() for wording in prompt.split("|")}
    return LEAST_UNDIVIDED if wordings <= UNDIVIDED else LEAST_PART


def touching(mask: BoolArray, other: BoolArray) -> BoolArray:
    """The 8-connected parts of a mask that overlap another mask of its size."""
    labels, _ = labelled(mask)
    return np.asarray(np.isin(labels, np.unique(labels[mask & other]))) & mask
