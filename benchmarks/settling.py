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

import numpy as np
from judging import Model
from setting import conditions, spoken
from volumes import PROMPTS, Volume, stacked, whole

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


@dataclass(frozen=True, kw_only=True)
class Row:
    """One target of one volume, settled in one way."""

    target: str
    volume: str
    way: tuple[float, float, float] | None
    """Own share, least part and least overlap; None alone."""
    dice: float


def measured(segmenter: ZeroShotSegmenter, volume: Volume) -> Iterator[Row]:
    """Every target, alone and in every way."""
    for target, reference in volume.references.items():
        prompt = PROMPTS.get(target, target)
        weighed = [segmenter.weigh(image, prompt) for image in volume.images]
        masks = [_coarse(segmenter, volume, index, each) for index, each in enumerate(weighed)]
        yield Row(target=target, volume=volume.name, way=None, dice=dice(np.stack(masks), np.stack(reference)))
        for own, least, overlap in ways(prompt):
            settling = Settling(volume.places_mm, own_share=own, least_part=least, least_overlap=overlap)
            for each in weighed:
                settling.add(each)
            settling.finish()
            masks = [_coarse(segmenter, volume, index, settling.settled(index)) for index in range(len(weighed))]
            value = dice(np.stack(masks), np.stack(reference))
            yield Row(target=target, volume=volume.name, way=(own, least, overlap), dice=value)


def ways(prompt: str) -> list[tuple[float, float, float]]:
    """Every share and least part, and every overlap with those that a run takes for a prompt."""
    overlaps = [(OWN_SHARE, least_part_of(prompt), overlap) for overlap in OVERLAPS]
    return list(dict.fromkeys([*((own, least, LEAST_OVERLAP) for own in OWN for least in LEAST), *overlaps]))


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
        "| target | volumes | own share | least part | least overlap | Dice of the evidence |",
        "|---|---|---|---|---|---|",
    ]
    for target in sorted({row.target for row in rows}):
        mine = [row for row in rows if row.target == target]
        for way in dict.fromkeys(row.way for row in mine):
            values = [row.dice for row in mine if row.way == way]
            told = " | ".join(["alone", "", ""] if way is None else [f"{number:g}" for number in way])
            lines.append(f"| {target} | {len(values)} | {told} | {np.mean(values):.4f} |")
    return "\n".join(lines) + "\n"


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
