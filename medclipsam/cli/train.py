"""How is a CLIP fine-tuned from a terminal? `medclipsam finetune CAPTIONS --images DIR -o RUN`."""

from __future__ import annotations

import os
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from medclipsam.cli.console import json_of, progress
from medclipsam.cli.options import panel
from medclipsam.config import PRESETS, Precision
from medclipsam.errors import BadInput
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.training.recipes import CLIP_RECIPES, ClipRecipe, LossName

if TYPE_CHECKING:
    from medclipsam.cli.console import Tell
    from medclipsam.training.journal import Entry, Observer
    from medclipsam.training.loop import Outcome

table, model, training = panel("The table of captions"), panel("Model"), panel("ClipRecipe")
frozen, running = panel("What stays frozen"), panel("The run")
OWN = "the recipe's"


def finetune(
    captions: Annotated[
        Path, typer.Argument(help="CSV or JSONL of images and captions, a .tar shard, or a folder of shards.")
    ],
    *,
    images: Annotated[
        Path | None, typer.Option(help="Folder that the image names count from.", show_default="the table's")
    ] = None,
    output: Annotated[Path, typer.Option("--output", "-o", help="Folder of the run.")] = Path("medclipsam-run"),
    image_column: Annotated[str, table("Its name.", show_default="found")] = "",
    caption_column: Annotated[str, table("Its name.", show_default="found")] = "",
    group_column: Annotated[str, table("The case or patient, never split.", show_default="found")] = "",
    split_column: Annotated[str, table("train, val or test.", show_default="found")] = "",
    val_share: Annotated[float, table("Cases to choose by, where the table has no splits.")] = 0.15,
    preset_name: Annotated[str, model(f"Whose CLIP: {', '.join(PRESETS)}.", "--preset")] = "medclip-samv2",
    weights: Annotated[
        Path | None,
        model(
            "Start from this run, this folder of an open_clip model, or this checkpoint.", show_default="the preset's"
        ),
    ] = None,
    device: Annotated[str, model("auto, cpu, cuda, mps ...")] = "auto",
    recipe: Annotated[
        str | None,
        training(f"Defaults of this panel: {', '.join(CLIP_RECIPES)}.", show_default="paper; embedded for its preset"),
    ] = None,
    loss: Annotated[str | None, training(", ".join(get_args(LossName)), show_default=OWN)] = None,
    temperature: Annotated[float | None, training(show_default=OWN)] = None,
    beta: Annotated[float | None, training("Hardness.", show_default=OWN)] = None,
    mask_identical: Annotated[bool, training("Equal captions are no negatives.", "--mask-identical")] = False,
    learning_rate: Annotated[float | None, training("Peak.", "--lr", show_default=OWN)] = None,
    warmup: Annotated[float | None, training("Share of the steps.", show_default=OWN)] = None,
    weight_decay: Annotated[float | None, training(show_default=OWN)] = None,
    clip_norm: Annotated[float | None, training("Largest gradient; 0: any.", show_default=OWN)] = None,
    epochs: Annotated[int | None, training(show_default=OWN)] = None,
    batch_size: Annotated[int | None, training("Over all processes.", show_default=OWN)] = None,
    chunk_size: Annotated[
        int | None,
        training("Pairs in memory at once: less memory, more time, the same result.", show_default="the batch"),
    ] = None,
    crop_scale: Annotated[float | None, training("Random crops keep this share; 1: all.", show_default=OWN)] = None,
    precision: Annotated[str | None, training(", ".join(get_args(Precision)), show_default=OWN)] = None,
    seed: Annotated[int, training("Of order, crops, dropout, split.", min=0)] = 0,
    freeze_image: Annotated[bool, frozen(None, "--freeze-image")] = False,
    freeze_text: Annotated[bool, frozen(None, "--freeze-text")] = False,
    freeze_image_blocks: Annotated[int, frozen("The lowest ones.")] = 0,
    freeze_text_blocks: Annotated[int, frozen("The lowest ones.")] = 0,
    keep_map: Annotated[
        bool,
        frozen(
            "Of the embedded model, train the pooling alone, or also what its dense map stands on.",
            "--keep-map/--train-map",
        ),
    ] = True,
    resume: Annotated[bool, running("Go on from the last checkpoint, to the same bits.", "--resume")] = False,
    save_every: Annotated[int, running("Steps between checkpoints; 0: each epoch.", min=0)] = 0,
    workers: Annotated[int, running("Processes that read images.", min=0)] = 0,
    features: Annotated[
        Path | None,
        running(
            "Where the embedded model keeps what its frozen encoder saw; runs may share it.", show_default="in the run"
        ),
    ] = None,
    tensorboard: Annotated[bool, running(None, "--tensorboard")] = False,
    json: Annotated[bool, running("Print the outcome as JSON.", "--json")] = False,
) -> None:
    """Fine-tune a CLIP on images and captions; `segment --weights RUN` uses it.

    Writes the weights that retrieve best on the cases held back, a log, the rows that could not be used, and a
    checkpoint.
    Several GPUs: `torchrun --nproc-per-node N -m medclipsam finetune ...`.
    """
    from medclipsam.config import zeroshot_preset
    from medclipsam.training.captions import Columns, read_captions
    from medclipsam.training.encoders import encoder_for
    from medclipsam.training.finetune import finetune as train

    config = zeroshot_preset(preset_name)
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
        pairs = read_captions(captions, images, columns)
        tell("loading the model", 0, 0)
        encoder = encoder_for(config, weights)
        tell("validating", 0, 0)
        outcome = train(
            encoder,
            pairs,
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
        told = summary(outcome, len(pairs.pairs), len(pairs.skipped))
        typer.echo(json_of(outcome, loss=outcome.loss if isfinite(outcome.loss) else None) if json else told)


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


def _recipe(name: str) -> ClipRecipe:
    if name not in CLIP_RECIPES:
        raise BadInput(f"unknown recipe {name!r}", f"choose one of {', '.join(CLIP_RECIPES)}")
    return CLIP_RECIPES[name]


def _follow(tell: Tell) -> Observer:
    def observe(entry: Entry) -> None:
        if entry["kind"] == "train":
            rates = f"rate {entry['learning_rate']:.1e}  {entry['pairs_per_second']:.0f} pairs/s"
            tell(f"loss {entry['loss']:.3f}  {rates}", entry["step"], entry["steps"])
        elif entry["kind"] == "encoding":
            tell("encoding images", entry["step"], entry["steps"])

    return observe
