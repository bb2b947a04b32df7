"""Does leaving borders out of what the model sees help, at home and away?

    python benchmarks/borders.py ../shared/data --folders polyp_kvasir other_breast_us_buscot --images 8

Two rows for each folder: images that have a border of their own, and images without one that are given 15 % of black on
every side. Dice is of the whole image as the model gets it, and without the border. `--filled` moves the line between a
drawn border and air: 0.45 also takes the octagons of endoscopes. `cut` is the share of the reference masks that lies in
the border, which should be none. Images are those of the validation split, of a folder without one all.
"""

from __future__ import annotations

import argparse
import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from setting import conditions, spoken

import medclipsam
from medclipsam.io import read_image
from medclipsam.io.label_files import read_foreground
from medclipsam.methods.borders import FILLED, Inner, inner_of
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.metrics.overlap import dice
from medclipsam.types import BoolArray, MedImage

SHARE = 0.15
"""Of each side, drawn on every side."""


@dataclass(frozen=True, kw_only=True)
class Example:
    """An image, its border, and what lies in it."""

    image: MedImage
    inner: Inner
    target: str
    reference: BoolArray

    @property
    def cut(self) -> float:
        """Share of the reference that lies in the border."""
        kept = self.reference[slice(*self.inner.rows), slice(*self.inner.columns)].sum()
        return 1 - float(kept) / int(self.reference.sum())


def rows_of(root: Path, folder: str) -> list[dict[str, str]]:
    """The targets that are there, of the validation split where the folder has one."""
    with (root / "index.csv").open(newline="") as table:
        rows = [row for row in csv.DictReader(table) if row["dataset"] == folder and row["present"] == "1"]
    return [row for row in rows if row["split"] == "val"] or rows


def examples(root: Path, rows: Sequence[dict[str, str]], *, drawn: bool, filled: float) -> Iterator[Example]:
    """Images with a border of their own, or those without one, framed."""
    for row in rows:
        image, reference = read_image(root / row["image"]), read_foreground(root / row["mask"])
        if drawn != (inner_of(image.pixels, filled) is None):
            continue
        if drawn:
            image, reference = framed(image, reference)
        inner = inner_of(image.pixels, filled)
        if inner is not None:
            yield Example(image=image, inner=inner, target=row["target"], reference=reference)


def framed(image: MedImage, reference: BoolArray) -> tuple[MedImage, BoolArray]:
    """Both with black around them."""
    rows, columns = (2 * (int(SHARE * side),) for side in image.size)
    pixels = np.pad(image.pixels, (rows, columns, (0, 0)))
    return replace(image, pixels=pixels, values=None, plane_lps=None), np.pad(reference, (rows, columns))


def measured(segmenter: ZeroShotSegmenter, example: Example) -> tuple[float, float, float]:
    """Dice with the border, Dice without, and the share that is cut."""
    seen = segmenter.segment(example.image, example.target)
    spared = example.inner.put_back(segmenter.segment(example.inner.of(example.image), example.target))
    return dice(seen.mask, example.reference), dice(spared.mask, example.reference), example.cut


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--folders", nargs="+", required=True)
    parser.add_argument("--images", type=int, default=8, help="of each folder, evenly spread")
    parser.add_argument("--filled", type=float, default=FILLED)
    parser.add_argument("--out", type=Path, help="a file for the table")
    asked = parser.parse_args()
    loaded = medclipsam.load("embedded", device="cpu")
    segmenter = ZeroShotSegmenter(
        replace(loaded.config, crop_borders=False), loaded._evidence, loaded._sam, weights=dict(loaded.info.weights)
    )
    facts = spoken(conditions(0, loaded.info.weights))
    lines = [f"{facts}; filled {asked.filled}.", "", "| folder | border | images | with it | without | cut |"]
    lines += ["|---|---|---|---|---|---|"]
    for folder in asked.folders:
        rows = rows_of(asked.data, folder)
        for drawn in (False, True):
            found = list(examples(asked.data, rows[:: max(1, len(rows) // 200)], drawn=drawn, filled=asked.filled))
            some = found[:: max(1, -(-len(found) // asked.images))]
            figures = [measured(segmenter, example) for example in some]
            if figures:
                seen, spared, cut = np.mean(figures, axis=0)
                kind = "drawn" if drawn else "its own"
                lines.append(f"| {folder} | {kind} | {len(some)} | {seen:.3f} | {spared:.3f} | {cut:.4f} |")
                print(lines[-1], flush=True)
    text = "\n".join(lines) + "\n"
    print(text)
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
