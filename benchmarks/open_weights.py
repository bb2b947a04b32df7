"""Measures the weights for work (preset `embedded-open`): at home, and on sources that they never saw.

    python benchmarks/open_weights.py DATA --jobs 2 --targets weights/open/targets.json --out benchmarks/results

Asked are the targets that these weights promise, on test images; "left out" are images of folders that are not in
their list of sources, from which the trained part learned nothing. The same targets are asked for on images of both
kinds that do not show them.
"""

from __future__ import annotations

import argparse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import accuracy_tables as tables
import numpy as np
from accuracy_asking import Answer, ask
from accuracy_cases import Case, Question, in_turns, read_cases, spread
from judging import Model, add_options, as_json, asked, digest_of, heading

from medclipsam.io.atomic import write_atomic
from medclipsam.training.embedded.corpus import Corpus
from medclipsam.training.embedded.open_sources import open_sources
from medclipsam.weights.targets import Figure, Target, known_targets, targets_beside, to_text

NAME = "open-weights"


@dataclass(frozen=True, kw_only=True)
class Row:
    """One target on test images of both kinds of folders; None where there is no such image."""

    target: str
    home: Figure | None
    left_out: Figure | None


def planned(cases: Sequence[Case], taught: Collection[str], corpus: Corpus, limit: int) -> list[Case]:
    """So many images of each folder and taught target that show it, and as many that do not, with their questions."""
    found: dict[str, Case] = {}
    for folder in dict.fromkeys(case.dataset for case in cases):
        mine = [case for case in cases if case.dataset == folder]
        complete = corpus.folder(folder).complete
        for target in sorted({name for case in mine for name in case.masks} & set(taught)):
            chosen = spread([case for case in mine if target in case.shown], limit)
            chosen += spread([case for case in mine if complete and target in case.absent], limit)
            found |= {case.image: replace(case, questions=_questions(case, taught, complete)) for case in chosen}
    return in_turns(found.values())


def _questions(case: Case, taught: Collection[str], complete: bool) -> tuple[Question, ...]:
    """What of the taught targets the image shows, and what it lacks."""
    kinds = {target: "absent" if target in case.absent else "target" for target in case.masks if target in taught}
    return tuple(
        Question(kind=kind, target=target, text=target)  # type: ignore[arg-type]
        for target, kind in kinds.items()
        if kind == "target" or complete
    )


def rows(answers: Sequence[Answer], sources: Collection[str]) -> list[Row]:
    """A row for each target, by name."""
    groups = tables.values(tables.of_kind(answers, "target"), lambda answer: answer.target)
    return [
        Row(
            target=target,
            home=tables.figure([answer for answer in mine if answer.dataset in sources]),
            left_out=tables.figure([answer for answer in mine if answer.dataset not in sources]),
        )
        for target, mine in groups.items()
    ]


def table(found: Sequence[Row], training: Mapping[str, int]) -> list[str]:
    """Target by target, then the means."""
    lines = ["| target | training images | n | Dice at home | found | n | Dice, left out | found |", "|---" * 8 + "|"]
    for row in found:
        cells = [cell for figure in (row.home, row.left_out) for cell in _cells(figure)]
        lines.append(f"| {row.target} | {training.get(row.target, 0)} | {' | '.join(cells)} |")
    lines += ["", _mean("at home", [row.home for row in found]), _mean("left out", [row.left_out for row in found])]
    return lines


def absent_lines(answers: Sequence[Answer], sources: Collection[str]) -> list[str]:
    """How often a target is not found on an image that does not show it."""
    lines = [""]
    for where, at_home in (("at home", True), ("left out", False)):
        mine = [each for each in tables.of_kind(answers, "absent") if (each.dataset in sources) == at_home]
        right = tables.percent(not answer.found for answer in mine)
        lines.append(f"Not found where it is not, {where}: {right} of {len(mine)} pairs of an image and a target.\n")
    return lines


