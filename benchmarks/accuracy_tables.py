"""Counts the answers to the questions of `accuracy_cases` and writes the tables of docs/ and of the model card.

Each table is a function from answers to lines; where a table says one thing in a number, `summary` says it too. A mean
over targets counts every target alike, a mean over folders every folder.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from accuracy_asking import Answer
from accuracy_cases import OTHERS, PAPER_TASKS

from medclipsam.metrics.statistics import summarise
from medclipsam.weights.targets import Figure

ELSEWHERE: Mapping[str, tuple[tuple[str, str], ...]] = {
    "Breast ultrasound": (("other_breast_us_buscot", "breast tumor"), ("other_breast_us_busuc", "breast tumor")),
    "Brain MRI": (("other_brain_mri_brats", "brain tumor"),),
    "Lung X-ray": (("broad_jsrt_cxr", "lungs"),),
    "Lung CT": (("other_chest_ct", "lungs"),),
}
"""The four tasks of the paper on images of other hospitals."""
ENOUGH = 10
"""Training images from which a target counts in the mean over targets."""
GOOD = 0.5
"""Dice above which a target counts as one that the model can draw."""
GOOD_SIDE = 0.9
Group = tuple[str, str]


def home(dataset: str) -> bool:
    """Whether a folder is one of those in which a target is at home: large, and learned from first."""
    return not dataset.startswith(OTHERS)


def values(answers: Iterable[Answer], key: Callable[[Answer], Any]) -> dict[Any, list[Answer]]:
    """Answers by a key, in the order of the keys."""
    groups: dict[Any, list[Answer]] = defaultdict(list)
    for answer in answers:
        groups[key(answer)].append(answer)
    return {name: groups[name] for name in sorted(groups)}


def of_kind(answers: Iterable[Answer], kind: str, split: str | None = None) -> list[Answer]:
    """Those that answer one kind of question, on one split."""
    return [answer for answer in answers if answer.kind == kind and split in (None, answer.split)]


def mean_dice(answers: Iterable[Answer]) -> float:
    """Mean Dice of answers that have one; NaN of none."""
    found = [answer.dice for answer in answers if answer.dice is not None]
    return float(np.mean(found)) if found else float("nan")


def share(said: Iterable[bool]) -> float:
    """NaN of none."""
    counted = list(said)
    return float(np.mean(counted)) if counted else float("nan")


def figure(answers: Sequence[Answer]) -> Figure | None:
    """Of answers about one target; folders count alike. None of none."""
    folders = list(values(answers, lambda answer: answer.dataset).values())
    if not folders:
        return None
    dice = float(np.mean([mean_dice(mine) for mine in folders]))
    found = float(np.mean([share(answer.found for answer in mine) for mine in folders]))
    return Figure(dice=round(dice, 3), found=round(found, 3), n=len(answers))


def percent(said: Iterable[bool], digits: int = 0) -> str:
    """Such as 95%; - of none."""
    counted = list(said)
    return f"{np.mean(counted):.{digits}%}" if counted else "-"


def main_table(answers: Sequence[Answer], split: str) -> list[str]:
    """Dice and found rate of the main folders, the paper's tasks, and what must not be found."""
    asked = [answer for answer in answers if home(answer.dataset) and answer.split == split]
    boxes = bool(of_kind(asked, "true box"))
    more = " whole image as box | true box |" if boxes else ""
    lines = [f"| images | target | n | Dice | found |{more}", "|---|---|---|---|---|" + "---|---|" * boxes]
    for group, mine in values(asked, lambda answer: (answer.dataset, answer.target)).items():
        if of_kind(mine, "target"):
            lines.append(_main_row(group, mine, boxes))
    lines += ["", "| task | Dice |", "|---|---|"]
    lines += [f"| {name} | {mean:.3f} ({low:.3f} to {high:.3f}) |" for name, (mean, low, high) in tasks(asked).items()]
    return [*lines, "", *_shares(answers, split)]


