"""Do two trainings answer better together? A tower, an earlier one, and the mean of both, on validation images.

    python benchmarks/elder.py ../shared/data EARLIER.safetensors --features runs/features --write results/elder.md
    python benchmarks/elder.py ../shared/data EARLIER.safetensors --features runs/features --keep compact.safetensors

EARLIER is an embedded model on the same axes with a `targets.json` beside it. Each of its targets is asked of each
image that shows it or should, and of those that cannot show it. Dice is that of the dense map alone, zero where the
answer is "not found". The earlier one becomes the elder of the tower (`medclipsam.backbones.compact.Elder`) for the
targets of which both together gain at least `LEAST`, mean over the folders; `--keep` writes that tower.
"""

from __future__ import annotations

import argparse
import hashlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from setting import conditions, spoken
from torch import Tensor
from torch.nn import functional as F

from medclipsam.backbones.compact import CompactCells, CompactTower, Elder
from medclipsam.backbones.compact_clip import KnownTexts, load_tower, to_bytes
from medclipsam.backbones.minilm import SentenceEncoder
from medclipsam.io.atomic import write_atomic
from medclipsam.metrics.overlap import dice
from medclipsam.training.data.feature_cache import FeatureCache
from medclipsam.training.data.index import LabelledImage
from medclipsam.training.embedded.corpus import Corpus
from medclipsam.training.embedded.encodings import Axes, Encoder, Encodings, Variant, coverage_of
from medclipsam.training.embedded.make import read_images
from medclipsam.training.recipes import EmbeddedRecipe
from medclipsam.weights import find
from medclipsam.weights.compact import compact_weights
from medclipsam.weights.targets import targets_beside

LEAST = 0.01
WAYS = ("tower", "earlier", "both")
BATCH = 16


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One image asked for one target in one way."""

    folder: str
    target: str
    way: str
    state: str
    """`there`, `missing` or `elsewhere`."""
    dice: float
    """Where it is there; 0 where it was not found."""
    found: bool


def elder_of(earlier: CompactTower, tower: CompactTower, targets: Sequence[str], sentences: SentenceEncoder) -> Elder:
    """The earlier tower's cells, for targets by their short names."""
    names = sentences.encode(list(targets))
    elder = Elder(tower.shape, len(targets))
    elder.eyes.load_state_dict({name: earlier.state_dict()[name] for name in CompactCells(tower.shape).state_dict()})
    nearest = (F.normalize(names, dim=-1) @ F.normalize(tower.known, dim=-1).T).argmax(dim=-1)
    elder.named, elder.meanings = tower.named[nearest], KnownTexts(earlier).read(names)
    return elder.eval().requires_grad_(False)


@torch.no_grad()
def answers(
    towers: dict[str, CompactTower], encodings: Encodings, targets: Sequence[str], sentences: Tensor, corpus: Corpus
) -> Iterator[Asked]:
    """What each way answers about every image that shows a target, should show it, or cannot."""
    texts = {way: KnownTexts(tower).both(sentences) for way, tower in towers.items()}
    for start in range(0, len(encodings), BATCH):
        rows = range(start, min(start + BATCH, len(encodings)))
        read = [encodings.read(row) for row in rows]
        features = torch.stack([features for features, _ in read]).float() * encodings.levels
        given = {way: tower.answer(tower.view(features), texts[way]) for way, tower in towers.items()}
        for place, row in enumerate(rows):
            image = encodings.images[row]
            for number, target in enumerate(targets):
                state, truth = truth_of(image, target, read[place][1], corpus)
                for way, (maps, presence) in given.items() if state else ():
                    found = bool(presence[place, number] > 0)
                    mask = (maps[place, number] > 0).numpy()
                    score = dice(mask, truth.numpy()) if found and truth is not None else 0.0
                    yield Asked(folder=image.folder, target=target, way=way, state=state, dice=score, found=found)


def truth_of(image: LabelledImage, target: str, masks: Tensor, corpus: Corpus) -> tuple[str, Tensor | None]:
    """Whether an image shows a target, and where; an empty state where nobody knows."""
    if target in image.targets:
        truth = coverage_of(image, masks, frozenset({target})) >= 0.5
        return ("there", truth) if truth.any() else ("missing", None)
    body = corpus.body(image)
    return ("", None) if body is None or body in corpus.concept(target).visible_in else ("elsewhere", None)


