"""Counts what an export wrote and what it left out, and keeps the notes for the person."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping


class Tally:
    """What became of an export.

    Args:
        left_out: number of masks that were left out before, by the reason.
    """

    def __init__(self, left_out: Mapping[str, int] | None = None) -> None:
        self.written: Counter[str] = Counter()
        """How many of each kind of thing were written, such as `images`."""
        self.notes: dict[str, None] = {}
        """What a person should know, each once."""
        self._left_out = Counter({f"masks left out ({reason})": count for reason, count in (left_out or {}).items()})

    def leave_out(self, what: str, reason: str) -> None:
        """One more `scan` or `image` is left out."""
        self._left_out[f"{what}s left out ({reason})"] += 1

    def note(self, text: str) -> None:
        """Tell the person, once."""
        self.notes[text] = None

    @property
    def counts(self) -> dict[str, int]:
        """All counts by name."""
        return {**self.written, **self._left_out}