def _main_row(group: Group, answers: Sequence[Answer], boxes: bool) -> str:
    asked = of_kind(answers, "target")
    given = [f"{mean_dice(of_kind(answers, kind)):.3f}" for kind in ("whole box", "true box")] if boxes else []
    return _row(*group, len(asked), interval(asked), percent((answer.found for answer in asked), 1), *given)


def interval(answers: Sequence[Answer]) -> str:
    """Mean Dice with its 95 % bootstrap interval."""
    summary = summarise([answer.dice for answer in answers if answer.dice is not None])
    low, high = summary.interval or (summary.mean, summary.mean)
    return f"{summary.mean:.3f} ({low:.3f} to {high:.3f})"


def _row(*cells: object) -> str:
    return f"| {' | '.join(map(str, cells))} |"


def tasks(
    answers: Iterable[Answer], folders: Mapping[str, tuple[Group, ...]] = PAPER_TASKS, draws: int = 2000
) -> dict[str, tuple[float, float, float]]:
    """The four tasks of the paper, each the mean of its folders, and their mean; each with its bootstrap interval.

    Images are drawn anew within their folder, so that a folder keeps its weight. A task without images is left out.
    """
    groups = values(of_kind(answers, "target"), lambda answer: (answer.dataset, answer.target))
    dice = {key: np.array([answer.dice for answer in mine], float) for key, mine in groups.items()}
    there = {name: [dice[key] for key in keys if key in dice] for name, keys in folders.items()}
    there = {name: found for name, found in there.items() if found}
    if not there:
        return {}
    generator = np.random.default_rng(0)
    drawn = {
        name: np.mean([generator.choice(each, (draws, len(each))).mean(axis=1) for each in found], axis=0)
        for name, found in there.items()
    }
    means = {name: float(np.mean([each.mean() for each in found])) for name, found in there.items()}
    if len(there) == len(folders):
        drawn["mean"], means["mean"] = np.mean(list(drawn.values()), axis=0), float(np.mean(list(means.values())))
    return {name: (means[name], *np.quantile(drawn[name], [0.025, 0.975]).tolist()) for name in means}


def _shares(answers: Sequence[Answer], split: str) -> list[str]:
    """How often the answer was right to the question whether something is there; all folders."""
    lines = ["| question, all folders | right answer | share | n |", "|---|---|---|---|"]
    for name, kind, right in (
        ("targets that are there", "target", True),
        ("nonsense", "nonsense", False),
        ("wrong body part", "wrong body", False),
    ):
        mine = [answer.found == right for answer in of_kind(answers, kind, split)]
        lines.append(_row(name, "found" if right else "not found", percent(mine, 1), len(mine)))
    beaten = steered(answers)
    lines.append(_row("right prompt beats the wrong one on its own target", "yes", percent(beaten, 1), len(beaten)))
    return lines


def steered(answers: Iterable[Answer]) -> list[bool]:
    """For every ordered pair of targets in one image: does the right prompt's mask fit its target better?"""
    every = list(answers)
    right = {(answer.image, answer.target): answer.dice or 0.0 for answer in of_kind(every, "target")}
    return [right[answer.image, answer.target] > (answer.dice or 0.0) for answer in of_kind(every, "other")]


def sources_table(answers: Sequence[Answer], learned: Mapping[str, Collection[str]], split: str) -> list[str]:
    """Targets with two or more sources: each source, and what home has over the others.

    Args:
        learned: for each taught target the folders that the weights learned it from.
    """
    lines = ["| target | images | modality | learned from | n | Dice | found |", "|---|---|---|---|---|---|---|"]
    gaps = ["", "| target | at home | elsewhere | fall |", "|---|---|---|---|"]
    for target, by_folder in sources(answers, split).items():
        for folder, mine in by_folder.items():
            taught = "yes" if folder in learned.get(target, ()) else "no"
            found = percent(answer.found for answer in mine)
            lines.append(_row(target, folder, mine[0].modality, taught, len(mine), interval(mine), found))
    for target, (at_home, elsewhere) in at_home_and_elsewhere(answers, split).items():
        gaps.append(_row(target, f"{at_home:.3f}", f"{elsewhere:.3f}", f"{at_home - elsewhere:+.3f}"))
    return [*lines, *gaps, "", *_tasks_elsewhere(answers, split)]


