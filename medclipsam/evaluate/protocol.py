"""Measures a run as the MedCLIP-SAMv2 paper did, and lays it beside the paper's table.

As the released code of MedCLIP-SAMv2 measures (`--protocol medclip-samv2`):

    predictions      brought to the size of the reference by nearest neighbour, found from pixel corners
    foreground       values above 200
    DSC, NSD         four decimals for each image; NSD with 2 px and of a flat slab (`medclipsam.metrics.nsd_slab`)
    other distances  NSD, HD95 and ASSD beside the paper's: by boundary points
    a task           mean and standard deviation over its images, in percent

Where it breaks off, this goes on: two empty masks count 100, and what cannot be read is named. A folder holds a task
of the paper where its name says so (`breast_tumors`, `brain_tumors`, `lung_Xray`, `lung_CT`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from medclipsam.errors import BadInput
from medclipsam.evaluate.measuring import Measuring
from medclipsam.evaluate.paper import PAPER, TASKS, MeanStd, Result, Row, over_all, task_of
from medclipsam.evaluate.run import Evaluation
from medclipsam.metrics import Scores
from medclipsam.metrics.slab import TOLERANCE_PX

MEDCLIP_SAMV2 = "medclip-samv2"
FOREGROUND_ABOVE = 200
DECIMALS = 4
ALL = "All"
COLUMNS = (*(task.name for task in TASKS), ALL)


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A run on tasks of the paper."""

    row: Row
    images: dict[str, int]
    """Measured of each task."""
    left_out: int
    """Measured, but in no task of the paper, or a volume."""

    @property
    def other_sets(self) -> tuple[str, ...]:
        """Tasks with another number of images than the paper's test set: not the same images."""
        return tuple(task.name for task in TASKS if self.images.get(task.name, task.images) != task.images)


def as_in_the_paper(measuring: Measuring) -> Measuring:
    """The same pairs, measured as the paper did.

    Raises:
        BadInput: a tolerance or unit that is not the paper's.
    """
    if (measuring.unit, measuring.tolerance) != ("px", TOLERANCE_PX):
        raise BadInput(f"the protocol {MEDCLIP_SAMV2} measures with {TOLERANCE_PX:g} px", "leave the tolerance out")
    return replace(measuring, resize="corners", foreground_above=FOREGROUND_ABOVE, surface="points")


def standing(run: Evaluation, references: Path) -> Standing:
    """The run's row of the paper's table.

    Args:
        run: measured with `as_in_the_paper`.
        references: the folder of references; its own path names the task of what lies in no sub-folder that does.

    Raises:
        BadInput: no image lies in a folder that names a task of the paper.
    """
    tasks: dict[str, list[Scores]] = defaultdict(list)
    own, left_out = task_of(str(references.absolute())), 0
    for case in run.cases:
        task = task_of(str(PurePosixPath(case.name).parent)) or own
        if task and case.scores and case.scores.nsd_slab is not None:
            tasks[task.name].append(case.scores)
        else:
            left_out += case.scores is not None
    if not tasks:
        names = ", ".join(task.name for task in TASKS)
        raise BadInput(f"no folder names a task of the paper ({names})", "call them breast, brain, xray and ct")
    row = {name: _result(scores) for name, scores in tasks.items()}
    return Standing(row=row, images={name: len(scores) for name, scores in tasks.items()}, left_out=left_out)


def beside_the_paper(runs: Mapping[str, Standing]) -> list[list[str]]:
    """The table as text: a row of columns, the paper's rows, those of the runs, DSC / NSD in percent, and counts."""
    rows = {**PAPER, **{name: found.row for name, found in runs.items()}}
    counts = [_counts(name, found) for name, found in runs.items()]
    return [["method", *COLUMNS], *(_cells(method, row) for method, row in rows.items()), *counts]


def to_record(runs: Mapping[str, Standing]) -> dict[str, Any]:
    """The same as values that JSON can hold."""
    rows = {**PAPER, **{name: found.row for name, found in runs.items()}}
    return {
        "protocol": MEDCLIP_SAMV2,
        "images": {"the paper": {task.name: task.images for task in TASKS}, **{n: f.images for n, f in runs.items()}},
        "left_out": {name: found.left_out for name, found in runs.items()},
        "rows": {method: {task: asdict(each) for task, each in _with_all(row).items()} for method, row in rows.items()},
    }


def remarks(runs: Mapping[str, Standing]) -> list[str]:
    """What a reader of the table must know."""
    found = [
        f"{name}: {', '.join(run.other_sets)} has other images than the paper's test set: not comparable"
        for name, run in runs.items()
        if run.other_sets
    ]
    lost = [f"{name}: {run.left_out:,} cases are in no task" for name, run in runs.items() if run.left_out]
    return [*found, *lost]


def _result(scores: Sequence[Scores]) -> Result:
    return Result(dsc=_percent([each.dice for each in scores]), nsd=_percent([each.nsd_slab for each in scores]))


def _percent(values: Sequence[float | None]) -> MeanStd:
    numbers = 100 * np.round([value for value in values if value is not None], DECIMALS)
    return MeanStd(mean=float(numbers.mean()), std=float(numbers.std()))


def _with_all(row: Row) -> dict[str, Result]:
    whole = over_all(row)
    return {**row, ALL: whole} if whole else dict(row)


def _cells(method: str, row: Row) -> list[str]:
    shown = _with_all(row)
    return [method, *(f"{shown[each].dsc} / {shown[each].nsd}" if each in shown else "-" for each in COLUMNS)]


def _counts(name: str, found: Standing) -> list[str]:
    return [f"images: {name} / paper", *(f"{found.images.get(t.name, 0):,} / {t.images:,}" for t in TASKS), ""]
