"""How does one learn from pseudo-labels? `medclipsam refine LABELS --images SCANS -o RUN`, then `predict`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medclipsam.cli.arguments import parse_reading
from medclipsam.cli.console import json_of, number_of, progress
from medclipsam.cli.options import MAX_PIXELS, Device, GreyWindow, MaxPixels, PlaneAxis, panel
from medclipsam.config import RefineBackend, SquareFit
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.refine.recipe import RECIPES
from medclipsam.training.schedule import CycleRate

if TYPE_CHECKING:
    from medclipsam.refine.predict import Predicted
    from medclipsam.refine.run import Refined

NOTHING_READ = 3
"""Exit code where there were scans and not one could be read."""
learning, training, running = panel("What to learn from"), panel("Training"), panel("The run")
OWN = "the backend's"


def refine(
    labels: Annotated[Path, typer.Argument(help="What `medclipsam pseudolabel` wrote.")],
    *,
    images: Annotated[Path, typer.Option(help="The folder or table of scans that it was given.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")] = Path("medclipsam-refined"),
    prompt: Annotated[str | None, learning("Which one, where the labels have several.")] = None,
    skip_absent: Annotated[bool, learning("Leave out scans in which nothing was found.", "--skip-absent")] = False,
    groups: Annotated[Path | None, learning("CSV with a column `file`: scans of one patient stay together.")] = None,
    group_column: Annotated[str, learning("Its column that names the patient.")] = "group",
    fold: Annotated[int | None, learning("Hold this fold out, from 0, and score it.", show_default="none")] = None,
    folds: Annotated[int, learning("Of so many.")] = 5,
    backend: Annotated[
        RefineBackend, training("A small U-Net, or nnU-Net (pip install 'medclipsam[nnunet]').")
    ] = "unet",
    epochs: Annotated[int | None, training("unet 60, nnunet 600.", show_default=OWN)] = None,
    cycles: Annotated[int | None, training("In each the rate starts anew.", show_default="3")] = None,
    keep: Annotated[int | None, training("Weights of each cycle for the ensemble.", show_default="10")] = None,
    rate: Annotated[CycleRate | None, training("`released` stays near its peak.", show_default="restarts")] = None,
    plateau: Annotated[
        float | None, training("Share of a cycle after which it falls no further.", show_default="0.8")
    ] = None,
    learning_rate: Annotated[float | None, training("Peak: unet 0.001, nnunet 0.01.", "--lr", show_default=OWN)] = None,
    batch_size: Annotated[int | None, training("unet; nnunet plans its own.", show_default="16")] = None,
    steps: Annotated[int | None, training("Of an epoch: nnunet.", show_default="250")] = None,
    memory_gb: Annotated[float | None, training("What nnunet plans for.", show_default="its own")] = None,
    side: Annotated[int | None, training("Of the square of pixels.", show_default="256")] = None,
    fit: Annotated[SquareFit | None, training("Into the square.", show_default="squash")] = None,
    seed: Annotated[int, training("Of all randomness (unet).", min=0)] = 0,
    device: Device = "auto",
    workers: Annotated[int, running("Processes that read pictures.", min=0)] = 0,
    resume: Annotated[bool, running("Go on where this run was stopped.", "--resume")] = False,
    json: Annotated[bool, running("Print the outcome as JSON.", "--json")] = False,
) -> None:
    """Train on pseudo-labels (MedCLIP-SAMv2's weakly supervised step); `predict RUN SCANS` uses the result.

    Doubtful masks are left out, ignored pixels have no say. The last weights of each cycle are kept: together they are
    an ensemble that knows where it is unsure.
    """
    from medclipsam.refine.material import Groups, read_material
    from medclipsam.refine.run import refine as train

    recipe = RECIPES[backend].changed(
        epochs=epochs,
        cycles=cycles,
        keep=keep,
        rate=rate,
        plateau=plateau,
        learning_rate=learning_rate,
        batch_size=batch_size,
        steps_per_epoch=steps,
        memory_gb=memory_gb,
        side=side,
        fit=fit,
        seed=seed,
        fold=fold,
        folds=folds,
    )
    table = Groups(path=groups, column=group_column) if groups else None
    with progress() as tell:
        tell("reading labels", 0, 0)
        material = read_material(labels, images, prompt, table, absent=not skip_absent)
        refined = train(material, output, recipe, device=device, resume=resume, workers=workers, tell=tell)
    typer.echo(json_of(refined) if json else _summary(refined))


def predict(
    run: Annotated[Path, typer.Argument(help="Folder of a finished `medclipsam refine` run.")],
    scans: Annotated[Path, typer.Argument(help="Folder of scans; or a CSV or JSON table of files; or one file.")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder for the masks; run again to go on.")],
    threshold: Annotated[
        float | None,
        typer.Option(help="Probability above which a pixel is inside (released code: 0.2).", show_default="0.5"),
    ] = None,
    device: Device = "auto",
    axis: PlaneAxis = None,
    window: GreyWindow = None,
    max_pixels: MaxPixels = MAX_PIXELS,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Segment scans with a refined run.

    Writes masks, and maps of probability, entropy and disagreement (in bits) as 16-bit PNG, where 65535 is 1.
    """
    from medclipsam.methods.ensemble import load_ensemble
    from medclipsam.refine.predict import predict_folder

    reading = parse_reading(axis, window, max_pixels)
    with progress() as tell:
        tell("loading the ensemble", 0, 0)
        ensemble = load_ensemble(run, device)
        found = predict_folder(ensemble, scans, output, threshold=threshold, reading=reading, tell=tell)
    typer.echo(json_of(found) if json else _counted(found, output))
    if not found.read:
        raise typer.Exit(NOTHING_READ)


def _summary(refined: Refined) -> str:
    reasons = refined.folder / "dataset" / "skipped.csv"
    skipped = f", {refined.skipped:,} skipped ({reasons} says why)" if refined.skipped else ""
    return "\n".join(
        (
            f"{refined.prompt}: learned from {refined.pictures:,} pictures{skipped}; {refined.members} weights kept",
            f"segment with them: medclipsam predict {refined.folder} SCANS -o DIR",
            RESEARCH_USE_ONLY,
        )
    )


def _counted(found: Predicted, folder: Path) -> str:
    counted = ", ".join(f"{count:,} {status}" for status, count in sorted(found.counts.items()))
    kept = f"; {found.kept:,} of them by an earlier run" if found.kept else ""
    return f"{number_of(sum(found.counts.values()), 'scan')}: {counted}{kept}; see {folder / 'masks'}"
