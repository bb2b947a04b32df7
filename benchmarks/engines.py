"""What does each engine and precision of the embedded preset gain on a CPU, and what does it change in the masks?

    python benchmarks/engines.py ../shared/data --limit 5 --write benchmarks/results/engines.md

Every target of some validation images of each folder is asked of all that are installed, in turns, image by image;
nothing was chosen by the answers. Time is that of the image encoder alone. Dice is between the masks of torch in fp32
and those of the others, and with the reference.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import numpy as np
import torch
from accuracy_cases import Case, read_cases
from setting import machine, versions

import medclipsam
from medclipsam.engines import PACKAGES, installed
from medclipsam.errors import BadInput
from medclipsam.io.label_files import read_foreground
from medclipsam.methods.contract import Segmenter
from medclipsam.metrics.overlap import dice
from medclipsam.types import MedImage, Segmentation

WAYS = (("torch", "fp32"), ("torch", "bf16"), ("openvino", "fp32"), ("openvino", "bf16"), ("onnx", "fp32"))
"""Engines and precisions; the first is what the others are compared with."""


@dataclass
class Way:
    """One engine and precision, and what came of it."""

    engine: str
    precision: str
    segmenter: Segmenter
    seconds: list[float] = field(default_factory=list)
    processor_s: list[float] = field(default_factory=list)
    alike: list[float] = field(default_factory=list)
    """Dice with the masks of the first way; 1 where both are empty."""
    dice: list[float] = field(default_factory=list)
    """Dice with the reference."""
    same: list[bool] = field(default_factory=list)
    """Found, or not found, as by the first way."""
    moved: list[float] = field(default_factory=list)
    """How far presence is from the first way's."""

    def encode(self, image: MedImage) -> None:
        """Time the encoder on an image that was not seen before."""
        began, processor = perf_counter(), process_time()
        self.segmenter.prepare([image])
        self.seconds.append(perf_counter() - began)
        self.processor_s.append(process_time() - processor)

    def compare(self, result: Segmentation, plain: Segmentation, reference: np.ndarray) -> None:
        """Take in one answer."""
        self.alike.append(dice(plain.mask, result.mask))
        self.dice.append(dice(result.mask, reference))
        self.same.append(plain.found == result.found)
        self.moved.append(abs(float(plain.presence or 0) - float(result.presence or 0)))


def loaded(seed: int) -> list[Way]:
    """Every way that this machine has; each has encoded one image, so that it is warm."""
    ways = []
    for engine, precision in WAYS:
        if engine in PACKAGES and not installed(engine):
            continue
        try:
            choice: dict[str, Any] = {"encoder_engine": engine, "precision": precision}
            segmenter = medclipsam.load("embedded", device="cpu", seed=seed, **choice)
        except BadInput as error:
            print(f"without {engine} in {precision}: {error}")
            continue
        segmenter.prepare([medclipsam.image_from_array(np.eye(256, dtype=np.float32))])
        ways.append(Way(engine, precision, segmenter))
    return ways


def ask(ways: Sequence[Way], root: Path, case: Case) -> None:
    """Every target of an image, of every way."""
    image = medclipsam.read_image(root / case.image)
    for way in ways:
        way.encode(image)
    for target, path in case.masks.items():
        reference = read_foreground(root / path)
        results = [way.segmenter.segment(image, target) for way in ways]
        for way, result in zip(ways, results, strict=True):
            way.compare(result, results[0], reference)


def report(ways: Sequence[Way], folders: int, setting: str) -> str:
    """A row for each way."""
    columns = (
        *("engine", "precision", "encoder: seconds", "times faster", "processor seconds", "times less"),
        *("Dice with torch's masks in fp32: mean", "least", "found alike", "presence moved by at most"),
        "Dice with the reference",
    )
    rows = [
        f"{len(ways[0].alike)} targets on {len(ways[0].seconds)} validation images of {folders} folders. {setting}",
        "",
        f"| {' | '.join(columns)} |",
        "|---" * len(columns) + "|",
    ]
    first_s, first_processor_s = np.median(ways[0].seconds), np.median(ways[0].processor_s)
    for way in ways:
        seconds, processor_s = np.median(way.seconds), np.median(way.processor_s)
        rows.append(
            f"| {way.engine} | {way.precision} | {seconds:.3f} | **{first_s / seconds:.1f}** | {processor_s:.3f} | "
            f"{first_processor_s / processor_s:.1f} | {np.mean(way.alike):.4f} | {min(way.alike):.4f} | "
            f"{sum(way.same)} of {len(way.same)} | {max(way.moved):.4f} | {np.mean(way.dice):.3f} |"
        )
    return "\n".join(rows)


def main() -> None:
    """Measure, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with index.csv and the images that it names")
    parser.add_argument("--limit", type=int, default=5, help="images of each folder")
    parser.add_argument("--most", type=int, help="images in all, spread over the folders")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--write", type=Path, help="write the table to this file as well")
    chosen = parser.parse_args()
    cases = read_cases(chosen.data, "val", chosen.limit)
    if chosen.most and len(cases) > chosen.most:
        cases = [cases[round(index)] for index in np.linspace(0, len(cases) - 1, chosen.most)]
    ways = loaded(chosen.seed)
    for case in cases:
        ask(ways, chosen.data, case)
    packages = [PACKAGES[engine] for engine in PACKAGES if installed(engine)]
    setting = (
        f"Preset `embedded`, seed {chosen.seed}, {machine()}, {torch.get_num_threads()} threads, "
        f"{versions('torch', *packages, 'medclipsam')}."
    )
    found = report(ways, len({case.dataset for case in cases}), setting)
    print(found)
    if chosen.write:
        chosen.write.write_text(found + "\n", "utf-8")


if __name__ == "__main__":
    main()
