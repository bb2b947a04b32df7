"""Measures whether training on pseudo-labels gives better masks than those it learned from.

    python benchmarks/refine.py ../shared/data --out benchmarks/results
    python benchmarks/refine.py ../shared/data --left-out --out benchmarks/results

The embedded preset, the teacher, labels a folder's scans from a prompt; no reference mask is used for anything but
scores. Each backend of `medclipsam refine` learns from these labels, once for each seed, and its masks are scored
beside the teacher's, image by image.

By default scans of the training split of breast_us_busi are learned from and those of its test split are scored. With
`--left-out` the scans that are learned from are scored themselves, up to 60 of each source: a folder that teaches the
model about itself. The table says of each source whether the teacher was trained on it, as far as its `targets.json`
tells; `--weights` names another teacher. Recipes and threshold were set beforehand. `--work` keeps what was done, so
that a stopped run goes on.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from accuracy_cases import spread
from setting import machine, versions

import medclipsam
from medclipsam.config import Refined
from medclipsam.io.label_files import read_foreground
from medclipsam.io.naming import case_name
from medclipsam.methods.contract import Segmenter
from medclipsam.metrics import compare_paired, summarise
from medclipsam.metrics.overlap import dice
from medclipsam.runs import LabelRequest, label_folder, read_manifest
from medclipsam.training.registry import Request, config_of, find_method
from medclipsam.training.settings import changed
from medclipsam.types import BoolArray
from medclipsam.weights.targets import known_targets, targets_beside

THRESHOLD = 0.5
EVERY = "every"
LEFT_OUT = {
    "other_breast_us_buscot": "breast tumor",
    "other_polyp_etis": "polyp",
    "other_chest_ct": "lungs",
    "other_skin_ph2": "skin lesion",
}
"""Sources to leave out of the teacher's training, and their target."""
MOST_LEFT_OUT = 60
KNOWN = {True: "**was trained on this source**", False: "never saw this source", None: "may have seen this source"}
SHORT: Mapping[str, Mapping[str, Any]] = {
    "embedded": {"least": 2},
    "unet": {"epochs": 18, "keep": 5, "side": 128, "widths": [8, 16, 32, 64, 128]},
    "nnunet": {"epochs": 15, "keep": 2, "side": 128, "steps_per_epoch": 50, "memory_gb": 2.0},
}
"""What each backend is given beside its defaults: what two cores do in minutes, and few pictures where `--train` asks
how few teach anything."""


@dataclass(frozen=True, kw_only=True)
class Study:
    """Which scans are learned from, and which are scored."""

    dataset: str
    prompt: str
    learn: str
    """Split, or every."""
    score: str
    """Split, or every; the same as `learn` scores what was learned from."""


@dataclass(frozen=True, kw_only=True)
class Scan:
    """One scan with its reference."""

    image: Path
    mask: Path

    def reference(self) -> BoolArray:
        """(height, width)."""
        return read_foreground(self.mask)


class Part(NamedTuple):
    """Scans, where their copies lie, and the teacher's labels of them."""

    scans: Sequence[Scan]
    folder: Path
    labels: Path
    prompt: str


def read_scans(root: Path, dataset: str, target: str, split: str, limit: int) -> list[Scan]:
    """The scans of a split, or of every one; with a limit, evenly spread ones."""
    with (root / "index.csv").open(newline="") as table:
        scans = [
            Scan(image=root / row["image"], mask=root / row["mask"])
            for row in csv.DictReader(table)
            if (row["dataset"], row["target"]) == (dataset, target) and split in (EVERY, row["split"])
        ]
    return spread(scans, limit)


def gather(scans: Sequence[Scan], folder: Path) -> Path:
    """Copies of the scans alone, without references."""
    folder.mkdir(parents=True, exist_ok=True)
    for scan in scans:
        if not (folder / scan.image.name).exists():
            shutil.copyfile(scan.image, folder / scan.image.name)
    return folder


def label(scans: Path, labels: Path, prompt: str, teacher: Callable[[], Segmenter], band: float) -> None:
    """Label a folder by the teacher, unless that is done."""
    request = LabelRequest(source=scans, output=labels, prompts=(prompt,), ignore_band=band)
    label_folder(request, teacher, show)


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
    lines = [
        "| masks | Dice, target there | minus teacher | p | empty where absent | minutes |",
        "|---|---|---|---|---|---|",
    ]
    for name, found in figures.items():
        low, high = found["interval"] or (found["dice"], found["dice"])
        difference = found.get("difference")
        told = "-" if difference is None else f"{difference:+.3f} ({found['low']:+.3f} to {found['high']:+.3f})"
        p = "-" if difference is None else f"{found['p']:.2g}"
        empty = f"{found['empty']:g} of {found['absent']}"
        minutes = f"{found['seconds'] / 60:.1f}" if "seconds" in found else "-"
        lines.append(f"| {name} | {found['dice']:.3f} ({low:.3f} to {high:.3f}) | {told} | {p} | {empty} | {minutes} |")
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


