"""Trains the supervised methods alike, scores them alike, and writes the tables of docs/supervised.md.

    python benchmarks/supervised.py run ../shared/data WORK --methods unet medclipseg-embedded --datasets breast_us_busi
    python benchmarks/supervised.py run ../shared/data WORK --methods unet --designs short --on other_polyp_etis
    python benchmarks/supervised.py table WORK --out benchmarks/results

`run` does methods x data sets x label shares x training texts x seeds, and asks each trained run the questions that are
named. WORK keeps every run folder and the scores of every image: what is there is not done again, a training that was
stopped goes on, and rows can be added one at a time. `zeroshot-embedded` is the preset of that name, not trained here.
Nothing is chosen by test images: settings are changed with `--set` under a `--variant` name, and judged by
`--split val`.
"""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from itertools import product
from pathlib import Path

import supervised_tables as tables
import torch
from corruptions import STRENGTHS
from supervised_cases import DESIGNS, TRAINING_TEXTS
from supervised_runs import Training, encoding_once, frozen_of, trained
from supervised_scores import Lazy, Question, ask

import medclipsam
from medclipsam.methods.contract import Segmenter

ZERO_SHOT = "zeroshot-"


def trainings(chosen: argparse.Namespace) -> Iterator[Training]:
    """Every training that was named."""
    for method, dataset, share, text, seed in product(
        chosen.methods, chosen.datasets, chosen.shares, chosen.texts, chosen.seeds
    ):
        training = Training(
            method=method,
            dataset=dataset,
            share=share,
            text=text,
            seed=seed,
            variant=chosen.variant,
            settings=tuple(chosen.settings),
        )
        yield training if training.reads_text else replace(training, text="short")


def questions(chosen: argparse.Namespace, training: Training) -> Iterator[Question]:
    """Every question that was named; elsewhere all splits are asked, for nothing was trained there."""
    designs = chosen.designs if training.reads_text else ["short"]
    for design in designs:
        yield Question(dataset=training.dataset, design=design, split=chosen.split)
    for dataset, design in product(chosen.on, chosen.on_designs if training.reads_text else ["short"]):
        yield Question(dataset=dataset, design=design, split="all")
    for kind in chosen.corruptions:
        for level in range(len(STRENGTHS[kind]) + 1):
            yield Question(dataset=training.dataset, design=designs[0], corruption=(kind, level))


def run(chosen: argparse.Namespace) -> None:
    """Train and ask whatever is not kept yet."""
    for training in trainings(chosen):
        segmenter = Lazy(partial(load, training, chosen.data, chosen.work, chosen.limit))
        asked = list(questions(chosen, training))
        for scored in ask(segmenter, training, asked, chosen.data, chosen.work, limit=chosen.limit):
            (row,) = tables.rows_of([scored])
            print(training.name, scored.question.name, tables.in_short(row))


def load(training: Training, data: Path, work: Path, limit: int) -> Segmenter:
    """The trained method, ready to be asked."""
    if training.is_zero_shot:
        return medclipsam.load(training.method.removeprefix(ZERO_SHOT), device="cpu", seed=training.seed)
    segmenter = medclipsam.load(device="cpu", seed=training.seed, weights=trained(training, data, work, limit=limit))
    return encoding_once(segmenter, work / "encodings")


def write_tables(chosen: argparse.Namespace) -> None:
    """Every table of which there are rows."""
    rows = tables.rows_of(tables.read_all(chosen.work))
    facts = {path.stem: json.loads(path.read_text()) for path in sorted((chosen.work / "runs").glob("*.json"))}
    frozen = {name: sha256 for run in (chosen.work / "runs").iterdir() for name, sha256 in frozen_of(run).items()}
    chosen.out.mkdir(parents=True, exist_ok=True)
    made = {
        "main": tables.main_table(rows, facts),
        "prompts": tables.design_table(rows),
        "hospitals": tables.hospital_table(rows),
        "uncertainty": tables.uncertainty_table(rows),
        "shares": tables.share_table(rows),
        "corruptions": tables.corruption_table(rows),
    }
    for name, table in made.items():
        if table:
            (chosen.out / f"supervised-{name}.md").write_text(f"{tables.heading(facts, frozen)}\n\n{table}")
            print(f"{name}\n\n{table}")


def parser() -> argparse.ArgumentParser:
    """Of the command line."""
    whole = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = whole.add_subparsers(required=True)
    one = commands.add_parser("run", help="train and ask")
    one.set_defaults(do=run)
    one.add_argument("data", type=Path, help="the folder with index.csv and prompts_medclipseg.csv")
    one.add_argument("work", type=Path, help="keeps runs and scores")
    one.add_argument("--methods", nargs="+", required=True)
    one.add_argument("--datasets", nargs="+", default=["breast_us_busi", "polyp_kvasir"])
    one.add_argument("--shares", nargs="+", type=int, default=[100], help="per cent of the training cases")
    one.add_argument("--texts", nargs="+", default=["sentences"], choices=TRAINING_TEXTS, help="that training reads")
    one.add_argument("--seeds", nargs="+", type=int, default=[0])
    one.add_argument("--variant", default="", help="a name for other settings")
    one.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    one.add_argument("--split", default="test", choices=("val", "test"))
    one.add_argument("--designs", nargs="+", default=["original"], choices=DESIGNS)
    one.add_argument("--on", nargs="+", default=[], help="other hospitals' folders")
    one.add_argument("--on-designs", nargs="+", default=["short"], choices=DESIGNS)
    one.add_argument("--corruptions", nargs="+", default=[], choices=tuple(STRENGTHS))
    one.add_argument("--limit", type=int, default=0, help="at most so many cases of a split, to try the program")
    other = commands.add_parser("table", help="write the tables of what is kept")
    other.set_defaults(do=write_tables)
    other.add_argument("work", type=Path)
    other.add_argument("--out", type=Path, default=Path("benchmarks/results"))
    return whole


def main() -> None:
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", torch.get_num_threads())))
    chosen = parser().parse_args()
    chosen.do(chosen)


if __name__ == "__main__":
    main()
