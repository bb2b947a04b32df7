"""Measures the masks of a folder: every case has scores, or is named with the reason why it could not be measured.

pairs, labelled -> work: cases and structures -> reading: both masks -> score -> Evaluation -> summaries, tables
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from medclipsam.errors import BadInput
from medclipsam.evaluate.masks import MOST_TOLD, MaskFile, SeveralLabels
from medclipsam.evaluate.measuring import Measuring
from medclipsam.evaluate.reading import labels_of, read_pair
from medclipsam.evaluate.work import Task, Work, work_of
from medclipsam.metrics import METRICS, Comparison, Scores, Summary, compare_paired, score, summarise
from medclipsam.metrics.statistics import RESAMPLES
from medclipsam.types import Progress


@dataclass(frozen=True, kw_only=True)
class Case:
    """One pair of masks."""

    name: str
    """The path of the reference without its ending; of several structures with the structure behind it."""
    group: str = ""
    scores: Scores | None = None
    """None where the pair could not be measured."""
    problem: str = ""
    """Why not."""
    note: str = ""
    """What a person should know of how its masks were compared."""
    task: Task | None = None
    """The files, and which structure in them."""

    @property
    def outcome(self) -> str:
        """`refused`, or what `Scores.outcome` says."""
        return self.scores.outcome if self.scores else "refused"


@dataclass(frozen=True, kw_only=True)
class Evaluation:
    """All cases of a run, and the files that found no partner."""

    measuring: Measuring
    cases: tuple[Case, ...]
    only_predicted: tuple[str, ...] = ()
    only_reference: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    """What a person should know of how files were paired."""

    @property
    def counts(self) -> Mapping[str, int]:
        """How many cases were compared, missed, false alarms, empty in both and refused."""
        seen = Counter(case.outcome for case in self.cases)
        return {outcome: seen[outcome] for outcome in ("compared", "missed", "false alarm", "both empty", "refused")}

    @property
    def groups(self) -> tuple[str, ...]:
        """The names of the groups that have a measured case, sorted."""
        return tuple(sorted({case.group for case in self.cases if case.scores}))

    def values(self, metric: str, group: str | None = None) -> dict[str, float]:
        """One metric of each measured case, of one group or of all; without the volumes for `nsd_slab`."""
        chosen = [case for case in self.cases if case.scores and group in (None, case.group)]
        found = {case.name: getattr(case.scores, metric) for case in chosen}
        return {name: value for name, value in found.items() if value is not None}

    def summaries(self, group: str | None = None, resamples: int = RESAMPLES, seed: int = 0) -> dict[str, Summary]:
        """Each metric over all measured cases or those of one group; a metric that no case has is left out."""
        measured = {metric: list(self.values(metric, group).values()) for metric in METRICS}
        return {metric: summarise(values, resamples, seed) for metric, values in measured.items() if values}


def evaluate_folders(
    predictions: Path,
    references: Path,
    measuring: Measuring | None = None,
    groups: Mapping[str, str] | None = None,
    tell: Progress | None = None,
) -> Evaluation:
    """Measure every mask of one folder against the mask of the same name in another.

    Args:
        predictions: folder of predicted masks, or one that `medclipsam pseudolabel` wrote.
        references: folder of reference masks.
        measuring: 2 px tolerance, distances in pixels, equal sizes where None.
        groups: case to group; where None the sub-folder of each case, or what became of it in a pseudolabel run.
        tell: told of the progress.

    Raises:
        SeveralLabels: a file holds several labels; of the others one label may be another structure in each.
        BadInput: a folder that is missing or holds no masks, no two files with the same name, groups of other files, or
            a label that no reference holds.
    """
    chosen = measuring or Measuring()
    labels_of.cache_clear()  # files may have changed since they were last measured
    work = work_of(predictions, references, chosen)
    _check_groups(work, groups)
    cases = tuple(_measured(work, chosen, groups, tell))
    _check_labels(chosen, cases)
    return Evaluation(
        measuring=chosen,
        cases=cases,
        only_predicted=work.only_predicted,
        only_reference=work.only_reference,
        notes=(*work.notes, *_noted(cases)),
    )


def compare_runs(
    first: Evaluation, second: Evaluation, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Comparison]:
    """Each metric, second run minus first, over the cases that both measured.

    Raises:
        BadInput: the runs measure differently or share no case.
    """
    if _definition(first.measuring) != _definition(second.measuring):
        raise BadInput("the two runs were measured with different tolerances or surfaces", "measure both alike")
    compared = {}
    for metric in METRICS:
        before, after = first.values(metric), second.values(metric)
        shared = sorted(before.keys() & after.keys())
        if shared:
            pairs = [before[case] for case in shared], [after[case] for case in shared]
            compared[metric] = compare_paired(*pairs, resamples=resamples, seed=seed)
    if not compared:
        raise BadInput("the two runs share no case that both measured")
    return compared


def _measured(
    work: Work, measuring: Measuring, groups: Mapping[str, str] | None, tell: Progress | None
) -> Iterator[Case]:
    for done, task in enumerate(work.tasks):
        if tell:
            tell("measuring", done, len(work.tasks))
        group = task.group if groups is None else groups.get(task.case, "")
        case = Case(name=task.name, group=group, task=task)
        try:
            scores, note = _scores(task, measuring)
            yield replace(case, scores=scores, note=note)
        except SeveralLabels:
            raise  # it is the folder that is not understood: see `evaluate_folders`
        except BadInput as error:
            yield replace(case, problem=str(error))


def _definition(measuring: Measuring) -> tuple[str, float, str]:
    """What scores must have in common to be compared."""
    return measuring.unit, measuring.tolerance, measuring.surface


def _check_groups(work: Work, groups: Mapping[str, str] | None) -> None:
    """Refuse a table of groups that names other files: all cases would be in no group."""
    if groups is not None and not any(task.case in groups for task in work.tasks):
        named = next(iter(groups), "nothing")
        raise BadInput(
            f"the table of groups names none of the cases: it has {named!r}, a case is {work.tasks[0].case!r}",
            "name the references by their path below their folder",
        )


def _check_labels(measuring: Measuring, cases: Sequence[Case]) -> None:
    """Refuse labels that no reference holds where they hold others: it is a slip, and every score would be one."""
    chosen = measuring.label.name if measuring.label else measuring.names and measuring.names.told
    if chosen is None or any(case.scores.reference_px for case in cases if case.scores):
        return
    held: set[int] = set()
    for reference in (case.task.reference for case in cases if case.task):
        with suppress(BadInput):
            held |= set(labels_of(reference, measuring.foreground_above).labels)
    if held:
        told = ", ".join(str(label) for label in sorted(held)[:MOST_TOLD])
        wanted = f"label {chosen}" if measuring.label else f"what {chosen}"
        raise BadInput(f"no reference holds {wanted}; they hold {told}", "choose one of them")


def _noted(cases: Sequence[Case]) -> Iterator[str]:
    """Each note of a case once, with how many cases have it."""
    for note, count in Counter(case.note for case in cases if case.note).items():
        yield f"{count:,} {'case' if count == 1 else 'cases'}: {note}"


def _scores(task: Task, measuring: Measuring) -> tuple[Scores, str]:
    found, expected = read_pair(task.predicted, task.reference, measuring, task.choice)
    spacing = _spacing(found, expected, measuring)
    return score(found.mask, expected.mask, measuring.tolerance, spacing, measuring.surface), found.note


def _spacing(found: MaskFile, expected: MaskFile, measuring: Measuring) -> tuple[float, ...] | None:
    if measuring.unit == "px":
        return None
    spacing = measuring.spacing_mm or expected.spacing_mm or found.spacing_mm
    if spacing is None:
        raise BadInput("the files do not say how large a pixel is", "give the spacing, or the tolerance in pixels")
    return spacing
