"""Lists what is measured: each case once, or once for each structure that its reference holds.

one label in each file        a, b
--label LV                    a, b                                  the values of LV against the prediction
--labels FILE                 a (LV), a (RV), b (LV), b (RV)        each prompt, or each label, against its own
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from medclipsam.errors import BadInput
from medclipsam.evaluate.measuring import Measuring
from medclipsam.evaluate.pairs import Masks, Pairing, pair_folders
from medclipsam.evaluate.reading import ONE_LABEL, Choice, labels_of

if TYPE_CHECKING:
    from medclipsam.evaluate.structures import Structure

MASK_VALUES = {1, 255}
"""What a mask of one structure holds, whatever the structure is called in a label map."""


@dataclass(frozen=True, kw_only=True)
class Task:
    """Two masks to compare."""

    case: str
    """The path of the reference without its ending."""
    predicted: Masks | None
    """None where a missing prediction counts as an empty one."""
    reference: Masks
    structure: str = ""
    """Which of several is measured; empty where there is one."""
    choice: Choice = ONE_LABEL
    """Which values of the files it is."""
    group: str = ""
    """The structure, else what became of the case in a run, else its sub-folder."""

    @property
    def name(self) -> str:
        """What tells tasks apart."""
        return f"{self.case} ({self.structure})" if self.structure else self.case


@dataclass(frozen=True, kw_only=True)
class Work:
    """What there is to measure, and what has no partner."""

    tasks: tuple[Task, ...]
    only_predicted: tuple[str, ...]
    only_reference: tuple[str, ...]
    notes: tuple[str, ...]


def is_run(folder: Path) -> bool:
    """Whether `medclipsam pseudolabel`, or `medclipsam predict`, wrote this folder.

    Raises:
        BadInput: it did, but some of its shards are not done.
    """
    if not any(folder.glob("manifest*.jsonl")):
        return False
    from medclipsam.evaluate.labelled import is_labels  # noqa: PLC0415  (records are for runs alone)

    return is_labels(folder)


def work_of(predictions: Path, references: Path, measuring: Measuring) -> Work:
    """Pair two folders and list what is measured.

    Raises:
        BadInput: a folder that is missing or holds no masks, no two files with the same name, a prompt without a label,
            or predictions that are neither masks of one structure nor maps of the same labels.
    """
    if is_run(predictions):
        parts, notes = _of_a_run(predictions, references, measuring)
    else:
        parts, notes = _of_a_folder(predictions, references, measuring), []
    tasks = tuple(sorted((task for part in parts for task in part.tasks(measuring)), key=lambda task: task.name))
    if not tasks:
        pairing = parts[0].pairing
        one, other = next(iter(pairing.only_predicted)), next(iter(pairing.only_reference))
        raise BadInput(f"no file names match: {one!r} is predicted, {other!r} a reference", "rename, or give a suffix")
    return Work(
        tasks=tasks,
        only_predicted=tuple(part.named(case) for part in parts for case in part.pairing.only_predicted),
        only_reference=tuple(part.named(case) for part in parts for case in part.waiting(measuring)),
        notes=tuple(dict.fromkeys((*notes, *(note for part in parts for note in part.pairing.notes)))),
    )


@dataclass(frozen=True, kw_only=True)
class _Part:
    """The pairs of one structure."""

    pairing: Pairing
    status: dict[str, str] | None = None
    """What became of each case in a run."""
    structure: str = ""
    choice: Choice = ONE_LABEL

    def tasks(self, measuring: Measuring) -> Iterator[Task]:
        """The comparisons, those with an absent prediction too where it counts as empty."""
        pairs: dict[str, tuple[Masks | None, Masks]] = {**self.pairing.both}
        if measuring.missing_is_empty:
            pairs |= {case: (None, masks) for case, masks in self.pairing.only_reference.items()}
        for case, (predicted, reference) in pairs.items():
            yield Task(
                case=case,
                predicted=predicted,
                reference=reference,
                structure=self.structure,
                choice=self.choice,
                group=self.structure or (self.status.get(case, "") if self.status is not None else _folder(case)),
            )

    def waiting(self, measuring: Measuring) -> Sequence[str]:
        """References that are in no mean."""
        return () if measuring.missing_is_empty else tuple(self.pairing.only_reference)

    def named(self, case: str) -> str:
        """The case, with its structure where there are several."""
        return f"{case} ({self.structure})" if self.structure else case


def _of_a_run(folder: Path, references: Path, measuring: Measuring) -> tuple[list[_Part], list[str]]:
    """The masks of `pseudolabel` or `predict`: of one prompt, or of each that a label is named by."""
    from medclipsam.evaluate.labelled import prompts_of  # noqa: PLC0415
    from medclipsam.evaluate.structures import structures_of  # noqa: PLC0415

    if measuring.names is None or measuring.label is not None:
        labels = measuring.label.labels if measuring.label else None
        pairing, status = _pair_labels(folder, references, measuring, measuring.prompt)
        return [_Part(pairing=pairing, status=status, choice=Choice(reference=labels))], []
    prompts = prompts_of(folder, measuring.prompt)
    known = structures_of(prompts, measuring.names)
    parts = [_of_prompt(folder, references, measuring, prompt, structure) for prompt, structure in known.items()]
    left_out = [repr(prompt) for prompt in prompts if prompt not in known]
    return parts, [f"no label is called {', '.join(left_out)}: not measured"] if left_out else []


def _of_prompt(folder: Path, references: Path, measuring: Measuring, prompt: str, structure: Structure) -> _Part:
    pairing, status = _pair_labels(folder, references, measuring, prompt)
    choice = Choice(reference=structure.labels)
    return _Part(pairing=pairing, status=status, structure=structure.name, choice=choice)


def _pair_labels(
    folder: Path, references: Path, measuring: Measuring, prompt: str | None
) -> tuple[Pairing, dict[str, str]]:
    from medclipsam.evaluate.labelled import pair_labels  # noqa: PLC0415

    return pair_labels(
        folder,
        references,
        prompt,
        measuring.reference_suffix,
        measuring.predicted_suffix,
        reviewed=measuring.reviewed,
    )


def _of_a_folder(predictions: Path, references: Path, measuring: Measuring) -> list[_Part]:
    """The masks of any folder, which may be of one structure or maps of the same labels as the references."""
    pairing = pair_folders(predictions, references, measuring.predicted_suffix, measuring.reference_suffix)
    if measuring.label is None and measuring.names is None:
        return [_Part(pairing=pairing)]
    wanted = [measuring.label] if measuring.label else list(measuring.names.structures if measuring.names else ())
    are_maps = _are_maps(predictions, pairing, wanted, measuring)
    return [
        _Part(
            pairing=pairing,
            structure="" if measuring.label else each.name,
            choice=Choice(reference=each.labels, predicted=each.labels if are_maps else None),
        )
        for each in wanted
    ]


def _are_maps(folder: Path, pairing: Pairing, wanted: Sequence[Structure], measuring: Measuring) -> bool:
    """Whether predictions hold labels as the references do, rather than masks of the one structure that is wanted.

    Raises:
        BadInput: all hold the same one value, and it says neither.
    """
    seen: set[int] = set()
    for predicted, _ in pairing.both.values():
        with suppress(BadInput):
            found = labels_of(predicted, measuring.foreground_above).labels
            if len(found) > 1:
                return True
            seen |= set(found)
    if len(wanted) > 1:
        if not seen or len(seen - MASK_VALUES) > 1:
            return True
        names = ", ".join(each.name for each in wanted)
        raise BadInput(f"{folder} holds masks of one structure each", f"say by --label which: {names}")
    if seen <= MASK_VALUES or seen <= set(wanted[0].labels):
        return False
    if len(seen) > 1:
        return True
    raise BadInput(f"{folder} holds label {min(seen)} alone, not {wanted[0].name}", "give masks of 0 and 255")


def _folder(case: str) -> str:
    parent = PurePosixPath(case).parent
    return "" if parent == PurePosixPath() else str(parent)
