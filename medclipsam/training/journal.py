"""The record of a run, step by step: a JSON line for each, a line for the person who waits, TensorBoard where wanted.

{"kind": "train", "step": 12, "epoch": 1, "loss": 0.84, "learning_rate": 8.1e-07, "examples_per_second": 41.0, ...}
{"kind": "validation", "step": 50, "top1": 0.31, ...}
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol, Self

from medclipsam.errors import CannotWrite, MissingExtra
from medclipsam.types import Progress

Entry = Mapping[str, Any]


class Observer(Protocol):
    """Whoever wants to know of each step."""

    def __call__(self, entry: Entry) -> None:
        """Take one entry: `step` counts the steps done, `steps` all of them.

        `kind` is `train` or `validation`, or, for images that are made ready before the first step, `encoding` or
        `reading`.
        """


class Journal:
    """`log.jsonl` of a run.

    Args:
        path: the file; what it holds of later steps than `step` is dropped, for a resumed run does them again.
        step: steps done so far.

    Raises:
        CannotWrite: the file cannot be opened.
    """

    def __init__(self, path: Path, step: int = 0) -> None:
        kept = [line for line in _lines(path) if json.loads(line)["step"] <= step] if step else []
        try:
            path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise CannotWrite(f"{path.name} cannot be written ({error})", "choose another folder") from error

    def __call__(self, entry: Entry) -> None:
        self._file.write(json.dumps({name: _plain(value) for name, value in entry.items()}) + "\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()


class TensorBoard:
    """Event files under a folder.

    Raises:
        MissingExtra: TensorBoard is not installed.
    """

    def __init__(self, folder: Path, step: int = 0) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter  # noqa: PLC0415  (optional)
        except ImportError as error:
            raise MissingExtra("TensorBoard", "train") from error
        self._writer = SummaryWriter(str(folder), purge_step=step + 1)

    def __call__(self, entry: Entry) -> None:
        for name, value in entry.items():
            if isinstance(value, float):
                self._writer.add_scalar(f"{entry['kind']}/{name}", value, entry["step"])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._writer.close()


def follow(tell: Progress) -> Observer:
    """Tell a person loss, rate and speed of each step, and how far the encoding before the first one is."""

    def observe(entry: Entry) -> None:
        if entry["kind"] == "train":
            rates = f"rate {entry['learning_rate']:.1e}  {entry['examples_per_second']:.0f} examples/s"
            tell(f"epoch {int(entry['epoch'])}  loss {entry['loss']:.3f}  {rates}", entry["step"], entry["steps"])
        elif entry["kind"] in {"encoding", "reading"}:
            tell(f"{entry['kind']} images", entry["step"], entry["steps"])

    return observe


def read_journal(path: Path) -> list[Entry]:
    """All entries of a run; empty where there is no log."""
    return [json.loads(line) for line in _lines(path)]


def _plain(value: Any) -> Any:
    """JSON has no infinity."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _lines(path: Path) -> list[str]:
    """Whole lines; the last one of a killed run may be half written."""
    if not path.is_file():
        return []
    return [line for line in path.read_text("utf-8").split("\n")[:-1] if line]
