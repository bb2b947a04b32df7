"""Does it matter by which window a chest CT is read, and does presence choose one in which lungs are found?

    python benchmarks/ct_windows.py ../shared/data/volumes --limit 12 --out benchmarks/results

Asks about so many slices, evenly spread, of each volume in Hounsfield units that has lungs beside it (NAME.nii.gz,
NAME_lungs.nii.gz): by each window, first by those among which `--window auto` chooses; then the picture of the lung
window inverted, and with a black border, as a person would give who has the picture alone. Dice is of the slices that
show at least `LEAST` of lungs, presence of all that are asked. One table has every window, volumes counting alike;
another has each volume by each window, and which of them auto would take by presence on these slices. A third counts
the other taught targets that would be found on the same slices: by one window, and if the greatest presence of several
decided. Writes ct-windows.json with every slice and ct-windows.md.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from accuracy_cases import in_turns_of
from harmless import border, inverted, picture_of
from judging import Model, add_options, as_json, asked, heading
from volumes import REFERENCE_WINDOW

from medclipsam.io.atomic import write_atomic
from medclipsam.io.reading import open_source, picture
from medclipsam.io.source import ReadOptions
from medclipsam.io.window import FILE, NAMED_HU, Window, parse_window, spread
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.metrics.overlap import dice
from medclipsam.runs.windows import MARGIN, best, candidates, is_hounsfield
from medclipsam.types import BoolArray, MedImage
from medclipsam.weights.targets import known_targets

TARGET = "lungs"
LEAST = 0.02
"""Share of a slice that is lung."""
PLAIN = "lung"
TRIED = candidates(TARGET)
"""What auto chooses among."""
WINDOWS: Mapping[str, Window] = {
    **{name: parse_window(name) for name in (*TRIED, "soft-tissue")},
    "-1000 to 0 HU": (-500.0, 1000.0),
    "centre 40, width 400": (40.0, 400.0),
}
"""What is asked, by its name in the tables."""
COUNTED = tuple(name for name, window in WINDOWS.items() if isinstance(window, str))
"""In which the other targets are counted."""
CHANGES = {f"{PLAIN}, inverted": inverted, f"{PLAIN}, black border": border}
WANTED = 0.92


Seen = dict[str, tuple[float, bool]]
"""By window: presence, and whether something would be drawn."""


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
    share: float
    """How much of the slice is lung."""
    dice: float
    found: bool
    presence: float
    others: Mapping[str, tuple[float, bool]] = field(default_factory=dict)
    """Presence of each other taught target, and whether something would be drawn; of windows in `COUNTED`."""

    @property
    def shown(self) -> bool:
        """Whether the slice shows lungs."""
        return self.share >= LEAST


def slices(folder: Path, limit: int) -> list[Slice]:
    """The slices to ask about, without the ends of a volume, volumes taking turns."""
    found = []
    for path in sorted(folder.glob(f"*_{TARGET}.nii.gz")):
        volume = path.with_name(path.name.replace(f"_{TARGET}", ""))
        source = open_source(volume, ReadOptions())
        if is_hounsfield(picture(source, source.count // 2)):
            chosen = spread(source.count, limit + 2)[1:-1] if limit else range(source.count)
            found.append([Slice(volume=volume, index=index) for index in chosen])
    return in_turns_of(found)


def compare(segmenter: ZeroShotSegmenter, which: Slice) -> list[Row]:
    """One slice by every window."""
    reference = _reference(which)
    rows = []
    for window, image, mask in _views(which, reference):
        answer = segmenter.segment(image, TARGET)
        row = Row(
            volume=which.volume.name.removesuffix(".nii.gz"),
            index=which.index,
            window=window,
            share=float(reference.mean()),
            dice=dice(answer.mask, mask),
            found=answer.found,
            presence=answer.presence or 0.0,
            others=_others(segmenter, image) if window in COUNTED else {},
        )
        rows.append(row)
    return rows


def _others(segmenter: ZeroShotSegmenter, image: MedImage) -> dict[str, tuple[float, bool]]:
    found = {}
    for target in (each.target for each in known_targets()):
        if len(candidates(target)) == 1:
            weighed = segmenter.weigh(image, target)
            found[target] = (weighed.cells.presence, weighed.doubt is None)
    return found


def _views(which: Slice, reference: BoolArray) -> Iterator[tuple[str, MedImage, BoolArray]]:
    for name, window in WINDOWS.items():
        yield name, _read(which.volume, which.index, window), reference
    plain = _read(which.volume, which.index, WINDOWS[PLAIN])
    for name, change in CHANGES.items():
        pixels, masks = change(plain.pixels, reference[None])
        yield name, picture_of(replace(plain, format="raster"), pixels), masks[0]


def _reference(which: Slice) -> BoolArray:
    path = which.volume.with_name(which.volume.name.replace(".nii.gz", f"_{TARGET}.nii.gz"))
    return np.asarray(_read(path, which.index, REFERENCE_WINDOW).pixels[..., 0] > 0)


def _read(path: Path, index: int, window: Window) -> MedImage:
    return picture(open_source(path, ReadOptions(window=window)), index)


def means(rows: Sequence[Row]) -> dict[str, float]:
    """Window -> mean Dice of the slices that show lungs, volumes alike."""
    found = {}
    for window in dict.fromkeys(row.window for row in rows):
        mine = [row for row in rows if row.window == window and row.shown]
        volumes = [[row.dice for row in mine if row.volume == name] for name in {row.volume for row in mine}]
        found[window] = float(np.mean([np.mean(values) for values in volumes]))
    return found


def by_window(rows: Sequence[Row]) -> list[str]:
    """The table with one row for each window."""
    lines = ["| window | slices | Dice | found | worst slice |", "|---|---|---|---|---|"]
    for window, mean in means(rows).items():
        mine = [row for row in rows if row.window == window and row.shown]
        found, worst = np.mean([row.found for row in mine]), min(row.dice for row in mine)
        lines.append(f"| {window} | {len(mine)} | {mean:.3f} | {found:.0%} | {worst:.3f} |")
    return [*lines, "", f"At least {WANTED} is wanted by every window; the least is {min(means(rows).values()):.3f}."]


def by_volume(rows: Sequence[Row]) -> list[str]:
    """The table with one row for each volume and window; (auto) is what presence takes of the first ones."""
    lines = ["| volume | window | Dice | presence |", "|---|---|---|---|"]
    for volume in dict.fromkeys(row.volume for row in rows):
        mine = {window: [row for row in rows if (row.volume, row.window) == (volume, window)] for window in WINDOWS}
        presence = {window: float(np.mean([row.presence for row in some])) for window, some in mine.items()}
        auto = best({window: presence[window] for window in TRIED})
        for window, some in mine.items():
            scores = [row.dice for row in some if row.shown]
            score = f"{np.mean(scores):.3f}" if scores else "-"
            name = f"{window} (auto)" if window == auto else window
            lines.append(f"| {volume} | {name} | {score} | {presence[window]:.3f} |")
    return lines


def by_choice(rows: Sequence[Row]) -> list[str]:
    """The table of how many other targets would be found."""
    pairs: dict[tuple[str, str, int], Seen] = defaultdict(dict)
    for row in rows:
        for target, seen in row.others.items():
            pairs[row.volume, target, row.index][row.window] = seen
    greatest = {scan: best(_mean_presence(pairs, *scan)) for scan in {(volume, target) for volume, target, _ in pairs}}
    chosen = {window: [seen[window][1] for seen in pairs.values()] for window in COUNTED}
    chosen["the greatest presence in the volume"] = [
        seen[greatest[volume, target]][1] for (volume, target, _), seen in pairs.items()
    ]
    lines = [f"| asked in | found, of {len(pairs)} pairs of slice and target |", "|---|---|"]
    return lines + [f"| {window} | {sum(found)} |" for window, found in chosen.items()]


def _mean_presence(pairs: Mapping[tuple[str, str, int], Seen], volume: str, target: str) -> dict[str, float]:
    mine = [seen for (its_volume, its_target, _), seen in pairs.items() if (its_volume, its_target) == (volume, target)]
    return {window: float(np.mean([seen[window][0] for seen in mine])) for window in COUNTED}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("volumes", type=Path, help="a folder with NAME.nii.gz and NAME_lungs.nii.gz")
    parser.add_argument("--limit", type=int, default=12, help="slices of each volume; 0 takes all")
    add_options(parser, "slice")
    chosen = parser.parse_args()
    model = Model.of(chosen)
    items = slices(chosen.volumes, chosen.limit)
    rows, facts = asked(model, compare, items, jobs=chosen.jobs, minutes=chosen.minutes)
    rows.sort(key=lambda row: (row.volume, row.index))
    if not any(row.shown for row in rows):
        raise SystemExit(f"none of {facts['done']} slices shows {TARGET}")
    said = f"{TARGET}, {facts['done']} slices of {len({row.volume for row in rows})} volumes"
    centre, width = NAMED_HU[PLAIN]
    told = f"`{FILE}`: percentiles, as of a volume that says no window; `{PLAIN}`: {width:g} wide at {centre:g} HU; "
    told += f"auto leaves `{FILE}` for {MARGIN} more presence."
    lines = [*heading(facts, said), told, "", *by_window(rows), "", *by_volume(rows), "", *by_choice(rows)]
    chosen.out.mkdir(parents=True, exist_ok=True)
    write_atomic(chosen.out / "ct-windows.md", "\n".join(lines) + "\n")
    write_atomic(chosen.out / "ct-windows.json", as_json(facts, {"means": means(rows)}, rows))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
