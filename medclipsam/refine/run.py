"""Trains on pseudo-labels: labels and scans -> one data set -> a backend trains -> the kept weights.

RUN/config.toml     every setting with its help
    run.json        what a resumed run must share, and versions
    dataset/        what was learned from (`medclipsam.refine.dataset`)
    training/       log and checkpoints of the backend; not needed afterwards
    weights/        the kept weights, as safetensors
    ensemble.json   written last: the run can be used
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medclipsam.errors import BadInput
from medclipsam.methods.ensemble_run import EnsembleFile
from medclipsam.methods.run_file import hashed
from medclipsam.refine.dataset import PictureSet, dataset_digest, export_dataset, read_dataset
from medclipsam.refine.pseudolabels import Groups, PseudoLabels, check_found, read_pseudolabels
from medclipsam.refine.recipe import LabelledScans, RefineOptions, RefineRecipe, SelfTrainingRecipe
from medclipsam.refine.task import KeptWeights, RefineUNet, weights_path
from medclipsam.training import distributed
from medclipsam.training.journal import Entry, follow
from medclipsam.training.loop import fit
from medclipsam.training.registry import Request, Trained
from medclipsam.training.run_folder import begin_folder, check_folder
from medclipsam.training.settings import part_of, to_toml
from medclipsam.types import Progress

DATASET, TRAINING, WEIGHTS = "dataset", "training", "weights"


@dataclass(frozen=True, kw_only=True)
class Refined:
    """What a run came to."""

    folder: Path
    prompt: str
    pictures: int
    """Learned from, those held out included."""
    skipped: int
    """Records and pictures that could not be used; see `dataset/skipped.csv`."""
    members: int
    """Kept weights."""


def refine(
    material: PseudoLabels,
    run: Path,
    recipe: RefineRecipe,
    *,
    device: str = "auto",
    resume: bool = False,
    workers: int = 0,
    tell: Progress = lambda stage, done, total: None,
    config: str = "",
) -> Refined:
    """Train on pseudo-labels and keep the ensemble.

    Args:
        run: the folder of the run: new, or with `resume` one of the same material and recipe.
        tell: hears of the progress.
        config: the settings as TOML, for the run's folder; empty writes the recipe's.

    Raises:
        BadInput: nothing to learn from, masks that are all empty, a folder that holds something else, settings that
            contradict each other.
        CannotWrite: the folder cannot be written.
        MissingExtra: nnU-Net is wanted and not installed.
    """
    check_found(material)
    train = _backend(recipe)
    data = begun(material, run, recipe, resume=resume, tell=tell, config=config)
    network, extra = train(data, run, recipe, device=device, workers=workers, tell=tell)
    kept = [weights_path(run / WEIGHTS, epoch) for epoch in recipe.plan.kept]
    files = hashed(run, [*kept, *extra])
    EnsembleFile(
        backend=recipe.backend,
        prompt=data.prompt,
        side=recipe.side,
        fit=recipe.fit,
        threshold=0.5,
        files=files,
        weights=tuple(hashed(run, kept)),
        network=network,
        learned_from={"pictures": len(data.groups), "labels": material.source, "dataset": data.digest},
    ).write(run)
    return Refined(folder=run, prompt=data.prompt, pictures=len(data.groups), skipped=data.skipped, members=len(kept))


def begun(
    material: PseudoLabels,
    run: Path,
    recipe: RefineRecipe | SelfTrainingRecipe,
    *,
    resume: bool,
    tell: Progress,
    config: str = "",
    teacher: str | None = None,
) -> PictureSet:
    """Begin the folder of a run, or find that it holds the same one, and write what it learns from.

    Args:
        run, resume, config: see `refine`.
        teacher: SHA-256 of the weights that the run goes on from, where it does.

    Raises:
        BadInput, CannotWrite: see `refine`; a folder that was new is gone again.
    """
    check_found(material)
    facts = {**recipe.as_dict(), "labels or scans": dataset_digest(material, recipe)}
    facts |= {"teacher": teacher} if teacher else {}
    is_new = not run.exists()
    check_folder(run, facts, resume=resume)
    distributed.barrier()
    try:
        if distributed.rank() == 0:
            begin_folder(run, facts, config or to_toml({"recipe": recipe}, "Settings of the run."))
            export_dataset(material, recipe, run / DATASET, tell)
    except BadInput:
        if is_new:
            shutil.rmtree(run, ignore_errors=True)
        raise
    distributed.barrier()
    return read_dataset(run / DATASET)


Network = tuple[dict[str, object], list[Path]]
"""What the backend needs to build the network again, and the files of the run that it needs for it."""


def _backend(recipe: RefineRecipe) -> Callable[..., Network]:
    if recipe.backend == "unet":
        return _train_unet
    from medclipsam.refine.nnunet import check_installed, train_nnunet  # noqa: PLC0415  (optional)

    check_installed()
    return train_nnunet


def _train_unet(
    data: PictureSet, run: Path, recipe: RefineRecipe, *, device: str, workers: int, tell: Progress
) -> Network:
    task = RefineUNet(data, recipe)
    keep = KeptWeights(task.model, recipe.plan.kept, run / WEIGHTS)

    def observe(entry: Entry) -> None:
        keep(entry)
        follow(tell)(entry)

    begun = (run / TRAINING / "run.json").is_file()
    fit(task, recipe, run / TRAINING, device=device, resume=begun, workers=workers, observer=observe)
    return {"widths": list(recipe.widths)}, []


def train_refined(request: Request) -> Trained:
    """What `medclipsam train refine-unet` and `refine-nnunet` do; errors: `material_of` and `refine`."""
    refined = refine(
        material_of(request),
        request.out,
        part_of(request.parts, RefineRecipe),
        device=request.device,
        resume=request.resume,
        workers=part_of(request.parts, RefineOptions).workers,
        tell=request.tell,
        config=request.config,
    )
    return Trained(outcome=refined, told=_told(refined))


def material_of(request: Request) -> PseudoLabels:
    """What a request to learn from pseudo-labels names.

    Raises:
        BadInput: the scans are not named, and what `read_pseudolabels` refuses.
    """
    scans = part_of(request.parts, LabelledScans)
    if not scans.images:
        raise BadInput("the scans of the labels are not named", "give --images, or --set images=FOLDER")
    table = Groups(path=Path(scans.groups), column=scans.group_column) if scans.groups else None
    request.tell("reading labels", 0, 0)
    return read_pseudolabels(
        request.data,
        Path(scans.images),
        scans.prompt,
        table,
        absent=not scans.skip_absent,
        reviewed=scans.reviewed,
    )


def _told(refined: Refined) -> tuple[str, ...]:
    skipped = told_skipped(refined.folder, refined.skipped)
    return (
        f"{refined.prompt}: learned from {refined.pictures:,} pictures{skipped}; {refined.members} weights kept",
        f"segment with them: medclipsam predict {refined.folder} SCANS -o DIR",
    )


def told_skipped(run: Path, count: int) -> str:
    """How many records and pictures could not be used, as the end of a phrase; nothing where all could."""
    return f", {count:,} skipped ({run / DATASET / 'skipped.csv'} says why)" if count else ""
