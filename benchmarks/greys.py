"""Learns to tell pictures with inverted greys, writes `medclipsam/methods/greys.safetensors`, and measures it.

    python benchmarks/greys.py ../shared/data --out benchmarks/results
    python benchmarks/greys.py ../shared/data --keep                      measures the file as it is

Learned from up to `--images` training images of each folder, as they are and inverted; a folder counts as the square
root of its images. Measured on validation images, and on whole folders that were left out of learning in turn: a
stranger's pictures. The least difference from which a picture counts as inverted is the smallest, in steps of a half,
by which at most `WRONG` of the strangers' pictures are taken for inverted ones, folders counting alike.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from setting import machine, versions
from torch import nn

from medclipsam.errors import BadInput
from medclipsam.io import read_image
from medclipsam.io.atomic import write_atomic
from medclipsam.methods.greys import FILE, Greys, signs
from medclipsam.training.data.index import LabelledImage, read_index
from medclipsam.types import FloatArray

WRONG = 0.005
UNITS, STEPS, RATE, DECAY, NOISE = 32, 600, 5e-3, 0.1, 0.1
STEP = 0.5


@dataclass(frozen=True, eq=False, kw_only=True)
class Pair:
    """The signs of a picture as it is and of its negative."""

    folder: str
    split: str
    plain: FloatArray
    negative: FloatArray


def read_pairs(root: Path, images: Sequence[LabelledImage], most: int) -> list[Pair]:
    """Of at most so many images of each folder and split, evenly spread."""
    grouped: dict[tuple[str, str], list[LabelledImage]] = defaultdict(list)
    for image in images:
        grouped[image.folder, image.split].append(image)
    some = [image for each in grouped.values() for image in each[:: max(1, -(-len(each) // most))]]
    return [pair for image in some if (pair := _pair(root, image))]


def _pair(root: Path, image: LabelledImage) -> Pair | None:
    try:
        pixels = read_image(root / image.image).pixels
    except BadInput:
        return None
    return Pair(folder=image.folder, split=image.split, plain=signs(pixels), negative=signs(1 - pixels))


def learned(pairs: Sequence[Pair], seed: int = 0) -> Greys:
    """Logistic loss of the difference between the network's answers to a picture and to its negative."""
    torch.manual_seed(seed)
    both = np.stack([[pair.plain, pair.negative] for pair in pairs])
    centre, scale = both.mean(axis=(0, 1)), both.std(axis=(0, 1)) + 1e-6
    inputs = torch.from_numpy(((both - centre) / scale).astype(np.float32))
    sizes = defaultdict(int)
    for pair in pairs:
        sizes[pair.folder] += 1
    counts = torch.tensor([sizes[pair.folder] ** -0.5 for pair in pairs])
    network = nn.Sequential(nn.Linear(inputs.shape[-1], UNITS), nn.Tanh(), nn.Linear(UNITS, 1, bias=False))
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    for _ in range(STEPS):
        optimizer.zero_grad()
        scores = network(inputs + NOISE * torch.randn_like(inputs))[..., 0]
        loss = (nn.functional.softplus(scores[:, 0] - scores[:, 1]) * counts).sum() / counts.sum()
        loss.backward()
        optimizer.step()
    first, last = network[0], network[2]
    hidden = torch.cat([first.weight.T, first.bias[None]]).detach().numpy()
    return Greys(
        centre=centre.astype(np.float32),
        scale=scale.astype(np.float32),
        hidden=np.ascontiguousarray(hidden),
        out=last.weight[0].detach().numpy(),
        least=0.0,
    )


def differences(greys: Greys, pairs: Sequence[Pair]) -> dict[str, list[float]]:
    """How much more each picture looks inverted than its negative, by folder."""
    found = defaultdict(list)
    for pair in pairs:
        found[pair.folder].append(greys.score(pair.plain) - greys.score(pair.negative))
    return found


def of_strangers(pairs: Sequence[Pair]) -> dict[str, list[float]]:
    """The same, each folder judged by what the others teach."""
    found: dict[str, list[float]] = {}
    for folder in sorted({pair.folder for pair in pairs}):
        taught = learned([pair for pair in pairs if pair.folder != folder])
        found |= differences(taught, [pair for pair in pairs if pair.folder == folder])
    return found


def share(found: Mapping[str, Sequence[float]], least: float, *, inverted: bool) -> float:
    """Share of pictures, or of their negatives, that count as inverted, mean over folders."""
    sign = -1 if inverted else 1  # the difference of a negative is that of the picture, with the other sign
    return float(np.mean([np.mean(sign * np.asarray(values) >= least) for values in found.values()]))


def chosen_least(found: Mapping[str, Sequence[float]]) -> float:
    """See the module."""
    return next(least for least in np.arange(STEP, 50, STEP) if share(found, float(least), inverted=False) <= WRONG)


def table(pairs: Sequence[Pair], greys: Greys, strangers: Mapping[str, Sequence[float]]) -> str:
    """What the file says of validation images, and what folders that were left out would be told."""
    seen = differences(greys, [pair for pair in pairs if pair.split == "val"])
    lines = [
        f"{machine()}, {versions('numpy')}. Learned from {sum(pair.split == 'train' for pair in pairs)} training "
        f"images; least difference {greys.least:g}. Shares are means over folders.",
        "",
        "| images | folders | n | as they are, taken for inverted | inverted, and told |",
        "|---|---|---|---|---|",
    ]
    for name, found in (("validation", seen), ("folders left out of learning", strangers)):
        wrong, right = (100 * share(found, greys.least, inverted=inverted) for inverted in (False, True))
        count = sum(map(len, found.values()))
        lines.append(f"| {name} | {len(found)} | {count} | {wrong:.2f} % | {right:.1f} % |")
    taken = {folder: share({folder: values}, greys.least, inverted=False) for folder, values in strangers.items()}
    worst = sorted(taken, key=lambda folder: -taken[folder])[:5]
    told = ", ".join(f"{folder} {100 * taken[folder]:.0f} %" for folder in worst)
    return "\n".join([*lines, "", f"Strangers most often taken for inverted: {told}."]) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--images", type=int, default=24, help="of each folder and split")
    parser.add_argument("--keep", action="store_true", help="measure the file that is there")
    parser.add_argument("--out", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    images = [image for image in read_index(asked.data) if image.split != "test" and image.targets]
    pairs = read_pairs(asked.data, images, asked.images)
    training = [pair for pair in pairs if pair.split == "train"]
    strangers = of_strangers(training)
    if not asked.keep:
        greys = replace(learned(training), least=float(chosen_least(strangers)))
        write_atomic(FILE, greys.to_bytes())
    text = table(pairs, Greys.read(), strangers)
    print(text)
    if asked.out:
        write_atomic(asked.out / "greys.md", text)


if __name__ == "__main__":
    main()
