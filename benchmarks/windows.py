"""Does the model find lungs better in the window that its own presence chooses, on whole CT volumes?

    python benchmarks/windows.py ../shared/data --slices 6

Every window is asked about the same slices of each CT of `DATA/volumes`; (auto) is what a run would take by presence
on them. Dice is the mean over the slices that show lungs, presence the mean over all that are asked.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from setting import conditions, spoken
from volumes import Volume, whole

import medclipsam
from medclipsam.io.reading import open_source, picture
from medclipsam.io.source import ReadOptions
from medclipsam.io.window import NAMED_HU, as_rgb, between, edges, spread
from medclipsam.methods.contract import Segmenter
from medclipsam.metrics.overlap import dice
from medclipsam.runs.windows import CANDIDATES, MARGIN, best, in_window, is_hounsfield
from medclipsam.types import MedImage

PROMPT = "lungs"
OTHERS = {"(-1000, 0)": (-500.0, 1000.0), "(-600, 1500)": NAMED_HU["lung"], "(40, 400)": (40.0, 400.0)}
"""Centre and width of the windows that are asked beside the candidates."""


def chests(folder: Path) -> Iterator[Volume]:
    """The volumes that show lungs, as their files say."""
    for volume in whole(folder):
        source = open_source(folder / f"{volume.name}.nii.gz", ReadOptions())
        images = [picture(source, index) for index in range(source.count)]
        if PROMPT in volume.references and is_hounsfield(images[source.count // 2]):
            yield replace(volume, images=images)


def shown(image: MedImage, window: str) -> MedImage:
    """The slice in a candidate's window, or in one of `OTHERS`."""
    if window not in OTHERS or image.values is None:
        return in_window(image, window)
    return replace(image, pixels=as_rgb(between(image.values, *edges(OTHERS[window])))[0])


def measured(segmenter: Segmenter, volume: Volume, window: str, chosen: Sequence[int]) -> tuple[float, float]:
    """Mean Dice and mean presence over some slices."""
    references = volume.references[PROMPT]
    answers = [(segmenter.segment(shown(volume.images[index], window), PROMPT), references[index]) for index in chosen]
    scores = [dice(answer.mask, reference) for answer, reference in answers if reference.any()]
    return float(np.mean(scores)), float(np.mean([answer.presence or 0.0 for answer, _ in answers]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--slices", type=int, default=6, help="of each volume, evenly spread")
    parser.add_argument("--out", type=Path, help="a file for the table")
    asked = parser.parse_args()
    segmenter = medclipsam.load("embedded", device="cpu")
    lines = [f"{spoken(conditions(0, segmenter.info.weights))}; margin {MARGIN}.", ""]
    lines += ["| volume | window | Dice | presence |", "|---|---|---|---|"]
    for volume in chests(asked.data / "volumes"):
        chosen = spread(len(volume.images), asked.slices + 2)[1:-1]
        found = {window: measured(segmenter, volume, window, chosen) for window in (*CANDIDATES, *OTHERS)}
        auto = best({window: found[window][1] for window in CANDIDATES})
        for window, (score, presence) in found.items():
            name = f"{window} (auto)" if window == auto else window
            lines.append(f"| {volume.name} | {name} | {score:.3f} | {presence:.3f} |")
            print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
