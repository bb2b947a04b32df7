"""The command that learns from pseudo-labels: `medclipsam refine LABELS --images SCANS -o RUN`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medclipsam.cli.options import panel
from medclipsam.cli.train import Config, Json, Resume, Set, TrainingDevice, run_method
from medclipsam.config import RefineBackend

learning, training, running = panel("What to learn from"), panel("Training"), panel("The run")


def refine(
    labels: Annotated[Path, typer.Argument(help="Folder that `medclipsam pseudolabel` wrote.")],
    *,
    images: Annotated[
        Path | None,
        learning("Folder or table of scans that pseudolabel was given.", show_default="the config's"),
    ] = None,
    prompt: Annotated[str | None, learning("Prompt whose masks are learned.", show_default="the only one")] = None,
    skip_absent: Annotated[bool, learning("Leave out scans in which nothing was found.", "--skip-absent")] = False,
    reviewed: Annotated[
        bool, learning("Learn only from masks that were accepted or corrected in `medclipsam review`.", "--reviewed")
    ] = False,
    groups: Annotated[
        Path | None,
        learning("CSV with the columns file and group: scans of one group stay together.", show_default="each alone"),
    ] = None,
    fold: Annotated[
        int | None, learning("Fold of 5, from 0, to hold out and score after each epoch.", show_default="none")
    ] = None,
    backend: Annotated[
        RefineBackend,
        training(
            "Network. unet (default): a small U-Net; nnunet: nnU-Net, which needs the extra nnunet; embedded: the "
            "embedded model itself, trained further without a GPU."
        ),
    ] = "unet",
    epochs: Annotated[
        int | None,
        training(
            "Number of epochs, of unet and nnunet; embedded counts --set steps.", show_default="unet 60, nnunet 600"
        ),
    ] = None,
    cycles: Annotated[int | None, training("Number of learning-rate cycles (warm restarts).", show_default="3")] = None,
    keep: Annotated[
        int | None, training("Number of weights that each cycle adds to the ensemble.", show_default="10")
    ] = None,
    learning_rate: Annotated[
        float | None,
        training("Learning rate at the start of each cycle.", "--lr", show_default="unet 0.001, nnunet 0.01"),
    ] = None,
    output: Annotated[Path, running("Folder of the run; `predict RUN SCANS` takes it.", "--output", "-o")] = Path(
        "medclipsam-refined"
    ),
    config: Config = None,
    settings: Set = None,
    device: TrainingDevice = "auto",
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Train on pseudo-labels (MedCLIP-SAMv2's weakly supervised step); `predict RUN SCANS` uses the result.

    Doubtful masks are left out, ignored pixels have no say. The last weights of each cycle are kept: together they are
    an ensemble that knows where it is unsure. `--backend embedded` keeps one model in place of an ensemble, the student
    or its teacher, which `--weights RUN` of `segment` and `pseudolabel` takes. The same as `medclipsam train
    refine-unet`, `refine-nnunet` and `refine-embedded`, whose --show-config lists every setting.
    """
    given = {
        "images": images,
        "prompt": prompt,
        "skip_absent": skip_absent or None,
        "reviewed": reviewed or None,
        "groups": groups,
        "fold": fold,
        "epochs": epochs,
        "cycles": cycles,
        "keep": keep,
        "learning_rate": learning_rate,
    }
    run_method(
        f"refine-{backend}",
        labels,
        output,
        config=config,
        given=given,
        sets=settings,
        device=device,
        resume=resume,
        json=json,
    )
