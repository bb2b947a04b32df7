"""Measures the embedded model on hospitals and on targets that it was never trained on.

    python benchmarks/held_out.py ../shared/data runs/features --steps 300 --out benchmarks/results

Short training runs on images that are encoded once into a folder of features, alike but for what they never see:
nothing; three folders whose target another folder still teaches; three targets altogether. Dice of the dense map alone
(64 x 64 cells, no Segment Anything) and how often the target is found, on validation images. The runs are shorter than
that of the shipped weights, so that only their differences count.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from setting import machine, versions

from medclipsam.backbones.minilm import SentenceEncoder
from medclipsam.training.data.feature_cache import FeatureCache
from medclipsam.training.data.index import LabelledImage
from medclipsam.training.embedded.calibration import Judged, calibrate, group_dice, judge
from medclipsam.training.embedded.corpus import Corpus
from medclipsam.training.embedded.encodings import Encoder, Variant
from medclipsam.training.embedded.heads import fit_level
from medclipsam.training.embedded.make import learn, new_tower, prepare, read_images
from medclipsam.training.recipes import EmbeddedRecipe
from medclipsam.weights import find

RUNS: Mapping[str, frozenset[str]] = {
    "everything": frozenset(),
    "other folders": frozenset({"chest_xray_montgomery", "brain_mri_brisc", "fundus_drishti"}),
    "other targets": frozenset({"polyp", "skin lesion", "liver"}),
}
"""What each run never sees."""


@dataclass(frozen=True)
class Results:
    """What a run gave."""

    groups: dict[str, dict[str, float]]
    """Dice and share found of every folder and target of the validation images."""
    examples: int
    """Encodings that it learned from."""


def run(data: Path, features: Path, leave_out: frozenset[str], recipe: EmbeddedRecipe) -> Results:
    """Train without `leave_out`, and measure on all validation images."""
    corpus, device = Corpus.read(), torch.device("cpu")
    encoder = Encoder(data, FeatureCache(features), corpus.folder, device)
    everything = _known_folders(read_images(data, corpus, recipe), corpus)
    axes = encoder.axes([Variant(image=image) for image in everything["train"]])
    validation, _ = encoder.encode([Variant(image=image) for image in everything["val"]], axes)
    kept = {
        split: [image for image in images if not leave_out & {image.folder, *image.targets}]
        for split, images in everything.items()
    }
    material = prepare(kept, corpus, encoder, recipe, axes=axes)
    with tempfile.TemporaryDirectory() as folder:
        start = new_tower(axes, material.lessons.sentences, recipe.seed)
        tower, _ = learn(start, material, recipe, Path(folder, "run"), device=device)
    names = sorted({target for image in validation.images for target in image.targets})
    short = SentenceEncoder(find("minilm").folder).encode(names)
    known = [case for case in judge(tower, validation, names, short, corpus) if _known(case, leave_out)]
    fit_level(tower.level, known)
    judged = list(judge(tower, validation, names, short, corpus))
    figures = calibrate(tower, [case for case in judged if _known(case, leave_out)])
    groups = {name: score(judged, name, figures) for name in sorted({case.group for case in judged if case.present})}
    return Results(groups, len(material.training))


def _known_folders(images: Mapping[str, list[LabelledImage]], corpus: Corpus) -> dict[str, list[LabelledImage]]:
    """Those of the folders that the corpus names, as when the weights were made."""
    return {split: [image for image in rows if image.folder in corpus.folders] for split, rows in images.items()}


def _known(case: Judged, leave_out: frozenset[str]) -> bool:
    return not leave_out & set(case.group.split(": "))


def score(judged: list[Judged], group: str, figures: Mapping[str, float]) -> dict[str, float]:
    """Dice of the map and share found, both with the thresholds that the known groups chose."""
    cases = [case for case in judged if case.group == group and case.present]
    values = group_dice(cases, figures["dense_shift"])[group]
    found = [case.presence >= figures["presence_threshold"] for case in cases]
    return {"n": len(values), "dice": float(np.mean(values)), "found": float(np.mean(found))}


def table(results: Mapping[str, Mapping[str, Mapping[str, float]]], recipe: EmbeddedRecipe, examples: int) -> str:
    """One row for each folder and target that some run never saw."""
    lines = [
        f"Validation images, dense map alone; {recipe.steps} steps of {recipe.batch_size} on {examples} encodings, "
        f"seed {recipe.seed}; {machine()}, {versions('torch')}.",
        "",
        "| images | target | n | trained on all: Dice (found) | never saw it: Dice (found) | drop |",
        "|---|---|---|---|---|---|",
    ]
    for name, leave_out in RUNS.items():
        for group, without in results[name].items():
            folder, target = group.split(": ")
            if leave_out & {folder, target}:
                whole = results["everything"][group]
                lines.append(
                    f"| {folder} | {target} | {whole['n']} | {whole['dice']:.3f} ({whole['found']:.0%}) "
                    f"| {without['dice']:.3f} ({without['found']:.0%}) | {whole['dice'] - without['dice']:.3f} |"
                )
    return "\n".join(lines) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with index.csv")
    parser.add_argument("features", type=Path, help="where the encoded images lie or will lie")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    recipe = EmbeddedRecipe(
        steps=chosen.steps, batch_size=chosen.batch, seed=chosen.seed, ema=0.98, warmup=min(0.1, 100 / chosen.steps)
    )
    runs = {name: run(chosen.data, chosen.features, leave_out, recipe) for name, leave_out in RUNS.items()}
    results = {name: found.groups for name, found in runs.items()}
    examples = runs["everything"].examples
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "held-out.json").write_text(json.dumps(results, indent=1))
    (chosen.out / "held-out.md").write_text(table(results, recipe, examples))
    print(table(results, recipe, examples))


if __name__ == "__main__":
    main()
