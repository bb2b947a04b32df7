"""Which reference belongs to which mask of `pseudolabel` or `predict`? The one that is called what the scan was called.

    LABELS/manifest.jsonl   case "b-70e2c318", outputs masks/lungs/b-70e2c318.png   <->   REF_DIR/u/b.png   case "u/b"

A case's name is its scan's cleaned stem and a hash of the scan's path. Where several scans or several references have
one stem, the hash decides: it is that of the reference's own path, with the ending of an image. Where that decides
nothing the folder is refused, for a guess would score one scan against the mask of another.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from medclipsam.batch import Record, read_manifest
from medclipsam.batch.cases import IMAGE_SUFFIXES
from medclipsam.batch.manifest import READ
from medclipsam.batch.tree import DOUBTFUL, MANIFEST, MASKS
from medclipsam.errors import BadInput
from medclipsam.evaluate.masks import mask_suffix
from medclipsam.evaluate.pairs import Pairing, masks_below
from medclipsam.io.naming import case_name
from medclipsam.refine.predictions import Prediction, read_predictions

KINDS = MASKS, DOUBTFUL
NO_CHOICE = "--prompt chooses among the masks of a pseudolabel run, and this is none"


@dataclass(frozen=True, kw_only=True)
class Label:
    """One mask that a run wrote."""

    case: str
    stem: str
    """Of the scan, cleaned; of one picture of several with its number."""
    status: str
    """`done`, `doubtful` or `not found`."""
    path: Path


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
    folder: Path, references: Path, prompt: str | None = None, reference_suffix: str = ""
) -> tuple[Pairing, dict[str, str]]:
    """Pair the masks of such a folder, the doubtful ones too, and say what became of each case.

    Args:
        folder: with its `manifest.jsonl`.
        references: folder of reference masks.
        prompt: the one to take where scans were asked several.
        reference_suffix: what follows the stem in the names of references, as `_mask`.

    Returns:
        The pairs by the names of the references, and the status of each: `done`, `doubtful`, `not found`.

    Raises:
        BadInput: a folder without masks, several prompts and none chosen, or names that fit several files.
    """
    labels = _labels(folder, prompt)
    expected = masks_below(references, reference_suffix)
    matched = _matched(labels, list(expected))
    both = {name: (label.path, expected[name]) for name, label in matched.items()}
    partnered = {label.path for label in matched.values()}
    pairing = Pairing(
        both=both,
        only_predicted={label.case: label.path for label in labels if label.path not in partnered},
        only_reference={name: path for name, path in expected.items() if name not in both},
    )
    return pairing, {name: label.status for name, label in matched.items()}


def _labels(folder: Path, prompt: str | None) -> list[Label]:
    records = [record for record in _records(folder) if record.status in READ]
    prompts = sorted({record.prompt or "" for record in records})
    if prompt is not None and prompts == [""]:
        raise BadInput(NO_CHOICE, "leave it out")
    if prompt is not None and prompt not in prompts:
        raise BadInput(f"{folder} holds no masks for {prompt!r}", f"choose one of {_quoted(prompts)}")
    chosen = [record for record in records if prompt in (None, record.prompt)]
    if len({record.case for record in chosen}) < len(chosen):
        raise BadInput(f"{folder} holds masks for {_quoted(prompts)}", "choose one with --prompt")
    labels = [label for record in chosen for label in _of_record(folder, record)]
    if not labels:
        raise BadInput(f"{folder} holds no masks: none of its scans was read", f"look at its {MANIFEST}")
    return labels


def _records(folder: Path) -> Sequence[Record | Prediction]:
    with suppress(BadInput):
        return list(read_manifest(folder / MANIFEST).values())
    with suppress(BadInput):
        return read_predictions(folder / MANIFEST)
    raise BadInput(f"{folder / MANIFEST} is not that of pseudolabel or predict", "give a folder with masks alone")


def _of_record(folder: Path, record: Record | Prediction) -> Iterable[Label]:
    """One mask, or one for each picture of a file of several; of a volume in two parts the one that is believed."""
    stem = _stem(record.case)
    masks = {kind: {Path(name).name: name for name in record.outputs if name.startswith(f"{kind}/")} for kind in KINDS}
    for file, name in {**masks[DOUBTFUL], **masks[MASKS]}.items():
        number = file.removesuffix(mask_suffix(file) or "").removeprefix(record.case)
        status = record.status if file in masks[MASKS] else "doubtful"
        yield Label(case=record.case, stem=stem + number, status=status, path=folder / name)


def _matched(labels: Sequence[Label], references: Sequence[str]) -> dict[str, Label]:
    """The label of each reference that has one."""
    by_stem: dict[str, list[str]] = defaultdict(list)
    for name in references:
        by_stem[_stem(_as_case(name))].append(name)
    matched: dict[str, Label] = {}
    for stem, group in groupby(sorted(labels, key=_by_stem), key=_by_stem):
        found, candidates = list(group), by_stem.get(stem, [])
        if len(found) == len(candidates) == 1:
            matched[candidates[0]] = found[0]
        elif candidates:
            matched |= _by_path(stem, found, candidates)
    return matched


def _by_path(stem: str, labels: Sequence[Label], references: Sequence[str]) -> dict[str, Label]:
    """Pairs by the hash of the path; nothing may be left that could be a pair as well."""
    by_case = {label.case: label for label in labels}
    matched = {name: by_case[case] for name in references for case in _possible_cases(name) if case in by_case}
    left = [name for name in references if name not in matched]
    lost = [label.case for label in labels if label not in matched.values()]
    if lost and left:
        raise BadInput(
            f"{lost[0]} could belong to {left[0]!r}, but {len(labels)} scans and {len(references)} references are "
            f"called {stem!r}",
            "lay the references in the sub-folders of their scans",
        )
    return matched


def _possible_cases(reference: str) -> set[str]:
    """What the case would be called whose scan lies where this reference does, whatever format the scan has."""
    endings = {ending for suffix in IMAGE_SUFFIXES for ending in (suffix, suffix.upper())}
    return {_as_case(reference, ending) for ending in ("", *endings)}


def _as_case(reference: str, ending: str = ".png") -> str:
    root = Path("/")
    return case_name(root / f"{reference}{ending}", root=root)


def _stem(case: str) -> str:
    return case.rpartition("-")[0]


def _by_stem(label: Label) -> str:
    return label.stem


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(repr(name) for name in names)