def sources_table(cases: Sequence[Case]) -> list[str]:
    """Every source of the list with its licence, and what its training images show."""
    lines = ["| images | original | licence | training images | targets |", "|---" * 5 + "|"]
    for source in open_sources():
        mine = [case for case in cases if case.dataset == source.folder and case.split == "train"]
        shown = ", ".join(sorted({target for case in mine for target in case.shown}))
        lines.append(f"| {source.folder} | {source.original} | {source.licence} | {len(mine)} | {shown} |")
    return lines


def folders_table(answers: Sequence[Answer], sources: Collection[str]) -> list[str]:
    """Every folder that was left out, with its modality."""
    groups = tables.values(tables.of_kind(answers, "target"), lambda answer: (answer.target, answer.dataset))
    lines = ["", "| target | images left out | modality | n | Dice | found |", "|---|---|---|---|---|---|"]
    for (target, folder), mine in groups.items():
        if folder not in sources:
            found = tables.percent(answer.found for answer in mine)
            cells = target, folder, mine[0].modality, len(mine), tables.interval(mine), found
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return lines


def _cells(figure: Figure | None) -> tuple[str, str, str]:
    return (str(figure.n), f"{figure.dice:.3f}", f"{figure.found:.0%}") if figure else ("0", "-", "-")


def _mean(where: str, figures: Sequence[Figure | None]) -> str:
    dice = [figure.dice for figure in figures if figure]
    good = sum(value > tables.GOOD for value in dice)
    return f"Mean over {len(dice)} targets {where}: {np.mean(dice):.3f}; above {tables.GOOD}: {good}.\n" if dice else ""


def measured(taught: Sequence[Target], found: Sequence[Row]) -> list[Target]:
    """The targets with their figures, "elsewhere" being what was left out."""
    by_name = {row.target: row for row in found}
    return [
        replace(each, home=by_name[each.target].home, elsewhere=by_name[each.target].left_out)
        if each.target in by_name
        else replace(each, home=None, elsewhere=None)
        for each in taught
    ]


def main() -> None:
    chosen = _parser().parse_args()
    taught = (targets_beside(chosen.weights) if chosen.weights else known_targets("compact-open")) or ()
    every, sources = read_cases(chosen.data, None), {source.folder for source in open_sources()}
    names = {each.target for each in taught}
    cases = planned([case for case in every if case.split == "test"], names, Corpus.read(), chosen.limit)
    answers, facts = asked(Model.of(chosen), partial(ask, chosen.data), cases, jobs=chosen.jobs, minutes=chosen.minutes)
    answers = sorted(
        (answer for answer in answers if answer.kind != "other"), key=lambda each: (each.dataset, each.image, each.text)
    )
    found = rows(answers, sources)
    training = {
        name: sum(case.dataset in sources and case.split == "train" and name in case.shown for case in every)
        for name in names
    }
    facts |= {"data": digest_of(chosen.data / "index.csv"), "limit": chosen.limit}
    said = f"split `test`, {facts['done']} images; Dice: mean over images, of folders that count alike"
    lines = [*heading(facts, said), *table(found, training), *folders_table(answers, sources)]
    lines += absent_lines(answers, sources)
    write_atomic(chosen.out / f"{NAME}-sources.md", "\n".join(sources_table(every)) + "\n")
    write_atomic(chosen.out / f"{NAME}.md", "\n".join(lines) + "\n")
    write_atomic(chosen.out / f"{NAME}.json", as_json(facts, {"targets": [asdict(row) for row in found]}, answers))
    if chosen.targets:
        write_atomic(chosen.targets, to_text(measured(taught, found)))
    print("\n".join(lines))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--limit", type=int, default=8, help="test images of each folder and target; 0 takes all")
    parser.add_argument("--targets", type=Path, help="write the figures of every taught target into this file")
    add_options(parser, "image")
    parser.set_defaults(preset="embedded-open")
    return parser


if __name__ == "__main__":
    main()
