"""Trains the real nnU-Net on pseudo-labels (Isensee et al., Nature Methods 2021).

    dataset/ --fingerprint, plan, preprocess--> training/ --CyclicTrainer--> weights/epoch-0189.safetensors ...
             nnU-Net's own functions                                         network/ plans.json, dataset.json

nnU-Net reads its folders from the environment; they are set for as long as it works. Its checkpoints are pickles, so
ours (`medclipsam.refine.trainers.cyclic`) are used in their place.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib.metadata import version
from io import StringIO
from pathlib import Path
from typing import Any

import torch

from medclipsam.io.atomic import atomic_path, write_atomic
from medclipsam.methods.nnunet import CONFIGURATION, NETWORK, check_installed
from medclipsam.refine.dataset import NAME, PictureSet
from medclipsam.refine.recipe import RefineRecipe
from medclipsam.refine.task import weights_path
from medclipsam.runtime import pick_device
from medclipsam.types import Progress

DATASET_ID = 1
PLANS = "nnUNetPlans"
MOST_REPEATS = 20
"""Copies of a picture whose label is sure: weights in steps of a twentieth."""


def train_nnunet(
    data: PictureSet, run: Path, recipe: RefineRecipe, *, device: str, workers: int, tell: Progress
) -> tuple[dict[str, object], list[Path]]:
    """Plan, preprocess and train; go on where a run of the same data and recipe was stopped.

    Returns:
        What `load_member` needs, and the files of the run that it reads; the weights lie in `run/weights`.

    Raises:
        BadInput: fewer groups than folds.
        MissingExtra: nnU-Net is not installed.
    """
    check_installed()
    place = run / "training"
    with _environment(data.root, place, workers):
        _prepare(data, place, recipe, tell)
        os.environ.update(nnUNet_n_proc_DA=str(workers))  # 0, this process alone, is for its loader: its planner fails
        trainer = _trainer(place, data, recipe, pick_device(device), tell)
        trainer.run_training()
        _collect(trainer, run, recipe)
    network = {
        "configuration": CONFIGURATION,
        "mirrored": list(trainer.inference_allowed_mirroring_axes or ()),
        "nnunetv2": version("nnunetv2"),
        "batch_size": trainer.configuration_manager.batch_size,
        "patch_size": [int(side) for side in trainer.configuration_manager.patch_size],
    }
    return network, [run / "network" / name for name in NETWORK]


@contextmanager
def _environment(raw: Path, place: Path, workers: int) -> Iterator[None]:
    """nnU-Net's folders; no worker processes that were not asked for."""
    wanted = {
        "nnUNet_raw": str(raw.absolute()),
        "nnUNet_preprocessed": str((place / "preprocessed").absolute()),
        "nnUNet_results": str((place / "results").absolute()),
        "nnUNet_n_proc_DA": str(max(1, workers)),
        "nnUNet_def_n_proc": str(max(1, workers)),
    }
    before = {name: os.environ.get(name) for name in wanted}
    os.environ.update(wanted)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value


def _prepare(data: PictureSet, place: Path, recipe: RefineRecipe, tell: Progress) -> None:
    """Fingerprint, plans and preprocessed pictures, unless they are there; the file written last says so."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api  # noqa: PLC0415  (optional)

    done = place / "prepared.json"
    if done.is_file():
        return
    tell("planning", 0, 0)
    shutil.rmtree(place / "preprocessed", ignore_errors=True)
    with redirect_stdout(StringIO()):
        api.extract_fingerprints([DATASET_ID], num_processes=1, show_progress_bar=False)
        api.plan_experiments([DATASET_ID], gpu_memory_target_in_gb=recipe.memory_gb)
        tell("preprocessing", 0, 0)
        api.preprocess([DATASET_ID], PLANS, [CONFIGURATION], [1], show_progress_bar=False)
    folds = [data.fold(recipe.changed(fold=fold)) for fold in range(recipe.folds)] if recipe.fold is not None else []
    if folds:
        write_atomic(place / "preprocessed" / NAME / "splits_final.json", json.dumps(folds, indent=1))
    write_atomic(done, json.dumps({"pictures": len(data.groups)}) + "\n")


def _trainer(place: Path, data: PictureSet, recipe: RefineRecipe, device: torch.device, tell: Progress) -> Any:
    from medclipsam.refine.trainers.cyclic import CyclicTrainer  # noqa: PLC0415  (optional)

    class _Told(CyclicTrainer):
        """Says how far it is."""

        def on_epoch_end(self) -> None:
            super().on_epoch_end()
            tell(f"epoch {self.current_epoch}", self.current_epoch, self.num_epochs)

    _Told.__name__ = CyclicTrainer.__name__
    preprocessed = place / "preprocessed" / NAME
    plans = json.loads((preprocessed / f"{PLANS}.json").read_text("utf-8"))
    latest = place / "results" / NAME / f"CyclicTrainer__{PLANS}__{CONFIGURATION}"
    fold = "all" if recipe.fold is None else recipe.fold
    latest = latest / f"fold_{fold}" / "checkpoint_latest"
    resumed = latest.is_dir() and any(latest.glob("step-*/state.json"))
    trainer = _Told({**plans, "continue_training": resumed}, CONFIGURATION, fold, data.facts(), device=device)
    trainer.cycles, trainer.initial_lr = recipe.plan, recipe.learning_rate
    trainer.repeats = repeats_of(data) if recipe.by_confidence else {}
    trainer.weight_decay, trainer.num_iterations_per_epoch = recipe.weight_decay, recipe.steps_per_epoch
    trainer.num_val_iterations_per_epoch = max(1, recipe.steps_per_epoch // 5)
    trainer.save_every = 1
    trainer.initialize()
    if resumed:
        trainer.load_checkpoint(str(latest) + ".pth")
    return trainer


def repeats_of(data: PictureSet) -> dict[str, int]:
    """How often each picture stands in the list that nnU-Net draws from, by the confidence in its label.

    nnU-Net has no weights for pixels or pictures: its labels are whole numbers, and its trainer draws all pictures
    alike. Standing in the list more often is the one weight that it takes.
    """
    names = sorted(data.groups)
    return {name: max(1, round(MOST_REPEATS * each)) for name, each in zip(names, data.weights(names), strict=True)}


def _collect(trainer: Any, run: Path, recipe: RefineRecipe) -> None:
    """Copy what prediction needs to where every backend keeps it."""
    for epoch in recipe.plan.kept:
        _copy(weights_path(trainer.kept_folder, epoch), weights_path(run / "weights", epoch))
    for name in NETWORK:
        _copy(Path(trainer.output_folder_base) / name, run / "network" / name)


def _copy(source: Path, target: Path) -> None:
    with atomic_path(target) as temporary:
        shutil.copyfile(source, temporary)
