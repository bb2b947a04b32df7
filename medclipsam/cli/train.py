"""`medclipsam train METHOD DATA -o RUN` trains any method of the registry; `finetune` is the paper's name for one.

defaults of the method <- --config FILE.toml <- options of the command <- --set key=value
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from math import isnan
from pathlib import Path
from typing import Annotated, Any, get_args

import typer

from medclipsam.cli.console import json_of, progress, say, say_json
from medclipsam.cli.options import panel
from medclipsam.config import EMBEDDED_CLIPS, PRESETS, ZeroShot
from medclipsam.errors import BadInput
from medclipsam.notice import RESEARCH_USE_ONLY
from medclipsam.training.recipes import CLIP_RECIPES, LossName
from medclipsam.training.registry import METHODS, Request, config_of, find_method
from medclipsam.training.settings import changed, read_pairs, read_toml

METHOD_OF = {"paper": "clip", "released": "clip-released", "embedded": "clip-embedded"}
"""The method of each recipe that `finetune --recipe` takes."""
OWN = "the recipe's"
table, model, training, running = panel("Captions"), panel("Model"), panel("Recipe"), panel("The run")

Config = Annotated[
    Path | None,
    running("TOML of settings, such as the config.toml of a run; options given beside it count more."),
]
Set = Annotated[
    list[str] | None,
    running(
        "Any setting as key=value; may be repeated, and counts most. --show-config of train lists them.",
        "--set",
        metavar="KEY=VALUE",
    ),
]
Resume = Annotated[bool, running("Go on from the last checkpoint in the run's folder, to the same bits.", "--resume")]
TrainingDevice = Annotated[
    str, running("Device to train on: auto (default: CUDA, else Apple's MPS, else the CPU), cpu, cuda, cuda:1, mps.")
]
Json = Annotated[bool, running("Print the outcome as JSON instead of as text.", "--json")]


def train(
    method: Annotated[str, typer.Argument(help=f"What to train: {', '.join(METHODS)}.")],
    data: Annotated[
        Path | None, typer.Argument(help="What to learn from; the list above says what each method takes.")
    ] = None,
    *,
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Folder of the run; --weights RUN of other commands takes it.")
    ] = Path("medclipsam-run"),
    config: Config = None,
    settings: Set = None,
    device: TrainingDevice = "auto",
    resume: Resume = False,
    show_config: Annotated[
        bool,
        running(
            "Print every setting of the method as commented TOML, as --config takes it, and stop.", "--show-config"
        ),
    ] = False,
    json: Json = False,
) -> None:
    """Train a method, or go on with a run that was stopped.

    The run's folder gets the weights, config.toml with every setting, a log, figures and versions. Several GPUs:
    `torchrun --nproc-per-node N -m medclipsam train ...`.
    """
    if show_config:
        _show_config(config_of(method, _parts(method, config, {}, settings)), json=json)
        return
    if data is None:
        raise BadInput("DATA is missing", f"give {find_method(method).data}")
    run_method(method, data, output, config=config, sets=settings, device=device, resume=resume, json=json)


train.__doc__ = "\n\n".join(
    [str(train.__doc__), *(f"{name}: {each.help} DATA: {each.data}." for name, each in METHODS.items())]
)


def finetune(
    captions: Annotated[
        Path, typer.Argument(help="CSV or JSONL of images and captions, a .tar shard, or a folder of shards.")
    ],
    *,
    images: Annotated[
        Path | None, table("Folder that the image names count from.", show_default="the table's own")
    ] = None,
    val_share: Annotated[
        float | None,
        table(
            "Share of the cases, 0 to below 1, to choose the weights by, where the table has no splits.",
            show_default="0.15",
        ),
    ] = None,
    preset_name: Annotated[
        str | None,
        model(
            "Preset whose CLIP is trained: medclip-samv2 (BiomedCLIP) or embedded.",
            "--preset",
            show_default="medclip-samv2",
        ),
    ] = None,
    weights: Annotated[
        Path | None,
        model("Run, folder of an open_clip model, or checkpoint to start from.", show_default="the preset's"),
    ] = None,
    recipe: Annotated[
        str | None,
        training(
            f"Recipe that the other settings start from: {', '.join(CLIP_RECIPES)}.",
            show_default="paper; embedded for its preset",
        ),
    ] = None,
    loss: Annotated[
        str | None, training(f"Contrastive loss: {', '.join(get_args(LossName))}.", show_default=OWN)
    ] = None,
    learning_rate: Annotated[float | None, training("Largest learning rate.", "--lr", show_default=OWN)] = None,
    epochs: Annotated[int | None, training("Number of passes over the pairs.", show_default=OWN)] = None,
    batch_size: Annotated[
        int | None, training("Number of pairs whose negatives are shared, over all processes.", show_default=OWN)
    ] = None,
    seed: Annotated[
        int | None, training("Seed of order, crops, dropout and the split.", min=0, show_default="0")
    ] = None,
    output: Annotated[Path, running("Folder of the run; `segment --weights RUN` takes it.", "--output", "-o")] = Path(
        "medclipsam-run"
    ),
    config: Config = None,
    settings: Set = None,
    device: TrainingDevice = "auto",
    workers: Annotated[
        int | None, running("Number of processes that read images ahead.", min=0, show_default="0")
    ] = None,
    resume: Resume = False,
    json: Json = False,
) -> None:
    """Fine-tune a CLIP on images and captions (MedCLIP-SAMv2, section 3.1); `segment --weights RUN` uses it.

    Writes the weights that retrieve best on the cases held back, a log, the rows that could not be used, and a
    checkpoint. The same as `medclipsam train clip`, whose --show-config lists every setting.
    """
    given = {
        "images": images,
        "val_share": val_share,
        "preset": preset_name,
        "weights": weights,
        "loss": loss,
        "learning_rate": learning_rate,
        "epochs": epochs,
        "batch_size": batch_size,
        "seed": seed,
        "workers": workers,
    }
    name = _method_of(recipe or ("embedded" if _is_embedded(preset_name) else "paper"))
    run_method(
        name, captions, output, config=config, given=given, sets=settings, device=device, resume=resume, json=json
    )


def run_method(
    name: str,
    data: Path,
    output: Path,
    *,
    config: Path | None = None,
    given: Mapping[str, Any] | None = None,
    sets: Sequence[str] | None = None,
    device: str = "auto",
    resume: bool = False,
    json: bool = False,
) -> None:
    """Train a method of the registry and say what came of it.

    Args:
        given: settings from options of the command; None for those that were not given.
        sets: settings as `key=value`.
    """
    parts = _parts(name, config, given or {}, sets)
    with progress() as tell:
        request = Request(
            data=data,
            out=output,
            parts=parts,
            config=config_of(name, parts),
            device=device,
            resume=resume,
            tell=tell,
        )
        trained = find_method(name).train(request)
    if os.environ.get("RANK", "0") == "0":
        if json:
            say_json(_json(trained.outcome))
        else:
            say("\n".join((*trained.told, RESEARCH_USE_ONLY)))


def _show_config(toml: str, *, json: bool) -> None:
    if not json:
        say(toml, end="")
        return
    from json import dumps
    from tomllib import loads

    say_json(dumps(loads(toml), indent=2, default=str))


def _parts(name: str, config: Path | None, given: Mapping[str, Any], sets: Sequence[str] | None) -> Any:
    """The settings of a method: its defaults, changed by the file, the options and `--set`, in this order."""
    parts = find_method(name).defaults()
    values = dict(read_toml(config)) if config else {}
    values |= {
        key: str(value) if isinstance(value, Path) else value for key, value in given.items() if value is not None
    }
    return changed(parts, values | read_pairs(sets or (), parts))


def _plain(value: Any) -> Any:
    """TOML has no paths."""
    return str(value) if isinstance(value, Path) else value


def _is_embedded(name: str | None) -> bool:
    """Whether a preset has the embedded model; of an unknown one the command says later that it is unknown."""
    found = PRESETS.get(name or "")
    return isinstance(found, ZeroShot) and found.clip in EMBEDDED_CLIPS


def _method_of(recipe: str) -> str:
    if recipe not in METHOD_OF:
        raise BadInput(f"unknown recipe {recipe!r}", f"choose one of {', '.join(METHOD_OF)}")
    return METHOD_OF[recipe]


def _json(outcome: Any) -> str:
    """JSON has no NaN: the loss of a run that had no step left is null."""
    missing = {name: None for name, value in vars(outcome).items() if isinstance(value, float) and isnan(value)}
    return json_of(outcome, **missing)
