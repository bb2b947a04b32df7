"""Tells a person how a run goes: epoch, loss, Dice of the last validation, learning rate and the time that is left."""

from __future__ import annotations

from time import perf_counter

from medclipsam.training.journal import Entry
from medclipsam.types import Progress

MEMORY = 0.9
"""Share of the running mean of a step's seconds that the next step keeps."""


class Follower:
    """An observer of `loop.fit`."""

    def __init__(self, tell: Progress) -> None:
        self._tell = tell
        self._dice: float | None = None
        self._seconds: float | None = None
        self._last = perf_counter()

    def __call__(self, entry: Entry) -> None:
        """Take one entry of the log."""
        if entry["kind"] == "encoding":
            self._tell("encoding images", entry["step"], entry["steps"])
        elif entry["kind"] == "validation":
            self._dice = entry.get("dice", self._dice)
        elif entry["kind"] == "train":
            self._time()
            self._tell(self._line(entry), entry["step"], entry["steps"])

    def _time(self) -> None:
        """Validations count too: they are part of what is left."""
        now = perf_counter()
        taken, self._last = now - self._last, now
        self._seconds = taken if self._seconds is None else MEMORY * self._seconds + (1 - MEMORY) * taken

    def _line(self, entry: Entry) -> str:
        dice = "" if self._dice is None else f"  Dice {self._dice:.3f}"
        left = (self._seconds or 0.0) * (entry["steps"] - entry["step"])
        rate = f"rate {entry['learning_rate']:.1e}"
        return f"epoch {int(entry['epoch'])}  loss {entry['loss']:.3f}{dice}  {rate}  {duration(left)} left"


def duration(seconds: float) -> str:
    """Such as `40 s`, `12 min`, `3.5 h`."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 100 * 60 else f"{seconds / 3600:.1f} h"
