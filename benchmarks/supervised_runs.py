"""Trainings of the supervised comparison, each in a folder of its own that is kept: done once, and gone on with."""

from __future__ import annotations

import csv
import hashlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from setting import machine, versions
from supervised_cases import read_cases, read_sheet, shared, training_rows

import medclipsam
from medclipsam.io.atomic import write_atomic
from medclipsam.methods.supervised_run import NetworkFile
from medclipsam.training.data.feature_cache import FeatureCache, read_features, write_features
from medclipsam.training.registry import Request, config_of, find_method
from medclipsam.training.settings import changed, read_pairs, settings_of

READS_NO_TEXT = ("unet",)
"""Methods that look at the image alone: they learn and are asked the target's name."""
SHARED_FEATURES = "features"
"""The setting of methods on frozen towers that names a folder of features, which all runs share here."""


@dataclass(frozen=True, kw_only=True)
class Training:
    """What is trained, on what."""

    method: str
    """A method of `medclipsam train`, or `zeroshot-PRESET`, which is not trained here."""
    dataset: str
    share: int = 100
    """Per cent of the training cases."""
    text: str = "sentences"
    """What the images come with, see `supervised_cases.TRAINING_TEXTS`."""
    seed: int = 0
    variant: str = ""
    """Name of `settings`, for tables; empty for the method as it is."""
    settings: tuple[str, ...] = ()
    """`key=value`, as `medclipsam train --set` takes them."""

    @property
    def name(self) -> str:
        """Of the folder."""
        parts = (self.label, self.dataset, str(self.share), self.text, f"seed{self.seed}")
        return ".".join(parts)

    @property
    def label(self) -> str:
        """The method, for tables."""
        return f"{self.method}+{self.variant}" if self.variant else self.method

    @property
    def reads_text(self) -> bool:
        """Whether sentences say anything to it."""
        return self.method not in READS_NO_TEXT

    @property
    def is_zero_shot(self) -> bool:
        """Whether nothing is trained here."""
        return self.method.startswith("zeroshot-")


def trained(training: Training, data: Path, work: Path, *, limit: int = 0) -> Path:
    """The run folder of a training, which is done first where it is not there yet; a stopped one goes on.

    Args:
        data: the folder with `index.csv`.
        work: where the runs are kept.
        limit: at most so many cases of a split; 0: all.

    Raises:
        BadInput: what the method refuses.
        ValueError: a finished run of this name has other settings.
    """
    folder = work / "runs" / training.name
    facts_file = folder.with_name(f"{training.name}.json")
    if facts_file.is_file():
        _check_same(json.loads(facts_file.read_text()), training)
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    sheet = read_sheet(data, training.dataset)
    cases = shared(read_cases(data, training.dataset, ("train", "val"), limit), sheet, training.share, training.seed)
    table = folder.with_name(f"{training.name}.csv")
    write_table(table, training_rows(data, cases, training.text, training.seed))
    clock = Clock(folder.with_name(f"{training.name}.seconds"))
    outcome = _train(training, table, folder, clock)
    counts = {f"{split}_cases": sum(case.split == split for case in cases) for split in ("train", "val")}
    facts = {**asdict(training), **counts, **conditions(), "seconds": clock.read(), "outcome": outcome}
    facts["parameters"] = parameters_of(folder)
    write_atomic(facts_file, json.dumps(facts, indent=1, default=str))
    return folder


def _train(training: Training, table: Path, folder: Path, clock: Clock) -> dict[str, Any]:
    method = find_method(training.method)
    parts = method.defaults()
    own = [f"seed={training.seed}", *training.settings]
    if any(setting.name == SHARED_FEATURES for setting in settings_of(parts)):
        own.append(f"{SHARED_FEATURES}={folder.parents[1] / SHARED_FEATURES}")
    parts = changed(parts, read_pairs(own, parts))
    request = Request(
        data=table,
        out=folder,
        parts=parts,
        config=config_of(training.method, parts),
        device="cpu",
        resume=(folder / "run.json").is_file(),
        tell=clock.told,
    )
    result = method.train(request)
    print("\n" + "\n".join(result.told))
    return _plain(asdict(result.outcome))


class Clock:
    """Seconds that a training took, over all the times it was gone on with; kept in a file each half a minute."""

    def __init__(self, path: Path) -> None:
        self._path, self._began, self._before = path, time.perf_counter(), _number(path)
        self._written = self._began

    def told(self, stage: str, done: int, total: int) -> None:
        """Hear of progress, and show it."""
        print(f"\r{stage} {done}/{total} ", end="", flush=True)
        if time.perf_counter() - self._written > 30:
            self.read()

    def read(self) -> float:
        """The seconds so far."""
        self._written = time.perf_counter()
        seconds = self._before + self._written - self._began
        self._path.write_text(f"{seconds:.1f}")
        return seconds


def encoding_once(segmenter: Any, folder: Path) -> Any:
    """The same method, which keeps what frozen towers make of test images: every run on them is asked about the same.

    It changes no answer, and the seconds of a case from the second run on.
    """
    network = getattr(segmenter, "_network", None)
    if network is None or not network.encoding:
        return segmenter
    encode, cache = network.encode, FeatureCache(folder)

    def kept(pixels: torch.Tensor) -> Mapping[str, torch.Tensor]:
        path = cache.path(network.encoding, hashlib.sha256(pixels.numpy().tobytes()).hexdigest())
        if not path.is_file():
            write_features(path, **encode(pixels))
        return read_features(path)

    network.encode = kept
    return segmenter


def write_table(path: Path, rows: Sequence[Mapping[str, str]]) -> None:
    """A CSV, as `medclipsam train` takes it."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def parameters_of(folder: Path) -> int:
    """How many numbers the weights of a run folder hold: the trained ones, for frozen ones are not kept there."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, framework="pt") as tensors:
            total += sum(math.prod(tensors.get_slice(name).get_shape()) for name in tensors.keys())  # noqa: SIM118
    return total


def frozen_of(folder: Path) -> Mapping[str, str]:
    """SHA-256 of the frozen weights that a run stands on, by name; none of a folder that is no finished run."""
    return NetworkFile.read(folder).frozen if (folder / NetworkFile.name).is_file() else {}


def conditions() -> dict[str, object]:
    """What the seconds hold for."""
    return {
        "machine": machine(),
        "threads": torch.get_num_threads(),
        "versions": versions("torch", "numpy"),
        "medclipsam": medclipsam.__version__,
    }


def _check_same(facts: Mapping[str, Any], training: Training) -> None:
    if tuple(facts["settings"]) != training.settings:
        raise ValueError(f"{training.name} was trained with {facts['settings']}: give this one another --variant")


def _number(path: Path) -> float:
    return float(path.read_text()) if path.is_file() else 0.0


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))
