"""Does it help that neighbouring slices are heard? Every way to decide on a volume, against plain slice by slice.

    python benchmarks/volumes.py ../shared/data --split val     chooses: the best mean Dice that costs no target
    python benchmarks/volumes.py ../shared/data --split test    measures, on volumes that no choice has seen

Volumes are the cardiac slices of a split, stacked by patient and phase, and for `test` the whole volumes of
`DATA/volumes`. Each slice is segmented once; each way to decide starts from those answers. Dice is of the whole volume;
a false-positive slice has a mask where the reference has none. Writes volumes-SPLIT.md and .json.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from judging import Model
from setting import conditions, spoken

from medclipsam.io import read_image
from medclipsam.io.label_files import read_foreground
from medclipsam.io.reading import open_source, picture
from medclipsam.io.source import ReadOptions
from medclipsam.io.window import Window
from medclipsam.methods.contract import Segmenter
from medclipsam.metrics.overlap import dice
from medclipsam.metrics.statistics import summarise
from medclipsam.types import BoolArray, Hints, MedImage, Segmentation
from medclipsam.volume.decision import decide
from medclipsam.volume.neighbours import Answered
from medclipsam.volume.rules import DEFAULT_MODE, RULES

SLICE = re.compile(r"(?P<volume>patient\d+_frame\d+)_slice_(?P<number>\d+)")
LARGEST_LOSS = 0.001
"""Of a target's mean Dice, that the chosen way may cost."""
WINDOWS: dict[str, Window] = {"lungs": "lung"}
"""What a person would ask for by --window: percentiles leave a CT darker than what the model saw."""
REFERENCE_WINDOW = (0.75, 0.5)
"""Centre and width: 0 becomes black, 1 and more white."""


