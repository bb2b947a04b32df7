"""How good are the masks, does the text steer them, and is "not found" said when it should be?

    python benchmarks/accuracy.py ../shared/data --out benchmarks/results

Prompts are the short names of the targets: no position, no class of a lesion. Every figure is for one split; `test` was
never seen in training, nor in the choice of any setting (those were made on `val`). Baselines give LiteMedSAM a box
around the whole image, and the true box. Writes a JSON with every case and a Markdown table.
"""

from __future__ import annotations

import argparse
import csv
import json
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import torch
from setting import conditions, spoken

import medclipsam
from medclipsam.errors import BadInput
from medclipsam.io import read_image
from medclipsam.io.label_files import read_foreground
from medclipsam.methods.zeroshot import ZeroShotSegmenter
from medclipsam.metrics.overlap import dice
from medclipsam.metrics.statistics import summarise
from medclipsam.prompting.prompts import box_around
from medclipsam.training.embedded.corpus import Corpus
from medclipsam.types import BoolArray, Box, Hints, MedImage

NONSENSE = ("ljashdbflsabdf", "sitting on a chair")
CORPUS = Corpus.read()
WRONG_BODY = ("kidney", "fractured femur", "gallbladder polyp", "wisdom tooth")
"""Structures that no test image shows; images of the trunk are asked only for those outside it."""
TRUNK = ("heart", "abdomen", "chest")
PARAPHRASED_IMAGES = 12
"""Images of each folder and target that are asked again in other words."""
PAPER_TASKS: Mapping[str, tuple[tuple[str, str], ...]] = {
    "Breast ultrasound": (("breast_us_busi", "breast tumor"),),
    "Brain MRI": (("brain_mri_lgg", "brain tumor"), ("brain_mri_brisc", "brain tumor")),
    "Lung X-ray": (("chest_xray_montgomery", "lungs"), ("chest_xray_shenzhen", "lungs")),
    "Lung CT": (("lung_ct_covid20", "lungs"),),
}


@dataclass(frozen=True, kw_only=True)
class Case:
    """One image with the masks of all its targets."""

    dataset: str
    image: str
    masks: Mapping[str, str]


def _lists() -> dict[Any, list[Any]]:
    return defaultdict(list)


