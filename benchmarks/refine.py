"""Measures whether training on pseudo-labels gives better masks than those it learned from.

    python benchmarks/refine.py ../shared/data --out benchmarks/results

The embedded preset labels scans of a folder's training split from a prompt; no reference mask of that split is used for
anything but the line that says how good the labels are. The small U-Net learns from them, once for each seed, and is
scored on the test split beside the zero-shot masks of the same preset. Nothing was chosen by the test split: threshold
and recipe were set beforehand. `--work` keeps what was done, so that a stopped run goes on.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from setting import machine, versions

import medclipsam
from medclipsam.config import Refined
from medclipsam.io.label_files import read_foreground
from medclipsam.io.naming import case_name
from medclipsam.metrics import compare_paired, summarise
from medclipsam.metrics.overlap import dice
from medclipsam.refine.pseudolabels import read_pseudolabels
from medclipsam.refine.recipe import RefineRecipe
from medclipsam.refine.run import refine
from medclipsam.runs import LabelRequest, label_folder, read_manifest
from medclipsam.types import BoolArray

THRESHOLD = 0.5


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One scan with its reference."""

    image: Path
    mask: Path

    def reference(self) -> BoolArray:
        """(height, width)."""
        return read_foreground(self.mask)


def read_scans(root: Path, dataset: str, target: str, split: str, limit: int) -> list[Scan]:
    """The scans of a split; with a limit, evenly spread ones."""
    with (root / "index.csv").open(newline="") as table:
        scans = [
            Scan(image=root / row["image"], mask=root / row["mask"])
            for row in csv.DictReader(table)
            if (row["dataset"], row["target"], row["split"]) == (dataset, target, split)
        ]
    if not limit or len(scans) <= limit:
        return scans
    return [scans[place] for place in np.linspace(0, len(scans) - 1, limit).astype(int)]


def gather(scans: Sequence[Scan], folder: Path) -> Path:
    """Copies of the scans alone, without references."""
    folder.mkdir(parents=True, exist_ok=True)
    for scan in scans:
        if not (folder / scan.image.name).exists():
            shutil.copyfile(scan.image, folder / scan.image.name)
    return folder


def label(scans: Path, labels: Path, prompt: str, band: float | None) -> float:
    """Label a folder by the embedded preset; the seconds that it took, 0 where it was done."""
    began = time.perf_counter()
    request = LabelRequest(source=scans, output=labels, prompts=(prompt,), ignore_band=band)
    found = label_folder(request, lambda: medclipsam.load("embedded"), show)
    return 0.0 if found.kept == found.total else time.perf_counter() - began


def mask_scores(labels: Path, folder: Path, scans: Sequence[Scan]) -> list[float]:
    """Dice of each scan's mask with its reference."""
    records = {record.case: record for record in read_manifest(labels / "manifest.jsonl").values()}
    scores = []
    for scan in scans:
        record = records[case_name(folder / scan.image.name, root=folder)]
        (name,) = (name for name in record.outputs if name.startswith("masks/"))
        scores.append(dice(read_foreground(labels / name), scan.reference()))
    return scores


def show(stage: str, done: int, total: int) -> None:
    """One line that is written over."""
    print(f"\r{stage} {done}/{total}", end="", flush=True)


