"""Gives the records of a folder as a person left them: accepted and corrected ones alone, with the masks that stand."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from medclipsam.errors import BadInput
from medclipsam.review.decisions import REVIEW, Decision, DecisionFile
from medclipsam.review.queue import Item, items_of
from medclipsam.runs.confidence import Verdict
from medclipsam.runs.finished import number_of
from medclipsam.runs.manifest import Picture, Record

GIVEN_BY_REVIEW = "accepted", "corrected"


def reviewed(folder: Path, records: Iterable[Record]) -> list[Record]:
    """The records that a person accepted or corrected, as if the run had ended so.

    A corrected record names the corrected masks in place of the run's, an accepted doubtful one those that were written
    for it; both are `done`, or `not found` where the masks are empty. Their files lie in `reviewed/`.

    Args:
        folder: what `medclipsam pseudolabel` wrote.
        records: those of its manifest.

    Raises:
        BadInput: nothing was accepted or corrected.
    """
    items = items_of(records, DecisionFile(folder).read())
    kept = [_as_left(item) for item in items if item.state in GIVEN_BY_REVIEW]
    if not kept:
        raise BadInput(
            f"nothing in {folder} was accepted or corrected ({REVIEW})", "look at it first: medclipsam review LABELS"
        )
    return kept


def _as_left(item: Item) -> Record:
    record, decision = item.record, item.decision
    if decision is None or not decision.masks:
        return record
    others = {name: digest for name, digest in record.outputs.items() if name not in decision.judged}
    left = replace(
        record,
        status=_verdict(len(decision.empty) == len(decision.masks)),
        outputs={**others, **decision.masks},
        pictures=tuple(_pictures(record, decision)),
    )
    if decision.state == "accepted":
        return left
    # what was measured and judged was another mask
    return replace(left, confidence=None, box=None, area_px=None, area_mm2=None, measurements=())


def _pictures(record: Record, decision: Decision) -> Iterator[Picture]:
    """Whether each image of a file of several has a mask; of a volume in one file as the run said, none doubtful."""
    verdicts = {_index(number_of(name, record)): _verdict(name in decision.empty) for name in decision.masks}
    for picture in record.pictures:
        believed: Verdict = "done" if picture.status == "doubtful" else picture.status
        yield replace(picture, status=verdicts.get(picture.index, believed))


def _index(number: str) -> int | None:
    """`-s0012` as 12; None of a file with all images."""
    return int(number[2:]) if number[2:].isdecimal() else None


def _verdict(is_empty: bool) -> Verdict:
    return "not found" if is_empty else "done"