class Outcome(NamedTuple):
    """What one backend gave of one seed."""

    scores: list[float]
    seconds: float
    """Of training, encoding included; 0 where it was done before."""
    told: dict[str, Any]
    """What the run said of itself."""


def train(backend: str, part: Part, run: Path, seed: int, chosen: argparse.Namespace) -> tuple[float, dict[str, Any]]:
    """Train one backend on the teacher's labels by the command's own entry; the seconds, and what came of it."""
    method = find_method(f"refine-{backend}")
    values: dict[str, Any] = {"images": str(part.folder), "prompt": part.prompt, "seed": seed, **SHORT[backend]}
    if backend == "embedded":
        values |= {"weights": str(chosen.weights or ""), "features": str(part.folder.with_name("features"))}
    parts = changed(method.defaults(), values)
    config = config_of(f"refine-{backend}", parts)
    began = time.perf_counter()
    request = Request(data=part.labels, out=run, parts=parts, config=config, device="cpu", resume=run.exists())
    told = vars(method.train(request).outcome)
    return time.perf_counter() - began, {name: value for name, value in told.items() if name != "folder"}


def loader(backend: str, run: Path) -> Callable[[], Segmenter]:
    """What loads the run."""
    if backend == "embedded":
        return partial(medclipsam.load, "embedded", device="cpu", weights=run)
    return partial(medclipsam.load, Refined(run=run, threshold=THRESHOLD), device="cpu")


def outcome(backend: str, seed: int, learn: Part, score: Part, chosen: argparse.Namespace) -> Outcome:
    """Train, predict, score."""
    run = learn.folder.with_name(f"{backend}-{seed}")
    seconds, told = train(backend, learn, run, seed, chosen)
    predicted = run.with_name(f"{run.name}-masks")
    label_folder(
        LabelRequest(source=score.folder, output=predicted, prompts=(score.prompt,)), loader(backend, run), show
    )
    return Outcome(mask_scores(predicted, score.folder, score.scans), seconds, told)