def sources(answers: Iterable[Answer], split: str) -> dict[str, dict[str, list[Answer]]]:
    """The answers about each target that two or more folders show, by folder."""
    groups = values(of_kind(answers, "target", split), lambda answer: answer.target)
    by_folder = {target: values(mine, lambda answer: answer.dataset) for target, mine in groups.items()}
    return {target: folders for target, folders in by_folder.items() if len(folders) > 1}


def at_home_and_elsewhere(answers: Iterable[Answer], split: str) -> dict[str, tuple[float, float]]:
    """Mean Dice of the folders of both kinds, of targets that have both; folders count alike."""
    found = {}
    for target, folders in sources(answers, split).items():
        sides = [
            [mean_dice(mine) for folder, mine in folders.items() if home(folder) == kind] for kind in (True, False)
        ]
        if all(sides):
            found[target] = (float(np.mean(sides[0])), float(np.mean(sides[1])))
    return found


def _tasks_elsewhere(answers: Sequence[Answer], split: str) -> list[str]:
    asked = [answer for answer in answers if answer.split == split]
    here, there = tasks(asked), tasks(asked, ELSEWHERE)
    lines = ["| task | at home | elsewhere | fall |", "|---|---|---|---|"]
    for name in (name for name in here if name in there):
        (at_home, *_), (elsewhere, *_) = here[name], there[name]
        lines.append(_row(name, f"{at_home:.3f}", f"{elsewhere:.3f}", f"{at_home - elsewhere:+.3f}"))
    return lines


def breadth_table(answers: Sequence[Answer], training: Mapping[str, int], split: str) -> list[str]:
    """Every target of the folders that teach a vocabulary: Dice and found rate; the means over targets stand below."""
    lines = ["| target | new | training images | images | n | Dice | found |", "|---|---|---|---|---|---|---|"]
    new = new_targets(answers)
    for target, mine in _broad(answers).items():
        found = percent(answer.found for answer in mine)
        seen = " (learned from)" if mine[0].split == "train" else ""
        counted = "yes" if target in new else ""
        dice = f"{mean_dice(mine):.3f}"
        lines.append(_row(target, counted, training.get(target, 0), mine[0].split + seen, len(mine), dice, found))
    return [*lines, "", *_breadth_words(breadth(answers, training, split), split)]


def _broad(answers: Iterable[Answer]) -> dict[str, list[Answer]]:
    """The answers about each target of the broad folders; of the best split that shows it."""
    asked = [answer for answer in of_kind(answers, "target") if answer.dataset.startswith("broad_")]
    groups = values(asked, lambda answer: answer.target)
    return {target: [answer for answer in mine if answer.split == _best(mine)] for target, mine in groups.items()}


def _best(answers: Sequence[Answer]) -> str:
    splits = {answer.split for answer in answers}
    return next(split for split in ("test", "val", "train") if split in splits)


def new_targets(answers: Iterable[Answer]) -> set[str]:
    """Targets that no main folder shows."""
    asked = of_kind(answers, "target")
    return {answer.target for answer in asked} - {answer.target for answer in asked if home(answer.dataset)}


def breadth(answers: Sequence[Answer], training: Mapping[str, int], split: str) -> dict[str, Any]:
    """What the table of breadth says in one number each, of new targets alone."""
    new = new_targets(answers)
    every = {target: mine for target, mine in _broad(answers).items() if target in new}
    dice = {target: mean_dice(mine) for target, mine in every.items()}
    unseen = [target for target, mine in every.items() if mine[0].split == split]
    enough = [target for target in unseen if training.get(target, 0) >= ENOUGH]
    return {
        "new_targets": len(every),
        "macro_mean": float(np.mean([dice[target] for target in enough])) if enough else float("nan"),
        "in_the_mean": len(enough),
        "measured": len(unseen),
        "above": sum(dice[target] > GOOD for target in unseen),
        "above_on_any_images": sum(value > GOOD for value in dice.values()),
        "few_training_images": [target for target in every if training.get(target, 0) < ENOUGH],
        "no_images_of_the_split": [target for target in every if target not in unseen],
    }


