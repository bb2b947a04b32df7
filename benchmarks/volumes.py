"""Does it help that neighbouring slices are heard? Every way to decide on a volume, against plain slice by slice.

    python benchmarks/volumes.py ../shared/data --split val     chooses: the best mean Dice that costs no target
    python benchmarks/volumes.py ../shared/data --split test    measures, on volumes that no choice has seen

    python benchmarks/volumes.py ../shared/data --volume chest_ct_002 --grow 0 0.15    one whole volume alone, both ways
    python benchmarks/volumes.py ../shared/data --split test --displays                chest CTs in every display

Volumes are the slices of a split of two folders, hearts stacked by patient and phase and brains by patient (of the
slices without a tumor only some), and for `test` the whole volumes of `DATA/volumes`. Each slice is segmented once;
each way to decide starts from those answers, `stack` from the evidence before them. Dice is of the whole volume; a
false-positive slice has a mask where the reference has none; a cut pixel is one of a mask in a straight run at the side
of a box that the evidence drew. `--cache DIR` keeps encodings, so that a second run costs none. How long the ways take:
benchmarks/volume_time.py. Writes volumes-SPLIT.md and .json, or volumes-NAME.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from judging import Model
from setting import conditions, spoken

from medclipsam.io import read_image
from medclipsam.io.label_files import read_foreground
from medclipsam.io.reading import open_source, picture
from medclipsam.io.source import ReadOptions
from medclipsam.io.window import Window
from medclipsam.methods.contract import Segmenter, StackSegmenter, Weighed
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.metrics.overlap import dice
from medclipsam.metrics.statistics import summarise
from medclipsam.prompting.growing import cut_pixels
from medclipsam.runs.windows import choice_for
from medclipsam.types import BoolArray, Hints, MedImage, Segmentation
from medclipsam.volume.decision import decide
from medclipsam.volume.neighbours import Answered, Ask
from medclipsam.volume.rules import DEFAULT_MODE, RULES
from medclipsam.volume.together import TwoSteps, answered_together

SLICES = {
    "cardiac_mri_acdc": re.compile(r"(?P<volume>patient\d+_frame\d+)_slice_(?P<number>\d+)"),
    "brain_mri_lgg": re.compile(r"(?P<volume>TCGA_\w+)_(?P<number>\d+)"),
}
"""Folders whose images are slices of stacks, and how they are called."""
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
    chooses: bool = False
    """Whether the window is chosen as a run chooses it where none is given."""

    def shown(self, segmenter: Segmenter) -> Volume:
        """The same as a run would show it to the model, of a volume with one target."""
        choice = choice_for(segmenter, None, _Read(self.images)) if self.chooses else None
        if choice is None:
            return self
        (target,) = self.references
        return replace(self, images=[choice.shown(image, target) for image in self.images])


@dataclass(frozen=True)
class _Read:
    """Images that were read already."""

    images: Sequence[MedImage]

    def __len__(self) -> int:
        return len(self.images)

    def read(self, number: int) -> MedImage:
        return self.images[number]


class Counted(NamedTuple):
    """Slices of one or more volumes."""

    empty: int
    """Without the target."""
    false_positive: int
    """Of these, with a mask."""
    present: int
    """With the target."""
    missed: int
    """Of these, without a mask."""


def counted(masks: BoolArray, truth: BoolArray) -> Counted:
    """From (slices, height, width) each."""
    there, found = truth.any(axis=(1, 2)), masks.any(axis=(1, 2))
    return Counted(*(int(slices.sum()) for slices in (~there, ~there & found, there, there & ~found)))


def told_of(counts: Sequence[Counted]) -> str:
    """Two cells of a table: empty slices that were found, and others that were missed."""
    empty, wrong, present, missed = map(sum, zip(*counts, strict=True))
    return f"{wrong} of {empty} | {missed} of {present}"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One target of one volume, decided in one way."""

    group: str
    target: str
    volume: str
    mode: str
    """Name of the way; with `+ grow 0.15` where boxes grow."""
    dice: float
    cut: int
    """Mask pixels in straight runs at box sides."""
    slices: Counted


