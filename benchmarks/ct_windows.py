"""Are lungs found on a chest CT by whatever window it is read?

    python benchmarks/ct_windows.py ../shared/data/volumes --limit 8 --out benchmarks/results

Reads so many slices of each volume in Hounsfield units that has lungs beside it (NAME.nii.gz, NAME_lungs.nii.gz),
evenly spread over those that show at least `LEAST` of the plane, by each window; then the picture of the lung window
inverted, and with a black border, as a person would give who has the picture alone. Dice of each slice against the
reference; every volume counts alike. Writes ct-windows.json with every slice and ct-windows.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from accuracy_cases import in_turns_of, spread
from harmless import border, inverted, picture_of
from judging import Model, add_options, as_json, asked, heading
from volumes import drawn

from medclipsam.io.atomic import write_atomic
from medclipsam.io.reading import open_source, picture
from medclipsam.io.source import ReadOptions
from medclipsam.io.window import Window
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.metrics.overlap import dice
from medclipsam.types import BoolArray, MedImage

TARGET = "lungs"
LEAST = 0.02
"""Share of a slice that is lung."""
PLAIN: Window = (-600.0, 1500.0)
WINDOWS: Mapping[str, Window] = {
    "-1000 to 0 HU": (-500.0, 1000.0),
    "centre -600, width 1500": PLAIN,
    "centre 40, width 400": (40.0, 400.0),
    "percentiles": "percentiles",
}
CHANGES = {"centre -600, width 1500, inverted": inverted, "centre -600, width 1500, black border": border}
WANTED = 0.92


@dataclass(frozen=True, kw_only=True)
class Slice:
    """One slice to ask about."""

    volume: Path
    index: int


@dataclass(frozen=True, kw_only=True)
class Row:
    """One slice by one window."""

    volume: str
    index: int
    window: str
    dice: float
    found: bool


def slices(folder: Path, limit: int) -> list[Slice]:
    """The slices to ask about, volumes taking turns."""
    found = []
    for path in sorted(folder.glob(f"*_{TARGET}.nii.gz")):
        shown = [index for index, mask in enumerate(drawn(path)) if mask.mean() >= LEAST]
        volume = path.with_name(path.name.replace(f"_{TARGET}", ""))
        found.append([Slice(volume=volume, index=index) for index in spread(shown, limit)])
    return in_turns_of(found)


def compare(segmenter: ZeroShotSegmenter, which: Slice) -> list[Row]:
    """One slice by every window."""
    reference = drawn(which.volume.with_name(which.volume.name.replace(".nii.gz", f"_{TARGET}.nii.gz")))[which.index]
    rows = []
    for window, image, mask in _views(which, reference):
        answer = segmenter.segment(image, TARGET)
        name = which.volume.name.removesuffix(".nii.gz")
        found = Row(volume=name, index=which.index, window=window, dice=dice(answer.mask, mask), found=answer.found)
        rows.append(found)
    return rows


def _views(which: Slice, reference: BoolArray) -> Iterator[tuple[str, MedImage, BoolArray]]:
    for name, window in WINDOWS.items():
        yield name, _read(which, window), reference
    plain = _read(which, PLAIN)
    for name, change in CHANGES.items():
        pixels, masks = change(plain.pixels, reference[None])
        yield name, picture_of(replace(plain, format="raster"), pixels), masks[0]


def _read(which: Slice, window: Window) -> MedImage:
    return picture(open_source(which.volume, ReadOptions(window=window)), which.index)


def means(rows: Sequence[Row]) -> dict[str, float]:
    """Window -> mean Dice, volumes alike."""
    found = {}
    for window in dict.fromkeys(row.window for row in rows):
        mine = [row for row in rows if row.window == window]
        volumes = [[row.dice for row in mine if row.volume == name] for name in {row.volume for row in mine}]
        found[window] = float(np.mean([np.mean(values) for values in volumes]))
    return found


def table(rows: Sequence[Row]) -> list[str]:
    """One row for each window."""
    by_window = means(rows)
    lines = ["| window | slices | Dice | found | worst slice |", "|---|---|---|---|---|"]
    for window, mean in by_window.items():
        mine = [row for row in rows if row.window == window]
        found, worst = np.mean([row.found for row in mine]), min(row.dice for row in mine)
        lines.append(f"| {window} | {len(mine)} | {mean:.3f} | {found:.0%} | {worst:.3f} |")
    return [*lines, "", f"At least {WANTED} is wanted by every window; the least is {min(by_window.values()):.3f}."]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volumes", type=Path, help="a folder with NAME.nii.gz and NAME_lungs.nii.gz")
    parser.add_argument("--limit", type=int, default=8, help="slices of each volume; 0 takes all")
    add_options(parser, "slice")
    chosen = parser.parse_args()
    model = Model.of(chosen)
    items = slices(chosen.volumes, chosen.limit)
    rows, facts = asked(model, compare, items, jobs=chosen.jobs, minutes=chosen.minutes)
    rows.sort(key=lambda row: (row.volume, row.index))
    said = f"{TARGET}, {facts['done']} slices of {len({row.volume for row in rows})} volumes"
    lines = [*heading(facts, said), *table(rows)]
    chosen.out.mkdir(parents=True, exist_ok=True)
    write_atomic(chosen.out / "ct-windows.md", "\n".join(lines) + "\n")
    write_atomic(chosen.out / "ct-windows.json", as_json(facts, {"means": means(rows)}, rows))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