@dataclass(kw_only=True)
class Tally:
    """Everything that was counted."""

    dice: dict[tuple[str, str], list[float]] = field(default_factory=_lists)
    whole_box: dict[tuple[str, str], list[float]] = field(default_factory=_lists)
    true_box: dict[tuple[str, str], list[float]] = field(default_factory=_lists)
    found: dict[tuple[str, str], list[bool]] = field(default_factory=_lists)
    rejected: dict[str, list[bool]] = field(default_factory=_lists)
    steered: list[bool] = field(default_factory=list)
    paraphrase: dict[tuple[str, str], list[tuple[float, list[float]]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    seconds: list[float] = field(default_factory=list)
    cases: list[dict[str, Any]] = field(default_factory=list)


def read_cases(root: Path, split: str, limit: int) -> list[Case]:
    """The images of a split; with a limit, evenly spread ones of each folder."""
    grouped: dict[tuple[str, str], dict[str, str]] = {}
    with (root / "index.csv").open(newline="") as table:
        for row in csv.DictReader(table):
            if row["split"] == split:
                grouped.setdefault((row["dataset"], row["image"]), {})[row["target"]] = row["mask"]
    folders: dict[str, list[Case]] = defaultdict(list)
    for (dataset, image), masks in grouped.items():
        folders[dataset].append(Case(dataset=dataset, image=image, masks=masks))
    return [case for cases in folders.values() for case in _spread(cases, limit)]


def _spread(cases: list[Case], limit: int) -> list[Case]:
    if not limit or len(cases) <= limit:
        return cases
    return [cases[index] for index in np.linspace(0, len(cases) - 1, limit).astype(int)]


def measure_folders(root: Path, cases: Sequence[Case], load: Loading, jobs: int) -> Tally:
    """Ask every question of every case; `jobs` processes share the folders and change no figure."""
    folders: dict[str, list[Case]] = defaultdict(list)
    for case in cases:
        folders[case.dataset].append(case)
    shares = sorted(folders.values(), key=len, reverse=True)
    if jobs == 1:
        return joined(measure(load(), root, share) for share in shares)
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return joined(pool.map(partial(_measure_alone, load, root), shares))


@dataclass(frozen=True, kw_only=True)
class Loading:
    """How each process gets its segmenter."""

    preset: str
    seed: int
    weights: Path | None
    threads: int

    def __call__(self) -> ZeroShotSegmenter:
        torch.set_num_threads(self.threads)
        return medclipsam.load(self.preset, device="cpu", seed=self.seed, weights=self.weights)


def _measure_alone(load: Loading, root: Path, cases: Sequence[Case]) -> Tally:
    return measure(load(), root, cases)


def joined(tallies: Iterable[Tally]) -> Tally:
    """All counts of several folders."""
    whole = Tally()
    for tally in tallies:
        for part in fields(Tally):
            mine, theirs = getattr(whole, part.name), getattr(tally, part.name)
            if isinstance(mine, list):
                mine += theirs
            else:
                for key, values in theirs.items():
                    mine[key] += values
    return whole


def measure(segmenter: ZeroShotSegmenter, root: Path, cases: Sequence[Case]) -> Tally:
    """Ask every question of every case of one folder."""
    tally = Tally()
    asked_again: dict[tuple[str, str], int] = defaultdict(int)
    for number, case in enumerate(cases, 1):
        image = read_image(root / case.image)
        references = {target: read_foreground(root / mask) for target, mask in case.masks.items()}
        _targets(segmenter, case, image, references, tally)
        _impostors(segmenter, case, image, tally)
        for target, reference in references.items():
            key = case.dataset, target
            if reference.any() and asked_again[key] < PARAPHRASED_IMAGES:
                asked_again[key] += 1
                _in_other_words(segmenter, key, image, reference, tally)
        print(f"\r{case.dataset} {number}/{len(cases)} ", end="", flush=True)
    print()
    return tally


def _targets(
    segmenter: ZeroShotSegmenter, case: Case, image: MedImage, references: Mapping[str, BoolArray], tally: Tally
) -> None:
    masks: dict[str, BoolArray] = {}
    for target, reference in references.items():
        began = time.perf_counter()
        answer = segmenter.segment(image, target)
        tally.seconds.append(time.perf_counter() - began)
        masks[target] = answer.mask
        key = case.dataset, target
        if not reference.any():
            tally.rejected["targets absent from the image"].append(not answer.found)
            continue
        value = dice(answer.mask, reference)
        tally.dice[key].append(value)
        tally.found[key].append(answer.found)
        tally.whole_box[key].append(_with_box(segmenter, image, target, _whole(image), reference))
        tally.true_box[key].append(_with_box(segmenter, image, target, _around(reference), reference))
        tally.cases.append({"image": case.image, "target": target, "dice": value, "presence": answer.presence})
    tally.steered += _steering(masks, references)


def _steering(masks: Mapping[str, BoolArray], references: Mapping[str, BoolArray]) -> list[bool]:
    """For every ordered pair of targets in one image: does the right prompt's mask fit its target better?"""
    present = [target for target, reference in references.items() if reference.any()]
    return [
        dice(masks[right], references[right]) > dice(masks[wrong], references[right])
        for right in present
        for wrong in present
        if right != wrong
    ]


def _impostors(segmenter: ZeroShotSegmenter, case: Case, image: MedImage, tally: Tally) -> None:
    """Texts that must not be found in this image."""
    body = CORPUS.folder(case.dataset).body
    unseen = (known for known in CORPUS.concepts if known.target not in case.masks)
    others = [known.target for known in unseen if body not in known.visible_in]
    wrong = [text for text in WRONG_BODY if body not in TRUNK or text in ("fractured femur", "wisdom tooth")]
    for text in (*others, *wrong):
        tally.rejected["wrong body part"].append(not segmenter.segment(image, text).found)
    for text in NONSENSE:
        tally.rejected["nonsense"].append(not segmenter.segment(image, text).found)


def _in_other_words(
    segmenter: ZeroShotSegmenter, key: tuple[str, str], image: MedImage, reference: BoolArray, tally: Tally
) -> None:
    target = key[1]
    plain = dice(segmenter.segment(image, target).mask, reference)
    others = [dice(segmenter.segment(image, text).mask, reference) for text in CORPUS.concept(target).held_out]
    tally.paraphrase[key].append((plain, others))


def _with_box(segmenter: ZeroShotSegmenter, image: MedImage, text: str, box: Box, reference: BoolArray) -> float:
    return dice(segmenter.segment(image, text, Hints(boxes=(box,))).mask, reference)


def _whole(image: MedImage) -> Box:
    return Box(x0=0, y0=0, x1=image.size[1] - 1, y1=image.size[0] - 1)


def _around(reference: BoolArray) -> Box:
    box = box_around(reference)
    if box is None:
        raise BadInput("an empty mask has no box")
    return box


def markdown(tally: Tally, facts: Mapping[str, Any]) -> str:
    """The tables that README and model card quote."""
    lines = [
        f"Preset `{facts['preset']}`, split `{facts['split']}`, {facts['images']} images. {spoken(facts)}. "
        f"Dice, mean over images that show the target, with a 95 % bootstrap interval.",
        "",
        "| images | target | n | Dice | found | whole image as box | true box |",
        "|---|---|---|---|---|---|---|",
    ]
    for key in sorted(tally.dice):
        lines.append(_dice_row(tally, key))
    lines += ["", "| task | Dice |", "|---|---|"]
    lines += [
        f"| {name} | {value:.3f} ({low:.3f} to {high:.3f}) |" for name, (value, low, high) in tasks(tally).items()
    ]
    lines += ["", "| question | right answer | share | n |", "|---|---|---|---|"]
    lines.append(_share_row("targets that are there", "found", [x for row in tally.found.values() for x in row]))
    lines += [_share_row(name, "not found", row) for name, row in sorted(tally.rejected.items())]
    lines.append(_share_row("right prompt beats the wrong one on its own target", "yes", tally.steered))
    lines += ["", "| target, 5 wordings not in training | n | short name | mean of the 5 | largest change |"]
    lines += ["|---|---|---|---|---|", *(_wording_row(key, rows) for key, rows in sorted(tally.paraphrase.items()))]
    lines.append(_wording_mean(list(tally.paraphrase.values())))
    return "\n".join(lines) + "\n"


def tasks(tally: Tally, draws: int = 2000) -> dict[str, tuple[float, float, float]]:
    """The four tasks of the paper, each the mean of its folders, and their mean; each with its bootstrap interval.

    Images are drawn anew within their folder, so that a folder keeps its weight.
    """
    folders = {
        name: [np.array(tally.dice[key]) for key in keys]
        for name, keys in PAPER_TASKS.items()
        if all(tally.dice[key] for key in keys)
    }
    if not folders:
        return {}
    generator = np.random.default_rng(0)
    drawn = {
        name: np.mean([generator.choice(values, (draws, len(values))).mean(axis=1) for values in groups], axis=0)
        for name, groups in folders.items()
    }
    means = {name: float(np.mean([values.mean() for values in groups])) for name, groups in folders.items()}
    drawn["mean"], means["mean"] = np.mean(list(drawn.values()), axis=0), float(np.mean(list(means.values())))
    return {name: (means[name], *np.quantile(drawn[name], [0.025, 0.975]).tolist()) for name in means}


def _dice_row(tally: Tally, key: tuple[str, str]) -> str:
    summary = summarise(tally.dice[key])
    low, high = summary.interval or (summary.mean, summary.mean)
    whole, true = np.mean(tally.whole_box[key]), np.mean(tally.true_box[key])
    return (
        f"| {key[0]} | {key[1]} | {summary.n} | {summary.mean:.3f} ({low:.3f} to {high:.3f}) "
        f"| {np.mean(tally.found[key]):.1%} | {whole:.3f} | {true:.3f} |"
    )


def _share_row(name: str, right: str, answers: Iterable[bool]) -> str:
    counted = list(answers)
    return f"| {name} | {right} | {np.mean(counted) if counted else float('nan'):.1%} | {len(counted)} |"


def _wording_row(key: tuple[str, str], rows: Sequence[tuple[float, list[float]]]) -> str:
    plain = np.mean([row[0] for row in rows])
    others = np.array([row[1] for row in rows]).mean(axis=0)
    worst = np.abs(others - plain).max()
    return f"| {key[0]}: {key[1]} | {len(rows)} | {plain:.3f} | {others.mean():.3f} | {worst:.3f} |"


def _wording_mean(groups: Sequence[Sequence[tuple[float, list[float]]]]) -> str:
    """All folders and targets alike."""
    plain = np.array([np.mean([row[0] for row in rows]) for rows in groups])
    others = np.array([np.mean([row[1] for row in rows]) for rows in groups])
    change = np.abs(others - plain)
    images = sum(len(rows) for rows in groups)
    return f"| mean of all | {images} | {plain.mean():.3f} | {others.mean():.3f} | {change.mean():.3f} on average |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--preset", default="embedded")
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--limit", type=int, default=0, help="images of each folder; 0 takes all")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--jobs", type=int, default=1, help="processes that share the folders")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    chosen = parser.parse_args()
    load = Loading(preset=chosen.preset, seed=chosen.seed, weights=chosen.weights, threads=chosen.threads)
    segmenter, cases = load(), read_cases(chosen.data, chosen.split, chosen.limit)
    tally = measure_folders(chosen.data, cases, load, chosen.jobs)
    facts = {
        "preset": chosen.preset,
        "split": chosen.split,
        "images": len(cases),
        **conditions(chosen.seed, segmenter.info.weights),
        "median_seconds": float(np.median(tally.seconds)),
    }
    chosen.out.mkdir(parents=True, exist_ok=True)
    table = markdown(tally, facts)
    (chosen.out / f"accuracy-{chosen.preset}-{chosen.split}.md").write_text(table)
    record = {"facts": facts, "tasks": tasks(tally), "cases": tally.cases}
    (chosen.out / f"accuracy-{chosen.preset}-{chosen.split}.json").write_text(json.dumps(record, indent=1))
    print(table)


if __name__ == "__main__":
    main()
