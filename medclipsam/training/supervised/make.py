"""Trains a supervised network from its settings: what `medclipsam train unet` and its like do."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import torch

from medclipsam.networks.contract import SupervisedNetwork, Taught
from medclipsam.networks.registry import build
from medclipsam.networks.settings import NetworkSettings
from medclipsam.runtime import generator_for, pick_device
from medclipsam.training.loop import fit
from medclipsam.training.recipes import RunOptions
from medclipsam.training.registry import Request, Trained
from medclipsam.training.settings import part_of
from medclipsam.training.supervised.checks import check_files, check_rows
from medclipsam.training.supervised.progress import Follower
from medclipsam.training.supervised.recipe import SupervisedData, SupervisedRecipe
from medclipsam.training.supervised.rows import read_labelled
from medclipsam.training.supervised.squares import Squares
from medclipsam.training.supervised.task import Material, SupervisedTask


@dataclass(frozen=True, kw_only=True)
class SupervisedOutcome:
    """What a run came to."""

    folder: Path
    steps: int
    rows: int
    """Training rows."""
    parameters: int
    """Trained parameters."""
    loss: float
    """Loss of the last step."""
    best_step: int
    best: Mapping[str, float] = field(default_factory=dict)
    """Validation figures of the weights that were kept."""


def train_supervised(request: Request) -> Trained:
    """Train the network that the settings describe.

    Raises:
        BadInput: data that cannot be learned from (see `checks`), settings that contradict each other, or a folder that
            holds something else.
        MissingWeights, WrongHash: frozen weights that are not there.
    """
    recipe, options = part_of(request.parts, SupervisedRecipe), part_of(request.parts, RunOptions)
    how, settings = part_of(request.parts, SupervisedData), part_of(request.parts, NetworkSettings)
    squares = Squares(settings.side, settings.fit)
    material = _material(request, how, recipe, squares)
    task = SupervisedTask(
        _network(settings, material.taught, recipe.seed, request.device),
        settings,
        material,
        recipe,
        squares=squares,
        features=Path(how.features) if how.features else None,
    )
    outcome = fit(
        task,
        recipe,
        request.out,
        device=request.device,
        resume=request.resume,
        save_every=options.save_every,
        workers=options.workers,
        tensorboard=options.tensorboard,
        observer=Follower(request.tell),
        config=request.config,
    )
    told = SupervisedOutcome(
        folder=request.out,
        steps=outcome.steps,
        rows=len(material.train),
        parameters=sum(weight.numel() for weight in task.network.parameters() if weight.requires_grad),
        loss=outcome.loss,
        best_step=outcome.best_step,
        best=dict(outcome.best),
    )
    return Trained(outcome=told, told=_told(told))


def _material(request: Request, how: SupervisedData, recipe: SupervisedRecipe, squares: Squares) -> Material:
    """The rows, checked."""
    rows = [row for row in read_labelled(request.data, how, recipe.seed) if row.split in ("train", "val")]
    check_rows(rows)
    coloured = check_files(rows, squares.read, request.tell)
    train = [row for row in rows if row.split == "train"]
    taught = Taught(
        targets=tuple(sorted({row.target for row in train})),
        texts=tuple(sorted({text for row in train for text in (row.text, row.short) if text})),
        coloured=coloured,
    )
    return Material(train=train, val=[row for row in rows if row.split == "val"], taught=taught)


def _network(settings: NetworkSettings, taught: Taught, seed: int, device: str) -> SupervisedNetwork:
    """With weights that depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(generator_for(seed, "new weights").initial_seed())
        return build(settings, taught, pick_device(device))


def _told(outcome: SupervisedOutcome) -> tuple[str, ...]:
    figures = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in outcome.best.items())
    return (
        f"learned from {outcome.rows:,} rows with {outcome.parameters:,} weights; "
        f"kept those of step {outcome.best_step:,} of {outcome.steps:,}",
        f"on the validation rows: {figures}",
        f'use it: medclipsam segment SCAN --prompt "..." --weights {outcome.folder} -o DIR',
    )
