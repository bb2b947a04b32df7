"""Which options do several commands share? Each is a type here, so that it means and says the same everywhere.

def segment(scan: ..., *, preset: Preset = "embedded", device: Device = "auto", axis: PlaneAxis = None, ...)

Nothing here loads a reader or a model: help must answer at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from medclipsam.config import PRESETS, Precision
from medclipsam.volume.rules import VolumeMode

MAX_PIXELS = 64 * 2**20
"""As `medclipsam.io.limits.DEFAULT_MAX_PIXELS`; a test holds the two together."""
ASKING, READING, MODEL, OUTPUT = "What to segment", "Reading", "Model", "Output"
"""Panels of the help."""


def panel(name: str) -> Callable[..., Any]:
    """Write the options of a panel of the help in a line each: `training = panel("Training")`, then

    `epochs: Annotated[int, training("Passes over the data.")] = 60`, or `..., "--other-name", show_default="60"`.
    """

    def option(help: str | None = None, *flags: str, **more: Any) -> Any:
        return typer.Option(*flags, help=help, rich_help_panel=name, **more)

    return option


Always = Annotated[
    bool, typer.Option("--always", help="Give a mask even where the answer is: not found.", rich_help_panel=ASKING)
]
Preset = Annotated[str, typer.Option(help=f"One of {', '.join(PRESETS)}.", rich_help_panel=MODEL)]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, mps ...", rich_help_panel=MODEL)]
EncoderPrecision = Annotated[
    Precision,
    typer.Option(
        help="Of Segment Anything's image encoder: bf16 is faster where the processor has it; masks differ a little.",
        rich_help_panel=MODEL,
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of all randomness.", rich_help_panel=MODEL)]
FineTuned = Annotated[
    Path | None,
    typer.Option(
        help="A fine-tuned CLIP in place of the preset's: a checkpoint, or the folder of a finetune run.",
        rich_help_panel=MODEL,
    ),
]
Offline = Annotated[
    bool, typer.Option("--offline", help="Keep every library from opening a connection.", rich_help_panel=MODEL)
]
PlaneAxis = Annotated[
    str | None,
    typer.Option(help="axial, coronal, sagittal, 0, 1, 2; else through the slices.", rich_help_panel=READING),
]
GreyWindow = Annotated[
    str | None,
    typer.Option(
        help="lung, soft-tissue, brain, bone, percentiles, CENTRE,WIDTH, or a number for the file's own.",
        rich_help_panel=READING,
    ),
]
HowSlices = Annotated[
    VolumeMode,
    typer.Option(
        "--volume-mode",
        help="How slices inform each other: not at all; whether it is there; also where; the largest parts alone.",
        rich_help_panel=READING,
    ),
]
MaxPixels = Annotated[int, typer.Option(help="Refuse larger images before decoding them.", rich_help_panel=READING)]
Sandbox = Annotated[
    bool,
    typer.Option(
        "--sandbox/--no-sandbox",
        help="Decode in a child process with limits on memory and time: a file that ends it is refused like any other.",
        rich_help_panel=READING,
    ),
]


def go_offline() -> None:
    """Keep the libraries that could fetch something from doing so."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
