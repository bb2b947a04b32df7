"""What do several views of an image bring? The embedded preset with 1 to 6 of them, each an encoding more.

    python benchmarks/views.py ../shared/data --split val --limit 2 --write benchmarks/results/views-val.md
    python benchmarks/views.py ../shared/data --split test --limit 2 --write benchmarks/results/views-test.md

Every target of an image is asked of each number of views, those that it does not show too. Dice is the mean over
targets of the mean over their images, zero where the answer is "not found"; a target of two folders counts twice.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from accuracy_cases import Case, in_turns, read_cases
from accuracy_tables import home
from setting import machine, versions

import medclipsam
from medclipsam.config import zeroshot_preset
from medclipsam.io.label_files import read_foreground
from medclipsam.methods.contract import Segmenter
from medclipsam.metrics.overlap import dice
from medclipsam.prompting.views import MOST


@dataclass(frozen=True)
class Row:
    """One target of one image, asked with so many views."""

    views: int
    dataset: str
    target: str
    present: bool
    found: bool
    dice: float
    """Zero where nothing was found."""


def asked(segmenters: Sequence[Segmenter], root: Path, case: Case) -> list[Row]:
    """All targets of one image, by every number of views."""
    image, rows = medclipsam.read_image(root / case.image), []
    for views, segmenter in enumerate(segmenters, 1):
        for target, path in case.masks.items():
            answer = segmenter.segment(image, target)
            overlap = dice(answer.mask, read_foreground(root / path)) if answer.found else 0.0
            rows.append(Row(views, case.dataset, target, target not in case.absent, answer.found, overlap))
    return rows


def report(rows: Sequence[Row], setting: str) -> str:
    """A line for each number of views."""
    columns = ("views", "Dice, all targets", "main folders", "CT lungs", "found where present", "found where absent")
    lines = [setting, "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for views in range(1, MOST + 1):
        own = [row for row in rows if row.views == views]
        shown, missing = [row for row in own if row.present], [row for row in own if not row.present]
        lungs = [row for row in shown if row.target == "lungs" and "ct" in row.dataset.split("_")]
        figures = (mean(shown), mean([row for row in shown if home(row.dataset)]), mean(lungs))
        rates = (np.mean([row.found for row in some]) if some else np.nan for some in (shown, missing))
        told = [*(f"{figure:.3f}" for figure in figures), *(f"{rate:.1%}" for rate in rates)]
        lines.append(f"| {views} | {' | '.join(told)} |")
    return "\n".join(lines)


def mean(rows: Sequence[Row]) -> float:
    """Over folders and targets, each the mean of its images."""
    groups = defaultdict(list)
    for row in rows:
        groups[row.dataset, row.target].append(row.dice)
    return float(np.mean([np.mean(group) for group in groups.values()])) if groups else float("nan")


def main() -> None:
    """Ask, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with index.csv and the images that it names")
    parser.add_argument("--split", default="val", choices=("val", "test"))
    parser.add_argument("--limit", type=int, default=4, help="images of each folder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="write the table to this file as well")
    chosen = parser.parse_args()
    first = medclipsam.load("embedded", device="cpu", seed=chosen.seed)
    config = zeroshot_preset("embedded")
    ways = [
        medclipsam.load(replace(config, views=views), device="cpu", seed=chosen.seed, sam=first._sam)
        for views in range(1, MOST + 1)
    ]
    rows: list[Row] = []
    cases = in_turns(read_cases(chosen.data, chosen.split, chosen.limit))
    for number, case in enumerate(cases, 1):
        rows += asked(ways, chosen.data, case)
        print(f"\r{number} of {len(cases)} ", end="", flush=True)
    setting = (
        f"{len(cases)} images of the split `{chosen.split}`, preset `embedded`, seed {chosen.seed}. {machine()}, "
        f"{torch.get_num_threads()} threads, {versions('torch', 'medclipsam')}."
    )
    found = report(rows, setting)
    print(f"\n{found}")
    if chosen.write:
        chosen.write.write_text(found + "\n", "utf-8")


if __name__ == "__main__":
    main()
