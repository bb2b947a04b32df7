"""How are pseudo-labels learned from? Labels and scans -> one data set -> a backend trains -> the kept weights.

RUN/dataset/        what was learned from (`medclipsam.refine.dataset`)
    training/       log and checkpoints of the backend; not needed afterwards
    weights/        the kept weights, as safetensors
    ensemble.json   written last: the run can be used
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medclipsam.errors import BadInput
from medclipsam.refine.dataset import PictureSet, Tell, export_dataset
from medclipsam.refine.ensemble import FILE, EnsembleFile, hashed
from medclipsam.refine.material import Material
from medclipsam.refine.recipe import RefineRecipe
from medclipsam.refine.task import KeptWeights, RefineUNet, weights_path
from medclipsam.training.journal import Entry, Observer
from medclipsam.training.loop import fit

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
    material: Material,
    run: Path,
    recipe: RefineRecipe,
    *,
    device: str = "auto",
    resume: bool = False,
    workers: int = 0,
    tell: Tell = lambda stage, done, total: None,
) -> Refined:
    """Train on pseudo-labels and keep the ensemble.

    Args:
        run: the folder of the run: new, or with `resume` one of the same material and recipe.
        tell: hears of the progress.

    Raises:
        BadInput: nothing to learn from, a folder that holds something else, settings that contradict each other.
        CannotWrite: the folder cannot be written.
        MissingExtra: nnU-Net is wanted and not installed.
    """
    _check(run, resume)
    train = _backend(recipe)
    data = export_dataset(material, recipe, run / DATASET, tell)
    (run / FILE).unlink(missing_ok=True)
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


Network = tuple[dict[str, object], list[Path]]
"""What the backend needs to build the network again, and the files of the run that it needs for it."""


def _backend(recipe: RefineRecipe) -> Callable[..., Network]:
    if recipe.backend == "unet":
        return _train_unet
    from medclipsam.refine.nnunet import check_installed, train_nnunet  # noqa: PLC0415  (optional)

    check_installed()
    return train_nnunet


def _train_unet(data: PictureSet, run: Path, recipe: RefineRecipe, *, device: str, workers: int, tell: Tell) -> Network:
    task = RefineUNet(data, recipe)
    keep = KeptWeights(task.model, recipe.plan.kept, run / WEIGHTS)

    def observe(entry: Entry) -> None:
        keep(entry)
        _follow(tell)(entry)

    begun = (run / TRAINING / "run.json").is_file()
    fit(task, recipe, run / TRAINING, device=device, resume=begun, workers=workers, observer=observe)
    return {"widths": list(recipe.widths)}, []


def _follow(tell: Tell) -> Observer:
    def observe(entry: Entry) -> None:
        if entry["kind"] == "train":
            tell(f"epoch {int(entry['epoch'])}  loss {entry['loss']:.3f}", entry["step"], entry["steps"])

    return observe


def _check(run: Path, resume: bool) -> None:
    known = (run / DATASET).exists() or (run / FILE).exists()
    if known and not resume:
        raise BadInput(f"{run.name} already holds a run", "give --resume, or another folder")
    if not known and run.exists() and (not run.is_dir() or any(run.glob("[!.]*"))):
        raise BadInput(f"{run.name} is not an empty folder", "choose another for the run")