def table(figures: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown."""
    lines = ["| masks | Dice, target there | minus zero-shot | p | empty where absent |", "|---|---|---|---|---|"]
    for name, found in figures.items():
        low, high = found["interval"]
        difference = found.get("difference")
        told = "-" if difference is None else f"{difference:+.3f} ({found['low']:+.3f} to {found['high']:+.3f})"
        p = "-" if difference is None else f"{found['p']:.2g}"
        empty = f"{found['empty']:g} of {found['absent']}"
        lines.append(f"| {name} | {found['dice']:.3f} ({low:.3f} to {high:.3f}) | {told} | {p} | {empty} |")
    return "\n".join(lines)


def figures_of(scores: Sequence[float], present: Sequence[bool], base: Sequence[float] | None) -> dict[str, Any]:
    """What the table shows of one set of masks; an absent target scores 1 exactly where the mask is empty."""
    there = [score for score, is_there in zip(scores, present, strict=True) if is_there]
    found = summarise(there)
    absent = [score for score, is_there in zip(scores, present, strict=True) if not is_there]
    told: dict[str, Any] = {"dice": found.mean, "interval": found.interval, "n": found.n}
    told |= {"absent": len(absent), "empty": round(sum(absent), 1)}
    if base is not None:
        compared = compare_paired([score for score, is_there in zip(base, present, strict=True) if is_there], there)
        low, high = compared.interval or (0.0, 0.0)
        told |= {"difference": compared.mean_difference, "low": low, "high": high, "p": compared.wilcoxon_p}
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with index.csv")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--work", type=Path, help="keep labels and runs here")
    parser.add_argument("--dataset", default="breast_us_busi")
    parser.add_argument("--prompt", default="breast tumor")
    parser.add_argument("--train", type=int, default=0, help="scans to learn from, evenly spread; 0: all")
    parser.add_argument("--test", type=int, default=0, help="scans to be scored on, likewise")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--epochs", type=int, default=60)
    parser.add_argument("--keep", type=int, default=5)
    parser.add_argument("--side", type=int, default=128)
    parser.add_argument("--widths", type=int, nargs="+", default=[16, 32, 64, 128])
    parser.add_argument("--ignore-band", type=float, default=0.2)
    parser.add_argument("--label-only", action="store_true", help="label, and stop")
    chosen = parser.parse_args()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    with tempfile.TemporaryDirectory() as temporary:
        work = chosen.work or Path(temporary)
        splits = {
            split: read_scans(chosen.data, chosen.dataset, chosen.prompt, split, limit)
            for split, limit in (("train", chosen.train), ("test", chosen.test))
        }
        folders = {split: gather(scans, work / f"{split}-{len(scans)}") for split, scans in splits.items()}
        labels = {split: folder.with_name(f"{folder.name}-labels") for split, folder in folders.items()}
        labelled_s = sum(label(folders[split], labels[split], chosen.prompt, chosen.ignore_band) for split in splits)
        print(f"\nlabelled in {labelled_s:.0f} s")
        if not chosen.label_only:
            measure(chosen, splits, folders, labels, work)


def measure(
    chosen: argparse.Namespace,
    splits: Mapping[str, Sequence[Scan]],
    folders: Mapping[str, Path],
    labels: Mapping[str, Path],
    work: Path,
) -> None:
    """Train once for each seed, score, and write the tables."""
    present = {split: [bool(scan.reference().any()) for scan in scans] for split, scans in splits.items()}
    base = {split: mask_scores(labels[split], folders[split], scans) for split, scans in splits.items()}
    figures = {"zero-shot": figures_of(base["test"], present["test"], None)}
    material = read_pseudolabels(labels["train"], folders["train"], chosen.prompt)
    scores, seconds = [], []
    for seed in chosen.seeds:
        recipe = RefineRecipe(
            epochs=chosen.epochs, keep=chosen.keep, side=chosen.side, widths=tuple(chosen.widths), seed=seed
        )
        run = work / f"run-{seed}"
        began = time.perf_counter()
        refined = refine(material, run, recipe, device="cpu", resume=run.exists(), tell=show)
        seconds.append(time.perf_counter() - began)
        predicted = work / f"predicted-{seed}"
        request = LabelRequest(source=folders["test"], output=predicted, prompts=(chosen.prompt,))
        label_folder(request, partial(medclipsam.load, Refined(run=run, threshold=THRESHOLD), device="cpu"), show)
        scores.append(mask_scores(predicted, folders["test"], splits["test"]))
        figures[f"refined, seed {seed}"] = figures_of(scores[-1], present["test"], base["test"])
    mean = np.mean(scores, axis=0).tolist()
    figures["refined, mean of the seeds"] = figures_of(mean, present["test"], base["test"])
    weights = json.loads((labels["train"] / "run.json").read_text())["weights"]["compact"][:8]
    quality = figures_of(base["train"], present["train"], None)
    text = "\n\n".join(
        (
            f"Pseudo-labels of {chosen.dataset}, split `train`, by the preset `embedded` (weights compact {weights}), "
            f'prompt "{chosen.prompt}", ignored within {chosen.ignore_band} of one half; U-Net {tuple(chosen.widths)}, '
            f"{chosen.side} px, {recipe.epochs} epochs in {recipe.cycles} cycles, {refined.members} weights kept; "
            f"learned from {refined.pictures} pictures. Split `test`, {len(splits['test'])} images, threshold "
            f"{THRESHOLD}. "
            f"{machine()}, {torch.get_num_threads()} threads, {versions('torch', 'medclipsam')}; "
            f"{np.mean(seconds):.0f} s a seed. Dice with a 95 % bootstrap "
            "interval over images; p of Wilcoxon's paired test.",
            table(figures),
            f"The labels themselves, against the references of the images learned from: Dice {quality['dice']:.3f} "
            f"where the target is there ({quality['n']} images), empty in {quality['empty']:g} of {quality['absent']} "
            f"where it is not.",
        )
    )
    chosen.out.mkdir(parents=True, exist_ok=True)
    (chosen.out / "refine.md").write_text(text + "\n")
    record = {
        "figures": figures,
        "labels": quality,
        "recipe": asdict(recipe),
        "zero_shot": base["test"],
        "refined": scores,
    }
    (chosen.out / "refine.json").write_text(json.dumps(record, indent=1) + "\n")
    print(f"\n{text}")


if __name__ == "__main__":
    main()
