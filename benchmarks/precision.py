"""What does `--precision bf16` gain, and what does it change in the masks?

    python benchmarks/precision.py ../shared/data --write benchmarks/results/precision.md

Every target of some validation images of each folder is asked in both precisions; nothing was chosen by the answers.
Time is that of the processor, for the image encoder alone, with one thread.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from time import process_time
from typing import Any

import numpy as np
import torch
from accuracy import Case, read_cases
from setting import machine, versions

import medclipsam
from medclipsam.io.label_files import read_foreground
from medclipsam.metrics.overlap import dice
from medclipsam.types import MedImage, Segmentation

PACKAGES = ("torch", "medclipsam")


@dataclass(frozen=True, kw_only=True)
class Answered:
    """One target of one image, in both precisions."""

    alike: float
    """Dice between the two masks; 1 where both are empty."""
    dice: tuple[float, float]
    """With the reference: fp32, bf16."""
    found: tuple[bool, bool]
    presence: tuple[float, float]


class Both:
    """The same models in both precisions, and what their encoders took of the processor."""

    def __init__(self, preset: str, seed: int) -> None:
        self.segmenters = [
            medclipsam.load(preset, device="cpu", precision=precision, seed=seed) for precision in ("fp32", "bf16")
        ]
        self.seconds: list[tuple[float, ...]] = []

    def ask(self, root: Path, case: Case) -> Iterator[Answered]:
        """Every target of an image."""
        image = medclipsam.read_image(root / case.image)
        self.seconds.append(tuple(encoding_s(segmenter, image) for segmenter in self.segmenters))
        for target, path in case.masks.items():
            yield compared(
                [segmenter.segment(image, target) for segmenter in self.segmenters], read_foreground(root / path)
            )


def encoding_s(segmenter: Any, image: MedImage) -> float:
    """Processor seconds to encode an image that was not seen before."""
    began = process_time()
    segmenter.prepare([image])
    return process_time() - began


def compared(results: Sequence[Segmentation], reference: np.ndarray) -> Answered:
    """What the two say."""
    exact, short = results
    return Answered(
        alike=dice(exact.mask, short.mask),
        dice=(dice(exact.mask, reference), dice(short.mask, reference)),
        found=(exact.found, short.found),
        presence=(exact.presence, short.presence),
    )


def report(answers: Sequence[Answered], seconds: Sequence[tuple[float, ...]], folders: int, setting: str) -> str:
    """A table of one row for each precision, and how far they are apart."""
    fp32_s, bf16_s = np.median(np.array(seconds), axis=0)
    scores = np.array([answer.dice for answer in answers]).mean(axis=0)
    alike = np.array([answer.alike for answer in answers])
    moved = max(abs(answer.presence[0] - answer.presence[1]) for answer in answers)
    same = sum(answer.found[0] == answer.found[1] for answer in answers)
    return "\n".join(
        (
            f"{len(answers)} targets on {len(seconds)} validation images of {folders} folders. {setting}",
            "",
            "| `--precision` | processor seconds of the image encoder | times faster | Dice with the reference |",
            "|---|---|---|---|",
            f"| fp32 | {fp32_s:.2f} | 1.0 | {scores[0]:.3f} |",
            f"| bf16 | {bf16_s:.2f} | **{fp32_s / bf16_s:.1f}** | {scores[1]:.3f} |",
            "",
            f"Dice between the masks of the two: {alike.mean():.3f} in the mean, {np.median(alike):.3f} in the median, "
            f"{alike.min():.3f} at least. Found or not alike: {same} of {len(answers)}; presence moved by at most "
            f"{moved:.3f}.",
        )
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with index.csv and the images that it names")
    parser.add_argument("--limit", type=int, default=1, help="images of each folder")
    parser.add_argument("--preset", default="embedded")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="write the table to this file as well")
    chosen = parser.parse_args()
    torch.set_num_threads(1)
    both, cases = Both(chosen.preset, chosen.seed), read_cases(chosen.data, "val", chosen.limit)
    answers = [answer for case in cases for answer in both.ask(chosen.data, case)]
    setting = f"Preset `{chosen.preset}`, seed {chosen.seed}, {machine()}, 1 thread, {versions(*PACKAGES)}."
    found = report(answers, both.seconds, len({case.dataset for case in cases}), setting)
    print(found)
    if chosen.write:
        chosen.write.write_text(found + "\n", "utf-8")


if __name__ == "__main__":
    main()
