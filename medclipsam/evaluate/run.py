"""How good are the masks of a folder? Every case is measured, or named with the reason why it could not be.

pair_folders, pair_labels  ->  read both masks  ->  score  ->  Evaluation  ->  summaries, tables, comparison
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Literal

import cv2
import numpy as np

from medclipsam.errors import BadInput
from medclipsam.evaluate.labelled import is_labels, pair_labels
from medclipsam.evaluate.masks import MaskFile, SeveralLabels, read_mask
from medclipsam.evaluate.pairs import Pairing, pair_folders
from medclipsam.metrics import METRICS, Comparison, Scores, Summary, compare_paired, score, summarise
from medclipsam.metrics.statistics import RESAMPLES
from medclipsam.metrics.surface import check_tolerance

SAME_PLACE_MM = 1e-3
"""Affines that differ by less lie in the same place."""

Tell = Callable[[str, int, int], None]
"""Called with the stage, how many cases are done, and how many there are."""


@dataclass(frozen=True, kw_only=True)
class Measuring:
    """How cases are paired and measured.

    Raises:
        BadInput: a tolerance that is not usable, or a spacing where distances are in pixels.
    """

    tolerance: float = 2.0
    """For NSD, in `unit` (the reference: 2 px)."""
    unit: Literal["px", "mm"] = "px"
    """Of the tolerance and of all distances."""
    spacing_mm: tuple[float, ...] | None = None
    """One distance for each axis, for `mm`; None takes it from the reference's file, then from the prediction's."""
    resize: bool = False
    """Bring a prediction of another size to the reference's by nearest neighbour (the reference's protocol);
    without it such a case is refused."""
    missing_is_empty: bool = False
    """Score a reference without a prediction as missed instead of leaving it out as an orphan."""
    foreground_above: int | None = None
    """Grey value above which pictures are foreground; None: see `medclipsam.evaluate.masks`."""
    predicted_suffix: str = ""
    """What follows the case in the names of predictions; not those of a pseudolabel folder, which it knows itself."""
    reference_suffix: str = ""
    """What follows the case in the names of references, as `_mask`."""
    prompt: str | None = None
    """Whose masks are measured in a pseudolabel folder of several prompts; other folders have none."""

    def __post_init__(self) -> None:
        check_tolerance(self.tolerance)
        if self.spacing_mm is not None and self.unit == "px":
            raise BadInput("a spacing is of no use for distances in pixels", "give the tolerance in mm")


@dataclass(frozen=True, kw_only=True)
class Case:
    """One pair of masks."""

    name: str
    group: str = ""
    scores: Scores | None = None
    """None where the pair could not be measured."""
    problem: str = ""
    """Why not."""
    predicted: Path | None = None
    """None where a missing prediction counts as an empty one."""
    reference: Path | None = None

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
    tell: Tell | None = None,
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
        BadInput: a folder that is missing or holds no masks, or no two files with the same name.
    """
    chosen = measuring or Measuring()
    pairing, status = _paired(predictions, references, chosen)
    groups = status if groups is None else groups
    work: dict[str, tuple[Path | None, Path]] = {**pairing.both}
    if chosen.missing_is_empty:
        work.update((case, (None, path)) for case, path in pairing.only_reference.items())
    if not work:
        one, other = next(iter(pairing.only_predicted)), next(iter(pairing.only_reference))
        raise BadInput(f"no file names match: {one!r} is predicted, {other!r} a reference", "rename, or give a suffix")
    return Evaluation(
        measuring=chosen,
        cases=tuple(_measured(work, chosen, groups, tell)),
        only_predicted=tuple(pairing.only_predicted),
        only_reference=() if chosen.missing_is_empty else tuple(pairing.only_reference),
    )


def compare_runs(
    first: Evaluation, second: Evaluation, resamples: int = RESAMPLES, seed: int = 0
) -> dict[str, Comparison]:
    """Each metric, second run minus first, over the cases that both measured.

    Raises:
        BadInput: the runs measure differently or share no case.
    """
    if (first.measuring.unit, first.measuring.tolerance) != (second.measuring.unit, second.measuring.tolerance):
        raise BadInput("the two runs were measured with different tolerances", "measure both alike")
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


def _paired(predictions: Path, references: Path, measuring: Measuring) -> tuple[Pairing, dict[str, str] | None]:
    """The pairs of two folders; of a pseudolabel folder also what became of each case."""
    if is_labels(predictions):
        return pair_labels(predictions, references, measuring.prompt, measuring.reference_suffix)
    return pair_folders(predictions, references, measuring.predicted_suffix, measuring.reference_suffix), None


def _measured(
    work: Mapping[str, tuple[Path | None, Path]],
    measuring: Measuring,
    groups: Mapping[str, str] | None,
    tell: Tell | None,
) -> Iterator[Case]:
    for done, (name, (predicted, reference)) in enumerate(sorted(work.items())):
        if tell:
            tell("measuring", done, len(work))
        group = groups.get(name, "") if groups is not None else _folder(name)
        case = Case(name=name, group=group, predicted=predicted, reference=reference)
        try:
            yield replace(case, scores=_scores(predicted, reference, measuring))
        except SeveralLabels:
            raise
        except BadInput as error:
            yield replace(case, problem=str(error))


def _folder(case: str) -> str:
    parent = PurePosixPath(case).parent
    return "" if parent == PurePosixPath() else str(parent)


def read_pair(predicted: Path | None, reference: Path, measuring: Measuring) -> tuple[MaskFile, MaskFile]:
    """The masks of a case as they are measured, of one size where that is asked for; an absent prediction is empty.

    Raises:
        BadInput: a mask that cannot be read, or two that lie in different places.
    """
    expected = read_mask(reference, measuring.foreground_above)
    if predicted is None:
        return MaskFile(mask=np.zeros_like(expected.mask)), expected
    found = read_mask(predicted, measuring.foreground_above)
    _check_place(found, expected)
    return replace(found, mask=_resized(found, expected)) if measuring.resize else found, expected


def _scores(predicted: Path | None, reference: Path, measuring: Measuring) -> Scores:
    found, expected = read_pair(predicted, reference, measuring)
    return score(found.mask, expected.mask, measuring.tolerance, _spacing(found, expected, measuring))


def _check_place(found: MaskFile, expected: MaskFile) -> None:
    if found.grid is None or expected.grid is None or found.mask.shape != expected.mask.shape:
        return
    if not np.allclose(found.grid.affine, expected.grid.affine, rtol=0, atol=SAME_PLACE_MM):
        raise BadInput("the two NIfTI files lie in different places: their affines differ", "resample one to the other")


def _resized(found: MaskFile, expected: MaskFile) -> np.ndarray:
    if found.mask.ndim != 2 or expected.mask.ndim != 2 or found.mask.shape == expected.mask.shape:
        return found.mask
    size = expected.mask.shape[::-1]
    return cv2.resize(found.mask.astype(np.uint8), size, interpolation=cv2.INTER_NEAREST).astype(bool)


def _spacing(found: MaskFile, expected: MaskFile, measuring: Measuring) -> tuple[float, ...] | None:
    if measuring.unit == "px":
        return None
    spacing = measuring.spacing_mm or expected.spacing_mm or found.spacing_mm
    if spacing is None:
        raise BadInput("the files do not say how large a pixel is", "give the spacing, or the tolerance in pixels")
    return spacing
