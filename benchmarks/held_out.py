"""What does the embedded model do on hospitals and on targets that it was never trained on?

    python benchmarks/held_out.py runs/features --steps 300 --out benchmarks/results

Short training runs on the cached features of `medclipsam.training.make_embedded`, alike but for what they never see:
nothing; three folders whose target another folder still teaches; three targets altogether. Dice of the dense map alone
(64 x 64 cells, no Segment Anything) and how often the target is found, on validation images. The runs are shorter than
that of the shipped weights, so that only their differences count.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from setting import machine, versions

from medclipsam.training.calibration import Judged, calibrate, group_dice
from medclipsam.training.embedded import Recipe
from medclipsam.training.level import fit_level
from medclipsam.training.make_embedded import asked, learn, read_cache

RUNS: Mapping[str, frozenset[str]] = {
    "everything": frozenset(),
    "other folders": frozenset({"chest_xray_montgomery", "brain_mri_brisc", "fundus_drishti"}),
    "other targets": frozenset({"polyp", "skin lesion", "liver"}),
}
"""What each run never sees."""


def run(cache: Path, leave_out: frozenset[str], recipe: Recipe) -> dict[str, dict[str, float]]:
    """Train without `leave_out`; Dice and share found of every folder and target of the validation images."""
    tower, _ = learn(cache, recipe, leave_out)
    validation = read_cache(cache, "val", frozenset())
    names = sorted({target for example in validation.examples for target in example.targets})
    fit_level(tower.level, [case for case in asked(tower, validation, names) if _known(case, leave_out)])
    judged = asked(tower, validation, names)
    figures = calibrate(tower, [case for case in judged if _known(case, leave_out)])
    return {name: score(judged, name, figures) for name in sorted({case.group for case in judged if case.present})}


def _known(case: Judged, leave_out: frozenset[str]) -> bool:
    return not leave_out & set(case.group.split(": "))


def score(judged: list[Judged], group: str, figures: Mapping[str, float]) -> dict[str, float]:
    """Dice of the map and share found, both with the thresholds that the known groups chose."""
    cases = [case for case in judged if case.group == group and case.present]
    values = group_dice(cases, figures["dense_shift"])[group]
    found = [case.presence >= figures["presence_threshold"] for case in cases]
    return {"n": len(values), "dice": float(np.mean(values)), "found": float(np.mean(found))}


def table(results: Mapping[str, Mapping[str, Mapping[str, float]]], recipe: Recipe, examples: int) -> str:
    """One row for each folder and target that some run never saw."""
    lines = [
        f"Validation images, dense map alone; {recipe.steps} steps of {recipe.batch} on {examples} encodings, seed "
        f"{recipe.seed}; {machine()}, {versions('torch')}.",
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
    parser.add_argument("cache", type=Path, help="features that make_embedded wrote")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    chosen = parser.parse_args()
    torch.set_num_threads(chosen.threads)
    recipe = Recipe(steps=chosen.steps, batch=chosen.batch, seed=chosen.seed, memory=0.98)
    results = {name: run(chosen.cache, leave_out, recipe) for name, leave_out in RUNS.items()}
    examples = len(read_cache(chosen.cache, "train", frozenset()).examples)
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "held-out.json").write_text(json.dumps(results, indent=1))
    (chosen.out / "held-out.md").write_text(table(results, recipe, examples))
    print(table(results, recipe, examples))


if __name__ == "__main__":
    main()
