"""The folder of a run: settings, log, the best weights so far, and the checkpoint that a stopped run goes on from.

RUN/config.toml   every setting with its help; `medclipsam train METHOD --config` takes it
    run.json      what a resumed run must share: recipe, fingerprint of model and data, processes; versions
    log.jsonl     every step and validation
    checkpoints/  the last one, to go on from
    ...           the best weights so far, as the task exports them
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from torch import nn

from medclipsam.errors import BadInput
from medclipsam.io.atomic import write_atomic
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.report import versions
from medclipsam.training import distributed
from medclipsam.training.checkpoint import (
    Checkpoint,
    latest_checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from medclipsam.training.optimizers import Optimizers, RunningMean
from medclipsam.training.recipes import TrainingRecipe
from medclipsam.training.settings import to_toml

CONFIG, FACTS = "config.toml", "run.json"
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
    """The folder of one run of the loop.

    Args:
        path: made when the run starts.
        recipe: a run is resumed with the same one only.
        fingerprint: stands for model and data; likewise.
        config: the settings as TOML; empty writes the recipe's.
    """

    def __init__(self, path: Path, recipe: TrainingRecipe, fingerprint: str, config: str = "") -> None:
        self.path = path
        self._config = config or to_toml({"recipe": recipe}, "Settings of the run.")
        self._facts = {**recipe.as_dict(), "model or data": fingerprint, "processes": distributed.world_size()}

    def open(self, trained: Trained, *, resume: bool) -> RunState:
        """Start, or put `trained` where the last checkpoint was.

        Raises:
            BadInput: the folder holds a run and `resume` is off, another run, or anything else.
            CannotWrite: the folder cannot be made.
        """
        check_folder(self.path, self._facts, resume=resume)
        distributed.barrier()
        place = latest_checkpoint(self.path / "checkpoints")
        if place is not None:
            return _restore(trained, load_checkpoint(place))
        if distributed.rank() == 0:
            begin_folder(self.path, self._facts, self._config)
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


def check_folder(run: Path, facts: Mapping[str, Any], *, resume: bool) -> None:
    """Find that a folder is new, or that it holds the same run; nothing in it is touched.

    Args:
        facts: all that must be the same, as JSON holds it.

    Raises:
        BadInput: it holds a run and `resume` is off, a run with other facts, or anything else.
    """
    known = run / FACTS
    if not known.is_file():
        if run.exists() and (not run.is_dir() or any(run.iterdir())):
            raise BadInput(f"{run.name} is not an empty folder", "choose another for the run")
        return
    if not resume:
        raise BadInput(f"{run.name} already holds a run", "give --resume, or another folder")
    try:
        before = dict(json.loads(known.read_text("utf-8"))["same"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BadInput(f"{known.name} in {run.name} cannot be read", "start in another folder") from error
    changed = [name for name, value in _as_json(facts).items() if before.get(name) != value]
    if changed:
        raise BadInput(f"{run.name} holds a run with another {', '.join(changed)}", "resume with the same")


def begin_folder(run: Path, facts: Mapping[str, Any], config: str) -> None:
    """Write the settings, unless they are there, and the facts that `check_folder` compares.

    Raises:
        CannotWrite: the folder cannot be made.
    """
    write_atomic(run / CONFIG, config)
    written = {"notice": RESEARCH_USE_ONLY, "same": _as_json(facts), "versions": versions()}
    write_atomic(run / FACTS, json.dumps(written, indent=1) + "\n")


def _as_json(facts: Mapping[str, Any]) -> dict[str, Any]:
    """The same as it comes back from a file."""
    return dict(json.loads(json.dumps(facts)))


def _restore(trained: Trained, checkpoint: Checkpoint) -> RunState:
    try:
        trained.model.load_state_dict(dict(checkpoint.model))
        trained.optimizer.restore(checkpoint.optimizer)
        trained.mean.restore(checkpoint.mean)
        trained.scaler.load_state_dict(dict(checkpoint.facts["scaler"]))
        return RunState(**checkpoint.facts["state"])
    except (RuntimeError, ValueError, KeyError, TypeError) as error:
        raise BadInput("the checkpoint does not fit the model", "delete it and start the run again") from error