def _breadth_words(found: Mapping[str, Any], split: str) -> list[str]:
    return [
        f"New are {found['new_targets']} targets, which no main folder shows. Mean over the {found['in_the_mean']} of "
        f"them that have at least {ENOUGH} training images and images of the split `{split}`: "
        f"{found['macro_mean']:.3f}.",
        "",
        f"Dice above {GOOD}: {found['above']} of the {found['measured']} new targets that the split shows; with "
        f"validation and training images where it shows none, {found['above_on_any_images']} of "
        f"{found['new_targets']}.",
        "",
        f"Fewer than {ENOUGH} training images: {_listed(found['few_training_images'])}.",
        "",
        f"No image of the split `{split}`: {_listed(found['no_images_of_the_split'])}.",
    ]


def _listed(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"


def absent_table(answers: Sequence[Answer]) -> list[str]:
    """Taught targets on images of the right part of the body that do not show them; and what is lost of true ones."""
    lines = ["| images | target | pairs | not found | of true ones lost | n |", "|---|---|---|---|---|---|"]
    asked = of_kind(answers, "absent")
    true = values(of_kind(answers, "target"), lambda answer: (answer.dataset, answer.target))
    for group, mine in values(asked, lambda answer: (answer.dataset, answer.target)).items():
        there = true.get(group, [])
        lost = percent(not answer.found for answer in there)
        lines.append(_row(*group, len(mine), percent(not answer.found for answer in mine), lost, len(there)))
    return [*lines, "", *_absent_words(answers)]


def absent(answers: Sequence[Answer]) -> dict[str, Any]:
    """Shares over all pairs; true targets of the same folders and targets, of all of the main folders, and of all."""
    asked, true = (
        of_kind(answers, "absent"),
        [answer for answer in of_kind(answers, "target") if answer.split != "train"],
    )
    groups = {(answer.dataset, answer.target) for answer in asked}
    return {
        "pairs": len(asked),
        "pairs_of_validation": len(of_kind(asked, "absent", "val")),
        "not_found": share(not answer.found for answer in asked),
        "not_found_of_test": share(not answer.found for answer in of_kind(asked, "absent", "test")),
        "lost_of_the_same": share(not each.found for each in true if (each.dataset, each.target) in groups),
        "lost_of_main": share(not each.found for each in true if home(each.dataset)),
        "lost": share(not each.found for each in true),
    }


def _absent_words(answers: Sequence[Answer]) -> list[str]:
    found = absent(answers)
    return [
        f"{found['pairs']} pairs, {found['pairs_of_validation']} of them of validation images, by which the threshold "
        f"was set: {found['not_found']:.1%} not found (test images alone: {found['not_found_of_test']:.1%}). Of true "
        f"targets on images that are not for training, {found['lost']:.1%} are not found; of the same folders and "
        f"targets {found['lost_of_the_same']:.1%}, of the main folders {found['lost_of_main']:.1%}.",
    ]


def never_taught_table(answers: Sequence[Answer]) -> list[str]:
    """Structures outside of the vocabulary: which answer each got."""
    lines = ["| structure | n | never taught | absent | another reason | found |", "|---|---|---|---|---|---|"]
    for text, mine in values(of_kind(answers, "never taught"), lambda answer: answer.text).items():
        lines.append(_row(text, len(mine), *_said(mine).values()))
    found = never_taught(answers)
    return [
        *lines,
        "",
        f"{found['structures']} structures, asked {found['n']} times: {found['never_taught']:.1%} answered "
        f"`never_taught`, {found['absent']:.1%} `absent`, {found['found']:.1%} found. Of {found['taught_n']} answers "
        f"to taught targets in words that training never saw, {found['taught_called_so']:.1%} are `never_taught`.",
    ]


def _said(answers: Sequence[Answer]) -> dict[str, int]:
    reasons = [answer.reason for answer in answers]
    named = {"never_taught": reasons.count("never_taught"), "absent": reasons.count("absent")}
    found = sum(answer.found for answer in answers)
    return {**named, "another": len(answers) - sum(named.values()) - found, "found": found}


def never_taught(answers: Sequence[Answer]) -> dict[str, Any]:
    """Shares over all answers, and of taught targets in unseen words."""
    asked, taught = of_kind(answers, "never taught"), of_kind(answers, "wording")
    said = {name: count / len(asked) if asked else float("nan") for name, count in _said(asked).items()}
    return {
        "structures": len({answer.text for answer in asked}),
        "n": len(asked),
        **said,
        "taught_n": len(taught),
        "taught_called_so": share(answer.reason == "never_taught" for answer in taught),
    }


def wordings_table(answers: Sequence[Answer]) -> list[str]:
    """How far words that training never saw move the Dice of each target."""
    lines = ["| target | images | short name | mean of the wordings | moves by | worst wording | moves by |"]
    lines.append("|---|---|---|---|---|---|---|")
    for target, (n, plain, others) in reworded(answers).items():
        worst = max(others, key=lambda text: abs(others[text] - plain))
        mean = float(np.mean(list(others.values())))
        moved, most = abs(mean - plain), abs(others[worst] - plain)
        lines.append(_row(target, n, f"{plain:.3f}", f"{mean:.3f}", f"{moved:.3f}", worst, f"{most:.3f}"))
    found = wordings(answers)
    return [
        *lines,
        "",
        f"Over {found['targets']} targets, the mean of the wordings moves by {found['mean_move']:.3f} on average and "
        f"by {found['worst_target']:.3f} for the worst target ({found['worst_is']}); a single wording by up to "
        f"{found['worst_wording']:.3f}.",
    ]


def reworded(answers: Sequence[Answer]) -> dict[str, tuple[int, float, dict[str, float]]]:
    """Of each target: images, mean Dice by its short name, and by each wording; on the images that were asked both."""
    plain = {(answer.image, answer.target): answer.dice for answer in of_kind(answers, "target")}
    found = {}
    for target, mine in values(of_kind(answers, "wording"), lambda answer: answer.target).items():
        images = sorted({answer.image for answer in mine})
        short = float(np.mean([plain[image, target] for image in images]))
        by_text = {text: mean_dice(each) for text, each in values(mine, lambda answer: answer.text).items()}
        found[target] = len(images), short, by_text
    return found


def wordings(answers: Sequence[Answer]) -> dict[str, Any]:
    """What the table of wordings says in one number each."""
    found = reworded(answers)
    moves = {target: abs(float(np.mean(list(each.values()))) - plain) for target, (_, plain, each) in found.items()}
    single = [abs(dice - plain) for _, plain, each in found.values() for dice in each.values()]
    worst = max(moves, key=moves.__getitem__, default="")
    return {
        "targets": len(moves),
        "mean_move": float(np.mean(list(moves.values()))) if moves else float("nan"),
        "worst_target": moves.get(worst, float("nan")),
        "worst_is": worst,
        "worst_wording": max(single, default=float("nan")),
    }


def sides_table(answers: Sequence[Answer]) -> list[str]:
    """One lung of the two, held against the half of the reference that lies on that side of the patient."""
    lines = ["| modality | text | n | Dice | at least 0.90 | found |", "|---|---|---|---|---|---|"]
    for (modality, text), mine in values(of_kind(answers, "side"), lambda each: (each.modality, each.text)).items():
        good = f"{sum((answer.dice or 0) >= GOOD_SIDE for answer in mine)} of {len(mine)}"
        lines.append(_row(modality, text, len(mine), interval(mine), good, percent(each.found for each in mine)))
    return lines


def summary(answers: Sequence[Answer], training: Mapping[str, int], split: str) -> dict[str, Any]:
    """What the tables say in one number each."""
    asked = [answer for answer in answers if answer.split == split]
    return {
        "tasks": tasks(asked),
        "tasks_elsewhere": tasks(asked, ELSEWHERE),
        "at_home_and_elsewhere": at_home_and_elsewhere(answers, split),
        "breadth": breadth(answers, training, split),
        "absent": absent(answers),
        "never_taught": never_taught(answers),
        "wordings": wordings(answers),
    }
