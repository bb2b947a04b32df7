"""The task of the small U-Net: the labels of the pixels that are not ignored, by cross-entropy and soft Dice.

Both as in nnU-Net, Dice over all pixels of the batch. The last weights of each cycle are kept as they come, and
together they are the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medclipsam.backbones.unet import UNet
from medclipsam.metrics.overlap import dice
from medclipsam.networks.losses import soft_dice
from medclipsam.refine.dataset import PictureSet
from medclipsam.refine.pictures import STRENGTH, PictureExample, Pictures, collate
from medclipsam.refine.recipe import RefineRecipe
from medclipsam.runs.labels import FOREGROUND, IGNORE
from medclipsam.training import distributed
from medclipsam.training.checkpoint import save_weights
from medclipsam.training.data.sampling import Keyed
from medclipsam.training.journal import Entry, Observer


def segmentation_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy plus one minus soft Dice, of the pixels that are not ignored.

    Args:
        logits: (B, height, width).
        labels: (B, height, width): 0, 1, and 2 for what is ignored; where all is, the loss is 0.
    """
    known = (labels != IGNORE).float()
    truth = (labels == FOREGROUND).float()
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    probability = logits.sigmoid() * known
    return (entropy * known).sum() / known.sum().clamp(min=1) + soft_dice(probability, truth)


class RefineUNet:
    """The task of `loop.fit`.

    Args:
        data: a data set that `medclipsam.refine.dataset` wrote.

    Raises:
        BadInput: fewer groups than folds.
    """

    collate = staticmethod(collate)
    score = "dice"

    def __init__(self, data: PictureSet, recipe: RefineRecipe) -> None:
        fold = data.fold(recipe)
        with torch.random.fork_rng():
            torch.manual_seed(recipe.seed)
            self.model: nn.Module = UNet(recipe.widths)
        self.data: Keyed = Pictures(data, fold["train"], recipe.seed, STRENGTH)
        self.weights: Sequence[float] | None = data.weights(fold["train"]) if recipe.by_confidence else None
        self.fingerprint = data.digest
        self._held_out = Pictures(data, fold["val"])

    def begin(self, folder: Path, observer: Observer | None) -> None:
        """Nothing to do."""

    def loss(self, model: nn.Module, batch: PictureExample) -> tuple[Tensor, Mapping[str, float]]:
        """Loss of this process's share; gradients are averaged."""
        device = next(self.model.parameters()).device
        logits = model(batch.pixels.to(device))
        return segmentation_loss(logits.float(), batch.labels.to(device)), {}

    def validate(self) -> Mapping[str, float]:
        """Dice with the pseudo-labels of the held-out fold, mean over pictures; empty where none is held out."""
        scores = []
        for place in range(len(self._held_out)):
            example = self._held_out[0, place]
            logits = self.model(example.pixels[None].to(next(self.model.parameters()).device))[0].cpu()
            known = (example.labels != IGNORE).numpy()
            scores.append(dice((logits > 0).numpy() & known, (example.labels == FOREGROUND).numpy()))
        return {"dice": sum(scores) / len(scores)} if scores else {}

    def export(self, folder: Path) -> None:
        """The result are the weights that `KeptWeights` writes."""


class KeptWeights:
    """An observer of `loop.fit` that writes the weights of the epochs to be kept, the moment they are there.

    Args:
        model: the one that is trained.
        epochs: 0-based.
        folder: gets `epoch-0189.safetensors` ...
    """

    def __init__(self, model: nn.Module, epochs: Sequence[int], folder: Path) -> None:
        self._model, self._epochs, self._folder = model, frozenset(epochs), folder

    def __call__(self, entry: Entry) -> None:
        """Entries of kind `validation` come after each epoch, before its checkpoint: none can be missed by a crash."""
        if entry["kind"] != "validation" or distributed.rank() != 0:
            return
        epoch = int(entry["epoch"]) - 1
        if epoch in self._epochs:
            save_weights(weights_path(self._folder, epoch), self._model.state_dict())


def weights_path(folder: Path, epoch: int) -> Path:
    """Where the weights of a 0-based epoch lie."""
    return folder / f"epoch-{epoch:04d}.safetensors"
