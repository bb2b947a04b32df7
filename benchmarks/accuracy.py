"""How good are the masks, does the text steer them, and is what is not there, or was never taught, called so?

    python benchmarks/accuracy.py ../shared/data --out benchmarks/results
    python benchmarks/accuracy.py ../shared/data --weights RUN --limit 8 --jobs 2 --targets RUN/targets.json

Prompts are the short names of the targets: no position, no class of a lesion. Figures are of one split; `test` was
never seen in training, nor in the choice of any setting (those were made on `val`). Each image is encoded once and
asked all its questions (`accuracy_cases.py`); folders take turns, so that `--minutes` ends a run with some of each.

Writes accuracy-PRESET-SPLIT.json with every answer and a number for each table, and a Markdown table each for the
main folders, other hospitals (sources), breadth, absent, never-taught, wordings, sides. `--targets FILE` writes the
figures of every taught target where `medclipsam info --targets` reads them, beside the weights. A run of weights that
does not say what it was taught is taken to have learned every target of the training images; its `targets.json` is
written first.
`--boxes` also gives Segment Anything the whole image and the true box: that costs two more masks for every target.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any

import accuracy_tables as tables
import numpy as np
from accuracy_asking import Answer, ask
from accuracy_cases import Case, Limits, planned, read_cases, training_images
from judging import Model, add_options, as_json, asked, digest_of, heading

from medclipsam.config import EMBEDDED_CLIPS, zeroshot_preset
from medclipsam.io.atomic import write_atomic
from medclipsam.training.data.index import read_index
from medclipsam.training.embedded.corpus import Corpus
from medclipsam.training.embedded.vocabulary import taught_by
from medclipsam.weights.targets import TARGETS, Target, known_targets, targets_beside, to_text

PREFIX = "accuracy"


def taught(weights: Path | None, data: Path, corpus: Corpus, preset: str = "embedded") -> Sequence[Target]:
    """What the weights were taught; a run that does not say it gets its table."""
    clip = zeroshot_preset(preset).clip
    package = known_targets(clip) if clip in EMBEDDED_CLIPS else ()
    found = targets_beside(weights) if weights else package
    if found is None and weights is not None:
        images = [image for image in read_index(data) if image.split == "train" and image.folder in corpus.folders]
        found = tuple(taught_by(images))
        write_atomic((weights if weights.is_dir() else weights.parent) / TARGETS, to_text(found))
    return found or ()


def measured(targets: Sequence[Target], answers: Sequence[Answer], split: str) -> list[Target]:
    """The targets with their figures: at home in the main folders (where it has none, in all), and elsewhere."""
    groups = tables.values(tables.of_kind(answers, "target", split), lambda answer: answer.target)
    return [_measured(each, groups.get(each.target, [])) for each in targets]


def _measured(target: Target, answers: Sequence[Answer]) -> Target:
    main = [answer for answer in answers if tables.home(answer.dataset)]
    others = [answer for answer in answers if not tables.home(answer.dataset)]
    return replace(target, home=tables.figure(main or others), elsewhere=tables.figure(others if main else []))


def learned_folders(targets: Sequence[Target], cases: Sequence[Case]) -> Mapping[str, Collection[str]]:
    """For each target the folders of the data that the weights learned it from."""
    named = {case.dataset.replace("_", " "): case.dataset for case in cases}
    return {each.target: {named[kind] for kind in each.images if kind in named} for each in targets}


def documents(
    answers: Sequence[Answer],
    facts: dict[str, Any],
    training: Mapping[str, int],
    learned: Mapping[str, Collection[str]],
) -> dict[str, str]:
    """Name of a file -> its text: the JSON of all answers, and the tables that come from it."""
    split = facts["split"]
    said = f"split `{split}`, {facts['done']} images asked {facts['questions']} questions"
    of_tests = f"{said}; Dice: mean over images that show the target, with a 95 % bootstrap interval"
    parts = {
        f"{PREFIX}-{facts['preset']}-{split}": (of_tests, tables.main_table(answers, split)),
        f"{PREFIX}-sources": (of_tests, tables.sources_table(answers, learned, split)),
        f"{PREFIX}-breadth": (f"{said}; Dice: mean over images", tables.breadth_table(answers, training, split)),
        f"{PREFIX}-absent": (said, tables.absent_table(answers)),
        f"{PREFIX}-never-taught": (said, tables.never_taught_table(answers)),
        f"{PREFIX}-wordings": (said, tables.wordings_table(answers)),
        f"{PREFIX}-sides": (of_tests, tables.sides_table(answers)),
    }
    texts = {f"{name}.md": "\n".join([*heading(facts, first), *lines]) + "\n" for name, (first, lines) in parts.items()}
    record = as_json(facts, tables.summary(answers, training, split), answers)
    return {**texts, f"{PREFIX}-{facts['preset']}-{split}.json": record}


def main() -> None:
    chosen = _parser().parse_args()
    limits = Limits(
        each=chosen.limit,
        tasks=chosen.tasks,
        absent=chosen.absent,
        fallback=chosen.fallback,
        reworded=chosen.reworded,
        boxes=chosen.boxes,
    )
    corpus, every = Corpus.read(), read_cases(chosen.data, None)
    targets = taught(chosen.weights, chosen.data, corpus, chosen.preset)
    cases = planned(every, corpus, {each.target for each in targets}, limits, split=chosen.split, seed=chosen.seed)
    model = Model.of(chosen)
    answers, facts = asked(model, partial(ask, chosen.data), cases, jobs=chosen.jobs, minutes=chosen.minutes)
    answers.sort(key=lambda answer: (answer.dataset, answer.image, answer.kind, answer.target, answer.text))
    seconds = [answer.seconds for answer in answers if answer.kind != "other"]
    facts |= {
        "split": chosen.split,
        "questions": len(seconds),
        "limits": asdict(limits),
        "median_seconds": float(np.median(seconds)) if seconds else None,
        "data": digest_of(chosen.data / "index.csv"),
    }
    texts = documents(answers, facts, training_images(every), learned_folders(targets, every))
    chosen.out.mkdir(parents=True, exist_ok=True)
    for name, text in texts.items():
        write_atomic(chosen.out / name, text)
    if chosen.targets:
        write_atomic(chosen.targets, to_text(measured(targets, answers, chosen.split)))
    print("\n".join(text for name, text in texts.items() if name.endswith(".md")))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--split", default="test")
    parser.add_argument("--limit", type=int, default=0, help="images of each folder and target; 0 takes all")
    parser.add_argument("--tasks", type=int, default=0, help="the same of the paper's tasks; 0: as --limit")
    parser.add_argument("--absent", type=int, default=80, help="images of each folder that do not show a target")
    parser.add_argument("--fallback", type=int, default=3, help="images of a target that the split does not show")
    parser.add_argument("--reworded", type=int, default=12, help="images of each target that are asked in other words")
    parser.add_argument("--boxes", action="store_true", help="give Segment Anything two boxes of its own as well")
    parser.add_argument("--targets", type=Path, help="write the figures of every taught target into this file")
    add_options(parser, "image")
    return parser


if __name__ == "__main__":
    main()
