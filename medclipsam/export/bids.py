"""Writes masks as BIDS derivatives: one subject for each scan or group, masks in NIfTI on the scan's own grid.

    dataset_description.json
    dseg.tsv                                    the label of each prompt
    sub-X/anat/sub-X_label-liver_mask.nii.gz    the mask of each prompt, 1 inside; .json beside it
    sub-X/anat/sub-X_dseg.nii.gz                of several prompts: one map of labels, the smaller mask on top

Scans of a group (a patient) are runs of one subject. Names of subjects are letters and digits of the safe name of the
scan; the manifest of LABELS has it. Pictures become volumes of one slice, as BIDS has masks as NIfTI alone.
Format: https://bids-specification.readthedocs.io/en/stable/derivatives/imaging.html
"""

from __future__ import annotations

import hashlib
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from medclipsam import __version__
from medclipsam.errors import BadInput
from medclipsam.export.label_maps import Layered
from medclipsam.export.labelled import Labelled, LabelledScan
from medclipsam.export.options import ExportOptions
from medclipsam.export.pixels import ABSENT, OpenScan, for_each_scan
from medclipsam.export.tally import Tally
from medclipsam.export.volumes import LabelledVolume, stacked, unsourced
from medclipsam.io.atomic import write_atomic
from medclipsam.io.volumes.masks import write_labels, write_volume_mask
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.types import Progress

BIDS = "1.10.0"
AS_VOLUMES = "BIDS has masks as NIfTI alone: pictures are volumes of one slice, without a place in the patient"
README = f"""Pseudo-labels of medclipsam {__version__}. {RESEARCH_USE_ONLY}

Each mask was drawn by a model from the words in its JSON file, and is a proposal: look at it before you use it.
1 is inside, on the grid of the scan. A mask without a voxel says that the model did not find what the words name.
"""


def export_bids(labelled: Labelled, folder: Path, options: ExportOptions, tally: Tally, tell: Progress) -> None:
    """Write the derivatives.

    Args:
        labelled: what to write.
        folder: empty.
        options: which of it is wanted.
        tally: counts masks.
        tell: hears of the progress.

    Raises:
        BadInput: too many prompts.
        CannotWrite: see `medclipsam.io.atomic`.
    """
    written = _Derivatives(labelled, folder, options, tally)
    for_each_scan(labelled, tally, tell, written.add)
    written.finish()


class _Derivatives:
    """What grows into the data set."""

    def __init__(self, labelled: Labelled, folder: Path, options: ExportOptions, tally: Tally) -> None:
        self._folder, self._options, self._tally = folder, options, tally
        self._labels = Layered(labelled.prompts)
        self._words = _words(labelled.prompts)
        self._names = _subjects(labelled.scans)

    def add(self, scan: OpenScan) -> None:
        """The masks of one scan."""
        found = stacked(scan)
        if self._options.skip_absent and not any(found.sizes().values()):
            raise BadInput(ABSENT)
        volume = found.volume if found.volume.format == "nifti" else unsourced(found.volume, "NIfTI")
        subject, run = self._names[scan.scan.name]
        stem = self._folder / subject / "anat" / f"{subject}{run}"
        for prompt, masks in found.masks.items():
            target = stem.with_name(f"{stem.name}_label-{self._words[prompt]}_mask")
            write_volume_mask(volume, masks, target, format="nifti")
            self._describe(target, found, prompt)
            self._tally.written["masks"] += 1
        if len(self._labels.values) > 1:
            self._map(found, volume, stem.with_name(f"{stem.name}_dseg"))
        if found.is_pictures:
            self._tally.note(AS_VOLUMES)

    def finish(self) -> None:
        """What stands at the top."""
        description = {
            "Name": "Pseudo-labels",
            "BIDSVersion": BIDS,
            "DatasetType": "derivative",
            "GeneratedBy": [{"Name": "medclipsam", "Version": __version__, "Description": RESEARCH_USE_ONLY}],
        }
        write_atomic(self._folder / "dataset_description.json", _json(description))
        write_atomic(self._folder / "README", README)
        if len(self._labels.values) > 1:
            rows = [f"{value}\t{_cell(prompt)}" for prompt, value in self._labels.values.items()]
            write_atomic(self._folder / "dseg.tsv", "\n".join(["index\tname", "0\tbackground", *rows, ""]))

    def _map(self, found: LabelledVolume, volume: Any, target: Path) -> None:
        sizes = found.sizes()
        planes = ((number, self._labels.united(masks, sizes)) for number, masks, _ in found.planes())
        write_labels(volume, found.filled(planes, np.uint8), target, format="nifti")
        write_atomic(target.with_name(f"{target.name}.json"), _json({"Description": "Pseudo-labels"}))
        self._tally.written["maps of labels"] += 1

    def _describe(self, target: Path, found: LabelledVolume, prompt: str) -> None:
        confidence = found.scan.confidences.get(prompt)
        facts = {
            "Description": f"Pseudo-label of {prompt!r}",
            "Type": "ROI",
            "Prompt": prompt,
            "Confidence": confidence,
        }
        write_atomic(target.with_name(f"{target.name}.json"), _json(facts))


def _subjects(scans: Sequence[LabelledScan]) -> dict[str, tuple[str, str]]:
    """(subject, run) of each scan by its name; runs are counted where a group has several scans."""
    groups: dict[str, list[LabelledScan]] = defaultdict(list)
    for scan in scans:
        groups[scan.group].append(scan)
    names = {}
    for group, members in groups.items():
        alone = len(members) == 1
        subject = f"sub-{_letters(members[0].name) if alone else _hashed(group)}"
        for number, scan in enumerate(members, 1):
            names[scan.name] = subject, "" if alone else f"_run-{number}"
    return names


def _words(prompts: Sequence[str]) -> dict[str, str]:
    """Prompts in letters and digits, as in `breastTumor`; two that would be alike, or have none, get a hash."""
    plain = {prompt: _letters(prompt) for prompt in prompts}
    alike = [word.lower() for word in plain.values()]
    return {
        prompt: word if word and alike.count(word.lower()) == 1 else f"{word}{_hashed(prompt)}"
        for prompt, word in plain.items()
    }


def _letters(text: str) -> str:
    """`benign-12-1c9d6c7b` as `benign121c9d6c7b`, `breast tumor` as `breastTumor`."""
    first, *rest = re.sub(r"[^A-Za-z0-9]+", " ", text).split() or [""]
    return first + "".join(word[0].upper() + word[1:] for word in rest)


def _hashed(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def _cell(text: str) -> str:
    return " ".join(text.split())


def _json(facts: dict[str, Any]) -> str:
    return json.dumps(facts, ensure_ascii=False, indent=1) + "\n"