def stacked(root: Path, split: str, limit: int = 0) -> Iterator[Volume]:
    """The stacks of the split, at most `limit` of each folder; slices lie one apart, as they are numbered."""
    stacks: dict[tuple[str, str], dict[int, dict[str, dict[str, str]]]] = defaultdict(lambda: defaultdict(dict))
    with (root / "index.csv").open(newline="") as table:
        for row in csv.DictReader(table):
            names = SLICES.get(row["dataset"])
            if names and row["split"] == split and (found := names.fullmatch(Path(row["image"]).stem)):
                stacks[row["dataset"], found["volume"]][int(found["number"])][row["target"]] = row
    counts: Counter[str] = Counter()
    for (folder, name), slices in sorted(stacks.items(), reverse=True):
        counts[folder] += 1
        if limit and counts[folder] > limit:
            continue
        rows = [slices[number] for number in sorted(slices)]
        references = {target: [read_foreground(root / row[target]["mask"]) for row in rows] for target in rows[0]}
        yield Volume(
            name=name,
            group=folder,
            images=[read_image(root / next(iter(row.values()))["image"]) for row in rows],
            places_mm=tuple(float(number) for number in sorted(slices)),
            references=references,
        )


class Display(NamedTuple):
    """How a CT is shown."""

    window: Window
    is_inverted: bool = False
    chooses: bool = False
    """See `Volume`: the window is then the file's own."""


DISPLAYS = {
    "lung": Display("lung"),
    "soft tissue": Display("soft-tissue"),
    "percentiles": Display("percentiles"),
    "inverted": Display("lung", is_inverted=True),
    "soft tissue, auto": Display("soft-tissue", chooses=True),
    "percentiles, auto": Display("percentiles", chooses=True),
}
"""`lung` is 1500 wide at -600 HU. Without `auto` it is the picture alone that the model gets."""


def whole(folder: Path, wanted: Sequence[str] = (), *, every: int = 1, displays: bool = False) -> Iterator[Volume]:
    """NAME.nii.gz with NAME_TARGET.nii.gz beside it.

    Args:
        folder: where they lie.
        wanted: names; all where none is given.
        every: take one of so many slices.
        displays: show those with a window in every display, as a group of its own each.
    """
    names = sorted(path.name.removesuffix(".nii.gz") for path in folder.glob("*.nii.gz"))
    for name in names:
        targets = [other.removeprefix(f"{name}_") for other in names if other.startswith(f"{name}_")]
        if not targets or (wanted and name not in wanted):
            continue
        window = next((WINDOWS[target] for target in targets if target in WINDOWS), None)
        shown = DISPLAYS if displays and window else {"": Display(window)}
        for display, how in shown.items():
            source = open_source(folder / f"{name}.nii.gz", ReadOptions(window=how.window))
            numbers = range(0, source.count, every)
            images = [picture(source, index) for index in numbers]
            yield Volume(
                name=name,
                group=" ".join([re.sub(r"_?\d+$", "", name), *([f"({display})"] if display else [])]),
                images=[_inverted(image) for image in images] if how.is_inverted else images,
                places_mm=tuple((source.places_mm or ())[::every]),
                references={target: drawn(folder / f"{name}_{target}.nii.gz")[::every] for target in targets},
                chooses=how.chooses,
            )


def _inverted(image: MedImage) -> MedImage:
    return replace(image, pixels=1 - image.pixels)


def drawn(path: Path) -> list[BoolArray]:
    source = open_source(path, ReadOptions(window=REFERENCE_WINDOW))
    return [picture(source, index).pixels[..., 0] > 0 for index in range(source.count)]


PROMPTS = {"tumor": "brain tumor"}
"""Targets whose file says less than a person would."""


def measured(segmenter: ZeroShotSegmenter, volume: Volume, grows: Sequence[float | None]) -> Iterator[Row]:
    """Every target in every way, with boxes that grow by each share; None is the preset's own."""
    prompts = [PROMPTS.get(target, target) for target in volume.references]
    volume = volume.shown(segmenter)
    for grow in grows:
        growing = segmenter if grow is None else with_growth(segmenter, grow)
        alone = [Answered(image, [growing.segment(image, prompt) for prompt in prompts]) for image in volume.images]
        for mode, rule in RULES.items():
            answers = list(settled(growing, volume, prompts)) if rule.settle else alone
            decided = decide(answers, volume.places_mm, rule, ask=_ask(growing), again=volume.images.__getitem__)
            yield from _rows(volume, mode if grow is None else f"{mode}, grow {grow:g}", list(decided))


