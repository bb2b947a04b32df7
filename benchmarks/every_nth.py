"""What does `--every-nth N` cost in Dice on whole volumes, and how many slices are encoded?

    python benchmarks/every_nth.py ../shared/data --write benchmarks/results/every-nth.md

Each slice of `DATA/volumes` is segmented once; every N starts from those answers, drops the slices that it does not
ask, decides on the others as `segment` does by default, and draws the masks between. Dice is of the whole volume.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from setting import machine, versions
from volumes import PROMPTS, Volume, whole

import medclipsam
from medclipsam.methods.contract import Segmenter
from medclipsam.metrics.overlap import dice
from medclipsam.types import BoolArray, Hints, MedImage, Segmentation
from medclipsam.volume.between import Between
from medclipsam.volume.decision import decide
from medclipsam.volume.neighbours import Answered
from medclipsam.volume.rules import RULES

STEPS = (1, 2, 3, 4, 6)


@dataclass(frozen=True)
class Row:
    """One target of one volume, asked every so many slices."""

    volume: str
    target: str
    slices: int
    nth: int
    asked: int
    reference: float
    """Dice with the reference."""
    whole: float
    """Dice with the masks where all slices are asked."""


def measured(segmenter: Segmenter, volume: Volume) -> Iterator[Row]:
    """Every target with every step."""
    targets = list(volume.references)
    prompts = [PROMPTS.get(target, target) for target in targets]
    answers = [Answered(image, [segmenter.segment(image, prompt) for prompt in prompts]) for image in volume.images]
    every = masks_of(segmenter, volume, answers, 1)
    for nth in STEPS:
        found = masks_of(segmenter, volume, answers, nth)
        for number, target in enumerate(targets):
            reference = np.stack(volume.references[target])
            yield Row(
                volume.name,
                target,
                len(answers),
                nth,
                len(asked(len(answers), nth)),
                dice(found[number], reference),
                dice(found[number], every[number]),
            )


def asked(count: int, nth: int) -> list[int]:
    """The slices that are asked."""
    return sorted({*range(0, count, nth), count - 1})


def masks_of(segmenter: Segmenter, volume: Volume, answers: Sequence[Answered], nth: int) -> list[BoolArray]:
    """(slices, height, width) for each prompt."""
    kept: dict[int, Answered] = {}
    numbers = asked(len(answers), nth)
    places = tuple(volume.places_mm[number] for number in numbers)

    def ask(image: MedImage, prompt: str, hints: Hints) -> Segmentation:
        return segmenter.segment(image, prompt, hints=hints)

    def again(number: int) -> MedImage:
        return volume.images[numbers[number]]

    def keep(answered: Answered, number: int) -> None:
        kept[number] = answered

    between = Between(keep, numbers, volume.places_mm, volume.images.__getitem__)
    thinned = [answers[number] for number in numbers]
    for number, answered in enumerate(decide(thinned, places, RULES["agree"], ask=ask, again=again)):
        between(answered, number)
    prompts = range(len(answers[0].results))
    return [np.stack([kept[index].results[prompt].mask for index in sorted(kept)]) for prompt in prompts]


def report(rows: Sequence[Row], setting: str) -> str:
    """One line for each target and step."""
    columns = (
        "volume",
        "target",
        "slices",
        "N",
        "slices asked",
        "Dice with the reference",
        "change",
        "Dice with N = 1",
    )
    lines = [setting, "", f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
    for row in rows:
        plain = next(one for one in rows if (one.volume, one.target, one.nth) == (row.volume, row.target, 1))
        lines.append(
            f"| {row.volume} | {row.target} | {row.slices} | {row.nth} | {row.asked} | {row.reference:.3f} | "
            f"{row.reference - plain.reference:+.3f} | {row.whole:.3f} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder that holds volumes/")
    parser.add_argument("--engine", default="torch", help="what computes the preset")
    parser.add_argument("--write", type=Path, help="write the table to this file as well")
    chosen = parser.parse_args()
    segmenter = medclipsam.load("embedded", device="cpu", encoder_engine=chosen.engine)
    rows = [row for volume in whole(chosen.data / "volumes") for row in measured(segmenter, volume)]
    setting = f"Preset `embedded`, {segmenter.info.engine}, {machine()}, {versions('torch', 'medclipsam')}."
    found = report(rows, setting)
    print(found)
    if chosen.write:
        chosen.write.write_text(found + "\n", "utf-8")


if __name__ == "__main__":
    main()
