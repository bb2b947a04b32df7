"""Does what should not matter matter? Dice of the same images after each of twelve harmless changes.

    python benchmarks/steadiness.py ../shared/data --limit 12 --out benchmarks/results

Takes so many test images of each main folder, evenly spread, that show a target, and asks for each target on the plain
image and on each change of it (`harmless.py`). The fall is Dice on the plain image minus Dice on the changed one; every
folder and target counts alike. One image takes thirteen encodings; folders take turns, so that `--minutes` ends a run
with some images of each. Writes steadiness.json with every case and steadiness.md.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from accuracy_cases import Case, in_turns, read_cases, spread
from accuracy_tables import home
from harmless import CHANGES, picture_of
from judging import Model, add_options, as_json, asked, digest_of, heading

from medclipsam.io import read_image
from medclipsam.io.atomic import write_atomic
from medclipsam.io.label_files import read_foreground
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.metrics.overlap import dice
from medclipsam.types import BoolArray, MedImage

MEAN, WORST = 0.03, 0.10
"""What a change may cost: on average over all of them, and the worst one."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One target of one image, plain and changed."""

    dataset: str
    image: str
    target: str
    change: str
    plain: float
    dice: float
    found: bool

    @property
    def group(self) -> str:
        """Folder and target."""
        return f"{self.dataset}: {self.target}"


def compare(root: Path, segmenter: ZeroShotSegmenter, case: Case) -> list[Row]:
    """Every target that an image shows, after every change; one that a change hides altogether is left out."""
    image = read_image(root / case.image)
    masks = np.stack([read_foreground(root / case.masks[target]) for target in case.shown])
    plain = [dice for dice, _ in _dice(segmenter, image, case.shown, masks)]
    return list(_rows(segmenter, case, image, masks, plain))


def _rows(
    segmenter: ZeroShotSegmenter, case: Case, image: MedImage, masks: BoolArray, plain: Sequence[float]
) -> Iterator[Row]:
    for change, apply in CHANGES.items():
        pixels, moved = apply(image.pixels, masks)
        answers = _dice(segmenter, picture_of(image, pixels), case.shown, moved)
        for target, before, reference, (after, found) in zip(case.shown, plain, moved, answers, strict=True):
            if reference.any():
                yield Row(
                    dataset=case.dataset,
                    image=case.image,
                    target=target,
                    change=change,
                    plain=before,
                    dice=after,
                    found=found,
                )


def _dice(
    segmenter: ZeroShotSegmenter, image: MedImage, targets: Sequence[str], masks: BoolArray
) -> list[tuple[float, bool]]:
    answers = [segmenter.segment(image, target) for target in targets]
    return [(dice(answer.mask, mask), answer.found) for answer, mask in zip(answers, masks, strict=True)]


def chosen_cases(cases: Sequence[Case], limit: int) -> list[Case]:
    """So many images of each main folder that show a target, folders taking turns."""
    folders: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        if home(case.dataset) and case.shown:
            folders[case.dataset].append(case)
    return in_turns(case for group in folders.values() for case in spread(group, limit))


def falls(rows: Sequence[Row]) -> dict[str, dict[str, float]]:
    """Change -> folder and target -> mean fall of the Dice."""
    found: dict[str, dict[str, list[float]]] = defaultdict(lambda: defaultdict(list))
    for row in rows:
        found[row.change][row.group].append(row.plain - row.dice)
    return {
        change: {group: float(np.mean(values)) for group, values in sorted(found[change].items())}
        for change in CHANGES
        if change in found
    }


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """The mean fall of each change, over folders and targets, and of all changes."""
    means = {change: float(np.mean(list(groups.values()))) for change, groups in falls(rows).items()}
    worst = max(means, key=means.__getitem__, default="")
    return {
        "by_change": means,
        "mean": float(np.mean(list(means.values()))) if means else float("nan"),
        "worst_change": worst,
        "worst": means.get(worst, float("nan")),
    }


def table(rows: Sequence[Row]) -> list[str]:
    """Changes as rows; then folders and targets as rows, changes as columns."""
    by_change, found = falls(rows), summary(rows)
    lines = ["| change | n | mean fall of Dice | largest fall | where |", "|---|---|---|---|---|"]
    for change, groups in by_change.items():
        where = max(groups, key=groups.__getitem__)
        count = sum(row.change == change for row in rows)
        lines.append(f"| {change} | {count} | {np.mean(list(groups.values())):+.3f} | {groups[where]:+.3f} | {where} |")
    lines += [
        f"| mean of the changes | {len(rows)} | {found['mean']:+.3f} | | |",
        "",
        f"A mean fall of at most {MEAN} is wanted, and of at most {WORST} for the worst change; the worst here is "
        f"{found['worst_change']} ({found['worst']:+.3f}).",
        "",
        f"| images: target | n | plain | {' | '.join(by_change)} |",
        "|---|---|---|" + "---|" * len(by_change),
    ]
    return [*lines, *(_group_row(group, rows, by_change) for group in sorted({row.group for row in rows}))]


def _group_row(group: str, rows: Sequence[Row], by_change: dict[str, dict[str, float]]) -> str:
    plain = {row.image: row.plain for row in rows if row.group == group}
    cells = [f"{groups[group]:+.3f}" if group in groups else "-" for groups in by_change.values()]
    return f"| {group} | {len(plain)} | {np.mean(list(plain.values())):.3f} | {' | '.join(cells)} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=12, help="images of each folder; 0 takes all")
    add_options(parser, "image")
    chosen = parser.parse_args()
    model = Model.of(chosen)
    cases = chosen_cases(read_cases(chosen.data, chosen.split), chosen.limit)
    rows, facts = asked(model, partial(compare, chosen.data), cases, jobs=chosen.jobs, minutes=chosen.minutes)
    rows.sort(key=lambda row: (row.dataset, row.image, row.target))
    facts |= {"split": chosen.split, "data": digest_of(chosen.data / "index.csv")}
    said = f"split `{chosen.split}`, {facts['done']} images, plain and changed in twelve ways"
    lines = [*heading(facts, said), *table(rows)]
    chosen.out.mkdir(parents=True, exist_ok=True)
    write_atomic(chosen.out / "steadiness.md", "\n".join(lines) + "\n")
    write_atomic(chosen.out / "steadiness.json", as_json(facts, summary(rows), rows))
    print("\n".join(lines))


if __name__ == "__main__":
    main()
