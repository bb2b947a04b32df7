"""The kept networks of a run on pseudo-labels: asked one after the other, averaged.

    RUN/ensemble.json                          backend, geometry, threshold, SHA-256 of each file
        weights/epoch-0189.safetensors ...     one network each

    for the squares of a few scans:  for each file of weights: load, ask for each square, add up   -> Maps

A file of weights is loaded once for `AT_ONCE` scans. Each square goes through the network alone, so that neighbours
and batch sizes change no bit.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from medclipsam.backbones.squares import Square, frame_for, standardised, to_square
from medclipsam.backbones.unet import UNet
from medclipsam.config import EnsembleBackend, SquareFit
from medclipsam.errors import BadInput, WrongHash
from medclipsam.io.atomic import file_digest, write_atomic
from medclipsam.methods.uncertainty import Maps, RunningMean
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.report import versions
from medclipsam.runtime import pick_device
from medclipsam.types import MedImage
from medclipsam.weights import lookup
from medclipsam.weights.loading import load_state

SCHEMA = 1
FILE = "ensemble.json"
AT_ONCE = 32
"""Scans whose squares are in memory together."""


class Member(Protocol):
    """One network, whose weights can be exchanged."""

    def load(self, weights: Path) -> None:
        """Become another member."""

    def prepare(self, square: Square) -> Any:
        """What depends on the picture alone."""

    def probability(self, prepared: Any) -> Tensor:
        """(side, side) in [0, 1]."""


@dataclass(frozen=True, kw_only=True)
class EnsembleFile:
    """What `ensemble.json` says."""

    backend: EnsembleBackend
    prompt: str
    """What was learned."""
    side: int
    fit: SquareFit
    threshold: float
    """Probability above which a pixel is inside; another can be asked for."""
    files: Mapping[str, str]
    """SHA-256 of everything that has a say, by its path below the run."""
    weights: tuple[str, ...]
    """Those of `files` that are members."""
    network: Mapping[str, Any]
    """What else the backend needs to build it."""
    learned_from: Mapping[str, Any]
    """How many pictures, of which labels."""

    def write(self, run: Path) -> None:
        """Write it; from now on the run can be used.

        Raises:
            CannotWrite: see `medclipsam.io.atomic`.
        """
        facts = {"notice": RESEARCH_USE_ONLY, "schema": SCHEMA, **asdict(self), "versions": versions()}
        write_atomic(run / FILE, json.dumps(facts, indent=1) + "\n")

    @classmethod
    def read(cls, run: Path) -> Self:
        """Read that of a finished run, its files checked.

        Raises:
            BadInput: no finished run, or one of another version.
            WrongHash: a file that is not the one that was written.
        """
        try:
            facts = json.loads((run / FILE).read_text("utf-8"))
        except FileNotFoundError as error:
            if (run / lookup("compact").file).is_file():
                way_out = "use them by --weights of segment and pseudolabel"
                raise BadInput(f"{run} holds weights of the embedded model, no ensemble", way_out) from error
            raise BadInput(f"{run} holds no {FILE}", "give the folder of a finished medclipsam refine run") from error
        except (OSError, ValueError) as error:
            raise BadInput(f"{run / FILE} cannot be read", "run medclipsam refine --resume again") from error
        found = cls._from_facts(facts, run)
        for name, digest in found.files.items():
            _check(run, name, digest)
        return found

    @classmethod
    def _from_facts(cls, facts: Any, run: Path) -> Self:
        try:
            if facts["schema"] != SCHEMA:
                raise ValueError
            fields = {name: facts[name] for name in cls.__dataclass_fields__}
            return cls(**{**fields, "weights": tuple(fields["weights"])})
        except (KeyError, TypeError, ValueError) as error:
            raise BadInput(f"{run / FILE} is not of this version", "run medclipsam refine again") from error


class Ensemble:
    """All kept networks of a run.

    Args:
        file: what `ensemble.json` says.
        member: the network whose weights are exchanged.
        weights: the members' files.
        device: where it lies, for reports.
    """

    def __init__(self, file: EnsembleFile, member: Member, weights: Sequence[Path], device: str = "cpu") -> None:
        self.file, self.device = file, device
        self._member, self._weights = member, tuple(weights)

    def maps_of(self, images: Iterable[MedImage | None]) -> Iterator[Maps | None]:
        """The maps of each scan, in order; None for None. Reads ahead by `AT_ONCE`."""
        coming = iter(images)
        while chunk := list(islice(coming, AT_ONCE)):
            frames = [frame_for(image.size, self.file.side, self.file.fit) if image else None for image in chunk]
            pairs = zip(chunk, frames, strict=True)
            squares = [to_square(image.pixels, frame) for image, frame in pairs if image and frame]
            answers = iter(self.square_maps(squares))
            for frame in frames:
                yield None if frame is None else _maps(frame.inverse(next(answers)))

    @torch.no_grad()
    def square_maps(self, squares: Sequence[Square]) -> list[Tensor]:
        """(3, side, side) for each: mean probability, entropy, mutual information."""
        prepared = [self._member.prepare(square) for square in squares]
        means = [RunningMean() for _ in squares]
        for weights in self._weights if squares else ():
            self._member.load(weights)
            for each, mean in zip(prepared, means, strict=True):
                mean.add(self._member.probability(each).cpu())
        return [mean.maps() for mean in means]


class UNetMember:
    """The small U-Net."""

    def __init__(self, widths: Sequence[int], device: torch.device) -> None:
        self._network = UNet(widths).to(device).eval()
        self._device = device

    def load(self, weights: Path) -> None:
        """See the contract."""
        exchange(self._network, weights)

    def prepare(self, square: Square) -> Tensor:
        """(1, 3, side, side) on the device."""
        return standardised(square)[None].to(self._device)

    def probability(self, prepared: Tensor) -> Tensor:
        """See the contract."""
        return torch.sigmoid(self._network(prepared)[0].float())


def load_ensemble(run: Path, device: str = "auto") -> Ensemble:
    """Load a finished run.

    Raises:
        BadInput: no finished run, or a device that is not there.
        WrongHash: see `EnsembleFile.read`.
        MissingExtra: it was trained by nnU-Net, which is not installed.
    """
    file = EnsembleFile.read(run)
    chosen = pick_device(device)
    return Ensemble(file, _member(file, run, chosen), [run / name for name in file.weights], str(chosen))


def _member(file: EnsembleFile, run: Path, device: torch.device) -> Member:
    if file.backend == "unet":
        return UNetMember(file.network["widths"], device)
    from medclipsam.methods.nnunet import load_member  # noqa: PLC0415  (optional)

    return load_member(run, file.network, device)


def exchange(network: nn.Module, weights: Path) -> None:
    """Give a network other weights.

    Raises:
        BadInput: weights of another network.
    """
    try:
        network.load_state_dict(load_state(weights))
    except RuntimeError as error:
        raise BadInput(f"{weights.name} is not of this network", "run medclipsam refine again") from error


def hashed(run: Path, paths: Iterable[Path]) -> dict[str, str]:
    """SHA-256 of files of a run, by their path below it."""
    return {path.relative_to(run).as_posix(): file_digest(path) for path in paths}


def _check(run: Path, name: str, digest: str) -> None:
    try:
        same = (run / name).resolve().is_relative_to(run.resolve()) and file_digest(run / name) == digest
    except OSError as error:
        raise BadInput(f"{name} of {run.name} cannot be read", "run medclipsam refine --resume again") from error
    if not same:
        raise WrongHash(f"{name} of {run.name} is not the file that was written", "run medclipsam refine again")


def _maps(values: Tensor) -> Maps:
    probability, entropy, information = values.clamp(0, 1).numpy()
    return Maps(probability=probability, entropy=entropy, information=information)
