"""How should the evidence of a stack be settled? Every share, least part and least overlap, by the evidence alone.

    python benchmarks/settling.py ../shared/data --limit 2                       validation stacks
    python benchmarks/settling.py ../shared/data --volume chest_ct_002           one whole volume

Each slice is weighed once; the settled evidence is divided as the preset does it, no mask is drawn, and the coarse mask
is compared with the reference. `alone` is each slice on its own. So a setting costs no pass of a model. None is chosen
on a volume that is scored: choose on one of DATA/volumes, score on the other. Writes settling-NAME.md.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
from judging import Model
from setting import conditions, spoken
from volumes import PROMPTS, Counted, Volume, counted, stacked, told_of, whole

from medclipsam.config import Coarse
from medclipsam.methods.contract import Weighed
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.metrics.overlap import dice
from medclipsam.prompting.coarse import coarse_mask
from medclipsam.types import BoolArray
from medclipsam.volume.settling import LEAST_OVERLAP, LEAST_PART, LEAST_UNDIVIDED, OWN_SHARE, Settling, least_part_of

OWN = (1.0, OWN_SHARE, 0.66, 0.5, 0.33)
LEAST = (0.0, 0.03, LEAST_PART, 0.3, LEAST_UNDIVIDED)
"""A run takes one of the two that have a name, by the prompt."""
OVERLAPS = (0.0, 0.1, 0.15, LEAST_OVERLAP, 0.25, 0.3, 0.4)


class Way(NamedTuple):
    """How a stack is settled."""

    own_share: float
    least_part: float
    least_overlap: float


@dataclass(frozen=True, kw_only=True)
class Row:
    """One target of one volume, settled in one way."""

    target: str
    volume: str
    way: Way | None
    """None alone."""
    dice: float
    slices: Counted


def measured(segmenter: ZeroShotSegmenter, volume: Volume) -> Iterator[Row]:
    """Every target, alone and in every way."""
    for target, reference in volume.references.items():
        prompt, truth = PROMPTS.get(target, target), np.stack(reference)
        weighed = [segmenter.weigh(image, prompt) for image in volume.images]
        for way in (None, *ways(prompt)):
            answers = weighed if way is None else settled(volume, weighed, way)
            masks = np.stack([_coarse(segmenter, volume, index, each) for index, each in enumerate(answers)])
            yield Row(target=target, volume=volume.name, way=way, dice=dice(masks, truth), slices=counted(masks, truth))


def settled(volume: Volume, weighed: Sequence[Weighed], way: Way) -> list[Weighed | None]:
    """The evidence of each slice after the stack was heard."""
    settling = Settling(volume.places_mm, **way._asdict())
    for each in weighed:
        settling.add(each)
    settling.finish()
    return [settling.settled(index) for index in range(len(weighed))]


def ways(prompt: str) -> list[Way]:
    """Every share and least part, and every overlap with those that a run takes for a prompt."""
    least = least_part_of(prompt)
    shares = [Way(own, part, LEAST_OVERLAP) for own in OWN for part in LEAST]
    return list(dict.fromkeys([*shares, *(Way(OWN_SHARE, least, overlap) for overlap in OVERLAPS)]))


def _coarse(segmenter: ZeroShotSegmenter, volume: Volume, index: int, weighed: Weighed | None) -> BoolArray:
    image = volume.images[index]
    if weighed is None or weighed.doubt:
        return np.zeros(image.size, bool)
    coarse: Coarse = segmenter.config.coarse
    saliency = segmenter._cells.drawn(image, weighed.cells).saliency
    return coarse_mask(saliency, replace(coarse, min_relative=0.0) if weighed.settled else coarse)


def markdown(rows: Sequence[Row], heading: str) -> str:
    """One line for each target and way."""
    lines = [
        heading,
        "",
        "| target | volumes | own share | least part | least overlap | Dice of the evidence "
        "| empty slices, found | others, missed |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for target in sorted({row.target for row in rows}):
        mine = [row for row in rows if row.target == target]
        for way in dict.fromkeys(row.way for row in mine):
            lines.append(_line(target, way, [row for row in mine if row.way == way]))
    return "\n".join(lines) + "\n"


def _line(target: str, way: Way | None, rows: Sequence[Row]) -> str:
    told = " | ".join(["alone", "", ""] if way is None else [f"{number:g}" for number in way])
    value = np.mean([row.dice for row in rows])
    return f"| {target} | {len(rows)} | {told} | {value:.4f} | {told_of([row.slices for row in rows])} |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--volume", nargs="+", default=[], help="these of DATA/volumes, in place of validation stacks")
    parser.add_argument("--limit", type=int, default=10, help="validation stacks of each folder")
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    chosen = parser.parse_args()
    segmenter = Model(threads=chosen.threads, cache=chosen.cache).load()
    named = whole(chosen.data / "volumes", chosen.volume)
    stacks = named if chosen.volume else stacked(chosen.data, "val", chosen.limit)
    rows: list[Row] = []
    for volume in stacks:
        rows += measured(segmenter, volume)
        heading = f"Preset `{segmenter.config.name}`. {spoken(conditions(0, segmenter.info.weights))}."
        chosen.out.mkdir(parents=True, exist_ok=True)
        name = "-".join(["settling", *(chosen.volume or ["val"])])
        (chosen.out / f"{name}.md").write_text(markdown(rows, heading))
    print(markdown(rows, heading))


if __name__ == "__main__":
    main()
