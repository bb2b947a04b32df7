"""How is a folder segmented by a refined run? Scan by scan, each with a record, in any number of goes.

    OUT/masks/CASE.png             255 inside; of a NIfTI volume CASE.nii.gz on its voxels
        probability/CASE.png       of the ensemble's mean     |
        entropy/CASE.png           of that mean, in bits      |  16-bit PNG, 65535 is 1
        information/CASE.png       disagreement, in bits      |
        manifest.jsonl             a record for each scan: found or not, area, uncertainty, hashes
        run.json                   which ensemble, threshold, versions

Stopped at any moment, the same command goes on: a scan is done again only if it, the ensemble, the threshold or one of
its files changed.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from itertools import groupby, tee
from pathlib import Path
from typing import Any

import numpy as np

from medclipsam import __version__
from medclipsam.errors import BadInput
from medclipsam.io.atomic import file_digest, write_atomic
from medclipsam.io.maps import write_map
from medclipsam.io.masks import write_mask, write_volume_mask
from medclipsam.io.source import ReadOptions
from medclipsam.io.staging import check_folder
from medclipsam.io.volumes.masks import SUFFIXES as VOLUME_SUFFIXES
from medclipsam.methods.ensemble import Ensemble
from medclipsam.methods.uncertainty import Maps, boundary_score
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.refine.predictions import MAPS, PicturePrediction, Prediction, read_predictions
from medclipsam.report import versions
from medclipsam.runs.arrivals import Arrival, arrivals
from medclipsam.runs.cases import Case, find_cases
from medclipsam.runs.claim import claimed
from medclipsam.runs.layout import MANIFEST, SETTINGS, outputs_hold
from medclipsam.runs.manifest import ManifestFile
from medclipsam.runs.resume import Earlier
from medclipsam.runs.shard import WHOLE
from medclipsam.types import BoolArray, MedImage

Tell = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """What became of a folder."""

    counts: Mapping[str, int]
    """Scans by status."""
    kept: int
    """How many were done already."""

    @property
    def read(self) -> int:
        """How many scans were answered."""
        return sum(count for status, count in self.counts.items() if status != "refused")


def predict_folder(
    ensemble: Ensemble,
    scans: Path,
    output: Path,
    *,
    threshold: float | None = None,
    reading: ReadOptions | None = None,
    tell: Tell = lambda stage, done, total: None,
) -> Predicted:
    """Segment every scan of a folder, a table or a file.

    Args:
        threshold: probability above which a pixel is inside; None: the run's. The released code uses 0.2.
        reading: how files are read.
        tell: hears of the progress.

    Raises:
        BadInput: no scans, a threshold out of range, or a folder that belongs to something else.
        CannotWrite: the folder is lost, full or in use; what is done is kept.
    """
    least = ensemble.file.threshold if threshold is None else threshold
    if not 0 < least < 1:
        raise BadInput(f"threshold is {least}", "give a number between 0 and 1")
    cases = find_cases(scans, (ensemble.file.prompt,), passed_over=output)
    check_folder(output)
    with claimed(output, WHOLE):
        return _Run(ensemble, output, least, reading or ReadOptions(), tell).over(cases)


class _Run:
    """One go over one folder."""

    def __init__(self, ensemble: Ensemble, output: Path, threshold: float, reading: ReadOptions, tell: Tell) -> None:
        self._ensemble, self._output, self._threshold = ensemble, output, threshold
        self._reading, self._tell = reading, tell
        self._settings = _settings(ensemble, threshold, reading)
        self._config = self._settings["config_sha256"]
        lines = read_predictions(output / MANIFEST)
        self._earlier = {record.case: record for record in lines}
        self._written = {name for record in lines for name in record.outputs}

    def over(self, cases: list[Case]) -> Predicted:
        """Bring every scan to a record, then the records into their final order."""
        kept = {case.name: record for case in cases if (record := self._kept(case))}
        todo = [case for case in cases if case.name not in kept]
        write_atomic(self._output / SETTINGS, json.dumps(self._settings, indent=1) + "\n")
        records = dict(kept)
        with ManifestFile(self._output / MANIFEST) as manifest:
            for record in self._predicted(todo):
                records[record.case] = record
                manifest.append(record)
                self._tell("segmenting", len(records), len(cases))
        self._remove_stale(records)
        ordered = [records[name].to_line() for name in sorted(records)]
        write_atomic(self._output / MANIFEST, b"".join(ordered))
        return Predicted(counts=Counter(record.status for record in records.values()), kept=len(kept))

    def _predicted(self, cases: list[Case]) -> Iterator[Prediction]:
        nothing = Earlier(self._output / ".nothing", "", 0.0)
        ahead, behind = tee(arrivals(cases, nothing, self._reading))
        maps = self._ensemble.maps_of(arrived.image for arrived in ahead)
        pairs = zip(behind, maps, strict=True)
        for name, pictures in groupby(pairs, key=lambda pair: pair[0].case.name):
            yield self._case(name, pictures)

    def _case(self, name: str, pictures: Iterator[tuple[Arrival, Maps | None]]) -> Prediction:
        answers = _Answers(self._output, name, self._threshold)
        for arrived, maps in pictures:
            if arrived.image is None or maps is None:
                answers.withdraw()
                return self._record(arrived, status="refused", reason=arrived.refusal)
            answers.add(arrived.image, maps)
        return replace(self._record(arrived, status="done"), **answers.finish())

    def _record(self, arrived: Arrival, **known: Any) -> Prediction:
        return Prediction(case=arrived.case.name, input_sha256=arrived.sha256, config_sha256=self._config, **known)

    def _kept(self, case: Case) -> Prediction | None:
        record = self._earlier.get(case.name)
        if record is None or record.status == "refused" or record.config_sha256 != self._config:
            return None
        try:
            same = file_digest(case.path) == record.input_sha256
        except OSError:
            return None
        return record if same and outputs_hold(self._output, record.outputs) else None

    def _remove_stale(self, records: Mapping[str, Prediction]) -> None:
        """What earlier goes wrote and no record names any more."""
        wanted = {name for record in records.values() for name in record.outputs}
        for name in self._written - wanted:
            path = self._output / name
            if path.resolve().is_relative_to(self._output.resolve()) and name.split("/")[0] in ("masks", *MAPS):
                path.unlink(missing_ok=True)


class _Answers:
    """The files of one scan."""

    def __init__(self, output: Path, case: str, threshold: float) -> None:
        self._output, self._case, self._threshold = output, case, threshold
        self._pictures: list[PicturePrediction] = []
        self._outputs: dict[str, str] = {}
        self._slices: dict[int, BoolArray] = {}
        self._volume: Any = None

    def add(self, image: MedImage, maps: Maps) -> None:
        """Write what belongs to one picture alone."""
        mask = maps.probability > self._threshold
        self._pictures.append(_measured(image.name, mask, maps))
        for kind in MAPS:
            self._keep(write_map(getattr(maps, kind), self._output / kind / f"{image.name}.png"))
        if image.format in VOLUME_SUFFIXES:
            self._volume = image.origin.volume
            self._slices[image.origin.index] = mask
        else:
            self._keep(write_mask(image, mask, self._output / "masks" / image.name))

    def finish(self) -> dict[str, Any]:
        """Write what needs all pictures; fields of the record."""
        if self._slices:
            self._keep(write_volume_mask(self._volume, self._slices, self._output / "masks" / self._case))
        found = any(picture.area_px for picture in self._pictures)
        outputs = dict(sorted(self._outputs.items()))
        return {"status": "done" if found else "not found", "pictures": tuple(self._pictures), "outputs": outputs}

    def withdraw(self) -> None:
        """Of a scan whose later pictures cannot be read nothing is kept."""
        for name in self._outputs:
            (self._output / name).unlink(missing_ok=True)

    def _keep(self, path: Path) -> None:
        self._outputs[path.relative_to(self._output).as_posix()] = file_digest(path)


def _measured(name: str, mask: BoolArray, maps: Maps) -> PicturePrediction:
    score = boundary_score(maps.entropy, mask)
    return PicturePrediction(
        name=name,
        area_px=int(mask.sum()),
        probability_largest=round(float(maps.probability.max()), 6),
        entropy_mean=round(float(maps.entropy.mean(dtype=np.float64)), 6),
        boundary_entropy=None if score is None else round(score, 6),
    )


def _settings(ensemble: Ensemble, threshold: float, reading: ReadOptions) -> dict[str, Any]:
    """What `run.json` says, and the hash of what decides the results."""
    decisive = {"ensemble": asdict(ensemble.file), "threshold": threshold, "reading": asdict(reading)}
    content = json.dumps({**decisive, "version": __version__}, sort_keys=True)
    digest = hashlib.sha256(content.encode()).hexdigest()
    return {"notice": RESEARCH_USE_ONLY, **decisive, "versions": versions(), "config_sha256": digest}
