"""The folder of a run: settings, log, the best weights so far, and the checkpoint that a stopped run goes on from.

RUN/run.json      settings, versions, fingerprint of model and data
    log.jsonl     every step and validation
    checkpoints/  the last one, to go on from
    ...           the best weights so far, as the task exports them
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from medclipsam.errors import BadInput
from medclipsam.io.atomic import write_atomic
from medclipsam.training import distributed
from medclipsam.training.checkpoint import (
    Checkpoint,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from medclipsam.training.optimizers import Optimizers, RunningMean
from medclipsam.training.recipes import TrainingRecipe

Scores = Mapping[str, float]


class Trained(Protocol):
    """What changes from step to step."""

    model: nn.Module
    optimizer: Optimizers
    mean: RunningMean
    scaler: Any
    """Scales fp16 gradients: `state_dict` and `load_state_dict`."""

    def export(self, folder: Path) -> None:
        """Write the model for use."""


@dataclass(frozen=True, kw_only=True)
class RunState:
    """How far a run is."""

    step: int = 0
    before: Scores = field(default_factory=dict)
    best: Scores = field(default_factory=dict)
    best_step: int = 0
    """The step whose weights are exported."""

    def begun(self, scores: Scores) -> RunState:
        """With the validation of the untouched model."""
        return replace(self, before=dict(scores))

    def advanced(self, step: int, scores: Scores, score: str) -> RunState:
        """After `step`; its weights are the best where there are no scores, or its score is the highest so far."""
        better = not scores or not self.best or scores[score] > self.best[score]
        if not better:
            return replace(self, step=step)
        return replace(self, step=step, best=dict(scores), best_step=step)


class RunFolder:
    """The folder of one run.

    Args:
        path: made when the run starts.
        recipe: a run is resumed with the same one only.
        fingerprint: of model and data; likewise.
    """

    def __init__(self, path: Path, recipe: TrainingRecipe, fingerprint: str) -> None:
        self.path = path
        self._settings = {"recipe": json.loads(json.dumps(recipe.as_dict())), "fingerprint": fingerprint}
        self._settings["processes"] = distributed.world_size()

    def open(self, trained: Trained, *, resume: bool) -> RunState:
        """Start, or put `trained` where the last checkpoint was.

        Raises:
            BadInput: the folder holds a run and `resume` is off, another run, or anything else.
            CannotWrite: the folder cannot be made.
        """
        known = self.path / "run.json"
        if known.is_file() and not resume:
            raise BadInput(f"{self.path.name} already holds a run", "give --resume, or another folder")
        if known.is_file():
            self._compare(known)
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise BadInput(f"{self.path.name} is not an empty folder", "choose another for the run")
        distributed.barrier()
        place = latest_checkpoint(self.path / "checkpoints")
        if place is not None:
            return _restore(trained, load_checkpoint(place))
        if distributed.rank() == 0:
            self._begin(known)
        return RunState()

    def keep(self, trained: Trained, state: RunState) -> None:
        """Export the weights if they are the best, and write a checkpoint.

        Raises:
            CannotWrite: the disk is full.
        """
        if distributed.rank() == 0:
            if state.best_step == state.step:
                trained.export(self.path)
            checkpoint = Checkpoint(
                step=state.step,
                model=trained.model.state_dict(),
                optimizer=trained.optimizer.tensors(),
                mean=trained.mean.tensors(),
                facts={"scaler": trained.scaler.state_dict(), "state": asdict(state)},
            )
            save_checkpoint(self.path / "checkpoints", checkpoint)
        distributed.barrier()

    def _begin(self, known: Path) -> None:
        versions = {"versions": {package: version(package) for package in ("medclipsam", "torch", "open_clip_torch")}}
        write_atomic(known, json.dumps(self._settings | versions, indent=1) + "\n")

    def _compare(self, known: Path) -> None:
        try:
            before = json.loads(known.read_text("utf-8"))
            recipe = before["recipe"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise BadInput(f"{known.name} in {self.path.name} cannot be read", "start in another folder") from error
        changed = [name for name, value in self._settings["recipe"].items() if recipe.get(name) != value]
        changed += [name for name in ("fingerprint", "processes") if before.get(name) != self._settings[name]]
        if changed:
            what = ", ".join(changed).replace("fingerprint", "model or data")
            raise BadInput(f"{self.path.name} holds a run with another {what}", "resume with the same, or start anew")


def _restore(trained: Trained, checkpoint: Checkpoint) -> RunState:
    try:
        trained.model.load_state_dict(dict(checkpoint.model))
        trained.optimizer.restore(checkpoint.optimizer)
        trained.mean.restore(checkpoint.mean)
        trained.scaler.load_state_dict(dict(checkpoint.facts["scaler"]))
        return RunState(**checkpoint.facts["state"])
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise BadInput("the checkpoint does not fit the model", "delete it and start the run again") from error
