"""Checkpoints from which a run goes on to the same bits: tensors as safetensors, facts as JSON, all or nothing.

    RUN/checkpoints/step-00000300/ model.safetensors      every weight
                                   optimizer.safetensors  the optimizer's moments
                                   mean.safetensors       the running mean of the weights, where one is kept
                                   state.json             step and scores; written last: it says that all is there

Each file appears whole or not at all, and the checkpoint before is removed only after that.
No randomness is stored: order, crops and dropout are functions of the seed and the step (see `loop`).
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor
from torch.optim import Optimizer

from medclipsam.errors import BadInput, CannotWrite
from medclipsam.io.atomic import atomic_path, write_atomic

Tensors = Mapping[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """A run between two steps."""

    step: int
    """Optimizer steps done."""
    model: Tensors
    optimizer: Tensors
    mean: Tensors = field(default_factory=dict)
    """The running mean of the weights, by their names."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """What JSON holds: scores so far, the gradient scaler."""


def save_checkpoint(folder: Path, checkpoint: Checkpoint) -> Path:
    """Write `folder/step-N` and remove what it replaces.

    Raises:
        CannotWrite: the disk is full or the folder is not writable.
    """
    place = folder / f"step-{checkpoint.step:08d}"
    save_weights(place / "model.safetensors", checkpoint.model)
    save_weights(place / "optimizer.safetensors", checkpoint.optimizer)
    save_weights(place / "mean.safetensors", checkpoint.mean)
    facts = {"step": checkpoint.step, **checkpoint.facts}
    write_atomic(place / "state.json", json.dumps(facts, indent=1) + "\n")
    for other in folder.glob("step-*"):
        if other != place:
            shutil.rmtree(other, ignore_errors=True)
    return place


def latest_checkpoint(folder: Path) -> Path | None:
    """The newest whole checkpoint under `folder`; None where there is none."""
    whole = sorted(folder.glob("step-*/state.json"))
    return whole[-1].parent if whole else None


def load_checkpoint(place: Path) -> Checkpoint:
    """Read what `save_checkpoint` wrote, onto the CPU.

    Raises:
        BadInput: files that are missing or broken.
    """
    try:
        facts = json.loads((place / "state.json").read_text("utf-8"))
        model, optimizer, mean = (load_file(place / f"{part}.safetensors") for part in ("model", "optimizer", "mean"))
        return Checkpoint(step=facts.pop("step"), model=model, optimizer=optimizer, mean=mean, facts=facts)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, SafetensorError) as error:
        raise BadInput(f"checkpoint {place.name} cannot be read", "delete it and start the run again") from error


def optimizer_tensors(optimizer: Optimizer) -> dict[str, Tensor]:
    """The state of each parameter under `INDEX.NAME`; empty before the first step."""
    state = optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, values in state.items() for name, value in values.items()}


def restore_optimizer(optimizer: Optimizer, tensors: Tensors) -> None:
    """Put the state back into an optimizer over the same parameters in the same groups."""
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, name = key.split(".", 1)
        state.setdefault(int(index), {})[name] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def save_weights(path: Path, tensors: Tensors) -> None:
    """Write one safetensors file, whole or not at all.

    Raises:
        CannotWrite: the disk is full or the folder is not writable.
    """
    storable = _apart({name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()})
    with atomic_path(path) as temporary:
        try:
            save_file(storable, temporary)
        except SafetensorError as error:
            raise CannotWrite(f"{path} cannot be written ({error})", "free space or choose another folder") from error


def _apart(tensors: Tensors) -> dict[str, Tensor]:
    """The same; those that share memory with an earlier one are copied, for safetensors refuses them."""
    seen: set[int] = set()
    apart = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        apart[name] = tensor.clone() if place in seen else tensor
        seen.add(place)
    return apart