def gaining(asked: Sequence[Asked]) -> list[str]:
    """The targets of which both together gain at least `LEAST`; folders count alike, however many images they have."""
    gains: dict[str, list[float]] = defaultdict(list)
    for folder, target in sorted({(each.folder, each.target) for each in asked if each.state == "there"}):
        own = [each for each in asked if (each.folder, each.target, each.state) == (folder, target, "there")]
        means = {way: np.mean([each.dice for each in own if each.way == way]) for way in WAYS}
        gains[target].append(float(means["both"] - means["tower"]))
    return [target for target, gained in sorted(gains.items()) if np.mean(gained) >= LEAST]


def table(asked: Sequence[Asked], kept: Sequence[str]) -> list[str]:
    """Markdown."""
    head = (
        [f"Dice, {way}" for way in WAYS]
        + [f"found, {way}" for way in WAYS]
        + [f"found where absent, {way}" for way in WAYS]
    )
    lines = ["| images | target | elder | n | " + " | ".join(head) + " |", "|---|---|---|---" + "|---" * 9 + "|"]
    groups = defaultdict(list)
    for each in asked:
        if each.state != "elsewhere":
            groups[each.folder, each.target].append(each)
    for (folder, target), own in sorted(groups.items()):
        cells = [
            *(mean([each.dice for each in own if (each.way, each.state) == (way, "there")], "{:.3f}") for way in WAYS),
            *(mean([each.found for each in own if (each.way, each.state) == (way, "there")], "{:.0%}") for way in WAYS),
            *(
                mean([each.found for each in own if (each.way, each.state) == (way, "missing")], "{:.0%}")
                for way in WAYS
            ),
        ]
        count = sum((each.way, each.state) == ("both", "there") for each in own)
        lines.append(f"| {folder} | {target} | {'yes' if target in kept else 'no'} | {count} | {' | '.join(cells)} |")
    shares = [
        mean([each.found for each in asked if (each.way, each.state) == (way, "elsewhere")], "{:.2%}") for way in WAYS
    ]
    told = ", ".join(f"{way} {share}" for way, share in zip(WAYS, shares, strict=True))
    return [*lines, "", f"Found where the image cannot show it, by the map alone: {told}."]


def mean(values: Sequence[float], form: str) -> str:
    """In words; a dash of nothing."""
    return form.format(np.mean(values)) if values else "-"


def chosen_images(root: Path, corpus: Corpus, most: int) -> list[LabelledImage]:
    """At most so many validation images of each folder, in an order that depends on their names alone."""
    folders = defaultdict(list)
    for image in read_images(root, corpus, EmbeddedRecipe())["val"]:
        folders[image.folder].append(image)
    shuffled = [sorted(own, key=lambda each: hashlib.sha256(each.image.encode()).digest()) for own in folders.values()]
    return [image for own in shuffled for image in own[:most]]


def main() -> None:
    """Measure, and write what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("earlier", type=Path)
    parser.add_argument("--weights", type=Path, help="the tower; else the package's own")
    parser.add_argument("--features", type=Path, required=True, help="encodings, kept here")
    parser.add_argument("--limit", type=int, default=120, help="validation images of each folder")
    parser.add_argument("--keep", type=Path, help="write the tower with its elder to this file")
    parser.add_argument("--write", type=Path, help="write the table to this file as well")
    chosen = parser.parse_args()
    file, identity = compact_weights(chosen.weights)
    tower, earlier = load_tower(file), load_tower(chosen.earlier)
    tower.elder = None
    known = targets_beside(chosen.earlier.parent)
    corpus, sentences = Corpus.read(None), SentenceEncoder(find("minilm").folder)
    targets = [each.target for each in known or ()]
    encoder = Encoder(chosen.data, FeatureCache(chosen.features), corpus.folder, torch.device("cpu"))
    images = [Variant(image=image) for image in chosen_images(chosen.data, corpus, chosen.limit)]
    encodings, _ = encoder.encode(images, Axes.of(tower))
    both = load_tower(file)
    both.elder = elder_of(earlier, tower, targets, sentences)
    towers = {"tower": tower.eval(), "earlier": earlier.eval(), "both": both.eval()}
    asked = list(answers(towers, encodings, targets, sentences.encode(targets), corpus))
    kept = gaining(asked)
    facts = spoken(
        conditions(0, {"compact": identity, "earlier": hashlib.sha256(chosen.earlier.read_bytes()).hexdigest()})
    )
    text = "\n".join([f"{len(encodings)} validation images. {facts}.", "", *table(asked, kept)])
    print(text)
    if chosen.write:
        write_atomic(chosen.write, text + "\n")
    if chosen.keep:
        both.elder = elder_of(earlier, tower, kept, sentences)
        write_atomic(chosen.keep, to_bytes(both))


if __name__ == "__main__":
    main()
