"""How is a CLIP fine-tuned from a terminal? `medclipsam finetune CAPTIONS --images DIR -o RUN`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from medclipsam.config import PRESETS, Precision, preset
from medclipsam.errors import BadInput
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.training.recipe import RECIPES, LossName, Recipe

if TYPE_CHECKING:
    from medclipsam.cli.console import Tell
    from medclipsam.training.journal import Entry, Observer
    from medclipsam.training.loop import Outcome

TABLE, MODEL, TRAINING, FROZEN, RUN = "The table of captions", "Model", "Recipe", "What stays frozen", "The run"
RECIPES_OWN = "the recipe's"


def finetune(
    captions: Annotated[
        Path, typer.Argument(help="CSV or JSONL of images and captions, a .tar shard, or a folder of shards.")
    ],
    *,
    images: Annotated[
        Path | None, typer.Option(help="Folder that the image names count from.", show_default="the table's")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")] = Path("medclipsam-run"),
    image_column: Annotated[str, typer.Option(help="Its name.", rich_help_panel=TABLE, show_default="found")] = "",
    caption_column: Annotated[str, typer.Option(help="Its name.", rich_help_panel=TABLE, show_default="found")] = "",
    group_column: Annotated[
        str, typer.Option(help="The case or patient, never split.", rich_help_panel=TABLE, show_default="found")
    ] = "",
    split_column: Annotated[
        str, typer.Option(help="train, val or test.", rich_help_panel=TABLE, show_default="found")
    ] = "",
    val_share: Annotated[
        float, typer.Option(help="Cases to choose by, where the table has no splits.", rich_help_panel=TABLE)
    ] = 0.15,
    preset_name: Annotated[
        str, typer.Option("--preset", help=f"Whose CLIP: {', '.join(PRESETS)}.", rich_help_panel=MODEL)
    ] = "medclip-samv2",
    weights: Annotated[
        Path | None,
        typer.Option(
            help="Start from this run, this folder of an open_clip model, or this checkpoint.",
            rich_help_panel=MODEL,
            show_default="the preset's",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps ...", rich_help_panel=MODEL)] = "auto",
    recipe: Annotated[
        str | None,
        typer.Option(
            help=f"Defaults of this panel: {', '.join(RECIPES)}.",
            rich_help_panel=TRAINING,
            show_default="paper; embedded for its preset",
        ),
    ] = None,
    loss: Annotated[
        str | None,
        typer.Option(help=", ".join(get_args(LossName)), rich_help_panel=TRAINING, show_default=RECIPES_OWN),
    ] = None,
    temperature: Annotated[float | None, typer.Option(rich_help_panel=TRAINING, show_default=RECIPES_OWN)] = None,
    beta: Annotated[
        float | None, typer.Option(help="Hardness.", rich_help_panel=TRAINING, show_default=RECIPES_OWN)
    ] = None,
    mask_identical: Annotated[
        bool, typer.Option("--mask-identical", help="Equal captions are no negatives.", rich_help_panel=TRAINING)
    ] = False,
    learning_rate: Annotated[
        float | None, typer.Option("--lr", help="Peak.", rich_help_panel=TRAINING, show_default=RECIPES_OWN)
    ] = None,
    warmup: Annotated[
        float | None, typer.Option(help="Share of the steps.", rich_help_panel=TRAINING, show_default=RECIPES_OWN)
    ] = None,
    weight_decay: Annotated[float | None, typer.Option(rich_help_panel=TRAINING, show_default=RECIPES_OWN)] = None,
    clip_norm: Annotated[
        float | None,
        typer.Option(help="Largest gradient; 0: any.", rich_help_panel=TRAINING, show_default=RECIPES_OWN),
    ] = None,
    epochs: Annotated[int | None, typer.Option(rich_help_panel=TRAINING, show_default=RECIPES_OWN)] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Over all processes.", rich_help_panel=TRAINING, show_default=RECIPES_OWN)
    ] = None,
    chunk_size: Annotated[
        int | None,
        typer.Option(
            help="Pairs in memory at once: less memory, more time, the same result.",
            rich_help_panel=TRAINING,
            show_default="the batch",
        ),
    ] = None,
    crop_scale: Annotated[
        float | None,
        typer.Option(help="Random crops keep this share; 1: all.", rich_help_panel=TRAINING, show_default=RECIPES_OWN),
    ] = None,
    precision: Annotated[
        str | None,
        typer.Option(help=", ".join(get_args(Precision)), rich_help_panel=TRAINING, show_default=RECIPES_OWN),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of order, crops, dropout, split.", rich_help_panel=TRAINING)] = 0,
    freeze_image: Annotated[bool, typer.Option("--freeze-image", rich_help_panel=FROZEN)] = False,
    freeze_text: Annotated[bool, typer.Option("--freeze-text", rich_help_panel=FROZEN)] = False,
    freeze_image_blocks: Annotated[int, typer.Option(help="The lowest ones.", rich_help_panel=FROZEN)] = 0,
    freeze_text_blocks: Annotated[int, typer.Option(help="The lowest ones.", rich_help_panel=FROZEN)] = 0,
    keep_map: Annotated[
        bool,
        typer.Option(
            "--keep-map/--train-map",
            help="Of the embedded model, train the pooling alone, or also what its dense map stands on.",
            rich_help_panel=FROZEN,
        ),
    ] = True,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on from the last checkpoint, to the same bits.", rich_help_panel=RUN)
    ] = False,
    save_every: Annotated[
        int, typer.Option(min=0, help="Steps between checkpoints; 0: each epoch.", rich_help_panel=RUN)
    ] = 0,
    workers: Annotated[int, typer.Option(min=0, help="Processes that read images.", rich_help_panel=RUN)] = 0,
    features: Annotated[
        Path | None,
        typer.Option(
            help="Where the embedded model keeps what its frozen encoder saw; runs may share it.",
            rich_help_panel=RUN,
            show_default="in the run",
        ),
    ] = None,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", rich_help_panel=RUN)] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the outcome as JSON.", rich_help_panel=RUN)] = False,
) -> None:
    """Fine-tune a CLIP on images and captions; `segment --weights RUN` uses it.

    Writes the weights that retrieve best on the cases held back, a log, the rows that could not be used, and a
    checkpoint.
    Several GPUs: `torchrun --nproc-per-node N -m medclipsam finetune ...`.
    """
    from medclipsam.cli.console import progress
    from medclipsam.training.captions import Columns, read_captions
    from medclipsam.training.encoders import encoder_for
    from medclipsam.training.finetune import finetune as train

    config = preset(preset_name)
    chosen = _recipe(recipe or ("embedded" if config.clip == "compact" else "paper")).changed(
        loss=loss,
        temperature=temperature,
        beta=beta,
        mask_identical=mask_identical,
        learning_rate=learning_rate,
        warmup=warmup,
        weight_decay=weight_decay,
        clip_norm=clip_norm,
        epochs=epochs,
        batch_size=batch_size,
        chunk_size=chunk_size,
        crop_scale=crop_scale,
        precision=precision,
        seed=seed,
        freeze_image=freeze_image,
        freeze_text=freeze_text,
        freeze_image_blocks=freeze_image_blocks,
        freeze_text_blocks=freeze_text_blocks,
        keep_map=keep_map,
    )
    columns = Columns(image=image_column, caption=caption_column, group=group_column, split=split_column)
    with progress() as tell:
        tell("reading captions", 0, 0)
        table = read_captions(captions, images, columns)
        tell("loading the model", 0, 0)
        encoder = encoder_for(config, weights)
        tell("validating", 0, 0)
        outcome = train(
            encoder,
            table,
            output,
            chosen,
            val_share=val_share,
            device=device,
            resume=resume,
            save_every=save_every,
            workers=workers,
            tensorboard=tensorboard,
            features=features,
            observer=_follow(tell),
        )
    if os.environ.get("RANK", "0") == "0":
        typer.echo(_as_json(outcome) if json else summary(outcome, len(table.pairs), len(table.skipped)))


def summary(outcome: Outcome, pairs: int, skipped: int) -> str:
    """What a person wants to know at the end."""
    lines = [f"{outcome.steps} steps on {pairs:,} pairs" + (f", {skipped:,} rows skipped" if skipped else "")]
    for name, before in outcome.before.items():
        if not name.endswith("_std") and name != "top1":
            spread = outcome.best[f"{name}_std"]
            told = name.replace("_", " ").replace("top", "top-")
            lines.append(f"{told}: {before:.3f} -> {outcome.best[name]:.3f} +/- {spread:.3f}")
    lines.append(f"weights of step {outcome.best_step}: use them with --weights {outcome.folder}")
    return "\n".join([*lines, RESEARCH_USE_ONLY])


def _recipe(name: str) -> Recipe:
    if name not in RECIPES:
        raise BadInput(f"unknown recipe {name!r}", f"choose one of {', '.join(RECIPES)}")
    return RECIPES[name]


def _follow(tell: Tell) -> Observer:
    def observe(entry: Entry) -> None:
        if entry["kind"] == "train":
            rates = f"rate {entry['learning_rate']:.1e}  {entry['pairs_per_second']:.0f} pairs/s"
            tell(f"loss {entry['loss']:.3f}  {rates}", entry["step"], entry["steps"])
        elif entry["kind"] == "encoding":
            tell("encoding images", entry["step"], entry["steps"])

    return observe


def _as_json(outcome: Outcome) -> str:
    import json
    import math
    from dataclasses import asdict

    loss = outcome.loss if math.isfinite(outcome.loss) else None
    return json.dumps(asdict(outcome) | {"folder": str(outcome.folder), "loss": loss}, indent=2)