def with_growth(segmenter: ZeroShotSegmenter, grow: float) -> ZeroShotSegmenter:
    """The same models, boxes growing by another share."""
    config = replace(segmenter.config, prompting=replace(segmenter.config.prompting, grow=grow))
    return ZeroShotSegmenter(config, segmenter._evidence, segmenter._sam, weights={})


def settled(segmenter: StackSegmenter, volume: Volume, prompts: Sequence[str]) -> Iterator[Answered]:
    """The slices, answered about as a whole."""

    def draw(image: MedImage, prompt: str, weighed: Weighed | None) -> Segmentation:
        if weighed is None:
            raise ValueError(f"{image.name} was not weighed")
        return segmenter.draw(image, prompt, weighed)

    steps = TwoSteps(weigh=segmenter.weigh, draw=draw, features_of=segmenter.features_of, recall=segmenter.recall)
    return answered_together(volume.images, prompts, volume.places_mm, steps, volume.images.__getitem__)


def _ask(segmenter: Segmenter) -> Ask:
    def ask(image: MedImage, prompt: str, hints: Hints) -> Segmentation:
        return segmenter.segment(image, prompt, hints=hints)

    return ask


def _rows(volume: Volume, mode: str, decided: Sequence[Answered]) -> Iterator[Row]:
    for number, (target, references) in enumerate(volume.references.items()):
        results = [each.results[number] for each in decided]
        masks, reference = np.stack([each.mask for each in results]), np.stack(references)
        yield Row(
            group=volume.group,
            target=target,
            volume=volume.name,
            mode=mode,
            dice=dice(masks, reference),
            cut=sum(cut_pixels(each.mask, each.boxes) for each in results),
            slices=counted(masks, reference),
        )


