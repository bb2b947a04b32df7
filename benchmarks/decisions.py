"""Measures what a threshold for each map, and reading unseen wordings as their neighbours, bring on validation images.

    python benchmarks/decisions.py ../shared/data runs/features --out benchmarks/results

On the validation images, encoded once into a folder of features, the dense map alone (no Segment Anything): the shipped
weights as they are, and without the one or the other. Thresholds are judged on patients that they were not chosen on.
The wordings lie in `wordings.toml`: training never saw them, and the test split is measured with others.
"""

from __future__ import annotations

import argparse
import copy
import csv
import json
import tomllib
import zlib
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from setting import conditions, spoken
from torch import nn

from medclipsam.backbones.compact import SENTENCE, CompactTower
from medclipsam.backbones.compact_clip import load_tower
from medclipsam.backbones.minilm import SentenceEncoder
from medclipsam.training.data.feature_cache import FeatureCache
from medclipsam.training.data.index import read_index
from medclipsam.training.embedded.axes import Axes
from medclipsam.training.embedded.calibration import SHIFTS, Judged, group_dice, judge, macro_dice
from medclipsam.training.embedded.corpus import Corpus
from medclipsam.training.embedded.encodings import Encoder, Encodings
from medclipsam.training.embedded.heads import fit_level, levelled
from medclipsam.training.embedded.variants import Variant
from medclipsam.weights import find
from medclipsam.weights.compact import compact_weights

WORDINGS: Mapping[str, Sequence[str]] = tomllib.loads(Path(__file__).with_name("wordings.toml").read_text("utf-8"))
NAMES = sorted(WORDINGS)
CORPUS = Corpus.read()
FOLDS = 5


def unlevelled(tower: CompactTower) -> CompactTower:
    """The same tower with one threshold for all maps."""
    plain = copy.deepcopy(tower)
    for parameter in plain.level.parameters():
        nn.init.zeros_(parameter)
    return plain


def unread(tower: CompactTower) -> CompactTower:
    """The same tower, its text head alone."""
    plain = copy.deepcopy(tower)
    plain.know(torch.zeros(0, SENTENCE))
    return plain


def encoded(tower: CompactTower, data: Path, features: Path) -> Encodings:
    """The validation images of the folders that the corpus names, along the tower's axes."""
    images = [image for image in read_index(data) if image.split == "val" and CORPUS.body(image)]
    encoder = Encoder(data, FeatureCache(features), CORPUS.folder, torch.device("cpu"))
    return encoder.encode([Variant(image=image) for image in images], Axes.of(tower))[0]


def asked(tower: CompactTower, cache: Encodings, sentences: SentenceEncoder) -> list[Judged]:
    """What a tower answers to the short names of the targets."""
    return list(judge(tower, cache, NAMES, sentences.encode(NAMES), CORPUS))


def thresholds(
    tower: CompactTower, cache: Encodings, sentences: SentenceEncoder, groups: Mapping[str, str]
) -> dict[str, dict[str, float]]:
    """Dice of each folder and target with each map's own threshold, and with a single one.

    Both are chosen on four fifths of the patients and measured on the rest, in turn.

    Args:
        groups: the patient, or what stands for one, of each image.
    """
    bare = asked(unlevelled(tower), cache, sentences)
    fold = [zlib.crc32(groups[case.image].encode()) % FOLDS for case in bare]
    found: dict[str, dict[str, list[float]]] = {"single": defaultdict(list), "own": defaultdict(list)}
    for left_out in range(FOLDS):
        known = [case for case, part in zip(bare, fold, strict=True) if part != left_out]
        others = [case for case, part in zip(bare, fold, strict=True) if part == left_out]
        level = unlevelled(tower).level
        fit_level(level, known)
        single = float(max(SHIFTS, key=lambda shift: macro_dice(known, float(shift))))
        for way, values in (("single", group_dice(others, single)), ("own", group_dice(levelled(others, level)))):
            for group, dice in values.items():
                found[way][group] += dice
    return {way: _means(values) for way, values in found.items()}


def wordings(tower: CompactTower, cache: Encodings, sentences: SentenceEncoder) -> dict[str, float]:
    """Dice of the short names and of the wordings, and how far a wording's mean lies from its short name's."""
    texts = [NAMES, *(list(each) for each in zip(*(WORDINGS[name] for name in NAMES), strict=True))]
    rounds = [_answered(list(judge(tower, cache, NAMES, sentences.encode(words), CORPUS))) for words in texts]
    short, others = rounds[0], rounds[1:]
    means = {group: float(np.mean([each[group] for each in others])) for group in short}
    return {
        "short": float(np.mean(list(short.values()))),
        "wordings": float(np.mean(list(means.values()))),
        "moved": float(np.mean([abs(means[group] - short[group]) for group in short])),
    }


def patients(data: Path) -> dict[str, str]:
    """Image -> patient, or what stands for one."""
    with (data / "index.csv").open(newline="") as rows:
        return {row["image"]: f"{row['dataset']} {row['group']}" for row in csv.DictReader(rows)}


def _answered(judged: Sequence[Judged]) -> dict[str, float]:
    """Mean Dice of each group where "not found" is an empty mask."""
    groups = defaultdict(list)
    for case in judged:
        if case.present:
            groups[case.group].append(group_dice([case])[case.group][0] if case.presence >= 0 else 0.0)
    return _means(groups)


def _means(groups: Mapping[str, Sequence[float]]) -> dict[str, float]:
    return {name: float(np.mean(values)) for name, values in sorted(groups.items())}


def table(found: Mapping[str, Mapping[str, float]], read: Mapping[str, Mapping[str, float]], facts: object) -> str:
    """What the model card quotes."""
    mean = {way: np.mean(list(values.values())) for way, values in found.items()}
    lines = [
        f"Validation images, dense map alone. {facts}.",
        "",
        "| images: target | one threshold | each map's own | gain |",
        "|---|---|---|---|",
    ]
    for group, single in found["single"].items():
        own = found["own"][group]
        lines.append(f"| {group} | {single:.3f} | {own:.3f} | {own - single:+.3f} |")
    lines.append(f"| mean | {mean['single']:.3f} | {mean['own']:.3f} | {mean['own'] - mean['single']:+.3f} |")
    lines += [
        "",
        "| text is read | Dice, short names | Dice, 5 unseen wordings each | their means moved by |",
        "|---|---|---|---|",
    ]
    lines += [
        f"| {way} | {values['short']:.3f} | {values['wordings']:.3f} | {values['moved']:.3f} |"
        for way, values in read.items()
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with index.csv")
    parser.add_argument("features", type=Path, help="where the encoded images lie or will lie")
    parser.add_argument("--weights", type=Path, help="of another run; else those of the preset")
    parser.add_argument("--every", type=int, default=4, help="of so many images one is asked with all wordings")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    file, identity = compact_weights(chosen.weights)
    tower = load_tower(file).eval()
    cache, sentences = encoded(tower, chosen.data, chosen.features), SentenceEncoder(find("minilm").folder)
    some = cache.every(chosen.every)
    found = thresholds(tower, cache, sentences, patients(chosen.data))
    read = {
        "by the head alone": wordings(unread(tower), some, sentences),
        "as its neighbours": wordings(tower, some, sentences),
    }
    facts = spoken(conditions(0, {"compact": identity}))
    text = table(found, read, f"{len(cache)} images, {len(some)} of them with wordings. {facts}")
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "decisions.md").write_text(text)
    (chosen.out / "decisions.json").write_text(json.dumps({"thresholds": found, "wordings": read}, indent=1) + "\n")
    print(text)


if __name__ == "__main__":
    main()