def measure(study: Study, work: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    """Label, train each backend once for each seed, and score; everything as plain values."""
    learn, score = (_part(study, split, limit, work, chosen) for split, limit in _splits(study, chosen))
    present = {part: [bool(scan.reference().any()) for scan in part.scans] for part in (learn, score)}
    base = {part: mask_scores(part.labels, part.folder, part.scans) for part in (learn, score)}
    figures = {"teacher": figures_of(base[score], present[score], None)}
    outcomes: dict[str, list[Outcome]] = {}
    for backend in chosen.backends:
        found = outcomes[backend] = [outcome(backend, seed, learn, score, chosen) for seed in chosen.seeds]
        for seed, each in zip(chosen.seeds, found, strict=True):
            told = figures_of(each.scores, present[score], base[score])
            figures[f"{backend}, seed {seed}"] = told | {"seconds": each.seconds}
        mean = np.mean([each.scores for each in found], axis=0).tolist()
        figures[f"{backend}, mean of the seeds"] = figures_of(mean, present[score], base[score])
    weights = json.loads((learn.labels / "run.json").read_text())["weights"]["compact"]
    return {
        "study": vars(study),
        "figures": figures,
        "labels": figures_of(base[learn], present[learn], None),
        "teacher": base[score],
        "outcomes": {backend: [each._asdict() for each in found] for backend, found in outcomes.items()},
        "weights": weights,
        "taught_on": taught_on(study.dataset, chosen.weights),
        "images": [len(learn.scans), len(score.scans)],
    }


def _splits(study: Study, chosen: argparse.Namespace) -> tuple[tuple[str, int], tuple[str, int]]:
    return (study.learn, chosen.train), (study.score, chosen.train if study.learn == study.score else chosen.test)


def _part(study: Study, split: str, limit: int, work: Path, chosen: argparse.Namespace) -> Part:
    scans = read_scans(chosen.data, study.dataset, study.prompt, split, limit)
    folder = gather(scans, work / study.dataset / f"{split}-{len(scans)}")
    labels = folder.with_name(f"{folder.name}-labels")
    teacher = partial(medclipsam.load, "embedded", device="cpu", weights=chosen.weights)
    label(folder, labels, study.prompt, teacher, chosen.ignore_band)
    return Part(tuple(scans), folder, labels, study.prompt)


def taught_on(dataset: str, weights: Path | None) -> bool | None:
    """Whether the teacher was trained on a source; None where its weights do not say."""
    targets = targets_beside(weights) if weights else known_targets()
    return None if targets is None else any(dataset.replace("_", " ") in each.images for each in targets)


def described(found: Mapping[str, Any]) -> str:
    """One study in words and a table."""
    study, labels = found["study"], found["labels"]
    scored = "the same images" if study["learn"] == study["score"] else f"split `{study['score']}`"
    return "\n\n".join(
        (
            f'`{study["dataset"]}`, prompt "{study["prompt"]}": learned from {found["images"][0]} images '
            f"(`{study['learn']}`), scored on {scored}, {found['images'][1]} images. "
            f"The teacher {KNOWN[found['taught_on']]}. The labels themselves: Dice "
            f"{labels['dice']:.3f} where the target is there ({labels['n']} images), empty in {labels['empty']:g} of "
            f"{labels['absent']} where it is not.",
            table(found["figures"]),
        )
    )


def gains(studies: Sequence[Mapping[str, Any]], backends: Sequence[str]) -> str:
    """The mean gain of each backend over sources, its worst source, and in how many runs a student was kept."""
    lines = [
        "| backend | mean gain over sources | worst source | longest training, minutes | runs that kept the student |",
        "|---|---|---|---|---|",
    ]
    for backend in backends:
        gained = [study["figures"][f"{backend}, mean of the seeds"]["difference"] for study in studies]
        worst = int(np.argmin(gained))
        runs = [each for study in studies for each in study["outcomes"][backend]]
        longest = max(each["seconds"] for each in runs) / 60
        kept = [each["told"]["kept"] == "student" for each in runs if "kept" in each["told"]]
        told = f"{sum(kept)} of {len(kept)}" if kept else "-"
        name = f"{gained[worst]:+.3f} (`{studies[worst]['study']['dataset']}`)"
        lines.append(f"| {backend} | {np.mean(gained):+.3f} | {name} | {longest:.1f} | {told} |")
    return "\n".join(lines)


def report(studies: Sequence[Mapping[str, Any]], chosen: argparse.Namespace) -> str:
    """All of it as Markdown."""
    recipes = "; ".join(f"{name} {dict(SHORT[name]) or 'as it comes'}" for name in chosen.backends)
    conditions = (
        f"Teacher: the preset `embedded`, weights compact {studies[0]['weights'][:8]}; its labels, ignored within "
        f"{chosen.ignore_band} of one half. Backends of `medclipsam refine`: {recipes}. Seeds "
        f"{', '.join(map(str, chosen.seeds))}. Threshold {THRESHOLD}. {machine()}, {torch.get_num_threads()} threads, "
        f"{versions('torch', 'medclipsam')}. Dice with a 95 % bootstrap interval over images; p of Wilcoxon's paired "
        "test; minutes of training, encoding included (a later seed finds the views of an earlier one encoded)."
    )
    return "\n\n".join((conditions, gains(studies, chosen.backends), *(described(study) for study in studies)))


def asked() -> argparse.Namespace:
    """What the command line says."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with index.csv")
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    parser.add_argument("--work", type=Path, help="keep labels and runs here")
    parser.add_argument("--left-out", action="store_true", help=f"learn from and score {', '.join(LEFT_OUT)}")
    parser.add_argument("--dataset", default="breast_us_busi", help="with --left-out: this one of them alone")
    parser.add_argument("--prompt", default="breast tumor")
    parser.add_argument("--weights", type=Path, help="run or file of the teacher; else the preset's")
    parser.add_argument("--backends", nargs="+", choices=list(SHORT), default=["embedded", "unet"])
    parser.add_argument(
        "--train", type=int, default=0, help="scans to learn from, evenly spread; 0: all (left out: 60)"
    )
    parser.add_argument("--test", type=int, default=0, help="scans to be scored on, likewise")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--ignore-band", type=float, default=0.2)
    parser.add_argument("--label-only", action="store_true", help="label, and stop")
    return parser.parse_args()


def studies_of(chosen: argparse.Namespace) -> list[Study]:
    """What was asked for."""
    if not chosen.left_out:
        return [Study(dataset=chosen.dataset, prompt=chosen.prompt, learn="train", score="test")]
    wanted = {chosen.dataset: LEFT_OUT[chosen.dataset]} if chosen.dataset in LEFT_OUT else LEFT_OUT
    return [Study(dataset=name, prompt=prompt, learn=EVERY, score=EVERY) for name, prompt in wanted.items()]


def main() -> None:
    chosen = asked()
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    if chosen.left_out:
        chosen.train = chosen.train or MOST_LEFT_OUT
    with tempfile.TemporaryDirectory() as temporary:
        work = chosen.work or Path(temporary)
        studies = []
        for study in studies_of(chosen):
            if chosen.label_only:
                for split, limit in _splits(study, chosen):
                    _part(study, split, limit, work, chosen)
            else:
                studies.append(measure(study, work, chosen))
    if studies:
        write(studies, chosen)


def write(studies: Sequence[Mapping[str, Any]], chosen: argparse.Namespace) -> None:
    """The table and the record."""
    name = "refine-left-out" if chosen.left_out else "refine"
    chosen.out.mkdir(parents=True, exist_ok=True)
    text = report(studies, chosen)
    (chosen.out / f"{name}.md").write_text(text + "\n")
    (chosen.out / f"{name}.json").write_text(json.dumps(studies, indent=1) + "\n")
    print(f"\n{text}")


if __name__ == "__main__":
    main()