def markdown(rows: Sequence[Row], facts: dict[str, Any]) -> str:
    """One line for each target and way; the change is of each volume against plain, with a 95 % bootstrap interval."""
    count = len({row.volume for row in rows})
    left_out = [f"{facts['limit']} stacks of each folder"] if facts["limit"] else []
    left_out += [f"those not measured after {facts['ended']:g} minutes are left out"] if facts["ended"] else []
    left_out += [f"of whole volumes one of {facts['every']} slices"] if facts["every"] > 1 else []
    left_out += [f"{facts['views']} views of each slice"] if facts["views"] > 1 else []
    some = f" ({', '.join(left_out)})" if left_out else ""
    lines = [
        f"Preset `{facts['preset']}`, split `{facts['split']}`, {count} volumes{some}. {spoken(facts)}. "
        f"Dice of whole volumes; the default way is `{DEFAULT_MODE}`.",
        "",
        "| volumes | target | n | way | Dice | change | empty slices, found | others, missed | cut pixels |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for group, target in sorted({(row.group, row.target) for row in rows}):
        lines += [_line(rows, group, target, mode) for mode in ways(rows)]
    lines += ["", "| way | mean Dice of the targets |", "|---|---|"]
    lines += [f"| {mode} | {value:.4f} |" for mode, value in means(rows).items()]
    lines += ["", f"The best way that costs no target more than {LARGEST_LOSS}: `{best(rows)}`."]
    return "\n".join(lines) + "\n"


def _line(rows: Sequence[Row], group: str, target: str, mode: str) -> str:
    mine = [row for row in rows if (row.group, row.target, row.mode) == (group, target, mode)]
    plain = {
        row.volume: row.dice for row in rows if (row.group, row.target, row.mode) == (group, target, plain_way(rows))
    }
    change = summarise([row.dice - plain[row.volume] for row in mine])
    low, high = change.interval or (change.mean, change.mean)
    changed = "" if mode == plain_way(rows) else f"{change.mean:+.3f} ({low:+.3f} to {high:+.3f})"
    value = np.mean([row.dice for row in mine])
    return (
        f"| {group} | {target} | {len(mine)} | {mode} | {value:.3f} | {changed} "
        f"| {told_of([row.slices for row in mine])} | {sum(row.cut for row in mine)} |"
    )


def ways(rows: Sequence[Row]) -> list[str]:
    """The ways that were measured, in the order of the table."""
    return list(dict.fromkeys(row.mode for row in rows))


def plain_way(rows: Sequence[Row]) -> str:
    """The way that changes are told against: slice by slice, boxes as the evidence drew them."""
    return ways(rows)[0]


def target_means(rows: Sequence[Row], mode: str) -> dict[tuple[str, str], float]:
    """For each target the mean over its volumes."""
    by_target: dict[tuple[str, str], list[float]] = defaultdict(list)
    for row in rows:
        if row.mode == mode:
            by_target[row.group, row.target].append(row.dice)
    return {target: float(np.mean(values)) for target, values in by_target.items()}


def means(rows: Sequence[Row]) -> dict[str, float]:
    """For each way the mean over targets of the mean over volumes."""
    return {mode: float(np.mean(list(target_means(rows, mode).values()))) for mode in ways(rows)}


def best(rows: Sequence[Row]) -> str:
    """The way to take on validation volumes: of those that cost no target too much the one with the best mean."""
    plain = target_means(rows, plain_way(rows))
    harmless = [
        mode
        for mode in ways(rows)
        if all(value >= plain[target] - LARGEST_LOSS for target, value in target_means(rows, mode).items())
    ]
    return max(harmless, key=means(rows).__getitem__)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", choices=["val", "test"], default="test")
    parser.add_argument("--preset", default="embedded")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--engine", choices=["torch", "openvino", "onnx"], default="torch")
    parser.add_argument("--cache", type=Path, help="folder that keeps encodings; without it they go with the run")
    parser.add_argument("--volume", nargs="+", default=[], help="these of DATA/volumes alone, whatever the split")
    parser.add_argument("--every", type=int, default=1, help="of a whole volume one of so many slices")
    parser.add_argument("--displays", action="store_true", help="chest CTs in every display")
    parser.add_argument("--views", type=int, default=1, help="of each slice, whose evidence is averaged")
    parser.add_argument("--grow", type=float, nargs="+", default=[None], help="shares by which a box grows")
    parser.add_argument("--limit", type=int, default=0, help="stacks of each folder; 0 takes all")
    parser.add_argument(
        "--minutes", type=float, default=0, help="begin no volume after so many, and say so; 0 takes all"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as passing:
        run(chosen, chosen.cache or Path(passing))


def run(chosen: argparse.Namespace, cache: Path) -> None:
    """Measure what was asked for, and write the table after every volume."""
    model = Model(
        preset=chosen.preset,
        weights=chosen.weights,
        seed=chosen.seed,
        threads=chosen.threads,
        engine=chosen.engine,
        cache=cache,
        views=chosen.views,
    )
    segmenter = model.load()
    facts = {
        "preset": chosen.preset,
        "split": chosen.split,
        **conditions(chosen.seed, segmenter.info.weights),
        "engine": segmenter.info.engine,
        "every": chosen.every,
        "views": chosen.views,
        "default": DEFAULT_MODE,
        "limit": chosen.limit,
        "ended": 0.0,
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    special = [*(["displays"] * chosen.displays), *([f"{chosen.views}-views"] * (chosen.views > 1))]
    stem = chosen.out / "-".join(["volumes", *(chosen.volume or [chosen.split]), *special])
    rows: list[Row] = []
    began = time.perf_counter()
    for volume in _volumes(chosen):
        if rows and 0 < chosen.minutes * 60 < time.perf_counter() - began:
            facts["ended"] = chosen.minutes
            write(rows, facts, stem)
            break
        rows += measured(segmenter, volume, chosen.grow)
        write(rows, facts, stem)
        print(f"{volume.name}: {len(volume.images)} slices, {time.perf_counter() - began:.0f} s so far", flush=True)
    print(markdown(rows, facts))


def write(rows: Sequence[Row], facts: dict[str, Any], stem: Path) -> None:
    """What is known so far: a run that is ended early leaves the table of the volumes that it saw."""
    stem.with_suffix(".md").write_text(markdown(rows, facts))
    record = {
        "facts": facts,
        "means": means(rows),
        "rows": [{**vars(row), "slices": row.slices._asdict()} for row in rows],
    }
    stem.with_suffix(".json").write_text(json.dumps(record, indent=1))


def _volumes(chosen: argparse.Namespace) -> Iterator[Volume]:
    """The many small ones first."""
    folder = chosen.data / "volumes"
    if chosen.volume or chosen.displays:
        yield from whole(folder, chosen.volume, every=chosen.every, displays=chosen.displays)
        return
    yield from stacked(chosen.data, chosen.split, chosen.limit)
    if chosen.split == "test":
        yield from whole(folder, every=chosen.every)


if __name__ == "__main__":
    main()