@dataclass(frozen=True, kw_only=True)
class Volume:
    """Slices in order, and for each target what is true on them."""

    name: str
    group: str
    images: Sequence[MedImage]
    places_mm: tuple[float, ...]
    references: dict[str, Sequence[BoolArray]]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One target of one volume, decided in one way."""

    group: str
    target: str
    volume: str
    mode: str
    dice: float
    empty: int
    """Slices without the target."""
    false_positive: int
    """Of these, with a mask."""
    present: int
    missed: int


def cardiac(root: Path, split: str) -> Iterator[Volume]:
    """The short-axis stacks of the split; their distance is not told, so that it counts as even."""
    stacks: dict[str, dict[int, dict[str, dict[str, str]]]] = defaultdict(lambda: defaultdict(dict))
    with (root / "index.csv").open(newline="") as table:
        for row in csv.DictReader(table):
            found = SLICE.fullmatch(Path(row["image"]).stem)
            if row["dataset"] == "cardiac_mri_acdc" and row["split"] == split and found:
                stacks[found["volume"]][int(found["number"])][row["target"]] = row
    for name, slices in sorted(stacks.items()):
        rows = [slices[number] for number in sorted(slices)]
        references = {target: [read_foreground(root / row[target]["mask"]) for row in rows] for target in rows[0]}
        yield Volume(
            name=name,
            group="cardiac_mri_acdc",
            images=[read_image(root / next(iter(row.values()))["image"]) for row in rows],
            places_mm=tuple(float(number) for number in sorted(slices)),
            references=references,
        )


def whole(folder: Path) -> Iterator[Volume]:
    """NAME.nii.gz with NAME_TARGET.nii.gz beside it."""
    names = sorted(path.name.removesuffix(".nii.gz") for path in folder.glob("*.nii.gz"))
    for name in names:
        targets = [other.removeprefix(f"{name}_") for other in names if other.startswith(f"{name}_")]
        if not targets:
            continue
        window = next((WINDOWS[target] for target in targets if target in WINDOWS), None)
        source = open_source(folder / f"{name}.nii.gz", ReadOptions(window=window))
        yield Volume(
            name=name,
            group=re.sub(r"_?\d+$", "", name),
            images=[picture(source, index) for index in range(source.count)],
            places_mm=tuple(source.places_mm or ()),
            references={target: drawn(folder / f"{name}_{target}.nii.gz") for target in targets},
        )


def drawn(path: Path) -> list[BoolArray]:
    source = open_source(path, ReadOptions(window=REFERENCE_WINDOW))
    return [picture(source, index).pixels[..., 0] > 0 for index in range(source.count)]


PROMPTS = {"tumor": "brain tumor"}
"""Targets whose file says less than a person would."""


def measured(segmenter: Segmenter, volume: Volume) -> Iterator[Row]:
    """Every target in every way."""
    targets = list(volume.references)
    prompts = [PROMPTS.get(target, target) for target in targets]
    answers = [Answered(image, [segmenter.segment(image, prompt) for prompt in prompts]) for image in volume.images]

    def ask(image: MedImage, prompt: str, hints: Hints) -> Segmentation:
        return segmenter.segment(image, prompt, hints=hints)

    for mode, rule in RULES.items():
        decided = list(decide(answers, volume.places_mm, rule, ask=ask, again=volume.images.__getitem__))
        for number, target in enumerate(targets):
            masks = np.stack([each.results[number].mask for each in decided])
            yield _row(volume, target, mode, masks)


def _row(volume: Volume, target: str, mode: str, masks: BoolArray) -> Row:
    reference = np.stack(volume.references[target])
    there, found = reference.any(axis=(1, 2)), masks.any(axis=(1, 2))
    return Row(
        group=volume.group,
        target=target,
        volume=volume.name,
        mode=mode,
        dice=dice(masks, reference),
        empty=int((~there).sum()),
        false_positive=int((found & ~there).sum()),
        present=int(there.sum()),
        missed=int((there & ~found).sum()),
    )


def markdown(rows: Sequence[Row], facts: dict[str, Any]) -> str:
    """One line for each target and way; the change is of each volume against plain, with a 95 % bootstrap interval."""
    count = len({row.volume for row in rows})
    left_out = [f"of the cardiac stacks the first {facts['limit']}"] if facts["limit"] else []
    left_out += [f"those not measured after {facts['ended']:g} minutes are left out"] if facts["ended"] else []
    some = f" ({', '.join(left_out)})" if left_out else ""
    lines = [
        f"Preset `{facts['preset']}`, split `{facts['split']}`, {count} volumes{some}. {spoken(facts)}. "
        f"Dice of whole volumes; the default way is `{DEFAULT_MODE}`.",
        "",
        "| volumes | target | n | way | Dice | change | slices without the target, found | with it, missed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for group, target in sorted({(row.group, row.target) for row in rows}):
        lines += [_line(rows, group, target, mode) for mode in RULES]
    lines += ["", "| way | mean Dice of the targets |", "|---|---|"]
    lines += [f"| {mode} | {value:.4f} |" for mode, value in means(rows).items()]
    lines += ["", f"The best way that costs no target more than {LARGEST_LOSS}: `{best(rows)}`."]
    return "\n".join(lines) + "\n"


def _line(rows: Sequence[Row], group: str, target: str, mode: str) -> str:
    mine = [row for row in rows if (row.group, row.target, row.mode) == (group, target, mode)]
    plain = {row.volume: row.dice for row in rows if (row.group, row.target, row.mode) == (group, target, "slices")}
    change = summarise([row.dice - plain[row.volume] for row in mine])
    low, high = change.interval or (change.mean, change.mean)
    changed = "" if mode == "slices" else f"{change.mean:+.3f} ({low:+.3f} to {high:+.3f})"
    wrong, empty = sum(row.false_positive for row in mine), sum(row.empty for row in mine)
    missed, present = sum(row.missed for row in mine), sum(row.present for row in mine)
    value = np.mean([row.dice for row in mine])
    return (
        f"| {group} | {target} | {len(mine)} | {mode} | {value:.3f} | {changed} "
        f"| {wrong} of {empty} | {missed} of {present} |"
    )


def target_means(rows: Sequence[Row], mode: str) -> dict[tuple[str, str], float]:
    """For each target the mean over its volumes."""
    by_target: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows:
        if row.mode == mode:
            by_target[row.group, row.target].append(row.dice)
    return {target: float(np.mean(values)) for target, values in by_target.items()}


def means(rows: Sequence[Row]) -> dict[str, float]:
    """For each way the mean over targets of the mean over volumes."""
    return {mode: float(np.mean(list(target_means(rows, mode).values()))) for mode in RULES}


def best(rows: Sequence[Row]) -> str:
    """The way to take on validation volumes: of those that cost no target too much the one with the best mean."""
    plain = target_means(rows, "slices")
    harmless = [
        mode
        for mode in RULES
        if all(value >= plain[target] - LARGEST_LOSS for target, value in target_means(rows, mode).items())
    ]
    return max(harmless, key=means(rows).__getitem__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", choices=["val", "test"], default="test")
    parser.add_argument("--preset", default="embedded")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--limit", type=int, default=0, help="cardiac stacks; 0 takes all")
    parser.add_argument(
        "--minutes", type=float, default=0, help="begin no volume after so many, and say so; 0 takes all"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    chosen = parser.parse_args()
    model = Model(preset=chosen.preset, weights=chosen.weights, seed=chosen.seed, threads=chosen.threads)
    segmenter = model.load()
    facts = {
        "preset": chosen.preset,
        "split": chosen.split,
        **conditions(chosen.seed, segmenter.info.weights),
        "default": DEFAULT_MODE,
        "limit": chosen.limit,
        "ended": 0.0,
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    began = time.perf_counter()
    for volume in _volumes(chosen.data, chosen.split, chosen.limit):
        if rows and 0 < chosen.minutes * 60 < time.perf_counter() - began:
            facts["ended"] = chosen.minutes
            write(rows, facts, chosen.out / f"volumes-{chosen.split}")
            break
        rows += measured(segmenter, volume)
        write(rows, facts, chosen.out / f"volumes-{chosen.split}")
        print(f"{volume.name}: {len(volume.images)} slices, {time.perf_counter() - began:.0f} s so far", flush=True)
    print(markdown(rows, facts))


def write(rows: Sequence[Row], facts: dict[str, Any], stem: Path) -> None:
    """What is known so far: a run that is ended early leaves the table of the volumes that it saw."""
    stem.with_suffix(".md").write_text(markdown(rows, facts))
    record = {"facts": facts, "means": means(rows), "rows": [vars(row) for row in rows]}
    stem.with_suffix(".json").write_text(json.dumps(record, indent=1))


def _volumes(data: Path, split: str, limit: int) -> Iterator[Volume]:
    """The many small ones first."""
    for number, volume in enumerate(cardiac(data, split)):
        if limit and number >= limit:
            break
        yield volume
    if split == "test":
        yield from whole(data / "volumes")


if __name__ == "__main__":
    main()
