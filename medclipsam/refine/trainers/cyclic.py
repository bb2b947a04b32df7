"""nnU-Net's own trainer with a rate that falls in cycles, and weights kept at the end of each cycle.

Everything else is stock: SGD with Nesterov momentum 0.99, weight decay 3e-5, Dice and cross-entropy with deep
supervision, its augmentation. `medclipsam refine --backend nnunet` uses this class; so can nnU-Net's own commands,
which search the folders of an environment variable for trainers:

    nnUNet_extTrainer=.../medclipsam/refine/trainers nnUNetv2_train 1 2d all -tr CyclicTrainer

Checkpoints are tensors and JSON; no pickle is written or read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
from torch import nn

from medclipsam.refine.task import weights_path
from medclipsam.training.checkpoint import (
    Checkpoint,
    latest_checkpoint,
    load_checkpoint,
    optimizer_tensors,
    restore_optimizer,
    save_checkpoint,
    save_weights,
)
from medclipsam.training.schedule import Cycles


class CycleScheduler:
    """What nnU-Net asks of a scheduler.

    Args:
        optimizer: gets the rate of each epoch.
        peak: the rate at the start of each cycle.
    """

    def __init__(self, optimizer: torch.optim.Optimizer, peak: float, cycles: Cycles) -> None:
        self._optimizer, self._peak, self._cycles = optimizer, peak, cycles

    def step(self, epoch: int) -> None:
        """Set the rate of the 0-based epoch."""
        for group in self._optimizer.param_groups:
            group["lr"] = self._peak * self._cycles.factor(epoch)


class CyclicTrainer(nnUNetTrainer):
    """nnU-Net's trainer with the schedule of MedCLIP-SAMv2: 600 epochs, 3 cycles, the last 10 weights of each."""

    cycles = Cycles(epochs=600)
    """The plan; set on a derived class, or on an instance before it is initialized."""

    repeats: Mapping[str, int] = {}
    """How often a picture stands in the list that training draws from, by its name; once where it is not named."""

    def get_tr_and_val_datasets(self) -> tuple[Any, Any]:
        """nnU-Net's data sets; training draws from a list in which sure labels stand more often."""
        training, validation = super().get_tr_and_val_datasets()
        training.identifiers = [name for name in training.identifiers for _ in range(self.repeats.get(name, 1))]
        return training, validation

    def initialize(self) -> None:
        """Build the network and its optimizer."""
        self.num_epochs = self.cycles.epochs
        super().initialize()

    def configure_optimizers(self) -> tuple[torch.optim.Optimizer, CycleScheduler]:
        """nnU-Net's optimizer; the rate falls in cycles."""
        optimizer, _ = super().configure_optimizers()
        return optimizer, CycleScheduler(optimizer, self.initial_lr, self.cycles)

    def on_epoch_end(self) -> None:
        """Keep the weights of this epoch, if they are to be kept, before the checkpoint that says it is done."""
        if self.local_rank == 0 and self.current_epoch in self.cycles.kept:
            save_weights(weights_path(self.kept_folder, self.current_epoch), self.plain_network.state_dict())
        super().on_epoch_end()

    @property
    def kept_folder(self) -> Path:
        """Where the kept weights lie."""
        return Path(self.output_folder) / "kept"

    @property
    def plain_network(self) -> nn.Module:
        """The network without what `torch.compile` and parallel training put around it."""
        network = self.network.module if self.is_ddp else self.network
        return getattr(network, "_orig_mod", network)

    def save_checkpoint(self, filename: str) -> None:
        """Write the state of the run into a folder beside the place that nnU-Net names."""
        if self.local_rank != 0 or self.disable_checkpointing:
            return
        facts = {
            "logging": _plain(self.logger.get_checkpoint()),
            "best_ema": _plain(self._best_ema),
            "scaler": self.grad_scaler.state_dict() if self.grad_scaler is not None else None,
            "mirrored": list(self.inference_allowed_mirroring_axes or ()),
        }
        state, moments = self.plain_network.state_dict(), optimizer_tensors(self.optimizer)
        done = Checkpoint(step=self.current_epoch + 1, model=state, optimizer=moments, facts=facts)
        save_checkpoint(_folder(filename), done)

    def load_checkpoint(self, filename_or_checkpoint: Any) -> None:
        """Go on from what `save_checkpoint` wrote.

        Raises:
            BadInput: it is damaged.
            FileNotFoundError: there is none.
        """
        if not self.was_initialized:
            self.initialize()
        place = latest_checkpoint(_folder(str(filename_or_checkpoint)))
        if place is None:
            raise FileNotFoundError(filename_or_checkpoint)
        found = load_checkpoint(place)
        self.plain_network.load_state_dict(dict(found.model))
        restore_optimizer(self.optimizer, found.optimizer)
        self.current_epoch = found.step
        self.logger.load_checkpoint(found.facts["logging"])
        self._best_ema = found.facts["best_ema"]
        self.inference_allowed_mirroring_axes = tuple(found.facts["mirrored"])
        if self.grad_scaler is not None and found.facts["scaler"] is not None:
            self.grad_scaler.load_state_dict(found.facts["scaler"])


def _folder(filename: str) -> Path:
    """`checkpoint_latest.pth` -> `checkpoint_latest`."""
    return Path(filename).with_suffix("")


def _plain(value: Any) -> Any:
    """NumPy's numbers as JSON's."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    return value.item() if hasattr(value, "item") else value
