"""Pairs the masks of `pseudolabel` or `predict` with references: those that are called what their scan was called.

    LABELS/manifest.jsonl   case "b-70e2c318", outputs masks/lungs/u/b.png          <->   REF_DIR/u/b.png   case "u/b"
                            case "c_0000-1b0f2a99" (an image of nnU-Net's)          <->   REF_DIR/c.nii.gz  case "c"
                            outputs .../d-s0000.png, d-s0001.png, ...               <->   REF_DIR/d.nii.gz  one volume

A case's name is its scan's cleaned stem and a hash of the scan's path. Where several scans or several references have
one stem, the hash decides: it is that of the reference's own path, with the ending of an image. Where that decides
nothing the folder is refused, for a guess would score one scan against the mask of another.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path

from medclipsam.errors import BadInput
from medclipsam.evaluate.masks import mask_suffix
from medclipsam.evaluate.pairs import FIRST_CHANNEL, Masks, Pairing, gathered, masks_below
from medclipsam.io.naming import case_name
from medclipsam.io.source import Axis
from medclipsam.review.reviewed import reviewed as as_reviewed
from medclipsam.runs.cases import IMAGE_SUFFIXES
from medclipsam.runs.finished import mask_files
from medclipsam.runs.layout import DOUBTFUL, MANIFEST, SETTINGS
from medclipsam.runs.manifest import READ, Record, read_manifest

VOLUME_SUFFIXES = (".nii", ".nii.gz", ".hdr", ".nrrd", ".nhdr", ".mha", ".mhd", ".mgz", ".mgh")
_SLICE = re.compile(r"-s([0-9]{4,})")


@dataclass(frozen=True, kw_only=True)
class Label:
    """One mask that a run wrote."""

    case: str
    stem: str
    """The scan's stem, cleaned; of one picture of several with its number."""
    status: str
    """`done`, `doubtful` or `not found`."""
    masks: Masks
    file: str | None
    """The scan's path as the person named it; None where results tell no names."""


def is_labels(folder: Path) -> bool:
    """Whether `medclipsam pseudolabel`, or `medclipsam predict`, wrote this folder.

    Raises:
        BadInput: it did, but some of its shards are not done.
    """
    if (folder / MANIFEST).is_file():
        return True
    if any(folder.glob("manifest.*-of-*.jsonl")):
        raise BadInput(f"{folder} is not complete: shards of it are not done", "run those that are missing")
    return False


def pair_labels(
    folder: Path,
    references: Path,
    prompt: str | None = None,
    reference_suffix: str = "",
    predicted_suffix: str = "",
    *,
    reviewed: bool = False,
) -> tuple[Pairing, dict[str, str]]:
    """Pair the masks of such a folder, the doubtful ones too, and say what became of each case.

    Args:
        folder: with its `manifest.jsonl`.
        references: folder of reference masks.
        prompt: the one to take where scans were asked several.
        reference_suffix: what follows the stem in the names of references, as `_mask`.
        predicted_suffix: what follows it in the names of scans; without it `_0000` is understood.
        reviewed: take what a person accepted or corrected, and nothing else.

    Returns:
        The pairs by the names of the references, and the status of each: `done`, `doubtful`, `not found`.

    Raises:
        BadInput: a folder without masks, several prompts and none chosen, or names that fit several files.
    """
    axis = _axis(folder)
    runs = [_masks_of(folder, record, axis) for record in _chosen(folder, prompt, reviewed)]
    stems = {stem for run in runs for stem in run.stems}
    channels = (predicted_suffix,) if predicted_suffix else ("", FIRST_CHANNEL)

    def is_predicted(name: str) -> bool:
        return any(_stem(_as_case(name + channel)) in stems for channel in channels)

    expected, notes = gathered(masks_below(references, reference_suffix), is_predicted)
    names = _Names(list(expected), channels)
    labels = [label for run in runs for label in run.labels(names)]
    matched = names.matched(labels)
    both = {name: (names.as_shown(name, label), expected[name]) for name, label in matched.items()}
    partnered = {label.masks.paths for label in matched.values()}
    pairing = Pairing(
        both=both,
        only_predicted={
            label.file or label.case: label.masks for label in labels if label.masks.paths not in partnered
        },
        only_reference={name: masks for name, masks in expected.items() if name not in both},
        notes=notes,
    )
    return pairing, {name: label.status for name, label in matched.items()}


def prompts_of(folder: Path, prompt: str | None = None) -> list[str]:
    """The prompts whose masks a run holds, or the one that is asked for.

    Raises:
        BadInput: it holds no masks for that one.
    """
    prompts = sorted({record.prompt or "" for record in _records(folder) if record.status in READ})
    if prompt is not None and prompt not in prompts:
        raise BadInput(f"{folder} holds no masks for {prompt!r}", f"choose one of {_quoted(prompts)}")
    return prompts if prompt is None else [prompt]


def _chosen(folder: Path, prompt: str | None, reviewed: bool) -> list[Record]:
    """The records of scans that were read, one for each scan."""
    prompts = prompts_of(folder, prompt)
    records = as_reviewed(folder, _records(folder)) if reviewed else _records(folder)
    chosen = [record for record in records if record.status in READ and (record.prompt or "") in prompts]
    if len({record.case for record in chosen}) < len(chosen):
        raise BadInput(f"{folder} holds masks for {_quoted(prompts)}", "choose one with --prompt, or name --labels")
    if not any(record.outputs for record in chosen):
        raise BadInput(f"{folder} holds no masks: none of its scans was read", f"look at its {MANIFEST}")
    return chosen


