"""How are pseudo-labels learned from? Labels and scans -> one data set -> a backend trains -> the kept weights.

RUN/run.json        settings; a run is resumed with the same ones only
    dataset/        what was learned from (`medclipsam.refine.dataset`)
    training/       log and checkpoints of the backend; not needed afterwards
    weights/        the kept weights, as safetensors
    ensemble.json   written last: the run can be used
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from medclipsam.errors import BadInput
from medclipsam.io.atomic import write_atomic
from medclipsam.methods.ensemble import EnsembleFile, hashed
from medclipsam.refine.dataset import PictureSet, Tell, dataset_digest, export_dataset
from medclipsam.refine.material import Material
from medclipsam.refine.recipe import RefineRecipe
from medclipsam.refine.task import KeptWeights, RefineUNet, weights_path
from medclipsam.training.journal import Entry, Observer
from medclipsam.training.loop import fit

DATASET, TRAINING, WEIGHTS = "dataset", "training", "weights"
SETTINGS = "run.json"


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
    train = _backend(recipe)
    _open(run, recipe, dataset_digest(material, recipe), resume=resume)
    data = export_dataset(material, recipe, run / DATASET, tell)
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


def _open(run: Path, recipe: RefineRecipe, digest: str, *, resume: bool) -> None:
    """Make the folder, or find that it is of the same run; before that nothing in it is touched."""
    known, settings = run / SETTINGS, json.loads(json.dumps(recipe.as_dict() | {"labels or scans": digest}))
    if not known.is_file():
        if run.exists() and (not run.is_dir() or any(run.iterdir())):
            raise BadInput(f"{run.name} is not an empty folder", "choose another for the run")
        write_atomic(known, json.dumps(settings, indent=1) + "\n")
        return
    if not resume:
        raise BadInput(f"{run.name} already holds a run", "give --resume, or another folder")
    try:
        before = dict(json.loads(known.read_text("utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise BadInput(f"{known.name} in {run.name} cannot be read", "start in another folder") from error
    changed = [name for name, value in settings.items() if before.get(name) != value]
    if changed:
        raise BadInput(f"{run.name} holds a run with another {', '.join(changed)}", "resume with the same")
