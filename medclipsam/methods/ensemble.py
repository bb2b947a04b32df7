"""The kept networks of a run on pseudo-labels: asked one after the other, averaged.

    for the squares of a few scans:  for each file of weights: load, ask for each square, add up   -> Maps

A file of weights is loaded once for `AT_ONCE` scans. Each square goes through the network alone, so that neighbours
and batch sizes change no bit.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path

import torch
from torch import Tensor

from medclipsam.backbones.squares import Square, frame_for, to_square
from medclipsam.methods.ensemble_run import EnsembleFile
from medclipsam.methods.members import Member, UNetMember
from medclipsam.methods.nnunet import load_member
from medclipsam.methods.uncertainty import Maps, RunningMean
from medclipsam.runtime import pick_device
from medclipsam.types import MedImage

AT_ONCE = 32
"""Scans whose squares are in memory together."""


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


def load_ensemble(run: Path, device: str = "auto") -> Ensemble:
    """Load a finished run.

    Raises:
        BadInput: no finished run, or a device that is not there.
        WrongHash: see `medclipsam.methods.run_file`.
        MissingExtra: it was trained by nnU-Net, which is not installed.
    """
    file = EnsembleFile.read(run)
    chosen = pick_device(device)
    return Ensemble(file, _member(file, run, chosen), [run / name for name in file.weights], str(chosen))


def _member(file: EnsembleFile, run: Path, device: torch.device) -> Member:
    if file.backend == "unet":
        return UNetMember(file.network["widths"], device)
    return load_member(run, file.network, device)


def _maps(values: Tensor) -> Maps:
    probability, entropy, information = values.clamp(0, 1).numpy()
    return Maps(probability=probability, entropy=entropy, information=information)
