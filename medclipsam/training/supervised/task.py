"""The task of `loop.fit` for every supervised network: its losses, its validation, its run folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from torch import Tensor, nn

from medclipsam.io.atomic import file_digest
from medclipsam.methods.supervised_run import WEIGHTS, NetworkFile
from medclipsam.networks.contract import Batch, SupervisedNetwork, Taught
from medclipsam.networks.registry import settings_as_dict
from medclipsam.networks.settings import NetworkSettings
from medclipsam.training.checkpoint import save_weights
from medclipsam.training.data.sampling import Keyed
from medclipsam.training.journal import Observer
from medclipsam.training.supervised.examples import Examples, KeptFeatures, collate, grouped
from medclipsam.training.supervised.recipe import SupervisedRecipe
from medclipsam.training.supervised.rows import LabelledRow
from medclipsam.training.supervised.sheet import chosen_places, write_sheet
from medclipsam.training.supervised.squares import Squares, strength_of
from medclipsam.training.supervised.validation import Validated, figures_of, presence_threshold, validated

FEATURES = "features"
"""Folder of a run for features of frozen towers, where no other is named."""


@dataclass(frozen=True, kw_only=True)
class Material:
    """What is learned."""

    train: Sequence[LabelledRow]
    val: Sequence[LabelledRow]
    taught: Taught

    @property
    def rows(self) -> Sequence[LabelledRow]:
        """Both."""
        return [*self.train, *self.val]

    @property
    def texts(self) -> list[str]:
        """Every text that is asked, sorted."""
        return sorted({text for row in self.rows for text in (row.text, row.short) if text})

    def digest(self) -> str:
        """SHA-256 of images, masks, texts and splits."""
        content = hashlib.sha256()
        for row in self.rows:
            content.update(json.dumps([row.target, row.text, row.short, row.split, row.group]).encode())
            content.update((file_digest(row.image) + file_digest(row.mask)).encode())
        return content.hexdigest()


class SupervisedTask:
    """A network, its examples and how well it does; see `medclipsam.training.loop.Task`.

    Args:
        network: with new weights.
        settings: it was built from.
        squares: reads images; shared with the checks, which have decoded them once.
        features: folder of frozen features; None: in the run.
    """

    collate = staticmethod(collate)
    score = "dice"
    weights: Sequence[float] | None = None

    def __init__(
        self,
        network: SupervisedNetwork,
        settings: NetworkSettings,
        material: Material,
        recipe: SupervisedRecipe,
        *,
        squares: Squares,
        features: Path | None = None,
    ) -> None:
        self.network, self.model = network, cast(nn.Module, network)
        self._settings, self._material, self._recipe, self._squares = settings, material, recipe, squares
        self._features, self._folder = features, Path()
        self._source = material.digest()
        facts = [self._source, settings_as_dict(settings), dict(network.frozen), features is not None]
        self.fingerprint = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
        self._train, self._val = grouped(material.train, network), grouped(material.val, network)
        self._known: list[Validated] = []
        self._threshold = 0.0
        self._open(None)

    def begin(self, folder: Path, observer: Observer | None) -> None:
        """Encode what frozen parts make of images and texts."""
        self._folder = folder
        self.network.learn_from(self._material.texts)
        if not self.network.encoding:
            return
        kept = KeptFeatures(
            self._features or folder / FEATURES,
            self._squares,
            self.network,
            strength=strength_of(self._recipe),
            copies=self._recipe.copies,
        )
        kept.fill(self._train, self._val, observer)
        self._open(kept)

    def loss(self, model: nn.Module, batch: Batch) -> tuple[Tensor, Mapping[str, float]]:
        """Loss of this process's share; gradients are averaged."""
        device = next(self.network.parameters()).device
        losses = dict(model(batch.to(device)))
        return losses.pop("loss"), {name: value.item() for name, value in losses.items()}

    def validate(self) -> Mapping[str, float]:
        """Dice and found rates at the threshold that parts these rows best; draws `val.png`."""
        self._known = list(validated(self.network, self._plain))
        self._threshold = presence_threshold(self._known)
        self._draw()
        return figures_of(self._known, self._threshold)

    def export(self, folder: Path) -> None:
        """Write the weights, and then the file that says that they can be used."""
        save_weights(folder / WEIGHTS, self.network.state_dict())
        taught = self._material.taught
        NetworkFile(
            network=settings_as_dict(self._settings),
            targets=taught.targets,
            texts=taught.texts,
            coloured=taught.coloured,
            presence_threshold=self._threshold,
            sha256=file_digest(folder / WEIGHTS),
            frozen=dict(self.network.frozen),
            figures=figures_of(self._known, self._threshold),
            learned_from={
                "images": len({row.image for row in self._material.train}),
                "rows": len(self._material.train),
                "validation_rows": len(self._material.val),
                "data": self._source,
            },
        ).write(folder)

    def _open(self, kept: KeptFeatures | None) -> None:
        self._plain = Examples(self._val, self._squares, kept=kept)
        strength = strength_of(self._recipe)
        self.data: Keyed = Examples(self._train, self._squares, seed=self._recipe.seed, strength=strength, kept=kept)

    def _draw(self) -> None:
        rows = [row for group in self._val for row in group]
        places = chosen_places(len(rows))
        squares = [self._squares.read(rows[place]).square for place in places]
        write_sheet(self._folder / "val.png", squares, [self._known[place] for place in places])