def _records(folder: Path) -> list[Record]:
    try:
        return list(read_manifest(folder / MANIFEST).values())
    except BadInput as error:
        problem = f"{folder / MANIFEST} is not that of pseudolabel or predict"
        raise BadInput(problem, "give a folder with masks alone") from error


@dataclass(frozen=True, kw_only=True)
class _Scan:
    """The masks of one scan, by what follows the case in their names: nothing, or the number of a picture."""

    case: str
    status: str
    files: Mapping[str, Path]
    doubtful: frozenset[str]
    """Those of `files` that are not believed."""
    axis: Axis
    scan: str | None

    @property
    def stem(self) -> str:
        return _stem(self.case)

    @property
    def stems(self) -> set[str]:
        """What references of the scan or of its pictures may be called."""
        return {self.stem, *(self.stem + number for number in self.files)}

    def labels(self, names: _Names) -> Iterator[Label]:
        """One mask, or one for each picture of a file of several; a stack where the references are whole volumes."""
        slices = {int(found[1]): path for number, path in self.files.items() if (found := _SLICE.fullmatch(number))}
        if slices and len(slices) == len(self.files) and names.know(self.stem):
            paths, numbers = tuple(slices.values()), tuple(slices)
            yield self._label(self.stem, self.status, Masks(paths=paths, slices=numbers, axis=self.axis))
            return
        for number, path in self.files.items():
            status = "doubtful" if number in self.doubtful else self.status
            yield self._label(self.stem + number, status, Masks(paths=(path,), axis=self.axis))

    def _label(self, stem: str, status: str, masks: Masks) -> Label:
        return Label(case=self.case, stem=stem, status=status, masks=masks, file=self.scan)


def _masks_of(folder: Path, record: Record, axis: Axis) -> _Scan:
    """What a run wrote of a scan; of a volume in two parts the one that is believed."""
    doubtful, masks = [name for name in record.outputs if name.startswith(f"{DOUBTFUL}/")], mask_files(record)
    files = {_number(name, record): folder / name for name in (*doubtful, *masks)}
    believed = {_number(name, record) for name in masks}
    return _Scan(
        case=record.case,
        status=record.status,
        files=dict(sorted(files.items())),
        doubtful=frozenset(files.keys() - believed),
        axis=axis,
        scan=record.file,
    )


def _number(output: str, record: Record) -> str:
    name = Path(output).name
    return name.removesuffix(mask_suffix(name) or "").removeprefix(Path(record.stem).name)


def _axis(folder: Path) -> Axis:
    """The axis that slices were stacked along, where the run was asked for one."""
    try:
        settings = json.loads((folder / SETTINGS).read_text("utf-8"))
        axis: Axis = settings["labels"]["reading"]["axis"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return axis


class _Names:
    """The references of a folder, by what the cases of their scans would be called.

    Args:
        references: by name.
        channels: what may follow the name of a reference in that of its scan; of two the first is preferred.
    """

    def __init__(self, references: Sequence[str], channels: Sequence[str]) -> None:
        self._channels = channels
        self._by_stem: dict[str, list[str]] = {}
        for channel in channels:
            called: dict[str, list[str]] = defaultdict(list)
            for name in references:
                called[_stem(_as_case(name + channel))].append(name)
            self._by_stem = {**called, **self._by_stem}

    def know(self, stem: str) -> bool:
        """Whether a reference is called like a scan."""
        return stem in self._by_stem

    def matched(self, labels: Sequence[Label]) -> dict[str, Label]:
        """The label of each reference that has one."""
        matched: dict[str, Label] = {}
        for stem, group in groupby(sorted(labels, key=_by_stem), key=_by_stem):
            found, candidates = list(group), self._by_stem.get(stem, [])
            if len(found) == len(candidates) == 1:
                matched[candidates[0]] = found[0]
            elif candidates:
                matched |= self._by_path(stem, found, candidates)
        return matched

    def as_shown(self, name: str, label: Label) -> Masks:
        """The masks of a label; pictures of a volume file lie as it is shown.

        Where the record does not name the scan, the hash of its path tells whether it was a volume file, if the
        reference lies where the scan did; else it is not known, and not shown.
        """
        if label.file is not None:
            return replace(label.masks, as_shown=label.file.lower().endswith(VOLUME_SUFFIXES))
        is_volume = any(label.case in self._possible_cases(name, ending) for ending in VOLUME_SUFFIXES)
        return replace(label.masks, as_shown=is_volume)

    def _by_path(self, stem: str, labels: Sequence[Label], references: Sequence[str]) -> dict[str, Label]:
        """Pairs by the hash of the path; nothing may be left that could be a pair as well."""
        by_case = {label.case: label for label in labels}
        possible = {name: self._possible_cases(name, *IMAGE_SUFFIXES) for name in references}
        matched = {name: by_case[case] for name, cases in possible.items() for case in cases if case in by_case}
        left = [name for name in references if name not in matched]
        lost = [label.case for label in labels if label not in matched.values()]
        if lost and left:
            raise BadInput(
                f"{lost[0]} could belong to {left[0]!r}, but {len(labels)} scans and {len(references)} references are "
                f"called {stem!r}",
                "lay the references in the sub-folders of their scans",
            )
        return matched

    def _possible_cases(self, reference: str, *suffixes: str) -> set[str]:
        """What the case would be called whose scan lies where this reference does, with one of some endings."""
        endings = {ending for suffix in suffixes for ending in (suffix, suffix.upper())}
        return {_as_case(reference + channel, ending) for channel in self._channels for ending in ("", *endings)}


def _as_case(reference: str, ending: str = ".png") -> str:
    root = Path("/")
    return case_name(root / f"{reference}{ending}", root=root)


def _stem(case: str) -> str:
    return case.rpartition("-")[0]


def _by_stem(label: Label) -> str:
    return label.stem


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
