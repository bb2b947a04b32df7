"""Makes a run of a checkpoint that the authors of MedCLIPSeg released, so that every command can use it.

RUN/network.json, network.safetensors   as after training
    towers/                             its frozen towers as an open_clip model, with their tokenizer
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from medclipsam.backbones.architecture import CONFIG
from medclipsam.errors import BadInput
from medclipsam.io.atomic import file_digest, staged, write_atomic
from medclipsam.methods.supervised_run import FILE, WEIGHTS, NetworkFile
from medclipsam.networks.contract import Taught
from medclipsam.networks.medclipseg.build import build
from medclipsam.networks.medclipseg.released import IMAGENET, UNIMEDCLIP, fill_trained, taken_apart
from medclipsam.networks.medclipseg.settings import MedClipSegSettings
from medclipsam.networks.registry import settings_as_dict
from medclipsam.runtime import pick_device
from medclipsam.training.checkpoint import save_weights
from medclipsam.training.registry import Request, Trained
from medclipsam.training.run_folder import CONFIG as SETTINGS
from medclipsam.training.settings import part_of
from medclipsam.weights import find_beside
from medclipsam.weights.loading import load_state

TOWERS = "towers"
TOKENIZER = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "vocab.txt")


@dataclass(frozen=True, kw_only=True)
class Converted:
    """What came of it."""

    folder: Path
    parameters: int
    """Trained parameters."""


def convert_released(request: Request) -> Trained:
    """Write the run; nothing is trained.

    Raises:
        BadInput: no such file, one of something else, or of another size.
        MissingWeights: the tokenizer of BiomedCLIP, which is that of UniMedCLIP, was not fetched.
        CannotWrite: the folder cannot be written.
    """
    if not request.data.is_file():
        raise BadInput(f"there is no checkpoint {request.data}", "give a file that the authors of MedCLIPSeg released")
    settings = part_of(request.parts, MedClipSegSettings)
    trained, towers = taken_apart(load_state(request.data))
    described = {"model_cfg": UNIMEDCLIP, "preprocess_cfg": IMAGENET}
    folder = request.out / TOWERS
    if towers and not settings.folder:
        write_towers(folder, described, find_beside("biomedclip"), towers)
        settings = replace(settings, folder=str(folder.absolute()))
    network = build(settings, Taught(targets=()), pick_device("cpu"))
    fill_trained(network, trained)
    with staged(request.out, last=FILE) as stage:
        save_weights(stage / WEIGHTS, network.state_dict())
        write_atomic(stage / SETTINGS, request.config)
        _file(settings, network.frozen, stage / WEIGHTS, request.data).write(stage)
    parameters = sum(weight.numel() for weight in network.parameters())
    told = f'{parameters:,} weights; use them: medclipsam segment SCAN --prompt "..." --weights {request.out} -o DIR'
    return Trained(outcome=Converted(folder=request.out, parameters=parameters), told=(told,))


def write_towers(folder: Path, described: dict[str, Any], tokenizer: Path, towers: Any) -> None:
    """An open_clip model on disk.

    Args:
        described: its architecture, as open_clip describes models.
        tokenizer: folder with the tokenizer's files.
        towers: tensors by open_clip's names.
    """
    save_weights(folder / "open_clip_model.safetensors", towers)
    for name in TOKENIZER:
        if (tokenizer / name).is_file():
            shutil.copyfile(tokenizer / name, folder / name)
    write_atomic(folder / CONFIG, json.dumps(described, indent=1) + "\n")


def _file(settings: MedClipSegSettings, frozen: Any, weights: Path, checkpoint: Path) -> NetworkFile:
    return NetworkFile(
        network=settings_as_dict(settings),
        targets=(),
        texts=(),
        coloured=False,
        presence_threshold=0.0,
        sha256=file_digest(weights),
        frozen=dict(frozen),
        figures={},
        learned_from={"checkpoint": file_digest(checkpoint)},
    )
