"""Orders what is to be looked at, the least sure first, and chooses of it by prompt, confidence, verdict and state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from medclipsam.io.naming import prompt_slug
from medclipsam.review.decisions import Decision, State, judged_files
from medclipsam.runs.confidence import Verdict
from medclipsam.runs.manifest import READ, Key, Record
from medclipsam.runs.sheet import least_sure_first


@dataclass(frozen=True, kw_only=True)
class Item:
    """One prompt of one scan, and what was decided on it."""

    record: Record
    decision: Decision | None

    @property
    def id(self) -> str:
        """What tells items apart, safe in an address."""
        return f"{self.record.case}.{prompt_slug(self.record.prompt or '')}"

    @property
    def first(self) -> int:
        """Number of the image that most needs a look: of those with a mask the least sure, else the nearest miss."""
        pictures = self.record.pictures
        sure = {picture.confidence: picture.index for picture in pictures if picture.confidence is not None}
        if sure:
            return sure[min(sure)]
        return max(pictures, key=lambda picture: picture.presence or 0.0).index if pictures else 0

    @property
    def state(self) -> State | Literal["waiting"]:
        """What became of it."""
        return self.decision.state if self.decision else "waiting"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which items are wanted; all, where nothing is said."""

    prompt: str | None = None
    least: float = 0.0
    """Confidence from here on; what was not found has none, and counts as 0."""
    most: float = 1.0
    """Confidence up to here."""
    verdict: Verdict | None = None
    """What the run said: `done`, `doubtful` or `not found`."""
    state: State | Literal["waiting"] | None = None

    def takes(self, item: Item) -> bool:
        """Whether an item is wanted, its state aside."""
        record = item.record
        return (
            self.prompt in (None, record.prompt)
            and self.least <= (record.confidence or 0.0) <= self.most
            and self.verdict in (None, record.status)
        )


def items_of(records: Iterable[Record], decisions: Mapping[Key, Decision]) -> list[Item]:
    """All items, the least sure first, then what was not found; a decision on other masks is none."""
    found, missed = least_sure_first(record for record in records if record.status in READ)
    return [Item(record=record, decision=_counting(record, decisions.get(record.key))) for record in (*found, *missed)]


def chosen(items: Sequence[Item], wanted: Wanted) -> tuple[list[Item], int, int]:
    """(the wanted items in order, how many of all but for the state are decided on, how many there are)."""
    some = [item for item in items if wanted.takes(item)]
    decided = sum(item.decision is not None for item in some)
    return [item for item in some if wanted.state in (None, item.state)], decided, len(some)


def _counting(record: Record, decision: Decision | None) -> Decision | None:
    return decision if decision and dict(decision.judged) == judged_files(record) else None
